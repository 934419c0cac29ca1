/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_acme.h - by which ACME authority and challenge this node gets certificates */
#pragma once

#include "privsep/privsep_serve.h"
#include "privsep/start_config.h"
#include "transport/proxy.h"
#include "wire/serve_config.h"

#define NODE_ACME_TARGETS 2u

/** struct node_acme - The policy, and the servers that it needs, in the order of struct privsep_acme */
struct node_acme {
	struct privsep_acme acme;
	struct serve_target targets[NODE_ACME_TARGETS]; /* text and host are owned */
	size_t target_count;
};

/**
 * node_acme_make() - From what the start said
 * @proxy:   by which TLS connections go, or NULL
 * @granted: control publishes challenges (CertDomains)
 *
 * Without a way to prove the name, or without memory: SERVE_CHALLENGE_OFF.
 */
void node_acme_make(const struct privsep_start *start, const struct proxy *proxy, bool granted,
		    struct node_acme *ret);
void node_acme_clear(struct node_acme *acme);
