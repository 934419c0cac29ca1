/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/ts2021.h - TS2021, the control protocol's Noise channel (sans-I/O)
 *
 * Noise_IK_25519_ChaChaPoly_BLAKE2s, prologue "Tailscale Control Protocol v" and the
 * version; then records of at most 4096 bytes. The stream over it is ts2021_stream.h.
 *
 * Theory of operation
 *   client: ts2021_client_start() → send; ts2021_client_finish() on the answer.
 *   server: ts2021_server_accept() on the initiation → send; both then have a
 *   ts2021_session: two keys with a counter each. ts2021_seal() appends records,
 *   ts2021_open_record() opens the first record of a run of bytes. After any error
 *   the session is dead: its keys are wiped, and all further calls fail.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "wire/noise.h"

#include <stdbool.h>

#define TS2021_INITIATION_SIZE 101
#define TS2021_RESPONSE_SIZE   51
#define TS2021_HEADER_SIZE     3
#define TS2021_TAG_SIZE        16
#define TS2021_FRAME_MAX       4096
#define TS2021_PLAINTEXT_MAX   (TS2021_FRAME_MAX - TS2021_HEADER_SIZE - TS2021_TAG_SIZE)
#define TS2021_PROTOCOL        "tailscale-control-protocol"
#define TS2021_EARLY_MAX       (10u * 1024 * 1024) /* by the protocol; ours is LIMIT_RPC_BODY */

struct ts2021_session {
	struct secret_key send_key, receive_key;
	uint64_t send_counter, receive_counter;
	bool dead;
};

/* A client between initiation and answer. Secret: wipe with ts2021_client_wipe(). */
struct ts2021_client {
	struct noise_state noise;
	struct secret_key machine;
	struct secret_key ephemeral;
};

/**
 * ts2021_client_start() - Make the initiation
 * @machine:   our machine key
 * @server:    the key that /key?v= gave
 * @version:   capability version, in the prologue and in the message
 * @ephemeral: NULL: a fresh one. Tests give one
 * @out:       initiation; also sent as base64 in X-Tailscale-Handshake
 *
 * Return: 0, or -EBADMSG when @server is a low-order point
 */
int ts2021_client_start(struct ts2021_client *c, const struct secret_key *machine,
			const struct public_key *server, uint16_t version,
			const struct secret_key *ephemeral,
			uint8_t out[static TS2021_INITIATION_SIZE]);

/**
 * ts2021_client_finish() - Take the server's answer from the front of @bytes
 * @ret_used: how many bytes the answer had
 *
 * @c is wiped unless -EAGAIN is returned.
 * Return: 0; -EAGAIN when more bytes are needed; -ECONNREFUSED when the server sent an
 * error message (its text, escaped, in @err); -EBADMSG
 */
int ts2021_client_finish(struct ts2021_client *c, const uint8_t *bytes, size_t length,
			 size_t *ret_used, struct ts2021_session *ret, struct error *err);
void ts2021_client_wipe(struct ts2021_client *c);

/**
 * ts2021_server_accept() - The other side: open an initiation, make the answer
 * @key:         the server's private key
 * @ephemeral:   NULL: a fresh one
 * @ret_machine: the machine key of the client
 * @ret_version: its capability version
 *
 * Return: 0 or -EBADMSG
 */
int ts2021_server_accept(const struct secret_key *key,
			 const uint8_t initiation[static TS2021_INITIATION_SIZE],
			 const struct secret_key *ephemeral,
			 uint8_t out[static TS2021_RESPONSE_SIZE], struct public_key *ret_machine,
			 uint16_t *ret_version, struct ts2021_session *ret);

void ts2021_session_wipe(struct ts2021_session *s);

/**
 * ts2021_seal() - Append @length bytes as records to @out
 *
 * Return: 0; -EMSGSIZE or -ENOMEM (nothing was appended, the session lives);
 * -EOVERFLOW when the counter is used up; -EPIPE on a dead session
 */
int ts2021_seal(struct ts2021_session *s, const void *bytes, size_t length, struct buffer *out);

/**
 * ts2021_open_record() - Open the record at the front of @bytes
 * @ret_used:   bytes of the record
 * @out:        its plaintext
 * @ret_length: how much; 0 is legal
 *
 * Return: 0; -EAGAIN when the record isn't complete; -EBADMSG (it is forged, or not a
 * record), -EOVERFLOW: the session is dead; -EPIPE on a dead session
 */
int ts2021_open_record(struct ts2021_session *s, const uint8_t *bytes, size_t length,
		       size_t *ret_used, uint8_t out[static TS2021_PLAINTEXT_MAX],
		       size_t *ret_length);

/* Strips the early payload, which may arrive in any pieces, from the start of the plaintext. */
struct ts2021_early {
	bool none;    /* the plaintext began with something else */
	uint8_t have; /* bytes of magic and length seen */
	uint8_t head[9];
	uint32_t left; /* of the JSON, which needs no answer */
};

/**
 * ts2021_early_strip() - How many of @length bytes are early payload
 *
 * Bytes that were held back and turn out to be no early payload are given back at @ret_head,
 * @ret_head_length, to be delivered before the rest.
 * Return: bytes to skip, or -EMSGSIZE past LIMIT_RPC_BODY
 */
int ts2021_early_strip(struct ts2021_early *e, const uint8_t *bytes, size_t length,
		       const uint8_t **ret_head, size_t *ret_head_length);
