/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/access.h - the tailnet's policy: the file in force, and what it says of nodes
 */
#pragma once

#include "server/control/tailnet.h"

struct access {
	struct tailnet *tailnet;
};

/** access_open() - Take the stored policy, or "everybody may reach everybody" */
int access_open(struct access *a, struct tailnet *t, struct error *err);
void access_close(struct access *a);

/** access_set() - Put a policy in force, once its own tests pass; "" takes it away */
int access_set(struct access *a, const char *text, size_t length, struct error *err);

/** access_check() - Whether access_set() would take it */
int access_check(const char *text, size_t length, struct error *err);
