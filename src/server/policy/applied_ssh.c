/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/applied_ssh.c - the SSH policy of a node, and the decision for one session */
#include "server/policy/applied_policy_internal.h"

#include <errno.h>
#include <string.h>

/* struct ssh_write - The policy being written for a node */
struct ssh_write {
	struct applied_policy *t;
	const struct applied_node *node;
	struct json_writer json;
};

static void put_principal(struct ssh_write *w, const struct address *a)
{
	char text[ADDRESS_TEXT_MAX];

	if (a->family == ADDRESS_NONE)
		return;
	json_begin_object(&w->json, NULL);
	json_put_string(&w->json, "nodeIP", address_format(a, text));
	json_end_object(&w->json);
}

static void put_node(struct ssh_write *w, const struct applied_node *node)
{
	put_principal(w, &node->v4);
	put_principal(w, &node->v6);
}

static void put_action(struct ssh_write *w, bool check)
{
	json_begin_object(&w->json, "action");
	if (check) {
		json_put_string(&w->json, "holdAndDelegate", POLICY_SSH_ACTION_URL);
	} else {
		json_put_bool(&w->json, "accept", true);
		json_put_bool(&w->json, "allowAgentForwarding", true);
		json_put_bool(&w->json, "allowLocalPortForwarding", true);
		json_put_bool(&w->json, "allowRemotePortForwarding", true);
	}
	json_end_object(&w->json);
}

static void put_tail(struct ssh_write *w, const struct policy_ssh_rule *rule)
{
	put_action(w, rule->check);
	if (rule->environment.count)
		json_put_strings(&w->json, "acceptEnv", &rule->environment);
	json_end_object(&w->json);
}

/* put_users() - Maps requested users: "" refuses, "=" keeps the name */
static void put_users(struct ssh_write *w, const struct policy_ssh_rule *rule)
{
	json_begin_object(&w->json, "sshUsers");
	if (rule->nonroot)
		json_put_string(&w->json, "*", "=");
	json_put_string(&w->json, "root", rule->root ? "root" : "");
	for (uint32_t i = 0; i < rule->users.count; i++)
		json_put_string(&w->json, rule->users.items[i], rule->users.items[i]);
	json_end_object(&w->json);
}

/* put_localparts() - A rule for each node whose user has a login in the domain */
static int put_localparts(struct ssh_write *w, const struct policy_ssh_rule *rule,
			  const struct applied_node *const *nodes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		size_t length = policy_ssh_localpart(rule, nodes[i]->user);
		_cleanup_free_ char *user = NULL;

		if (!length)
			continue;
		user = strndup(nodes[i]->user, length);
		if (!user)
			return -ENOMEM;
		json_begin_object(&w->json, NULL);
		json_begin_array(&w->json, "principals");
		put_node(w, nodes[i]);
		json_end_array(&w->json);
		json_begin_object(&w->json, "sshUsers");
		json_put_string(&w->json, user, user);
		json_end_object(&w->json);
		put_tail(w, rule);
	}
	return 0;
}

static int put_rule(struct ssh_write *w, const struct policy_ssh_rule *rule,
		    const struct applied_node *const *nodes, uint32_t count)
{
	if (count && (rule->root || rule->nonroot || rule->users.count)) {
		json_begin_object(&w->json, NULL);
		json_begin_array(&w->json, "principals");
		for (uint32_t i = 0; i < count; i++)
			put_node(w, nodes[i]);
		json_end_array(&w->json);
		put_users(w, rule);
		put_tail(w, rule);
	}
	return rule->domains.count ? put_localparts(w, rule, nodes, count) : 0;
}

/* struct node_list - Nodes, each once by the mark of the walk */
struct node_list {
	const struct applied_node **items;
	uint32_t count, capacity;
};

static int add_node(struct applied_policy *t, struct node_list *list, struct applied_node *node)
{
	const struct applied_node **added;

	t->steps++;
	if (node->mark == t->mark)
		return 0;
	node->mark = t->mark;
	added = ARRAY_ADD(list->items, list->count, list->capacity);
	if (!added)
		return -ENOMEM;
	*added = node;
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

static int put_rule_for(struct ssh_write *w, uint32_t index, const struct owner *only)
{
	const struct policy_ssh_rule *rule = &w->t->policy->ssh[index];
	struct node_list list = {0};
	int r = find_sources(w->t, rule, only, &list);

	if (r == 0)
		r = put_rule(w, rule, list.items, list.count);
	free(list.items);
	return r;
}

static int put_rules(struct ssh_write *w, const struct indexes *rules, bool check)
{
	int r = 0;

	for (uint32_t i = 0; i < rules->count && r == 0; i++) {
		const struct policy_ssh_rule *rule = &w->t->policy->ssh[rules->items[i]];

		if (rule->check != check)
			continue;
		/* A node can match a destination directly and by autogroup:self. */
		if (applied_matches_any(w->node, &rule->destinations))
			r = put_rule_for(w, rules->items[i], NULL);
		else if (rule->has_self)
			r = put_rule_for(w, rules->items[i], w->node->owner);
	}
	return r;
}

int applied_policy_ssh(struct applied_policy *t, int64_t id, struct buffer *out)
{
	struct ssh_write w = {.t = t, .node = applied_find(t, id), .json = json_writer_to(out)};
	struct indexes rules = {0};
	size_t before = out->length;
	int r;

	if (!w.node)
		return -ENOENT;
	if (!t->policy->has_ssh)
		return 0;
	r = applied_uses(t, w.node, PART_SSH_DESTINATION, &rules);
	json_begin_object(&w.json, NULL);
	json_begin_array(&w.json, "rules");
	/* Stricter rules first: the client applies the first rule that matches. */
	if (r == 0)
		r = put_rules(&w, &rules, true);
	if (r == 0)
		r = put_rules(&w, &rules, false);
	json_end_array(&w.json);
	json_end_object(&w.json);
	if (r == 0)
		r = json_writer_result(&w.json);
	indexes_clear(&rules);
	if (r < 0)
		out->length = before;
	return r < 0 ? r : 1;
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
