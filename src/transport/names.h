/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/names.h - host names to addresses, by c-ares
 *
 * Theory of operation
 *   The configuration is the text of resolv.conf and hosts. A new text builds a new channel, on
 *   which pending questions are asked again. Sockets come from the socket_source, so that they
 *   carry its mark.
 *   Order: IP literal, hosts, localhost (RFC 6761), then DNS with the search list,
 *   A and AAAA together.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "base/socket_source.h"

#include <uv.h>

/* The most addresses one answer hands on. */
#define NAMES_ADDRESSES_MAX 16

struct names;
struct names_query;

/**
 * names_answer - The answer to names_resolve(), called once and never before it returned
 * @addresses: @count of them in the server's order, IPv6 and IPv4 mixed; NULL and 0 on failure
 * @err:       NULL, or why there are none (-ENOENT: no such name; -ETIMEDOUT; …)
 */
typedef void names_answer(void *user, const struct address *addresses, size_t count,
			  const struct error *err);

/** names_create() - Without configuration it asks 127.0.0.1, as resolv.conf(5) says */
int names_create(uv_loop_t *loop, struct socket_source *sockets, struct names **ret,
		 struct error *err);

/** names_open_system() - With resolv.conf and hosts of this machine; either may be missing */
int names_open_system(uv_loop_t *loop, struct names **ret, struct error *err);

/** names_free() - Questions under way are dropped without an answer. NULL is fine */
void names_free(struct names *names);

/**
 * names_configure() - Use these texts from now on
 * @resolv_conf: text of resolv.conf, NULL if there is none
 * @hosts:       text of the hosts file, NULL if there is none
 *
 * A line that doesn't parse is ignored, as in the C library.
 * Return: 0 or negative errno with @err set; then the old configuration stays
 */
int names_configure(struct names *names, const char *resolv_conf, size_t resolv_conf_length,
		    const char *hosts, size_t hosts_length, struct error *err);

/**
 * names_resolve() - Find the addresses of @host
 * @ret: the question, valid until its answer or names_cancel()
 *
 * Return: 0; -EINVAL: @host is no host name; -ENOMEM
 */
int names_resolve(struct names *names, const char *host, names_answer *answer, void *user,
		  struct names_query **ret, struct error *err);

/** names_cancel() - No answer will come. NULL is fine */
void names_cancel(struct names_query *query);

/** host_is_valid() - An IP literal, or a host name of RFC 1123 (underscores too), ≤ 253 bytes */
bool host_is_valid(const char *host);
