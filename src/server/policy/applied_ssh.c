/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/applied_ssh.c - the SSH policy of a node, and the decision for one session */
#include "server/policy/applied_policy_internal.h"

#include <errno.h>
#include <string.h>

static void put_node(struct json_writer *w, const struct applied_node *node)
{
	const struct address *own[] = {&node->v4, &node->v6};
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		if (own[i]->family == ADDRESS_NONE)
			continue;
		json_begin_object(w, NULL);
		json_put_string(w, "nodeIP", address_format(own[i], text));
		json_end_object(w);
	}
}

static void put_tail(struct json_writer *w, const struct policy_ssh_rule *rule)
{
	json_put_raw(w, "action",
		     rule->check ? "{\"holdAndDelegate\":\"" POLICY_SSH_ACTION_URL "\"}"
				 : "{\"accept\":true,\"allowAgentForwarding\":true,"
				   "\"allowLocalPortForwarding\":true,"
				   "\"allowRemotePortForwarding\":true}");
	if (rule->environment.count)
		json_put_strings(w, "acceptEnv", &rule->environment);
	json_end_object(w);
}

/* put_users() - Maps requested users: "" refuses, "=" keeps the name */
static void put_users(struct json_writer *w, const struct policy_ssh_rule *rule)
{
	json_begin_object(w, "sshUsers");
	if (rule->nonroot)
		json_put_string(w, "*", "=");
	json_put_string(w, "root", rule->root ? "root" : "");
	for (uint32_t i = 0; i < rule->users.count; i++)
		json_put_string(w, rule->users.items[i], rule->users.items[i]);
	json_end_object(w);
}

/* put_localparts() - A rule for each node whose user has a login in the domain */
static void put_localparts(struct json_writer *w, const struct policy_ssh_rule *rule,
			   const struct applied_node *const *nodes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		size_t length = policy_ssh_localpart(rule, nodes[i]->user);
		_cleanup_free_ char *user = NULL;

		if (!length)
			continue;
		user = strndup(nodes[i]->user, length);
		if (!user) {
			w->error = -ENOMEM;
			return;
		}
		json_begin_object(w, NULL);
		json_begin_array(w, "principals");
		put_node(w, nodes[i]);
		json_end_array(w);
		json_begin_object(w, "sshUsers");
		json_put_string(w, user, user);
		json_end_object(w);
		put_tail(w, rule);
	}
}

static void put_rule(struct json_writer *w, const struct policy_ssh_rule *rule,
		     const struct applied_node *const *nodes, uint32_t count)
{
	if (count && (rule->root || rule->nonroot || rule->users.count)) {
		json_begin_object(w, NULL);
		json_begin_array(w, "principals");
		for (uint32_t i = 0; i < count; i++)
			put_node(w, nodes[i]);
		json_end_array(w);
		put_users(w, rule);
		put_tail(w, rule);
	}
	if (rule->domains.count)
		put_localparts(w, rule, nodes, count);
}

/* struct node_list - Nodes, each once by the mark of the walk */
struct node_list {
	const struct applied_node **items;
	uint32_t count, capacity;
};

static int add_node(struct applied_policy *t, struct node_list *list, struct applied_node *node)
{
	t->steps++;
	if (node->mark == t->mark)
		return 0;
	node->mark = t->mark;
	if (ARRAY_GROW(list->items, list->count, list->capacity) < 0)
		return -ENOMEM;
	list->items[list->count++] = node;
	return 0;
}

static int compare_ids(const void *left, const void *right)
{
	const struct applied_node *const *a = left, *const *b = right;

	return (*a)->id < (*b)->id ? -1 : (*a)->id > (*b)->id;
}

/* find_sources() - The sources of a rule: all, or only the user's own nodes */
static int find_sources(struct applied_policy *t, const struct policy_ssh_rule *rule,
			const struct owner *only, struct node_list *list)
{
	int r = 0;

	t->mark++;
	for (uint32_t i = 0; only && i < only->nodes.count && r == 0; i++) {
		struct applied_node *node = t->slots[only->nodes.items[i].slot];

		if (applied_matches_any(node, &rule->sources))
			r = add_node(t, list, node);
	}
	for (uint32_t s = 0; !only && s < rule->sources.count && r == 0; s++) {
		const struct member_list *members = &t->members[rule->sources.items[s]];

		for (uint32_t i = 0; i < members->count && r == 0; i++)
			r = add_node(t, list, t->slots[members->items[i].slot]);
	}
	/* The order must not depend on the history of nodes. */
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), compare_ids);
	return r;
}

static void put_rule_for(struct applied_policy *t, const struct policy_ssh_rule *rule,
			 const struct owner *only, struct json_writer *w)
{
	struct node_list list = {0};

	if (find_sources(t, rule, only, &list) < 0)
		w->error = -ENOMEM;
	else
		put_rule(w, rule, list.items, list.count);
	free(list.items);
}

static void put_rules(struct applied_policy *t, const struct applied_node *node,
		      const struct indexes *rules, bool check, struct json_writer *w)
{
	for (uint32_t i = 0; i < rules->count; i++) {
		const struct policy_ssh_rule *rule = &t->policy->ssh[rules->items[i]];

		if (rule->check != check)
			continue;
		/* A node can match a destination directly and by autogroup:self. */
		if (applied_matches_any(node, &rule->destinations))
			put_rule_for(t, rule, NULL, w);
		else if (rule->has_self)
			put_rule_for(t, rule, node->owner, w);
	}
}

void applied_policy_ssh(struct applied_policy *t, int64_t id, struct json_writer *w,
			const char *name)
{
	const struct applied_node *node = applied_find(t, id);
	struct indexes rules = {0};

	if (node && applied_uses(t, node, PART_SSH_DESTINATION, &rules) < 0)
		w->error = -ENOMEM;
	json_begin_object(w, name);
	json_begin_array(w, "rules");
	/* Stricter rules first: the client applies the first rule that matches. */
	put_rules(t, node, &rules, true, w);
	put_rules(t, node, &rules, false, w);
	json_end_array(w);
	json_end_object(w);
	indexes_clear(&rules);
}

static bool applies(const struct policy_ssh_rule *rule, const struct applied_node *from,
		    const struct applied_node *to)
{
	return applied_matches_any(from, &rule->sources) &&
	       (applied_matches_any(to, &rule->destinations) ||
		(rule->has_self && from->owner && from->owner == to->owner));
}

enum policy_ssh_action applied_policy_ssh_action(struct applied_policy *t, int64_t from, int64_t to,
						 const char *user, nanoseconds *ret_period)
{
	const struct applied_node *source = applied_find(t, from), *target = applied_find(t, to);
	enum policy_ssh_action action = POLICY_SSH_REFUSE;

	for (uint32_t i = 0; source && target && i < t->policy->ssh_count; i++) {
		const struct policy_ssh_rule *rule = &t->policy->ssh[i];

		if (!applies(rule, source, target) || !policy_ssh_allows(rule, source->user, user))
			continue;
		if (rule->check) {
			*ret_period = rule->period;
			return POLICY_SSH_CHECK;
		}
		action = POLICY_SSH_ACCEPT;
	}
	return action;
}
