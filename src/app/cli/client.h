/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/client.h - a blocking client of the LocalAPI
 *
 * One request a connection. Errors are for the person at the terminal: the fault, and the
 * command to try next.
 */
#pragma once

#include "base/error.h"
#include "transport/unix_http.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

/** localapi_socket_path() - --socket, else TS_SOCKET, else the path of the official daemon */
const char *localapi_socket_path(const char *flag);

/**
 * localapi_call() - One request, with a limit of 5 s for a GET and a minute for the rest
 *
 * Without a listener it waits for a daemon: 2 s, or 5 s while one starts.
 * @body: borrowed; NULL for none
 * @ret:  the JSON of the reply, NULL when it has none; may be NULL
 *
 * Return: 0 for a 2xx reply; -ENOENT: no daemon; -EACCES: it refuses us (403); -ESRCH: it says
 * 404; -ESTALE: it says 412; -ETIMEDOUT; -EPERM: another user's program listens there; others. @err is set
 */
int localapi_call(const char *socket_path, const char *method, const char *target,
		  const json_t *body, json_t **ret, struct error *err);

/**
 * localapi_call_tagged() - As localapi_call(), for what has an ETag
 * @etag: of what a change replaces, "" for any; then that of the reply
 */
int localapi_call_tagged(const char *socket_path, const char *method, const char *target,
			 const json_t *body, char etag[static UNIX_HTTP_ETAG_MAX], json_t **ret,
			 struct error *err);

/** localapi_status() - The ipnstate.Status, with or without the peers; as localapi_call() */
int localapi_status(const char *socket_path, bool peers, json_t **ret, struct error *err);

/** localapi_call_within() - As localapi_call(), with a limit of its own */
int localapi_call_within(int timeout_ms, const char *socket_path, const char *method,
			 const char *target, const json_t *body, json_t **ret, struct error *err);

/** localapi_text() - The body of an answer as it is; perhaps secret. As localapi_call_within() */
int localapi_text(int timeout_ms, const char *socket_path, const char *target, char **ret,
		  struct error *err);

/** localapi_stream_open() - Follow a stream of JSON lines; as localapi_call()
 * @ret: unix_http_close() is due, also on failure
 */
int localapi_stream_open(const char *socket_path, const char *target, struct unix_http *ret,
			 struct error *err);

/**
 * localapi_stream_next() - Wait for the next line
 * @timeout_ms: -1: without limit
 *
 * Return: 1 with *ret set, 0 when the time is over, negative errno (-EPIPE: the daemon ended it)
 */
int localapi_stream_next(struct unix_http *stream, int timeout_ms, json_t **ret);

/** localapi_daemon_pid() - The process that listens on the socket; -ENOENT at once without one */
int localapi_daemon_pid(const char *socket_path, pid_t *ret, struct error *err);
