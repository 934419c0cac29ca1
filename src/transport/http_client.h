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
	const char *upgrade;    /* protocol to change to, by a response of 101; NULL: none */
	const struct http1_header *headers; /* beyond Host, Connection, Content-Length, Upgrade */
	size_t header_count;
	const void *body;
	size_t body_length;
	size_t body_limit; /* of the response; a longer one is an error */
};

struct http_response {
	const struct http1_head *head;
	/*
	 * The connection after an upgrade, owned by the callee, which sets its events before it
	 * returns; @body then has the bytes that came after the head. NULL: no upgrade.
	 */
	struct stream *stream;
	const uint8_t *body;
	size_t body_length;
	const struct endpoint *from; /* the address that worked */
};

struct http_exchange;

/**
 * http_done - The end of a request, called once and never before the start returned
 * @response: valid during the call; NULL when there was none
 * @err:      NULL, or why. Any status is a response, not an error, except to an upgrade: -EPROTO
 *            with the answer that was not 101
 */
typedef void http_done(void *user, const struct http_response *response, const struct error *err);

/** http_start() - Send @request, read the whole response. Return: 0 or negative errno, @err set */
int http_start(const struct dialer *dialer, const struct http_request *request, http_done *done,
	       void *user, struct http_exchange **ret, struct error *err);

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
