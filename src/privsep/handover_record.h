/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/handover_record.h - the record that an engine leaves to its replacement
 *
 * DOC: Theory of operation
 *
 * A memfd of fixed size. The supervisor makes it once, gives it to every engine, and never reads
 * it. It has two slots; a write goes to the older slot, and its header (generation, length,
 * checksum) is written last, so an engine that dies during a write leaves the other slot whole. A
 * reader takes the slot with the higher generation and a correct checksum. The checksum detects
 * torn writes, not malice: the last engine may have been captured, so the payload is hostile
 * input.
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
 * Return: 0, -ENOENT if no slot is whole (a first start), negative errno
 */
int handover_read(int fd, struct buffer *ret);
