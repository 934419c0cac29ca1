/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/http2_head.c - heads between HTTP/2 and HTTP/1.1 */
#include "transport/http2_head.h"

#include "base/cleanup.h"
#include "transport/http2_link.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is read of a head that is too long, before the stream is reset without an answer. */
#define COST_MAX ((size_t)4 * LIMIT_HTTP_HEADER)

#define WEBSOCKET_KEY 16 /* bytes, RFC 6455 §4.1 */

/* From HTTP/2 */

struct http2_head *http2_head_new(enum http2_head_kind kind)
{
	struct http2_head *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	http1_parser_init(&h->parsed, kind != HTTP2_REQUEST);
	h->kind = kind;
	h->text = BUFFER_INIT(LIMIT_HTTP_HEADER);
	h->cookies = BUFFER_INIT(LIMIT_HTTP_HEADER);
	return h;
}

static void free_source(struct http2_head *h)
{
	buffer_free_secret(&h->text);
	buffer_free_secret(&h->cookies);
	free(h->method);
	free(h->path);
	free(h->authority);
	free(h->protocol);
	free(h->status);
	h->method = h->path = h->authority = h->protocol = h->status = NULL;
}

void http2_head_free(struct http2_head *h)
{
	if (!h)
		return;
	http1_parser_free(&h->parsed);
	free_source(h);
	free(h);
}

static bool equals(const uint8_t *bytes, size_t length, const char *text)
{
	return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

/* take_pseudo() - A pseudo-header field; nghttp2 refuses unknown, misplaced and repeated ones */
static int take_pseudo(struct http2_head *h, const uint8_t *name, size_t name_length,
		       const uint8_t *value, size_t value_length)
{
	char **kept = NULL;

	if (equals(name, name_length, ":scheme"))
		return 0;
	if (equals(name, name_length, ":method"))
		kept = &h->method;
	else if (equals(name, name_length, ":path"))
		kept = &h->path;
	else if (equals(name, name_length, ":authority"))
		kept = &h->authority;
	else if (equals(name, name_length, ":protocol"))
		kept = &h->protocol;
	else if (equals(name, name_length, ":status"))
		kept = &h->status;
	if (!kept || *kept || h->begun || h->kind == HTTP2_TRAILERS ||
	    memchr(value, 0, value_length))
		return -EBADMSG;
	*kept = strndup((const char *)value, value_length);
	return *kept ? 0 : -ENOMEM;
}

/* put_websocket() - What RFC 8441 §5 leaves out of a WebSocket's handshake, and an app wants */
static int put_websocket(struct buffer *out)
{
	unsigned char key[WEBSOCKET_KEY], text[2 * WEBSOCKET_KEY];

	if (RAND_bytes(key, sizeof(key)) != 1)
		return -EIO;
	EVP_EncodeBlock(text, key, sizeof(key));
	return buffer_printf(
		out, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %s\r\n",
		text);
}

static int begin_request(struct http2_head *h)
{
	const char *method = h->method;
	int r;

	if (!method || !h->path)
		return -EBADMSG;
	if (strcmp(method, "CONNECT") == 0) {
		if (!h->protocol)
			return -EBADMSG;
		if (strcmp(h->protocol, "websocket") != 0)
			return -EOPNOTSUPP;
		h->tunnel = true;
		method = "GET";
	} else if (h->protocol) {
		return -EBADMSG;
	}
	r = http1_write_request(&h->text, method, h->path);
	if (r == 0 && h->authority)
		r = http1_write_header(&h->text, "host", h->authority);
	return r < 0 || !h->tunnel ? r : put_websocket(&h->text);
}

static int begin(struct http2_head *h)
{
	if (h->begun)
		return 0;
	h->begun = true;
	if (h->kind == HTTP2_REQUEST)
		return begin_request(h);
	if (h->kind == HTTP2_TRAILERS)
		return buffer_printf(&h->text, "HTTP/1.1 200 \r\n");
	return h->status && strlen(h->status) == 3
		       ? buffer_printf(&h->text, "HTTP/1.1 %s \r\n", h->status)
		       : -EBADMSG;
}

/* put_field() - @value has no terminating zero */
static int put_field(struct buffer *out, const uint8_t *name, size_t name_length,
		     const uint8_t *value, size_t value_length)
{
	_cleanup_free_ char *name_text = strndup((const char *)name, name_length);
	_cleanup_free_ char *value_text = strndup((const char *)value, value_length);

	if (!name_text || !value_text)
		return -ENOMEM;
	if (strlen(name_text) != name_length || strlen(value_text) != value_length)
		return -EBADMSG;
	return http1_write_header(out, name_text, value_text);
}

static int take_field(struct http2_head *h, const uint8_t *name, size_t name_length,
		      const uint8_t *value, size_t value_length)
{
	int r = begin(h);

	if (r < 0)
		return r;
	if (h->kind == HTTP2_REQUEST && equals(name, name_length, "cookie")) {
		r = h->cookies.length ? buffer_append(&h->cookies, "; ", 2) : 0;
		return r < 0 ? r : buffer_append(&h->cookies, value, value_length);
	}
	if (h->kind == HTTP2_REQUEST && equals(name, name_length, "host") && h->authority)
		return value_length == strlen(h->authority) &&
				       strncasecmp((const char *)value, h->authority,
						   value_length) == 0
			       ? 0
			       : -EBADMSG;
	/* Of the connection: a peer that sends them hopes that somebody behind us obeys. */
	if (equals(name, name_length, "connection") || equals(name, name_length, "upgrade") ||
	    equals(name, name_length, "keep-alive") ||
	    equals(name, name_length, "proxy-connection") ||
	    equals(name, name_length, "transfer-encoding") ||
	    (h->tunnel && equals(name, name_length, "sec-websocket-key")))
		return -EBADMSG;
	return put_field(&h->text, name, name_length, value, value_length);
}

int http2_head_field(struct http2_head *h, const uint8_t *name, size_t name_length,
		     const uint8_t *value, size_t value_length)
{
	h->cost += name_length + value_length + 32; /* RFC 9113 §6.5.2 */
	if (h->cost > COST_MAX)
		return -EMSGSIZE;
	if (h->problem == 0 && h->cost > LIMIT_HTTP_HEADER)
		h->problem = -EMSGSIZE;
	if (h->problem == 0)
		h->problem = name_length > 0 && name[0] == ':'
				     ? take_pseudo(h, name, name_length, value, value_length)
				     : take_field(h, name, name_length, value, value_length);
	return 0;
}

/* finish_text() - What is known only at the end */
static int finish_text(struct http2_head *h, bool last)
{
	int r = begin(h);

	if (r == 0 && h->cookies.length)
		r = put_field(&h->text, (const uint8_t *)"cookie", 6, buffer_head(&h->cookies),
			      h->cookies.length);
	if (r == 0 && h->kind == HTTP2_REQUEST && !last && !h->tunnel &&
	    !memmem(buffer_head(&h->text), h->text.length, "\r\ncontent-length:", 17))
		r = http1_write_header(&h->text, "transfer-encoding", "chunked");
	return r < 0 ? r : http1_write_head_end(&h->text);
}

int http2_head_end(struct http2_head *h, bool last)
{
	size_t used;
	int r = h->problem ? h->problem : finish_text(h, last);

	if (r == 0)
		r = http1_parse(&h->parsed, buffer_head(&h->text), h->text.length, &used);
	free_source(h);
	if (r == -EINVAL || (r == -EBADMSG))
		return -EBADMSG;
	if (r != HTTP1_HEAD)
		return r < 0 ? r : -EBADMSG;
	if (h->kind == HTTP2_REQUEST && last && h->parsed.head.content_length > 0)
		return -EBADMSG;
	if (h->tunnel && h->parsed.head.content_length >= 0)
		return -EBADMSG;
	return 0;
}

/* To HTTP/2 */

/* is_left_out() - Headers that HTTP/2 forbids, or says otherwise */
static bool is_left_out(const struct http1_header *h)
{
	static const char *const names[] = {
		"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcasecmp(names[i], h->name) == 0)
			return true;
	return strcasecmp(h->name, "TE") == 0 && strcasecmp(h->value, "trailers") != 0;
}

static int put_all(struct http2_fields *f, const struct http1_header *headers, size_t count,
		   bool request)
{
	size_t length = 0, at = 0;

	for (size_t i = 0; i < count; i++)
		length += strlen(headers[i].name) + strlen(headers[i].value) + 2;
	f->texts = malloc(length + 1);
	if (!f->texts)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		char *name = f->texts + at, *value;

		if (is_left_out(&headers[i]) ||
		    (request && strcasecmp(headers[i].name, "Host") == 0))
			continue;
		if (f->count == ARRAY_SIZE(f->list))
			return -EMSGSIZE;
		for (const char *from = headers[i].name; *from; from++)
			f->texts[at++] = (char)tolower((unsigned char)*from);
		f->texts[at++] = 0;
		value = strcpy(f->texts + at, headers[i].value);
		at += strlen(value) + 1;
		f->list[f->count++] = http2_nv(name, value);
	}
	return 0;
}

int http2_fields_request(struct http2_fields *f, const struct http1_head *head, const char *scheme)
{
	const char *host = http1_header(head, "Host");

	f->count = 0;
	f->list[f->count++] = http2_nv(":method", head->method);
	f->list[f->count++] = http2_nv(":scheme", scheme);
	if (host)
		f->list[f->count++] = http2_nv(":authority", host);
	f->list[f->count++] = http2_nv(":path", head->target);
	return put_all(f, head->headers, head->header_count, true);
}

int http2_fields_answer(struct http2_fields *f, const struct http1_head *head)
{
	snprintf(f->status, sizeof(f->status), "%03u", (unsigned int)head->status % 1000);
	f->count = 0;
	f->list[f->count++] = http2_nv(":status", f->status);
	return put_all(f, head->headers, head->header_count, false);
}

int http2_fields_trailers(struct http2_fields *f, const struct http1_header *trailers, size_t count)
{
	f->count = 0;
	return put_all(f, trailers, count, false);
}

void http2_fields_free(struct http2_fields *f)
{
	free(f->texts);
	f->texts = NULL;
}
