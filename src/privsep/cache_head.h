/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/cache_head.h - the beginning of the cache blob, which the supervisor reads
 *
 * The blob belongs to the engine, except for its first two records: a version, and the UDP port
 * that was in use. The next start tries this port first, so that mappings in routers and the
 * endpoint that peers know stay valid. The supervisor reads these bytes as hostile input: the
 * engine that wrote them may have been captured.
 */
#pragma once

#include "base/buffer.h"

#include <stdint.h>

#define CACHE_VERSION 1u

/* Record kinds; the rest are the engine's own (node/node_store.c). */
#define CACHE_RECORD_VERSION  1u /* u32 */
#define CACHE_RECORD_UDP_PORT 7u /* u16 */

/** cache_head_put() - Append both records; as buffer_append() */
int cache_head_put(struct buffer *out, uint16_t udp_port);

/**
 * cache_head_port() - The port, from the start of the file @fd
 *
 * Return: 1024 to 65535; 0 if there is none (another version, an older blob, invalid bytes)
 */
uint16_t cache_head_port(int fd);
