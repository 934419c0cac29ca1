/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/path/path_keys.c - disco keys and proven sources: the indexes that find a peer */
#include "tunnel/path/path_internal.h"

#include <errno.h>
#include <stdlib.h>

/* The maximum of proven endpoints for one peer. */
#define SOURCES_PER_PEER 8u

struct disco_key *path_find_key(struct path_engine *e, const struct public_key *key)
{
	struct disco_key *found;

	HASH_FIND(hh, e->keys, key, sizeof(*key), found);
	return found;
}

const struct key_box *path_key_box(struct path_engine *e, struct disco_key *key)
{
	if (!key->has_box)
		key->has_box = key_box_init(&e->disco, &key->key, &key->box) == 0;
	return key->has_box ? &key->box : NULL;
}

static void slot_clear(struct disco_slot *slot)
{
	struct disco_key *key = slot->key;

	if (!key)
		return;
	LIST_REMOVE(slot, same_key);
	slot->key = NULL;
	if (!LIST_EMPTY(&key->slots))
		return;
	HASH_DEL(slot->peer->engine->keys, key);
	key_box_wipe(&key->box);
	free(key);
}

int path_slot_set(struct disco_slot *slot, const struct public_key *key)
{
	struct path_engine *e = slot->peer->engine;
	struct disco_key *entry = NULL;

	if (!public_key_is_zero(key)) {
		entry = path_find_key(e, key);
		if (!entry) {
			entry = calloc(1, sizeof(*entry));
			if (!entry)
				return -ENOMEM;
			entry->key = *key;
			HASH_ADD(hh, e->keys, key, sizeof(entry->key), entry);
			if (!entry->hh.tbl) {
				free(entry);
				return -ENOMEM;
			}
		}
	}
	if (slot->key == entry)
		return 0;
	slot_clear(slot);
	if (entry) {
		slot->key = entry;
		LIST_INSERT_HEAD(&entry->slots, slot, same_key);
	}
	return 0;
}

struct path_peer *path_peer_of(const struct disco_key *key, const struct public_key *node)
{
	struct path_peer *only = NULL;
	const struct disco_slot *slot;
	bool several = false;

	LIST_FOREACH(slot, &key->slots, same_key) {
		if (node && public_key_equal(&slot->peer->node_key, node))
			return slot->peer;
		several = several || (only && only != slot->peer);
		only = slot->peer;
	}
	return several ? NULL : only;
}

/* Proven sources */

static struct endpoint plain_endpoint(const struct endpoint *e)
{
	struct endpoint plain;

	/* Hashed and compared as bytes, so the padding has to be zero. */
	memset(&plain, 0, sizeof(plain));
	plain.address.family = e->address.family;
	memcpy(plain.address.bytes, e->address.bytes, sizeof(plain.address.bytes));
	plain.port = e->port;
	return plain;
}

static struct source *find_source(struct path_engine *e, const struct endpoint *endpoint)
{
	struct endpoint plain = plain_endpoint(endpoint);
	struct source *found;

	HASH_FIND(hh, e->sources, &plain, sizeof(plain), found);
	return found;
}

static void remove_source(struct source *s)
{
	TAILQ_REMOVE(&s->peer->sources, s, same_peer);
	s->peer->source_count--;
	HASH_DEL(s->peer->engine->sources, s);
	free(s);
}

void path_bind_source(struct path_peer *p, const struct endpoint *endpoint)
{
	struct source *s = find_source(p->engine, endpoint);

	if (s && s->peer == p)
		return;
	if (s)
		remove_source(s);
	if (p->source_count >= SOURCES_PER_PEER)
		remove_source(TAILQ_LAST(&p->sources, source_list));
	s = calloc(1, sizeof(*s));
	if (!s)
		return; /* used for accounting only: without memory it is left out */
	s->endpoint = plain_endpoint(endpoint);
	s->peer = p;
	HASH_ADD(hh, p->engine->sources, endpoint, sizeof(s->endpoint), s);
	if (!s->hh.tbl) {
		free(s);
		return;
	}
	TAILQ_INSERT_HEAD(&p->sources, s, same_peer);
	p->source_count++;
}

struct path_peer *path_for_source(struct path_engine *e, const struct endpoint *source)
{
	struct source *s = find_source(e, source);

	return s ? s->peer : NULL;
}

void path_forget_indexes(struct path_peer *p)
{
	while (!TAILQ_EMPTY(&p->sources))
		remove_source(TAILQ_FIRST(&p->sources));
	for (int kind = 0; kind < SLOT_COUNT; kind++)
		slot_clear(&p->slots[kind]);
}
