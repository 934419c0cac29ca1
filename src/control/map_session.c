/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/map_session.c - the map session, and the updates that this node sends (sans-I/O)
 *
 * One message is taken from the stream, applied to the netmap and reported to the client
 * before the next one is parsed, since the report points into the netmap.
 *
 * A frame is inflated in one call into a buffer of its whole size, so zstd needs no window
 * of its own. The zstd context is freed between messages, which are rare.
 *
 * Lite updates: this node's endpoints and Hostinfo are encoded and compared with those that
 * control has acknowledged. Nothing is sent without a difference, because Headscale announces
 * every update to all peers. News waits for the answer to the update before it. The request of a new session contains all of it again, but not every
 * server reads that, so one update follows each registration.
 */
#include "control/map_session.h"
#include "control/core_internal.h"

#include "base/cursor.h"
#include "base/limits.h"
#include "base/printable.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MAP_PATH     "/machine/map"
#define MAP_WATCHDOG (120 * NSEC_PER_SEC) /* for a whole message, keep-alives too */
#define SLEEP_MOST   (300 * NSEC_PER_SEC)
#define UPDATE_LIMIT (30 * NSEC_PER_SEC)

#define SERVER_TEXT 200

#define HEADER_SIZE  4
#define READ_AT_ONCE (1024u * 1024) /* more than a transport ever hands over in one piece */
#define INFLATE_STEP (256u * 1024)
#define WINDOW_LOG   23 /* 8 MB: the largest window a frame may ask for */

/* --- Frames --- */

void map_stream_init(struct map_stream *s, bool compressed)
{
	*s = (struct map_stream){
		.received = BUFFER_INIT(LIMIT_MAP_FRAME + READ_AT_ONCE),
		.compressed = compressed,
	};
}

void map_stream_clear(struct map_stream *s)
{
	buffer_free(&s->received);
}

int map_stream_feed(struct map_stream *s, const uint8_t *bytes, size_t length)
{
	return buffer_append(&s->received, bytes, length);
}

/* A frame that doesn't say how large it is inside. */
static int inflate_unsized(ZSTD_DCtx *context, const uint8_t *bytes, size_t length,
			   struct buffer *out, struct error *err)
{
	ZSTD_inBuffer in = {.src = bytes, .size = length};
	size_t left = 1;

	while (left) {
		ZSTD_outBuffer step;

		if (buffer_reserve(out, INFLATE_STEP) < 0)
			return error_set(err, -EMSGSIZE, "map: a message inflates beyond %u bytes",
					 LIMIT_MAP_OBJECT);
		step = (ZSTD_outBuffer){.dst = buffer_end(out), .size = INFLATE_STEP};
		left = ZSTD_decompressStream(context, &step, &in);
		if (ZSTD_isError(left) || (left && in.pos == in.size && step.pos == 0))
			return error_set(err, -EBADMSG, "map: not a whole zstd frame");
		out->length += step.pos;
	}
	return in.pos == in.size ? 0 : error_set(err, -EBADMSG, "map: more than a zstd frame");
}

static int inflate_sized(ZSTD_DCtx *context, const uint8_t *bytes, size_t length, size_t size,
			 struct buffer *out, struct error *err)
{
	size_t inflated;

	if (size > LIMIT_MAP_OBJECT)
		return error_set(err, -EMSGSIZE, "map: a message of %zu bytes", size);
	if (buffer_reserve(out, size + 1) < 0)
		return error_set(err, -ENOMEM, "map: out of memory");
	inflated = ZSTD_decompressDCtx(context, buffer_end(out), size, bytes, length);
	if (ZSTD_isError(inflated))
		return error_set(err, -EBADMSG, "map: zstd: %s", ZSTD_getErrorName(inflated));
	out->length += inflated;
	return 0;
}

static int inflate(const uint8_t *bytes, size_t length, struct buffer *out, struct error *err)
{
	unsigned long long size = ZSTD_getFrameContentSize(bytes, length);
	ZSTD_DCtx *context;
	int r;

	if (size == ZSTD_CONTENTSIZE_ERROR)
		return error_set(err, -EBADMSG, "map: not a zstd frame");
	context = ZSTD_createDCtx();
	if (!context)
		return error_set(err, -ENOMEM, "map: out of memory");
	if (size == ZSTD_CONTENTSIZE_UNKNOWN) {
		ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG);
		r = inflate_unsized(context, bytes, length, out, err);
	} else {
		r = inflate_sized(context, bytes, length, size > SIZE_MAX ? SIZE_MAX : (size_t)size,
				  out, err);
	}
	ZSTD_freeDCtx(context);
	return r;
}

int map_stream_next(struct map_stream *s, struct buffer *ret, struct error *err)
{
	struct buffer message = BUFFER_INIT(LIMIT_MAP_OBJECT + INFLATE_STEP);
	struct cursor c = cursor_of(buffer_head(&s->received), s->received.length);
	uint32_t length = cursor_le32(&c);
	const uint8_t *body;
	int r = 0;

	if (!cursor_ok(&c))
		return 0;
	if (length > LIMIT_MAP_FRAME)
		return error_set(err, -EMSGSIZE, "map: a frame of %u bytes", length);
	body = cursor_take(&c, length);
	if (!body)
		return 0;
	if (length && s->compressed)
		r = inflate(body, length, &message, err);
	else if (length && buffer_append(&message, body, length) < 0)
		r = error_set(err, -ENOMEM, "map: out of memory");
	if (r < 0) {
		buffer_free(&message);
		return r;
	}
	buffer_consume(&s->received, HEADER_SIZE + (size_t)length);
	/* A map of megabytes is followed by hours of small messages. */
	if (!s->received.length)
		buffer_free(&s->received);
	*ret = message;
	return 1;
}

/* --- The request --- */

static int encode_request(struct control_core *c, bool stream, struct buffer *out)
{
	struct tailcfg_map_request request = {
		.node_key = c->node_public,
		.disco_key = c->disco_key,
		.compress = true,
		.stream = stream,
		.hostinfo = &c->hostinfo,
		.endpoints = c->endpoints,
		.endpoint_count = c->endpoint_count,
	};

	return tailcfg_map_request_encode(&request, out);
}

static enum control_output_kind open_session(struct control_core *c, struct control_output *out,
					     nanoseconds now)
{
	struct error err = {0};
	int r;

	if (now < c->map_retry_at) {
		out->deadline = deadline_min(out->deadline, c->map_retry_at);
		return CONTROL_NOTHING;
	}
	buffer_free_secret(&c->body_told);
	r = encode_request(c, true, &c->body_told);
	if (r < 0) {
		error_set_errno(&err, r, "map request");
		control_core_map_failed(c, &err, control_core_map_backoff(c, now), now);
		return CONTROL_NOTHING;
	}
	netmap_begin_session(c->netmap);
	map_stream_init(&c->stream, true);
	c->map = CONTROL_MAP_OPENING;
	c->was_steady = false;
	c->live_since = 0;
	c->watchdog = now + MAP_WATCHDOG;
	return control_core_send(c, CONTROL_SLOT_MAP, MAP_PATH, out);
}

/* --- Messages --- */

static void note_browser_url(struct control_core *c, struct tailcfg_map_response *m)
{
	if (!m->pop_browser_url ||
	    (c->last_browser_url && strcmp(c->last_browser_url, m->pop_browser_url) == 0))
		return;
	free(c->last_browser_url);
	c->last_browser_url = strdup(m->pop_browser_url);
	free(c->browser_url);
	c->browser_url = (char *)m->pop_browser_url;
	m->pop_browser_url = NULL;
}

static int by_priority(const void *a, const void *b)
{
	const struct tailcfg_dial_candidate *left = a, *right = b;

	return (left->priority < right->priority) - (left->priority > right->priority);
}

static void keep_dial_plan(struct control_core *c, struct tailcfg_map_response *m)
{
	if (!m->has_dial_plan)
		return;
	c->dial_plan_count = 0;
	if (m->dial_candidate_count)
		qsort(m->dial_candidates, m->dial_candidate_count, sizeof(*m->dial_candidates),
		      by_priority);
	for (uint32_t i = 0; i < m->dial_candidate_count; i++)
		if (m->dial_candidates[i].ip.family != ADDRESS_NONE &&
		    c->dial_plan_count < sizeof(c->dial_plan) / sizeof(c->dial_plan[0]))
			c->dial_plan[c->dial_plan_count++] = m->dial_candidates[i].ip;
}

static nanoseconds sleep_of(const struct tailcfg_map_response *m)
{
	double seconds = m->debug_sleep_seconds;

	if (!m->has_debug || !isfinite(seconds) || seconds <= 0)
		return 0;
	if (seconds >= (double)SLEEP_MOST / (double)NSEC_PER_SEC)
		return SLEEP_MOST;
	return (nanoseconds)(seconds * (double)NSEC_PER_SEC);
}

/* note_netmap() - A netmap was received: control works for this node */
static void note_netmap(struct control_core *c, nanoseconds now)
{
	/* Watchers of the node count on a message for each full map, changed or not. */
	c->tell_netmap = c->map == CONTROL_MAP_OPENING || c->change.parts || c->change.full ||
			 c->change.trouble.code < 0;
	c->map = CONTROL_MAP_LIVE;
	if (!c->live_since)
		c->live_since = now;
	/* If this session is lost soon, the next try comes soon, but not at once. */
	backoff_ease(&c->map_backoff);
	backoff_ease(&c->link_backoff);
	c->tell_healthy |= !c->healthy;
	c->healthy = true;
	/* A trouble that is over before it was reported. */
	c->tell_trouble = false;
}

/*
 * steady_clock() - The wall clock at control's first ControlTime, plus the time that has passed
 * since: setting this machine's clock makes no peer's key expire
 */
static nanoseconds steady_clock(struct control_core *c, nanoseconds now, nanoseconds wall_clock)
{
	if (!c->netmap->control_known)
		c->wall_base = wall_clock - now;
	return now + c->wall_base;
}

static void apply_message(struct control_core *c, struct tailcfg_map_response *m, nanoseconds now,
			  nanoseconds wall_clock)
{
	struct error err = {0};
	nanoseconds nap = sleep_of(m);

	if (nap)
		c->sleep_until = now + nap;
	if (m->ping_request) {
		c->ping = m->ping_request;
		m->ping_request = NULL;
	}
	note_browser_url(c, m);
	keep_dial_plan(c, m);
	if (netmap_apply(c->netmap, m, steady_clock(c, now, wall_clock), &c->change, &err) < 0) {
		control_core_map_failed(c, &err, control_core_map_backoff(c, now), now);
		/* Changes made before memory ran out are reported too: the node holds those peers. */
		c->tell_netmap = c->change.update_count || c->change.removal_count;
	} else if (!m->keep_alive) {
		note_netmap(c, now);
	}
}

/* Whether a message was taken (and may have left something to tell). */
static bool take_message(struct control_core *c, nanoseconds now, nanoseconds wall_clock)
{
	struct tailcfg_map_response response;
	struct error err = {0};
	struct buffer text = {0};
	int r;

	r = map_stream_next(&c->stream, &text, &err);
	if (r == 0)
		return false;
	if (r > 0) {
		c->watchdog = now + MAP_WATCHDOG;
		r = text.length ? tailcfg_map_response_parse((char *)buffer_head(&text),
							     text.length, &response, &err)
				: 1;
		if (r == 0) {
			apply_message(c, &response, now, wall_clock);
			tailcfg_map_response_clear(&response);
		}
		buffer_free(&text);
	}
	if (r < 0)
		control_core_map_failed(c, &err, control_core_map_backoff(c, now), now);
	return true;
}

void control_core_map_ended(struct control_core *c, nanoseconds now)
{
	struct control_slot_state *s = &c->slots[CONTROL_SLOT_MAP];
	int shown = s->body.length ? (int)utf8_whole((char *)buffer_head(&s->body),
						     s->body.length < SERVER_TEXT ? s->body.length
										  : SERVER_TEXT)
				   : 0;
	nanoseconds wait = control_core_map_backoff(c, now);
	struct error err = {0};
	int status = s->status;

	while (shown && buffer_head(&s->body)[shown - 1] <= ' ')
		shown--;
	if (status == 200) {
		/* Messages that the stream still holds are lost with it. */
		error_set(&err, -EPIPE, "control ended the map session");
	} else {
		error_set(&err, -EPROTO, "map: HTTP %d%s%.*s", status, shown ? ": " : "", shown,
			  shown ? (char *)buffer_head(&s->body) : "");
	}
	if (status == 429 || (status == 503 && s->retry_after >= 0))
		wait = retry_after_wait(s->retry_after, c->random());
	control_core_free_slot(c, CONTROL_SLOT_MAP);
	control_core_map_failed(c, &err, wait, now);
	/* Control doesn't know this node any more. */
	if (status == 404 || status == 401) {
		c->registered = false;
		if (c->registration.step == REGISTRATION_DONE)
			registration_begin(&c->registration, REGISTRATION_UNASKED);
	}
}

/* --- Updates --- */

void control_core_update_ended(struct control_core *c, nanoseconds now)
{
	struct control_slot_state *s = &c->slots[CONTROL_SLOT_UPDATE];

	if (s->status == 200) {
		struct buffer free_one = c->told;

		c->told = c->telling;
		c->telling = free_one;
		buffer_free(&c->telling);
		c->update_backoff = (struct backoff){0};
		return;
	}
	c->update_retry_at = now + (s->status == 429 || (s->status == 503 && s->retry_after >= 0)
					    ? retry_after_wait(s->retry_after, c->random())
					    : backoff_next(&c->update_backoff, BACKOFF_FIRST,
							   BACKOFF_MOST, c->random()));
}

static enum control_output_kind tell_control(struct control_core *c, struct control_output *out,
					     nanoseconds now)
{
	struct buffer news = BUFFER_INIT(LIMIT_RPC_BODY);

	/* One at a time: of two at once a server may let the older one stand. */
	if (c->slots[CONTROL_SLOT_UPDATE].busy)
		return CONTROL_NOTHING;
	if (encode_request(c, false, &news) < 0 || buffer_equal(&news, &c->told)) {
		buffer_free(&news);
		return CONTROL_NOTHING;
	}
	buffer_free(&c->telling);
	c->telling = news;
	if (now < c->update_retry_at) {
		out->deadline = deadline_min(out->deadline, c->update_retry_at);
		return CONTROL_NOTHING;
	}
	buffer_free_secret(&c->body_told);
	if (encode_request(c, false, &c->body_told) < 0)
		return CONTROL_NOTHING;
	/* Until control answers, it is not known whether control has it. */
	buffer_free(&c->told);
	out->timeout = UPDATE_LIMIT;
	out->body_limit = LIMIT_RPC_BODY;
	return control_core_send(c, CONTROL_SLOT_UPDATE, MAP_PATH, out);
}

/* --- Clocks --- */

/* Keys of peers by the clock of control, on which ours is no guide; our own key by ours. */
static void check_expiry(struct control_core *c, struct control_output *out, nanoseconds now,
			 nanoseconds wall_clock)
{
	nanoseconds steady = steady_clock(c, now, wall_clock), next;

	if (netmap_expire(c->netmap, steady, &c->change, &next) == 0 && c->change.update_count)
		c->tell_netmap = true;
	if (next > steady && !__builtin_add_overflow(now, next - steady, &next))
		out->deadline = deadline_min(out->deadline, next);
	if (c->netmap->self && c->netmap->self->key_expiry > wall_clock &&
	    !__builtin_add_overflow(now, c->netmap->self->key_expiry - wall_clock, &next))
		out->deadline = deadline_min(out->deadline, next);
	/* The map may still be that of the key before. */
	if (c->netmap->self && !public_key_equal(&c->netmap->self->key, &c->node_public))
		return;
	if (c->expired_told == netmap_self_expired(c->netmap, wall_clock))
		return;
	/* The session goes on, so that an administrator's extension is heard of. */
	c->expired_told = !c->expired_told;
	c->tell_expired = true;
	if (!c->expired_told && registration_waits_for_person(&c->registration)) {
		/* The key was extended: no login is needed any more. */
		control_core_cancel(c, CONTROL_SLOT_REGISTER);
		registration_begin(&c->registration, REGISTRATION_UNASKED);
	}
}

static bool watchdog_bit(struct control_core *c, struct control_output *out, nanoseconds now)
{
	struct error err = {0};

	if (now < c->watchdog) {
		out->deadline = deadline_min(out->deadline, c->watchdog);
		return false;
	}
	error_set(&err, -ETIMEDOUT, "map: nothing received for %d s",
		  (int)(MAP_WATCHDOG / NSEC_PER_SEC));
	control_core_map_failed(c, &err, control_core_map_backoff(c, now), now);
	/* The connection is as dead as the session, whatever its pings say. */
	c->disconnect = true;
	control_core_lost(c, &err, now);
	return true;
}

enum control_output_kind control_core_map_next(struct control_core *c, struct control_output *out,
					       nanoseconds now, nanoseconds wall_clock)
{
	check_expiry(c, out, now, wall_clock);
	if (c->tell_netmap || c->tell_expired)
		return CONTROL_NOTHING;
	if (c->link != CONTROL_LINK_UP || !c->registered)
		return CONTROL_NOTHING;
	if (c->sleep_until) {
		if (now < c->sleep_until) {
			out->deadline = deadline_min(out->deadline, c->sleep_until);
			return CONTROL_NOTHING;
		}
		c->sleep_until = 0;
		c->watchdog = now + MAP_WATCHDOG;
	}
	if (!c->slots[CONTROL_SLOT_MAP].busy)
		return open_session(c, out, now);
	if (take_message(c, now, wall_clock) || watchdog_bit(c, out, now)) {
		out->deadline = now;
		return CONTROL_NOTHING;
	}
	return c->map == CONTROL_MAP_LIVE ? tell_control(c, out, now) : CONTROL_NOTHING;
}
