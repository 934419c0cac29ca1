/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_run.h - the node, as its process sees it: start, events of the supervisor, stop
 */
#pragma once

#include "base/error.h"
#include "privsep/privsep_client.h"

#include <uv.h>

struct node;

struct node_options {
	uv_loop_t *loop;
	struct privsep_client *privsep;      /* outlives the node */
	struct privsep_start_message *start; /* outlives the node */
	const char *sandbox_missing;         /* mechanisms that are not in force, "" for none */
	const char *aead;                    /* the engine of data messages */
	void (*stopped)(void *context);      /* node_stop() has finished: end the process */
	void *context;
};

/**
 * node_new() - Load the stored state and begin
 *
 * A state that can't be used is no failure: the node warns and waits.
 * Return: 0, or negative errno with @err set: the process can't work at all
 */
int node_new(const struct node_options *options, struct node **ret, struct error *err);

/** node_stop() - End in order: an ephemeral node logs out first; then calls stopped() */
void node_stop(struct node *node);

/** node_free() - After node_stop() and the end of the privsep client. NULL is fine */
void node_free(struct node *node);

/* Events of the privsep client; see struct privsep_client_handlers. */
void node_interfaces(struct node *node, const struct interfaces *interfaces);
void node_file_changed(struct node *node, enum privsep_file_name name, int fd);

void node_serve_diverts(struct node *node, const struct privsep_divert *diverts, size_t count);
void node_serve_link(struct node *node, int fd);
