/* SPDX-License-Identifier: BSD-3-Clause */
/* control/c2n.c - requests of control to this node (sans-I/O) */
#include "control/c2n.h"

#include "base/limits.h"
#include "transport/http1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct parsed {
	char *method;
	char *target;
	struct buffer body;
	bool ended;
};

static int keep_head(struct parsed *p, const struct http1_head *head)
{
	p->method = strdup(head->method);
	p->target = strdup(head->target);
	return p->method && p->target ? 0 : -ENOMEM;
}

static int parse(const uint8_t *bytes, size_t length, struct parsed *p)
{
	struct http1_parser parser;
	size_t used;
	int r;

	http1_parser_init(&parser, false);
	while (!p->ended && (r = http1_parse(&parser, bytes, length, &used)) > HTTP1_MORE) {
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD)
			r = keep_head(p, &parser.head);
		else if (r == HTTP1_BODY)
			r = buffer_append(&p->body, parser.body, parser.body_length);
		else
			p->ended = true;
		if (r < 0)
			break;
	}
	http1_parser_free(&parser);
	return p->ended && length == 0 ? 0 : -EBADMSG;
}

static void ask(struct parsed *p, c2n_handler *handler, void *user, struct control_c2n_reply *reply)
{
	char *query = strchr(p->target, '?');
	struct control_c2n_request request;

	if (query)
		*query++ = 0;
	request = (struct control_c2n_request){
		.method = p->method,
		.path = p->target,
		.query = query,
		.body = p->body.length ? buffer_head(&p->body) : NULL,
		.body_length = p->body.length,
	};
	if (strcmp(request.path, "/echo") == 0) {
		if (buffer_append(&reply->body, request.body, request.body_length) == 0)
			reply->status = 200;
	} else {
		handler(user, &request, reply);
	}
}

static int write_reply(const struct control_c2n_reply *reply, struct buffer *out)
{
	static const char *const plain = "text/plain";
	struct buffer body = reply->body;
	int r;

	r = http1_write_response(out, reply->status ? reply->status : 400);
	if (r == 0)
		r = http1_write_header(out, "Content-Type",
				       reply->content_type ? reply->content_type : plain);
	if (r == 0)
		r = http1_write_length(out, body.length);
	if (r == 0)
		r = http1_write_head_end(out);
	if (r == 0 && body.length)
		r = buffer_append(out, buffer_head(&body), body.length);
	return r;
}

int c2n_respond(const uint8_t *request, size_t length, c2n_handler *handler, void *user,
		struct buffer *out)
{
	struct parsed p = {.body = BUFFER_INIT(LIMIT_RPC_BODY)};
	struct control_c2n_reply reply = {.body = BUFFER_INIT(LIMIT_C2N_BODY)};
	int r;

	if (parse(request, length, &p) == 0)
		ask(&p, handler, user, &reply);
	r = write_reply(&reply, out);
	free(p.method);
	free(p.target);
	buffer_free(&p.body);
	buffer_free(&reply.body);
	return r;
}
