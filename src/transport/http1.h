/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http1.h - HTTP/1.1, strictly (sans-I/O; RFC 9110, RFC 9112)
 *
 * Parser for requests and responses, and a writer. For client and server alike.
 *
 * Theory of operation
 *   http1_parse() gets the bytes received, and returns the kind and the length of the first item
 *   in them; call it again with the remaining bytes until it wants more. It does not touch bytes
 *   after HTTP1_END: they belong to the next message, or after an upgrade to the next protocol.
 *
 *	while ((r = http1_parse(&p, bytes, length, &used)) > HTTP1_MORE) {
 *		…act on r: p.head, or p.body and p.body_length…
 *		bytes += used, length -= used;
 *	}
 *
 *   Refused, with -EBADMSG and p.error naming it: bare LF or CR, obs-fold, space
 *   before a colon, control bytes, both lengths, repeated or odd Content-Length, any
 *   transfer coding but one "chunked", a request without exactly one Host. Past a
 *   limit of base/limits.h: -EMSGSIZE.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/limits.h"

#include <stdbool.h>
#include <strings.h>

struct http1_header {
	const char *name; /* as sent; compare by strcasecmp() */
	const char *value;
};

struct http1_head {
	const char *method; /* requests */
	const char *target;
	int status; /* responses */
	const char *reason;
	int minor; /* HTTP/1.minor */
	struct http1_header headers[LIMIT_HTTP_HEADERS];
	size_t header_count;
	int64_t content_length; /* -1: none was sent */
	bool chunked;
	bool keep_alive;
	bool upgrade; /* Connection holds "upgrade", and Upgrade is there */
};

enum http1_found {
	HTTP1_MORE, /* all bytes were used, more are needed */
	HTTP1_HEAD, /* p.head is complete, and valid until the next head begins */
	HTTP1_BODY, /* p.body, p.body_length: a piece, pointing into the input */
	HTTP1_END,  /* the message is complete; the next call begins another */
};

struct http1_parser {
	struct http1_head head;
	const uint8_t *body;
	size_t body_length;
	const char *error; /* static text of the last refusal */

	/* After HTTP1_END of a chunked body, if `keep_trailers`; valid until the next head begins. */
	struct http1_header *trailers;
	size_t trailer_count;
	bool keep_trailers; /* the owner's; else they are checked and dropped */

	/* Private. */
	struct buffer trailer_block;
	struct buffer block; /* the head so far */
	unsigned int state;
	bool response;
	bool bodyless;
	bool begun;          /* the block has its first line */
	bool complete;       /* the block holds a head that was handed out */
	uint8_t line_length; /* of a chunk's size line */
	uint8_t digits;
	int64_t left; /* of the body or chunk */
};

/** http1_parser_init() - @response: it reads responses, else requests */
void http1_parser_init(struct http1_parser *p, bool response);
void http1_parser_free(struct http1_parser *p);

/**
 * http1_parser_bodyless() - The next response has no body, whatever its headers say
 *
 * For the answer to HEAD, and to CONNECT.
 */
void http1_parser_bodyless(struct http1_parser *p);

/**
 * http1_parse() - Look at the next bytes
 * @ret_used: how many of @length were consumed
 *
 * Return: enum http1_found, or negative errno, after which the parser accepts nothing more
 */
int http1_parse(struct http1_parser *p, const uint8_t *bytes, size_t length, size_t *ret_used);

/**
 * http1_parse_end() - The peer closed its side
 *
 * Return: HTTP1_END when that ended a body without length; HTTP1_MORE between messages;
 * -EPIPE when a message is incomplete
 */
int http1_parse_end(struct http1_parser *p);

/** http1_name_is() - Whether header names are the same; quick if they begin otherwise, as they mostly do */
static inline bool http1_name_is(const char *one, const char *other)
{
	return ((*one ^ *other) & 0x5f) == 0 && strcasecmp(one, other) == 0;
}

/** http1_header() - The value of the first header @name, or NULL */
const char *http1_header(const struct http1_head *head, const char *name);

/** http1_header_has() - Whether a list header (Connection, Upgrade) holds @token, in any case */
bool http1_header_has(const struct http1_head *head, const char *name, const char *token);

/* Writing. Each returns 0, -EINVAL for bytes that a line may not hold, -EMSGSIZE, -ENOMEM. */

int http1_write_request(struct buffer *out, const char *method, const char *target);
int http1_write_response(struct buffer *out, int status);
int http1_write_header(struct buffer *out, const char *name, const char *value);
int http1_write_length(struct buffer *out, uint64_t content_length);
int http1_write_head_end(struct buffer *out);

/** http1_write_chunk() - One chunk of a chunked body; @length 0 writes nothing */
int http1_write_chunk(struct buffer *out, const void *bytes, size_t length);

/** http1_write_last_chunk() - The end of a chunked body */
int http1_write_last_chunk(struct buffer *out, const struct http1_header *trailers, size_t count);

/** http1_reason() - The reason phrase of a status; "" for one that pillion does not send */
const char *http1_reason(int status);

/** http1_token_is_valid(), http1_value_is_valid() - RFC 9110 §5.6.2, §5.5 */
bool http1_token_is_valid(const char *text);
bool http1_value_is_valid(const char *text);
