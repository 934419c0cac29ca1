/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_store.c - state file, cache and hand-over record, which outlive the engine
 *
 * Theory of operation
 *
 * Three places, the most valuable first:
 *
 *   state     keys and prefs, in the official layout. Stored at once; a new node key waits
 *             for the confirmation. Never overwritten while it can't be read.
 *   cache     the last netmap, the disco key, the home region, the active peers.
 *             Stored at most once a minute, and at the stop.
 *   hand-over the same without the netmap, in memory of the supervisor, for the engine
 *             that replaces this one after a crash. Written at each change of a path.
 *
 * Cache and hand-over have the same records. Both are read as hostile input: the node drops
 * all of it if one record is unknown or broken.
 */
#define LOG_ROOM "node"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "node/node_internal.h"
#include "privsep/cache_head.h"
#include "privsep/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_INTERVAL_MS (60 * 1000)
/* The first netmap is stored soon: a restart without control needs its peers. */
#define CACHE_FIRST_MS    2000
#define CACHE_LIMIT       (LIMIT_MAP_OBJECT < PRIVSEP_BLOB_MAX ? LIMIT_MAP_OBJECT : PRIVSEP_BLOB_MAX)

/* Kept free for the head of the netmap's record. */
#define CACHE_SLACK 64u

enum memory_record {
	/* CACHE_RECORD_VERSION is the first. */
	MEMORY_DISCO_KEY = 2,   /* 32 bytes */
	MEMORY_HOME,            /* u16 region */
	MEMORY_CONTROL_ADDRESS, /* struct address; one for each */
	MEMORY_PEERS,           /* tunnel_export() */
	MEMORY_NETMAP,          /* netmap_encode() */
	MEMORY_UDP_PORT = CACHE_RECORD_UDP_PORT,
};

/* rank_peer() - Active peers first, then peers with a session */
static unsigned int rank_peer(void *context, const struct netmap_peer *peer)
{
	struct tunnel_peer_status status = {0};
	struct node *node = context;

	if (!node->tunnel || tunnel_peer_status(node->tunnel, &peer->node.key, &status) < 0)
		return 2;
	return status.path.active ? 0 : status.path.last_sent || status.last_handshake ? 1 : 2;
}

/* encode_netmap() - Append the netmap, with as many peers as fit */
static int encode_netmap(struct node *node, struct buffer *out)
{
	/* The record's head is small beside this. */
	struct buffer text = BUFFER_INIT(CACHE_LIMIT - CACHE_SLACK - out->length);
	int left = netmap_encode(node_netmap(node), rank_peer, node, &text);
	int r = left;

	if (left >= 0)
		r = record_put(out, MEMORY_NETMAP, buffer_head(&text), text.length);
	buffer_free(&text);
	if (left == -EMSGSIZE || left > 0) {
		if (!node->cache_cut)
			log_warn("the network map is larger than the cache (%u MiB): a start "
				 "without control will know %s",
				 CACHE_LIMIT >> 20, left > 0 ? "some of the peers" : "no peers");
		r = left > 0 ? r : 0;
	}
	node->cache_cut = left > 0 || left == -EMSGSIZE;
	return r;
}

/* encode_memory() - Cache or hand-over record */
static int encode_memory(struct node *node, bool with_netmap, struct buffer *out)
{
	const struct netmap *map = node_netmap(node);
	int r;

	r = cache_head_put(out, (uint16_t)node->start->config.udp_port);
	if (r == 0)
		r = record_put(out, MEMORY_DISCO_KEY, node->disco_key.bytes, KEY_SIZE);
	if (r == 0 && node->home_derp)
		r = record_put(out, MEMORY_HOME, &node->home_derp, sizeof(node->home_derp));
	for (size_t i = 0; r == 0 && i < node->known_control_count; i++)
		r = record_put(out, MEMORY_CONTROL_ADDRESS, &node->known_control[i],
			       sizeof(node->known_control[i]));
	if (r == 0 && node->tunnel) {
		struct buffer peers = BUFFER_INIT(HANDOVER_PAYLOAD_MAX / 2);

		r = tunnel_export(node->tunnel, &peers);
		if (r == 0)
			r = record_put(out, MEMORY_PEERS, buffer_head(&peers), peers.length);
		buffer_free(&peers);
	}
	if (r == 0 && with_netmap && map && map->self)
		r = encode_netmap(node, out);
	return r;
}

/* The decoded records; take_memory() applies them once all are read. */
struct memory {
	struct secret_key disco_key;
	bool has_disco_key;
	uint16_t home;
	struct address control[CONTROL_KNOWN_MAX];
	size_t control_count;
	struct cursor peers;
	struct cursor netmap;
};

static int decode_record(const struct record *record, struct memory *memory)
{
	struct cursor c = record->value;
	struct address *address;

	switch (record->kind) {
	case MEMORY_DISCO_KEY:
		cursor_copy(&c, memory->disco_key.bytes, KEY_SIZE);
		memory->has_disco_key = !secret_key_is_zero(&memory->disco_key);
		break;
	case MEMORY_HOME:
		cursor_copy(&c, &memory->home, sizeof(memory->home));
		break;
	case MEMORY_CONTROL_ADDRESS:
		if (memory->control_count == CONTROL_KNOWN_MAX)
			return -EBADMSG;
		address = &memory->control[memory->control_count++];
		cursor_copy(&c, address, sizeof(*address));
		if (address->family != ADDRESS_V4 && address->family != ADDRESS_V6)
			return -EBADMSG;
		break;
	case MEMORY_UDP_PORT: /* for the supervisor */
		return 0;
	case MEMORY_PEERS:
		memory->peers = c;
		return 0;
	case MEMORY_NETMAP:
		memory->netmap = c;
		return 0;
	default:
		return -EBADMSG;
	}
	return cursor_ok(&c) && c.left == 0 ? 0 : -EBADMSG;
}

static int decode_memory(const struct buffer *bytes, struct memory *ret)
{
	struct cursor c = cursor_of(bytes->data + bytes->start, bytes->length);
	struct record record;
	uint32_t version = 0;
	int r;

	if (record_next(&c, &record) != 1 || record.kind != CACHE_RECORD_VERSION ||
	    record.value.left != sizeof(version))
		return -EBADMSG;
	cursor_copy(&record.value, &version, sizeof(version));
	if (version != CACHE_VERSION)
		return -EBADMSG;
	while ((r = record_next(&c, &record)) == 1) {
		r = decode_record(&record, ret);
		if (r < 0)
			return r;
	}
	return r;
}

/* take_memory() - Apply the records of an earlier engine */
static void take_memory(struct node *node, struct memory *memory, bool with_netmap)
{
	struct error err = {0};

	if (memory->has_disco_key)
		node->disco_key = memory->disco_key;
	if (memory->home)
		node->home_derp = memory->home;
	if (memory->control_count) {
		memcpy(node->known_control, memory->control, sizeof(memory->control));
		node->known_control_count = memory->control_count;
	}
	if (memory->peers.left) {
		buffer_consume(&node->handover, node->handover.length);
		buffer_append(&node->handover, memory->peers.at, memory->peers.left);
	}
	if (with_netmap && memory->netmap.left &&
	    netmap_decode(memory->netmap.at, memory->netmap.left, clock_realtime(),
			  &node->cached_netmap, &err) < 0)
		log_warn("the cached network map can't be read: starting without it: %s", err.text);
}

/* load_memory() - Apply the records in @bytes, and release them; @r: the result of reading @name */
static void load_memory(struct node *node, int r, struct buffer *bytes, bool with_netmap,
			const char *name)
{
	struct memory memory = {0};

	if (r == 0)
		r = decode_memory(bytes, &memory);
	if (r == 0)
		take_memory(node, &memory, with_netmap);
	else if (r != -ENOENT)
		log_warn("the %s can't be read: starting without it: %s", name, strerror(-r));
	secret_key_wipe(&memory.disco_key);
	buffer_free_secret(bytes);
}

int node_store_load(struct node *node)
{
	struct buffer bytes = BUFFER_INIT(LIMIT_STATE_FILE);
	struct buffer cache = BUFFER_INIT(CACHE_LIMIT);
	struct buffer handover = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);
	struct error err = {0};
	int r;

	r = privsep_client_load(node->privsep, PRIVSEP_BLOB_STATE, LIMIT_STATE_FILE, &bytes, &err);
	if (r == 0 && bytes.length == 0)
		log_warn("the state file is empty: starting as a new node");
	if (r == 0 || r == -ENOENT)
		r = state_file_decode(buffer_head(&bytes), bytes.length, &node->state, &err);
	else if (r == -ELOOP)
		error_set(
			&err, r,
			"the state file is a symbolic link, which pillion does not follow: put the "
			"file itself into the state directory");
	else if (!err.text[0])
		error_set_errno(&err, r, "read the state file");
	buffer_free_secret(&bytes);
	if (r < 0) {
		char line[sizeof(NODE_STATE_TROUBLE) + ERROR_TEXT_MAX];

		snprintf(line, sizeof(line), NODE_STATE_TROUBLE "%s", err.text);
		if (node_warn(node, NODE_WARN_STATE, line))
			log_error("%s", err.text);
		return r;
	}
	node->state_usable = true;
	r = privsep_client_load(node->privsep, PRIVSEP_BLOB_CACHE, CACHE_LIMIT, &cache, NULL);
	load_memory(node, r, &cache, true, "cache");
	r = handover_read(node->start->handover, &handover);
	load_memory(node, r, &handover, false, "hand-over record");
	if (secret_key_is_zero(&node->disco_key))
		secret_key_generate(&node->disco_key);
	return 0;
}

void node_store_settled(struct node *node)
{
	if (!node->settled)
		node->settled = privsep_client_settled(node->privsep) == 0;
}

/* A caller of node_when_stored(). */
struct node_store_wait {
	struct node_store_wait *next;
	void (*done)(struct node *node, void *context);
	void *context;
};

void node_store_answer(struct node *node)
{
	struct node_store_wait *wait = TAKE_PTR(node->store_waits);

	while (wait) {
		struct node_store_wait *next = wait->next;

		wait->done(node, wait->context);
		free(wait);
		wait = next;
	}
}

void node_when_stored(struct node *node, void (*done)(struct node *node, void *context),
		      void *context)
{
	struct node_store_wait *wait =
		node->store_phase != STORE_IDLE ? calloc(1, sizeof(*wait)) : NULL;

	if (!wait) {
		done(node, context);
		return;
	}
	*wait = (struct node_store_wait){node->store_waits, done, context};
	node->store_waits = wait;
}

static void on_state_stored(void *context, int result, const char *text)
{
	struct node *node = context;
	bool key_waits = node->key_waits, repeat = node->store_phase == STORE_REPEAT;

	node->store_phase = STORE_IDLE;
	if (node->stopping && (result == -EPIPE || result == -ECANCELED))
		return;
	if (result < 0) {
		char line[600];

		snprintf(line, sizeof(line), "the state can't be stored, trying again: %s",
			 text[0] ? text : strerror(-result));
		if (node_warn(node, NODE_WARN_STORE, line))
			log_error("%s", line);
	} else {
		node_store_settled(node);
		if (node->state_failed)
			log_info("the state is stored again");
		node_warn(node, NODE_WARN_STORE, NULL);
	}
	node_note_result(node, &node->state_failed, result);
	if (repeat) {
		/* The node key that control waits for may be in the next store. */
		node_store_state(node);
		if (result == 0)
			return;
	}
	if (key_waits && node->control) {
		node->key_waits = false;
		control_client_key_stored(node->control, result);
	}
	if (node->store_phase == STORE_IDLE)
		node_store_answer(node);
}

void node_store_state(struct node *node)
{
	struct buffer bytes = BUFFER_INIT(LIMIT_STATE_FILE);
	int r;

	if (!node->state_usable)
		return;
	if (node->store_phase != STORE_IDLE) {
		node->store_phase = STORE_REPEAT;
		return;
	}
	r = state_file_encode(&node->state, &bytes);
	if (r == 0)
		r = privsep_client_store(node->privsep, PRIVSEP_BLOB_STATE, buffer_head(&bytes),
					 bytes.length, on_state_stored, node);
	buffer_free_secret(&bytes);
	if (r == 0)
		node->store_phase = STORE_UNDER_WAY;
	else
		on_state_stored(node, r, "");
}

void node_store_rest(struct node *node)
{
	if (node->store_phase != STORE_REPEAT && !node->state_failed)
		return;
	/* The supervisor keeps stores in order. */
	node->store_phase = STORE_IDLE;
	node_store_state(node);
}

static void on_cache_stored(void *context, int result, const char *text)
{
	struct node *node = context;

	/* At the stop the answer is not awaited: the supervisor stores what it has received. */
	if (result == -ECANCELED || node->stopping)
		return;
	if (result < 0) {
		char line[600];

		snprintf(line, sizeof(line), "the cache can't be stored, trying again: %s",
			 text[0] ? text : strerror(-result));
		if (!node->state_failed && node_warn(node, NODE_WARN_STORE, line))
			log_warn("%s", line);
		node->cache_stored = true;
		node_store_cache_later(node);
	} else if (!node->state_failed) {
		node_warn(node, NODE_WARN_STORE, NULL);
	}
}

void node_store_cache_now(struct node *node)
{
	struct buffer bytes = BUFFER_INIT(CACHE_LIMIT);
	int r;

	uv_timer_stop(&node->cache_timer);
	if (!node->state_usable || !node->cache_dirty)
		return;
	node->cache_dirty = false;
	node->cache_stored = node_has_map(node);
	r = encode_memory(node, true, &bytes);
	if (r == 0)
		r = privsep_client_store(node->privsep, PRIVSEP_BLOB_CACHE, buffer_head(&bytes),
					 bytes.length, on_cache_stored, node);
	if (r < 0)
		on_cache_stored(node, r, "");
	buffer_free_secret(&bytes);
}

static void on_cache_timer(uv_timer_t *timer)
{
	node_store_cache_now(container_of(timer, struct node, cache_timer));
}

void node_store_cache_later(struct node *node)
{
	node->cache_dirty = true;
	if (!uv_is_active((uv_handle_t *)&node->cache_timer))
		uv_timer_start(&node->cache_timer, on_cache_timer,
			       node->cache_stored ? CACHE_INTERVAL_MS : CACHE_FIRST_MS, 0);
}

void node_store_handover(struct node *node)
{
	struct buffer bytes = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);
	int r;

	if (!node->state_usable)
		return;
	r = encode_memory(node, false, &bytes);
	if (r == 0)
		r = handover_write(node->start->handover, buffer_head(&bytes), bytes.length);
	if (r < 0)
		log_warn("the hand-over record can't be written: %s", strerror(-r));
	buffer_free_secret(&bytes);
}
