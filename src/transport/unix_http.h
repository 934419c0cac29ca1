/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/unix_http.h - a blocking HTTP/1.1 client on a Unix socket, for command lines
 *
 * One request on a connection of its own: unix_http_connect(), unix_http_send(), then
 * unix_http_receive() until the answer has `ended`, and unix_http_close() in any case.
 */
#pragma once

#include "base/clock.h"
#include "transport/http1.h"

#define UNIX_HTTP_ETAG_MAX 72

struct unix_http {
	int fd; /* -1 until unix_http_connect() */
	struct http1_parser parser;
	struct buffer in;   /* read, not parsed */
	struct buffer body; /* of the answer, as far as it is here; the caller may consume it */
	int status;         /* 0 until the head is here */
	bool ended;
	char etag[UNIX_HTTP_ETAG_MAX]; /* sent as If-Match unless ""; then the ETag of the answer */
};

/**
 * unix_http_connect() - Connect to a listener that may be trusted: of root, or of our own user
 * @ret:   unix_http_close() is due, also on failure
 * @named: an option named the socket: a listener whose user has no number in this user namespace
 *         (a daemon of the host, seen from inside of a container) is accepted then
 *
 * Any user may have made the socket at a path, so nothing is sent before.
 * Return: 0; -EPERM: another user's program listens there; other negative errno, of connect()
 */
int unix_http_connect(struct unix_http *ret, const char *path, bool named, struct error *err);

/**
 * unix_http_send() - Send the request
 * @host: for the Host header
 * @body: JSON; NULL for none
 *
 * A server may refuse before it has read the whole body: that is no error, the answer says why.
 * Return: 0, -EINVAL, -EMSGSIZE, -ENOMEM, or what send() fails with
 */
int unix_http_send(struct unix_http *h, const char *host, const char *method, const char *target,
		   const void *body, size_t length);

/**
 * unix_http_receive() - Wait for more of the answer
 * @deadline: DEADLINE_NEVER: without limit
 *
 * Return: 1; 0 when @deadline came; -EPIPE: it was cut short; other negative errno
 */
int unix_http_receive(struct unix_http *h, nanoseconds deadline);

void unix_http_close(struct unix_http *h);
