/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_maps.c - POST /machine/map: lite updates, and map streams
 *
 * Theory of operation
 *   A lite update is an ANSWER, a stream a MAP exchange. That is given a message only when it has
 *   sent the last one; changes until then are notes in its session. A client that reads nothing
 *   for a minute is disconnected.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

#define KEEP_ALIVE        (35 * NSEC_PER_SEC) /* proxies close connections that are idle for 50 or 60 s */
#define KEEP_ALIVE_JITTER 10u                 /* seconds */
#define TELL_SLICE        (20 * NSEC_PER_MSEC) /* then others have a turn of the loop */
#define TEXT_KEPT         (64u * 1024)
#define SESSIONS_MAX      8u /* map streams of one node */
#define STALLED_MAX       (60 * NSEC_PER_SEC)
#define PRESSED_MAX       (5 * NSEC_PER_SEC) /* the same, where others wait */

#define ZSTD_LEVEL 1

/* make_frame() - c->frame becomes @text as a frame of the stream */
static int make_frame(struct coordinator *c, bool compress, const void *text, size_t length)
{
	size_t bound = compress ? ZSTD_compressBound(length) : length;
	int r;

	c->frame.length = 0;
	r = buffer_reserve(&c->frame, bound + 4);
	if (r < 0)
		return r;
	if (compress) {
		bound = ZSTD_compressCCtx(c->zstd, buffer_end(&c->frame) + 4, bound, text, length,
					  ZSTD_LEVEL);
		if (ZSTD_isError(bound))
			return -ENOMEM;
	} else {
		memcpy(buffer_end(&c->frame) + 4, text, length);
	}
	put_le32(buffer_end(&c->frame), (uint32_t)bound);
	c->frame.length = bound + 4;
	return 0;
}

/* push_frame() - Many get the same message one after the other: it is compressed once
 *
 * Return: 0 or negative errno; -ECANCELED: writing ended the connection, @e is freed
 */
static int push_frame(struct machine_exchange *e, const void *text, size_t length)
{
	struct coordinator *c = e->control;
	bool same = e->compress && length == c->last.length && c->frame.length &&
		    memcmp(buffer_head(&c->last), text, length) == 0;
	int r = same ? 0 : make_frame(c, e->compress, text, length);

	if (!same)
		c->last.length = 0;
	if (r == 0 && !same && e->compress && length <= TEXT_KEPT)
		r = buffer_append(&c->last, text, length);
	if (r == 0) {
		bool gone = false;

		e->gone = &gone;
		r = http2_push(e->x, buffer_head(&c->frame), c->frame.length);
		if (gone)
			return -ECANCELED;
		e->gone = NULL;
	}
	return r;
}

/* drop_large() - What one full map needed is not kept */
static void drop_large(struct buffer *b)
{
	b->length = 0;
	if (b->capacity > TEXT_KEPT)
		buffer_free(b);
}

static void look_at(struct machine_exchange *e)
{
	nanoseconds stalled = e->stalled_since;

	deadlines_set(&e->control->maps_due, &e->due,
		      deadline_min(e->keep_alive_at,
				   stalled == DEADLINE_NEVER ? stalled : stalled + STALLED_MAX));
}

static void set_keep_alive(struct machine_exchange *e, nanoseconds now)
{
	struct coordinator *c = e->control;

	/* Only spread: nothing is to be kept secret. */
	c->jitter = c->jitter * 1664525 + 1013904223;
	e->keep_alive_at = now + KEEP_ALIVE + (c->jitter >> 16) % KEEP_ALIVE_JITTER * NSEC_PER_SEC;
	look_at(e);
}

/* tell() - Give a session's stream its next message, if it can take one */
static void tell(struct map_session *s, struct tailnet_time now)
{
	struct machine_exchange *e = s->owner;
	struct coordinator *c = e->control;
	bool full = s->wants & WANTS_FULL;
	int r;

	if (!s->node) { /* deleted */
		http2_finish(e->x);
		return;
	}
	if (http2_pushed(e->x) > 0) {
		if (e->stalled_since == DEADLINE_NEVER) {
			e->stalled_since = now.boot;
			look_at(e);
		}
		return; /* `drained` comes back to it */
	}
	c->text.length = 0;
	r = map_session_take(s, now, &c->text);
	if (r > 0)
		r = push_frame(e, buffer_head(&c->text), c->text.length);
	if (full) {
		drop_large(&c->text);
		drop_large(&c->frame);
	}
	if (r == -ECANCELED)
		return; /* its session too */
	if (r < 0) {
		log_error("no map for node=%lld: %s", (long long)s->node->record.id, strerror(-r));
		http2_reset(e->x);
		return;
	}
	if (full) {
		e->queued = e->left = http2_pushed(e->x);
		e->moved_at = now.boot;
		e->mapped = true;
		c->queued += e->queued;
	}
	set_keep_alive(e, now.boot);
}

/* end_stream() - The client may begin another */
static void end_stream(struct machine_exchange *e)
{
	struct http2_exchange *x = e->x;

	machine_exchange_free(e);
	http2_reset(x);
}

/* in_the_way() - An older stream of the node that has to end: one whose full map was not sent, as a
 * dead link leaves it, or the oldest of many; NULL: none */
static struct machine_exchange *in_the_way(const struct registry_node *node)
{
	struct machine_exchange *e = NULL;
	unsigned int open = 0;

	for (struct map_session *s = node->sessions; s; s = s->node_next, open++) {
		e = s->owner;
		if (e->queued)
			return e;
	}
	return open >= SESSIONS_MAX ? e : NULL;
}

static void begin_stream(struct coordinator *c, struct http2_exchange *x,
			 struct registry_node *node, bool compress)
{
	struct tailnet_time now = tailnet_now();
	struct machine_exchange *e;

	while ((e = in_the_way(node)))
		end_stream(e);
	e = machine_exchange_new(c, x, EXCHANGE_MAP);
	if (e)
		e->session = map_session_open(&c->tailnet, node, e, now);
	if (!e || !e->session) {
		if (e)
			machine_exchange_free(e);
		machine_reply_text(x, 503, "out of memory");
		return;
	}
	e->compress = compress;
	set_keep_alive(e, now.boot);
	log_debug("map session node=%lld", (long long)node->record.id);
	(void)http2_begin(x, 200, MACHINE_ANSWER_TYPE);
	coordinator_settle(c);
}

void machine_map(struct machine_connection *n, struct http2_exchange *x)
{
	struct machine_map_request request = {0};
	struct coordinator *c = n->control;
	struct registry_node *node;
	struct buffer none = BUFFER_INIT(0);
	struct machine_exchange *e;
	struct error err = {0};
	int r = machine_map_request_parse(buffer_head(&x->body), x->body.length, &request, &err);

	if (r < 0) {
		machine_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	node = registry_node_of_key(&c->tailnet.registry, &request.node_key);
	if (request.version < TAILNET_VERSION_MIN) {
		machine_refuse_old(n->control, n->source, &n->from, request.version);
		machine_reply_text(x, 400,
				   "this client is too old: Tailscale " TAILNET_VERSION_MIN_IPN
				   " is needed");
	} else if (!node || !public_key_equal(&node->machine, &n->machine)) {
		machine_reply_text(x, 404, "node not found");
	} else {
		tailnet_update(&c->tailnet, node, &request);
		machine_adopted(n);
		http2_server_limit_bodies(n->http2, LIMIT_RPC_BODY);
		if (request.stream)
			begin_stream(c, x, node, request.compress);
		else if ((e = machine_exchange_new(c, x, EXCHANGE_ANSWER)))
			machine_answer_exchange(e, 200, &none);
		else
			machine_reply_text(x, 503, "out of memory");
	}
	machine_map_request_clear(&request);
}

void machine_map_drained(struct http2_exchange *x)
{
	struct machine_exchange *e = x->context;

	if (!e || e->kind != EXCHANGE_MAP)
		return;
	e->stalled_since = DEADLINE_NEVER;
	if (e->queued) {
		e->control->queued -= e->queued;
		e->queued = 0;
		if (!TAILQ_EMPTY(&e->control->tailnet.ready))
			coordinator_settle(e->control);
	}
	if (!e->session->node || e->session->wants || e->session->note_count) {
		session_wake(e->session);
		coordinator_settle(e->control);
	}
}

/* Telling */

/* has_to_wait() - Whether a full map would take too much; a first one may take more, so that
 * changes for all don't keep newcomers waiting */
static bool has_to_wait(const struct coordinator *c, const struct machine_exchange *e)
{
	return c->queued >
	       LIMIT_CONTROL_QUEUED + (e->mapped ? 0 : (size_t)LIMIT_CONTROL_QUEUED_FIRST);
}

/* idle_reader() - A stream that has read nothing of a full map for PRESSED_MAX, or NULL */
static struct machine_exchange *idle_reader(const struct coordinator *c, nanoseconds now)
{
	struct machine_exchange *e;

	LIST_FOREACH(e, &c->exchanges[EXCHANGE_MAP], next) {
		size_t left = e->queued ? http2_pushed(e->x) : 0;

		if (left < e->left) {
			e->left = left;
			e->moved_at = now;
		}
		if (e->queued && e->moved_at + PRESSED_MAX <= now)
			return e;
	}
	return NULL;
}

/*
 * All messages of a round have one time, so that equal messages are one text. Full maps wait while
 * too many bytes of others are not sent: when all nodes reconnect, the maps would fill the memory.
 */
void machine_maps_tell(struct coordinator *c)
{
	/* One round: a session that has to wait goes to the end of the list. */
	size_t left = c->tailnet.session_count;
	struct tailnet_time now = tailnet_now();
	struct map_session *s;

	while (left-- > 0 && (s = tailnet_next_ready(&c->tailnet))) {
		if (s->node && s->wants & WANTS_FULL && has_to_wait(c, s->owner)) {
			session_wake(s);
			continue;
		}
		tell(s, now);
		if (clock_boottime() - now.boot > TELL_SLICE && !TAILQ_EMPTY(&c->tailnet.ready)) {
			coordinator_settle(c);
			break;
		}
	}
}

static void map_due(struct machine_exchange *e, nanoseconds now)
{
	static const char keep_alive[] = "{\"KeepAlive\":true}";

	if (e->stalled_since != DEADLINE_NEVER && e->stalled_since + STALLED_MAX <= now) {
		log_info("node=%lld does not read its map: disconnected",
			 e->session->node ? (long long)e->session->node->record.id : 0);
		http2_reset(e->x);
		return;
	}
	if (e->keep_alive_at > now) {
		look_at(e);
		return;
	}
	if (http2_pushed(e->x) > 0) {
		e->stalled_since = deadline_min(e->stalled_since, now);
	} else {
		int r = push_frame(e, keep_alive, sizeof(keep_alive) - 1);

		if (r == -ECANCELED)
			return;
		if (r < 0) {
			http2_reset(e->x);
			return;
		}
	}
	set_keep_alive(e, now);
}

void machine_maps_tick(struct coordinator *c, nanoseconds now)
{
	struct machine_exchange *idle;
	struct deadline *due;

	/* Others wait for what these hold. */
	while (c->queued > LIMIT_CONTROL_QUEUED && (idle = idle_reader(c, now)))
		end_stream(idle);
	deadlines_turn(&c->maps_due, now);
	while ((due = deadlines_next(&c->maps_due)))
		map_due(container_of(due, struct machine_exchange, due), now);
}
