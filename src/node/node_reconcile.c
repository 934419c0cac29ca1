/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_reconcile.c - reconciles the running parts with the intent, and publishes the state
 *
 * Theory of operation
 *
 * Files below this one never call it. They record what changed with node_changed(), and
 * node_settle() acts on the record in the next turn of the loop: it reconciles if the
 * intent changed, publishes health and state if they differ from the last published ones,
 * and sets the timer that repeats failed stores and requests. Orders of local programs settle
 * at once, since they expect the answer to hold.
 */
#define LOG_ROOM "node"
#include "base/log.h"
#include "node/node_internal.h"

#include <stdlib.h>

#define RUNNING_TEXT_MAX 256 /* our addresses in the log */

/* A failed store, load or network request is repeated, at growing intervals. */
#define REPAIR_FIRST_MS 1000
#define REPAIR_MOST_MS  60000

/* tell_supervisor() - The supervisor prints "Startup complete" and ends its timeout by the state */
static void tell_supervisor(struct node *node, enum node_state state)
{
	static const enum privsep_state names[] = {
		[NODE_NO_STATE] = PRIVSEP_STATE_NONE,
		[NODE_IN_USE_OTHER_USER] = PRIVSEP_STATE_NONE,
		[NODE_NEEDS_LOGIN] = PRIVSEP_STATE_NEEDS_LOGIN,
		[NODE_NEEDS_MACHINE_AUTH] = PRIVSEP_STATE_NEEDS_MACHINE_AUTH,
		[NODE_STOPPED] = PRIVSEP_STATE_STOPPED,
		[NODE_STARTING] = PRIVSEP_STATE_STARTING,
		[NODE_RUNNING] = PRIVSEP_STATE_RUNNING,
	};
	char reason[PRIVSEP_TEXT_MAX];

	if (node_healthy(node, reason, sizeof(reason)))
		reason[0] = 0;
	privsep_client_status(node->privsep, names[state], reason);
}

/* log_running() - The name and each address of this node */
static void log_running(const struct node *node)
{
	const struct tailcfg_node *self = node_netmap(node)->self;
	const struct prefix_list *addresses = &self->addresses;
	char text[RUNNING_TEXT_MAX] = "", address[ADDRESS_TEXT_MAX], name[64];
	size_t used = 0;

	for (uint32_t i = 0; i < addresses->count && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, ", %s",
					 address_format(&addresses->items[i].address, address));
	log_info("Running as %s%s", tailcfg_node_display_name(self, name), text);
}

static void publish_state(struct node *node)
{
	enum node_state state = node_state(node);

	if (state == node->told_state)
		return;
	/* A command that follows a start waits for both states, as of the official daemon. */
	if (state == NODE_RUNNING && node->told_state == NODE_NO_STATE)
		node_bus_state(node, NODE_STARTING);
	node->told_state = state;
	log_info("state %s", node_state_name(state));
	if (state == NODE_RUNNING)
		log_running(node);
	tell_supervisor(node, state);
	node_bus_state(node, state);
}

static void reconcile(struct node *node)
{
	const struct prefs *prefs = &node->state.prefs;
	struct error err = {0};

	if (!prefs->want_running || (prefs->logged_out && !node->login_wanted)) {
		if (node->control && !node->logout.done)
			control_client_pause(node->control);
		node_forget_session(node);
		node_tunnel_close(node);
		node_apply_network(node);
		return;
	}
	if (!node->control && node_control_open(node, &err) < 0) {
		node_warn(node, NODE_WARN_CONTROL, err.text);
		return;
	}
	if (node_has_key(node) && !prefs->logged_out && !node->key_expired &&
	    node_tunnel_open(node) == 0)
		node_apply_netmap(node);
	node_control_start(node);
}

/* warn_unsupported() - Settings that a volume brought along are kept, with a warning */
static void warn_unsupported(struct node *node)
{
	char names[256], text[320];

	if (!node->state_usable)
		return;
	if (prefs_unsupported(&node->state.prefs, NULL, names, sizeof(names))) {
		snprintf(text, sizeof(text), "settings that have no effect in pillion yet: %s",
			 names);
		node_warn(node, NODE_WARN_SETTINGS, text);
	} else {
		node_warn(node, NODE_WARN_SETTINGS, NULL);
	}
}

/* apply_start_prefs() - The settings of flags and environment, on top of those that are stored */
static void apply_start_prefs(struct node *node)
{
	const struct privsep_start *config = &node->start->config;
	struct error err = {0};
	struct prefs before = {0};
	json_t *masked;

	if (prefs_copy(&node->state.prefs, &before) < 0)
		return;
	masked = config->prefs ? json_loads(config->prefs, 0, NULL) : json_object();
	if (!json_is_object(masked)) {
		log_error("the start configuration holds no prefs object: using the stored prefs");
		goto out;
	}
	if (config->up) {
		prefs_masked_set(masked, "WantRunning", json_true());
		prefs_masked_set(masked, "LoggedOut", json_false());
	}
	/* An engine that replaces a crashed one acts without a person. */
	node->login_asked = config->up || config->crash_count == 0;
	if (prefs_edit(&node->state.prefs, masked, &err) < 0)
		log_error("settings of the environment or flags are refused: %s", err.text);
	if (!prefs_same_server(prefs_control_url(&before), prefs_control_url(&node->state.prefs)) &&
	    node_has_key(node)) {
		log_warn("the login server changed from %s to %s: this node registers there as a "
			 "new node",
			 prefs_control_url(&before), prefs_control_url(&node->state.prefs));
		node_forget_server(node);
	}
	if (prefs_equal(&before, &node->state.prefs))
		node_store_settled(node);
	else
		node_store_state(node);
out:
	json_decref(masked);
	prefs_free(&before);
}

void node_begin(struct node *node)
{
	node_changed(node, NODE_CHANGED_INTENT);
	if (node_store_load(node) < 0) {
		node_changed(node, NODE_CHANGED_FAILED);
		tell_supervisor(node, NODE_NO_STATE);
		return;
	}
	node_warn(node, NODE_WARN_STATE, NULL);
	apply_start_prefs(node);
	node_serve_stored(node);
	warn_unsupported(node);
	if (node->warnings[NODE_WARN_SETTINGS])
		log_warn("%s", node->warnings[NODE_WARN_SETTINGS]);
	if (node_machine_find_operator(node) < 0)
		log_warn("/etc/passwd has no user '%s' (--operator): only root may change this "
			 "node",
			 node->state.prefs.operator_user);
}

static void on_repair(uv_timer_t *timer)
{
	struct node *node = container_of(timer, struct node, repair_timer);

	if (!node->state_usable)
		node_begin(node);
	if (node->state_failed)
		node_store_state(node);
	if (node->network_failed)
		node_apply_network(node);
	node_settle(node);
}

/* plan_repair() - Repeat what failed after a while */
static void plan_repair(struct node *node)
{
	if (node->state_usable && !node->state_failed && !node->network_failed) {
		node->repair_wait = 0;
		uv_timer_stop(&node->repair_timer);
	} else if (node->changes & NODE_CHANGED_FAILED &&
		   !uv_is_active((uv_handle_t *)&node->repair_timer)) {
		node->repair_wait = node->repair_wait ? 2 * node->repair_wait : REPAIR_FIRST_MS;
		if (node->repair_wait > REPAIR_MOST_MS)
			node->repair_wait = REPAIR_MOST_MS;
		uv_timer_start(&node->repair_timer, on_repair, node->repair_wait, 0);
	}
}

void node_settle(struct node *node)
{
	uv_timer_stop(&node->settle_timer);
	if (node->stopping)
		return;
	if (node->changes & NODE_CHANGED_INTENT && node->state_usable)
		reconcile(node);
	if (node->changes & NODE_CHANGED_SERVED) {
		node_apply_filter(node); /* it lets peers in to the PeerAPI */
		node_tell_hostinfo(node);
	}
	warn_unsupported(node);
	if (node->changes & NODE_CHANGED_HEALTH)
		node_bus_write(node, "Health", node_write_health);
	publish_state(node);
	plan_repair(node);
	node->changes = 0;
	uv_timer_stop(&node->settle_timer);
}

static void on_settle(uv_timer_t *timer)
{
	node_settle(container_of(timer, struct node, settle_timer));
}

void node_settle_open(struct node *node)
{
	uv_timer_init(node->loop, &node->repair_timer);
	uv_timer_init(node->loop, &node->settle_timer);
	/* node_changed() restarts it, by uv_timer_again(): so it needs a period. */
	uv_timer_start(&node->settle_timer, on_settle, 0, 1);
}
