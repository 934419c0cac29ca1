/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress_call.c - a connection to a node's PeerAPI, until it has accepted
 *
 * DOC: Theory of operation
 *
 * The kernel leads the connection through the tailnet, since a node runs in this namespace. Its
 * addresses are tried one after another. The request is POST /v0/ingress (protocol.md 13.4); the
 * answer is a bare 101, behind which the connection is the client's. Nothing of the client is sent
 * before: the official node would lose it.
 */
#include "base/cleanup.h"
#include "server/ingress/ingress_internal.h"
#include "transport/http1.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 4096u /* of a node that does not answer with a bare 101 */
#define READ_SIZE  2048u

struct ingress_call {
	uv_loop_t *loop;
	struct ingress_target target;
	size_t at; /* index of the address that is tried */
	struct endpoint from;
	char name[INGRESS_NAME_MAX];
	uint16_t port;
	ingress_called *called;
	void *user;

	uv_poll_t poll;
	bool watched; /* the handle is open */
	int fd;
	bool connected;
	struct http1_parser answer;
	size_t received;
	struct loop_timer *timer;
	char trouble[192]; /* of the last address */
	bool over;
};

static void call_free(struct ingress_call *call)
{
	if (call->watched)
		return;
	cleanup_close_at(&call->fd);
	http1_parser_free(&call->answer);
	free(call);
}

static void on_last_closed(uv_handle_t *handle)
{
	struct ingress_call *call = handle->data;

	call->watched = false;
	call_free(call);
}

void ingress_call_cancel(struct ingress_call *call)
{
	if (!call || call->over)
		return;
	call->over = true;
	loop_timer_free(call->timer);
	if (call->watched) {
		uv_poll_stop(&call->poll);
		uv_close((uv_handle_t *)&call->poll, on_last_closed);
	}
	call_free(call);
}

static void fail(struct ingress_call *call, enum ingress_refusal why, const char *text)
{
	ingress_called *called = call->called;
	void *user = call->user;
	char copy[sizeof(call->trouble)];

	snprintf(copy, sizeof(copy), "%s", text);
	ingress_call_cancel(call);
	called(user, -1, NULL, 0, why, copy);
}

static void dial(struct ingress_call *call);

static void on_tried_closed(uv_handle_t *handle)
{
	struct ingress_call *call = handle->data;

	call->watched = false;
	cleanup_close_at(&call->fd);
	if (call->over)
		call_free(call);
	else
		dial(call);
}

/* next() - The address failed, because of @r: try the next one */
static void next(struct ingress_call *call, int r)
{
	char at[ENDPOINT_TEXT_MAX];

	snprintf(call->trouble, sizeof(call->trouble), "PeerAPI at %s: %s",
		 endpoint_format(&call->target.addresses[call->at], at), strerror(-r));
	call->at++;
	if (call->watched) {
		uv_poll_stop(&call->poll);
		/* The next one uses the same handle. */
		uv_close((uv_handle_t *)&call->poll, on_tried_closed);
		loop_timer_at(call->timer, DEADLINE_NEVER);
	} else {
		cleanup_close_at(&call->fd);
		loop_timer_soon(call->timer); /* dial(), but not in here */
	}
}

static int send_request(struct ingress_call *call)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(ANSWER_MAX);
	char host[ENDPOINT_TEXT_MAX], from[ENDPOINT_TEXT_MAX], target[INGRESS_NAME_MAX + 8];
	ssize_t n;
	int r = http1_write_request(&out, "POST", "/v0/ingress");

	snprintf(target, sizeof(target), "%s:%u", call->name, call->port);
	if (r == 0)
		r = http1_write_header(&out, "Host",
				       endpoint_format(&call->target.addresses[call->at], host));
	if (r == 0)
		r = http1_write_header(&out, "Tailscale-Ingress-Src",
				       endpoint_format(&call->from, from));
	if (r == 0)
		r = http1_write_header(&out, "Tailscale-Ingress-Target", target);
	if (r == 0)
		r = http1_write_length(&out, 0);
	if (r == 0)
		r = http1_write_head_end(&out);
	if (r < 0)
		return r;
	n = send(call->fd, buffer_head(&out), out.length, MSG_NOSIGNAL);
	/* A new socket takes a small head whole. */
	return n < 0 ? -errno : (size_t)n == out.length ? 0 : -EIO;
}

/* accepted() - Give the connection away */
static void accepted(struct ingress_call *call, const uint8_t *early, size_t length)
{
	ingress_called *called = call->called;
	void *user = call->user;
	uint8_t copy[READ_SIZE];
	/* libuv lets go of it in the next round only: the caller gets a descriptor of its own. */
	int fd = fcntl(call->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0) {
		fail(call, INGRESS_UNREACHABLE, strerror(errno));
		return;
	}
	memcpy(copy, early, length);
	ingress_call_cancel(call);
	called(user, fd, copy, length, INGRESS_REFUSALS, "");
}

static void judge(struct ingress_call *call, const uint8_t *rest, size_t length)
{
	char text[64];
	int status = call->answer.head.status;

	if (status == 101) {
		accepted(call, rest, length);
		return;
	}
	snprintf(text, sizeof(text), "the node answered HTTP %d", status);
	fail(call, status == 403 || status == 404 ? INGRESS_DENIED : INGRESS_UNREACHABLE, text);
}

static void read_answer(struct ingress_call *call)
{
	uint8_t bytes[READ_SIZE];
	ssize_t n = recv(call->fd, bytes, sizeof(bytes), 0);
	size_t used;
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		fail(call, INGRESS_UNREACHABLE,
		     n < 0 ? strerror(errno) : "the node closed the connection");
		return;
	}
	call->received += (size_t)n;
	r = call->received > ANSWER_MAX ? -EMSGSIZE
					: http1_parse(&call->answer, bytes, (size_t)n, &used);
	if (r == HTTP1_HEAD)
		judge(call, bytes + used, (size_t)n - used);
	else if (r != HTTP1_MORE)
		fail(call, INGRESS_UNREACHABLE, "the node's PeerAPI speaks no HTTP");
}

/* #syscalls: getsockopt fcntl:F_DUPFD_CLOEXEC socket connect */
static void on_event(uv_poll_t *poll, int status, int events)
{
	struct ingress_call *call = poll->data;
	socklen_t length = sizeof(int);
	int error = 0;

	(void)events;
	if (call->over)
		return;
	if (call->connected) {
		read_answer(call);
		return;
	}
	/* libuv says that there is an error, and not which one. */
	if (getsockopt(call->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (error == 0 && status < 0)
		error = -status;
	if (error == 0)
		error = -send_request(call);
	if (error) {
		next(call, -error);
		return;
	}
	call->connected = true;
	loop_timer_at(call->timer, clock_boottime() + INGRESS_CALL_PATIENCE);
	uv_poll_start(&call->poll, UV_READABLE, on_event);
}

static int begin(struct ingress_call *call)
{
	const struct endpoint *to = &call->target.addresses[call->at];
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(to, &address);
	static const int on = 1;
	int r;

	if (size == 0)
		return -EINVAL;
	call->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (call->fd < 0)
		return -errno;
	(void)setsockopt(call->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(call->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (connect(call->fd, (struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS)
		return -errno;
	r = uv_poll_init(call->loop, &call->poll, call->fd);
	if (r < 0)
		return r;
	call->poll.data = call;
	call->watched = true;
	loop_timer_at(call->timer, clock_boottime() + (call->at == 0 && call->target.online
							       ? INGRESS_DIAL_PATIENCE
							       : INGRESS_DIAL_AGAIN));
	return uv_poll_start(&call->poll, UV_WRITABLE, on_event);
}

static void dial(struct ingress_call *call)
{
	int r;

	if (call->at >= call->target.address_count) {
		fail(call, INGRESS_UNREACHABLE,
		     call->trouble[0] ? call->trouble : "the node announces no PeerAPI");
		return;
	}
	r = begin(call);
	if (r < 0)
		next(call, r);
}

static void on_timer(void *user)
{
	struct ingress_call *call = user;

	if (call->connected)
		fail(call, INGRESS_UNREACHABLE, "the node did not answer in time");
	else if (call->watched)
		next(call, -ETIMEDOUT);
	else
		dial(call);
}

struct ingress_call *ingress_call_begin(uv_loop_t *loop, const struct ingress_target *target,
					const struct endpoint *from, const char *name,
					uint16_t port, ingress_called *called, void *user)
{
	struct ingress_call *call = calloc(1, sizeof(*call));

	if (!call || loop_timer_create(loop, on_timer, call, &call->timer) < 0) {
		free(call);
		return NULL;
	}
	call->loop = loop;
	call->target = *target;
	call->from = *from;
	snprintf(call->name, sizeof(call->name), "%s", name);
	call->port = port;
	call->called = called;
	call->user = user;
	call->fd = -1;
	http1_parser_init(&call->answer, true);
	loop_timer_soon(call->timer);
	return call;
}
