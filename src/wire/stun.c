/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/stun.c - STUN binding requests and answers (RFC 5389), as relays expect them */
#include "wire/stun.h"

#include "base/cursor.h"

#include <errno.h>
#include <string.h>

#define MAGIC_COOKIE    0x2112a442u
#define FINGERPRINT_XOR 0x5354554eu

enum message_type {
	BINDING_REQUEST = 0x0001,
	BINDING_RESPONSE = 0x0101,
};

enum attribute {
	ATTRIBUTE_MAPPED_ADDRESS = 0x0001,
	ATTRIBUTE_XOR_MAPPED_ADDRESS = 0x0020,
	ATTRIBUTE_XOR_MAPPED_ADDRESS_OLD = 0x8020, /* as drafts numbered it */
	ATTRIBUTE_SOFTWARE = 0x8022,
	ATTRIBUTE_FINGERPRINT = 0x8028,
};

static const char software[] = {'t', 'a', 'i', 'l', 'n', 'o', 'd', 'e'};

#define FINGERPRINT_SIZE 8 /* the whole attribute, which is the last */
_Static_assert(STUN_HEADER + 4 + sizeof(software) + FINGERPRINT_SIZE == STUN_REQUEST_SIZE,
	       "header, SOFTWARE, FINGERPRINT");

/* crc32_ieee() - The reflected CRC-32 of ISO 3309; bit by bit, since it covers 32 bytes */
static uint32_t crc32_ieee(const uint8_t *data, size_t length)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

static void write_header(uint8_t *out, enum message_type type, size_t length,
			 const struct stun_txid *txid)
{
	put_be16(out, (uint16_t)type);
	put_be16(out + 2, (uint16_t)length);
	put_be32(out + 4, MAGIC_COOKIE);
	memcpy(out + 8, txid->bytes, STUN_TXID_SIZE);
}

/* read_header() - Type, and in @ret_body exactly the attributes that the header announces */
static int read_header(const void *packet, size_t length, struct stun_txid *ret_txid,
		       struct cursor *ret_body)
{
	struct cursor c = cursor_of(packet, length);
	uint16_t type = cursor_be16(&c), body = cursor_be16(&c);
	uint32_t cookie = cursor_be32(&c);
	struct stun_txid txid;

	cursor_copy(&c, txid.bytes, sizeof(txid.bytes));
	if (!cursor_ok(&c) || cookie != MAGIC_COOKIE || body > c.left)
		return -EBADMSG;
	*ret_txid = txid;
	*ret_body = cursor_of(c.at, body);
	return type;
}

/* next_attribute() - 1 an attribute, 0 the end, -EBADMSG cut off */
static int next_attribute(struct cursor *c, uint16_t *ret_type, struct cursor *ret_value)
{
	const uint8_t *value;
	uint16_t type, length;

	if (c->left == 0)
		return 0;
	type = cursor_be16(c);
	length = cursor_be16(c);
	value = cursor_take(c, length);
	if (!value)
		return -EBADMSG;
	/* The padding to 4 bytes may be missing at the very end. */
	for (size_t pad = -(size_t)length % 4; pad > 0 && c->left > 0; pad--)
		cursor_u8(c);
	*ret_type = type;
	*ret_value = cursor_of(value, length);
	return 1;
}

bool stun_recognise(const void *packet, size_t length)
{
	const uint8_t *p = packet;

	return length >= STUN_HEADER && (p[0] & 0xc0) == 0 && p[1] == 1 && p[4] == 0x21 &&
	       p[5] == 0x12 && p[6] == 0xa4 && p[7] == 0x42;
}

void stun_request_write(uint8_t out[static STUN_REQUEST_SIZE], const struct stun_txid *txid)
{
	uint8_t *at = out + STUN_HEADER;

	write_header(out, BINDING_REQUEST, STUN_REQUEST_SIZE - STUN_HEADER, txid);
	put_be16(at, ATTRIBUTE_SOFTWARE);
	put_be16(at + 2, sizeof(software));
	memcpy(at + 4, software, sizeof(software));
	at += 4 + sizeof(software);
	put_be16(at, ATTRIBUTE_FINGERPRINT);
	put_be16(at + 2, 4);
	put_be32(at + 4, crc32_ieee(out, (size_t)(at - out)) ^ FINGERPRINT_XOR);
}

int stun_request_parse(const void *packet, size_t length, struct stun_txid *ret)
{
	struct cursor body, value, last = {0};
	struct stun_txid txid;
	uint16_t attribute, last_attribute = 0;
	bool is_tailnode = false;
	int r;

	if (read_header(packet, length, &txid, &body) != BINDING_REQUEST)
		return -EBADMSG;
	while ((r = next_attribute(&body, &attribute, &value)) > 0) {
		if (attribute == ATTRIBUTE_SOFTWARE && value.left == sizeof(software) &&
		    memcmp(value.at, software, sizeof(software)) == 0)
			is_tailnode = true;
		last_attribute = attribute;
		last = value;
	}
	if (r < 0 || !is_tailnode || last_attribute != ATTRIBUTE_FINGERPRINT || last.left != 4)
		return -EBADMSG;
	if (cursor_be32(&last) !=
	    (crc32_ieee(packet, (size_t)(last.at - FINGERPRINT_SIZE - (const uint8_t *)packet)) ^
	     FINGERPRINT_XOR))
		return -EBADMSG;
	*ret = txid;
	return 0;
}

size_t stun_response_write(uint8_t out[static STUN_RESPONSE_MAX], const struct stun_txid *txid,
			   const struct endpoint *source)
{
	size_t address = address_length(&source->address);
	uint8_t *at = out + STUN_HEADER, mask[16];

	write_header(out, BINDING_RESPONSE, 8 + address, txid);
	put_be32(mask, MAGIC_COOKIE);
	memcpy(mask + 4, txid->bytes, STUN_TXID_SIZE);
	put_be16(at, ATTRIBUTE_XOR_MAPPED_ADDRESS);
	put_be16(at + 2, (uint16_t)(4 + address));
	at[4] = 0;
	at[5] = address == 4 ? 1 : 2;
	put_be16(at + 6, source->port ^ (uint16_t)(MAGIC_COOKIE >> 16));
	for (size_t i = 0; i < address; i++)
		at[8 + i] = source->address.bytes[i] ^ mask[i];
	return STUN_HEADER + 8 + address;
}

/* read_mapped() - MAPPED-ADDRESS, or with @mask XOR-MAPPED-ADDRESS */
static int read_mapped(struct cursor c, const uint8_t mask[static 16], struct endpoint *ret)
{
	uint16_t family = cursor_be16(&c) & 0xff, port = cursor_be16(&c);
	size_t size = family == 1 ? 4 : family == 2 ? 16 : 0;
	uint8_t bytes[16];

	if (!cursor_copy(&c, bytes, size) || size == 0)
		return -EBADMSG;
	for (size_t i = 0; i < size; i++)
		bytes[i] ^= mask[i];
	ret->address = size == 4 ? address_v4(bytes) : address_v6(bytes);
	ret->port = port ^ (uint16_t)(mask[0] << 8 | mask[1]);
	return 0;
}

int stun_response_parse(const void *packet, size_t length, struct stun_txid *ret_txid,
			struct endpoint *ret_mapped)
{
	static const uint8_t no_mask[16] = {0};
	struct endpoint plain, mapped;
	bool have_plain = false, have_mapped = false;
	struct cursor body, value;
	struct stun_txid txid;
	uint16_t attribute;
	uint8_t mask[16];
	int r;

	if (read_header(packet, length, &txid, &body) != BINDING_RESPONSE)
		return -EBADMSG;
	put_be32(mask, MAGIC_COOKIE);
	memcpy(mask + 4, txid.bytes, STUN_TXID_SIZE);
	while ((r = next_attribute(&body, &attribute, &value)) > 0) {
		switch (attribute) {
		case ATTRIBUTE_XOR_MAPPED_ADDRESS:
		case ATTRIBUTE_XOR_MAPPED_ADDRESS_OLD:
			have_mapped = have_mapped || read_mapped(value, mask, &mapped) == 0;
			break;
		case ATTRIBUTE_MAPPED_ADDRESS:
			have_plain = have_plain || read_mapped(value, no_mask, &plain) == 0;
			break;
		default:
			break;
		}
	}
	if (r < 0 || (!have_mapped && !have_plain))
		return -EBADMSG;
	*ret_txid = txid;
	*ret_mapped = have_mapped ? mapped : plain;
	return 0;
}
