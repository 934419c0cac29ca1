/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/names_text.h - what resolv.conf and hosts say (pure; resolv.conf(5), hosts(5)) */
#pragma once

#include "base/address.h"

#define RESOLV_SERVERS_MAX 8
#define RESOLV_SEARCH_MAX  16
#define RESOLV_NAME_MAX    254

struct resolv_conf {
	struct endpoint servers[RESOLV_SERVERS_MAX]; /* "[addr]:port" too, as on OpenBSD */
	size_t server_count;
	char search[RESOLV_SEARCH_MAX][RESOLV_NAME_MAX];
	size_t search_count;
	int ndots;   /* 1 unless given */
	int timeout; /* seconds; 0 unless given */
	int tries;   /* 0 unless given */
	bool rotate, use_tcp;
};

/** resolv_conf_parse() - Lines that don't parse are ignored. @text NULL: none. 0 or -ENOMEM */
int resolv_conf_parse(const char *text, size_t length, struct resolv_conf *ret);

/** hosts_find() - The addresses that @text gives @name, at most @max; returns how many */
size_t hosts_find(const char *text, size_t length, const char *name, struct address *ret,
		  size_t max);
