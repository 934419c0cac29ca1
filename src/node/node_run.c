/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_run.c - start and stop, and the state that is derived from everything else */
#define LOG_ROOM "node"
#include "node/node_run.h"
#include "base/log.h"
#include "node/node_internal.h"
#include "transport/names.h"
#include "transport/tls.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* How long an ephemeral node may take to log out; the supervisor gives us 1.5 s in all. */
#define NODE_LOGOUT_PATIENCE_MS 1000

#define RUNNING_TEXT_MAX 256 /* our addresses in the log */

/* What could not be stored or set is tried again, ever more slowly. */
#define REPAIR_FIRST_MS 1000
#define REPAIR_MOST_MS  60000

static const char *const state_names[] = {
	[NODE_NO_STATE] = "NoState",       [NODE_IN_USE_OTHER_USER] = "InUseOtherUser",
	[NODE_NEEDS_LOGIN] = "NeedsLogin", [NODE_NEEDS_MACHINE_AUTH] = "NeedsMachineAuth",
	[NODE_STOPPED] = "Stopped",        [NODE_STARTING] = "Starting",
	[NODE_RUNNING] = "Running",
};
_Static_assert(ARRAY_SIZE(state_names) == NODE_STATE_COUNT, "a name a state");

const char *node_state_name(enum node_state state)
{
	return state_names[state];
}

static bool has_node_key(const struct node *node)
{
	return !sodium_is_zero(node->state.persist.node_key.bytes, KEY_SIZE);
}

bool node_is_known(const struct node *node)
{
	const struct persist *persist = &node->state.persist;

	return has_node_key(node) &&
	       (node->registered || persist->node_id[0] ||
		json_integer_value(json_object_get(persist->user_profile, "ID")) != 0);
}

const struct netmap *node_netmap(const struct node *node)
{
	return node->control ? control_client_netmap(node->control) : node->cached_netmap;
}

enum node_state node_state(const struct node *node)
{
	const struct prefs *prefs = &node->state.prefs;
	const struct netmap *map = node_netmap(node);

	if (!node->state_usable)
		return NODE_NO_STATE;
	if (!has_node_key(node) || prefs->logged_out)
		return NODE_NEEDS_LOGIN;
	if (!prefs->want_running)
		return node_is_known(node) ? NODE_STOPPED : NODE_NEEDS_LOGIN;
	if (node->needs_person || node->key_expired)
		return NODE_NEEDS_LOGIN;
	if (map && map->self && !map->self->machine_authorized)
		return NODE_NEEDS_MACHINE_AUTH;
	if (map && map->self && node->network_applied && !node->map_awaited)
		return NODE_RUNNING;
	return NODE_STARTING;
}

/* tell_supervisor() - The state decides when "Startup complete" is printed, and when a timeout ends
 */
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

/* log_running() - As whom: the name, and each address of ours */
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

void node_state_changed(struct node *node)
{
	enum node_state state = node_state(node);

	if (state == node->told_state)
		return;
	/* Whoever follows a start waits for both, as of the official daemon. */
	if (state == NODE_RUNNING && node->told_state == NODE_NO_STATE)
		node_bus_send(node, "State", json_integer(NODE_STARTING));
	node->told_state = state;
	log_info("state %s", node_state_name(state));
	if (state == NODE_RUNNING)
		log_running(node);
	tell_supervisor(node, state);
	node_bus_send(node, "State", json_integer(state));
}

/*
 * node_reconcile() - Make what runs agree with what is wanted
 *
 * Called after anything that changes intent: the start, an edit of the prefs, a logout.
 */
void node_reconcile(struct node *node)
{
	const struct prefs *prefs = &node->state.prefs;
	struct error err = {0};

	if (!node->state_usable || node->stopping)
		return;
	if (!prefs->want_running || (prefs->logged_out && !node->login_wanted)) {
		if (node->control && !node->logging_out)
			control_client_pause(node->control);
		node_forget_session(node);
		node_tunnel_close(node);
		node_apply_network(node);
		node_state_changed(node);
		return;
	}
	if (!node->control && node_control_open(node, &err) < 0) {
		node_warn(node, NODE_WARN_CONTROL, err.text);
		node_state_changed(node);
		return;
	}
	if (has_node_key(node) && !prefs->logged_out && !node->key_expired &&
	    node_tunnel_open(node) == 0)
		node_apply_netmap(node);
	node_control_start(node);
	node_state_changed(node);
}

/* apply_start_prefs() - The entrypoint's wishes, on top of what is stored */
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
		log_error(
			"the start configuration holds no prefs object: started with those stored");
		goto out;
	}
	if (config->up) {
		prefs_masked_set(masked, "WantRunning", json_true());
		prefs_masked_set(masked, "LoggedOut", json_false());
	}
	/* An engine that replaces another begins by itself. */
	node->login_asked = config->up || config->crash_count == 0;
	if (prefs_edit(&node->state.prefs, masked, &err) < 0)
		log_error("settings from the environment or flags are refused: %s", err.text);
	if (!prefs_same_server(prefs_control_url(&before), prefs_control_url(&node->state.prefs)) &&
	    has_node_key(node)) {
		log_warn("the login server changed from %s to %s: this node registers there anew",
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

/* begin() - With the state as it is now; one that can't be used is left alone, and read again */
static void begin(struct node *node)
{
	int r = node_store_load(node);

	node_note_result(node, &node->load_failed, r);
	if (r < 0)
		return;
	node_warn(node, NODE_WARN_STATE, NULL);
	apply_start_prefs(node);
	node_warn_unsupported(node);
	if (node->warnings[NODE_WARN_SETTINGS])
		log_warn("%s", node->warnings[NODE_WARN_SETTINGS]);
	if (node_machine_find_operator(node) < 0)
		log_warn("the operator '%s' is no user of /etc/passwd: only root may change this "
			 "node",
			 node->state.prefs.operator_user);
	node_reconcile(node);
}

static void on_repair(uv_timer_t *timer)
{
	struct node *node = container_of(timer, struct node, repair_timer);

	if (node->load_failed)
		begin(node);
	if (node->state_failed)
		node_store_state(node);
	if (node->network_failed)
		node_apply_network(node);
}

/** node_note_result() - What @failed stands for ended with @result: again later, if it has to be */
void node_note_result(struct node *node, bool *failed, int result)
{
	*failed = result < 0;
	if (!node->load_failed && !node->state_failed && !node->network_failed) {
		node->repair_wait = 0;
		uv_timer_stop(&node->repair_timer);
	} else if (!node->stopping && !uv_is_active((uv_handle_t *)&node->repair_timer)) {
		node->repair_wait = node->repair_wait ? 2 * node->repair_wait : REPAIR_FIRST_MS;
		if (node->repair_wait > REPAIR_MOST_MS)
			node->repair_wait = REPAIR_MOST_MS;
		uv_timer_start(&node->repair_timer, on_repair, node->repair_wait, 0);
	}
}

static void on_privsep(uv_poll_t *poll, int status, int events)
{
	struct node *node = container_of(poll, struct node, privsep_poll);
	int r;

	(void)status;
	(void)events;
	r = privsep_client_dispatch(node->privsep);
	if (r < 0) {
		log_error("the supervisor is gone (%s): ending", strerror(-r));
		_exit(1);
	}
}

int node_new(const struct node_options *options, struct node **ret, struct error *err)
{
	const struct privsep_start *config = &options->start->config;
	struct node *node = calloc(1, sizeof(*node));
	int r;

	if (!node)
		return error_set_errno(err, -ENOMEM, "node");
	node->loop = options->loop;
	node->privsep = options->privsep;
	node->start = options->start;
	node->sockets = privsep_client_sockets(options->privsep);
	node->stopped = options->stopped;
	node->stopped_context = options->context;
	node->operator_uid = NODE_NO_OPERATOR;
	(void)prefix_set_parse(config->tailnet_ranges, &node->tailnet); /* checked at the start */
	node->ephemeral = config->state_mode == START_STATE_MEMORY;
	node->handover = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);
	uv_timer_init(node->loop, &node->cache_timer);
	uv_timer_init(node->loop, &node->stop_timer);
	uv_timer_init(node->loop, &node->repair_timer);
	uv_timer_init(node->loop, &node->held_timer);
	r = uv_poll_init(node->loop, &node->privsep_poll, privsep_client_fd(node->privsep));
	if (r < 0) {
		free(node);
		return error_set_errno(err, r, "watch the supervisor's channel");
	}
	uv_poll_start(&node->privsep_poll, UV_READABLE, on_privsep);

	r = node_machine_open(node, err);
	if (r < 0) {
		node_free(node);
		return r;
	}
	if (config->warnings && config->warnings[0])
		node_warn(node, NODE_WARN_SUPERVISOR, config->warnings);
	if (options->sandbox_missing[0])
		node_warn(node, NODE_WARN_SANDBOX, options->sandbox_missing);
	if (config->crash_count) {
		char text[320];

		snprintf(text, sizeof(text),
			 "%u engine%s died before this one (the last %s); tunnel and connections "
			 "stayed. Nothing need be done once; if it happens again, report it with "
			 "the log of that moment",
			 config->crash_count, config->crash_count == 1 ? "" : "s",
			 config->last_crash ? config->last_crash : "for an unknown reason");
		node_warn(node, NODE_WARN_CRASH, text);
	}
	begin(node);
	tell_supervisor(node, node_state(node));
	node_state_changed(node);
	*ret = node;
	return 0;
}

static void finish_stop(struct node *node)
{
	uv_timer_stop(&node->stop_timer);
	if (node->stopped) {
		void (*stopped)(void *) = node->stopped;

		node->stopped = NULL;
		stopped(node->stopped_context);
	}
}

static void on_stop_timeout(uv_timer_t *timer)
{
	struct node *node = container_of(timer, struct node, stop_timer);

	log_warn("control did not confirm the logout in time; it removes the node after its "
		 "inactivity timeout");
	node->logout.done = NULL;
	finish_stop(node);
}

static void on_stop_logout(void *context, const struct error *err)
{
	if (err)
		log_warn("logout: %s", err->text);
	finish_stop(context);
}

void node_stop(struct node *node)
{
	if (node->stopping)
		return;
	node_store_handover(node);
	if (node->ephemeral && node->registered && node->control &&
	    node_logout(node, on_stop_logout, node, NULL) == 0) {
		node->stopping = true;
		uv_timer_start(&node->stop_timer, on_stop_timeout, NODE_LOGOUT_PATIENCE_MS, 0);
		return;
	}
	node->stopping = true;
	node_store_rest(node);
	node_store_cache_now(node);
	finish_stop(node);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct node *node = handle->data;

	if (--node->open_handles == 0)
		free(node);
}

void node_free(struct node *node)
{
	uv_handle_t *handles[] = {
		(uv_handle_t *)&node->cache_timer,  (uv_handle_t *)&node->stop_timer,
		(uv_handle_t *)&node->repair_timer, (uv_handle_t *)&node->held_timer,
		(uv_handle_t *)&node->privsep_poll,
	};

	if (!node)
		return;
	node->stopping = true;
	node_store_answer(node);
	node_tunnel_close(node);
	node_control_close(node);
	node_machine_close(node);
	node_bus_close(node);
	netmap_free(node->cached_netmap);
	state_file_free(&node->state);
	secret_key_wipe(&node->disco_key);
	node_drop_held_start(node);
	secret_string_free(node->auth_key);
	secret_string_free(node->given_key);
	buffer_free_secret(&node->handover);
	free(node->auth_url);
	for (size_t i = 0; i < NODE_WARN_COUNT; i++)
		free(node->warnings[i]);
	node->open_handles = ARRAY_SIZE(handles);
	for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
		handles[i]->data = node;
		uv_close(handles[i], on_handle_closed);
	}
}

void node_interfaces(struct node *node, const struct privsep_interfaces *interfaces)
{
	node_machine_interfaces(node, interfaces);
}

void node_file_changed(struct node *node, enum privsep_file_name name, int fd)
{
	node_machine_file_changed(node, name, fd);
}
