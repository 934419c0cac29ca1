/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/relay_socket.h - a relay in a process of its own, and blocking clients
 *
 *	test (blocking sockets, threads)  <- loopback, plain HTTP ->  child: loop, relay_server
 */
#pragma once

#include "unit/unit.h"

#include "base/clock.h"
#include "base/limits.h"
#include "server/relay/relay_server.h"
#include "transport/tls.h"
#include "wire/derp.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sodium.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct relay_process {
	pid_t pid;
	uint16_t port, stun_port;
	struct public_key key;
	char directory[64];
};

static inline void relay_stop_signal(uv_signal_t *signal, int number)
{
	(void)number;
	uv_stop(signal->loop);
}

/* In the child: serve until SIGTERM; leaks show in the exit status. */
static inline int relay_child(const struct relay_server_config *config, int report)
{
	struct relay_server *relay = NULL;
	uv_signal_t term;
	uv_loop_t loop;
	struct error err;
	struct {
		uint16_t port, stun;
		struct public_key key;
	} say = {0};

	(void)signal(SIGPIPE, SIG_IGN);
	if (tls_init(&err) < 0 || sodium_init() < 0 || uv_loop_init(&loop) < 0)
		return 1;
	if (relay_server_new(&loop, config, &relay, &err) < 0) {
		fprintf(stderr, "relay: %s\n", err.text);
		return 1;
	}
	uv_signal_init(&loop, &term);
	uv_signal_start(&term, relay_stop_signal, SIGTERM);
	say.port = relay_server_endpoint(relay)->port;
	say.stun = relay_server_stun(relay)->port;
	say.key = *relay_server_key(relay);
	if (write(report, &say, sizeof(say)) != sizeof(say))
		return 1;
	close(report);
	uv_run(&loop, UV_RUN_DEFAULT);
	relay_server_free(relay);
	uv_close((uv_handle_t *)&term, NULL);
	for (int i = 0; i < 16 && uv_loop_alive(&loop); i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	return uv_loop_close(&loop) == 0 ? 0 : 3;
}

/* A relay on loopback; @config says what is special about it. */
static inline void relay_start(struct relay_process *p, const struct relay_server_config *special)
{
	struct relay_server_config config = *special;
	struct {
		uint16_t port, stun;
		struct public_key key;
	} said;
	int report[2];

	strcpy(p->directory, "/tmp/pillion-relay-XXXXXX");
	assert_non_null(mkdtemp(p->directory));
	assert_int_equal(pipe(report), 0);
	config.plain = true;
	config.directory = p->directory;
	config.listen = config.stun =
		(struct endpoint){.address = address_v4((uint8_t[]){127, 0, 0, 1})};
	config.ipv4 = config.listen.address;
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		close(report[0]);
		exit(relay_child(&config, report[1]));
	}
	close(report[1]);
	assert_int_equal(read(report[0], &said, sizeof(said)), sizeof(said));
	close(report[0]);
	p->port = said.port;
	p->stun_port = said.stun;
	p->key = said.key;
}

static inline void relay_stop(struct relay_process *p)
{
	char path[128];
	int status;

	assert_int_equal(kill(p->pid, SIGTERM), 0);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	assert_int_equal(status, 0);
	snprintf(path, sizeof(path), "%s/relay.key", p->directory);
	unlink(path);
	rmdir(p->directory);
}

struct relay_socket {
	int fd;
	struct secret_key secret;
	struct public_key key;
	uint8_t in[1 << 17];
	size_t length, taken;
};

static inline int relay_tcp(const struct relay_process *p, int receive_buffer)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(p->port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	if (receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static inline bool relay_write(int fd, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	while (length > 0) {
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		length -= (size_t)n;
	}
	return true;
}

/* The next frame; its bytes stay until the next call. 0: the relay closed. */
static inline int relay_read(struct relay_socket *s, struct derp_message *ret)
{
	struct derp_frame frame;

	memmove(s->in, s->in + s->taken, s->length - s->taken);
	s->length -= s->taken;
	s->taken = 0;
	for (;;) {
		struct cursor c = cursor_of(s->in, s->length);
		ssize_t n;

		if (derp_frame_next(&c, sizeof(s->in) - DERP_FRAME_HEADER, &frame) == 1) {
			s->taken = DERP_FRAME_HEADER + frame.length;
			return derp_message_parse(&frame, ret) == 0 ? 1 : -1;
		}
		n = recv(s->fd, s->in + s->length, sizeof(s->in) - s->length, 0);
		if (n <= 0)
			return n == 0 || errno == ECONNRESET ? 0 : -errno;
		s->length += (size_t)n;
	}
}

/* Upgrade and greeting; whether the relay let us in. */
static inline bool relay_join(const struct relay_process *p, struct relay_socket *s,
			      int receive_buffer)
{
	static const char request[] = "GET /derp HTTP/1.1\r\nHost: relay\r\nUpgrade: DERP\r\n"
				      "Connection: Upgrade\r\n\r\n";
	struct derp_client_info info = {.version = 2, .can_ack_pings = true};
	uint8_t hello[DERP_INFO_MAX], nonce[DERP_NONCE_SIZE];
	struct derp_message m;
	struct key_box box;
	ssize_t length;
	char *end = NULL;

	secret_key_generate(&s->secret);
	secret_key_public(&s->secret, &s->key);
	s->fd = relay_tcp(p, receive_buffer);
	s->length = s->taken = 0;
	assert_true(relay_write(s->fd, request, sizeof(request) - 1));
	while (!end) {
		ssize_t n = recv(s->fd, s->in + s->length, sizeof(s->in) - 1 - s->length, 0);

		if (n <= 0)
			return false;
		s->length += (size_t)n;
		end = memmem(s->in, s->length, "\r\n\r\n", 4);
	}
	if (memcmp(s->in, "HTTP/1.1 101", 12) != 0)
		return false;
	assert_non_null(memmem(s->in, s->length, "Derp-Version: 2", 15));
	s->taken = (size_t)((uint8_t *)end + 4 - s->in);
	assert_int_equal(relay_read(s, &m), 1);
	assert_int_equal(m.type, DERP_SERVER_KEY);
	assert_memory_equal(&m.key, &p->key, sizeof(m.key));
	assert_int_equal(key_box_init(&s->secret, &p->key, &box), 0);
	randombytes_buf(nonce, sizeof(nonce));
	length = derp_client_info_write(hello, sizeof(hello), &s->key, &box, nonce, &info);
	assert_true(relay_write(s->fd, hello, (size_t)length));
	return relay_read(s, &m) == 1 && m.type == DERP_SERVER_INFO;
}

static inline bool relay_send(struct relay_socket *s, const struct public_key *to, const void *data,
			      size_t length)
{
	uint8_t frame[DERP_FRAME_HEADER + KEY_SIZE + 2048];
	ssize_t n = derp_message_write(
		frame, sizeof(frame),
		&(struct derp_message){
			.type = DERP_SEND_PACKET, .key = *to, .data = data, .length = length});

	return n > 0 && relay_write(s->fd, frame, (size_t)n);
}

/* Send, and wait until the other has it; how long that took. */
static inline nanoseconds relay_trip(struct relay_socket *from, struct relay_socket *to)
{
	nanoseconds begin = clock_boottime();
	struct derp_message m = {0};

	assert_true(relay_send(from, &to->key, "trip", 4));
	while (m.type != DERP_RECV_PACKET)
		assert_int_equal(relay_read(to, &m), 1);
	assert_memory_equal(&m.key, &from->key, KEY_SIZE);
	return clock_boottime() - begin;
}
