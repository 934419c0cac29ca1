/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_policy.c - the tailnet's policy */
#include "server/coordinator/tailnet_policy.h"

#include "base/limits.h"

#include <errno.h>
#include <string.h>

/* describe() - @node as policy sees it; all but @routes (NULL: without them) is borrowed */
static struct policy_node describe(const struct access *a, const struct registry_node *node,
				   struct prefix *routes)
{
	const struct registry_user *user = registry_user(&a->tailnet->registry, node->user);
	struct policy_node n = {
		.id = node->record.id,
		.user = user ? user->name : NULL,
		.tags = node->tags,
		.v4 = node->v4,
		.v6 = node->v6,
		.routes.items = routes,
	};

	for (uint32_t i = 0; routes && i < node->approved_routes.count; i++)
		if (registry_node_serves(node, &node->approved_routes.items[i]))
			routes[n.routes.count++] = node->approved_routes.items[i];
	return n;
}

static bool sees(void *user, const struct registry_node *viewer, const struct registry_node *peer)
{
	const struct access *a = user;

	return applied_policy_sees(a->nodes, viewer->record.id, peer->record.id);
}

static bool grants_route(void *user, const struct registry_node *viewer, const struct prefix *route)
{
	const struct access *a = user;

	return applied_policy_grants_route(a->nodes, viewer->record.id, route);
}

static void put_filter(void *user, const struct registry_node *node, struct json_writer *w,
		       const char *name)
{
	struct access *a = user;
	struct tailcfg_filter filter = {0};
	int r = applied_policy_filter(a->nodes, node->record.id, &filter);

	/* Not known is not allowed. */
	if (r < 0 && r != -ENOENT)
		w->error = r;
	tailcfg_filter_encode(w, name, &filter);
	tailcfg_filter_clear(&filter);
}

static void put_ssh(void *user, const struct registry_node *node, struct json_writer *w,
		    const char *name)
{
	struct access *a = user;
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	int r = applied_policy_ssh(a->nodes, node->record.id, &text);

	if (r > 0)
		r = buffer_append(&text, "", 1);
	else if (r == 0 || r == -ENOENT)
		r = buffer_append(&text, "{\"rules\":[]}", sizeof("{\"rules\":[]}"));
	if (r < 0)
		w->error = r;
	else
		json_put_raw(w, name, (char *)buffer_head(&text));
	buffer_free(&text);
}

static enum policy_ssh_action ssh_action(void *user, const struct registry_node *from,
					 const struct registry_node *to, const char *ssh_user,
					 nanoseconds *ret_period)
{
	const struct access *a = user;

	return applied_policy_ssh_action(a->nodes, from->record.id, to->record.id, ssh_user,
					 ret_period);
}

static bool may_tag(void *user, const char *owner, const char *tag)
{
	const struct access *a = user;

	return policy_may_tag(applied_policy_source(a->nodes), owner, NULL, tag);
}

static bool approves(void *user, const struct registry_node *node, const struct prefix *route)
{
	const struct access *a = user;
	struct policy_node n = describe(a, node, NULL);

	return policy_approves_route(applied_policy_source(a->nodes), &n, route);
}

static void put_capabilities(void *user, const struct registry_node *node,
			     bool (*each)(void *data, const char *name, const char *values),
			     void *data)
{
	struct access *a = user;

	(void)applied_policy_capabilities(a->nodes, node->record.id, each, data);
}

static int find_peers(void *user, const struct registry_node *node, struct policy_ids *ret)
{
	struct access *a = user;
	int r = applied_policy_peers(a->nodes, node->record.id, ret);

	return r == -ENOENT ? 0 : r;
}

static int node_changed(void *user, const struct registry_node *node, struct policy_affected *ret)
{
	struct access *a = user;
	struct prefix routes[MACHINE_ROUTES_MAX];
	struct policy_node n = describe(a, node, routes);

	return applied_policy_put(a->nodes, &n, ret);
}

static int node_removed(void *user, const struct registry_node *node, struct policy_affected *ret)
{
	struct access *a = user;
	int r = applied_policy_remove(a->nodes, node->record.id, ret);

	return r == -ENOENT ? 0 : r;
}

int tailnet_policy_open(struct access *a, struct tailnet *t, struct error *err)
{
	const char *text = t->registry.policy;
	struct policy *policy;
	int r = policy_parse(text, text ? strlen(text) : 0, &policy, NULL, err);

	if (r < 0) {
		error_wrap(err, "the stored policy");
		return r;
	}
	*a = (struct access){.tailnet = t};
	r = applied_policy_create(policy, &a->nodes);
	if (r < 0) {
		policy_free(policy);
		return error_set(err, r, "out of memory");
	}
	for (struct registry_node *n = t->registry.nodes; n && r == 0; n = n->by_id.next)
		r = node_changed(a, n, NULL);
	if (r < 0) {
		tailnet_policy_close(a);
		return error_set(err, r, "out of memory");
	}
	t->policy = (struct tailnet_policy){
		.user = a,
		.sees = sees,
		.grants_route = grants_route,
		.filter = put_filter,
		.ssh = put_ssh,
		.ssh_action = ssh_action,
		.may_tag = may_tag,
		.approves = approves,
		.capabilities = put_capabilities,
		.peers = find_peers,
		.changed = node_changed,
		.removed = node_removed,
	};
	return 0;
}

void tailnet_policy_close(struct access *a)
{
	if (a->tailnet)
		a->tailnet->policy = (struct tailnet_policy){0};
	applied_policy_free(a->nodes);
	*a = (struct access){0};
}

/* read_policy() - Parsed, not empty, and its tests passed */
static int read_policy(const struct access *a, const char *text, size_t length, struct policy **ret,
		       struct string_list *problems, struct error *err)
{
	struct policy *policy;
	int r = policy_parse(text, length, &policy, problems, err);

	/* As of a file that was cut, or a program that failed: what it opens is said nowhere. */
	if (r == 0 && policy_is_blank(policy)) {
		policy_free(policy);
		return error_set(err, -EINVAL,
				 "the policy is empty, and without one everybody may reach "
				 "everybody; if that is meant: 'pillion control policy delete'");
	}
	if (r == 0) {
		r = policy_test(policy, a->nodes, problems, err);
		if (r == 0)
			*ret = policy;
		else
			policy_free(policy);
	}
	return r;
}

int tailnet_policy_check(const struct access *a, const char *text, size_t length,
			 struct string_list *problems, struct error *err)
{
	struct policy *policy = NULL;
	int r = read_policy(a, text, length, &policy, problems, err);

	policy_free(policy);
	return r;
}

/* approve_routes() - What waits for an operator may need none any more */
static void approve_routes(struct tailnet *t)
{
	for (struct registry_node *n = t->registry.nodes; n; n = n->by_id.next)
		if (tailnet_settle_routes(t, n))
			tailnet_changed(t, n, CHANGE_NODE);
	tailnet_elect_routes(t);
}

/* put_in_force() - @policy, which is taken on success; @text: its text, NULL for none */
static int put_in_force(struct access *a, struct policy *policy, const char *text, size_t length,
			struct error *err)
{
	struct registry *registry = &a->tailnet->registry;
	char *copy = text ? strndup(text, length) : NULL;
	int r = text && !copy ? -ENOMEM : applied_policy_replace(&a->nodes, policy);

	if (r < 0) {
		policy_free(policy);
		free(copy);
		return error_set(err, r, "out of memory");
	}
	free(registry->policy);
	registry->policy = copy;
	registry->policy_dirty = true;
	tailnet_policy_replaced(a->tailnet);
	approve_routes(a->tailnet);
	return 0;
}

int tailnet_policy_set(struct access *a, const char *text, size_t length,
		       struct string_list *problems, struct error *err)
{
	struct policy *policy = NULL;
	int r = read_policy(a, text, length, &policy, problems, err);

	return r < 0 ? r : put_in_force(a, policy, text, length, err);
}

int tailnet_policy_delete(struct access *a, struct error *err)
{
	struct policy *policy = NULL;
	int r = policy_parse(NULL, 0, &policy, NULL, err);

	return r < 0 ? r : put_in_force(a, policy, NULL, 0, err);
}
