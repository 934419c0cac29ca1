/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/http_heads.h - the heads of proxied requests and answers (pure)
 *
 * What the app gets: the client's headers but those of the connection itself, those that name the
 * client (a client could forge them), and X-Forwarded-*, which are set anew. The Host header stays.
 * The rules are those of `tailscale serve`.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "privsep/privsep_serve.h"
#include "transport/http1.h"
#include "wire/serve_config.h"

#include <stdbool.h>

/** struct http_origin - The sender of a request */
struct http_origin {
	struct address peer;
	bool tls;
	const char *host;                    /* for a request without a Host header */
	const struct privsep_person *person; /* NULL: unknown */
	bool funnel;                         /* it comes from the internet: there is no person */
	const char *
		loop_name; /* the mark of CDN-Loop that a request for another machine gets; or NULL */
	bool socket;       /* the app is at a Unix socket, and gets the name "localhost" as Host */
};

#define HTTP_PATH_MAX 8192

/**
 * http_path() - The path of a request's target, decoded, without query, "." and ".." and double slashes
 * @target: "/a/b?x=y", or with scheme and host before it (RFC 9112 §3.2.2)
 * @ret_from: where the path begins in @target
 *
 * Return: 0; -EINVAL for a target of another form, or a bad escape; -EMSGSIZE
 */
int http_path(const char *target, char out[static HTTP_PATH_MAX], const char **ret_from);

/** http_host_length() - Of a Host header's value without the port */
size_t http_host_length(const char *host);

/** http_authority_fits() - Whether a target with scheme and host names the host of the Host header */
bool http_authority_fits(const struct http1_head *head);

/** http_is_hop() - Whether a header belongs to this connection alone (RFC 9110 §7.6.1) */
bool http_is_hop(const struct http1_head *head, const char *name);

/**
 * http_is_upgrade() - Whether the app may take over the connection
 *
 * Not with HTTP: later requests on it would reach the app as the client wrote them.
 */
bool http_is_upgrade(const struct http1_head *head);

/**
 * http_request_head() - The request as the app gets it
 * @from: the path and query in the target, as http_path() found it
 *
 * What is behind the mount stays as the client escaped it.
 * Return: 0; -ENOENT if @from does not begin with the handler's mount; -EMSGSIZE; -ENOMEM
 */
int http_request_head(const struct http1_head *head, const char *from,
		      const struct serve_handler *handler, const struct http_origin *origin,
		      struct buffer *out);

/** http_trailers() - Those that may pass, in a list for free(); NULL without memory, or for none */
struct http1_header *http_trailers(const struct http1_header *trailers, size_t count,
				   size_t *ret_count);

/** enum http_framing - How the end of an answer's body is shown to the client */
enum http_framing {
	HTTP_NO_BODY,
	HTTP_LENGTH,
	HTTP_CHUNKED,
	HTTP_UNTIL_CLOSE,
};

/**
 * http_answer_head() - The answer as the client gets it
 * @bodyless:   to a HEAD request
 * @minor:      of the client's HTTP/1.@minor
 * @keep_alive: whether the connection stays; cleared for HTTP_UNTIL_CLOSE
 */
int http_answer_head(const struct http1_head *head, bool bodyless, int minor, bool *keep_alive,
		     enum http_framing *ret_framing, struct buffer *out);
