/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/stun.h - STUN binding requests and answers (RFC 5389), as relays expect them
 *
 * Relays drop requests without SOFTWARE "tailnode" and FINGERPRINT. Both sides of
 * the exchange are here.
 */
#pragma once

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STUN_HEADER       20
#define STUN_TXID_SIZE    12
#define STUN_REQUEST_SIZE 40
#define STUN_RESPONSE_MAX 44

struct stun_txid {
	uint8_t bytes[STUN_TXID_SIZE];
};

/** stun_recognise() - Whether a datagram is a STUN binding message (request or answer) */
bool stun_recognise(const void *packet, size_t length);

/** stun_request_write() - A binding request */
void stun_request_write(uint8_t out[static STUN_REQUEST_SIZE], const struct stun_txid *txid);

/** stun_request_parse() - For the server: 0, or -EBADMSG if malformed or not one of a tailnet node
 */
int stun_request_parse(const void *packet, size_t length, struct stun_txid *ret);

/** stun_response_write() - The answer to a request seen from @source; bytes written */
size_t stun_response_write(uint8_t out[static STUN_RESPONSE_MAX], const struct stun_txid *txid,
			   const struct endpoint *source);

/**
 * stun_response_parse() - Read an answer
 * @ret_mapped: XOR-MAPPED-ADDRESS (0x0020, or 0x8020 of old servers), else MAPPED-ADDRESS
 *
 * Return: 0 or -EBADMSG
 */
int stun_response_parse(const void *packet, size_t length, struct stun_txid *ret_txid,
			struct endpoint *ret_mapped);
