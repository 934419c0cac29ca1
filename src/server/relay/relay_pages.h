/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_pages.h - the pages of a relay beside /derp */
#pragma once

#include "server/relay/derp_server.h"
#include "server/relay/relay_bootstrap.h"
#include "server/relay/relay_server.h"
#include "server/relay/stun_server.h"
#include "server/web/web_server.h"

#define RELAY_CHALLENGE_MAX 64

struct relay_pages {
	struct relay_bootstrap *bootstrap; /* owned */
	const struct derp_server *server;
	const struct stun_server *stun; /* NULL: none */
	const struct web_server *web;   /* NULL: none of its own */
	uint64_t refused_source;        /* connections over the bound of their address */
	bool metrics;
};

/** relay_pages_serve() - Answer @x if its path is one of these; whether it was */
bool relay_pages_serve(const struct relay_pages *pages, struct http1_exchange *x);

/** relay_challenge_is_valid() - 1 to 64 of [A-Za-z0-9.:_-]: what may be echoed into a header */
bool relay_challenge_is_valid(const char *text);

/** relay_metrics_write() - The text of /metrics (Prometheus); 0, -ENOMEM, -EMSGSIZE */
int relay_metrics_write(const struct relay_pages *pages, struct buffer *out);
