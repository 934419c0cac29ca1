/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/acme.h - one certificate from an authority that speaks ACME (RFC 8555, RFC 9773)
 *
 * Sans-I/O: a state machine that says what it wants, and is told what came of it.
 *
 *	acme_new(&setup, now, &acme, &err);
 *	for (;;) switch (acme_wants(acme)) {
 *	case ACME_SENDS:    acme_request(acme, &request); …send it…; acme_answered(acme, &answer, …);
 *	case ACME_BEGINS:   …note that an order begins…; acme_noted(acme);
 *	case ACME_PRESENTS: …publish acme_proof(acme)…; acme_presented(acme, now, NULL);
 *	case ACME_WAITS:    …until acme_deadline(acme)…; acme_wake(acme, now);
 *	case ACME_DONE:     …acme_chain(acme)…
 *	case ACME_FAILED:   …acme_error(acme), acme_retry_after(acme)…
 *	}
 *
 * The same machine asks when a certificate should be renewed (setup.certificate_id without a
 * certificate_key). All addresses that the authority names must have the origin of its directory,
 * since no other target can be reached.
 */
#pragma once

#include "base/clock.h"
#include "services/certs/jose.h"
#include "transport/url.h"

#include <time.h>

#define ACME_ANSWER_MAX  ((size_t)256 * 1024)
#define ACME_NAME_MAX    256
#define ACME_TOKEN_MAX   256
#define ACME_RETRY_MAX   (24 * 3600 * NSEC_PER_SEC) /* a longer Retry-After counts as this */
#define ACME_ORDER_TIME  (15 * 60 * NSEC_PER_SEC)   /* for all of it */
#define ACME_CERTIFICATE "application/pem-certificate-chain"
#define ACME_ID_MAX      128

enum acme_challenge {
	ACME_DNS_01,
	ACME_TLS_ALPN_01,
	ACME_HTTP_01,
};

/** struct acme_setup - An order; all texts are copied but @account_key's and @certificate_key's */
struct acme_setup {
	const char *directory;  /* https URL */
	const char *domain;     /* or "*.domain", by ACME_DNS_01 alone */
	const char *email;      /* NULL: none */
	const char *key_id;     /* of an external account, NULL: none */
	const void *key_secret; /* its @key_secret_length bytes */
	size_t key_secret_length;
	EVP_PKEY *account_key;     /* held by a reference; NULL to ask when to renew */
	EVP_PKEY *certificate_key; /* the same */
	enum acme_challenge challenge;
	const char *certificate_id; /* of the certificate that is replaced, NULL: none */
};

enum acme_wants {
	ACME_SENDS,
	ACME_BEGINS, /* the next request may make an account or an order */
	ACME_PRESENTS,
	ACME_WAITS,
	ACME_DONE,
	ACME_FAILED,
};

/** struct acme_request - To the origin of the directory; valid until the next call */
struct acme_request {
	const char *method;
	const char *target; /* path and query */
	const char *accept; /* NULL: anything */
	const char *body;   /* JSON that is signed; @length 0: none */
	size_t length;
};

/** struct acme_answer - Headers are NULL where they are missing */
struct acme_answer {
	int status;
	const char *nonce;       /* Replay-Nonce */
	const char *location;    /* Location */
	const char *retry_after; /* Retry-After */
	const char *body;
	size_t length;
};

/** struct acme_proof - What proves that a name is ours; valid until the next call */
struct acme_proof {
	enum acme_challenge challenge;
	const char *name;  /* without "*." */
	const char *token; /* HTTP-01: the last part of the path */
	const char *text;  /* HTTP-01: the body; DNS-01: the value of TXT _acme-challenge.NAME */
	const uint8_t *digest; /* TLS-ALPN-01: 32 bytes */
};

struct acme;

/** acme_new() - 0, -EINVAL or -ENOMEM with @err */
int acme_new(const struct acme_setup *setup, nanoseconds now, struct acme **ret, struct error *err);
void acme_free(struct acme *acme);

enum acme_wants acme_wants(const struct acme *acme);

/** acme_origin() - Where all requests go */
const struct url *acme_origin(const struct acme *acme);

/** acme_request() - The next request, ACME_SENDS; 0 or a negative errno, after which it has failed */
int acme_request(struct acme *acme, struct acme_request *ret);

/** acme_answered() - The answer. @wall: for a Retry-After that is a date */
void acme_answered(struct acme *acme, const struct acme_answer *answer, nanoseconds now,
		   time_t wall);

/** acme_lost() - There is no answer */
void acme_lost(struct acme *acme, const struct error *err);

/** acme_noted() - After ACME_BEGINS */
void acme_noted(struct acme *acme);

/** acme_proof() - What to publish; ACME_PRESENTS */
void acme_proof(struct acme *acme, struct acme_proof *ret);

/** acme_presented() - It is published, or not: @err */
void acme_presented(struct acme *acme, nanoseconds now, const struct error *err);

/** acme_deadline(), acme_wake() - ACME_WAITS; other states have ACME_ORDER_TIME at most */
nanoseconds acme_deadline(const struct acme *acme);
void acme_wake(struct acme *acme, nanoseconds now);

/** acme_chain() - ACME_DONE: the certificate and its issuers, PEM; NULL: it asked when to renew */
const char *acme_chain(const struct acme *acme);

/** acme_window() - ACME_DONE: between which times to renew; false: the authority has no opinion */
bool acme_window(const struct acme *acme, time_t *ret_start, time_t *ret_end);

/** acme_error(), acme_retry_after() - ACME_FAILED: why, and how long to wait (0: not said). The latter
 * also after a question when to renew: how long the answer is good for */
const struct error *acme_error(const struct acme *acme);
nanoseconds acme_retry_after(const struct acme *acme);

/* --- acme_texts.c --- */

/** acme_certificate_id() - For ARI, of the first certificate in a PEM text; 0, -EINVAL */
int acme_certificate_id(const char *pem, char out[static ACME_ID_MAX]);

/**
 * acme_take_chain() - Check what the authority sent for @domain
 * @key: that the first certificate must be for
 *
 * Return: the certificates alone, as PEM; NULL with @err
 */
char *acme_take_chain(const char *text, size_t length, EVP_PKEY *key, const char *domain,
		      struct error *err);

/** acme_rest() - When the next certificate may be ordered, after one that is good from @begin to @end */
time_t acme_rest(time_t begin, time_t end);

/** acme_request_text() - A CSR for @domain in base64url; as buffer_append(), -EINVAL */
int acme_request_text(EVP_PKEY *key, const char *domain, struct buffer *out);

/** acme_request_pem() - The same as PEM, the caller's; or NULL */
char *acme_request_pem(EVP_PKEY *key, const char *domain);

/** acme_after() - Seconds or date of a Retry-After; 0: unusable; at most ACME_RETRY_MAX */
nanoseconds acme_after(const char *text, time_t wall);

/** acme_time() - RFC 3339, "2026-12-01T04:00:00Z" or with an offset; 0: unusable */
time_t acme_time(const char *text);
