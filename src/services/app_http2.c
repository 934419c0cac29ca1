/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/app_http2.c - exchanges on HTTP/2 connections to the app
 *
 * DOC: Theory of operation
 *
 * A link is one connection to one target, with many exchanges at once. It stays for IDLE_LIMIT
 * after the last one, also in the next configuration, if that has the target at the same addresses.
 * An app that has sent GOAWAY gets no more on that link, and one that refuses a stream
 * (REFUSED_STREAM) has done nothing, so the exchange calls again.
 */
#include "base/cleanup.h"
#include "services/exchange.h"
#include "transport/http2_duplex.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdlib.h>

#define IDLE_LIMIT (60 * NSEC_PER_SEC)
#define FLOWS_MAX  256u
#define KEPT_MAX   ((size_t)1024 * 1024)
#define WINDOW     ((size_t)256 * 1024)

struct app_link {
	LIST_ENTRY(app_link) entry;
	struct services *services;
	struct serving *serving; /* the one in force, or the last one with this target */
	unsigned int target;
	bool tls;
	struct http2_duplex *duplex;
	struct loop_timer *timer;
	bool used; /* it has brought an answer */
};

struct app_http2 {
	struct exchange_back back;
	struct exchange *x; /* NULL: closed */
	struct app_link *link;
	struct http2_flow *flow; /* NULL: gone */
	unsigned int holds;
	bool begun; /* the final head came */
	bool ended;
};

/* --- Connections --- */

static void link_free(struct app_link *link)
{
	LIST_REMOVE(link, entry);
	loop_timer_free(link->timer);
	http2_duplex_close(link->duplex);
	serving_release(link->serving);
	free(link);
}

static bool is_over(const struct app_link *link)
{
	return http2_duplex_flows(link->duplex) == 0 &&
	       (http2_duplex_is_going(link->duplex) || link->serving != link->services->serving);
}

static void on_changed(void *user)
{
	struct app_link *link = user;

	if (http2_duplex_flows(link->duplex) > 0)
		loop_timer_at(link->timer, DEADLINE_NEVER);
	else
		loop_timer_at(link->timer, clock_boottime() + (is_over(link) ? 0 : IDLE_LIMIT));
}

static void on_ended(void *user, const struct error *err)
{
	(void)err;
	link_free(user);
}

static void on_timer(void *user)
{
	link_free(user);
}

/* find_target() - The target of @x by its number in the configuration in force, or in its own one */
static struct serving *find_target(const struct exchange *x, unsigned int *ret)
{
	struct services *services = exchange_services(x);
	int now = serving_target_now(services, exchange_serving(x), exchange_target(x));

	*ret = now >= 0 ? (unsigned int)now : exchange_target(x);
	return now >= 0 ? services->serving : exchange_serving(x);
}

int app_http2_add(struct exchange *x, struct stream *app, bool tls)
{
	static const struct http2_duplex_events events = {
		.changed = on_changed,
		.ended = on_ended,
	};
	struct services *services = exchange_services(x);
	const struct http2_duplex_options options = {
		.window = WINDOW,
		.kept = KEPT_MAX,
		.pool = &services->kept,
		.flows = FLOWS_MAX,
	};
	struct app_link *link = calloc(1, sizeof(*link));

	if (!link || loop_timer_create(services->loop, on_timer, link, &link->timer) < 0) {
		stream_close(app);
		free(link);
		return -ENOMEM;
	}
	link->services = services;
	link->tls = tls;
	if (http2_duplex_open(app, &options, &events, link, &link->duplex) < 0) {
		loop_timer_free(link->timer);
		free(link);
		return -ENOMEM;
	}
	link->serving = serving_hold(find_target(x, &link->target));
	LIST_INSERT_HEAD(&services->app_links, link, entry);
	stream_resume(app);
	return 0;
}

void app_http2_move(struct services *services, const struct serving *before)
{
	struct app_link *link, *next;
	int found;

	for (link = LIST_FIRST(&services->app_links); link; link = next) {
		next = LIST_NEXT(link, entry);
		found = link->serving == before ? serving_place_now(services, before, link->target)
						: -1;
		if (found >= 0) {
			serving_release(link->serving);
			link->serving = serving_hold(services->serving);
			link->target = (unsigned int)found;
		} else if (is_over(link)) {
			link_free(link);
		}
	}
}

void app_http2_forget(struct services *services)
{
	struct app_link *link, *next;

	for (link = LIST_FIRST(&services->app_links); link; link = next) {
		next = LIST_NEXT(link, entry);
		if (http2_duplex_flows(link->duplex) == 0)
			link_free(link);
	}
}

/* --- Exchanges --- */

static struct app_http2 *app_of(struct exchange_back *back)
{
	return container_of(back, struct app_http2, back);
}

static void enter(struct app_http2 *a)
{
	a->holds++;
}

static void leave(struct app_http2 *a)
{
	if (--a->holds == 0 && !a->x)
		free(a);
}

static void on_head(void *user, const struct http1_head *head, bool last)
{
	struct app_http2 *a = user;

	enter(a);
	a->begun |= head->status >= 200;
	a->link->used = true;
	exchange_on_head(a->x, head, last);
	leave(a);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct app_http2 *a = user;

	enter(a);
	exchange_on_body(a->x, bytes, length);
	leave(a);
}

static void on_end(void *user, const struct http1_header *trailers, size_t count)
{
	struct app_http2 *a = user;

	enter(a);
	a->ended = true;
	exchange_on_end(a->x, trailers, count);
	leave(a);
}

static void on_drained(void *user)
{
	struct app_http2 *a = user;

	enter(a);
	exchange_on_drained(a->x);
	leave(a);
}

static void on_gone(void *user, uint32_t code)
{
	struct app_http2 *a = user;
	enum exchange_failure how = code == HTTP2_CODE_REFUSED   ? EXCHANGE_UNSEEN
				    : a->link->used && !a->begun ? EXCHANGE_IDLE
								 : EXCHANGE_FAILED;

	a->flow = NULL;
	if (a->ended)
		return;
	enter(a);
	exchange_on_failure(
		a->x, how, a->link->used ? "It reset the request" : "It does not answer by HTTP/2");
	leave(a);
}

static int send_body(struct exchange_back *back, const uint8_t *bytes, size_t length)
{
	struct app_http2 *a = app_of(back);

	return a->flow ? http2_flow_write(a->flow, bytes, length) : -EPIPE;
}

static int send_end(struct exchange_back *back, const struct http1_header *trailers, size_t count)
{
	struct app_http2 *a = app_of(back);

	return a->flow ? http2_flow_end(a->flow, trailers, count) : -EPIPE;
}

static size_t pending(const struct exchange_back *back)
{
	const struct app_http2 *a = container_of(back, const struct app_http2, back);

	return a->flow ? http2_flow_pending(a->flow) : 0;
}

static void pause_answer(struct exchange_back *back)
{
	if (app_of(back)->flow)
		http2_flow_pause(app_of(back)->flow);
}

static void resume_answer(struct exchange_back *back)
{
	struct app_http2 *a = app_of(back);

	enter(a);
	if (a->flow)
		http2_flow_resume(a->flow);
	leave(a);
}

static void close_back(struct exchange_back *back, bool whole)
{
	struct app_http2 *a = app_of(back);

	enter(a);
	http2_flow_close(TAKE_PTR(a->flow), whole ? HTTP2_CODE_NONE : HTTP2_CODE_CANCEL);
	a->x = NULL;
	leave(a);
}

/* find_link() - With room for another exchange */
static struct app_link *find_link(const struct exchange *x)
{
	unsigned int target;
	const struct serving *serving = find_target(x, &target);
	struct app_link *link;

	LIST_FOREACH(link, &exchange_services(x)->app_links, entry)
		if (link->serving == serving && link->target == target &&
		    http2_duplex_has_room(link->duplex))
			return link;
	return NULL;
}

struct exchange_back *app_http2_open(struct exchange *x)
{
	static const struct exchange_back_operations operations = {
		.body = send_body,
		.end = send_end,
		.pending = pending,
		.pause = pause_answer,
		.resume = resume_answer,
		.close = close_back,
	};
	static const struct http2_flow_events events = {
		.head = on_head,
		.data = on_data,
		.end = on_end,
		.drained = on_drained,
		.gone = on_gone,
	};
	struct buffer *head = exchange_head_text(x);
	struct app_link *link = find_link(x);
	struct app_http2 *a = link ? calloc(1, sizeof(*a)) : NULL;
	struct http1_parser parser;
	size_t used;
	int r = -EBADMSG;

	if (!a)
		return NULL;
	a->back.operations = &operations;
	a->x = x;
	a->link = link;
	http1_parser_init(&parser, false);
	parser.block.limit = head->limit;
	if (http1_parse(&parser, buffer_head(head), head->length, &used) == HTTP1_HEAD)
		r = http2_duplex_send(link->duplex, &parser.head, link->tls ? "https" : "http",
				      exchange_request_is_whole(x), &events, a, &a->flow);
	http1_parser_free(&parser);
	if (r < 0 || !a->flow) {
		free(a);
		return NULL;
	}
	return &a->back;
}
