/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/relay_identity.h - a relay's key and certificate, and where they are kept
 *
 * In a directory of mode 0700: relay.key (its DERP key, as "privkey:…"), relay.crt
 * and relay.pem (a self-signed certificate and its key, PEM). Files are 0600 and
 * replaced whole (written beside, synced, renamed).
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "base/secret.h"

#define RELAY_PIN_TEXT_MAX 80 /* "sha256-raw:" and 64 digits */

/* PEM texts, ended by a zero. */
struct relay_certificate {
	char *certificate;
	char *key; /* secret */
};

void relay_certificate_clear(struct relay_certificate *certificate);

/**
 * relay_key_load() - The key in @directory/relay.key, made if there is none
 *
 * A file that is there but holds no key is an error, never overwritten.
 * Return: 0 or negative errno with @err set
 */
int relay_key_load(const char *directory, struct secret_key *ret, struct error *err);

/**
 * relay_certificate_load() - The self-signed certificate in @directory
 * @host: name to prove, or NULL
 * @ipv4, @ipv6: addresses to prove; either may be ADDRESS_NONE
 *
 * One is made if there is none, or if it ends within 30 days, doesn't prove @host and the
 * addresses, or can't be read: clients learn the new hash from the DERPMap.
 * Return: 0 or negative errno with @err set
 */
int relay_certificate_load(const char *directory, const char *host, const struct address *ipv4,
			   const struct address *ipv6, struct relay_certificate *ret,
			   struct error *err);

/** relay_certificate_pin() - "sha256-raw:…" of the first certificate; 0 or -EINVAL */
int relay_certificate_pin(const struct relay_certificate *certificate,
			  char out[static RELAY_PIN_TEXT_MAX]);

/** relay_directory_make() - @path, mode 0700, if it isn't there */
int relay_directory_make(const char *path, struct error *err);
