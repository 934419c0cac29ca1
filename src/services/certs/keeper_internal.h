/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/keeper_internal.h - the certificates by ACME, for the files of the keeper
 *
 *	keeper.c        which certificates there are, and when the next one is due
 *	keeper_store.c  what is stored: the account, certificates, pauses
 *	pauses.c        pauses after failures, as text
 *	proofs.c        what the listeners show: TLS-ALPN-01, HTTP-01
 */
#pragma once

#include "services/certs/certs.h"
#include "services/certs/keeper.h"
#include "services/certs/pauses.h"

#define STORE_AGAIN (30 * NSEC_PER_SEC)

/* The note that an order begins, while it is being stored. */
struct beginning {
	struct keeper *keeper; /* NULL: it is gone */
};

struct entry {
	LIST_ENTRY(entry) entry;
	struct keeper *keeper;
	char domain[PRIVSEP_DOMAIN_MAX];
	bool wanted;
	time_t demand; /* a local program wants one that is good until then; 0: none */
	enum privsep_cert_source source;
	bool loaded;
	bool unsaved; /* the certificate is not on disk yet */
	unsigned int saving;
	nanoseconds save_at;
	struct certificate pair;
	time_t renew_at;      /* 0: unknown yet */
	time_t rest;          /* not before, while there is a good one */
	nanoseconds ask_at;   /* when to ask the authority about that */
	nanoseconds order_at; /* not before */
	unsigned int failures;
	bool local; /* the last failure is of this node: another configuration may end it */
	char problem[ERROR_TEXT_MAX];
};

/* What our listeners show. */
struct shown {
	char name[ACME_NAME_MAX], token[ACME_TOKEN_MAX];
	char *text; /* HTTP-01 */
};

struct keeper {
	struct services *services;
	LIST_HEAD(, entry) entries;
	struct loop_timer *timer;
	EVP_PKEY *account;
	bool account_loaded;
	struct order *order;
	struct control_ask *signing; /* instead of an order: control is the authority */
	struct entry *ordering;      /* of either */
	bool asks;                   /* it only asks when to renew */
	char *next_key;              /* PEM of the order's certificate; secret */
	struct buffer external;      /* secret of the external account */
	struct dns_key dns_key;
	char dns_problem[256]; /* "": the key can be used */
	struct shown shown;
	struct pauses *pauses;       /* as stored; NULL: not loaded yet */
	struct beginning *beginning; /* of the order: its note is being stored */
};

/* --- keeper_store.c --- */

/** keeper_need_account() - The stored key, or a new one where there is none; 0 or negative errno with @err */
int keeper_need_account(struct keeper *k, struct error *err);

/** keeper_load() - The stored certificate, and the pause after failures */
void keeper_load(struct entry *e, nanoseconds now);

/** keeper_save() - Store the certificate and its key */
void keeper_save(struct entry *e);

/** keeper_take_pair() - Use the texts of e->pair: until when, and when to ask */
void keeper_take_pair(struct entry *e, nanoseconds now);

bool keeper_is_good(const struct entry *e);
time_t keeper_begin_of(const struct certificate *c);

/** keeper_take_pause() - What is noted for the configuration as it is now, by this process or one before */
void keeper_take_pause(struct entry *e, nanoseconds now);

/** keeper_note_pause() - Store how long the next order waits, after e->failures; @busy: as struct pause */
void keeper_note_pause(struct entry *e, nanoseconds length, bool busy);

/** keeper_note_begin() - Store that an order begins, then order_noted(k->order) */
void keeper_note_begin(struct keeper *k, nanoseconds length);

/** keeper_forget_pause() - After success */
void keeper_forget_pause(struct entry *e);

/* --- proofs.c --- */

/** proofs_can() - Whether a listener would show a proof of the policy; 0 or -EINVAL with @err */
int proofs_can(const struct keeper *k, const char *domain, struct error *err);

/** proofs_show(), proofs_hide() - As struct order_setup has them */
int proofs_show(struct keeper *k, const struct acme_proof *proof, struct error *err);
void proofs_hide(struct keeper *k);
