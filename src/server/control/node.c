/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/node.c - what nodes ask over TS2021
 *
 * Theory of operation
 *	/ts2021 --101, Noise, early payload--> HTTP/2:
 *		POST /machine/register	ANSWER, or HELD until an operator decides
 *		POST /machine/map	ANSWER (a lite update), or MAP (a stream)
 *		the rest		node_asks.c
 *
 *   A MAP exchange is given a message only when it has passed the last one on; what
 *   happens meanwhile gathers as notes in its session. Who takes nothing for a minute
 *   is cut.
 */
#define LOG_ROOM "control"
#include "server/control/internal.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define KEEP_ALIVE        (35 * NSEC_PER_SEC)  /* proxies cut what is idle for 50 or 60 s */
#define KEEP_ALIVE_JITTER 10u                  /* seconds */
#define LOOK_EVERY        (10 * NSEC_PER_SEC)  /* at a connection that has an exchange */
#define TELL_SLICE        (20 * NSEC_PER_MSEC) /* then others have a turn of the loop */
#define TEXT_KEPT         (64u * 1024)
#define SESSIONS_MAX      8u /* map streams of one node */
#define STALLED_MAX       (60 * NSEC_PER_SEC)
#define PRESSED_MAX       (5 * NSEC_PER_SEC)  /* the same, where others wait */
#define REQUEST_MAX       (30 * NSEC_PER_SEC) /* for a request to be complete */
#define IDLE_MAX          (180 * NSEC_PER_SEC)
#define HOLD_MAX          (300 * NSEC_PER_SEC)

#define ZSTD_LEVEL 1

#define LOGGED_MAX 64 /* bytes of a stranger's text */

/* Older ones don't know what precedes HTTP/2. */
#define NOISE_VERSION_MIN 49

static const char answer_type[] = "application/json", text_type[] = "text/plain; charset=utf-8";

/* Exchanges */

/* list_as() - Put it on the list of its kind */
static void list_as(struct node_exchange *e, enum exchange_kind kind)
{
	struct node_exchange **list = &e->control->exchanges[kind];

	e->kind = kind;
	e->next = *list;
	e->link = list;
	if (e->next)
		e->next->link = &e->next;
	*list = e;
}

static void unlist(struct node_exchange *e)
{
	*e->link = e->next;
	if (e->next)
		e->next->link = e->link;
}

struct node_exchange *node_exchange_new(struct control *c, struct http2_exchange *x,
					enum exchange_kind kind)
{
	struct node_exchange *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->control = c;
	e->x = x;
	e->answer = BUFFER_INIT(LIMIT_MAP_OBJECT);
	e->stalled_since = e->until = DEADLINE_NEVER;
	list_as(e, kind);
	x->context = e;
	return e;
}

void node_exchange_free(struct node_exchange *e)
{
	if (e->gone)
		*e->gone = true;
	unlist(e);
	deadlines_clear(&e->due);
	e->control->queued -= e->queued;
	if (e->session)
		map_session_close(e->session, tailnet_now());
	e->x->context = NULL;
	buffer_free(&e->answer);
	control_register_request_clear(&e->request);
	free(e->ssh);
	free(e);
}

void node_reply_text(struct http2_exchange *x, int status, const char *text)
{
	(void)http2_reply(x, status, text_type, text, strlen(text));
}

/* node_answer_later() - Once the disk has it */
void node_answer_later(struct control *c, struct http2_exchange *x, struct buffer *body)
{
	struct node_exchange *e = node_exchange_new(c, x, EXCHANGE_ANSWER);

	if (!e) {
		buffer_free(body);
		node_reply_text(x, 503, "out of memory");
		return;
	}
	e->status = 200;
	e->answer = *body;
	*body = BUFFER_INIT(0);
	control_settle(c);
}

void node_answer_exchange(struct node_exchange *e, int status, struct buffer *body)
{
	unlist(e);
	list_as(e, EXCHANGE_ANSWER);
	e->status = status;
	e->answer = *body;
	*body = BUFFER_INIT(0);
	control_settle(e->control);
}

/* Registering */

static void hold(struct control *c, struct http2_exchange *x, const struct public_key *machine,
		 struct control_register_request *request)
{
	struct node_exchange *e = node_exchange_new(c, x, EXCHANGE_HELD);

	if (!e) {
		node_reply_text(x, 503, "out of memory");
		return;
	}
	e->machine = *machine;
	e->request = *request;
	*request = (struct control_register_request){0};
	e->until = clock_boottime() + HOLD_MAX;
}

/* shown_key() - What may be logged of an auth key */
static const char *shown_key(const char *key, char out[static CONTROL_KEY_PREFIX_SIZE + 1])
{
	if (!key)
		return "none";
	return registry_key_prefix(key, out) ? out : "foreign";
}

/* shown_length() - How much of a stranger's text is logged: whole characters */
static int shown_length(const char *text)
{
	size_t length = strnlen(text, LOGGED_MAX);

	if (length == LOGGED_MAX)
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	return (int)length;
}

/* log_stranger() - Who waits or was refused, as far as strangers may have that logged */
static void log_stranger(const struct node_connection *n, const struct control_register_request *q,
			 const struct error *refused)
{
	char from[ADDRESS_TEXT_MAX], key[CONTROL_KEY_PREFIX_SIZE + 1];
	const char *hostname = q->hostinfo.hostname ? q->hostinfo.hostname : "";
	const char *version = q->hostinfo.ipn_version ? q->hostinfo.ipn_version : "";
	int hostname_length = shown_length(hostname), version_length = shown_length(version);

	if (!source_log_may(n->control->strangers, n->source, &n->from, clock_boottime()))
		return;
	address_format(&n->from, from);
	if (refused)
		log_warn("refused a node hostname=%.*s key=%s version=%.*s capability=%lld "
			 "from=%s: %s",
			 hostname_length, hostname, shown_key(q->auth_key, key), version_length,
			 version, (long long)q->version, from, refused->text);
	else
		log_info("a node waits for approval hostname=%.*s from=%s: see 'pillion control "
			 "nodes list'",
			 hostname_length, hostname, from);
}

static void log_registration(const struct node_connection *n,
			     const struct control_register_request *q, const struct error *err)
{
	const struct control_node *node =
		registry_node_of_key(&n->control->tailnet.registry, &q->node_key);
	char v4[ADDRESS_TEXT_MAX];

	if (err->code || !node)
		log_stranger(n, q, err->code ? err : NULL);
	else
		log_info("registered node=%lld name=%s address=%s", (long long)node->record.id,
			 node->name, address_format(&node->v4, v4));
}

static void serve_register(struct node_connection *n, struct http2_exchange *x)
{
	struct control_register_request request = {0};
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct control *c = n->control;
	struct error err = {0};
	bool known;
	int r = control_register_request_parse(buffer_head(&x->body), x->body.length, &request,
					       &err);

	if (r < 0) {
		node_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	request.source = n->source;
	known = registry_node_of_key(&c->tailnet.registry, &request.node_key) != NULL;
	r = tailnet_register(&c->tailnet, &n->machine, &request, true, tailnet_now(), &body, &err);
	switch (r) {
	case REGISTER_ANSWER:
		if (!known || err.code)
			log_registration(n, &request, &err);
		node_answer_later(c, x, &body);
		break;
	case REGISTER_HOLD:
		hold(c, x, &n->machine, &request);
		break;
	default:
		node_reply_text(x, 503, "out of memory");
		break;
	}
	buffer_free(&body);
	control_register_request_clear(&request);
}

/* decide() - A held login: is it over now? */
static void decide(struct node_exchange *e, bool patient)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct control *c = e->control;
	struct error err = {0};
	int r = tailnet_register(&c->tailnet, &e->machine, &e->request, patient, tailnet_now(),
				 &body, &err);

	if (r == REGISTER_HOLD)
		return;
	if (r != REGISTER_ANSWER)
		buffer_free(&body);
	node_answer_exchange(e, r == REGISTER_ANSWER ? 200 : NODE_ANSWER_RESET, &body);
}

void node_logins_decided(struct control *c)
{
	struct node_exchange *next;

	for (struct node_exchange *e = c->exchanges[EXCHANGE_HELD]; e; e = next) {
		next = e->next;
		decide(e, true);
	}
}

/* Maps */

/* make_frame() - c->frame becomes @text as a frame of the stream */
static int make_frame(struct control *c, bool compress, const void *text, size_t length)
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

/*
 * push_frame() - Many get the same message one after the other: it is compressed once
 *
 * Return: 0 or negative errno; -ECANCELED: writing ended the connection, @e is freed
 */
static int push_frame(struct node_exchange *e, const void *text, size_t length)
{
	struct control *c = e->control;
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

static void look_at(struct node_exchange *e)
{
	nanoseconds stalled = e->stalled_since;

	deadlines_set(&e->control->maps_due, &e->due,
		      deadline_min(e->keep_alive_at,
				   stalled == DEADLINE_NEVER ? stalled : stalled + STALLED_MAX));
}

static void set_keep_alive(struct node_exchange *e, nanoseconds now)
{
	struct control *c = e->control;

	/* Only spread: nothing is to be kept secret. */
	c->jitter = c->jitter * 1664525 + 1013904223;
	e->keep_alive_at = now + KEEP_ALIVE + (c->jitter >> 16) % KEEP_ALIVE_JITTER * NSEC_PER_SEC;
	look_at(e);
}

/* tell() - Give a session's stream its next message, if it can take one */
static void tell(struct map_session *s, struct tailnet_time now)
{
	struct node_exchange *e = s->owner;
	struct control *c = e->control;
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
static void end_stream(struct node_exchange *e)
{
	struct http2_exchange *x = e->x;

	node_exchange_free(e);
	http2_reset(x);
}

/* in_the_way() - Of a node that begins a stream: an older one whose full map has not left, which a
 * link that died leaves behind, or the oldest of many; NULL: none */
static struct node_exchange *in_the_way(const struct control_node *node)
{
	struct node_exchange *e = NULL;
	unsigned int open = 0;

	for (struct map_session *s = node->sessions; s; s = s->node_next, open++) {
		e = s->owner;
		if (e->queued)
			return e;
	}
	return open >= SESSIONS_MAX ? e : NULL;
}

static void begin_stream(struct control *c, struct http2_exchange *x, struct control_node *node,
			 bool compress)
{
	struct tailnet_time now = tailnet_now();
	struct node_exchange *e;

	while ((e = in_the_way(node)))
		end_stream(e);
	e = node_exchange_new(c, x, EXCHANGE_MAP);
	if (e)
		e->session = map_session_open(&c->tailnet, node, e, now);
	if (!e || !e->session) {
		if (e)
			node_exchange_free(e);
		node_reply_text(x, 503, "out of memory");
		return;
	}
	e->compress = compress;
	set_keep_alive(e, now.boot);
	log_debug("map session node=%lld", (long long)node->record.id);
	(void)http2_begin(x, 200, answer_type);
	control_settle(c);
}

/* refuse_old() - The log's line about a client that is too old, and registers not */
static void refuse_old(struct control *c, unsigned int source, const struct address *from,
		       int64_t version)
{
	char text[ADDRESS_TEXT_MAX];

	if (source_log_may(c->strangers, source, from, clock_boottime()))
		log_warn("refused a client that is too old capability=%lld from=%s: at least %d "
			 "(Tailscale " CONTROL_VERSION_MIN_IPN ") is needed",
			 (long long)version, address_format(from, text), CONTROL_VERSION_MIN);
}

/* adopt() - It is a node's connection */
static void adopt(struct node_connection *n)
{
	node_quota_adopted(n);
	http2_server_limit_bodies(n->http2, LIMIT_RPC_BODY);
}

static void serve_map(struct node_connection *n, struct http2_exchange *x)
{
	struct control_map_request request = {0};
	struct control *c = n->control;
	struct control_node *node;
	struct buffer none = BUFFER_INIT(0);
	struct error err = {0};
	int r = control_map_request_parse(buffer_head(&x->body), x->body.length, &request, &err);

	if (r < 0) {
		node_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	node = registry_node_of_key(&c->tailnet.registry, &request.node_key);
	if (request.version < CONTROL_VERSION_MIN) {
		refuse_old(n->control, n->source, &n->from, request.version);
		node_reply_text(x, 400,
				"this client is too old: Tailscale " CONTROL_VERSION_MIN_IPN
				" is needed");
	} else if (!node || !public_key_equal(&node->machine, &n->machine)) {
		node_reply_text(x, 404, "node not found");
	} else if (tailnet_update(&c->tailnet, node, &request, tailnet_now()) < 0) {
		node_reply_text(x, 503, "out of memory");
	} else if (request.stream) {
		adopt(n);
		begin_stream(c, x, node, request.compress);
	} else {
		adopt(n);
		node_answer_later(c, x, &none);
	}
	control_map_request_clear(&request);
}

/* Connections */

static void on_request(void *user, struct http2_exchange *x)
{
	static const char *const later[] = {
		"/machine/id-token",      "/machine/audit-log",     "/machine/set-device-attr",
		"/machine/feature/query", "/machine/update-health",
	};
	struct node_connection *n = user;

	n->idle_since = DEADLINE_NEVER;
	n->used = true;
	if (strcmp(x->path, "/machine/register") == 0 || strcmp(x->path, "/machine/map") == 0) {
		if (strcmp(x->method, "POST") != 0)
			node_reply_text(x, 405, "POST is wanted");
		else if (x->path[9] == 'r')
			serve_register(n, x);
		else
			serve_map(n, x);
		return;
	}
	if (strcmp(x->path, "/machine/set-dns") == 0) {
		node_set_dns(n, x);
		return;
	}
	if (strncmp(x->path, POLICY_SSH_ACTION, strlen(POLICY_SSH_ACTION)) == 0) {
		node_ssh_action(n, x);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(later); i++)
		if (strcmp(x->path, later[i]) == 0) {
			node_reply_text(x, 501, "this server does not do that");
			return;
		}
	node_reply_text(x, 404, "there is nothing here");
}

static void on_drained(void *user, struct http2_exchange *x)
{
	struct node_connection *n = user;
	struct node_exchange *e = x->context;

	if (!e || e->kind != EXCHANGE_MAP)
		return;
	e->stalled_since = DEADLINE_NEVER;
	if (e->queued) {
		n->control->queued -= e->queued;
		e->queued = 0;
		if (n->control->tailnet.ready)
			control_settle(n->control);
	}
	if (!e->session->node || e->session->wants || e->session->note_count) {
		session_wake(e->session);
		control_settle(n->control);
	}
}

static void on_gone(void *user, struct http2_exchange *x)
{
	struct node_connection *n = user;

	if (x->context)
		node_exchange_free(x->context);
	n->idle_since = clock_boottime();
	deadlines_set(&n->control->connections_due, &n->due, n->idle_since + LOOK_EVERY);
}

static void connection_free(struct node_connection *n)
{
	deadlines_clear(&n->due);
	node_quota_end(n);
	*n->link = n->next;
	if (n->next)
		n->next->link = n->link;
	free(n);
}

static void on_ended(void *user, const struct error *err)
{
	struct node_connection *n = user;

	if (err)
		log_debug("a node's connection ended: %s", err->text);
	node_connection_close(n);
}

static void on_held(void *user, size_t bytes)
{
	node_quota_held(user, bytes);
}

static const struct http2_server_events events = {
	.request = on_request,
	.held = on_held,
	.drained = on_drained,
	.gone = on_gone,
	.ended = on_ended,
};

void node_connection_close(struct node_connection *n)
{
	http2_server_close(TAKE_PTR(n->http2));
	connection_free(n);
}

/* read_initiation() - The header's base64; false when it isn't one */
static bool read_initiation(const char *text, uint8_t out[static TS2021_INITIATION_SIZE])
{
	size_t length;

	return text &&
	       sodium_base642bin(out, TS2021_INITIATION_SIZE, text, strlen(text), NULL, &length,
				 NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       length == TS2021_INITIATION_SIZE;
}

/* early_payload() - What precedes HTTP/2: a challenge that no client answers (protocol.md 2.5) */
static int early_payload(struct stream *stream)
{
	uint8_t bytes[9 + 128] = {0xff, 0xff, 0xff, 'T', 'S'};
	struct public_key challenge;
	struct secret_key unused;
	char text[KEY_TEXT_MAX];
	int length;

	secret_key_generate(&unused);
	secret_key_public(&unused, &challenge);
	secret_key_wipe(&unused);
	public_key_format(&challenge, KEY_CHALLENGE, text);
	length = snprintf((char *)bytes + 9, sizeof(bytes) - 9, "{\"nodeKeyChallenge\":\"%s\"}",
			  text);
	put_be32(bytes + 5, (uint32_t)length);
	return stream_write(stream, bytes, (size_t)length + 9);
}

/* begin_http2() - The connection from here on; @stream is taken */
static void begin_http2(struct control *c, struct stream *stream, const struct public_key *machine,
			uint16_t version, unsigned int source, const struct address *from)
{
	struct node_connection *n = calloc(1, sizeof(*n));
	struct error err;

	if (n) {
		n->control = c;
		n->machine = *machine;
		n->source = source;
		n->from = *from;
	}
	if (!n || early_payload(stream) < 0 || node_quota_begin(n) < 0) {
		stream_close(stream);
		free(n);
		return;
	}
	n->version = version;
	n->idle_since = clock_boottime();
	n->next = c->connections;
	n->link = &c->connections;
	if (n->next)
		n->next->link = &n->next;
	c->connections = n;
	deadlines_set(&c->connections_due, &n->due, n->idle_since + LOOK_EVERY);
	if (http2_serve(stream, &events, n, &n->http2, &err) < 0) {
		connection_free(n);
		return;
	}
	http2_server_limit_bodies(n->http2, LIMIT_CONTROL_GUEST_BODIES);
	stream_resume(stream);
	node_quota_bound(n);
}

void node_accept(struct control *c, struct web_exchange *x)
{
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	struct ts2021_session session;
	struct public_key machine;
	struct buffer head = BUFFER_INIT(0);
	struct stream *stream;
	struct error err;
	uint16_t version;
	unsigned int source = x->source;
	struct address from = x->peer.address;

	if (!x->head->upgrade || !http1_header_has(x->head, "Upgrade", TS2021_PROTOCOL)) {
		web_reply_text(x, 500,
			       "no Upgrade header came; a proxy before this server has to pass "
			       "'Upgrade: " TS2021_PROTOCOL "' on");
		return;
	}
	if (!read_initiation(http1_header(x->head, "X-Tailscale-Handshake"), initiation)) {
		web_reply_text(x, 400, "X-Tailscale-Handshake is missing or no handshake");
		return;
	}
	if (ts2021_server_accept(&c->noise_key, initiation, NULL, response, &machine, &version,
				 &session) < 0) {
		web_reply_text(x, 400, "the handshake is not for this server's key: fetch /key");
		return;
	}
	/* Younger ones are refused when they register: they show that. */
	if (version < NOISE_VERSION_MIN) {
		ts2021_session_wipe(&session);
		refuse_old(c, source, &from, version);
		web_reply_text(x, 400, "this client is too old (version %u; %d is needed)", version,
			       CONTROL_VERSION_MIN);
		return;
	}
	stream = web_upgrade(x, TS2021_PROTOCOL, &head);
	if (stream && stream_write(stream, response, sizeof(response)) == 0 &&
	    ts2021_session_stream(&session, stream, buffer_head(&head), head.length, &stream,
				  &err) == 0)
		begin_http2(c, stream, &machine, version, source, &from);
	else if (stream)
		stream_close(stream);
	ts2021_session_wipe(&session);
	buffer_free(&head);
}

/* Telling */

/* has_to_wait() - Whether a full map would take too much; a first one may take more, so that
 * changes for all don't keep newcomers waiting */
static bool has_to_wait(const struct control *c, const struct node_exchange *e)
{
	return c->queued >
	       LIMIT_CONTROL_QUEUED + (e->mapped ? 0 : (size_t)LIMIT_CONTROL_QUEUED_FIRST);
}

/* idle_reader() - Who has taken nothing of a full map for PRESSED_MAX; NULL: nobody */
static struct node_exchange *idle_reader(const struct control *c, nanoseconds now)
{
	for (struct node_exchange *e = c->exchanges[EXCHANGE_MAP]; e; e = e->next) {
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
 * tell_all() - Whoever has something to be told, for a while
 *
 * All are told of one time, so that what many are told is one text. Full maps wait while too much
 * of others' has not left: when all reconnect at once, what they get would fill the memory.
 */
static void tell_all(struct control *c)
{
	/* One round: who has to wait goes to the end of the list. */
	size_t left = c->tailnet.session_count;
	struct tailnet_time now = tailnet_now();
	struct map_session *s;

	while (left-- > 0 && (s = tailnet_next_ready(&c->tailnet))) {
		if (s->node && s->wants & WANTS_FULL && has_to_wait(c, s->owner)) {
			session_wake(s);
			continue;
		}
		tell(s, now);
		if (clock_boottime() - now.boot > TELL_SLICE && c->tailnet.ready) {
			control_settle(c);
			break;
		}
	}
}

void node_answer(struct control *c)
{
	struct node_exchange *e;

	/* An answer may end its connection: only the head of the list is sure to be there. */
	while ((e = c->exchanges[EXCHANGE_ANSWER])) {
		struct http2_exchange *x = e->x;
		struct buffer answer = e->answer;
		int status = e->status;
		const char *type = status != 200 ? text_type : answer.length ? answer_type : NULL;

		e->answer = BUFFER_INIT(0);
		node_exchange_free(e);
		if (status == NODE_ANSWER_RESET)
			http2_reset(x);
		else
			(void)http2_reply(x, status, type, buffer_head(&answer), answer.length);
		buffer_free(&answer);
	}
	tell_all(c);
}

static void map_due(struct node_exchange *e, nanoseconds now)
{
	static const char keep_alive[] = "{\"KeepAlive\":true}";

	if (e->stalled_since != DEADLINE_NEVER && e->stalled_since + STALLED_MAX <= now) {
		log_info("node=%lld does not read its map: cut",
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

/* connection_due() - Whether it has waited for a request, or idled, for too long */
static void connection_due(struct node_connection *n, nanoseconds now)
{
	nanoseconds waiting = http2_server_waiting_since(n->http2), next = now + LOOK_EVERY;
	nanoseconds idle_max = n->used ? IDLE_MAX : REQUEST_MAX;

	if (waiting != DEADLINE_NEVER && waiting + REQUEST_MAX <= now) {
		node_connection_close(n);
		return;
	}
	if (waiting != DEADLINE_NEVER)
		next = deadline_min(next, waiting + REQUEST_MAX);
	if (n->idle_since != DEADLINE_NEVER && http2_server_exchanges(n->http2) == 0) {
		if (n->idle_since + idle_max <= now) {
			node_connection_close(n);
			return;
		}
		next = deadline_min(next, n->idle_since + idle_max);
	}
	deadlines_set(&n->control->connections_due, &n->due, next);
}

void node_tick(struct control *c, nanoseconds now)
{
	struct node_exchange *next, *idle;
	struct deadline *due;

	for (struct node_exchange *e = c->exchanges[EXCHANGE_HELD]; e; e = next) {
		next = e->next;
		if (e->until <= now)
			decide(e, false);
	}
	node_ssh_tick(c, now);
	/* Others wait for what these hold. */
	while (c->queued > LIMIT_CONTROL_QUEUED && (idle = idle_reader(c, now)))
		end_stream(idle);
	deadlines_turn(&c->maps_due, now);
	while ((due = deadlines_next(&c->maps_due)))
		map_due(container_of(due, struct node_exchange, due), now);
	deadlines_turn(&c->connections_due, now);
	while ((due = deadlines_next(&c->connections_due)))
		connection_due(container_of(due, struct node_connection, due), now);
}
