/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/tailnet_policy.h - the tailnet's policy: the file in force, and what it says of nodes
 *
 * It gives the tailnet its struct tailnet_policy, and keeps server/policy's view of the nodes:
 * login, tags, addresses, and the routes that are both advertised and approved.
 */
#pragma once

#include "server/coordinator/tailnet.h"

struct access {
	struct tailnet *tailnet;
	struct applied_policy *nodes;
};

/**
 * tailnet_policy_open() - Take the stored policy, or "everybody may reach everybody"
 *
 * A stored policy that can't be read is an error: it must not open what it closed. Its tests
 * aren't run again.
 */
int tailnet_policy_open(struct access *a, struct tailnet *t, struct error *err);
void tailnet_policy_close(struct access *a);

/**
 * tailnet_policy_set() - Put a policy in force, once its own tests pass; one without any value is refused
 * @problems: NULL, or gets all that is wrong; @err is the first
 */
int tailnet_policy_set(struct access *a, const char *text, size_t length,
		       struct string_list *problems, struct error *err);

/** tailnet_policy_delete() - From here on there is none: everybody may reach everybody */
int tailnet_policy_delete(struct access *a, struct error *err);

/** tailnet_policy_check() - Whether tailnet_policy_set() would take it */
int tailnet_policy_check(const struct access *a, const char *text, size_t length,
			 struct string_list *problems, struct error *err);
