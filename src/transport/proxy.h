/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/proxy.h - HTTPS_PROXY: which connections go through it, and CONNECT
 */
#pragma once

#include "base/buffer.h"
#include "transport/url.h"

#include <stdlib.h>

struct proxy;

/** proxy_variable() - Of the environment, in capitals or small letters; NULL if empty or not there
 */
static inline const char *proxy_variable(const char *capitals, const char *small)
{
	const char *value = getenv(capitals);

	if (!value || !*value)
		value = getenv(small);
	return value && *value ? value : NULL;
}

/**
 * proxy_create() - From the values of HTTPS_PROXY and NO_PROXY
 * @https_proxy: "http://[user:password@]host:port", also https:// or a bare host:port;
 *               NULL or "" for none, then *@ret is NULL
 * @no_proxy:    names, suffixes (".lan"), addresses and prefixes, with :port or not,
 *               by commas; "*" is all. NULL for none. Loopback never goes by the proxy
 *
 * Return: 0, or -EINVAL with @err set, naming the variable and not its password
 */
int proxy_create(const char *https_proxy, const char *no_proxy, struct proxy **ret,
		 struct error *err);

/** proxy_free() - Wipes the password. NULL is fine */
void proxy_free(struct proxy *proxy);

/** proxy_for() - Where to connect for a TLS connection to @host:@port; NULL: to itself */
const struct url *proxy_for(const struct proxy *proxy, const char *host, uint16_t port);

/**
 * proxy_write_connect() - Append the CONNECT request to @out
 *
 * Return: 0; -EINVAL when @host is no host name (it goes into a line of text); -ENOMEM
 */
int proxy_write_connect(const struct url *proxy, const char *host, uint16_t port,
			struct buffer *out);
