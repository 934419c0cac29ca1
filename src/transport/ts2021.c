/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/ts2021.c - TS2021: handshake of both sides, records, early payload
 *
 *	<- s
 *	...
 *	-> e, es, s, ss		initiation, 101 bytes
 *	<- e, ee, se		response, 51 bytes
 */
#include "transport/ts2021.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/printable.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PROTOCOL_NAME "Noise_IK_25519_ChaChaPoly_BLAKE2s"
#define PROLOGUE      "Tailscale Control Protocol v"

enum message_type {
	MESSAGE_INITIATION = 1,
	MESSAGE_RESPONSE = 2,
	MESSAGE_ERROR = 3,
	MESSAGE_RECORD = 4,
};

#define INITIATION_BODY (TS2021_INITIATION_SIZE - 5)
#define RESPONSE_BODY   (TS2021_RESPONSE_SIZE - TS2021_HEADER_SIZE)
#define ERROR_BODY_MAX  1024u
#define SHOWN_MAX       255u /* of an error body */

_Static_assert(INITIATION_BODY == KEY_SIZE + (KEY_SIZE + TS2021_TAG_SIZE) + TS2021_TAG_SIZE,
	       "e, encrypted s, empty payload");
_Static_assert(RESPONSE_BODY == KEY_SIZE + TS2021_TAG_SIZE, "e, empty payload");

static void begin(struct noise_state *n, uint16_t version, const struct public_key *server)
{
	char prologue[sizeof(PROLOGUE) + 8];
	int length = snprintf(prologue, sizeof(prologue), PROLOGUE "%u", version);

	noise_init(n, PROTOCOL_NAME);
	noise_mix_hash(n, prologue, (size_t)length);
	noise_mix_hash(n, server->bytes, KEY_SIZE);
}

static void take_ephemeral(const struct secret_key *given, struct secret_key *ret)
{
	if (given)
		*ret = *given;
	else
		secret_key_generate(ret);
}

int ts2021_client_start(struct ts2021_client *c, const struct secret_key *machine,
			const struct public_key *server, uint16_t version,
			const struct secret_key *ephemeral,
			uint8_t out[static TS2021_INITIATION_SIZE])
{
	struct public_key public;

	put_be16(out, version);
	out[2] = MESSAGE_INITIATION;
	put_be16(out + 3, INITIATION_BODY);
	out += 5;
	begin(&c->noise, version, server);
	c->machine = *machine;
	take_ephemeral(ephemeral, &c->ephemeral);

	secret_key_public(&c->ephemeral, &public);
	memcpy(out, public.bytes, KEY_SIZE);
	noise_mix_hash(&c->noise, public.bytes, KEY_SIZE);
	if (noise_mix_dh(&c->noise, &c->ephemeral, server) < 0)
		goto low_order;
	secret_key_public(machine, &public);
	noise_encrypt_and_hash(&c->noise, public.bytes, KEY_SIZE, out + KEY_SIZE);
	if (noise_mix_dh(&c->noise, machine, server) < 0)
		goto low_order;
	noise_encrypt_and_hash(&c->noise, NULL, 0, out + 2 * KEY_SIZE + TS2021_TAG_SIZE);
	return 0;
low_order:
	ts2021_client_wipe(c);
	return -EBADMSG;
}

void ts2021_client_wipe(struct ts2021_client *c)
{
	explicit_bzero(c, sizeof(*c));
}

/* refused() - The server's error message, which is not authenticated */
static int refused(const uint8_t *text, size_t length, struct error *err)
{
	size_t shown = utf8_whole((const char *)text, length < SHOWN_MAX ? length : SHOWN_MAX);

	return error_set(err, -ECONNREFUSED, "the control server refused the handshake: %.*s",
			 (int)shown, (const char *)text);
}

static int client_open_response(struct ts2021_client *c, const uint8_t *body,
				struct ts2021_session *ret)
{
	struct ts2021_session s = {0};
	struct public_key server;

	memcpy(server.bytes, body, KEY_SIZE);
	noise_mix_hash(&c->noise, server.bytes, KEY_SIZE);
	if (noise_mix_dh(&c->noise, &c->ephemeral, &server) < 0 ||
	    noise_mix_dh(&c->noise, &c->machine, &server) < 0 ||
	    noise_decrypt_and_hash(&c->noise, body + KEY_SIZE, TS2021_TAG_SIZE, NULL) < 0)
		return -EBADMSG;
	noise_split(&c->noise, &s.send_key, &s.receive_key);
	*ret = s;
	ts2021_session_wipe(&s);
	return 0;
}

int ts2021_client_finish(struct ts2021_client *c, const uint8_t *bytes, size_t length,
			 size_t *ret_used, struct ts2021_session *ret, struct error *err)
{
	struct cursor in = cursor_of(bytes, length);
	uint8_t type = cursor_u8(&in);
	uint16_t size = cursor_be16(&in);
	const uint8_t *body;
	int r;

	if (!cursor_ok(&in))
		return -EAGAIN;
	if ((type != MESSAGE_RESPONSE || size != RESPONSE_BODY) &&
	    (type != MESSAGE_ERROR || size > ERROR_BODY_MAX)) {
		r = error_set(err, -EBADMSG, "the server's answer is not a TS2021 handshake");
		goto over;
	}
	body = cursor_take(&in, size);
	if (!body)
		return -EAGAIN;
	if (type == MESSAGE_ERROR) {
		r = refused(body, size, err);
		goto over;
	}
	r = client_open_response(c, body, ret);
	if (r < 0)
		error_set(err, r, "the server did not prove the key that /key gave");
	else
		*ret_used = length - in.left;
over:
	ts2021_client_wipe(c);
	return r;
}

static int server_open_initiation(struct noise_state *n, const struct secret_key *key,
				  const uint8_t *body, struct public_key *ret_ephemeral,
				  struct public_key *ret_machine)
{
	memcpy(ret_ephemeral->bytes, body, KEY_SIZE);
	noise_mix_hash(n, body, KEY_SIZE);
	if (noise_mix_dh(n, key, ret_ephemeral) < 0 ||
	    noise_decrypt_and_hash(n, body + KEY_SIZE, KEY_SIZE + TS2021_TAG_SIZE,
				   ret_machine->bytes) < 0 ||
	    noise_mix_dh(n, key, ret_machine) < 0)
		return -EBADMSG;
	return noise_decrypt_and_hash(n, body + 2 * KEY_SIZE + TS2021_TAG_SIZE, TS2021_TAG_SIZE,
				      NULL);
}

int ts2021_server_accept(const struct secret_key *key,
			 const uint8_t initiation[static TS2021_INITIATION_SIZE],
			 const struct secret_key *ephemeral,
			 uint8_t out[static TS2021_RESPONSE_SIZE], struct public_key *ret_machine,
			 uint16_t *ret_version, struct ts2021_session *ret)
{
	struct cursor in = cursor_of(initiation, TS2021_INITIATION_SIZE);
	struct public_key public, client, machine;
	uint16_t version = cursor_be16(&in);
	uint8_t type = cursor_u8(&in);
	uint16_t size = cursor_be16(&in);
	struct ts2021_session s = {0};
	struct secret_key own;
	struct noise_state n;
	int r = -EBADMSG;

	if (type != MESSAGE_INITIATION || size != INITIATION_BODY)
		return -EBADMSG;
	secret_key_public(key, &public);
	begin(&n, version, &public);
	take_ephemeral(ephemeral, &own);
	if (server_open_initiation(&n, key, in.at, &client, &machine) < 0)
		goto refused;

	out[0] = MESSAGE_RESPONSE;
	put_be16(out + 1, RESPONSE_BODY);
	secret_key_public(&own, &public);
	memcpy(out + TS2021_HEADER_SIZE, public.bytes, KEY_SIZE);
	noise_mix_hash(&n, public.bytes, KEY_SIZE);
	if (noise_mix_dh(&n, &own, &client) < 0 || noise_mix_dh(&n, &own, &machine) < 0)
		goto refused;
	noise_encrypt_and_hash(&n, NULL, 0, out + TS2021_HEADER_SIZE + KEY_SIZE);
	noise_split(&n, &s.receive_key, &s.send_key);
	*ret = s;
	*ret_machine = machine;
	*ret_version = version;
	r = 0;
refused:
	ts2021_session_wipe(&s);
	secret_key_wipe(&own);
	noise_wipe(&n);
	return r;
}

void ts2021_session_wipe(struct ts2021_session *s)
{
	explicit_bzero(s, sizeof(*s));
	s->dead = true;
}

static int dead(struct ts2021_session *s, int code)
{
	ts2021_session_wipe(s);
	return code;
}

/* record_nonce() - Four zero bytes, then the counter in big-endian, unlike Noise's own */
static void record_nonce(uint64_t counter, uint8_t out[static AEAD_NONCE_SIZE])
{
	memset(out, 0, 4);
	put_be64(out + 4, counter);
}

int ts2021_seal(struct ts2021_session *s, const void *bytes, size_t length, struct buffer *out)
{
	size_t records = (length + TS2021_PLAINTEXT_MAX - 1) / TS2021_PLAINTEXT_MAX;
	const uint8_t *at = bytes;
	int r;

	if (s->dead)
		return -EPIPE;
	/* UINT64_MAX itself is no valid counter. */
	if (records > UINT64_MAX - s->send_counter)
		return dead(s, -EOVERFLOW);
	r = buffer_reserve(out, length + records * (TS2021_HEADER_SIZE + TS2021_TAG_SIZE));
	if (r < 0)
		return r;
	while (length) {
		size_t piece = length < TS2021_PLAINTEXT_MAX ? length : TS2021_PLAINTEXT_MAX;
		uint8_t nonce[AEAD_NONCE_SIZE], *record = buffer_end(out);

		record[0] = MESSAGE_RECORD;
		put_be16(record + 1, (uint16_t)(piece + TS2021_TAG_SIZE));
		record_nonce(s->send_counter++, nonce);
		aead_seal(&s->send_key, nonce, NULL, 0, at, piece, record + TS2021_HEADER_SIZE);
		out->length += TS2021_HEADER_SIZE + piece + TS2021_TAG_SIZE;
		at += piece;
		length -= piece;
	}
	return 0;
}

int ts2021_open_record(struct ts2021_session *s, const uint8_t *bytes, size_t length,
		       size_t *ret_used, uint8_t out[static TS2021_PLAINTEXT_MAX],
		       size_t *ret_length)
{
	struct cursor in = cursor_of(bytes, length);
	uint8_t nonce[AEAD_NONCE_SIZE], type;
	const uint8_t *body;
	uint16_t size;

	if (s->dead)
		return -EPIPE;
	type = cursor_u8(&in);
	if (cursor_ok(&in) && type != MESSAGE_RECORD)
		return dead(s, -EBADMSG);
	size = cursor_be16(&in);
	if (!cursor_ok(&in))
		return -EAGAIN;
	if (size < TS2021_TAG_SIZE || size > TS2021_FRAME_MAX - TS2021_HEADER_SIZE)
		return dead(s, -EBADMSG);
	body = cursor_take(&in, size);
	if (!body)
		return -EAGAIN;
	if (s->receive_counter == UINT64_MAX)
		return dead(s, -EOVERFLOW);
	record_nonce(s->receive_counter, nonce);
	if (aead_open(&s->receive_key, nonce, NULL, 0, body, size, out) < 0)
		return dead(s, -EBADMSG);
	s->receive_counter++;
	*ret_used = length - in.left;
	*ret_length = size - TS2021_TAG_SIZE;
	return 0;
}

/* Early payload: magic, u32 length, JSON. */
static const uint8_t early_magic[5] = {0xff, 0xff, 0xff, 'T', 'S'};

int ts2021_early_strip(struct ts2021_early *e, const uint8_t *bytes, size_t length,
		       const uint8_t **ret_head, size_t *ret_head_length)
{
	size_t used = 0, piece;

	*ret_head = NULL;
	*ret_head_length = 0;
	while (used < length && !e->none && e->have < sizeof(e->head)) {
		if (e->have < sizeof(early_magic) && bytes[used] != early_magic[e->have]) {
			e->none = true;
			*ret_head = early_magic; /* the bytes held back were equal to it */
			*ret_head_length = e->have > used ? e->have - used : 0;
			return 0;
		}
		e->head[e->have++] = bytes[used++];
		if (e->have == sizeof(e->head)) {
			struct cursor head = cursor_of(e->head + sizeof(early_magic), 4);

			e->left = cursor_be32(&head);
			if (e->left > LIMIT_RPC_BODY)
				return -EMSGSIZE;
		}
	}
	piece = length - used < e->left ? length - used : e->left;
	e->left -= (uint32_t)piece;
	return (int)(used + piece);
}
