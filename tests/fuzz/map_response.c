/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/map_response.c - a session of map messages, one a line
 *
 * After each message the tables agree with each other and with the list of changes;
 * the netmap can be written to the cache and read back.
 */
#include "control/netmap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define NOW (INT64_C(1800000000) * NSEC_PER_SEC)

static void check(struct netmap *map, const struct netmap_change *change)
{
	uint32_t count = 0;

	for (struct netmap_peer *p = netmap_peer_next(map, NULL); p; p = netmap_peer_next(map, p)) {
		struct netmap_peer *by_key = netmap_peer_by_key(map, &p->node.key);

		count++;
		MUST(netmap_peer_by_id(map, p->node.id) == p);
		MUST(by_key && public_key_equal(&by_key->node.key, &p->node.key));
		MUST(p->change_index == 0);
	}
	MUST(count == netmap_peer_count(map));
	for (uint32_t i = 0; i < change->update_count; i++)
		MUST(netmap_peer_by_id(map, change->updates[i].peer->node.id) ==
		     change->updates[i].peer);
}

static void feed(struct netmap *map, const char *text, size_t length)
{
	struct tailcfg_map_response response;
	struct netmap_change change = {0};
	nanoseconds next;

	if (tailcfg_map_response_parse(text, length, &response, NULL) < 0)
		return;
	if (netmap_apply(map, &response, NOW, &change, NULL) == 0)
		check(map, &change);
	tailcfg_map_response_clear(&response);
	netmap_change_clear(&change);
	MUST(netmap_expire(map, NOW + NSEC_PER_SEC, &change, &next) == 0);
	check(map, &change);
	netmap_change_clear(&change);
}

static void through_the_cache(struct netmap *map)
{
	struct buffer bytes = BUFFER_INIT(1 << 26);
	struct netmap *again;

	if (map->self) {
		MUST(netmap_encode(map, NULL, NULL, &bytes) == 0);
		MUST(netmap_decode(buffer_head(&bytes), bytes.length, NOW, &again, NULL) == 0);
		MUST(netmap_peer_count(again) == netmap_peer_count(map));
		MUST(again->filter_count == map->filter_count);
		MUST(again->has_filter == map->has_filter);
		netmap_free(again);
	}
	buffer_free(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *end = at + size;
	struct netmap *map = netmap_new();

	while (at < end) {
		const char *line = memchr(at, '\n', (size_t)(end - at));
		const char *stop = line ? line : end;

		if (stop == at)
			netmap_begin_session(map);
		else
			feed(map, at, (size_t)(stop - at));
		at = stop + 1;
	}
	through_the_cache(map);
	netmap_free(map);
	return 0;
}
