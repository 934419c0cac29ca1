/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/funnel_proof.c - ACME's HTTP-01 through Funnel
 *
 * An ingress node brings plain HTTP for one purpose alone: the authority's question for a proof.
 * So a connection to port 80 of a name that funnels gets the answer to one request, which is the proof
 * or 404. Nothing that port 80 serves to peers is reached this way.
 */
#include "services/funnel.h"

#include "base/cleanup.h"
#include "services/certs/keeper.h"
#include "transport/loop_timer.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE (10 * NSEC_PER_SEC)

struct proof {
	struct services_part part;
	struct stream *stream;
	struct http1_parser parser;
	struct loop_timer *timer;
};

static void proof_free(struct proof *proof)
{
	services_remove(&proof->part);
	loop_timer_free(proof->timer);
	http1_parser_free(&proof->parser);
	free(proof);
}

static void give_up(struct proof *proof)
{
	stream_close(proof->stream);
	proof_free(proof);
}

static void close_part(struct services_part *part)
{
	give_up(container_of(part, struct proof, part));
}

static int write_answer(struct buffer *out, const char *text, bool head_only)
{
	int r = http1_write_response(out, text ? 200 : 404);

	if (r == 0)
		r = http1_write_header(out, "Content-Type", "text/plain");
	if (r == 0)
		r = http1_write_header(out, "Connection", "close");
	if (r == 0)
		r = http1_write_length(out, text ? strlen(text) : 0);
	if (r == 0)
		r = http1_write_head_end(out);
	return r == 0 && text && !head_only ? buffer_append(out, text, strlen(text)) : r;
}

static void answer(struct proof *proof)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(LIMIT_HTTP_HEADER);
	const struct http1_head *head = &proof->parser.head;
	bool get = strcmp(head->method, "GET") == 0, only_head = strcmp(head->method, "HEAD") == 0;
	const char *text = get || only_head
				   ? keeper_http_proof(proof->part.services->keeper, head->target)
				   : NULL;
	struct stream *stream = proof->stream;
	bool sent = write_answer(&out, text, only_head) == 0 &&
		    stream_write(stream, buffer_head(&out), out.length) == 0;

	stream_set_events(stream, NULL, NULL);
	proof_free(proof);
	if (sent)
		stream_finish(stream);
	else
		stream_close(stream);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct proof *proof = user;
	size_t used;
	int r = http1_parse(&proof->parser, bytes, length, &used);

	if (r == HTTP1_HEAD)
		answer(proof);
	else if (r != HTTP1_MORE)
		give_up(proof);
}

static void on_closed(void *user, const struct error *err)
{
	(void)err;
	give_up(user);
}

static void on_late(void *user)
{
	give_up(user);
}

void funnel_proof_open(struct services *services, struct stream *stream)
{
	static const struct stream_events events = {.data = on_data, .closed = on_closed};
	struct proof *proof = calloc(1, sizeof(*proof));

	if (!proof || loop_timer_create(services->loop, on_late, proof, &proof->timer) < 0) {
		stream_close(stream);
		free(proof);
		return;
	}
	proof->stream = stream;
	http1_parser_init(&proof->parser, false);
	services_add(services, &proof->part, 0, close_part);
	services_add_funnel(&proof->part);
	loop_timer_at(proof->timer, clock_boottime() + PATIENCE);
	stream_set_events(stream, &events, proof);
	stream_resume(stream); /* last: it may answer before it returns */
}
