/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tls_tickets.c - tickets, by which clients of a TLS server resume (RFC 8446 §4.6.1, RFC 5077)
 *
 * A ticket is the session, sealed with a key that only this process has: the server remembers
 * nothing. Whoever gets a key can open the tickets that it sealed, so a key seals for TICKET_ROTATE
 * and is forgotten after as long again.
 */
#include "base/clock.h"
#include "transport/tls_internal.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define TICKET_ROTATE (3600 * NSEC_PER_SEC)
#define TICKET_LIFE   7200 /* seconds that clients are told */
#define KEY_NAME_SIZE 16   /* as OpenSSL wants it */

struct ticket_key {
	uint8_t name[KEY_NAME_SIZE];
	uint8_t cipher[32], mac[32];
	nanoseconds made; /* 0: no key */
};

struct tls_tickets {
	struct ticket_key now, before;
};

static int context_index = -1;

/* renew() - A key that may seal; 0 or -1 */
static int renew(struct tls_tickets *tickets)
{
	nanoseconds now = clock_boottime();
	struct ticket_key key = {.made = now};

	if (tickets->now.made && now - tickets->now.made < TICKET_ROTATE)
		return 0;
	if (RAND_bytes(key.name, sizeof(key.name)) != 1 ||
	    RAND_priv_bytes(key.cipher, sizeof(key.cipher)) != 1 ||
	    RAND_priv_bytes(key.mac, sizeof(key.mac)) != 1)
		return -1;
	tickets->before = tickets->now;
	tickets->now = key;
	explicit_bzero(&key, sizeof(key));
	return 0;
}

static bool opens(const struct ticket_key *key, const uint8_t *name)
{
	return key->made && clock_boottime() - key->made < 2 * TICKET_ROTATE &&
	       memcmp(key->name, name, KEY_NAME_SIZE) == 0;
}

static int start_mac(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac,
						  sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, parameters) == 1 ? 0 : -1;
}

/* on_ticket() - Prepare to seal or to open one; OpenSSL's results: -1 failed, 0 unknown, 1, 2 renew */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int seal)
{
	struct tls_tickets *tickets = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);
	const struct ticket_key *key;

	if (seal) {
		if (renew(tickets) < 0 || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
			return -1;
		key = &tickets->now;
		memcpy(name, key->name, sizeof(key->name));
		return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1 &&
				       start_mac(mac, key) == 0
			       ? 1
			       : -1;
	}
	key = opens(&tickets->now, name) ? &tickets->now : &tickets->before;
	if (!opens(key, name))
		return 0;
	if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1 ||
	    start_mac(mac, key) < 0)
		return -1;
	/* A client of TLS 1.3 uses a ticket once. */
	return key == &tickets->now && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
}

int tls_tickets_attach(struct tls_context *context, SSL_CTX *ctx)
{
	if (context_index < 0)
		context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (context_index < 0 || SSL_CTX_set_ex_data(ctx, context_index, context->tickets) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) != 1)
		return -ENOMEM;
	SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_timeout(ctx, TICKET_LIFE);
	SSL_CTX_set_num_tickets(ctx, 1);
	return 0;
}

int tls_server_allow_tickets(struct tls_context *context)
{
	if (context->tickets)
		return 0;
	context->tickets = calloc(1, sizeof(*context->tickets));
	return context->tickets ? tls_tickets_attach(context, context->ctx) : -ENOMEM;
}

void tls_tickets_free(struct tls_tickets *tickets)
{
	if (tickets)
		explicit_bzero(tickets, sizeof(*tickets));
	free(tickets);
}
