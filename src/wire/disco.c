/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/disco.c - the messages by which two nodes prove a path */
#include "wire/disco.h"

#include "base/cursor.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

_Static_assert(DISCO_NONCE_SIZE == crypto_box_NONCEBYTES, "");
_Static_assert(DISCO_TAG == crypto_box_MACBYTES, "");

static const uint8_t magic[DISCO_MAGIC_SIZE] = {'T', 'S', 0xf0, 0x9f, 0x92, 0xac};
static const uint8_t mapped_v4[12] = {[10] = 0xff, [11] = 0xff};

bool disco_recognise(const void *packet, size_t length)
{
	return length >= DISCO_OVERHEAD && memcmp(packet, magic, sizeof(magic)) == 0;
}

int disco_sender(const void *packet, size_t length, struct public_key *ret)
{
	if (!disco_recognise(packet, length))
		return -EBADMSG;
	memcpy(ret->bytes, (const uint8_t *)packet + DISCO_MAGIC_SIZE, KEY_SIZE);
	return 0;
}

static struct endpoint read_endpoint(struct cursor *c)
{
	struct endpoint e;
	uint8_t bytes[16];

	cursor_copy(c, bytes, sizeof(bytes));
	e.address = address_v6(bytes);
	e.port = cursor_be16(c);
	return e;
}

static void write_endpoint(uint8_t *out, const struct endpoint *e)
{
	if (e->address.family == ADDRESS_V4) {
		memcpy(out, mapped_v4, sizeof(mapped_v4));
		memcpy(out + sizeof(mapped_v4), e->address.bytes, 4);
	} else {
		memcpy(out, e->address.bytes, 16);
	}
	put_be16(out + 16, e->port);
}

static int parse_ping(struct cursor *c, struct disco_message *m)
{
	if (!cursor_copy(c, m->ping.txid.bytes, DISCO_TXID_SIZE))
		return -EBADMSG;
	m->ping.padding = c->left;
	if (cursor_copy(c, m->ping.node_key.bytes, KEY_SIZE) &&
	    !public_key_is_zero(&m->ping.node_key)) {
		m->ping.has_node_key = true;
		m->ping.padding = c->left;
	}
	return 0;
}

static int parse_call_me_maybe(struct cursor *c, struct disco_message *m)
{
	if (c->left % DISCO_ENDPOINT_SIZE != 0)
		return 0;
	while (c->left > 0 && m->call_me_maybe.count < DISCO_ENDPOINTS_MAX)
		m->call_me_maybe.endpoints[m->call_me_maybe.count++] = read_endpoint(c);
	return 0;
}

int disco_message_parse(const void *plain, size_t length, struct disco_message *ret)
{
	struct cursor c = cursor_of(plain, length);
	struct disco_message m = {0};
	uint8_t version;
	int r = 0;

	m.type = cursor_u8(&c);
	version = cursor_u8(&c);
	if (!cursor_ok(&c))
		return -EBADMSG;
	if (version == 0) {
		switch (m.type) {
		case DISCO_PING:
			r = parse_ping(&c, &m);
			break;
		case DISCO_PONG:
			cursor_copy(&c, m.pong.txid.bytes, DISCO_TXID_SIZE);
			m.pong.source = read_endpoint(&c);
			r = cursor_ok(&c) ? 0 : -EBADMSG;
			break;
		case DISCO_CALL_ME_MAYBE:
			r = parse_call_me_maybe(&c, &m);
			break;
		default:
			break;
		}
	}
	if (r == 0)
		*ret = m;
	return r;
}

ssize_t disco_message_write(uint8_t *out, size_t capacity, const struct disco_message *m)
{
	size_t length = 2, count;
	uint8_t *at = out + 2;

	switch (m->type) {
	case DISCO_PING:
		length += DISCO_TXID_SIZE + (m->ping.has_node_key ? (size_t)KEY_SIZE : 0);
		if (m->ping.padding > DISCO_OPEN_MAX)
			return -EMSGSIZE;
		length += m->ping.padding;
		break;
	case DISCO_PONG:
		length += DISCO_TXID_SIZE + DISCO_ENDPOINT_SIZE;
		break;
	case DISCO_CALL_ME_MAYBE:
		length += m->call_me_maybe.count * DISCO_ENDPOINT_SIZE;
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (length > capacity)
		return -EMSGSIZE;
	memset(out, 0, length);
	out[0] = m->type;
	switch (m->type) {
	case DISCO_PING:
		memcpy(at, m->ping.txid.bytes, DISCO_TXID_SIZE);
		if (m->ping.has_node_key)
			memcpy(at + DISCO_TXID_SIZE, m->ping.node_key.bytes, KEY_SIZE);
		break;
	case DISCO_PONG:
		memcpy(at, m->pong.txid.bytes, DISCO_TXID_SIZE);
		write_endpoint(at + DISCO_TXID_SIZE, &m->pong.source);
		break;
	default:
		count = m->call_me_maybe.count;
		for (size_t i = 0; i < count; i++)
			write_endpoint(at + i * DISCO_ENDPOINT_SIZE,
				       &m->call_me_maybe.endpoints[i]);
		break;
	}
	return (ssize_t)length;
}

int disco_open(const void *packet, size_t length, const struct key_box *box,
	       struct disco_message *ret)
{
	uint8_t plain[DISCO_OPEN_MAX];
	const uint8_t *p = packet;

	if (!disco_recognise(packet, length))
		return -EBADMSG;
	if (length > DISCO_OPEN_MAX)
		return -EMSGSIZE;
	if (crypto_box_open_easy_afternm(plain, p + DISCO_HEADER, length - DISCO_HEADER,
					 p + DISCO_MAGIC_SIZE + KEY_SIZE, box->key) != 0)
		return -EBADMSG;
	return disco_message_parse(plain, length - DISCO_OVERHEAD, ret);
}

ssize_t disco_seal(uint8_t *out, size_t capacity, const struct public_key *sender,
		   const struct key_box *box, const uint8_t nonce[static DISCO_NONCE_SIZE],
		   const struct disco_message *m)
{
	uint8_t *plain = out + DISCO_OVERHEAD;
	ssize_t length;

	if (capacity < DISCO_OVERHEAD)
		return -EMSGSIZE;
	length = disco_message_write(plain, capacity - DISCO_OVERHEAD, m);
	if (length < 0)
		return length;
	memcpy(out, magic, sizeof(magic));
	memcpy(out + DISCO_MAGIC_SIZE, sender->bytes, KEY_SIZE);
	memcpy(out + DISCO_MAGIC_SIZE + KEY_SIZE, nonce, DISCO_NONCE_SIZE);
	/* The easy format has the tag first; in and out may overlap. */
	if (crypto_box_easy_afternm(out + DISCO_HEADER, plain, (unsigned long long)length, nonce,
				    box->key) != 0)
		return -EMSGSIZE;
	return DISCO_OVERHEAD + length;
}

struct endpoint disco_relay_endpoint(uint16_t region)
{
	static const uint8_t relay[4] = {127, 3, 3, 40};

	return (struct endpoint){.address = address_v4(relay), .port = (uint16_t)region};
}
