/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/tailnet.h - the decisions of the coordination server (sans-I/O)
 *
 * Theory of operation
 *   The registry holds the nodes; a map_session is one node's open map stream. A change of
 *   a node is noted at each session that sees it, as (id, kind of change), so that ten
 *   changes of one peer cost one delta. Messages
 *   are made only when the stream can take one (map_session_take()): a slow reader's
 *   changes gather in its notes, which are bounded, and past the bound become one full
 *   map. `known_peers` holds the peers that the client knows, so visibility may change in any way
 *   and the next message adds and removes peers accordingly.
 *
 *   Invariant: once all notes are taken, the client knows exactly the peers that its node
 *   sees, each as it is now. test_deltas.c checks it with the client's own netmap.
 *
 *   Time: `now` is struct tailnet_time, both clocks, since expiry is of the wall and
 *   timers are not.
 */
#pragma once

#include "server/coordinator/machine_requests.h"
#include "server/coordinator/registry.h"
#include "server/policy/policy.h"

#include <string.h>

/*
 * Tailscale 1.82. Releases before it take the hash of a relay's certificate for a name, and so
 * can't use the relay of this program.
 */
#define TAILNET_VERSION_MIN     115
#define TAILNET_VERSION_MIN_IPN "1.82"

struct tailnet_time {
	nanoseconds boot; /* CLOCK_BOOTTIME */
	nanoseconds wall;
};

/** tailnet_now() - Both clocks */
struct tailnet_time tailnet_now(void);

struct tailnet_settings {
	const char *server_url;  /* without a slash at the end */
	const char *base_domain; /* without dots at the ends */
	struct tailcfg_derp_map derp_map;
	struct tailcfg_dns_config dns; /* Proxied, Domains, CertDomains are ours to set */
	bool certificates;             /* nodes may prove their names by DNS */
	bool signs;                    /* this server is an authority for their names */
	nanoseconds node_expiry;       /* of keys of users' nodes; 0: never */
	nanoseconds ephemeral_timeout;
	/** @key_gone: a node key that was replaced, removed or has expired; NULL: not called */
	void (*key_gone)(void *user, const struct public_key *key);
	void *key_user;
};

/* Which bits of a node changed; peers get a patch, or the whole node with CHANGE_NODE. */
enum node_change {
	CHANGE_ENDPOINTS = 1 << 0,
	CHANGE_HOME = 1 << 1,
	CHANGE_ONLINE = 1 << 2,
	CHANGE_DISCO = 1 << 3,
	CHANGE_NODE = 1 << 4,
};

enum session_wants {
	WANTS_FULL = 1 << 0,
	WANTS_SELF = 1 << 1,
	WANTS_FILTER = 1 << 2, /* and the SSH policy */
	WANTS_DERP_MAP = 1 << 3,
	WANTS_DNS = 1 << 4,
};

struct session_note {
	uint32_t id;
	uint8_t change;  /* enum node_change */
	uint8_t outcome; /* in the message at hand */
};

struct map_session {
	struct tailnet *tailnet;
	struct registry_node *node;    /* NULL: it was deleted; the stream has to end */
	LIST_ENTRY(map_session) next;  /* of all */
	struct map_session *node_next; /* of the node's */
	bool is_ready;                 /* it has a message to send */
	TAILQ_ENTRY(map_session) next_ready;
	unsigned int wants;    /* enum session_wants */
	uint32_t *known_peers; /* ids of the peers that the client knows, ascending */
	uint32_t known_count, known_room;
	struct session_note *notes; /* by id, ascending */
	uint32_t note_count, note_room;
	void *owner;
};

#define TAILNET_LOGIN_ID_SIZE 32

/* A registration that waits for an operator. Held in memory: a client asks again. */
struct tailnet_login {
	char id[TAILNET_LOGIN_ID_SIZE + 1];
	struct public_key machine, key, old_key;
	struct tailcfg_hostinfo hostinfo;
	bool ephemeral;
	unsigned int source; /* of machine_register_request */
	size_t size;         /* bytes that it takes */
	nanoseconds until;   /* CLOCK_BOOTTIME */
	bool refused;        /* kept until its node has heard that */
	struct tailnet_login *next;
};

/* A session over SSH that waits for a person. Held in memory: the node asks again. */
struct ssh_check {
	char id[MACHINE_SSH_ID_SIZE];
	int64_t from, to;
	char user[MACHINE_SSH_USER_SIZE];
	enum ssh_verdict {
		SSH_WAITS,
		SSH_CONFIRMED,
		SSH_REFUSED,
	} verdict;
	nanoseconds until; /* CLOCK_BOOTTIME */
	struct ssh_check *next;
};

/* A confirmed session. In memory only: a restart of the server asks again. */
struct ssh_confirmation {
	struct public_key from, to; /* node keys: a node that logs in again is asked again */
	char user[MACHINE_SSH_USER_SIZE];
	nanoseconds at; /* CLOCK_BOOTTIME */
	struct ssh_confirmation *next;
};

struct tailnet {
	struct registry registry;
	struct tailnet_settings settings;
	struct applied_policy *policy;
	LIST_HEAD(, map_session) sessions;
	size_t session_count;
	TAILQ_HEAD(, map_session) ready; /* with a message to send, first come first */
	struct deadlines due;            /* of nodes */
	nanoseconds wall_offset;         /* between the clocks, when last looked at */
	uint64_t profile_mark;           /* of the list of profiles at hand */
	uint64_t tagged_mark;            /* of the list that named those last */
	struct tailnet_login *logins;
	size_t login_count;
	struct ssh_check *ssh_checks; /* newest first */
	size_t ssh_check_count;
	struct ssh_confirmation *ssh_confirmations; /* newest first */
	size_t ssh_confirmation_count;
	struct tailnet_statistics {
		uint64_t registrations, logins, full_maps, deltas, notes, overflows;
	} statistics;
};

/** tailnet_init() - Without nodes, and open: everybody may reach everybody. 0 or -ENOMEM */
int tailnet_init(struct tailnet *t, const struct tailnet_settings *settings);
void tailnet_clear(struct tailnet *t);

/** tailnet_loaded() - The registry was filled from the store: nodes that were connected have a minute
 *  to reconnect before peers see them offline */
void tailnet_loaded(struct tailnet *t, struct tailnet_time now);

/** tailnet_changed() - Note a change of @node at its peers; @what: enum node_change */
void tailnet_changed(struct tailnet *t, struct registry_node *node, unsigned int what);

/** tailnet_changed_all() - A new policy or DERP map: @wants for every session, peers included */
void tailnet_changed_all(struct tailnet *t, unsigned int wants);

/** tailnet_policy_replaced() - Another policy is in force: note the differences at each session */
void tailnet_policy_replaced(struct tailnet *t);

/**
 * tailnet_policy_load() - Put the policy of the registry in force, for the registry's nodes
 *
 * A stored policy that can't be read is an error: it must not open what it closed. Its tests don't
 * run again.
 */
int tailnet_policy_load(struct tailnet *t, struct error *err);

/**
 * tailnet_policy_set() - Put a policy in force if its own tests pass; an empty one is refused
 * @problems: NULL, or receives all errors; @err is the first of them
 */
int tailnet_policy_set(struct tailnet *t, const char *text, size_t length,
		       struct string_list *problems, struct error *err);

/** tailnet_policy_delete() - Without a policy everybody may reach everybody */
int tailnet_policy_delete(struct tailnet *t, struct error *err);

/** tailnet_policy_check() - Whether tailnet_policy_set() would accept the text */
int tailnet_policy_check(const struct tailnet *t, const char *text, size_t length,
			 struct string_list *problems, struct error *err);

/** tailnet_sees() - Whether @peer is a peer of @viewer */
bool tailnet_sees(const struct tailnet *t, const struct registry_node *viewer,
		  const struct registry_node *peer);

/** tailnet_id() - The id that a text is, or that ends a URL */
static inline const char *tailnet_id(const char *text)
{
	const char *slash = strrchr(text, '/');

	return slash ? slash + 1 : text;
}

/* Registering (tailnet_login.c) */

enum register_result {
	REGISTER_ANSWER, /* the answer is in @out */
	REGISTER_HOLD, /* wait for the operator: ask again when a login is decided, or in minutes */
	REGISTER_REFUSED, /* of a session over SSH: HTTP 404 with the text in @err */
};

/**
 * tailnet_register() - POST /machine/register
 * @patient: the request may be held; else the answer to a followup is its URL again
 * @out:     the response's JSON
 *
 * A refusal is an answer too, which the client shows; @err is set then.
 * Return: REGISTER_ANSWER, REGISTER_HOLD or -ENOMEM
 */
int tailnet_register(struct tailnet *t, const struct public_key *machine,
		     const struct machine_register_request *request, bool patient,
		     struct tailnet_time now, struct buffer *out, struct error *err);

/** tailnet_refuse() - Refuse the login @id (or the whole URL); the node gets the answer when it asks */
int tailnet_refuse(struct tailnet *t, const char *id, struct error *err);

/**
 * tailnet_approve() - Approve the login @id (or the whole URL), as @user's node
 * @tags: its tags, which replace the owner; NULL: those that it asks for, if @user may give
 *        them (-EPERM)
 */
int tailnet_approve(struct tailnet *t, const char *id, struct registry_user *user,
		    const struct string_list *tags, struct tailnet_time now,
		    struct registry_node **ret, struct error *err);

/** tailnet_login() - The pending login @id (or the whole URL), or NULL */
const struct tailnet_login *tailnet_login(const struct tailnet *t, const char *id);

/* SSH sessions that a person has to confirm (tailnet_ssh_check.c) */

/**
 * tailnet_ssh_action() - GET of POLICY_SSH_ACTION: may the session begin?
 * @machine: of the sender, which has to be the destination of the session
 * @patient: the request may be held; else the answer is to ask again
 * @out:     an SSHAction, in JSON
 *
 * Return: enum register_result, where REGISTER_REFUSED is HTTP 404 with the text in @err;
 * or -ENOMEM
 */
int tailnet_ssh_action(struct tailnet *t, const struct public_key *machine,
		       const struct machine_ssh_request *request, bool patient,
		       struct tailnet_time now, struct buffer *out, struct error *err);

/** tailnet_ssh_check() - The session that waits with this id (or the whole URL); NULL: none */
struct ssh_check *tailnet_ssh_check(const struct tailnet *t, const char *id);

/** tailnet_ssh_decide() - Confirm or refuse a pending session */
int tailnet_ssh_decide(struct tailnet *t, struct ssh_check *check, bool confirmed,
		       struct tailnet_time now);

/** tailnet_ssh_tick() - Drop old checks and confirmations; a part of tailnet_tick() */
void tailnet_ssh_tick(struct tailnet *t, nanoseconds now);
void tailnet_ssh_clear(struct tailnet *t);

/** tailnet_remove() - Delete a node: peers are notified, its streams end, its key is unknown */
void tailnet_remove(struct tailnet *t, struct registry_node *node);

/** tailnet_schedule() - Its times or its expiry have changed */
void tailnet_schedule(struct tailnet *t, struct registry_node *node, struct tailnet_time now);

/** tailnet_new_expiry() - When the key of a node that logs in now expires: never, with tags */
static inline nanoseconds tailnet_new_expiry(const struct tailnet *t, bool tagged,
					     struct tailnet_time now)
{
	return tagged || !t->settings.node_expiry ? JSON_TIME_NONE
						  : now.wall + t->settings.node_expiry;
}

/** tailnet_set_expiry() - Its key expires at @expiry (JSON_TIME_NONE: never) */
void tailnet_set_expiry(struct tailnet *t, struct registry_node *node, nanoseconds expiry,
			struct tailnet_time now);

/**
 * tailnet_set_tags() - Replace its tags
 *
 * A key that has not expired never does once there are tags, and has as long as a new one once
 * there are none.
 */
int tailnet_set_tags(struct tailnet *t, struct registry_node *node, const struct string_list *tags,
		     struct tailnet_time now);

/** tailnet_set_routes() - Replace the routes that an operator approved */
int tailnet_set_routes(struct tailnet *t, struct registry_node *node,
		       const struct prefix_list *routes);

/** tailnet_rename() - As registry_rename() exactly; peers are notified */
int tailnet_rename(struct tailnet *t, struct registry_node *node, const char *name);

/* Maps (tailnet_map.c, tailnet_sessions.c) */

/** tailnet_update() - Take over what a map request says of @node */
void tailnet_update(struct tailnet *t, struct registry_node *node,
		    struct machine_map_request *request);

/** map_session_open() - Its first message is a full map; NULL without memory */
struct map_session *map_session_open(struct tailnet *t, struct registry_node *node, void *owner,
				     struct tailnet_time now);
void map_session_close(struct map_session *s, struct tailnet_time now);

/**
 * map_session_take() - The next message
 * @out: appended to: JSON
 *
 * Return: 1; 0 when there is nothing to say; -ENOMEM, -EMSGSIZE (nothing was taken)
 */
int map_session_take(struct map_session *s, struct tailnet_time now, struct buffer *out);

/** tailnet_next_ready() - A session with a message to send, taken off the list; or NULL */
struct map_session *tailnet_next_ready(struct tailnet *t);

/** tailnet_full_map() - The whole map of @node, as its first message would be */
int tailnet_full_map(struct tailnet *t, struct registry_node *node, struct tailnet_time now,
		     struct buffer *out);

/** tailnet_tick() - Call once a second: expired, offline and ephemeral nodes, old logins */
void tailnet_tick(struct tailnet *t, struct tailnet_time now);

/* Between the files of this part */

/** tailnet_login_remove() - One that @link points to */
void tailnet_login_remove(struct tailnet *t, struct tailnet_login **link);

/** tailnet_describe() - @node as policy sees it, borrowed; @routes receives its MACHINE_ROUTES_MAX
 *  routes, NULL: without them */
struct policy_node tailnet_describe(const struct tailnet *t, const struct registry_node *node,
				    struct prefix *routes);

/** tailnet_key_gone() - @node's key may not be used from here on */
void tailnet_key_gone(struct tailnet *t, const struct registry_node *node);

/** tailnet_encode_peer() - @node as @viewer sees it: with the routes that policy grants @viewer */
void tailnet_encode_peer(struct tailnet *t, const struct registry_node *viewer,
			 struct registry_node *node, struct json_writer *w);

/** tailnet_encode_self() - @node as it sees itself */
void tailnet_encode_self(struct tailnet *t, struct registry_node *node, struct tailnet_time now,
			 struct json_writer *w, const char *name);

/** tailnet_encode_change() - A PeerChange of the bits @what */
void tailnet_encode_change(const struct registry_node *node, unsigned int what,
			   struct json_writer *w);

/** tailnet_encode_common() - What a full map has beside nodes, by @wants */
void tailnet_encode_common(struct tailnet *t, struct registry_node *node, unsigned int wants,
			   struct json_writer *w);

/** tailnet_profile_id() - The owner of @node in profiles */
static inline int64_t tailnet_profile_id(const struct registry_node *node)
{
	return node->tags.count ? REGISTRY_TAGGED_USER : node->user;
}

/** tailnet_encode_profile() - The profile of the owner of @node */
void tailnet_encode_profile(const struct tailnet *t, const struct registry_node *node,
			    struct json_writer *w);

/** session_wake() - @s has a message to send */
void session_wake(struct map_session *s);

/** tailnet_elect_routes() - Choose the node that serves each approved route */
void tailnet_elect_routes(struct tailnet *t);

/** tailnet_settle_routes() - Approve the routes of @node that autoApprovers allow; whether any is new */
bool tailnet_settle_routes(struct tailnet *t, struct registry_node *node);
