/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_edit.c - orders of local programs: prefs, start, login, logout */
#define LOG_ROOM "node"
#include "base/log.h"
#include "node/node_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A command sends the login request of its start within this time. */
#define HELD_START_MS 2000

/* check_operator() - Refuse an operator without an entry in /etc/passwd: it would have no effect */
static int check_operator(struct node *node, const struct prefs *before, struct error *err)
{
	const char *name = node->state.prefs.operator_user;

	if (strcmp(name, before->operator_user) == 0 || node_machine_find_operator(node) == 0)
		return 0;
	return error_set(err, -EINVAL, "--operator: the daemon's /etc/passwd has no user '%.64s'",
			 name);
}

/* after_edit() - Store the prefs if they changed, and act on them */
static void after_edit(struct node *node, const struct prefs *before)
{
	const struct prefs *now = &node->state.prefs;

	if (prefs_equal(before, now))
		return;
	node_store_state(node);
	node_bus_write(node, "Prefs", node_write_prefs);
	if (!prefs_same_server(prefs_control_url(before), prefs_control_url(now)))
		node_forget_server(node);
	node_tell_hostinfo(node);
	node->login_asked |= now->want_running && !before->want_running;
	if (now->want_running && before->want_running)
		node_prefs_applied(node);
	node_changed(node, NODE_CHANGED_INTENT);
}

/* check_server() - Refuse another login server while the login is good */
static int check_server(struct node *node, const struct prefs *before, struct error *err)
{
	const char *from = prefs_control_url(before), *to = prefs_control_url(&node->state.prefs);

	if (prefs_same_server(from, to) || !node_is_known(node) || before->logged_out ||
	    node->needs_person || node->key_expired)
		return 0;
	return error_set(err, -EXDEV,
			 "can't change --login-server without --force-reauth: this node is logged "
			 "in at %.200s and would lose that login",
			 from);
}

/*
 * settle_edit() - Put the edited prefs into force, or restore @before
 * @leave: allow another login server
 */
static int settle_edit(struct node *node, struct prefs *before, bool leave, struct error *err)
{
	struct prefs refused;
	uid_t operator_uid = node->operator_uid;
	char unsupported[256];
	int r = 0;

	if (prefs_unsupported(&node->state.prefs, before, unsupported, sizeof(unsupported)))
		r = error_set(err, -EOPNOTSUPP,
			      "pillion does not support %s yet; leave this setting out",
			      unsupported);
	if (r == 0 && !leave)
		r = check_server(node, before, err);
	if (r == 0)
		r = check_operator(node, before, err);
	if (r == 0) {
		after_edit(node, before);
		return 0;
	}
	refused = node->state.prefs;
	node->state.prefs = *before;
	*before = refused;
	node->operator_uid = operator_uid;
	return r;
}

int node_edit_prefs(struct node *node, json_t *masked, struct error *err)
{
	struct prefs before = {0};
	int r = node_check_usable(node, "change settings", err);

	if (r < 0)
		return r;
	node_drop_held_start(node);
	r = prefs_copy(&node->state.prefs, &before);
	if (r < 0)
		return error_set_errno(err, r, "prefs");
	r = prefs_edit(&node->state.prefs, masked, err);
	if (r == 0)
		r = settle_edit(node, &before, false, err);
	if (r == 0)
		node_settle(node);
	prefs_free(&before);
	return r;
}

/* replace_prefs() - Replace all prefs by @object; members that it lacks get their default */
static int replace_prefs(struct node *node, const json_t *object, bool leave, struct error *err)
{
	struct prefs before = node->state.prefs, now = {0};
	int r = prefs_decode(object, &now, err);

	if (r == 0)
		r = prefs_check(&now, err);
	if (r < 0) {
		prefs_free(&now);
		return r;
	}
	node->state.prefs = now;
	r = settle_edit(node, &before, leave, err);
	prefs_free(&before);
	return r;
}

/* wipe_options() - Release an ipn.Options, which may hold an auth key */
static void wipe_options(json_t *options)
{
	json_t *key = json_object_get(options, "AuthKey");

	if (json_is_string(key))
		explicit_bzero((char *)json_string_value(key), json_string_length(key));
	json_decref(options);
}

void node_drop_held_start(struct node *node)
{
	uv_timer_stop(&node->held_timer);
	wipe_options(TAKE_PTR(node->held_start));
}

static void on_held_timer(uv_timer_t *timer)
{
	struct node *node = container_of(timer, struct node, held_timer);

	node_drop_held_start(node);
	node_bus_text(node, "ErrMessage", node->held_reason.text);
}

/*
 * hold_start() - Keep a start that changes the login server until a login request follows
 *
 * `up --force-reauth` of the official command line sends a start, and then a login request. If
 * the request doesn't come, the refusal goes to the bus, where the command waits.
 */
static void hold_start(struct node *node, json_t *ipn_options, const struct error *reason)
{
	node->held_start = ipn_options;
	node->held_reason = *reason;
	uv_timer_start(&node->held_timer, on_held_timer, HELD_START_MS, 0);
}

static int start(struct node *node, json_t *ipn_options, bool leave, struct error *err)
{
	const json_t *update = json_object_get(ipn_options, "UpdatePrefs");
	const char *key = json_string_value(json_object_get(ipn_options, "AuthKey"));
	int r = json_is_object(update) ? replace_prefs(node, update, leave, err) : 0;

	if (r < 0)
		return r;
	/* The command that sent the start waits for the state: publish it even if it stays. */
	node->told_state = NODE_NO_STATE;
	node->login_asked = true;
	if (node->login_request == LOGIN_GOES_ON)
		node->login_request = LOGIN_AGAIN;
	node->login_wanted |= key && key[0];
	secret_string_free(node->auth_key);
	node->auth_key = key && key[0] ? strdup(key) : NULL;
	node_changed(node, NODE_CHANGED_INTENT);
	node_settle(node);
	return 0;
}

int node_start(struct node *node, json_t *ipn_options, struct error *err)
{
	int r = node_check_usable(node, "start backend", err);

	if (r == 0) {
		node_drop_held_start(node);
		r = start(node, ipn_options, false, err);
		if (r == -EXDEV) {
			hold_start(node, ipn_options, err);
			return 0;
		}
	}
	wipe_options(ipn_options);
	return r;
}

/* key_is_awaited() - Whether a login has begun that will ask for the key of the start configuration */
static bool key_is_awaited(const struct node *node)
{
	return node->start->config.auth_key_present && node->control_started && !node->auth_key &&
	       !node_is_known(node) && !node->needs_person && !node->auth_url;
}

int node_login_interactive(struct node *node, struct error *err)
{
	int r = node_check_usable(node, "log in", err);

	if (r < 0)
		return r;
	if (node->logout.done)
		return error_set(err, -EBUSY, "a logout is under way; try again when it has ended");
	if (node->held_start) {
		json_t *options = TAKE_PTR(node->held_start);

		r = start(node, options, true, err);
		wipe_options(options);
		node_drop_held_start(node);
		if (r < 0)
			return r;
	}
	node->login_wanted = true;
	node->login_asked = true;
	/* A second login beside one by auth key would spend the key again, or go on without it. */
	if ((node->given_key && (node->auth_key || !node_is_known(node))) || key_is_awaited(node))
		return 0;
	if (node_state(node) != NODE_RUNNING && node->auth_url && !node->auth_key) {
		/* The login URL is still valid: send it again. */
		node_bus_text(node, "BrowseToURL", node->auth_url);
		return 0;
	}
	/* The auth key of the start begins a login by itself. */
	if (!node->auth_key || node->registered)
		node->login_request = LOGIN_NEW_KEY;
	node_changed(node, NODE_CHANGED_INTENT);
	node_settle(node);
	return 0;
}

int node_logout(struct node *node, void (*done)(void *context, const struct error *err),
		void *context, struct error *err)
{
	int r = node_check_usable(node, "log out", err);

	if (r < 0)
		return r;
	if (node->logout.done)
		return error_set(err, -EALREADY, "another logout is under way");
	if (!node->control) {
		r = node_control_open(node, err);
		if (r < 0)
			return r;
	}
	node->logout.done = done;
	node->logout.context = context;
	control_client_logout(node->control);
	return 0;
}

bool node_may_write(struct node *node, uid_t uid)
{
	return uid == 0 || (node->operator_uid != NODE_NO_OPERATOR && uid == node->operator_uid);
}
