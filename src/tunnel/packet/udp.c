/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/udp.c - a bound UDP socket on the loop
 *
 * Theory of operation
 *
 * Each wake-up reads at most UDP_BATCHES batches of UDP_BATCH datagrams, so that a
 * flood on one socket can't keep the loop from its timers. Buffers hold the largest
 * possible datagram: an earlier engine may have left datagrams that UDP_GRO merged, which
 * the kernel delivers whole. Unused pages are never touched.
 */
#include "tunnel/packet/udp.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define UDP_BATCH    16u
#define UDP_BATCHES  8u
#define UDP_DATAGRAM 65536u

struct udp_socket {
	uv_poll_t poll;
	int fd;
	udp_receive_fn receive;
	void *ctx;
};

/* One set of buffers serves all sockets: a batch is consumed before the next is read. */
static struct {
	uint8_t data[UDP_BATCH][UDP_DATAGRAM];
	struct sockaddr_storage from[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct mmsghdr messages[UDP_BATCH];
} batch;

/*
 * read_batch() - Read the waiting datagrams, at most UDP_BATCH
 *
 * #syscalls: recvmmsg
 * Return: their number; 0: none, or the socket reported an error of an earlier send
 * (ECONNREFUSED, for example), after which the loop calls again
 */
static unsigned int read_batch(struct udp_socket *socket)
{
	int count;

	for (unsigned int i = 0; i < UDP_BATCH; i++) {
		batch.iov[i] = (struct iovec){batch.data[i], UDP_DATAGRAM};
		batch.messages[i].msg_hdr = (struct msghdr){
			.msg_name = &batch.from[i],
			.msg_namelen = sizeof(batch.from[i]),
			.msg_iov = &batch.iov[i],
			.msg_iovlen = 1,
		};
	}
	count = recvmmsg(socket->fd, batch.messages, UDP_BATCH, MSG_DONTWAIT, NULL);
	return count < 0 ? 0 : (unsigned int)count;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct udp_socket *socket = container_of(poll, struct udp_socket, poll);

	(void)status;
	(void)events;
	for (unsigned int round = 0; round < UDP_BATCHES; round++) {
		unsigned int count = read_batch(socket);

		for (unsigned int i = 0; i < count; i++) {
			const struct msghdr *header = &batch.messages[i].msg_hdr;
			struct endpoint from;

			if (header->msg_flags & MSG_TRUNC || batch.messages[i].msg_len == 0)
				continue;
			if (endpoint_from_sockaddr(header->msg_name, &from) < 0)
				continue;
			socket->receive(socket->ctx, &from, batch.data[i],
					batch.messages[i].msg_len);
		}
		if (count < UDP_BATCH)
			return;
	}
}

int udp_socket_new(uv_loop_t *loop, int fd, udp_receive_fn receive, void *ctx,
		   struct udp_socket **ret)
{
	struct udp_socket *socket = calloc(1, sizeof(*socket));
	int r;

	if (!socket)
		return -ENOMEM;
	socket->fd = fd;
	socket->receive = receive;
	socket->ctx = ctx;
	r = uv_poll_init(loop, &socket->poll, fd);
	if (r < 0) {
		free(socket);
		return r;
	}
	uv_poll_start(&socket->poll, UV_READABLE, on_readable);
	*ret = socket;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct udp_socket, poll));
}

void udp_socket_free(struct udp_socket *socket)
{
	if (!socket)
		return;
	uv_poll_stop(&socket->poll);
	uv_close((uv_handle_t *)&socket->poll, on_closed);
}

/* #syscalls: sendto */
int udp_socket_send(struct udp_socket *socket, const struct endpoint *to, const void *data,
		    size_t length)
{
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(to, &address);
	ssize_t sent;

	do {
		sent = sendto(socket->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL,
			      (const struct sockaddr *)&address, size);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}
