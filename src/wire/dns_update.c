/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/dns_update.c - change one TXT record of a zone, signed by TSIG */
#include "wire/dns_update.h"

#include "base/clock.h"
#include "base/cursor.h"
#include "base/secret.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define NAME_WIRE_MAX  255
#define LABEL_MAX      63
#define POINTER        0xc0
#define POINTERS_MAX   16u
#define HEAD_SIZE      12u
#define TYPE_SOA       6
#define TYPE_TXT       16
#define TYPE_TSIG      250
#define CLASS_IN       1
#define CLASS_NONE     254
#define CLASS_ANY      255
#define OPCODE_UPDATE  (5u << 11)
#define FLAG_RESPONSE  0x8000u
#define FLAG_TRUNCATED 0x0200u
#define RCODE(flags)   ((flags)&15u)
#define RECORD_TTL     60
#define FUDGE          300
#define RECORDS_MAX    64u
#define BADTIME        18
#define ALGORITHM      "hmac-sha256"

/* A name on the wire, in lower case: what is compared, and signed. */
struct name {
	uint8_t bytes[NAME_WIRE_MAX];
	size_t length;
};

static int name_parse(const char *text, struct name *ret)
{
	size_t length = strlen(text);

	if (length > 0 && text[length - 1] == '.')
		length--;
	ret->length = 0;
	while (length > 0) {
		const char *dot = memchr(text, '.', length);
		size_t label = dot ? (size_t)(dot - text) : length;

		if (label == 0 || label > LABEL_MAX || ret->length + label + 2 > NAME_WIRE_MAX)
			return -EINVAL;
		ret->bytes[ret->length++] = (uint8_t)label;
		for (size_t i = 0; i < label; i++)
			ret->bytes[ret->length++] = (uint8_t)tolower((unsigned char)text[i]);
		text += label + (dot != NULL);
		length -= label + (dot != NULL);
	}
	ret->bytes[ret->length++] = 0;
	return 0;
}

static bool name_equal(const struct name *a, const struct name *b)
{
	return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* name_text() - Without the last dot; -EBADMSG for bytes that no host name has */
static int name_text(const struct name *name, char out[static DNS_NAME_TEXT])
{
	size_t at = 0, written = 0;

	while (at < name->length && name->bytes[at]) {
		size_t label = name->bytes[at++];

		if (written)
			out[written++] = '.';
		for (size_t i = 0; i < label; i++) {
			char c = (char)name->bytes[at++];

			if (!isalnum((unsigned char)c) && c != '-' && c != '_')
				return -EBADMSG;
			out[written++] = c;
		}
	}
	out[written] = 0;
	return 0;
}

/*
 * name_take() - The name at @c, which may lead to names before it in @message
 *
 * A pointer must lead backwards from the pointer before, so that there is an end.
 */
static int name_take(struct cursor *c, const uint8_t *message, struct name *ret)
{
	const uint8_t *least = c->at;
	struct cursor *from = c, behind;

	ret->length = 0;
	for (;;) {
		uint8_t label = cursor_u8(from);
		const uint8_t *bytes;

		if (!cursor_ok(from))
			return -EBADMSG;
		if ((label & POINTER) == POINTER) {
			size_t offset = (size_t)(label & ~POINTER) << 8 | cursor_u8(from);

			if (!cursor_ok(from) || offset >= (size_t)(least - message))
				return -EBADMSG;
			behind = cursor_of(message + offset, (size_t)(least - message) - offset);
			least = message + offset;
			from = &behind;
			continue;
		}
		if (label > LABEL_MAX || ret->length + label + 2 > NAME_WIRE_MAX)
			return -EBADMSG;
		ret->bytes[ret->length++] = label;
		if (label == 0)
			return 0;
		bytes = cursor_take(from, label);
		if (!bytes)
			return -EBADMSG;
		for (size_t i = 0; i < label; i++)
			ret->bytes[ret->length++] = (uint8_t)tolower(bytes[i]);
	}
}

/* --- Writing --- */

static int put16(struct buffer *out, uint32_t v)
{
	uint8_t bytes[2];

	put_be16(bytes, (uint16_t)v);
	return buffer_append(out, bytes, sizeof(bytes));
}

static int put32(struct buffer *out, uint32_t v)
{
	int r = put16(out, v >> 16);

	return r < 0 ? r : put16(out, v & 0xffff);
}

static int put_head(struct buffer *out, uint16_t id, uint32_t flags, uint32_t updates,
		    uint32_t additional)
{
	const uint32_t fields[] = {id, flags, 1, 0, updates, additional};
	int r = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && r == 0; i++)
		r = put16(out, fields[i]);
	return r;
}

static int put_question(struct buffer *out, const struct name *name)
{
	int r = buffer_append(out, name->bytes, name->length);

	if (r == 0)
		r = put16(out, TYPE_SOA);
	return r < 0 ? r : put16(out, CLASS_IN);
}

static int put_record(struct buffer *out, const struct name *name, const struct dns_change *change)
{
	size_t length = strlen(change->value);
	int r = buffer_append(out, name->bytes, name->length);

	if (r == 0)
		r = put16(out, TYPE_TXT);
	if (r == 0)
		r = put16(out, change->remove ? CLASS_NONE : CLASS_IN);
	if (r == 0)
		r = put32(out, change->remove ? 0 : RECORD_TTL);
	if (r == 0)
		r = put16(out, (uint32_t)length + 1);
	if (r == 0)
		r = buffer_append(out, &(uint8_t){(uint8_t)length}, 1);
	return r < 0 ? r : buffer_append(out, change->value, length);
}

/* A TSIG record's own fields. */
struct tsig {
	struct name key;
	uint64_t time; /* 48 bits */
	uint16_t fudge, error;
	const uint8_t *mac, *other;
	uint16_t mac_length, other_length, id;
};

static int put_time(struct buffer *out, uint64_t time)
{
	int r = put16(out, (uint32_t)(time >> 32) & 0xffff);

	return r < 0 ? r : put32(out, (uint32_t)time);
}

/* put_variables() - What is signed behind the message (RFC 8945 §4.3.3) */
static int put_variables(struct buffer *out, const struct tsig *t)
{
	struct name algorithm;
	int r = name_parse(ALGORITHM, &algorithm);

	if (r == 0)
		r = buffer_append(out, t->key.bytes, t->key.length);
	if (r == 0)
		r = put16(out, CLASS_ANY);
	if (r == 0)
		r = put32(out, 0);
	if (r == 0)
		r = buffer_append(out, algorithm.bytes, algorithm.length);
	if (r == 0)
		r = put_time(out, t->time);
	if (r == 0)
		r = put16(out, t->fudge);
	if (r == 0)
		r = put16(out, t->error);
	if (r == 0)
		r = put16(out, t->other_length);
	return r < 0 ? r : buffer_append(out, t->other, t->other_length);
}

static int sign(const struct buffer *input, const struct dns_key *key,
		uint8_t ret[static DNS_MAC_SIZE])
{
	unsigned int length = DNS_MAC_SIZE;

	return HMAC(EVP_sha256(), key->secret, (int)key->secret_length, input->data + input->start,
		    input->length, ret, &length) &&
			       length == DNS_MAC_SIZE
		       ? 0
		       : -ENOMEM;
}

/* put_tsig() - The record itself; the head counts it already */
static int put_tsig(struct buffer *out, const struct tsig *t)
{
	struct name algorithm;
	int r = name_parse(ALGORITHM, &algorithm);

	if (r == 0)
		r = buffer_append(out, t->key.bytes, t->key.length);
	if (r == 0)
		r = put16(out, TYPE_TSIG);
	if (r == 0)
		r = put16(out, CLASS_ANY);
	if (r == 0)
		r = put32(out, 0);
	if (r == 0)
		r = put16(out, (uint32_t)(algorithm.length + 6 + 2 + 2 + DNS_MAC_SIZE + 2 + 2 + 2));
	if (r == 0)
		r = buffer_append(out, algorithm.bytes, algorithm.length);
	if (r == 0)
		r = put_time(out, t->time);
	if (r == 0)
		r = put16(out, t->fudge);
	if (r == 0)
		r = put16(out, t->mac_length);
	if (r == 0)
		r = buffer_append(out, t->mac, t->mac_length);
	if (r == 0)
		r = put16(out, t->id);
	if (r == 0)
		r = put16(out, 0);
	return r < 0 ? r : put16(out, 0);
}

int dns_update_write(struct buffer *out, uint16_t id, const struct dns_change *change,
		     const struct dns_key *key, uint64_t wall, struct dns_sent *ret)
{
	struct tsig t = {.time = wall, .fudge = FUDGE, .id = id};
	struct buffer message = BUFFER_INIT(DNS_MESSAGE_MAX), input = BUFFER_INIT(DNS_MESSAGE_MAX);
	struct name zone, name;
	int r = strlen(change->value) > UINT8_MAX ? -EINVAL : name_parse(change->zone, &zone);

	if (r == 0)
		r = name_parse(change->name, &name);
	if (r == 0)
		r = name_parse(key->name, &t.key);
	if (r == 0)
		r = put_head(&message, id, OPCODE_UPDATE, 1, 0);
	if (r == 0)
		r = put_question(&message, &zone);
	if (r == 0)
		r = put_record(&message, &name, change);
	if (r == 0)
		r = buffer_append(&input, buffer_head(&message), message.length);
	if (r == 0)
		r = put_variables(&input, &t);
	if (r == 0)
		r = sign(&input, key, ret->mac);
	if (r == 0) {
		ret->id = id;
		t.mac = ret->mac;
		t.mac_length = DNS_MAC_SIZE;
		put_be16(buffer_head(&message) + 10, 1);
		r = put_tsig(&message, &t);
	}
	if (r == 0)
		r = buffer_append(out, buffer_head(&message), message.length);
	buffer_free(&message);
	buffer_free(&input);
	return r;
}

int dns_zone_write(struct buffer *out, uint16_t id, const char *name)
{
	struct name parsed;
	int r = name_parse(name, &parsed);

	if (r == 0)
		r = put_head(out, id, 0, 0, 0);
	return r < 0 ? r : put_question(out, &parsed);
}

/* --- Reading --- */

struct head {
	uint16_t id, flags, counts[4];
};

static bool take_head(struct cursor *c, struct head *ret)
{
	ret->id = cursor_be16(c);
	ret->flags = cursor_be16(c);
	for (size_t i = 0; i < 4; i++)
		ret->counts[i] = cursor_be16(c);
	return cursor_ok(c) && (ret->flags & FLAG_RESPONSE) && !(ret->flags & FLAG_TRUNCATED);
}

struct record {
	struct name name;
	uint16_t type, class;
	uint32_t ttl;
	struct cursor data;
	const uint8_t *at; /* where it begins */
};

static int take_record(struct cursor *c, const uint8_t *message, struct record *ret)
{
	uint16_t length;

	ret->at = c->at;
	if (name_take(c, message, &ret->name) < 0)
		return -EBADMSG;
	ret->type = cursor_be16(c);
	ret->class = cursor_be16(c);
	ret->ttl = cursor_be32(c);
	length = cursor_be16(c);
	ret->data = cursor_of(c->at, length);
	return cursor_take(c, length) ? 0 : -EBADMSG;
}

static int skip_questions(struct cursor *c, const uint8_t *message, unsigned int count)
{
	struct name name;

	for (unsigned int i = 0; i < count; i++)
		if (i >= RECORDS_MAX || name_take(c, message, &name) < 0 || !cursor_take(c, 4))
			return -EBADMSG;
	return 0;
}

static const char *reason(unsigned int code)
{
	static const char *const names[] = {
		[1] = "it does not understand the update",
		[2] = "it failed",
		[3] = "it has no such name",
		[4] = "it supports no updates",
		[5] = "it refused: allow the key to change TXT records of this zone",
		[8] = "a record is missing",
		[9] = "it is not the primary server of the zone, or the signature is not accepted",
		[10] = "the name is not in the zone",
		[16] = "the key's secret is wrong",
		[17] = "it does not know the key's name",
		[BADTIME] = "its clock and ours differ by more than five minutes",
	};

	return code < sizeof(names) / sizeof(names[0]) && names[code] ? names[code]
								      : "of an unknown reason";
}

static int invalid(struct error *err, const char *what)
{
	return error_set(err, -EBADMSG, "the DNS server sent %s", what);
}

/* take_tsig() - The last record of the message, without name */
static int take_tsig(struct record *record, struct tsig *ret)
{
	struct cursor *c = &record->data;
	struct name algorithm, wanted;

	(void)name_parse(ALGORITHM, &wanted);
	ret->key = record->name;
	/* No pointer may be in it. */
	if (record->class != CLASS_ANY || record->ttl != 0 || name_take(c, c->at, &algorithm) < 0 ||
	    !name_equal(&algorithm, &wanted))
		return -EBADMSG;
	ret->time = (uint64_t)cursor_be16(c) << 32;
	ret->time |= cursor_be32(c);
	ret->fudge = cursor_be16(c);
	ret->mac_length = cursor_be16(c);
	ret->mac = cursor_take(c, ret->mac_length);
	ret->id = cursor_be16(c);
	ret->error = cursor_be16(c);
	ret->other_length = cursor_be16(c);
	ret->other = cursor_take(c, ret->other_length);
	return cursor_ok(c) && c->left == 0 ? 0 : -EBADMSG;
}

/* check_mac() - Over the MAC of the update, the message without TSIG, and the TSIG's fields */
static int check_mac(const uint8_t *bytes, const struct record *record, const struct head *head,
		     const struct tsig *t, const struct dns_key *key, const struct dns_sent *sent)
{
	size_t length = (size_t)(record->at - bytes);
	struct buffer input = BUFFER_INIT(2 * DNS_MESSAGE_MAX);
	uint8_t mac[DNS_MAC_SIZE], start[HEAD_SIZE];
	int r;

	memcpy(start, bytes, HEAD_SIZE);
	put_be16(start, t->id);
	put_be16(start + 10, (uint16_t)(head->counts[3] - 1));
	r = put16(&input, DNS_MAC_SIZE);
	if (r == 0)
		r = buffer_append(&input, sent->mac, DNS_MAC_SIZE);
	if (r == 0)
		r = buffer_append(&input, start, HEAD_SIZE);
	if (r == 0)
		r = buffer_append(&input, bytes + HEAD_SIZE, length - HEAD_SIZE);
	if (r == 0)
		r = put_variables(&input, t);
	if (r == 0)
		r = sign(&input, key, mac);
	buffer_free(&input);
	if (r < 0)
		return r;
	return t->mac_length == DNS_MAC_SIZE && secret_equal(mac, t->mac, DNS_MAC_SIZE) ? 0
											: -EBADMSG;
}

int dns_update_read(const uint8_t *bytes, size_t length, const struct dns_key *key,
		    const struct dns_sent *sent, uint64_t wall, struct error *err)
{
	struct cursor c = cursor_of(bytes, length);
	struct record record = {.type = 0};
	struct name wanted;
	struct head head;
	struct tsig t;
	unsigned int count;

	if (!take_head(&c, &head) || head.id != sent->id)
		return invalid(err, "no answer to our update");
	count = (unsigned int)head.counts[1] + head.counts[2] + head.counts[3];
	if (count > RECORDS_MAX || skip_questions(&c, bytes, head.counts[0]) < 0)
		return invalid(err, "an invalid message");
	for (unsigned int i = 0; i < count; i++)
		if (take_record(&c, bytes, &record) < 0)
			return invalid(err, "an invalid record");
	if (c.left > 0)
		return invalid(err, "bytes behind its message");
	if (head.counts[3] == 0 || record.type != TYPE_TSIG)
		/* Servers refuse some updates before they look at the key. */
		return RCODE(head.flags) ? error_set(err, -EACCES,
						     "the DNS server did not make the change: %s",
						     reason(RCODE(head.flags)))
					 : invalid(err, "an answer without a signature");
	if (take_tsig(&record, &t) < 0 || name_parse(key->name, &wanted) < 0 ||
	    !name_equal(&t.key, &wanted))
		return invalid(err, "a signature by another key");
	if (t.error != 0 && t.mac_length == 0)
		return error_set(err, -EACCES, "the DNS server did not make the change: %s",
				 reason(t.error));
	if (check_mac(bytes, &record, &head, &t, key, sent) < 0)
		return invalid(err, "an answer with a wrong signature");
	if (t.error != 0 || RCODE(head.flags) != 0)
		return error_set(err, -EACCES, "the DNS server did not make the change: %s",
				 reason(t.error ? t.error : RCODE(head.flags)));
	if (t.time > wall + t.fudge || t.time + t.fudge < wall)
		return invalid(err, "an old answer");
	return 0;
}

int dns_zone_read(const uint8_t *bytes, size_t length, uint16_t id, const char *name,
		  char ret[static DNS_NAME_TEXT], struct error *err)
{
	struct cursor c = cursor_of(bytes, length);
	struct name asked;
	struct record record;
	struct head head;
	unsigned int count;

	if (!take_head(&c, &head) || head.id != id || name_parse(name, &asked) < 0)
		return invalid(err, "no answer to our question");
	count = (unsigned int)head.counts[1] + head.counts[2];
	if (count > RECORDS_MAX || skip_questions(&c, bytes, head.counts[0]) < 0)
		return invalid(err, "an invalid message");
	for (unsigned int i = 0; i < count; i++) {
		if (take_record(&c, bytes, &record) < 0)
			return invalid(err, "an invalid record");
		/* The zone's name is the end of the name. */
		if (record.type == TYPE_SOA && record.class == CLASS_IN && record.name.length > 1 &&
		    record.name.length <= asked.length &&
		    memcmp(asked.bytes + asked.length - record.name.length, record.name.bytes,
			   record.name.length) == 0 &&
		    name_text(&record.name, ret) == 0)
			return 0;
	}
	return error_set(err, -ENOENT,
			 "the DNS server has no zone with the name %s%s: check TS_ACME_DNS_SERVER, "
			 "or name the zone by TS_ACME_DNS_ZONE",
			 name, RCODE(head.flags) == 5 ? " for us (it refused the question)" : "");
}
