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

/** keeper_source() - Of keeper_pair(): PRIVSEP_CERT_ACME or PRIVSEP_CERT_CONTROL */
enum privsep_cert_source keeper_source(struct keeper *keeper, const char *domain);

/** keeper_can() - Whether there is a source of certificates for @domain besides our own authority */
bool keeper_can(const struct keeper *keeper, const char *domain);

/**
 * keeper_demand() - Have a certificate that is good until @end at least; cert_asks_settled() follows
 *
 * Return: 0; -EAGAIN with @err: the last order failed, and the next one is not due yet
 */
int keeper_demand(struct keeper *keeper, const char *domain, time_t end, struct error *err);

/** keeper_problem() - Why there is no new one for @domain; or "" */
const char *keeper_problem(struct keeper *keeper, const char *domain);

/** keeper_file() - A new secret, the keeper's to close; or a negative errno */
void keeper_file(struct keeper *keeper, enum privsep_file_name name, int fd);

/** keeper_http_proof() - The body at @path by plain HTTP, if it proves a name; or NULL */
const char *keeper_http_proof(const struct keeper *keeper, const char *path);

/* --- public_proofs.c --- */

/** public_proofs_listen() - Show proofs at @fd, a listener of the internet, which is owned */
void public_proofs_listen(struct services *services, int fd);
void public_proofs_free(struct services *services);

/* --- cert_asks.c --- */

extern const struct cert_events cert_asks_events;

/** cert_asks_settled() - An order for @domain has ended; @problem: NULL: well */
void cert_asks_settled(struct services *services, const char *domain, const char *problem);

/** cert_asks_state() - What HTTPS proves itself by may be another one now */
void cert_asks_state(struct services *services);

void cert_asks_free(struct services *services);
