/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_run.c - starts and stops a node */
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

static void on_privsep(uv_poll_t *poll, int status, int events)
{
	struct node *node = container_of(poll, struct node, privsep_poll);
	int r;

	(void)status;
	(void)events;
	r = privsep_client_dispatch(node->privsep);
	if (r < 0) {
		log_error("the supervisor has ended (%s): this engine ends too", strerror(-r));
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
	node->handover = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);
	node_settle_open(node);
	uv_timer_init(node->loop, &node->cache_timer);
	uv_timer_init(node->loop, &node->stop_timer);
	uv_timer_init(node->loop, &node->held_timer);
	r = uv_poll_init(node->loop, &node->privsep_poll, privsep_client_fd(node->privsep));
	if (r < 0) {
		free(node);
		return error_set_errno(err, r, "watch the supervisor's channel");
	}
	uv_poll_start(&node->privsep_poll, UV_READABLE, on_privsep);

	r = node_machine_open(node, err);
	if (r == 0)
		r = node_cert_open(node);
	if (r == 0)
		r = node_serve_open(node);
	if (r < 0) {
		node_free(node);
		return r;
	}
	if (config->warnings && config->warnings[0])
		node_warn(node, NODE_WARN_SUPERVISOR, config->warnings);
	node->aead = options->aead;
	if (options->sandbox_missing[0])
		node_warn(node, NODE_WARN_SANDBOX, options->sandbox_missing);
	if (config->crash_count) {
		char text[320];

		snprintf(text, sizeof(text),
			 "the engine restarted %u time%s (last: %s); connections were kept. If it "
			 "restarts again, report it with the log of that moment",
			 config->crash_count, config->crash_count == 1 ? "" : "s",
			 config->last_crash ? config->last_crash : "unknown reason");
		node_warn(node, NODE_WARN_CRASH, text);
	}
	node_begin(node);
	node_settle(node);
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

	log_warn(
		"control did not confirm the logout in time: the node stays listed until control's "
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
	if (node_is_ephemeral(node) && node->registered && node->control &&
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
		(uv_handle_t *)&node->settle_timer, (uv_handle_t *)&node->privsep_poll,
	};

	if (!node)
		return;
	node->stopping = true;
	node_store_answer(node);
	node_tunnel_close(node);
	node_network_forget(node);
	node_control_close(node);
	node_peerapi_close(node);
	node_serve_close(node);
	node_cert_close(node);
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
