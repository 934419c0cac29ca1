/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/localapi.c - any bytes on the LocalAPI's socket
 *
 * A whole connection: they are sent in one piece and the loop is turned until the
 * server has closed or has nothing left to do.
 */
#include "localapi/localapi.h"
#include "../unit/localapi/fake_node.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SENT_MAX 65536
#define TURNS    8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address);
	struct node node = {.writable = true, .healthy = true};
	struct localapi_server *server;
	char reply[4096];
	uv_loop_t loop;
	int listener, fd;

	if (size > SENT_MAX)
		return 0;
	(void)signal(SIGPIPE, SIG_IGN);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (listener < 0 || fd < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
	    connect(fd, (struct sockaddr *)&address, length) < 0)
		abort();
	uv_loop_init(&loop);
	if (localapi_server_new(&loop, listener, &node, &server, NULL) < 0)
		abort();
	(void)!send(fd, data, size, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < TURNS; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		while (recv(fd, reply, sizeof(reply), MSG_DONTWAIT) > 0)
			;
	}
	localapi_server_free(server);
	uv_run(&loop, UV_RUN_DEFAULT);
	if (node.watches != 0 || uv_loop_close(&loop) != 0)
		abort();
	close(fd);
	fake_node_clear(&node);
	return 0;
}
