/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/channel.c - requests to the kernel and their answers */
#include "netlink/channel.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/time.h>

/* The kernel answers within the system call; this only keeps a broken one from holding us. */
#define ANSWER_TIMEOUT_S 5

static int set_up(struct mnl_socket *socket)
{
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	int fd = mnl_socket_get_fd(socket);
	int on = 1;

	/* Each is a help that old kernels lack: answers are filtered and checked here again. */
	(void)mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	return 0;
}

int net_channel_open(struct net_channel *channel, int bus)
{
	struct mnl_socket *socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
	int r;

	if (!socket)
		return -errno;
	r = set_up(socket);
	if (r < 0) {
		mnl_socket_close(socket);
		return r;
	}
	channel->socket = socket;
	channel->bus = bus;
	channel->portid = mnl_socket_get_portid(socket);
	return 0;
}

void net_channel_close(struct net_channel *channel)
{
	if (channel->socket)
		mnl_socket_close(channel->socket);
	channel->socket = NULL;
	channel->portid = 0;
}

/* replace() - Answers may be lost or late: the next request gets a new socket. Returns @code */
static int replace(struct net_channel *channel, int code)
{
	net_channel_close(channel);
	return code;
}

/* receive() - One datagram; its length, or negative errno with the socket replaced */
static ssize_t receive(struct net_channel *channel, uint8_t buffer[static NET_RECEIVE_SIZE])
{
	struct sockaddr_nl from = {0};
	struct iovec part = {.iov_base = buffer, .iov_len = NET_RECEIVE_SIZE};
	struct msghdr message = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &part,
		.msg_iovlen = 1,
	};
	ssize_t length;

	do {
		length = recvmsg(mnl_socket_get_fd(channel->socket), &message, 0);
	} while (length < 0 && errno == EINTR);
	if (length < 0)
		return replace(channel, errno == EAGAIN ? -ETIMEDOUT : -errno);
	if (message.msg_flags & MSG_TRUNC)
		return replace(channel, -EMSGSIZE);
	if (from.nl_pid != 0) /* another process may send to us; only the kernel is believed */
		return 0;
	return length;
}

static int send_bytes(struct net_channel *channel, const void *data, size_t length)
{
	int r = channel->socket ? 0 : net_channel_open(channel, channel->bus);

	if (r < 0)
		return r;
	if (mnl_socket_sendto(channel->socket, data, length) < 0)
		return replace(channel, -errno);
	return 0;
}

/* outcome() - 0, or @code with words to it */
static int outcome(int code, struct error *err)
{
	return code < 0 ? error_set_errno(err, code, "the kernel's answer") : 0;
}

/* take_end() - NLMSG_ERROR or NLMSG_DONE: the code in it */
static int take_end(struct net_channel *channel, const struct net_message *message,
		    struct error *err)
{
	struct cursor body = message->body;
	struct net_ack ack = {0};
	int32_t code = 0;

	if (message->type == NLMSG_DONE) {
		if (body.left >= sizeof(code))
			cursor_copy(&body, &code, sizeof(code));
		return outcome(code > 0 ? replace(channel, -EBADMSG) : code, err);
	}
	if (net_parse_ack(message->body, message->flags, &ack) < 0)
		return outcome(replace(channel, -EBADMSG), err);
	if (ack.code < 0 && ack.text[0])
		return error_set(err, ack.code, "%s", ack.text);
	return outcome(ack.code, err);
}

int net_channel_ask(struct net_channel *channel, struct nlmsghdr *request, net_record_fn *each,
		    void *context, struct error *err)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_RECEIVE_SIZE];
	bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	bool interrupted = false;
	int result = 0;
	int r;

	request->nlmsg_seq = ++channel->sequence;
	r = send_bytes(channel, request, request->nlmsg_len);
	if (r < 0)
		return error_set_errno(err, r, "send to the kernel");
	for (;;) {
		ssize_t length = receive(channel, buffer);
		struct net_message message;
		struct cursor datagram;

		if (length < 0)
			return error_set_errno(err, (int)length, "receive from the kernel");
		datagram = cursor_of(buffer, (size_t)length);
		while (net_message_next(&datagram, &message)) {
			if (message.sequence != request->nlmsg_seq)
				continue;
			interrupted |= (message.flags & NLM_F_DUMP_INTR) != 0;
			if (message.type == NLMSG_DONE || message.type == NLMSG_ERROR) {
				r = take_end(channel, &message, err);
				if (r < 0)
					return r;
				return outcome(result < 0 ? result : interrupted ? -EINTR : 0, err);
			}
			/* The walk goes on after a failure: the socket must be empty at its end. */
			if (result == 0)
				result = each(&message, context);
			if (!dump)
				return outcome(result, err);
		}
		if (!cursor_ok(&datagram))
			return outcome(replace(channel, -EBADMSG), err);
	}
}

int net_channel_commit(struct net_channel *channel, const void *data, size_t length, uint32_t first,
		       uint32_t acknowledged, struct error *err)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_RECEIVE_SIZE];
	int r = send_bytes(channel, data, length);

	if (r < 0)
		return error_set_errno(err, r, "send to the kernel");
	for (;;) {
		ssize_t received = receive(channel, buffer);
		struct net_message message;
		struct cursor datagram;

		if (received < 0)
			return error_set_errno(err, (int)received, "receive from the kernel");
		datagram = cursor_of(buffer, (size_t)received);
		while (net_message_next(&datagram, &message)) {
			if (message.type != NLMSG_ERROR ||
			    message.sequence - first > acknowledged - first)
				continue;
			r = take_end(channel, &message, err);
			/* After one error there may be more, which nobody needs. */
			if (r < 0)
				return replace(channel, r);
			if (message.sequence == acknowledged)
				return 0;
		}
		if (!cursor_ok(&datagram))
			return outcome(replace(channel, -EBADMSG), err);
	}
}

void *net_batch_request(struct net_batch *batch)
{
	void *request = batch->data + batch->used;

	memset(request, 0, NET_REQUEST_SIZE);
	return request;
}

int net_batch_add(struct net_batch *batch, struct nlmsghdr *request, uint32_t tag)
{
	request->nlmsg_seq = ++batch->channel->sequence;
	request->nlmsg_flags |= NLM_F_ACK;
	if (batch->count == 0)
		batch->first = request->nlmsg_seq;
	batch->tags[batch->count++] = tag;
	batch->used += NLMSG_ALIGN(request->nlmsg_len);
	if (batch->count < NET_BATCH_MESSAGES && batch->used + NET_REQUEST_SIZE <= NET_BATCH_SIZE)
		return 0;
	return net_batch_flush(batch);
}

int net_batch_flush(struct net_batch *batch)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_RECEIVE_SIZE];
	unsigned int acked = 0, count = batch->count;
	size_t used = batch->used;
	int r;

	batch->count = 0;
	batch->used = 0;
	if (count == 0)
		return 0;
	r = send_bytes(batch->channel, batch->data, used);
	if (r < 0)
		return r;
	while (acked < count) {
		ssize_t length = receive(batch->channel, buffer);
		struct net_message message;
		struct cursor datagram;

		if (length < 0)
			return (int)length;
		datagram = cursor_of(buffer, (size_t)length);
		while (acked < count && net_message_next(&datagram, &message)) {
			struct net_ack ack;

			if (message.type != NLMSG_ERROR || message.sequence != batch->first + acked)
				continue;
			if (net_parse_ack(message.body, message.flags, &ack) < 0)
				return replace(batch->channel, -EBADMSG);
			batch->on_ack(batch->context, batch->tags[acked++], &ack);
		}
		if (!cursor_ok(&datagram))
			return replace(batch->channel, -EBADMSG);
	}
	return 0;
}
