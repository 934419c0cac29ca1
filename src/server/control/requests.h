/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/requests.h - what nodes ask of the coordination server, from JSON
 *
 * Bytes of strangers: depth and types are checked, lists are cut at the limits below, and
 * of Hostinfo only what can be read is taken.
 */
#pragma once

#include "wire/tailcfg.h"

#define CONTROL_ENDPOINTS_MAX 64u
#define CONTROL_ROUTES_MAX    256u
#define CONTROL_TAGS_MAX      64u

struct control_register_request {
	int64_t version;
	struct public_key node_key;
	struct public_key old_node_key; /* zero: none */
	char *auth_key;                 /* a secret; NULL: none */
	char *followup;                 /* the login URL that is waited for; NULL: none */
	nanoseconds expiry;             /* JSON_TIME_NONE; in the past: log out */
	bool ephemeral;
	struct tailcfg_hostinfo hostinfo;
};

struct control_map_request {
	int64_t version;
	struct public_key node_key;
	struct public_key disco_key; /* zero: not said */
	bool compress;               /* zstd */
	bool stream;
	bool read_only;
	bool has_endpoints; /* else they stay as they were */
	struct endpoint_list endpoints;
	struct tailcfg_hostinfo *hostinfo; /* NULL: stays as it was */
};

void control_register_request_clear(struct control_register_request *request);
void control_map_request_clear(struct control_map_request *request);

/** control_register_request_parse() - 0; -EBADMSG, -E2BIG, -EINVAL with @err set; -ENOMEM */
int control_register_request_parse(const void *body, size_t length,
				   struct control_register_request *ret, struct error *err);

/** control_map_request_parse() - As control_register_request_parse() */
int control_map_request_parse(const void *body, size_t length, struct control_map_request *ret,
			      struct error *err);
