/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/registry.h - users, keys and nodes of the tailnet, in memory
 *
 * Theory of operation
 *   All of it is held in memory and found by hash; the store is a copy that is written
 *   when something changed. Whoever changes a record calls registry_touch_…(), which puts
 *   it on the list of what registry_store_flush() will write; nothing is answered before that
 *   succeeded. A flush that failed (a full disk) leaves the list as it is, so the next
 *   one writes it.
 */
#pragma once

#include "base/deadlines.h"
#include "wire/tailcfg.h"

#include <sys/queue.h>
#include <uthash.h>

#define REGISTRY_NAME_MAX 63 /* of a label of DNS */

/* The owner of tagged nodes in profiles. */
#define REGISTRY_TAGGED_USER INT64_C(2147455555)

enum registry_kind {
	REGISTRY_USER,
	REGISTRY_KEY,
	REGISTRY_NODE,
};

/* The head of each record. */
struct registry_record {
	enum registry_kind kind;
	int64_t id;
	bool dirty; /* on the list of what waits to be stored */
	LIST_ENTRY(registry_record) next_dirty;
};

struct registry_user {
	struct registry_record record;
	char *name;
	nanoseconds created; /* of the wall clock, as all times here */
	uint64_t mark;       /* of the list of profiles that named it last */
	UT_hash_handle by_id;
};

#define REGISTRY_KEY_PREFIX_SIZE 12
#define REGISTRY_KEY_HASH_SIZE   32

/* A pre-authentication key; its secret is known by its hash alone. */
struct registry_key {
	struct registry_record record;
	char prefix[REGISTRY_KEY_PREFIX_SIZE + 1];
	uint8_t hash[REGISTRY_KEY_HASH_SIZE];
	int64_t user;
	bool reusable;
	bool ephemeral;
	bool used;
	struct string_list tags;
	nanoseconds created;
	nanoseconds expiry; /* JSON_TIME_NONE: never */
	UT_hash_handle by_id;
};

struct map_session;

struct registry_node {
	struct registry_record record;
	struct public_key machine;
	struct public_key key;
	struct public_key disco; /* zero: not known */
	int64_t user;
	int64_t auth_key; /* 0: by an operator */
	char name[REGISTRY_NAME_MAX + 1];
	bool named; /* by the operator: the hostname doesn't change it */
	bool ephemeral;
	bool authorized;
	struct address v4, v6;
	struct string_list tags;
	struct prefix_list approved_routes;
	struct tailcfg_hostinfo hostinfo;
	struct endpoint_list endpoints;
	uint16_t cap;
	nanoseconds created;
	nanoseconds expiry;    /* JSON_TIME_NONE: never */
	nanoseconds last_seen; /* JSON_TIME_NONE: it is connected */

	/* Not stored. */
	bool fresh;             /* it never asked for a map: peers don't know it yet */
	bool online;            /* as peers know it */
	bool expired;           /* as peers know it */
	nanoseconds offline_at; /* CLOCK_BOOTTIME: when peers see it offline; NEVER */
	nanoseconds remove_at;  /* CLOCK_BOOTTIME: an ephemeral one's end; NEVER */
	nanoseconds dns_at;     /* CLOCK_BOOTTIME: from when on it may change its DNS again */
	nanoseconds sign_at;    /* the same for its certificate */
	struct deadline due;    /* the first of them, and of its expiry */
	struct prefix_list primary_routes;
	bool is_router; /* it has approved or served routes */
	LIST_ENTRY(registry_node) next_router;
	struct map_session *sessions;
	char *encoded;                         /* as peers see it, in JSON; NULL: to be made */
	uint32_t next_label;                   /* "NAME-N": where the search for a free N begins */
	struct registry_node *next_of_machine; /* its other nodes */
	UT_hash_handle by_id, by_key, by_name, by_v4, by_machine;
};

struct registry {
	/* Hashes by_id, in the order of ids. */
	struct registry_user *users;
	struct registry_key *keys;
	struct registry_node *nodes;
	struct registry_node *nodes_by_key, *nodes_by_name, *nodes_by_v4;
	struct registry_node *nodes_by_machine; /* the first of each machine's */
	LIST_HEAD(, registry_node) routers;     /* by id, ascending */
	size_t node_count;
	int64_t last_user, last_key, last_node; /* ids are never used again */
	uint32_t next_host;                     /* where the search for a free address begins */

	/** @reserved: whether @label is not for nodes; NULL: none is but numbers */
	bool (*reserved)(const void *user, const char *label);
	const void *reserved_user;

	/* Changes that are not stored yet. */
	LIST_HEAD(, registry_record) dirty;
	struct registry_deletion {
		enum registry_kind kind;
		int64_t id;
	} * deleted;
	size_t deleted_count, deleted_room;
	char *policy; /* text; NULL: none */
	bool policy_dirty;

	/* The hash of the secret by which the pages approve; only the command line does without. */
	bool has_page_key, page_key_dirty;
	uint8_t page_key[REGISTRY_KEY_HASH_SIZE];
};

void registry_init(struct registry *r);
void registry_clear(struct registry *r);

/** registry_touch() - @record has changed: to be stored */
void registry_touch(struct registry *r, struct registry_record *record);

/** registry_untouch() - @record is stored, or goes away */
void registry_untouch(struct registry_record *record);

/** registry_is_dirty() - Whether anything waits to be stored */
bool registry_is_dirty(const struct registry *r);

/* Users */

struct registry_user *registry_user(const struct registry *r, int64_t id);
struct registry_user *registry_user_named(const struct registry *r, const char *name);

/** registry_insert_user() - One from the store: @user is taken */
void registry_insert_user(struct registry *r, struct registry_user *user);

/** registry_add_user() - -EINVAL for a bad name, -EEXIST, -ENOMEM, with @err set */
int registry_add_user(struct registry *r, const char *name, nanoseconds now,
		      struct registry_user **ret, struct error *err);

/** registry_remove_user() - -EBUSY with @err set while it owns a node; its keys go with it */
int registry_remove_user(struct registry *r, struct registry_user *user, struct error *err);

/* Keys */

/** registry_random_hex() - @bytes random bytes, at most 64, as hex digits with a NUL */
void registry_random_hex(char *out, size_t bytes);

/** registry_insert_key() - One from the store: @key is taken */
void registry_insert_key(struct registry *r, struct registry_key *key);

struct registry_key_options {
	int64_t user;
	bool reusable, ephemeral;
	const struct string_list *tags; /* NULL: none */
	nanoseconds expiry;
};

/**
 * registry_add_key() - Mint a key
 * @ret_secret: the whole text, which is not kept; free by secret_string_free()
 */
int registry_add_key(struct registry *r, const struct registry_key_options *options,
		     nanoseconds now, struct registry_key **ret, char **ret_secret,
		     struct error *err);

/**
 * registry_check_key() - The key that @text names, if it may be used at @now
 *
 * Return: 0; -EKEYREJECTED (there is none such), -EKEYEXPIRED, -EKEYREVOKED (used up), with a
 * sentence for the user in @err
 */
int registry_check_key(const struct registry *r, const char *text, nanoseconds now,
		       struct registry_key **ret, struct error *err);

struct registry_key *registry_key_named(const struct registry *r, const char *prefix);

/** registry_key_prefix() - What may be shown of a key, of ours by its form; false: it isn't */
bool registry_key_prefix(const char *key, char out[static REGISTRY_KEY_PREFIX_SIZE + 1]);

/** registry_set_page_key() - A new secret for the pages, the caller's to free; -ENOMEM */
int registry_set_page_key(struct registry *r, char **ret_secret);
void registry_drop_page_key(struct registry *r);

/** registry_check_page_key() - Whether @secret is it; false when there is none */
bool registry_check_page_key(const struct registry *r, const char *secret);

/* Nodes */

struct registry_node *registry_node(const struct registry *r, int64_t id);
struct registry_node *registry_node_of_key(const struct registry *r, const struct public_key *key);
struct registry_node *registry_node_named(const struct registry *r, const char *name);

/** registry_node_find() - What an operator means: an id (any number), a name or an address; or
 *  NULL */
struct registry_node *registry_node_find(const struct registry *r, const char *text);

/** registry_first_of_machine() - The latest node of @machine, or NULL */
struct registry_node *registry_first_of_machine(const struct registry *r,
						const struct public_key *machine);

/** registry_node_of_machine() - The node that @machine has with @user, or NULL */
struct registry_node *registry_node_of_machine(const struct registry *r,
					       const struct public_key *machine, int64_t user);

/**
 * registry_add_node() - A new node: id, addresses and a free name after its hostname
 *
 * -EADDRNOTAVAIL when no address is left; -ENOMEM
 */
int registry_add_node(struct registry *r, const struct public_key *machine,
		      const struct public_key *key, const char *hostname, nanoseconds now,
		      struct registry_node **ret, struct error *err);

/** registry_insert_node() - One from the store: @node is taken */
int registry_insert_node(struct registry *r, struct registry_node *node);

void registry_remove_node(struct registry *r, struct registry_node *node);

/** registry_routes_changed() - It has other approved or served routes than before */
void registry_routes_changed(struct registry *r, struct registry_node *node);

/** registry_set_key() - Its node key from now on */
void registry_set_key(struct registry *r, struct registry_node *node, const struct public_key *key);

/** registry_reserves() - Whether no node may have the name @label: a number, which is an id where
 *  an operator names a node; or what @reserved says */
bool registry_reserves(const struct registry *r, const char *label);

/**
 * registry_rename() - Give it a name made from @wanted
 * @exact: -EEXIST when it is taken, -EPERM when it is reserved, -EINVAL when it is not a label; else
 *         the next free one is taken
 */
int registry_rename(struct registry *r, struct registry_node *node, const char *wanted, bool exact);

/** registry_label() - A DNS label from a hostname: lower case, letters, digits, inner hyphens */
void registry_label(const char *hostname, char out[static REGISTRY_NAME_MAX + 1]);

void registry_node_free(struct registry_node *node);

/** registry_node_stale() - What peers see of it has changed: encode again when next asked for */
void registry_node_stale(struct registry_node *node);

/** registry_node_serves() - Whether @route is advertised by it and approved */
bool registry_node_serves(const struct registry_node *node, const struct prefix *route);

/** registry_node_home() - Its home region, 0: none */
uint16_t registry_node_home(const struct registry_node *node);

/** registry_node_is_expired() - At @now of the wall clock */
bool registry_node_is_expired(const struct registry_node *node, nanoseconds now);
