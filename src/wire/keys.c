/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/keys.c - the Curve25519 keys of the protocol and their text forms */
#include "wire/keys.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static const char *const kind_prefixes[] = {
	[KEY_MACHINE] = "mkey:",      [KEY_NODE] = "nodekey:",       [KEY_DISCO] = "discokey:",
	[KEY_CHALLENGE] = "chalpub:", [KEY_NETWORK_LOCK] = "nlpub:",
};
_Static_assert(sizeof(kind_prefixes) / sizeof(kind_prefixes[0]) == KEY_KIND_COUNT, "all kinds");

static const char private_prefix[] = "privkey:";

static const char *format_hex(const char *prefix, const uint8_t *bytes, char *out)
{
	size_t used = strlen(prefix);

	memcpy(out, prefix, used);
	sodium_bin2hex(out + used, KEY_SIZE * 2 + 1, bytes, KEY_SIZE);
	return out;
}

static int parse_hex(const char *prefix, const char *text, size_t length, uint8_t *ret)
{
	size_t used = strlen(prefix), bytes;

	if (length != used + KEY_SIZE * 2 || memcmp(text, prefix, used) != 0)
		return -EINVAL;
	for (size_t i = used; i < length; i++)
		if (text[i] >= 'A' && text[i] <= 'F')
			return -EINVAL;
	if (sodium_hex2bin(ret, KEY_SIZE, text + used, KEY_SIZE * 2, NULL, &bytes, NULL) != 0 ||
	    bytes != KEY_SIZE)
		return -EINVAL;
	return 0;
}

const char *public_key_format(const struct public_key *key, enum key_kind kind,
			      char out[static KEY_TEXT_MAX])
{
	return format_hex(kind_prefixes[kind], key->bytes, out);
}

int public_key_parse(const char *text, size_t length, enum key_kind kind, struct public_key *ret)
{
	struct public_key key;

	if (parse_hex(kind_prefixes[kind], text, length, key.bytes) < 0)
		return -EINVAL;
	*ret = key;
	return 0;
}

const char *public_key_short(const struct public_key *key, char out[static 8])
{
	char base64[48];

	sodium_bin2base64(base64, sizeof(base64), key->bytes, KEY_SIZE,
			  sodium_base64_VARIANT_ORIGINAL);
	out[0] = '[';
	memcpy(out + 1, base64, 5);
	out[6] = ']';
	out[7] = 0;
	return out;
}

bool public_key_is_zero(const struct public_key *key)
{
	return sodium_is_zero(key->bytes, KEY_SIZE);
}

bool public_key_equal(const struct public_key *a, const struct public_key *b)
{
	return memcmp(a->bytes, b->bytes, KEY_SIZE) == 0;
}

static void clamp(struct secret_key *key)
{
	key->bytes[0] &= 248;
	key->bytes[31] &= 127;
	key->bytes[31] |= 64;
}

void secret_key_generate(struct secret_key *ret)
{
	randombytes_buf(ret->bytes, sizeof(ret->bytes));
	clamp(ret);
}

void secret_key_public(const struct secret_key *key, struct public_key *ret)
{
	crypto_scalarmult_base(ret->bytes, key->bytes);
}

const char *secret_key_format(const struct secret_key *key, char out[static KEY_TEXT_MAX])
{
	return format_hex(private_prefix, key->bytes, out);
}

int secret_key_parse(const char *text, size_t length, struct secret_key *ret)
{
	struct secret_key key;
	int r = parse_hex(private_prefix, text, length, key.bytes);

	if (r == 0) {
		clamp(&key);
		*ret = key;
	}
	secret_key_wipe(&key);
	return r;
}

int secret_key_agree(const struct secret_key *key, const struct public_key *peer,
		     struct secret_key *ret_shared)
{
	if (crypto_scalarmult(ret_shared->bytes, key->bytes, peer->bytes) != 0) {
		secret_key_wipe(ret_shared);
		return -EBADMSG;
	}
	return 0;
}

_Static_assert(sizeof(struct key_box) == crypto_box_BEFORENMBYTES, "");

int key_box_init(const struct secret_key *own, const struct public_key *peer, struct key_box *ret)
{
	struct key_box box;

	if (crypto_box_beforenm(box.key, peer->bytes, own->bytes) != 0)
		return -EBADMSG;
	*ret = box;
	key_box_wipe(&box);
	return 0;
}

void key_box_wipe(struct key_box *box)
{
	explicit_bzero(box, sizeof(*box));
}
