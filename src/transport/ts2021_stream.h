/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/ts2021_stream.h - TS2021 over a stream, and the way there
 */
#pragma once

#include "transport/dial.h"
#include "transport/ts2021.h"
#include "transport/url.h"

/**
 * ts2021_client_stream() - The client's side over @below, which was upgraded
 * @client: as ts2021_client_start() left it; taken and wiped
 * @below:  owned from here on, also on failure
 * @head:   bytes received with the 101
 *
 * Born paused: set its events, then stream_resume(). Events: opened when the server has
 * proved its key, or closed (-EBADMSG: it could not). The early payload is stripped.
 */
int ts2021_client_stream(struct ts2021_client *client, struct stream *below, const uint8_t *head,
			 size_t head_length, struct stream **ret, struct error *err);

/**
 * ts2021_session_stream() - Either side over @below, with an established session
 * @session: taken and wiped
 *
 * Born open and paused: set its events, then stream_resume().
 */
int ts2021_session_stream(struct ts2021_session *session, struct stream *below, const uint8_t *head,
			  size_t head_length, struct stream **ret, struct error *err);

/* All pointers need to be valid only during ts2021_connect(). */
struct ts2021_target {
	const struct url *base; /* of the control server */
	const struct secret_key *machine;
	const struct public_key *server; /* its Noise key */
	uint16_t version;
	const struct address *addresses; /* as in struct dial_options */
	size_t address_count;
	const struct address *fallback;
	size_t fallback_count;
	nanoseconds timeout; /* 0: DIAL_TIMEOUT */
};

struct ts2021_connect;

/**
 * ts2021_connected - The end, called once and never before ts2021_connect() returned
 * @stream: open and proved, owned by the callee; NULL on failure
 * @to:     the address that worked
 * @err:    NULL, or why. -EKEYREJECTED: a server upgraded, but perhaps has another key than
 *          we expect: fetch /key again. -EPROTO: it answered otherwise than by an upgrade
 */
typedef void ts2021_connected(void *user, struct stream *stream, const struct endpoint *to,
			      const struct error *err);

/**
 * ts2021_connect() - Connect, upgrade and shake hands
 *
 * The URL's own scheme and port first; half a second later or when it failed also plain
 * port 80 and TLS port 443 of the same host; the first that proves the key wins. Hosts
 * that are localhost, a loopback or private address or a single label have only the
 * URL's port. The TLS certificate isn't verified here: Noise proves the server.
 */
int ts2021_connect(const struct dialer *dialer, const struct ts2021_target *target,
		   ts2021_connected *done, void *user, struct ts2021_connect **ret,
		   struct error *err);

/** ts2021_cancel() - Give up; @done will not be called. NULL is fine */
void ts2021_cancel(struct ts2021_connect *connect);
