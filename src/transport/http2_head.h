/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http2_head.h - heads between HTTP/2 and HTTP/1.1 (sans-I/O; RFC 9113 §8, RFC 8441)
 *
 * Theory of operation
 *   A head of HTTP/2 is written as the text of HTTP/1.1, which the strict parser of http1.h reads:
 *   one set of rules decides for both what a head may hold. :authority becomes Host, pieces of a
 *   cookie become one header, and a body of unknown length shows as "chunked". A WebSocket by
 *   extended CONNECT becomes a GET with Upgrade, and with a Sec-WebSocket-Key of our own.
 *
 *   Refused besides: a Host that differs from :authority, a Content-Length beside the end of the
 *   stream, CONNECT, and extended CONNECT for other protocols.
 */
#pragma once

#include "transport/http1.h"

#include <nghttp2/nghttp2.h>

enum http2_head_kind {
	HTTP2_REQUEST,
	HTTP2_ANSWER,
	HTTP2_TRAILERS,
};

struct http2_head {
	struct http1_parser parsed; /* its head is complete after http2_head_end() */
	bool tunnel; /* extended CONNECT: the stream's bytes are those of an upgrade */

	/* Private. */
	enum http2_head_kind kind;
	bool begun; /* the first line was written */
	int problem;
	char *method, *path, *authority, *protocol, *status;
	struct buffer text, cookies;
	size_t cost;
};

/** http2_head_new() - To be filled by http2_head_field(); NULL without memory */
struct http2_head *http2_head_new(enum http2_head_kind kind);
void http2_head_free(struct http2_head *h);

/**
 * http2_head_field() - Add a header
 *
 * Return: 0; -EMSGSIZE for a head far above LIMIT_HTTP_HEADER, which no answer is due to. Other
 * faults show in http2_head_end()
 */
int http2_head_field(struct http2_head *h, const uint8_t *name, size_t name_length,
		     const uint8_t *value, size_t value_length);

/**
 * http2_head_end() - The head is whole
 * @last: the stream ends with it
 *
 * Return: 0; -EBADMSG; -EMSGSIZE; -EOPNOTSUPP for a protocol of extended CONNECT; -ENOMEM
 */
int http2_head_end(struct http2_head *h, bool last);

/** struct http2_fields - A head in the form that nghttp2 takes */
struct http2_fields {
	nghttp2_nv list[LIMIT_HTTP_HEADERS + 4];
	size_t count;
	char *texts; /* of all but the pseudo-headers, the names in lower case */
	char status[4];
};

/** http2_fields_request() - @head, of HTTP/1.1; what is of the connection alone is left out */
int http2_fields_request(struct http2_fields *f, const struct http1_head *head, const char *scheme);
int http2_fields_answer(struct http2_fields *f, const struct http1_head *head);
int http2_fields_trailers(struct http2_fields *f, const struct http1_header *trailers,
			  size_t count);
void http2_fields_free(struct http2_fields *f);
