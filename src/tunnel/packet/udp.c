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
 *
 * Datagrams that the full socket does not take wait, at most UDP_WAITING_BYTES, and later ones of a
 * batch wait behind them, so that no flow is reordered. The owner hears of it and stops making more,
 * until all are sent.
 */
#include "tunnel/packet/udp.h"

#include "base/cleanup.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define UDP_BATCH    16u
#define UDP_BATCHES  8u
#define UDP_DATAGRAM 65536u

/* Datagrams to one endpoint that wait for the socket; their bytes follow. */
struct train {
	struct train *next;
	struct endpoint to;
	size_t count, done;
	size_t bytes;
	struct iovec datagrams[];
};

struct udp_socket {
	uv_poll_t poll;
	int fd;
	struct train *waiting, **waiting_end;
	size_t waiting_bytes;
	bool segments; /* it takes UDP_SEGMENT */
	const struct udp_handler *handler;
	void *ctx;
};

union udp_control {
	uint8_t bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* One set of buffers serves all sockets: a batch is consumed before the next is read. */
static struct {
	uint8_t data[UDP_BATCH][UDP_DATAGRAM];
	struct sockaddr_storage from[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct mmsghdr messages[UDP_BATCH];
	union udp_control control[UDP_BATCH];
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
			.msg_control = &batch.control[i],
			.msg_controllen = sizeof(batch.control[i]),
		};
	}
	count = recvmmsg(socket->fd, batch.messages, UDP_BATCH, MSG_DONTWAIT, NULL);
	return count < 0 ? 0 : (unsigned int)count;
}

/* merged_size() - The length of the datagrams that UDP_GRO merged to @length bytes */
static size_t merged_size(struct msghdr *header, size_t length)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		int size;

		if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO ||
		    c->cmsg_len < CMSG_LEN(sizeof(size)))
			continue;
		memcpy(&size, CMSG_DATA(c), sizeof(size));
		if (size > 0 && (size_t)size < length)
			return (size_t)size;
	}
	return length;
}

static void handle_message(struct udp_socket *socket, unsigned int i)
{
	struct msghdr *header = &batch.messages[i].msg_hdr;
	size_t length = batch.messages[i].msg_len, size, at;
	struct endpoint from;

	/* Without its control data, the borders of the datagrams are unknown. */
	if (header->msg_flags & (MSG_TRUNC | MSG_CTRUNC) || length == 0 ||
	    endpoint_from_sockaddr(header->msg_name, &from) < 0)
		return;
	size = merged_size(header, length);
	for (at = 0; at < length; at += size)
		socket->handler->receive(socket->ctx, &from, batch.data[i] + at,
					 length - at < size ? length - at : size);
}

static void send_waiting(struct udp_socket *socket);

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct udp_socket *socket = container_of(poll, struct udp_socket, poll);

	(void)status;
	if (socket->waiting && events & UV_WRITABLE)
		send_waiting(socket);
	/* An error of the socket is cleared by a read; libuv reports it as both. */
	if (!(events & UV_READABLE) && status == 0)
		return;
	for (unsigned int round = 0; round < UDP_BATCHES; round++) {
		unsigned int count = read_batch(socket);

		for (unsigned int i = 0; i < count; i++)
			handle_message(socket, i);
		socket->handler->drained(socket->ctx);
		if (count < UDP_BATCH)
			return;
	}
}

/* set_offloads() - Ask the kernel. #syscalls: setsockopt getsockopt */
static void set_offloads(struct udp_socket *socket, const struct udp_offloads *offloads)
{
	socklen_t size = sizeof(int);
	int value = 0;

	/* Both ways: an earlier engine may have set it. A kernel without UDP_GRO refuses. */
	(void)setsockopt(socket->fd, SOL_UDP, UDP_GRO, &(int){offloads->merge}, sizeof(int));
	socket->segments = offloads->segment &&
			   getsockopt(socket->fd, SOL_UDP, UDP_SEGMENT, &value, &size) == 0;
}

int udp_socket_new(uv_loop_t *loop, int fd, const struct udp_offloads *offloads,
		   const struct udp_handler *handler, void *ctx, struct udp_socket **ret)
{
	struct udp_socket *socket = calloc(1, sizeof(*socket));
	int r;

	if (!socket)
		return -ENOMEM;
	socket->fd = fd;
	socket->handler = handler;
	socket->ctx = ctx;
	r = uv_poll_init(loop, &socket->poll, fd);
	if (r < 0) {
		free(socket);
		return r;
	}
	set_offloads(socket, offloads);
	socket->waiting_end = &socket->waiting;
	uv_poll_start(&socket->poll, UV_READABLE, on_event);
	*ret = socket;
	return 0;
}

static void free_first(struct udp_socket *socket)
{
	struct train *first = socket->waiting;

	socket->waiting = first->next;
	if (!socket->waiting)
		socket->waiting_end = &socket->waiting;
	socket->waiting_bytes -= first->bytes;
	free(first);
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
	while (socket->waiting)
		free_first(socket);
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

/* count_segments() - How many of the datagrams one UDP_SEGMENT takes: equal ones, and a shorter */
static size_t count_segments(const struct iovec *datagrams, size_t count)
{
	size_t segment = datagrams[0].iov_len, total = segment, n = 1;

	while (n < count && n < UDP_TRAIN_DATAGRAMS && datagrams[n].iov_len <= segment &&
	       total + datagrams[n].iov_len <= UDP_TRAIN_BYTES) {
		total += datagrams[n++].iov_len;
		if (datagrams[n - 1].iov_len < segment)
			break;
	}
	return n;
}

/* send_segments() - Datagrams of count_segments() in one call. #syscalls: sendmsg */
static int send_segments(const struct udp_socket *socket, struct sockaddr_storage *to,
			 socklen_t size, const struct iovec *datagrams, size_t count)
{
	union udp_control control = {0};
	struct msghdr message = {
		.msg_name = to,
		.msg_namelen = size,
		.msg_iov = (struct iovec *)(uintptr_t)datagrams,
		.msg_iovlen = count,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(uint16_t)),
	};
	const uint16_t segment = (uint16_t)datagrams[0].iov_len;
	struct cmsghdr *header = &control.align;
	ssize_t sent;

	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(header), &segment, sizeof(segment));
	do {
		sent = sendmsg(socket->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* needs_single() - Whether the kernel refused the segmentation, and so sent nothing */
static bool needs_single(struct udp_socket *socket, int error)
{
	/* EIO: the device has no checksum offload; the others: segments longer than its MTU. */
	if (error == -EIO)
		socket->segments = false;
	return error == -EIO || error == -EINVAL || error == -EMSGSIZE || error == -EOPNOTSUPP;
}

/*
 * send_some() - Send datagrams until the socket is full
 * @ret_error: the first other error; such a datagram counts as done
 *
 * Return: how many are done
 */
static size_t send_some(struct udp_socket *socket, const struct endpoint *to,
			const struct iovec *datagrams, size_t count, int *ret_error)
{
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(to, &address);
	size_t done = 0, single = 0;

	*ret_error = 0;
	while (done < count) {
		size_t n = 1;
		int r;

		if (socket->segments && !single)
			n = count_segments(datagrams + done, count - done);
		if (n > 1) {
			r = send_segments(socket, &address, size, datagrams + done, n);
			if (r < 0 && needs_single(socket, r)) {
				single = n;
				continue;
			}
		} else {
			r = udp_socket_send(socket, to, datagrams[done].iov_base,
					    datagrams[done].iov_len);
		}
		if (r == -EAGAIN)
			break;
		*ret_error = *ret_error ? *ret_error : r;
		done += n;
		single -= single ? 1 : 0;
	}
	return done;
}

/* keep() - Copy datagrams, to be sent when the socket takes them; -EAGAIN: too many wait */
static int keep(struct udp_socket *socket, const struct endpoint *to, const struct iovec *datagrams,
		size_t count)
{
	struct train *train;
	size_t bytes = 0;
	uint8_t *at;

	for (size_t i = 0; i < count; i++)
		bytes += datagrams[i].iov_len;
	if (bytes > UDP_WAITING_BYTES - socket->waiting_bytes)
		return -EAGAIN;
	train = malloc(sizeof(*train) + count * sizeof(*datagrams) + bytes);
	if (!train)
		return -EAGAIN;
	*train = (struct train){.to = *to, .count = count, .bytes = bytes};
	at = (uint8_t *)&train->datagrams[count];
	for (size_t i = 0; i < count; i++) {
		memcpy(at, datagrams[i].iov_base, datagrams[i].iov_len);
		train->datagrams[i] = (struct iovec){at, datagrams[i].iov_len};
		at += datagrams[i].iov_len;
	}
	if (!socket->waiting) {
		uv_poll_start(&socket->poll, UV_READABLE | UV_WRITABLE, on_event);
		socket->handler->full(socket->ctx);
	}
	*socket->waiting_end = train;
	socket->waiting_end = &train->next;
	socket->waiting_bytes += bytes;
	return 0;
}

/* send_waiting() - The socket takes datagrams again. Errors of a path are found by the next ones */
static void send_waiting(struct udp_socket *socket)
{
	while (socket->waiting) {
		struct train *first = socket->waiting;
		int error;

		first->done += send_some(socket, &first->to, first->datagrams + first->done,
					 first->count - first->done, &error);
		if (first->done < first->count)
			return;
		free_first(socket);
	}
	uv_poll_start(&socket->poll, UV_READABLE, on_event);
	socket->handler->writable(socket->ctx);
}

int udp_socket_send_all(struct udp_socket *socket, const struct endpoint *to,
			const struct iovec *datagrams, size_t count)
{
	size_t done = 0;
	int error = 0, r = 0;

	if (!socket->waiting)
		done = send_some(socket, to, datagrams, count, &error);
	if (done < count)
		r = keep(socket, to, datagrams + done, count - done);
	return error ? error : r;
}
