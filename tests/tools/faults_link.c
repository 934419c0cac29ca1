/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/tools/faults_link.c - a client's connection and the one behind it; see faults.h */
#include "faults.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "wire/tailcfg.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define FRAME_HEADER 4

/* A request of the client and its answer. */
struct request {
	struct link *link;
	struct request *next, **place;
	struct http2_exchange *x;
	struct http2_request *behind;
	bool sent;    /* to the real server */
	bool map;     /* its answer is a stream of frames */
	bool held;    /* by a fault */
	bool made_up; /* answered by us, without an end */
	bool ended;   /* the real server's answer is complete */
	size_t frame_left;
	struct buffer waiting;  /* of the answer */
	struct buffer inserted; /* for the next boundary */
};

struct link {
	struct faults *faults;
	struct link *next, **place;
	struct stream *below; /* the client's; the Noise stream owns it */
	struct http2_server *front;
	struct secret_key machine;
	struct ts2021_connect *connecting;
	struct http2_client *behind;
	struct request *requests;
	bool wants_key;
};

static void link_close(struct link *l)
{
	*l->place = l->next;
	if (l->next)
		l->next->place = l->place;
	ts2021_cancel(TAKE_PTR(l->connecting));
	http2_server_close(TAKE_PTR(l->front)); /* all requests go */
	http2_close(TAKE_PTR(l->behind));
	secret_key_wipe(&l->machine);
	free(l);
}

/* The answer */

/* pass() - Up to @length bytes of what waits go to the client */
static void pass(struct request *q, size_t length)
{
	if (length > q->waiting.length)
		length = q->waiting.length;
	(void)http2_push(q->x, buffer_head(&q->waiting), length);
	buffer_consume(&q->waiting, length);
}

static void pass_inserted(struct request *q)
{
	struct buffer inserted = q->inserted;

	q->inserted = BUFFER_INIT(SIZE_MAX);
	if (inserted.length)
		(void)http2_push(q->x, buffer_head(&inserted), inserted.length);
	buffer_free(&inserted);
}

/* pass_on() - Forward an answer of the real server; a map stream frame by frame */
static void pass_on(struct request *q)
{
	if (q->map && q->link->faults->silent)
		return;
	while (q->map && q->waiting.length) {
		if (q->frame_left == 0) {
			struct cursor c = cursor_of(buffer_head(&q->waiting), q->waiting.length);
			uint32_t length = cursor_le32(&c);

			pass_inserted(q);
			if (!cursor_ok(&c))
				return;
			q->frame_left = FRAME_HEADER + (size_t)length;
		}
		size_t before = q->waiting.length;

		pass(q, q->frame_left);
		q->frame_left -= before - q->waiting.length;
	}
	pass(q, q->waiting.length);
	if (q->map && q->frame_left == 0)
		pass_inserted(q);
	if (q->ended)
		http2_finish(q->x);
}

static void on_response(void *user, int status, int64_t retry_after)
{
	struct request *q = user;
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)retry_after);
	q->x->headers = &(struct http1_header){"retry-after", text};
	q->x->header_count = retry_after >= 0;
	q->map = q->map && status == 200;
	(void)http2_begin(q->x, status, "application/json");
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct request *q = user;

	(void)buffer_append(&q->waiting, bytes, length);
	pass_on(q);
}

static void on_end(void *user)
{
	struct request *q = user;

	q->behind = NULL;
	q->ended = true;
	pass_on(q);
}

static void on_failed(void *user, const struct error *err)
{
	struct request *q = user;

	faults_say("%s behind: %s", q->x->path, err->text);
	q->behind = NULL;
	http2_reset(q->x);
}

static const struct http2_events behind_events = {
	.response = on_response,
	.data = on_data,
	.end = on_end,
	.failed = on_failed,
};

/* The connection behind */

static void send_behind(struct request *q)
{
	struct http2_message message = {
		.method = q->x->method,
		.path = q->x->path,
		.body = buffer_head(&q->x->body),
		.body_length = q->x->body.length,
	};
	struct error err;

	q->sent = true;
	if (http2_send(q->link->behind, &message, &behind_events, q, &q->behind, &err) < 0)
		on_failed(q, &err);
}

static void send_all(struct link *l)
{
	struct request *next;

	for (struct request *q = l->requests; q; q = next) {
		next = q->next;
		if (!q->sent && !q->held && !q->made_up)
			send_behind(q);
	}
}

static void on_behind_ended(void *user, const struct error *err)
{
	struct link *l = user;

	faults_say("the connection behind ended: %s", err ? err->text : "in order");
	link_close(l);
}

static void on_connected(void *user, struct stream *stream, const struct endpoint *to,
			 const struct error *cause)
{
	struct link *l = user;
	struct error err = {0};
	int r = 0;

	(void)to;
	l->connecting = NULL;
	if (!stream) {
		err = *cause;
		r = err.code;
		l->faults->have_behind_key = false;
	} else {
		r = http2_open(&l->faults->loop, stream, "behind", on_behind_ended, l, &l->behind,
			       &err);
	}
	if (r < 0) {
		faults_say("connect behind: %s", err.text);
		link_close(l);
		return;
	}
	send_all(l);
}

/* connect_behind() - To the real server, as a machine of its own for each of the client's */
static void connect_behind(struct link *l)
{
	struct faults *f = l->faults;
	struct ts2021_target target = {
		.base = &f->behind,
		.machine = &l->machine,
		.server = &f->behind_key,
		.version = TAILCFG_CAPABILITY_VERSION,
	};
	struct error err;

	if (l->behind || l->connecting)
		return;
	if (!f->have_behind_key) {
		l->wants_key = true;
		faults_fetch_key(f);
	} else if (ts2021_connect(&f->dialer, &target, on_connected, l, &l->connecting, &err) < 0) {
		faults_say("connect behind: %s", err.text);
	}
}

void links_go_on(struct faults *f, const struct error *err)
{
	struct link *next;

	for (struct link *l = f->links; l; l = next) {
		next = l->next;
		if (!l->wants_key)
			continue;
		l->wants_key = false;
		if (err)
			link_close(l);
		else
			connect_behind(l);
	}
}

/* The client's side */

/* make_up() - Answer as the fault says */
static void make_up(struct request *q, const struct fault *fault)
{
	struct http1_header headers[ARRAY_SIZE(fault->headers)];
	char names[ARRAY_SIZE(fault->headers)][64] = {0};

	for (size_t i = 0; i < fault->header_count; i++) {
		const char *colon = strchr(fault->headers[i], ':');

		for (size_t k = 0; fault->headers[i] + k < colon && k + 1 < sizeof(names[i]); k++)
			names[i][k] = (char)(fault->headers[i][k] | 0x20);
		headers[i] = (struct http1_header){names[i], colon + 1};
	}
	q->x->headers = headers;
	q->x->header_count = fault->header_count;
	if (fault->open) {
		struct buffer body = fault->body;

		q->made_up = true;
		(void)http2_begin(q->x, fault->status, "application/json");
		(void)http2_push(q->x, buffer_head(&body), body.length);
	} else {
		struct buffer body = fault->body;

		(void)http2_reply(q->x, fault->status, "application/json", buffer_head(&body),
				  body.length);
	}
}

static void on_request(void *user, struct http2_exchange *x)
{
	struct link *l = user;
	struct request *q = calloc(1, sizeof(*q));
	const struct fault *fault = faults_of(l->faults, x->path);

	if (!q)
		abort();
	q->link = l;
	q->x = x;
	/* A lite update says "Stream" too, as false. */
	q->map = strcmp(x->path, "/machine/map") == 0 && x->body.length &&
		 memmem(buffer_head(&x->body), x->body.length, "\"Stream\":true", 13);
	q->waiting = q->inserted = BUFFER_INIT(SIZE_MAX);
	q->next = l->requests;
	q->place = &l->requests;
	if (q->next)
		q->next->place = &q->next;
	l->requests = q;
	x->context = q;
	faults_say("%s%s", x->path, fault ? ": a fault" : "");
	if (fault && fault->hold) {
		q->held = true;
	} else if (fault) {
		q->made_up = true;
		make_up(q, fault);
	} else if (l->behind) {
		send_behind(q);
	} else {
		connect_behind(l);
	}
}

static void on_gone(void *user, struct http2_exchange *x)
{
	struct request *q = x->context;

	(void)user;
	*q->place = q->next;
	if (q->next)
		q->next->place = q->place;
	http2_cancel(q->behind);
	buffer_free(&q->waiting);
	buffer_free(&q->inserted);
	free(q);
	x->context = NULL;
}

static void on_ended(void *user, const struct error *err)
{
	(void)err;
	link_close(user);
}

static const struct http2_server_events front_events = {
	.request = on_request,
	.gone = on_gone,
	.ended = on_ended,
};

void link_open(struct faults *f, struct stream *noise, struct stream *below,
	       const struct public_key *machine)
{
	struct link *l = calloc(1, sizeof(*l));
	struct error err;

	if (!l)
		abort();
	l->faults = f;
	l->below = below;
	crypto_generichash(l->machine.bytes, KEY_SIZE, machine->bytes, KEY_SIZE,
			   (const unsigned char *)"behind control_faults", 21);
	l->next = f->links;
	l->place = &f->links;
	if (l->next)
		l->next->place = &l->next;
	f->links = l;
	if (f->early.length)
		(void)stream_write(noise, buffer_head(&f->early), f->early.length);
	if (http2_serve(noise, &front_events, l, &l->front, &err) < 0) {
		link_close(l);
		return;
	}
	stream_resume(noise);
}

/* Commands */

void links_insert(struct faults *f, const void *bytes, size_t length)
{
	for (struct link *l = f->links; l; l = l->next)
		for (struct request *q = l->requests; q; q = q->next) {
			if (!q->map)
				continue;
			(void)buffer_append(&q->inserted, bytes, length);
			if (q->frame_left == 0)
				pass_inserted(q);
		}
}

void links_raw(struct faults *f, const void *bytes, size_t length)
{
	for (struct link *l = f->links; l; l = l->next)
		(void)stream_write(l->below, bytes, length);
}

/* next_to_release() - A request that a fault keeps */
static struct request *next_to_release(struct link *l)
{
	for (struct request *q = l->requests; q; q = q->next)
		if (q->held || q->made_up)
			return q;
	return NULL;
}

void links_release(struct faults *f)
{
	struct link *next;
	struct request *q, *next_request;

	for (struct link *l = f->links; l; l = next) {
		next = l->next;
		while ((q = next_to_release(l))) {
			bool made_up = q->made_up;

			q->held = q->made_up = false;
			if (made_up)
				http2_finish(q->x);
		}
		for (q = l->requests; q; q = next_request) {
			next_request = q->next;
			pass_on(q);
		}
		if (l->behind)
			send_all(l);
		else if (l->requests)
			connect_behind(l);
	}
}

void links_cut(struct faults *f)
{
	while (f->links)
		link_close(f->links);
}
