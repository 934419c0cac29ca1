/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/keys.h - the Curve25519 keys of the protocol and their text forms
 *
 * Text is a prefix that names the kind and 64 lower-case hex digits
 * (protocol.md 1.1). A key that is not known is all zeros, and has a text form too.
 */
#pragma once

#include "base/secret.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_SIZE     32
#define KEY_TEXT_MAX 80 /* longest prefix, 64 digits, terminating zero */

struct public_key {
	uint8_t bytes[KEY_SIZE];
};

enum key_kind {
	KEY_MACHINE,      /* mkey: */
	KEY_NODE,         /* nodekey: */
	KEY_DISCO,        /* discokey: */
	KEY_CHALLENGE,    /* chalpub: */
	KEY_NETWORK_LOCK, /* nlpub: (Ed25519) */
	KEY_KIND_COUNT,
};

/** public_key_format() - Text form; returns @out */
const char *public_key_format(const struct public_key *key, enum key_kind kind,
			      char out[static KEY_TEXT_MAX]);

/** public_key_parse() - @length bytes of @text, prefix and hex exactly; 0 or -EINVAL */
int public_key_parse(const char *text, size_t length, enum key_kind kind, struct public_key *ret);

/** public_key_short() - For logs: "[" + 5 base64 characters + "]" (protocol.md 1.1); returns @out
 */
const char *public_key_short(const struct public_key *key, char out[static 8]);

bool public_key_is_zero(const struct public_key *key);
bool public_key_equal(const struct public_key *a, const struct public_key *b);

/** secret_key_generate() - A new clamped Curve25519 private key */
void secret_key_generate(struct secret_key *ret);

/** secret_key_public() - The public half of @key */
void secret_key_public(const struct secret_key *key, struct public_key *ret);

/** secret_key_format() - "privkey:…"; the caller wipes @out. Only for the state file */
const char *secret_key_format(const struct secret_key *key, char out[static KEY_TEXT_MAX]);

/** secret_key_parse() - "privkey:…"; clamps; 0 or -EINVAL */
int secret_key_parse(const char *text, size_t length, struct secret_key *ret);

/**
 * secret_key_agree() - X25519
 *
 * Return: 0, or -EBADMSG when the result is all zeros (a low-order point)
 */
int secret_key_agree(const struct secret_key *key, const struct public_key *peer,
		     struct secret_key *ret_shared);

/* The precomputed key of NaCl's crypto_box between two keys: 30 µs to compute, 1 µs to use. */
struct key_box {
	uint8_t key[32];
};

/** key_box_init() - Precompute; 0, or -EBADMSG for a low-order @peer */
int key_box_init(const struct secret_key *own, const struct public_key *peer, struct key_box *ret);

/** key_box_wipe() - Zero it */
void key_box_wipe(struct key_box *box);
