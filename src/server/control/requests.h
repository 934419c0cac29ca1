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
#define CONTROL_SECRET_MAX    2048u /* of an auth key, or of the URL of a login */
#define CONTROL_TAG_MAX       128u  /* bytes of one, as an operator gives it */

/** control_routes_tidy() - Each prefix once, and at most CONTROL_ROUTES_MAX: what a node may have
 */
void control_routes_tidy(struct prefix_list *routes);

struct control_register_request {
	int64_t version;
	struct public_key node_key;
	struct public_key old_node_key; /* zero: none */
	char *auth_key;                 /* a secret; NULL: none */
	char *followup;                 /* the login URL that is waited for; NULL: none */
	nanoseconds expiry;             /* JSON_TIME_NONE; in the past: log out */
	bool ephemeral;
	unsigned int source; /* whose it is, as of struct http1_exchange; not in the JSON */
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

/* The most that a name and a text of DNS have, with their NUL. */
#define CONTROL_DNS_NAME_SIZE  254
#define CONTROL_DNS_VALUE_SIZE 256

struct control_set_dns_request {
	int64_t version;
	struct public_key node_key;
	char name[CONTROL_DNS_NAME_SIZE]; /* in lower case, without a dot at the end */
	char type[16];
	char value[CONTROL_DNS_VALUE_SIZE];
};

#define CONTROL_SSH_USER_SIZE 64
#define CONTROL_SSH_ID_SIZE   33

/* May a session begin? Asked by the node that it goes to. */
struct control_ssh_request {
	int64_t from, to;                 /* nodes */
	char user[CONTROL_SSH_USER_SIZE]; /* as whom */
	char check[CONTROL_SSH_ID_SIZE];  /* the confirmation that is waited for; "": none */
};

void control_register_request_clear(struct control_register_request *request);
void control_map_request_clear(struct control_map_request *request);

/** control_register_request_parse() - 0; -EBADMSG, -E2BIG, -EINVAL with @err set; -ENOMEM */
int control_register_request_parse(const void *body, size_t length,
				   struct control_register_request *ret, struct error *err);

/** control_map_request_parse() - As control_register_request_parse() */
int control_map_request_parse(const void *body, size_t length, struct control_map_request *ret,
			      struct error *err);

/** control_set_dns_request_parse() - As control_register_request_parse(); nothing to clear */
int control_set_dns_request_parse(const void *body, size_t length,
				  struct control_set_dns_request *ret, struct error *err);

/** control_verify_request_parse() - Which node key a relay asks about; as
 *  control_register_request_parse() */
int control_verify_request_parse(const void *body, size_t length, struct public_key *ret,
				 struct error *err);

/**
 * control_ssh_request_parse() - From the path and query of a GET: what follows POLICY_SSH_ACTION
 *
 * Return: 0, -EINVAL
 */
int control_ssh_request_parse(const char *path, struct control_ssh_request *ret);

/**
 * control_form_field() - One field of a form or query (application/x-www-form-urlencoded)
 * @out: the text, decoded; "" when the field isn't there
 *
 * Return: 0; -ENOENT; -EINVAL for what is too long, no text or badly encoded, and @out is ""
 */
int control_form_field(const char *form, size_t length, const char *name, char *out, size_t size);
