/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tsmp.h - the messages between nodes inside the tunnel (IP protocol 99)
 *
 * One message is the whole payload of an IP packet between two nodes' tailnet addresses:
 *
 *	'!' u8 protocol, u8 reason, be16 source port, be16 destination port [, u8 flags]
 *	'p' 8 bytes of the sender's choice           ping, always answered
 *	'o' the same 8 bytes [, be16 PeerAPI port]   pong
 *	'a' 32 bytes                                 the sender's disco key
 *
 * A reject goes back to the sender of the dropped packet, and names the ports as that
 * packet did: its source port is the port of the reject's receiver. Bytes behind a message are
 * ignored, since later versions add some; the caller counts unknown types.
 */
#pragma once

#include "base/address.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TSMP_PING_DATA   8
#define TSMP_MESSAGE_MAX 33

enum tsmp_type {
	TSMP_REJECT = '!',
	TSMP_PING = 'p',
	TSMP_PONG = 'o',
	TSMP_DISCO_KEY = 'a',
};

enum tsmp_reason {
	TSMP_REASON_NONE = 0,
	TSMP_REASON_ACL = 'A',
	TSMP_REASON_SHIELDS_UP = 'S',
	TSMP_REASON_NO_FORWARDING = 'F',
	TSMP_REASON_HOST_FIREWALL = 'W',
	TSMP_REASON_UNKNOWN_TRANSIT = 'T',
};

struct tsmp_reject {
	uint8_t protocol;
	uint8_t reason; /* enum tsmp_reason, or one that we don't know */
	uint16_t source_port;
	uint16_t destination_port;
	bool maybe_broken; /* the rejecting node thinks that it, not the policy, is to blame */
};

struct tsmp_message {
	uint8_t type; /* enum tsmp_type */
	union {
		struct tsmp_reject reject;
		uint8_t ping[TSMP_PING_DATA];
		struct {
			uint8_t data[TSMP_PING_DATA];
			uint16_t peerapi_port; /* 0: not known */
		} pong;
		struct public_key disco_key;
	};
};

/**
 * tsmp_decode() - Read the payload of an IP packet of protocol 99
 *
 * Return: 0, -EBADMSG when it is too short for its type, -EPROTONOSUPPORT for an unknown type;
 * @ret is untouched on failure
 */
int tsmp_decode(const uint8_t *payload, size_t length, struct tsmp_message *ret);

/** tsmp_encode() - Write @message; returns its length, at most %TSMP_MESSAGE_MAX */
size_t tsmp_encode(const struct tsmp_message *message, uint8_t out[static TSMP_MESSAGE_MAX]);

/**
 * tsmp_build() - @message as a whole IP packet
 *
 * Return: its length, -ENOBUFS when @size is too small, -EINVAL for addresses of two families
 */
ssize_t tsmp_build(uint8_t *out, size_t size, const struct address *source,
		   const struct address *destination, const struct tsmp_message *message);
