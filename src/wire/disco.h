/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/disco.h - the messages by which two nodes prove a path
 *
 * Packet: 6-byte magic, sender's disco key, 24-byte nonce, crypto_box. Plaintext:
 * type, version 0, body; bytes after the body are ignored, and a version other
 * than 0 is read as an empty message of that type.
 */
#pragma once

#include "base/address.h"
#include "base/secret.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DISCO_MAGIC_SIZE    6
#define DISCO_NONCE_SIZE    24
#define DISCO_TAG           16
#define DISCO_HEADER        (DISCO_MAGIC_SIZE + KEY_SIZE + DISCO_NONCE_SIZE)
#define DISCO_OVERHEAD      (DISCO_HEADER + DISCO_TAG)
#define DISCO_TXID_SIZE     12
#define DISCO_ENDPOINT_SIZE 18 /* 16 address, 2 port */

/* The most endpoints that we read from, or put in, one CallMeMaybe; the rest is ignored. */
#define DISCO_ENDPOINTS_MAX 64
#define DISCO_PLAIN_MAX     (2 + DISCO_ENDPOINTS_MAX * DISCO_ENDPOINT_SIZE)
#define DISCO_PACKET_MAX    (DISCO_OVERHEAD + DISCO_PLAIN_MAX)

enum disco_type {
	DISCO_PING = 0x01,
	DISCO_PONG = 0x02,
	DISCO_CALL_ME_MAYBE = 0x03,
	/* Peer relays: recognised, not spoken yet. */
	DISCO_BIND_RELAY = 0x04,
	DISCO_BIND_RELAY_CHALLENGE = 0x05,
	DISCO_BIND_RELAY_ANSWER = 0x06,
	DISCO_CALL_ME_MAYBE_VIA = 0x07,
	DISCO_ALLOCATE_RELAY_REQUEST = 0x08,
	DISCO_ALLOCATE_RELAY_RESPONSE = 0x09,
};

struct disco_txid {
	uint8_t bytes[DISCO_TXID_SIZE];
};

struct disco_message {
	uint8_t type; /* enum disco_type; others occur */
	union {
		struct {
			struct disco_txid txid;
			bool has_node_key;
			struct public_key node_key;
			size_t padding; /* zero bytes after the rest, to probe the MTU */
		} ping;
		struct {
			struct disco_txid txid;
			struct endpoint source; /* where the ping was seen from */
		} pong;
		struct {
			size_t count;
			struct endpoint endpoints[DISCO_ENDPOINTS_MAX];
		} call_me_maybe;
	};
};

/** disco_recognise() - Whether a datagram is disco: magic, and as long as header and tag */
bool disco_recognise(const void *packet, size_t length);

/** disco_sender() - The disco key that claims to have sent it; 0 or -EBADMSG */
int disco_sender(const void *packet, size_t length, struct public_key *ret);

/**
 * disco_open() - Authenticate, decrypt and parse a packet
 * @box: between our key and disco_sender()'s
 *
 * Return: 0, also for a type that we don't speak (only @ret->type is set then), -EBADMSG not
 * authentic, or its body is too short, -EMSGSIZE longer than DISCO_OPEN_MAX
 */
#define DISCO_OPEN_MAX 9000
int disco_open(const void *packet, size_t length, const struct key_box *box,
	       struct disco_message *ret);

/**
 * disco_seal() - Encode, encrypt and frame a message of type 01 to 03
 * @sender: our public disco key
 * @nonce:  random; never used twice with this box
 *
 * Return: bytes written, -EMSGSIZE if @capacity is too small, -EOPNOTSUPP another type
 */
ssize_t disco_seal(uint8_t *out, size_t capacity, const struct public_key *sender,
		   const struct key_box *box, const uint8_t nonce[static DISCO_NONCE_SIZE],
		   const struct disco_message *m);

/** disco_message_parse(), disco_message_write() - The plaintext alone; as disco_open(),
 * disco_seal()
 */
int disco_message_parse(const void *plain, size_t length, struct disco_message *ret);
ssize_t disco_message_write(uint8_t *out, size_t capacity, const struct disco_message *m);

/** disco_relay_endpoint() - 127.3.3.40:@region, how a pong names a relay as a source */
struct endpoint disco_relay_endpoint(uint16_t region);
