/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/funnel.h - connections of the internet, which an ingress node brings (Funnel)
 *
 *	POST /v0/ingress HTTP/1.1
 *	Tailscale-Ingress-Src: 203.0.113.7:50000           who called
 *	Tailscale-Ingress-Target: app.tail1234.ts.net:443  what was called
 *
 * The answer is "HTTP/1.1 101 Switching Protocols" without headers, and then the bytes of the
 * caller's TLS, which ends here or, for TCPForward, at the app. Refusals have the statuses and
 * texts of the official daemon.
 */
#pragma once

#include "services/services_internal.h"
#include "transport/http1.h"

#define FUNNEL_HOST_MAX 256

struct funnel_request {
	struct endpoint source;
	char host[FUNNEL_HOST_MAX]; /* as it came */
	uint16_t port;
};

/** funnel_request_read() - The two headers; NULL, or what is wrong with them, with the status (pure) */
const char *funnel_request_read(const struct http1_head *head, struct funnel_request *ret,
				int *ret_status);

/** funnel_check() - Whether the configuration funnels the target, and there is room; as above */
const char *funnel_check(struct services *services, const struct funnel_request *request,
			 int *ret_status);

/** funnel_proof_open() - Answer one request of plain HTTP, by an ACME proof or 404; owns @stream */
void funnel_proof_open(struct services *services, struct stream *stream);

/**
 * funnel_open() - Answer with 101 and serve the caller; after funnel_check()
 * @stream: of the ingress node, owned
 * @person: the ingress node, with our addresses
 */
void funnel_open(struct services *services, struct stream *stream,
		 const struct funnel_request *request, const struct privsep_person *person);
