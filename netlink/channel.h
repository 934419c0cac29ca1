/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/channel.h - requests to the kernel and their answers
 *
 * A channel is one netlink socket. A transaction is synchronous: the kernel answers
 * at once, and a timeout guards against one that doesn't. After a failed receive
 * (ENOBUFS: answers lost) the socket is closed and the next request opens another, so
 * that a late answer to one request is never read as the answer to the next. The receiver
 * is our own: libnl's reports ENOBUFS as lack of memory.
 */
#pragma once

#include "base/error.h"
#include "netlink/objects.h"

struct mnl_socket;

struct net_channel {
	struct mnl_socket *socket; /* NULL: opened by the next request */
	int bus;                   /* NETLINK_ROUTE, NETLINK_NETFILTER */
	uint32_t portid;
	uint32_t sequence; /* of the last request */
};

struct netlink {
	struct net_channel route;
	struct net_channel nft;   /* opened when first needed; may not exist in this kernel */
	uint32_t mark;            /* of our sockets */
	struct prefix_set ranges; /* of tailnet addresses */
};

/* Room for one answer; a dump's datagrams are never larger than the receiver's buffer. */
#define NET_RECEIVE_SIZE 16384

/* Requests of one batch, so that their acknowledgements fit the socket's receive buffer. */
#define NET_BATCH_MESSAGES 64
#define NET_BATCH_SIZE     8192
/* No request of ours is longer. */
#define NET_REQUEST_SIZE   256

/** net_channel_open() - Open and bind on @bus; strict checking where the kernel has it */
int net_channel_open(struct net_channel *channel, int bus);
void net_channel_close(struct net_channel *channel);

/* The body of NLMSG_ERROR; code 0 is an acknowledgement. */
struct net_ack {
	int code;       /* negative errno */
	char text[128]; /* the kernel's explanation; empty without one */
};

/** net_ack_parse() - Read a message NLMSG_ERROR; 0, or -EBADMSG */
int net_ack_parse(const struct nlmsghdr *message, struct net_ack *ret);

/** net_message_fn - Takes one message of an answer; a negative errno ends the walk */
typedef int net_message_fn(struct nlmsghdr *message, void *context);

/**
 * net_channel_ask() - Send one request (a dump, or a single one) and walk its answer
 * @request: complete but for its sequence number, which is set here
 * @each:    called for each message that is an answer to it
 * @err:     the kernel's text, if any
 *
 * Return: 0; -EINTR when a change interrupted the dump (the walked objects may be
 * inconsistent); -ENOBUFS when answers were lost; the kernel's negative errno; -EBADMSG
 */
int net_channel_ask(struct net_channel *channel, struct nlmsghdr *request, net_message_fn *each,
		    void *context, struct error *err);

/** net_object_fn - Takes one object of an answer; a negative errno ends the walk */
typedef int net_object_fn(const struct net_object *object, void *context);

/* Families that the kernel lacks, as bits. */
#define NET_LACKS_IPV4 (1u << 0)
#define NET_LACKS_IPV6 (1u << 1)

/**
 * net_dump() - Walk the objects of @kind that the kernel has, IPv4 first, then IPv6
 * @ifindex, @table, @protocol: of these alone (addresses, routes; links by @ifindex); 0: of any
 * @each:      kernels that can't filter give more, so @each looks again
 * @ret_lacks: bits of NET_LACKS_…, or NULL
 *
 * A family that the kernel lacks is empty, and so is a table that doesn't exist.
 *
 * Return: 0; -ENODEV: there is no link @ifindex; others as net_channel_ask(), with @err set
 */
int net_dump(struct net_channel *channel, enum net_kind kind, uint32_t ifindex, uint32_t table,
	     uint8_t protocol, net_object_fn *each, void *context, unsigned int *ret_lacks,
	     struct error *err);

/**
 * net_look_up() - Ask how the kernel would route a packet to @to of a socket with @mark
 * @ret: untouched where there is no route
 *
 * Return: 0, also where there is no route; negative errno when the socket failed
 */
int net_look_up(struct net_channel *channel, const struct address *to, uint32_t mark,
		struct net_route *ret);

/**
 * net_channel_commit() - Send a transaction (nftables) and wait for its outcome
 * @data:         all of it, @length bytes, with sequence numbers from @first to @acknowledged, and
 *                NLM_F_ACK on the last
 *
 * Return: 0 when it was carried out; the kernel's negative errno when none of it was
 */
int net_channel_commit(struct net_channel *channel, const void *data, size_t length, uint32_t first,
		       uint32_t acknowledged, struct error *err);

/* Requests sent together, each acknowledged by itself. */
struct net_batch {
	struct net_channel *channel;
	size_t used;
	unsigned int count, acknowledged;
	uint32_t first; /* sequence number of the first */
	uint32_t tags[NET_BATCH_MESSAGES];
	_Alignas(struct nlmsghdr) uint8_t data[NET_BATCH_SIZE];
	/* Called once for each request with its tag, in order. */
	void (*on_ack)(void *context, uint32_t tag, const struct net_ack *ack);
	void *context;
};

/**
 * net_batch_add() - Add a request, which is freed; a full batch is sent
 * @request: NULL is out of memory
 * @tag:     handed to on_ack()
 *
 * Return: 0, or negative errno when sending or receiving failed
 */
int net_batch_add(struct net_batch *batch, struct nl_msg *request, uint32_t tag);

/** net_batch_flush() - Send the collected requests and hand out all acknowledgements */
int net_batch_flush(struct net_batch *batch);
