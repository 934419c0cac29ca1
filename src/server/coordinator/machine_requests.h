/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_requests.h - what nodes ask of the coordination server, from JSON
 *
 * Bytes of strangers: depth and types are checked, lists are cut at the limits below, and
 * of Hostinfo only what can be read is taken.
 */
#pragma once

#include "wire/tailcfg.h"

#define MACHINE_ENDPOINTS_MAX 64u
#define MACHINE_ROUTES_MAX    256u
#define MACHINE_TAGS_MAX      64u
#define MACHINE_SECRET_MAX    2048u /* of an auth key, or of the URL of a login */
#define MACHINE_TAG_MAX       128u  /* bytes of one, as an operator gives it */

/** machine_routes_tidy() - Each prefix once, and at most MACHINE_ROUTES_MAX: what a node may have
 */
void machine_routes_tidy(struct prefix_list *routes);

struct machine_register_request {
	int64_t version;
	struct public_key node_key;
	struct public_key old_node_key; /* zero: none */
	char *auth_key;                 /* a secret; NULL: none */
	char *followup;                 /* the login URL that is waited for; NULL: none */
	nanoseconds expiry;             /* JSON_TIME_NONE; in the past: log out */
	bool ephemeral;
	unsigned int source; /* of the sender, as in struct http1_exchange; not in the JSON */
	struct tailcfg_hostinfo hostinfo;
};

struct machine_map_request {
	int64_t version;
	struct public_key node_key;
	struct public_key disco_key; /* zero: not given */
	bool compress;               /* zstd */
	bool stream;
	bool read_only;
	bool has_endpoints; /* else they stay as they were */
	struct endpoint_list endpoints;
	struct tailcfg_hostinfo *hostinfo; /* NULL: stays as it was */
};

/* The most that a name and a text of DNS have, with their NUL. */
#define MACHINE_DNS_NAME_SIZE  254
#define MACHINE_DNS_VALUE_SIZE 256

struct machine_set_dns_request {
	int64_t version;
	struct public_key node_key;
	char name[MACHINE_DNS_NAME_SIZE]; /* in lower case, without a dot at the end */
	char type[16];
	char value[MACHINE_DNS_VALUE_SIZE];
};

struct machine_sign_request {
	int64_t version;
	struct public_key node_key;
	char *csr; /* PEM */
};

#define MACHINE_CSR_MAX (16u * 1024)

#define MACHINE_SSH_USER_SIZE 64
#define MACHINE_SSH_ID_SIZE   33

/* May a session begin? Asked by the node that it goes to. */
struct machine_ssh_request {
	int64_t from, to;                 /* nodes */
	char user[MACHINE_SSH_USER_SIZE]; /* the local user */
	char check[MACHINE_SSH_ID_SIZE];  /* the confirmation that is waited for; "": none */
};

void machine_register_request_clear(struct machine_register_request *request);
void machine_map_request_clear(struct machine_map_request *request);

/** machine_register_request_parse() - 0; -EBADMSG, -E2BIG, -EINVAL with @err set; -ENOMEM */
int machine_register_request_parse(const void *body, size_t length,
				   struct machine_register_request *ret, struct error *err);

/** machine_map_request_parse() - As machine_register_request_parse() */
int machine_map_request_parse(const void *body, size_t length, struct machine_map_request *ret,
			      struct error *err);

/** machine_sign_request_parse() - As machine_register_request_parse(); free the CSR */
int machine_sign_request_parse(const void *body, size_t length, struct machine_sign_request *ret,
			       struct error *err);

/** machine_set_dns_request_parse() - As machine_register_request_parse(); nothing to clear */
int machine_set_dns_request_parse(const void *body, size_t length,
				  struct machine_set_dns_request *ret, struct error *err);

/** machine_verify_request_parse() - Which node key a relay asks about; as
 *  machine_register_request_parse() */
int machine_verify_request_parse(const void *body, size_t length, struct public_key *ret,
				 struct error *err);

/**
 * machine_ssh_request_parse() - From the path and query of a GET: what follows POLICY_SSH_ACTION
 *
 * Return: 0, -EINVAL
 */
int machine_ssh_request_parse(const char *path, struct machine_ssh_request *ret);
