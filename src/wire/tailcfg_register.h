/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_register.h - GET /key and POST /machine/register */
#pragma once

#include "wire/tailcfg_node.h"

/* Expiry of a RegisterRequest that means "log this node out". */
#define TAILCFG_EXPIRY_LOGOUT (123 * NSEC_PER_SEC)

struct tailcfg_server_keys {
	struct public_key public_key; /* the TS2021 static key */
};

/* Borrows all it points to: it lives only as long as the call that encodes it. */
struct tailcfg_register_request {
	struct public_key node_key;
	struct public_key old_node_key; /* zero: none */
	struct public_key nl_key;       /* zero: none */
	const char *auth_key;           /* a secret; NULL: none */
	nanoseconds expiry;             /* JSON_TIME_NONE, or TAILCFG_EXPIRY_LOGOUT */
	const char *followup;           /* the AuthURL that is waited for; NULL: none */
	const struct tailcfg_hostinfo *hostinfo;
	bool ephemeral;
	const char *node_key_signature; /* base64; NULL: none */
	const char *tailnet;            /* NULL: any */
};

struct tailcfg_register_response {
	int64_t user_id;
	const char *login_name;
	bool node_key_expired;
	bool machine_authorized;
	const char *auth_url;           /* NULL: none */
	const char *node_key_signature; /* base64; NULL: none */
	const char *error; /* NULL: none. Text of the server, to be escaped when shown */
};

DECLARE_MEMBERS(tailcfg_register_response);

/** tailcfg_server_keys_parse() - The body of /key; 0 or -EINVAL with @err set */
int tailcfg_server_keys_parse(const void *body, size_t length, struct tailcfg_server_keys *ret,
			      struct error *err);

/** tailcfg_register_request_encode() - The body; holds the auth key: use buffer_free_secret() */
int tailcfg_register_request_encode(const struct tailcfg_register_request *request,
				    struct buffer *out);

/** tailcfg_register_response_parse() - 0, -EINVAL with @err set, -ENOMEM */
int tailcfg_register_response_parse(const void *body, size_t length,
				    struct tailcfg_register_response *ret, struct error *err);
