/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/bootstrap_dns.h - ask a relay for an address when DNS is broken
 *
 * GET https://RELAY/bootstrap-dns?q=NAME answers {"NAME": ["1.2.3.4", …]}. The
 * answer is as trustworthy as the relay: whoever uses it must verify what is reached.
 */
#pragma once

#include "transport/http_client.h"

/**
 * bootstrap_dns_start() - Ask for the addresses of @name
 * @relay:  host, addresses and TLS options of the relay
 * @answer: as in names.h
 * @ret:    for http_cancel()
 */
int bootstrap_dns_start(const struct dialer *dialer, const struct dial_options *relay,
			const char *name, names_answer *answer, void *user,
			struct http_exchange **ret, struct error *err);

/** bootstrap_dns_parse() - The JSON; returns how many addresses, or -EBADMSG, -ENOENT */
int bootstrap_dns_parse(const void *json, size_t length, const char *name,
			struct address ret[static NAMES_ADDRESSES_MAX]);
