/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/transport/peer.h - a server in a thread, for tests of what runs on a loop
 *
 *	test thread: uv loop, the code under test   <- loopback ->   peer thread: blocking
 */
#pragma once

#include "unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
	void (*serve)(int fd, void *user); /* one connection; fd is closed after it */
	void *user;
	pthread_t thread;
	int listener, stop[2];
	uint16_t port;
	unsigned int connections;
};

static void *peer_main(void *argument)
{
	struct peer *p = argument;

	for (;;) {
		struct pollfd fds[2] = {{.fd = p->listener, .events = POLLIN},
					{.fd = p->stop[0], .events = POLLIN}};
		int fd;

		poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		fd = accept(p->listener, NULL, NULL);
		if (fd < 0)
			continue;
		__atomic_add_fetch(&p->connections, 1, __ATOMIC_SEQ_CST);
		p->serve(fd, p->user);
		close(fd);
	}
}

/* peer_listen() - A listener on @address:@port (0: any); its port */
static inline uint16_t peer_listen(const char *address, uint16_t port, int backlog, int *ret_fd)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t length = sizeof(in);
	int one = 1;

	inet_pton(AF_INET, address, &in.sin_addr);
	*ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(*ret_fd >= 0);
	setsockopt(*ret_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(*ret_fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(*ret_fd, backlog), 0);
	assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&in, &length), 0);
	return ntohs(in.sin_port);
}

static inline void peer_start_at(struct peer *p, const char *address, uint16_t port,
				 void (*serve)(int, void *), void *user)
{
	memset(p, 0, sizeof(*p));
	signal(SIGPIPE, SIG_IGN); /* as every program on libuv must */
	p->serve = serve;
	p->user = user;
	p->port = peer_listen(address, port, 16, &p->listener);
	assert_int_equal(pipe(p->stop), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

static inline void peer_start(struct peer *p, void (*serve)(int, void *), void *user)
{
	peer_start_at(p, "127.0.0.1", 0, serve, user);
}

static inline void peer_stop(struct peer *p)
{
	assert_int_equal(write(p->stop[1], "x", 1), 1);
	pthread_join(p->thread, NULL);
	close(p->listener);
	close(p->stop[0]);
	close(p->stop[1]);
}

/* read_full(), write_full() - Blocking, all of it; false at the end of the stream */
static inline bool read_full(int fd, void *out, size_t length)
{
	for (size_t have = 0; have < length;) {
		ssize_t r = read(fd, (char *)out + have, length - have);

		if (r <= 0)
			return false;
		have += (size_t)r;
	}
	return true;
}

static inline bool write_full(int fd, const void *bytes, size_t length)
{
	for (size_t sent = 0; sent < length;) {
		ssize_t r = send(fd, (const char *)bytes + sent, length - sent, MSG_NOSIGNAL);

		if (r <= 0)
			return false;
		sent += (size_t)r;
	}
	return true;
}

/* read_head() - Up to the empty line, into @out as text */
static inline bool read_head(int fd, char *out, size_t size)
{
	size_t have = 0;

	do {
		if (have + 1 >= size || read(fd, out + have, 1) != 1)
			return false;
		out[++have] = 0;
	} while (have < 4 || strcmp(out + have - 4, "\r\n\r\n") != 0);
	return true;
}
