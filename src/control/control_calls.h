/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/control_calls.h - requests to the control server beside registering and maps
 *
 * Each goes over the connection that stands, and is not repeated: without a connection, or when it
 * ends, the call fails and the caller tries again later. Of all kinds together CONTROL_CALLS_MAX
 * may be under way.
 */
#pragma once

#include "control/control_client.h"

#define CONTROL_CALLS_MAX 8u
#define CONTROL_CSR_MAX   (16u * 1024) /* PRIVSEP_CSR_MAX */
#define CONTROL_CHAIN_MAX (64u * 1024) /* PRIVSEP_CHAIN_MAX */

struct control_call;

/* What control answered; valid during the call of control_called. */
struct control_answer {
	int result;           /* 0; -ENOTCONN: no connection now; -EOPNOTSUPP: control does not do
				* that; -EACCES: refused; -EAGAIN: later; -EIO, -ETIMEDOUT … */
	int status;           /* of HTTP; 0: none came */
	uint32_t retry_after; /* seconds that control named; 0: none */
	const char *text;     /* why it failed, for people; "" if it did not */
	const char *chain;    /* of control_client_sign(): PEM, the leaf first; else NULL */
	size_t chain_length;
	const char *body; /* of control_client_query_feature(): JSON; else NULL */
};

/** control_called - Called once, later; the call is gone then */
typedef void control_called(void *user, const struct control_answer *answer);

/**
 * control_client_set_dns() - Ask control to publish the TXT record of an ACME challenge
 * @name:  _acme-challenge.NAME, where NAME is a certificate domain of this node
 * @value: base64url
 * @ret:   for control_call_cancel(), until @called
 *
 * Success means that the record can be looked up (or as good as that, by what control knows).
 *
 * Return: 0, or negative errno with @err, and @called is never called: -ENOTCONN, -EBUSY (too many
 * calls), -EINVAL, -ENOMEM
 */
int control_client_set_dns(struct control_client *client, const char *name, const char *value,
			   control_called *called, void *user, struct control_call **ret,
			   struct error *err);

/**
 * control_client_sign() - Ask the authority of `pillion control` for a certificate
 * @csr: PEM of a certificate request for this node's MagicDNS name
 *
 * As above. Other servers answer -EOPNOTSUPP.
 */
int control_client_sign(struct control_client *client, const char *csr, control_called *called,
			void *user, struct control_call **ret, struct error *err);

/**
 * control_client_query_feature() - Ask what a person has to do for a feature ("funnel")
 *
 * As above. The answer's body is tailcfg.QueryFeatureResponse. Only Tailscale's control knows it.
 */
int control_client_query_feature(struct control_client *client, const char *feature,
				 control_called *called, void *user, struct control_call **ret,
				 struct error *err);

/** control_call_cancel() - Its @called is not called any more. NULL is fine */
void control_call_cancel(struct control_call *call);
