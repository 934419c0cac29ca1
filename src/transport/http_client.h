/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/http_client.h - one HTTP/1.1 request on a connection of its own
 *
 * For rare requests (/key, probes, bootstrap DNS), and for upgrades, which hand the connection
 * over.
 */
#pragma once

#include "transport/dial.h"
#include "transport/http1.h"

/* All pointers need to be valid only during the start. */
struct http_request {
	struct dial_options to; /* where, TLS, addresses; its timeout covers the whole request */
	const char *method;     /* NULL: GET */
	const char *target;     /* "/key?v=138" */
	const struct http1_header *headers; /* beyond Host, Connection, Content-Length, Upgrade */
	size_t header_count;
	const void *body;
	size_t body_length;
	size_t body_limit; /* of the response; a longer one is an error */
};

struct http_response {
	const struct http1_head *head;
	const uint8_t *body; /* for an upgrade: bytes that came after the head, none lost */
	size_t body_length;
	const struct endpoint *from; /* the address that worked */
};

struct http_exchange;

/**
 * http_done - The end of a request, called once and never before the start returned
 * @response: valid during the call; NULL when there was none
 * @err:      NULL, or why. Any status is a response, not an error
 */
typedef void http_done(void *user, const struct http_response *response, const struct error *err);

/**
 * http_upgraded - The end of an upgrade
 * @stream:   the connection, owned by the callee; NULL on failure. Set its events before
 *            returning, after taking @response->body, which are its first bytes
 * @response: NULL when there was none. With @err -EPROTO it is the answer that was not 101
 */
typedef void http_upgraded(void *user, struct stream *stream, const struct http_response *response,
			   const struct error *err);

/** http_start() - Send @request, read the whole response. Return: 0 or negative errno, @err set */
int http_start(const struct dialer *dialer, const struct http_request *request, http_done *done,
	       void *user, struct http_exchange **ret, struct error *err);

/** http_upgrade_start() - The same with "Upgrade: @protocol", expecting 101 */
int http_upgrade_start(const struct dialer *dialer, const struct http_request *request,
		       const char *protocol, http_upgraded *done, void *user,
		       struct http_exchange **ret, struct error *err);

/**
 * http_redirect() - The URL that a response to a GET of @from redirects to
 * @ret: on the same host, and not from https to http
 *
 * Return: 1; 0 when it is no redirect; -EPROTO with @err set for any other target
 */
int http_redirect(const struct url *from, const struct http1_head *head, struct url *ret,
		  struct error *err);

/** http_cancel() - Give up; no call follows. NULL is fine */
void http_cancel(struct http_exchange *exchange);
