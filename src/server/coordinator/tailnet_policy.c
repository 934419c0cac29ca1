/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_policy.c - the policy in force: read, tested, replaced */
#include "server/coordinator/tailnet.h"

#include <errno.h>
#include <string.h>

int tailnet_policy_load(struct tailnet *t, struct error *err)
{
	const char *text = t->registry.policy;
	struct prefix routes[MACHINE_ROUTES_MAX];
	struct applied_policy *fresh;
	struct policy *policy;
	int r = policy_parse(text, text ? strlen(text) : 0, &policy, NULL, err);

	if (r < 0)
		return error_wrap(err, "the stored policy");
	r = applied_policy_create(policy, &fresh);
	if (r < 0) {
		policy_free(policy);
		return error_set(err, r, "out of memory");
	}
	for (struct registry_node *n = t->registry.nodes; n && r == 0; n = n->by_id.next) {
		struct policy_node subject = tailnet_describe(t, n, routes);

		r = applied_policy_put(fresh, &subject, NULL);
	}
	if (r < 0) {
		applied_policy_free(fresh);
		return error_set(err, r, "out of memory");
	}
	applied_policy_free(t->policy);
	t->policy = fresh;
	return 0;
}

/* read_policy() - Parse a policy, and run its tests; one without any section is refused */
static int read_policy(const struct tailnet *t, const char *text, size_t length,
		       struct policy **ret, struct string_list *problems, struct error *err)
{
	struct policy *policy;
	int r = policy_parse(text, length, &policy, problems, err);

	if (r < 0)
		return r;
	/* A truncated file or a failed program leaves an empty text: that must not open the tailnet. */
	if (policy_is_blank(policy))
		r = error_set(err, -EINVAL,
			      "the policy is empty, and without one everybody may reach "
			      "everybody; if that is meant: 'pillion control policy delete'");
	else
		r = policy_test(policy, t->policy, problems, err);
	if (r < 0)
		policy_free(policy);
	else
		*ret = policy;
	return r;
}

int tailnet_policy_check(const struct tailnet *t, const char *text, size_t length,
			 struct string_list *problems, struct error *err)
{
	struct policy *policy = NULL;
	int r = read_policy(t, text, length, &policy, problems, err);

	policy_free(policy);
	return r;
}

/* put_in_force() - @policy, which is taken in any case; @text: its text, NULL for none */
static int put_in_force(struct tailnet *t, struct policy *policy, const char *text, size_t length,
			struct error *err)
{
	char *copy = text ? strndup(text, length) : NULL;
	int r = text && !copy ? -ENOMEM : applied_policy_replace(&t->policy, policy);

	if (r < 0) {
		policy_free(policy);
		free(copy);
		return error_set(err, r, "out of memory");
	}
	free(t->registry.policy);
	t->registry.policy = copy;
	t->registry.policy_dirty = true;
	tailnet_policy_replaced(t);
	/* A route that waits for the operator may need no approval now. */
	for (struct registry_node *n = t->registry.nodes; n; n = n->by_id.next)
		if (tailnet_settle_routes(t, n))
			tailnet_changed(t, n, CHANGE_NODE);
	tailnet_elect_routes(t);
	return 0;
}

int tailnet_policy_set(struct tailnet *t, const char *text, size_t length,
		       struct string_list *problems, struct error *err)
{
	struct policy *policy = NULL;
	int r = read_policy(t, text, length, &policy, problems, err);

	return r < 0 ? r : put_in_force(t, policy, text, length, err);
}

int tailnet_policy_delete(struct tailnet *t, struct error *err)
{
	struct policy *policy = NULL;
	int r = policy_parse(NULL, 0, &policy, NULL, err);

	return r < 0 ? r : put_in_force(t, policy, NULL, 0, err);
}
