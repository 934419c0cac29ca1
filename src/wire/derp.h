/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/derp.h - the relay's frames (DERP version 2)
 *
 * A stream of `u8 type, u32 length, payload`. Both directions are here, so that
 * the client and a relay share one codec. Nothing in this file keeps state.
 *
 * What a receiver must tolerate: an unknown type is skipped, a known type that is
 * too short is dropped, bytes after the known part of a payload are ignored. Only
 * a frame longer than the limit ends the connection.
 */
#pragma once

#include "base/address.h"
#include "base/cursor.h"
#include "base/secret.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DERP_PROTOCOL_VERSION  2
#define DERP_FRAME_HEADER      5
#define DERP_MAGIC_SIZE        8 /* "DERP" and a key emoji */
#define DERP_PACKET_MAX        65536u
#define DERP_PING_SIZE         8
#define DERP_FIRST_FRAME_LIMIT 1024u /* the ServerKey frame */
#define DERP_NONCE_SIZE        24
#define DERP_BOX_TAG           16
#define DERP_BOX_OVERHEAD      (DERP_NONCE_SIZE + DERP_BOX_TAG)
#define DERP_APP_NAME_MAX      32

/* Largest sealed ClientInfo or ServerInfo payload that we make. */
#define DERP_INFO_MAX 512

enum derp_frame_type {
	DERP_SERVER_KEY = 0x01,
	DERP_CLIENT_INFO = 0x02,
	DERP_SERVER_INFO = 0x03,
	DERP_SEND_PACKET = 0x04,
	DERP_RECV_PACKET = 0x05,
	DERP_KEEP_ALIVE = 0x06,
	DERP_NOTE_PREFERRED = 0x07,
	DERP_PEER_GONE = 0x08,
	DERP_PEER_PRESENT = 0x09,
	DERP_FORWARD_PACKET = 0x0a,
	DERP_WATCH_CONNS = 0x10,
	DERP_CLOSE_PEER = 0x11,
	DERP_PING = 0x12,
	DERP_PONG = 0x13,
	DERP_HEALTH = 0x14,
	DERP_RESTARTING = 0x15,
};

enum derp_gone_reason {
	DERP_GONE_DISCONNECTED = 0, /* also when the frame names no reason */
	DERP_GONE_NOT_HERE = 1,     /* the relay knows no such client */
};

enum derp_present_flags {
	DERP_PRESENT_REGULAR = 1,
	DERP_PRESENT_MESH = 2,
	DERP_PRESENT_PROBER = 4,
	DERP_PRESENT_NOT_IDEAL = 8,
};

/* One frame; @payload points into the bytes that it was read from. */
struct derp_frame {
	uint8_t type;
	const uint8_t *payload;
	size_t length;
};

/* A frame's meaning. Pointers point into the frame's payload. */
struct derp_message {
	enum derp_frame_type type;
	struct public_key key;    /* server key; destination, source or subject of the frame */
	struct public_key source; /* FORWARD_PACKET: its sender (@key is its destination) */
	const uint8_t *data;      /* packet; sealed info (nonce first); health text; ping's bytes */
	size_t length;
	uint8_t reason;           /* PEER_GONE: enum derp_gone_reason, any value tolerated */
	bool preferred;           /* NOTE_PREFERRED */
	struct endpoint endpoint; /* PEER_PRESENT, if the relay says */
	uint8_t flags;            /* PEER_PRESENT: enum derp_present_flags */
	uint32_t reconnect_in_ms; /* RESTARTING */
	uint32_t try_for_ms;      /* RESTARTING */
};

/**
 * derp_frame_next() - Take the next complete frame
 * @c:     received bytes; moved past the frame only when 1 is returned
 * @limit: longest payload accepted
 * @ret:   payload points into @c's bytes
 *
 * Return: 1 a frame, 0 more bytes are needed, -EMSGSIZE the frame is longer than @limit (the
 * stream is unusable)
 */
int derp_frame_next(struct cursor *c, size_t limit, struct derp_frame *ret);

/**
 * derp_message_parse() - Understand a frame
 *
 * Return: 0, -EBADMSG too short for its type (drop it), -EOPNOTSUPP unknown type (skip it)
 */
int derp_message_parse(const struct derp_frame *frame, struct derp_message *ret);

/** derp_frame_header() - Write the header of a frame whose payload has @length bytes */
void derp_frame_header(uint8_t out[static DERP_FRAME_HEADER], enum derp_frame_type type,
		       size_t length);

/**
 * derp_message_write() - Encode any message, header included
 * @out, @capacity: where to
 * @m: as derp_message_parse() would return it
 *
 * Return: bytes written, or -EMSGSIZE
 */
ssize_t derp_message_write(uint8_t *out, size_t capacity, const struct derp_message *m);

/* ClientInfo and ServerInfo: JSON in a NaCl crypto_box (X25519, HSalsa20, XSalsa20-Poly1305). */

struct derp_client_info {
	int version;
	bool can_ack_pings;
	bool is_prober;
	char app_name[DERP_APP_NAME_MAX + 1]; /* printable ASCII; "" for none */
	bool has_mesh_key;
	uint8_t mesh_key[32];
};

struct derp_server_info {
	int version;
	uint32_t bytes_per_second; /* client-side send limit; 0 for none */
	uint32_t bytes_burst;
};

/**
 * derp_client_info_write() - The whole ClientInfo frame: header, our node key, nonce, box
 * @nonce: random; never used twice with this key pair
 *
 * Return: bytes written, or -EMSGSIZE
 */
ssize_t derp_client_info_write(uint8_t *out, size_t capacity, const struct public_key *node,
			       const struct key_box *box,
			       const uint8_t nonce[static DERP_NONCE_SIZE],
			       const struct derp_client_info *info);

/** derp_client_info_open() - Open and parse the sealed part of a CLIENT_INFO; 0, -EBADMSG, -ENOMEM
 */
int derp_client_info_open(const struct derp_message *m, const struct key_box *box,
			  struct derp_client_info *ret);

/** derp_server_info_write() - The whole ServerInfo frame; as derp_client_info_write() */
ssize_t derp_server_info_write(uint8_t *out, size_t capacity, const struct key_box *box,
			       const uint8_t nonce[static DERP_NONCE_SIZE],
			       const struct derp_server_info *info);

/** derp_server_info_open() - Open and parse the sealed part of a SERVER_INFO; 0, -EBADMSG, -ENOMEM
 */
int derp_server_info_open(const struct derp_message *m, const struct key_box *box,
			  struct derp_server_info *ret);
