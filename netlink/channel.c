/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/channel.c - requests to the kernel and their answers */
#include "netlink/channel.h"

#include "base/cleanup.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>
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

static int send_bytes(struct net_channel *channel, const void *data, size_t length,
		      struct error *err)
{
	int r = channel->socket ? 0 : net_channel_open(channel, channel->bus);

	if (r == 0 && mnl_socket_sendto(channel->socket, data, length) < 0)
		r = replace(channel, -errno);
	return r < 0 ? error_set_errno(err, r, "send to the kernel") : 0;
}

/*
 * walk() - Receive messages until @each returns 1 (this was the last) or negative errno
 *
 * Return: 0 or negative errno; a receive that failed replaces the socket
 */
static int walk(struct net_channel *channel, net_message_fn *each, void *context, struct error *err)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NET_RECEIVE_SIZE];

	for (;;) {
		struct nlmsghdr *message = (struct nlmsghdr *)(void *)buffer;
		int left = (int)receive(channel, buffer);

		if (left < 0)
			return error_set_errno(err, left, "receive from the kernel");
		for (; nlmsg_ok(message, left); message = nlmsg_next(message, &left)) {
			int r = each(message, context);

			if (r != 0)
				return r < 0 ? r : 0;
		}
		if (left > 0)
			return error_set_errno(err, replace(channel, -EBADMSG),
					       "the kernel's answer");
	}
}

int net_ack_parse(const struct nlmsghdr *message, struct net_ack *ret)
{
	const struct nlmsgerr *body = nlmsg_data(message);
	size_t used = sizeof(*body);
	struct net_ack ack = {0};
	struct nlattr *text;

	if (!nlmsg_valid_hdr(message, sizeof(*body)) || body->error > 0 || body->error < -4095)
		return -EBADMSG;
	ack.code = body->error;
	/* Without NLM_F_CAPPED the whole request stands before the attributes. */
	if (!(message->nlmsg_flags & NLM_F_CAPPED) && body->msg.nlmsg_len > sizeof(body->msg))
		used += NLMSG_ALIGN((size_t)body->msg.nlmsg_len) - sizeof(body->msg);
	if (message->nlmsg_flags & NLM_F_ACK_TLVS && used <= (size_t)nlmsg_datalen(message)) {
		text = nla_find(nlmsg_attrdata(message, (int)used),
				nlmsg_attrlen(message, (int)used), NLMSGERR_ATTR_MSG);
		if (text)
			nla_strlcpy(ack.text, text, sizeof(ack.text));
	}
	*ret = ack;
	return 0;
}

/* take_end() - NLMSG_ERROR or NLMSG_DONE: the code in it */
static int take_end(struct net_channel *channel, const struct nlmsghdr *message, struct error *err)
{
	struct net_ack ack = {0};

	if (message->nlmsg_type == NLMSG_DONE) {
		if (nlmsg_valid_hdr(message, sizeof(int32_t)))
			ack.code = *(const int32_t *)nlmsg_data(message);
		if (ack.code > 0)
			ack.code = replace(channel, -EBADMSG);
	} else if (net_ack_parse(message, &ack) < 0) {
		ack.code = replace(channel, -EBADMSG);
	}
	if (ack.code < 0 && ack.text[0])
		return error_set(err, ack.code, "%s", ack.text);
	return ack.code < 0 ? error_set_errno(err, ack.code, "the kernel's answer") : 0;
}

struct asking {
	struct net_channel *channel;
	uint32_t sequence;
	bool dump, interrupted;
	net_message_fn *each;
	void *context;
	int result; /* of @each, the first that failed */
	struct error *err;
};

static int on_answer(struct nlmsghdr *message, void *context)
{
	struct asking *asking = context;
	int r = 0;

	if (message->nlmsg_seq != asking->sequence)
		return 0;
	asking->interrupted |= (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
		r = take_end(asking->channel, message, asking->err);
		return r < 0 ? r : 1;
	}
	/* The walk goes on after a failure: the socket must be empty at its end. */
	if (asking->result == 0)
		asking->result = asking->each(message, asking->context);
	return asking->dump ? 0 : 1;
}

int net_channel_ask(struct net_channel *channel, struct nlmsghdr *request, net_message_fn *each,
		    void *context, struct error *err)
{
	struct asking asking = {
		.channel = channel,
		.sequence = request->nlmsg_seq = ++channel->sequence,
		.dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP,
		.each = each,
		.context = context,
		.err = err,
	};
	int r = send_bytes(channel, request, request->nlmsg_len, err);

	if (r == 0)
		r = walk(channel, on_answer, &asking, err);
	if (r < 0)
		return r;
	r = asking.result < 0 ? asking.result : asking.interrupted ? -EINTR : 0;
	return r < 0 ? error_set_errno(err, r, "the kernel's answer") : 0;
}

struct objects {
	enum net_kind kind;
	net_object_fn *each;
	void *context;
};

/*
 * take_object() - Ignores other messages, and records of families that we don't know
 *
 * A dump also has objects of other programs: one that libnl can't read must not end it.
 */
static int take_object(struct nlmsghdr *message, void *context)
{
	const struct objects *objects = context;
	struct net_object object;
	int r = net_parse(message, &object);

	if (r == -EAFNOSUPPORT || (r == 0 && object.kind != objects->kind) ||
	    (r == -EOPNOTSUPP && message->nlmsg_flags & NLM_F_MULTI))
		return 0;
	return r < 0 ? r : objects->each(&object, objects->context);
}

/* ask_objects() - Send @request, which is freed */
static int ask_objects(struct net_channel *channel, struct nl_msg *request, struct objects *objects,
		       struct error *err)
{
	int r = -ENOMEM;

	if (!request)
		return error_set_errno(err, r, "ask the kernel");
	r = net_channel_ask(channel, nlmsg_hdr(request), take_object, objects, err);
	nlmsg_free(request);
	return r;
}

int net_dump(struct net_channel *channel, enum net_kind kind, uint32_t ifindex, uint32_t table,
	     uint8_t protocol, net_object_fn *each, void *context, unsigned int *ret_lacks,
	     struct error *err)
{
	static const char *const names[] = {
		[NET_ADDRESS] = "addresses", [NET_ROUTE] = "routes", [NET_RULE] = "rules"};
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct objects objects = {.kind = kind, .each = each, .context = context};
	unsigned int lacks = 0;

	if (kind == NET_LINK)
		return ask_objects(channel, net_request_dump(kind, 0, ifindex, 0, 0), &objects,
				   err);
	for (unsigned int i = 0; i < ARRAY_SIZE(families); i++) {
		struct error cause = {0};
		int r = ask_objects(channel,
				    net_request_dump(kind, families[i], ifindex, table, protocol),
				    &objects, &cause);

		/* The link has nothing of this family, or went; a table is made with its first
		 * route. */
		if (kind != NET_RULE && (r == -ENODEV || (r == -ENOENT && kind == NET_ROUTE)))
			continue;
		if (r == -EAFNOSUPPORT || r == -EOPNOTSUPP)
			lacks |= 1u << i;
		else if (r < 0)
			return error_set(err, r, "dump %s: %s", names[kind], cause.text);
	}
	if (ret_lacks)
		*ret_lacks = lacks;
	return 0;
}

static int take_route(const struct net_object *object, void *context)
{
	*(struct net_route *)context = object->route;
	return 0;
}

int net_look_up(struct net_channel *channel, const struct address *to, uint32_t mark,
		struct net_route *ret)
{
	struct objects objects = {.kind = NET_ROUTE, .each = take_route, .context = ret};
	int r = ask_objects(channel, net_request_lookup(to, mark), &objects, NULL);

	/* No route, for whatever reason, is an answer; these are failures of the socket. */
	return r == -ENOBUFS || r == -ETIMEDOUT || r == -ENOTCONN || r == -ENOMEM ? r : 0;
}

struct committing {
	struct net_channel *channel;
	uint32_t first, acknowledged;
	struct error *err;
};

static int on_commit(struct nlmsghdr *message, void *context)
{
	struct committing *commit = context;
	int r;

	if (message->nlmsg_type != NLMSG_ERROR ||
	    message->nlmsg_seq - commit->first > commit->acknowledged - commit->first)
		return 0;
	r = take_end(commit->channel, message, commit->err);
	/* After one error there may be more, which the next request must not find. */
	if (r < 0)
		return replace(commit->channel, r);
	return message->nlmsg_seq == commit->acknowledged ? 1 : 0;
}

int net_channel_commit(struct net_channel *channel, const void *data, size_t length, uint32_t first,
		       uint32_t acknowledged, struct error *err)
{
	struct committing commit = {channel, first, acknowledged, err};
	int r = send_bytes(channel, data, length, err);

	return r < 0 ? r : walk(channel, on_commit, &commit, err);
}

int net_batch_add(struct net_batch *batch, struct nl_msg *request, uint32_t tag)
{
	struct nlmsghdr *header = request ? nlmsg_hdr(request) : NULL;

	if (!header)
		return -ENOMEM;
	if (header->nlmsg_len > NET_REQUEST_SIZE) {
		nlmsg_free(request);
		return -EMSGSIZE;
	}
	header->nlmsg_seq = ++batch->channel->sequence;
	header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	if (batch->count == 0)
		batch->first = header->nlmsg_seq;
	batch->tags[batch->count++] = tag;
	memcpy(batch->data + batch->used, header, header->nlmsg_len);
	batch->used += NLMSG_ALIGN(header->nlmsg_len);
	nlmsg_free(request);
	if (batch->count < NET_BATCH_MESSAGES && batch->used + NET_REQUEST_SIZE <= NET_BATCH_SIZE)
		return 0;
	return net_batch_flush(batch);
}

static int on_batch_ack(struct nlmsghdr *message, void *context)
{
	struct net_batch *batch = context;
	struct net_ack ack;

	if (message->nlmsg_type != NLMSG_ERROR ||
	    message->nlmsg_seq != batch->first + batch->acknowledged)
		return 0;
	if (net_ack_parse(message, &ack) < 0)
		return replace(batch->channel, -EBADMSG);
	batch->on_ack(batch->context, batch->tags[batch->acknowledged++], &ack);
	return batch->acknowledged == batch->count ? 1 : 0;
}

int net_batch_flush(struct net_batch *batch)
{
	int r = 0;

	if (batch->count > 0) {
		batch->acknowledged = 0;
		r = send_bytes(batch->channel, batch->data, batch->used, NULL);
		if (r == 0)
			r = walk(batch->channel, on_batch_ack, batch, NULL);
	}
	batch->count = 0;
	batch->used = 0;
	return r;
}
