/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/certs.h - certificates by ACME, for the files of this folder
 *
 *	keeper*.c    which certificates there are, and when the next one is due
 *	order.c      one order, from its first request to the certificate
 *	acme.c       what is said to the authority (sans-I/O)
 *	acme_call.c  one request to it
 *	acme_way.c   the connection for that, perhaps through HTTPS_PROXY
 *	dns_call.c   one change of a TXT record, by RFC 2136
 */
#pragma once

#include "services/certs/acme.h"
#include "services/services_internal.h"
#include "transport/certificate.h"
#include "wire/dns_update.h"

#define CERTS_TEXT_MAX ((size_t)512 * 1024) /* of a stored file */

/* --- acme_way.c --- */

struct acme_way;

/** acme_way_done - @stream: open and paused, the callee's; NULL with @err */
typedef void acme_way_done(void *user, struct stream *stream, const struct error *err);

/**
 * acme_way_begin() - Connect to @to, the first target behind those of @serving's configuration
 *
 * Return: NULL without memory, else @done is called later, once
 */
struct acme_way *acme_way_begin(struct services *services, struct serving *serving,
				const struct url *to, acme_way_done *done, void *user);

/** acme_way_cancel() - @done is not called any more. NULL is fine */
void acme_way_cancel(struct acme_way *way);

/* --- acme_call.c --- */

struct acme_call;

/** acme_call_done - @answer: valid during the call; NULL with @err */
typedef void acme_call_done(void *user, const struct acme_answer *answer, const struct error *err);

/**
 * acme_call_begin() - Send @request to @origin, the first target behind those of @serving's configuration
 *
 * Return: NULL without memory, else @done is called later, once
 */
struct acme_call *acme_call_begin(struct services *services, struct serving *serving,
				  const struct url *origin, const struct acme_request *request,
				  acme_call_done *done, void *user);

/** acme_call_cancel() - @done is not called any more. NULL is fine */
void acme_call_cancel(struct acme_call *call);

/* --- dns_call.c --- */

struct dns_call;

/** dns_call_done - @err: NULL after success */
typedef void dns_call_done(void *user, const struct error *err);

/**
 * dns_call_begin() - Add or remove a TXT record at the DNS server, the second target
 * @zone: NULL: the server is asked
 *
 * Return: NULL without memory, else @done is called later, once
 */
struct dns_call *dns_call_begin(struct services *services, const char *zone,
				const struct dns_change *change, const struct dns_key *key,
				dns_call_done *done, void *user);

/** dns_call_cancel() - @done is not called any more. NULL is fine */
void dns_call_cancel(struct dns_call *call);

/** dns_calls_end() - Cancel all that are under way */
void dns_calls_end(struct services *services);

/** dns_key_parse() - "[hmac-sha256:]NAME:SECRET", or BIND's file; 0, -EINVAL with @err */
int dns_key_parse(const char *text, size_t length, struct dns_key *ret, struct error *err);

/* --- order.c --- */

struct order;

/** struct order_setup - What an order needs besides the policy in force */
struct order_setup {
	const char *domain;
	EVP_PKEY *account_key; /* NULL: ask when to renew the certificate of @certificate_id */
	EVP_PKEY *certificate_key;
	const char *certificate_id;
	const struct dns_key *dns_key;        /* NULL: none */
	const struct buffer *external_secret; /* bytes; NULL: none */
	/** @begins: from here on the authority is asked for something: note it, then order_noted() */
	void (*begins)(struct keeper *keeper);
	/** @show: show a proof at our listeners, instead of any before; 0 or negative errno */
	int (*show)(struct keeper *keeper, const struct acme_proof *proof, struct error *err);
	void (*hide)(struct keeper *keeper);
};

/** struct order_result - Of an order, or of a question when to renew */
struct order_result {
	const char *chain;               /* PEM; NULL: none */
	time_t window_start, window_end; /* 0: not said */
	nanoseconds retry_after;         /* 0: not said */
	bool begun;                      /* the authority was asked for something */
	const struct error *err;         /* NULL: success */
};

typedef void order_done(void *user, const struct order_result *result);

/** order_begin() - NULL with @err, else @done is called later, once, and the order is gone then */
struct order *order_begin(struct services *services, const struct order_setup *setup,
			  order_done *done, void *user, struct error *err);

/** order_noted() - What struct order_setup's begins() had to note is stored */
void order_noted(struct order *order);

/** order_follows() - Whether the policy that it began under is that of @now */
bool order_follows(const struct order *order, const struct serving *now);

/** order_cancel() - @done is not called any more. NULL is fine */
void order_cancel(struct order *order);
