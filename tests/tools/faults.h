/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/faults.h - a coordination server with faults on demand
 *
 * Theory of operation
 *	client ──TS2021, our key──▶ control_faults ──TS2021, its key──▶ a real server
 *
 *   What a client says inside of TS2021 goes on to a real server, by a connection for each of
 *   the client's, and what that answers comes back. In between stand the faults: answers of our
 *   own, bytes put into the map stream, silence. A client's machine key can't be passed on; the
 *   real server sees one that is derived from it, so that a node stays the same node.
 *
 *	control_faults.c	commands, faults, HTTP/1
 *	faults_link.c		a client's connection and the one behind it
 */
#pragma once

#include "server/web/web_server.h"
#include "transport/dial.h"
#include "transport/http2.h"
#include "transport/http2_server.h"
#include "transport/ts2021_stream.h"
#include "transport/url.h"

/* An answer of our own to every request of a path. */
struct fault {
	struct fault *next;
	char *path;
	int status;
	bool hold; /* no answer at all, until it is over */
	bool open; /* the body doesn't end */
	struct buffer body;
	char *headers[8]; /* "Name:Value" */
	size_t header_count;
};

struct faults {
	uv_loop_t loop;
	struct dialer dialer;
	struct url behind; /* the real server */
	struct public_key behind_key;
	bool have_behind_key;
	struct http_exchange *key_fetch;

	struct secret_key key; /* ours */
	struct public_key public;
	struct web_server *web;

	struct fault *list;
	struct buffer upgrade; /* instead of Noise */
	struct buffer early;   /* before HTTP/2 */
	bool silent;

	struct link *links;
	struct stray *strays; /* upgraded, and no Noise: only kept */
};

/** faults_of() - The fault of requests to @path, or NULL */
struct fault *faults_of(const struct faults *f, const char *path);

/** faults_say() - A line of what happened, for the log */
void faults_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** link_open() - A client shook hands; @noise is taken, @below is the stream that it stands on */
void link_open(struct faults *f, struct stream *noise, struct stream *below,
	       const struct public_key *machine);

/** links_go_on() - The real server's key is there, or can't be had */
void links_go_on(struct faults *f, const struct error *err);

/** links_insert() - Put bytes into every map stream, between two frames */
void links_insert(struct faults *f, const void *bytes, size_t length);

/** links_raw() - Bytes to every client below Noise: no record of the session's */
void links_raw(struct faults *f, const void *bytes, size_t length);

/** links_release() - End all faults: forward the answers held back, end the invented ones */
void links_release(struct faults *f);

/** links_cut() - Close all connections */
void links_cut(struct faults *f);

/** faults_fetch_key() - Ask the real server for its key; ends in links_go_on() */
void faults_fetch_key(struct faults *f);
