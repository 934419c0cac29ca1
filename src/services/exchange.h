/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/exchange.h - a request and its answer, whatever protocols client and app speak
 *
 *	 front (the client's side)            core                  back (the app's side)
 *	http_front.c   HTTP/1.1          exchange.c               app_http1.c   HTTP/1.1
 *	http2_front.c  HTTP/2            handler, owner, call,    app_http2.c   HTTP/2
 *	                                 answers of our own
 *
 * Heads have the form of http1.h on both sides. An exchange belongs to its front, and a back to
 * its exchange. A front calls exchange_open() with a whole head, then exchange_body() and
 * exchange_request_end() while exchange_wants(); the core answers by `struct exchange_front`.
 * Nothing is read that can't be passed on, so that a body is never kept, and one that has not
 * begun can go to another connection of the app.
 */
#pragma once

#include "services/services_internal.h"
#include "transport/http1.h"

#include <stdbool.h>

struct exchange;

/* The client's side. @user is what exchange_open() was given. All may call exchange_close(). */
struct exchange_front {
	/**
	 * @head: of an answer, or of one that precedes it (status below 200)
	 * @last: it is known that no body and no trailers follow
	 *
	 * The exchange passes only what a client may get; the connection's own headers are the front's.
	 */
	void (*head)(void *user, const struct http1_head *head, bool last);
	void (*body)(void *user, const uint8_t *bytes, size_t length);
	/** @end: the answer is whole. The exchange does nothing more; exchange_close() is still due */
	void (*end)(void *user, const struct http1_header *trailers, size_t count);
	/** @cut: the answer can't be completed; as @end */
	void (*cut)(void *user);
	/** @more: exchange_wants() has become true */
	void (*more)(void *user);
	/**
	 * @upgraded: after the head with 101; @app is the front's, and so are the bytes that came
	 * behind the head. As @end
	 */
	void (*upgraded)(void *user, struct stream *app, const uint8_t *rest, size_t length);
	/** @pending: bytes that the client has not taken */
	size_t (*pending)(const void *user);
};

/** struct exchange_origin - The sender of a request */
struct exchange_origin {
	const struct endpoint *peer;
	uint16_t port; /* that it called */
	bool tls;
	bool funnel; /* it comes from the internet: nobody of the tailnet, whatever its address */
	const char *server_name; /* that a TLS client asked for, or NULL */
	unsigned int version;    /* of HTTP: 1 or 2 */
};

/**
 * exchange_open() - Begin; the answer may come before this returns
 * @head: valid until exchange_close()
 * @last: the request has no body
 * @ret:  set before the first event
 *
 * Return: 0; -ENOMEM; -EAGAIN without a configuration
 */
int exchange_open(struct services *services, const struct exchange_origin *origin,
		  const struct http1_head *head, bool last, const struct exchange_front *front,
		  void *user, struct exchange **ret);

/** exchange_wants() - Whether bytes of the request can be passed on now */
bool exchange_wants(const struct exchange *x);

void exchange_body(struct exchange *x, const uint8_t *bytes, size_t length);
void exchange_request_end(struct exchange *x, const struct http1_header *trailers, size_t count);

/** exchange_taken() - The client has taken what was pending */
void exchange_taken(struct exchange *x);

/** exchange_hold() - The client is slow: nothing more of the answer until exchange_taken() */
void exchange_hold(struct exchange *x);

/** exchange_answered() - Whether the final head went to the client */
bool exchange_answered(const struct exchange *x);

/** exchange_close() - Give it up; no event follows. NULL is fine */
void exchange_close(struct exchange *x);

/* --- For the backs --- */

/* The app's side, at the head of its struct. */
struct exchange_back {
	const struct exchange_back_operations *operations;
};

struct exchange_back_operations {
	int (*body)(struct exchange_back *back, const uint8_t *bytes, size_t length);
	int (*end)(struct exchange_back *back, const struct http1_header *trailers, size_t count);
	size_t (*pending)(const struct exchange_back *back);
	void (*pause)(struct exchange_back *back);
	void (*resume)(struct exchange_back *back);
	/** @close: give it up; @whole: request and answer ended, and the connection may be kept */
	void (*close)(struct exchange_back *back, bool whole);
};

enum exchange_failure {
	EXCHANGE_FAILED, /* the app may have got the request */
	EXCHANGE_IDLE,   /* a kept connection ended before the answer */
	EXCHANGE_UNSEEN, /* the app says that it has done nothing */
};

/** exchange_head_text() - The request as the app gets it, in the form of HTTP/1.1 */
struct buffer *exchange_head_text(struct exchange *x);
const struct http1_head *exchange_request(const struct exchange *x);
struct serving *exchange_serving(const struct exchange *x);
unsigned int exchange_target(const struct exchange *x);
struct services *exchange_services(const struct exchange *x);

/* What comes from the app. Each may close the back. */
void exchange_on_head(struct exchange *x, const struct http1_head *head, bool last);
void exchange_on_body(struct exchange *x, const uint8_t *bytes, size_t length);
void exchange_on_end(struct exchange *x, const struct http1_header *trailers, size_t count);
void exchange_on_upgrade(struct exchange *x, struct stream *app, const uint8_t *rest,
			 size_t length);
void exchange_on_drained(struct exchange *x);
void exchange_on_failure(struct exchange *x, enum exchange_failure how, const char *why);

bool exchange_request_is_whole(const struct exchange *x);

/** app_files_open() - Answer by a file or folder; @target: the path and query; NULL without memory */
struct exchange_back *app_files_open(struct exchange *x, const struct serve_handler *handler,
				     const char *target);

/** app_http1_open() - Send the request over @app, which is owned; NULL: it can't be sent */
struct exchange_back *app_http1_open(struct exchange *x, struct stream *app, bool kept);

/** app_http2_open() - Send the request on a connection that is there; NULL: there is none with room */
struct exchange_back *app_http2_open(struct exchange *x);

/** app_http2_add() - A new connection to the target of @x; owns @app. 0 or negative errno */
int app_http2_add(struct exchange *x, struct stream *app, bool tls);
