/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/certificate_maker.h - certificates that a server of this program makes for itself
 *
 * Files are PEM, mode 0600, and replaced whole. A file that clients trust or have pinned is made
 * only where it is missing: one that is empty or can't be read is an error, and stays.
 */
#pragma once

#include "base/error.h"
#include "transport/certificate.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/**
 * certificate_self_signed() - A relay's pair: relay.crt and relay.pem in @folder
 * @names: host names and addresses to prove
 *
 * The certificate is made if it is missing, ends within 30 days or doesn't prove @names; clients
 * receive the new hash in the DERPMap. The key stays.
 *
 * Return: 0 or negative errno with @err set
 */
int certificate_self_signed(const char *folder, const char *const *names, size_t count,
			    struct certificate_pair *ret, struct error *err);

struct authority_made {
	bool authority; /* nodes need its ca.pem */
	bool server; /* a certificate: the old one was missing, about to end, or of other names */
	time_t ends; /* of the authority: then every node needs another one */
};

/**
 * certificate_by_authority() - server.pem and server.key, by the private authority in @folder
 * @names: as for certificate_self_signed()
 * @made:  what was made
 *
 * The authority (ca.pem, which nodes get as TS_CA_FILE, and ca.key) is made at the first start and
 * stays, so that nodes never need another file. The server's pair is renewed as needed.
 *
 * Return: 0 or negative errno with @err set
 */
int certificate_by_authority(const char *folder, const char *const *names, size_t count,
			     struct certificate_pair *ret, struct authority_made *made,
			     struct error *err);

/**
 * certificate_nodes_authority() - The authority for names of nodes: nodes-ca.DOMAIN.pem and .key
 * @domain: the only one that it may sign names of
 * @made:   whether it is new
 *
 * Return: 0 or negative errno with @err set
 */
int certificate_nodes_authority(const char *folder, const char *domain, struct certificate *ret,
				bool *made, struct error *err);

#define CERTIFICATE_PIN_MAX 80 /* "sha256-raw:" and 64 digits */

/** certificate_pin() - "sha256-raw:…" of the first certificate of a PEM text; 0 or -EINVAL */
int certificate_pin(const char *certificate, char out[static CERTIFICATE_PIN_MAX]);
