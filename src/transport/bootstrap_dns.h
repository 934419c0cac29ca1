/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/bootstrap_dns.h - ask a relay for an address when DNS is broken
 *
 * GET https://RELAY/bootstrap-dns?q=NAME answers {"NAME": ["1.2.3.4", …]}. The
 * answer is as trustworthy as the relay: its user must verify the server at that address.
 */
#pragma once

#include "transport/http_client.h"

struct bootstrap_dns;

/**
 * bootstrap_dns_start() - Ask for the addresses of @name
 * @relay:  host, addresses and TLS options of the relay
 * @answer: as in names.h
 * @ret:    valid until @answer or bootstrap_dns_cancel()
 */
int bootstrap_dns_start(const struct dialer *dialer, const struct dial_options *relay,
			const char *name, names_answer *answer, void *user,
			struct bootstrap_dns **ret, struct error *err);

/** bootstrap_dns_cancel() - No answer will come. NULL is fine */
void bootstrap_dns_cancel(struct bootstrap_dns *query);

/** bootstrap_dns_parse() - The JSON; returns how many addresses, or -EBADMSG, -ENOENT */
int bootstrap_dns_parse(const void *json, size_t length, const char *name,
			struct address ret[static NAMES_ADDRESSES_MAX]);
