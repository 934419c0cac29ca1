/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/relay/derp_client.h - one connection to a relay, without its socket
 *
 * Sans-I/O. Input: the bytes after the answer to the HTTP upgrade. Output: the
 * relay's messages, and bytes to send in derp_client_output().
 *
 *	state      operations                       caveats
 *	GREETING   wait for ServerKey               frame limit 1 KiB
 *	INFO       ClientInfo sent                  a refusal is a closed stream, no frame
 *	READY      packets both ways                nothing heard for 120 s: -ETIMEDOUT
 *	BROKEN     every call returns the error     the owner closes the stream
 *
 * The whole handshake must end within 10 s after derp_client_new(). The client pings the relay
 * after each DERP_CLIENT_KEEP_ALIVE without a received byte: proxies close connections that are
 * idle for 50 or 60 s, and relays send keep-alives less often.
 */
#pragma once

#include "base/buffer.h"
#include "base/clock.h"
#include "base/secret.h"
#include "wire/derp.h"
#include "wire/keys.h"

#define DERP_CLIENT_KEEP_ALIVE (25 * NSEC_PER_SEC)

struct derp_client;

/**
 * derp_client_new() - A connection that begins now
 * @node:     our long-term node key; kept (and wiped) by the client
 * @app_name: sent to the relay, printable ASCII of at most 32 bytes; NULL for none
 *
 * Return: the client, or NULL without memory
 */
struct derp_client *derp_client_new(const struct secret_key *node, const char *app_name,
				    nanoseconds now);

/** derp_client_free() - Wipe and release; NULL is allowed */
void derp_client_free(struct derp_client *c);

/** derp_client_receive() - Take received bytes; 0, -ENOMEM, -EMSGSIZE (first call
 * derp_client_next() until it returns 0) */
int derp_client_receive(struct derp_client *c, const void *bytes, size_t length, nanoseconds now);

/**
 * derp_client_next() - Take the next message that concerns the owner
 * @ret: DERP_SERVER_INFO (once: packets may be sent), DERP_RECV_PACKET, DERP_PEER_GONE,
 *       DERP_PEER_PRESENT, DERP_HEALTH, DERP_RESTARTING or DERP_PONG; valid until the next call
 *
 * Return: 1 a message, 0 more bytes are needed, negative errno: the stream is unusable (-EPROTO,
 * -EMSGSIZE, -EBADMSG the greeting was not authentic, -ENOMEM)
 */
int derp_client_next(struct derp_client *c, nanoseconds now, struct derp_message *ret);

/** derp_client_output() - Bytes to send; the owner consumes what it wrote */
struct buffer *derp_client_output(struct derp_client *c);

/**
 * derp_client_send() - Queue a packet for @to in the output
 *
 * Return: 0, -ENOTCONN not ready, -EMSGSIZE longer than 64 KiB or no room in the output,
 * -EDQUOT over the relay's rate limit (dropped)
 */
int derp_client_send(struct derp_client *c, const struct public_key *to, const void *data,
		     size_t length, nanoseconds now);

/** derp_client_note_preferred() - Announce whether the relay is our home; 0, -ENOTCONN, -EMSGSIZE */
int derp_client_note_preferred(struct derp_client *c, bool preferred);

/** derp_client_ping() - Ask for a DERP_PONG with the same bytes; as derp_client_note_preferred()
 */
int derp_client_ping(struct derp_client *c, const uint8_t data[static DERP_PING_SIZE]);

/** derp_client_deadline() - The time of the next derp_client_timeout() */
nanoseconds derp_client_deadline(const struct derp_client *c);

/** derp_client_timeout() - 0, or -ETIMEDOUT after a silence of the relay */
int derp_client_timeout(struct derp_client *c, nanoseconds now);
