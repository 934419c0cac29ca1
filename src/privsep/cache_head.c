/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/cache_head.c - the beginning of the cache blob */
#include "privsep/cache_head.h"

#include "privsep/records.h"

#include <unistd.h>

/* A lower port needs a privilege. */
#define PORT_FIRST 1024u

int cache_head_put(struct buffer *out, uint16_t udp_port)
{
	uint32_t version = CACHE_VERSION;
	int r = record_put(out, CACHE_RECORD_VERSION, &version, sizeof(version));

	if (r < 0)
		return r;
	return record_put(out, CACHE_RECORD_UDP_PORT, &udp_port, sizeof(udp_port));
}

uint16_t cache_head_port(int fd)
{
	/* Two headers of 8 bytes and their values. */
	uint8_t bytes[8 + sizeof(uint32_t) + 8 + sizeof(uint16_t)] = {0};
	struct cursor c = cursor_of(bytes, sizeof(bytes));
	struct record record;
	uint32_t version = 0;
	uint16_t port = 0;

	if (pread(fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return 0;
	if (record_next(&c, &record) != 1 || record.kind != CACHE_RECORD_VERSION ||
	    record.value.left != sizeof(version))
		return 0;
	cursor_copy(&record.value, &version, sizeof(version));
	if (version != CACHE_VERSION || record_next(&c, &record) != 1 ||
	    record.kind != CACHE_RECORD_UDP_PORT || record.value.left != sizeof(port))
		return 0;
	cursor_copy(&record.value, &port, sizeof(port));
	return port >= PORT_FIRST ? port : 0;
}
