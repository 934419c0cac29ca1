/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/relay_http.c - bytes of strangers into the relay's HTTP, and through the upgrade
 *
 * The input is what one connection sends, over a real socket, so that the whole way is walked:
 * web server, pages, upgrade, client, core. Afterwards nothing of it may be left.
 */
#include "base/log.h"
#include "server/relay/relay_server.h"
#include "server/web/web_server.h"
#include "transport/tls.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 64

static uv_loop_t loop;
static struct relay_server *relay;
static struct web_server *web;
static struct sockaddr_un at = {.sun_family = AF_UNIX};

static void serve(void *user, struct http1_exchange *x)
{
	(void)user;
	if (!relay_server_serve(relay, x))
		http1_reply_text(x, 404, "not found");
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "relay_http: %s\n", what);
	abort();
}

static void clean_up(void)
{
	char path[sizeof(at.sun_path) + 16];

	web_server_free(web);
	relay_server_free(relay);
	for (int i = 0; i < ROUNDS && uv_loop_alive(&loop); i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	uv_loop_close(&loop);
	unlink(at.sun_path);
	*strrchr(at.sun_path, '/') = 0;
	snprintf(path, sizeof(path), "%s/relay.key", at.sun_path);
	unlink(path);
	rmdir(at.sun_path);
}

static void set_up(void)
{
	static const uint8_t loopback[] = {127, 0, 0, 1};
	struct endpoint listen = {.address = address_v4(loopback)};
	char folder[] = "/tmp/pillion-fuzz-XXXXXX";
	struct error err;
	int fd;

	(void)signal(SIGPIPE, SIG_IGN);
	log_setup(STDERR_FILENO, LOG_ERROR, LOG_FORMAT_TEXT);
	check(mkdtemp(folder) != NULL, "folder");
	check(sodium_init() >= 0 && tls_init(&err) == 0 && uv_loop_init(&loop) == 0, "start");
	check(relay_server_new(&loop,
			       &(struct relay_server_config){.listen = listen,
							     .no_stun = true,
							     .ipv4 = listen.address,
							     .directory = folder,
							     .plain = true,
							     .metrics = true},
			       &relay, &err) == 0,
	      "relay");
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/web", folder);
	check(web_listen_unix(at.sun_path, &fd, &err) == 0, "listen");
	check(web_server_new(
		      &(struct web_server_options){
			      .loop = &loop, .listen_fd = fd, .body_limit = 1024, .serve = serve},
		      &web, &err) == 0,
	      "web server");
	atexit(clean_up);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char no_clients[] = "\npillion_relay_clients 0\n";
	struct buffer metrics = BUFFER_INIT(256u * 1024);
	uint8_t answer[4096];
	int fd;

	if (!relay)
		set_up();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	check(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	(void)!send(fd, data, size, MSG_NOSIGNAL);
	for (int i = 0; i < 4; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		while (recv(fd, answer, sizeof(answer), 0) > 0)
			;
	}
	close(fd);
	for (int i = 0; i < ROUNDS && http1_server_statistics(web_server_http(web))->open > 0; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	for (int i = 0; i < 4; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	check(http1_server_statistics(web_server_http(web))->open == 0, "a connection is left");
	check(relay_server_metrics(relay, &metrics) == 0 &&
		      memmem(buffer_head(&metrics), metrics.length, no_clients,
			     sizeof(no_clients) - 1),
	      "a client is left");
	buffer_free(&metrics);
	return 0;
}
