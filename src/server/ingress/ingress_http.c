/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress_http.c - what a connection of plain HTTP asks for
 *
 * ACME's HTTP-01 asks a name on port 80 for /.well-known/acme-challenge/TOKEN: that goes to the node
 * of the name, which answers nothing else there. Every other request is redirected to https.
 */
#include "base/cleanup.h"
#include "server/ingress/ingress_internal.h"
#include "transport/http1.h"

#include <errno.h>
#include <string.h>

#define CHALLENGE "/.well-known/acme-challenge/"

#define REFUSAL(status, text)                                                                     \
	"HTTP/1.1 " status "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n" \
	"\r\n" text "\n"

const char *ingress_http_refusal(enum ingress_refusal why)
{
	switch (why) {
	case INGRESS_UNKNOWN:
	case INGRESS_DENIED:
		return REFUSAL("404 Not Found", "no node answers for this name");
	case INGRESS_UNREACHABLE:
		return REFUSAL("502 Bad Gateway", "the node of this name can't be reached");
	default:
		return REFUSAL("400 Bad Request", "bad request");
	}
}

/* take_name() - The host of a Host header, without its port, in lower case; 0 or -EBADMSG */
static int take_name(const char *host, char ret[static INGRESS_NAME_MAX])
{
	size_t length = strcspn(host, ":");

	if (length > 0 && host[length - 1] == '.')
		length--;
	if (length == 0 || length >= INGRESS_NAME_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < length; i++) {
		char c = host[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
		      c == '.'))
			return -EBADMSG;
		ret[i] = c;
	}
	ret[length] = 0;
	return 0;
}

static int redirect(const struct http1_head *head, const char *name, struct buffer *answer)
{
	int r = http1_write_response(answer, 308);

	if (r == 0)
		r = buffer_printf(answer, "Location: https://%s%s\r\n", name, head->target);
	if (r == 0)
		r = http1_write_header(answer, "Connection", "close");
	if (r == 0)
		r = http1_write_length(answer, 0);
	return r == 0 ? http1_write_head_end(answer) : r;
}

static int judge(const struct http1_head *head, bool redirects,
		 char ret_name[static INGRESS_NAME_MAX], struct buffer *answer)
{
	const char *host = http1_header(head, "Host");

	if (!host || take_name(host, ret_name) < 0 || head->target[0] != '/')
		return -EBADMSG;
	/* Dots could lead out of the folder where the node's server resolves them. */
	if (strncmp(head->target, CHALLENGE, strlen(CHALLENGE)) == 0 && !strstr(head->target, ".."))
		return INGRESS_HTTP_PASS;
	if (!redirects)
		return buffer_printf(answer, "%s", ingress_http_refusal(INGRESS_UNKNOWN)) < 0
			       ? -ENOMEM
			       : INGRESS_HTTP_ANSWER;
	return redirect(head, ret_name, answer) < 0 ? -ENOMEM : INGRESS_HTTP_ANSWER;
}

int ingress_http_look(const uint8_t *bytes, size_t length, bool redirects,
		      char ret_name[static INGRESS_NAME_MAX], struct buffer *answer)
{
	struct http1_parser parser;
	size_t used;
	int r;

	/* It begins anew with each read: the head has 16 KiB at most, and patience is short. */
	http1_parser_init(&parser, false);
	r = http1_parse(&parser, bytes, length, &used);
	if (r == HTTP1_HEAD)
		r = judge(&parser.head, redirects, ret_name, answer);
	else if (r == HTTP1_MORE)
		r = INGRESS_HTTP_MORE;
	http1_parser_free(&parser);
	return r;
}
