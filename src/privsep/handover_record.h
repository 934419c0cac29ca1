/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/handover_record.h - what a dead engine leaves to the next
 *
 * DOC: Theory of operation
 *
 * A memfd of fixed size that the supervisor makes once and hands to every engine,
 * and which it never reads itself. Two slots; a write goes to the older one, its
 * header (generation, length, checksum) last, so an engine that dies half way
 * through leaves the other slot whole. A reader takes the slot with the higher
 * generation whose checksum holds. The checksum finds torn writes, not malice: the
 * last engine may have been captured, so what handover_read() gives is hostile
 * input to its parser.
 */
#pragma once

#include "base/buffer.h"

#include <stddef.h>
#include <stdint.h>

#define HANDOVER_SLOT_SIZE   (256u * 1024)
#define HANDOVER_HEADER_SIZE 32u
#define HANDOVER_PAYLOAD_MAX (HANDOVER_SLOT_SIZE - HANDOVER_HEADER_SIZE)

/** handover_create() - An empty record, sealed in its size; descriptor or negative errno */
int handover_create(void);

/**
 * handover_write() - Replace the record
 * @fd: from the start message
 *
 * Return: 0, -EMSGSIZE past HANDOVER_PAYLOAD_MAX, negative errno
 */
int handover_write(int fd, const void *payload, size_t length);

/**
 * handover_read() - The newest whole record
 * @ret: payload appended; untouched on failure
 *
 * Return: 0, -ENOENT where no slot is whole (a first start), negative errno
 */
int handover_read(int fd, struct buffer *ret);
