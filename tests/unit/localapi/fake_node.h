/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/localapi/fake_node.h - a node.h that says what a test wants and remembers the rest */
#pragma once

#include "node/node.h"
#include "node/prefs.h"

struct node {
	json_t *status; /* borrowed; NULL: {} */
	bool writable;
	bool healthy;
	char if_match[NODE_ETAG_MAX]; /* of the last serve configuration */
	int fail;                     /* the result of the next changes */
	json_t *last_edit;            /* owned */
	json_t *last_start;
	unsigned int logins;
	unsigned int watches; /* living ones */
	unsigned int last_mask;
	struct node_watch *watch; /* the newest */
	bool peers_asked;
	char ping_type[16];
	struct prefs
		*prefs; /* with them it acts: edits, logins and logouts change prefs and status */
	json_t *whois;  /* borrowed; NULL: one of its own */
	bool answer_later; /* hold ping and logout until fake_node_answer() */
	void (*ping_done)(void *context, const struct tailcfg_ping_result *result);
	void (*logout_done)(void *context, const struct error *err);
	void *done_context;
	bool store_slowly; /* hold the callbacks of node_when_stored() until fake_node_answer() */
	void (*stored_done)(struct node *node, void *context);
};

/** fake_node_notify() - Put a message on the bus */
void fake_node_notify(struct node *node, json_t *message);

/** fake_node_answer() - Complete what waits */
void fake_node_answer(struct node *node);

void fake_node_clear(struct node *node);
