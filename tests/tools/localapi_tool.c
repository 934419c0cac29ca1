/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/localapi_tool.c SOCKET STATUS WHOIS - the LocalAPI of a node that only acts
 *
 * Serves SOCKET with the status and whois answer of two files. up, down, set, login
 * by key and logout change its state as a node would. Prints "ready", ends by
 * SIGTERM.
 */
#include "fake_node.h"
#include "localapi/localapi.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void on_signal(uv_signal_t *handle, int number)
{
	struct localapi_server *server = handle->data;

	(void)number;
	localapi_server_free(server);
	uv_close((uv_handle_t *)handle, NULL);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct node node = {.writable = true, .healthy = true};
	struct localapi_server *server;
	struct error err = {0};
	struct prefs prefs;
	uv_signal_t signals;
	uv_loop_t loop;
	int fd;

	if (argc != 4 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: %s SOCKET STATUS WHOIS\n", argv[0]);
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	node.status = json_load_file(argv[2], 0, NULL);
	node.whois = json_load_file(argv[3], 0, NULL);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (!node.status || !node.whois || prefs_init(&prefs) < 0 || fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0) {
		perror("localapi_tool");
		return 1;
	}
	prefs.want_running = true;
	json_object_set_new(prefs.object, "WantRunning", json_true());
	node.prefs = &prefs;
	uv_loop_init(&loop);
	if (localapi_server_new(&loop, fd, &node, &server, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	uv_signal_init(&loop, &signals);
	signals.data = server;
	uv_signal_start(&signals, on_signal, SIGTERM);
	printf("ready\n");
	fflush(stdout);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	unlink(argv[1]);
	json_decref(node.status);
	json_decref(node.whois);
	node.status = node.whois = NULL;
	prefs_free(&prefs);
	fake_node_clear(&node);
	return 0;
}
