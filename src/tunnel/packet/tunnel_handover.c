/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/tunnel_handover.c - the hand-over record: active peers for the next engine
 *
 * Format, in network order: 12 bytes timestamp (the latest initiation's TAI64N), u16
 * count, then for each active peer 32 bytes node key, u8 family (0: relay only), 16
 * bytes address, u16 port. The reader trusts no entry: a peer must be in the
 * netmap, and an endpoint needs a pong as proof.
 */
#include "base/cursor.h"
#include "tunnel/packet/tunnel_internal.h"

#include <errno.h>
#include <string.h>

#define HANDOVER_PEERS_MAX  1024u
#define HANDOVER_ENTRY_SIZE (KEY_SIZE + 1 + 16 + 2)

/* Changes within this time share one record. */
#define HANDOVER_DELAY (100 * NSEC_PER_MSEC)

void tunnel_handover_later(struct tunnel *tunnel, nanoseconds now)
{
	tunnel->handover_due = deadline_min(tunnel->handover_due, now + HANDOVER_DELAY);
}

int tunnel_export(struct tunnel *tunnel, struct buffer *out)
{
	static struct path_handover active[HANDOVER_PEERS_MAX];
	size_t count = path_export(tunnel->path, clock_boottime(), active, HANDOVER_PEERS_MAX);
	uint8_t size[2];
	int r;

	put_be16(size, (uint16_t)count);
	r = buffer_append(out, wg_device_timestamp(tunnel->wg), sizeof(struct wg_timestamp));
	if (r == 0)
		r = buffer_append(out, size, sizeof(size));
	for (size_t i = 0; i < count && r == 0; i++) {
		uint8_t entry[HANDOVER_ENTRY_SIZE];

		memcpy(entry, active[i].node_key.bytes, KEY_SIZE);
		entry[KEY_SIZE] = active[i].endpoint.address.family;
		memcpy(entry + KEY_SIZE + 1, active[i].endpoint.address.bytes, 16);
		put_be16(entry + KEY_SIZE + 17, active[i].endpoint.port);
		r = buffer_append(out, entry, sizeof(entry));
	}
	return r;
}

/* import_peer() - Start a handshake with a previously active peer */
static bool import_peer(struct tunnel *tunnel, const struct public_key *key,
			const struct endpoint *endpoint, nanoseconds now)
{
	struct tunnel_peer *peer;

	HASH_FIND(hh, tunnel->peers, key, sizeof(*key), peer);
	if (!peer)
		return false;
	if (endpoint->address.family != ADDRESS_NONE)
		path_import(peer->path, endpoint, now);
	path_call(peer->path, now);
	wg_peer_initiate(peer->wg, now);
	return true;
}

int tunnel_import(struct tunnel *tunnel, const void *bytes, size_t length)
{
	struct cursor c = cursor_of(bytes, length);
	nanoseconds now = clock_boottime();
	struct wg_timestamp timestamp;
	unsigned int count;
	int active = 0;

	_Static_assert(sizeof(timestamp) == 12, "TAI64N");
	cursor_copy(&c, &timestamp, sizeof(timestamp));
	count = cursor_be16(&c);
	if (!cursor_ok(&c) || count > HANDOVER_PEERS_MAX || c.left != count * HANDOVER_ENTRY_SIZE)
		return -EBADMSG;
	(void)wg_device_raise_timestamp(tunnel->wg, &timestamp);
	while (count--) {
		struct public_key key;
		struct endpoint endpoint = {0};

		cursor_copy(&c, key.bytes, KEY_SIZE);
		endpoint.address.family = cursor_u8(&c);
		cursor_copy(&c, endpoint.address.bytes, 16);
		endpoint.port = cursor_be16(&c);
		if (endpoint.address.family != ADDRESS_V4 && endpoint.address.family != ADDRESS_V6)
			endpoint = (struct endpoint){0};
		active += import_peer(tunnel, &key, &endpoint, now);
	}
	return active;
}
