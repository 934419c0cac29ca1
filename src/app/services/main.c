/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/services/main.c - pillion-services: the process between peers and the app
 *
 *	pillion-services UID:GID|-		(only the supervisor runs it)
 *
 * It has no capability, opens no file and makes no socket, and never sees a node key. The sandbox
 * closes before the first byte of a peer.
 */
#define LOG_ROOM "services"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/pages.h"
#include "privsep/privsep_client.h"
#include "sandbox/sandbox.h"
#include "services/services.h"
#include "transport/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

/* Handles close within a round of the loop, and what their closing closes in one more. */
#define CLOSING_ROUNDS 8

struct process {
	uv_loop_t loop;
	uv_poll_t channel;
	struct privsep_client *client;
	struct services *services;
};

static void on_serving(void *userdata, struct privsep_serve *serve)
{
	services_on_serving(((struct process *)userdata)->services, serve);
}

static void on_listener(void *userdata, uint16_t port, int fd)
{
	services_on_listener(((struct process *)userdata)->services, port, fd);
}

static void on_link(void *userdata, int fd)
{
	services_on_link(((struct process *)userdata)->services, fd);
}

static void on_file_changed(void *userdata, enum privsep_file_name name, int fd)
{
	services_on_file_changed(((struct process *)userdata)->services, name, fd);
}

static void on_ended(void *userdata)
{
	uv_stop(&((struct process *)userdata)->loop);
}

static void on_stop(void *userdata)
{
	services_end(((struct process *)userdata)->services, on_ended, userdata);
}

static const struct privsep_client_handlers handlers = {
	.serving = on_serving,
	.listener = on_listener,
	.link = on_link,
	.file_changed = on_file_changed,
	.stop = on_stop,
};

static void on_channel(uv_poll_t *poll, int status, int events)
{
	struct process *process = container_of(poll, struct process, channel);
	int r;

	(void)status;
	(void)events;
	r = privsep_client_dispatch(process->client);
	if (r < 0) {
		log_error("the supervisor has ended (%s): this process ends too", strerror(-r));
		_exit(1);
	}
}

/* raise_descriptors() - Each connection needs two; how many there are */
static size_t raise_descriptors(void)
{
	struct rlimit limit = {.rlim_cur = 1024}, raised;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		raised = (struct rlimit){limit.rlim_max, limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	return limit.rlim_cur;
}

/* prepare() - What must be done before the sandbox closes, and the closing itself */
static int prepare(struct process *process, const char *identity_text, struct error *err)
{
	struct sandbox_identity identity;
	struct sandbox_report report = {0};
	size_t descriptors;
	int r, spare;

	if (sandbox_identity_parse(identity_text, &identity) < 0)
		return error_set(err, -EINVAL,
				 "pillion-services is not run by hand: run `pillion`");
	descriptors = raise_descriptors();
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = sandbox_enter(&sandbox_profile_services, &identity, NULL, 0, &report, err);
	if (r < 0)
		return r;
	(void)signal(SIGPIPE, SIG_IGN);
	r = tls_init(err); /* first: it keeps OpenSSL from its configuration file */
	if (r < 0)
		return r;
	json_object_seed(0);
	r = uv_loop_init(&process->loop);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	/* Without this one libuv would try to open it, in vain, for each connection. */
	process->loop.emfile_fd = spare;
	r = services_new(&process->loop, descriptors, &process->services, err);
	if (r < 0)
		return r;
	r = privsep_client_new(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SERVICES, &handlers, process,
			       &process->client);
	if (r < 0)
		return error_set_errno(err, r, "the supervisor's channel");
	return sandbox_seal(&sandbox_profile_services, &report, err);
}

int main(int argc, char **argv)
{
	struct process process = {0};
	struct error err = {0};
	int r = prepare(&process, argc == 2 ? argv[1] : "", &err);

	if (r == 0)
		r = uv_poll_init(&process.loop, &process.channel,
				 privsep_client_fd(process.client));
	if (r < 0) {
		log_error("%s", err.code < 0 ? err.text : strerror(-r));
		return EXIT_FAILURE;
	}
	uv_poll_start(&process.channel, UV_READABLE, on_channel);
	services_begin(process.services, process.client);
	uv_run(&process.loop, UV_RUN_DEFAULT);
	services_free(process.services);
	privsep_client_free(process.client);
	uv_close((uv_handle_t *)&process.channel, NULL);
	for (int round = 0; round < CLOSING_ROUNDS && uv_loop_alive(&process.loop); round++)
		uv_run(&process.loop, UV_RUN_NOWAIT);
	(void)uv_loop_close(&process.loop);
	return EXIT_SUCCESS;
}
