/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy.h - access rules: a policy file, applied to the nodes of a tailnet
 *
 * A struct policy is the file, parsed and checked, in the form that Tailscale and Headscale
 * share: groups, tagOwners, hosts, acls, grants, autoApprovers, ssh, nodeAttrs, tests; JSON
 * with comments and trailing commas. It never changes.
 *
 * A struct applied_policy is a policy and the nodes that it holds for. It answers for each
 * node: its peers, its inbound filter, its SSH policy, its capabilities; and for each change
 * of a node: the nodes whose answers change. An answer costs its own length, independent of
 * the size of the tailnet.
 *
 *	policy_parse(text, length, &policy, &problems, &err);
 *	policy_test(policy, NULL, &problems, &err);
 *	applied_policy_create(policy, &tailnet);
 *	applied_policy_put(tailnet, &node, &affected);
 *
 * What selectors mean (as in Headscale 0.29):
 *   "*"                 source: 100.64.0.0/10 (less ChromeOS's part), fd7a:115c:a1e0::/48 and
 *                       every approved route that isn't a default route; destination: anything
 *   "alice@", "a@b.c"   nodes of that user that have no tags ("alice@" is the login "alice")
 *   "group:NAME"        the same, of each member; a group may hold other groups
 *   "tag:NAME"          nodes with that tag
 *   NAME of hosts, address, prefix    exactly those addresses; as a destination also a node that
 *                       serves a route into them
 *   autogroup:member    nodes without tags; autogroup:tagged: those with
 *   autogroup:self      destination: the source's user's own nodes without tags
 *   autogroup:internet  destination: what exit nodes reach; they are peers by it, while by a
 *                       public address or prefix they are not, and only let it through
 *   autogroup:danger-all  source: every address there is
 *
 * Pure: no I/O, no clock. Errors name line and column, the text at fault and the remedy.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "wire/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;
struct applied_policy;

/* Most errors reported for one file. */
#define POLICY_PROBLEMS_MAX 100

/**
 * policy_parse() - Read a policy file
 * @text:     @length bytes, at most LIMIT_POLICY_TEXT; NULL, or nothing but blanks and comments,
 *            or a file with neither acls nor grants: everybody may reach everybody
 * @ret:      released by policy_free(), or by the tailnet that took it
 * @problems: NULL, or receives all errors, one line each; the caller releases it in any case
 *
 * Its tests are read, and run by policy_test().
 *
 * Return: 0; -EINVAL with @err set to the first error ("line 3, column 12: …"); -E2BIG;
 * -ENOMEM
 */
int policy_parse(const char *text, size_t length, struct policy **ret, struct string_list *problems,
		 struct error *err);

/** policy_is_blank() - Whether the file has no section: blanks, comments and `{}` alone */
bool policy_is_blank(const struct policy *policy);

/** policy_free() - NULL is fine */
void policy_free(struct policy *policy);

/**
 * policy_test() - Run the policy's own tests
 * @nodes:    a tailnet, under whatever policy: an address of a node in it stands for that node,
 *            with its user and tags. NULL: an address is only an address
 * @problems: NULL, or gets each assertion that failed, up to POLICY_PROBLEMS_MAX of them
 *
 * A user in a test stands for any node of that user, a tag for a node with it, a group for each
 * of its members: "accept" wants all of them in, "deny" all of them out. So but for addresses
 * the answer does not depend on which nodes there are.
 *
 * Return: 0, or -EPERM with the first failed assertion in @err; -ENOMEM
 */
int policy_test(const struct policy *policy, const struct applied_policy *nodes,
		struct string_list *problems, struct error *err);

/**
 * policy_may_tag() - Whether @user (a login) may give a node @tag
 *
 * By tagOwners: the user, a group with the user, or a tag that the node bears already (@tags,
 * NULL: none). autogroup:member is any user.
 */
bool policy_may_tag(const struct policy *policy, const char *user, const struct string_list *tags,
		    const char *tag);

/* struct policy_node - A node, as far as policy is concerned. All of it is borrowed */
struct policy_node {
	int64_t id;
	const char *user;          /* login; NULL or with tags: no owner */
	struct string_list tags;   /* "tag:web" */
	struct address v4, v6;     /* ADDRESS_NONE: has none */
	struct prefix_list routes; /* approved and advertised; 0.0.0.0/0 or ::/0: an exit node */
};

/** policy_approves_route() - Whether autoApprovers approve that @node serves @route */
bool policy_approves_route(const struct policy *policy, const struct policy_node *node,
			   const struct prefix *route);

/* Ids of nodes, each once, in no order. All zero is empty. */
struct policy_ids {
	int64_t *items;
	size_t count, capacity;
};

void policy_ids_clear(struct policy_ids *ids);

/* The nodes whose answers a change of one node, the subject, has changed. */
struct policy_affected {
	struct policy_ids gained; /* these see it now, and it them; they did not before */
	struct policy_ids lost;   /* these did, and don't any more */
	struct policy_ids rules;  /* applied_policy_filter() or …_ssh() may say something else
				   * for these; the subject is among them, if it's there */
};

void policy_affected_clear(struct policy_affected *affected);

/**
 * applied_policy_create() - A tailnet without nodes
 * @policy: taken, on success
 *
 * Return: 0 or -ENOMEM
 */
int applied_policy_create(struct policy *policy, struct applied_policy **ret);

/** applied_policy_free() - NULL is fine */
void applied_policy_free(struct applied_policy *t);

/**
 * applied_policy_replace() - Another policy for the same nodes
 * @t:      on success another object; the old one is freed
 * @policy: taken, on success
 *
 * Afterwards every answer may be another one. Return: 0 or -ENOMEM, and nothing has changed
 */
int applied_policy_replace(struct applied_policy **t, struct policy *policy);

/** applied_policy_source() - The one that holds */
const struct policy *applied_policy_source(const struct applied_policy *t);

/**
 * applied_policy_put() - Add a node, or replace it
 * @node: copied
 * @ret:  released by policy_affected_clear(), written on success; may be NULL. Empty when
 *        nothing that policy looks at has changed
 *
 * Return: 0; -ENOMEM, and nothing has changed
 */
int applied_policy_put(struct applied_policy *t, const struct policy_node *node,
		       struct policy_affected *ret);

/** applied_policy_remove() - A node that is gone; as applied_policy_put(), or -ENOENT */
int applied_policy_remove(struct applied_policy *t, int64_t id, struct policy_affected *ret);

/**
 * applied_policy_peers() - The nodes that a node may reach, or that may reach it
 *
 * Return: 0, -ENOENT, -ENOMEM
 */
int applied_policy_peers(struct applied_policy *t, int64_t id, struct policy_ids *ret);

/** applied_policy_sees() - Whether @a is among the peers of @b, and so @b among those of @a */
bool applied_policy_sees(struct applied_policy *t, int64_t a, int64_t b);

/**
 * applied_policy_grants_route() - Whether a node receives the route @route of a peer
 *
 * Where a rule lets the node, or a route that it serves itself, reach some of it, or be reached
 * from there; and where it serves the route too. Default routes always: the user chooses an exit
 * node, and its filter decides. Changes with the node and with the policy, not with the peer.
 */
bool applied_policy_grants_route(const struct applied_policy *t, int64_t id,
				 const struct prefix *route);

/**
 * applied_policy_filter() - Write the inbound filter of a node, an array of FilterRule
 *
 * No rules: no node may reach it. Return: whether the node is there; one that isn't has no rules
 */
bool applied_policy_filter(struct applied_policy *t, int64_t id, struct json_writer *w,
			   const char *name);

/* Where a node asks about a session that a `check` rule holds for, over Noise: the host is of no
 * use there. The rest is "SRC_ID/to/DST_ID?ssh_user=USER&local_user=USER". */
#define POLICY_SSH_ACTION "/machine/ssh/action/"
#define POLICY_SSH_ACTION_URL                                             \
	"https://unused" POLICY_SSH_ACTION "$SRC_NODE_ID/to/$DST_NODE_ID" \
	"?ssh_user=$SSH_USER&local_user=$LOCAL_USER"

/** applied_policy_ssh() - Write the SSH policy of a node; one that isn't there has no rules */
void applied_policy_ssh(struct applied_policy *t, int64_t id, struct json_writer *w,
			const char *name);

enum policy_ssh_action {
	POLICY_SSH_REFUSE,
	POLICY_SSH_ACCEPT,
	POLICY_SSH_CHECK, /* a person has to confirm the session */
};

/**
 * applied_policy_ssh_action() - What holds for a session from one node to @user on another
 * @ret_period: CHECK: for how long a confirmation is good, 0: asked each time
 */
enum policy_ssh_action applied_policy_ssh_action(struct applied_policy *t, int64_t from, int64_t to,
						 const char *user, nanoseconds *ret_period);

/**
 * applied_policy_capabilities() - What nodeAttrs give a node
 * @each: called for each capability, with its values (JSON array) or NULL when it has none; the
 *        same name may come more than once. Returns false to stop
 *
 * Return: 0, -ENOENT
 */
int applied_policy_capabilities(struct applied_policy *t, int64_t id,
				bool (*each)(void *data, const char *name, const char *values),
				void *data);
