/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/control_http.c - bytes of strangers, and of an operator's client, into a whole server
 *
 * The first byte says which listener; the rest is what one connection sends, over a real socket.
 * The server with its database is made anew now and then, so that what an operator's orders made
 * does not pile up. Afterwards no connection may be left.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "server/coordinator/coordinator_internal.h"
#include "transport/tls.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 64
#define LIFE   512 /* inputs of one server */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uv_loop_t loop;
static struct coordinator *control;
static char folder[32];
static struct sockaddr_un at[2];
static unsigned int age;

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "control_http: %s\n", what);
	abort();
}

static void turn(int rounds)
{
	for (int i = 0; i < rounds; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
}

static void stop(void)
{
	static const char *const names[] = {"web", "operator", "db", "db-wal", "db-shm"};
	char path[64];

	coordinator_free(TAKE_PTR(control));
	for (int i = 0; i < ROUNDS && uv_loop_alive(&loop); i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	uv_loop_close(&loop);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	rmdir(folder);
}

static void start(void)
{
	static const char *const names[] = {"web", "operator"};
	struct coordinator_options options = {.loop = &loop, .dns_hook_fd = -1};
	int *fds[] = {&options.listen_fd, &options.operator_fd};
	char database[64];
	struct error err;

	snprintf(folder, sizeof(folder), "/dev/shm/pillion-fuzz-XXXXXX");
	check(mkdtemp(folder) && uv_loop_init(&loop) == 0, "folder");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		at[i].sun_family = AF_UNIX;
		snprintf(at[i].sun_path, sizeof(at[i].sun_path), "%s/%s", folder, names[i]);
		check(web_listen_unix(at[i].sun_path, fds[i], &err) == 0, "listen");
	}
	snprintf(database, sizeof(database), "%s/db", folder);
	options.database = database;
	options.settings = (struct tailnet_settings){
		.server_url = "http://control.test",
		.base_domain = "tailnet.test",
	};
	check(coordinator_new(&options, &control, &err) == 0, "control");
	age = 0;
}

static void set_up(void)
{
	struct error err;

	(void)signal(SIGPIPE, SIG_IGN);
	log_setup(STDERR_FILENO, LOG_ERROR, LOG_FORMAT_TEXT);
	check(sodium_init() >= 0 && tls_init(&err) == 0, "start");
	start();
	atexit(stop);
}

static size_t open_connections(void)
{
	return http1_server_statistics(web_server_http(control->web))->open +
	       http1_server_statistics(web_server_http(control->local_web))->open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t answer[4096];
	int fd;

	if (size == 0)
		return 0;
	if (!control) {
		set_up();
	} else if (age++ == LIFE) {
		stop();
		start();
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	check(fd >= 0 && connect(fd, (struct sockaddr *)&at[data[0] & 1], sizeof(at[0])) == 0,
	      "connect");
	(void)!send(fd, data + 1, size - 1, MSG_NOSIGNAL);
	for (int i = 0; i < 4; i++) {
		turn(1);
		while (recv(fd, answer, sizeof(answer), 0) > 0)
			;
	}
	close(fd);
	for (int i = 0;
	     i < ROUNDS && (open_connections() > 0 || !LIST_EMPTY(&control->connections)); i++)
		turn(1);
	check(open_connections() == 0, "a connection is left");
	check(LIST_EMPTY(&control->connections), "a node's connection is left");
	return 0;
}
