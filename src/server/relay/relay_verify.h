/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/relay_verify.h - ask a URL whether a node may use the relay
 *
 * POST {"NodePublic":"nodekey:…","Source":"1.2.3.4"}; the answer is 200 with
 * {"Allow":true} or false. Anything else is no answer. One request a question, at
 * most LIMIT_RELAY_VERDICTS at once. Works with Headscale's /verify.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "wire/keys.h"

#include <uv.h>

struct relay_verifier;
struct relay_question;

enum relay_verdict {
	RELAY_VERDICT_ALLOW,
	RELAY_VERDICT_DENY,
	RELAY_VERDICT_NONE, /* the URL could not be asked */
};

/** relay_verdict_fn - The end of a question, never before relay_verifier_ask() returned */
typedef void relay_verdict_fn(void *user, enum relay_verdict verdict);

/**
 * relay_verifier_new() - @url: http or https; @ca_file: PEM, NULL: the system's roots
 *
 * Names are resolved by /etc/resolv.conf and /etc/hosts as they are now.
 * Return: 0 or negative errno with @err set
 */
int relay_verifier_new(uv_loop_t *loop, const char *url, const char *ca_file,
		       struct relay_verifier **ret, struct error *err);

/** relay_verifier_free() - Questions under way end without a callback. NULL is fine */
void relay_verifier_free(struct relay_verifier *v);

/** relay_verifier_ask() - Begin; 0, -EBUSY too many at once, -ENOMEM, or another negative errno */
int relay_verifier_ask(struct relay_verifier *v, const struct public_key *node,
		       const struct address *source, relay_verdict_fn *told, void *user,
		       struct relay_question **ret);

/** relay_question_cancel() - End it without a callback. NULL is fine */
void relay_question_cancel(struct relay_question *q);

/** relay_verdict_parse() - The body of an answer */
enum relay_verdict relay_verdict_parse(const void *body, size_t length);
