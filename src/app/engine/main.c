/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/engine/main.c - pillion-engine: the process that speaks to the network
 *
 *	pillion-engine UID:GID|-		(only the supervisor runs it)
 *
 * Order matters: first the steps that need a file or a capability, then the sandbox, then
 * the first byte from the network.
 */
#define LOG_ROOM "engine"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/pages.h"
#include "localapi/localapi.h"
#include "node/node_run.h"
#include "privsep/privsep_client.h"
#include "sandbox/sandbox.h"
#include "transport/tls.h"
#include "tunnel/aead/aead.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

/* Handles close within a round of the loop, and what their closing closes in one more. */
#define CLOSING_ROUNDS 8

/* The node has usually joined by then, and the memory that joining needed can be released. */
#define GIVE_BACK_MS 3000

struct engine {
	uv_loop_t loop;
	uv_timer_t give_back;
	struct privsep_client *privsep;
	struct privsep_start_message start;
	struct node *node;
	struct localapi_server *localapi, *health;
};

static void on_interfaces(void *userdata, const struct interfaces *interfaces)
{
	struct engine *engine = userdata;

	if (engine->node)
		node_interfaces(engine->node, interfaces);
}

static void on_file_changed(void *userdata, enum privsep_file_name name, int fd)
{
	struct engine *engine = userdata;

	if (engine->node)
		node_file_changed(engine->node, name, fd);
	else if (fd >= 0)
		close(fd);
}

static void on_divert(void *userdata, const struct privsep_divert *diverts, size_t count)
{
	struct engine *engine = userdata;

	if (engine->node)
		node_serve_diverts(engine->node, diverts, count);
}

static void on_link(void *userdata, int fd)
{
	struct engine *engine = userdata;

	if (engine->node)
		node_serve_link(engine->node, fd);
	else
		close(fd);
}

static void on_stop(void *userdata)
{
	struct engine *engine = userdata;

	if (engine->node)
		node_stop(engine->node);
	else
		uv_stop(&engine->loop);
}

static const struct privsep_client_handlers handlers = {
	.interfaces = on_interfaces,
	.file_changed = on_file_changed,
	.divert = on_divert,
	.link = on_link,
	.stop = on_stop,
};

/* on_stopped() - The node has finished. Nothing is freed here: the caller may be any part of it */
static void on_stopped(void *context)
{
	struct engine *engine = context;

	uv_stop(&engine->loop);
}

static void on_give_back(uv_timer_t *timer)
{
	(void)timer;
	pages_give_back();
}

/* close_all() - Take everything down in order, so that nothing is left */
static void close_all(struct engine *engine)
{
	int r;

	uv_close((uv_handle_t *)&engine->give_back, NULL);
	localapi_server_free(engine->localapi);
	localapi_server_free(engine->health);
	/* Pending answers reach the node now. */
	privsep_client_free(engine->privsep);
	node_free(engine->node);
	for (int round = 0; round < CLOSING_ROUNDS && uv_loop_alive(&engine->loop); round++)
		uv_run(&engine->loop, UV_RUN_NOWAIT);
	r = uv_loop_close(&engine->loop);
	if (r < 0)
		log_debug("the event loop still has handles: %s", uv_strerror(r));
	privsep_start_message_clear(&engine->start);
}

/* open_servers() - LocalAPI and health listeners, where the supervisor made them */
static int open_servers(struct engine *engine, struct error *err)
{
	const struct privsep_start *config = &engine->start.config;
	unsigned int paths = (config->health_check ? HEALTH_SERVE_HEALTHZ : 0u) |
			     (config->metrics ? HEALTH_SERVE_METRICS : 0u);
	int fd, r = 0;

	if (engine->start.localapi >= 0) {
		fd = TAKE_FD(engine->start.localapi);
		r = localapi_server_new(&engine->loop, fd, engine->node, &engine->localapi, err);
	}
	if (r == 0 && engine->start.health >= 0) {
		fd = TAKE_FD(engine->start.health);
		r = health_server_new(&engine->loop, fd, paths, config->health_names, engine->node,
				      &engine->health, err);
	}
	return r;
}

/* prepare() - What must be done before the sandbox closes */
static int prepare(struct engine *engine, const char *identity_text, struct sandbox_report *report,
		   const char **ret_aead, struct error *err)
{
	const char *wanted = getenv("PILLION_AEAD");
	struct sandbox_identity identity;
	int r;

	if (sandbox_identity_parse(identity_text, &identity) < 0)
		return error_set(err, -EINVAL, "pillion-engine is not run by hand: run `pillion`");
	aead_library_open(wanted);
	r = sandbox_enter(&sandbox_profile_engine, &identity, NULL, 0, report, err);
	if (r < 0)
		return r;
	(void)signal(SIGPIPE, SIG_IGN);
	r = tls_init(err); /* first: it keeps OpenSSL from its configuration file */
	if (r < 0)
		return r;
	if (sodium_init() < 0)
		return error_set(err, -EIO, "libsodium did not start");
	json_object_seed(0);
	r = uv_loop_init(&engine->loop);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	r = privsep_client_new(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_ENGINE, &handlers, engine,
			       &engine->privsep);
	if (r < 0)
		return error_set_errno(err, r, "the supervisor's channel");
	r = privsep_client_start(engine->privsep, &engine->start, err);
	if (r < 0)
		return r;
	log_setup(STDERR_FILENO, (enum log_level)engine->start.config.log_level,
		  (enum log_format)engine->start.config.log_format);
	*ret_aead = aead_choose(wanted, err);
	if (!*ret_aead)
		return -EIO;
	return sandbox_seal(&sandbox_profile_engine, report, err);
}

int main(int argc, char **argv)
{
	struct engine engine = {0};
	struct sandbox_report report = {0};
	struct error err = {0};
	struct node_options options = {
		.loop = &engine.loop,
		.start = &engine.start,
		.sandbox_missing = report.missing,
		.stopped = on_stopped,
		.context = &engine,
	};
	int r;

	r = prepare(&engine, argc == 2 ? argv[1] : "", &report, &options.aead, &err);
	if (r < 0) {
		log_error("%s", err.text);
		return EXIT_FAILURE;
	}
	options.privsep = engine.privsep;
	r = node_new(&options, &engine.node, &err);
	if (r == 0)
		r = open_servers(&engine, &err);
	if (r < 0) {
		log_error("%s", err.text);
		return EXIT_FAILURE;
	}
	uv_timer_init(&engine.loop, &engine.give_back);
	uv_timer_start(&engine.give_back, on_give_back, GIVE_BACK_MS, 0);
	uv_run(&engine.loop, UV_RUN_DEFAULT);
	close_all(&engine);
	return EXIT_SUCCESS;
}
