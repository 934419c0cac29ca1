/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/dns_update.h - change one TXT record of a zone (RFC 2136), signed by TSIG (RFC 8945)
 *
 * Over TCP each message follows its length, two bytes; these functions make and read the message
 * alone. HMAC-SHA256 is the only algorithm.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define DNS_NAME_TEXT   256 /* a name as text, with its zero */
#define DNS_MESSAGE_MAX 65535u
#define DNS_SECRET_MAX  128
#define DNS_MAC_SIZE    32

/** struct dns_key - What signs updates; secret */
struct dns_key {
	char name[DNS_NAME_TEXT];
	uint8_t secret[DNS_SECRET_MAX];
	size_t secret_length;
};

/** struct dns_change - A change of one TXT record */
struct dns_change {
	const char *zone;  /* that has the name */
	const char *name;  /* of the record */
	const char *value; /* of at most 255 bytes */
	bool remove;       /* the record with this value; else it is added */
};

/** struct dns_sent - What the answer to an update is checked against */
struct dns_sent {
	uint16_t id;
	uint8_t mac[DNS_MAC_SIZE];
};

/**
 * dns_update_write() - Append the message
 * @id:   any number
 * @wall: seconds since 1970; the server allows 300 seconds of difference
 * @ret:  for dns_update_read()
 *
 * Return: 0; -EINVAL for a name or value that DNS does not allow; as buffer_append()
 */
int dns_update_write(struct buffer *out, uint16_t id, const struct dns_change *change,
		     const struct dns_key *key, uint64_t wall, struct dns_sent *ret);

/**
 * dns_update_read() - The answer
 *
 * Return: 0: the change is made; -EACCES with the server's reason in @err; -EBADMSG with @err for a
 * message that is no answer to ours, or not signed by the key
 */
int dns_update_read(const uint8_t *bytes, size_t length, const struct dns_key *key,
		    const struct dns_sent *sent, uint64_t wall, struct error *err);

/** dns_zone_write() - Append a question for the zone that has @name; as dns_update_write() */
int dns_zone_write(struct buffer *out, uint16_t id, const char *name);

/**
 * dns_zone_read() - The answer
 *
 * Return: 0 and the zone; -ENOENT with @err: the server has none with @name; -EBADMSG with @err
 */
int dns_zone_read(const uint8_t *bytes, size_t length, uint16_t id, const char *name,
		  char ret[static DNS_NAME_TEXT], struct error *err);
