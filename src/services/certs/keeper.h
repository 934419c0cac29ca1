/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/keeper.h - the certificates by ACME: stored, renewed, and what proves a name
 */
#pragma once

#include "services/certs/acme.h"
#include "services/services_internal.h"
#include "transport/certificate.h"

#define ACME_TLS_PROTOCOL "acme-tls/1"

struct keeper;

int keeper_new(struct services *services, struct keeper **ret, struct error *err);
void keeper_free(struct keeper *keeper);

/** keeper_update() - For the policy and the name as they are now; @wanted: HTTPS needs one */
void keeper_update(struct keeper *keeper, bool wanted);

/** keeper_pair() - A certificate by ACME that is good now, or NULL */
const struct certificate *keeper_pair(struct keeper *keeper, const char *domain);

/** keeper_file() - A new secret, the keeper's to close; or a negative errno */
void keeper_file(struct keeper *keeper, enum privsep_file_name name, int fd);

/** keeper_show() - Show a proof at our listeners, instead of any before; 0 or negative errno */
int keeper_show(struct keeper *keeper, const struct acme_proof *proof, struct error *err);
void keeper_hide(struct keeper *keeper);

/** keeper_http_proof() - The body at @path by plain HTTP, if it proves a name; or NULL */
const char *keeper_http_proof(const struct keeper *keeper, const char *path);
