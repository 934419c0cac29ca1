/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/channel.h - requests to the kernel and their answers
 *
 * A channel is one netlink socket. A transaction is synchronous: the kernel answers
 * at once, and a timeout guards against one that doesn't. After a failed receive
 * (ENOBUFS: answers lost) the socket is closed and the next request opens another, so
 * that no late answer is ever taken for one to it.
 */
#pragma once

#include "base/error.h"
#include "netlink/parse.h"

#include <linux/netlink.h>

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

/** net_record_fn - Takes one message of an answer; a negative errno ends the walk */
typedef int net_record_fn(const struct net_message *message, void *context);

/**
 * net_channel_ask() - Send one request (a dump, or a single one) and walk its answer
 * @request: complete but for its sequence number, which is set here
 * @each:    called for each message that is an answer to it
 * @err:     the kernel's text, if any
 *
 * Return: 0; -EINTR when the dump was interrupted by a change (what was walked may be
 * inconsistent); -ENOBUFS when answers were lost; the kernel's negative errno; -EBADMSG
 */
int net_channel_ask(struct net_channel *channel, struct nlmsghdr *request, net_record_fn *each,
		    void *context, struct error *err);

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
	unsigned int count;
	uint32_t first; /* sequence number of the first */
	uint32_t tags[NET_BATCH_MESSAGES];
	_Alignas(struct nlmsghdr) uint8_t data[NET_BATCH_SIZE];
	/* Called once for each request with its tag, in order. */
	void (*on_ack)(void *context, uint32_t tag, const struct net_ack *ack);
	void *context;
};

/**
 * net_batch_request() - Room for one more request; the caller fills it and calls net_batch_add()
 *
 * Return: NET_REQUEST_SIZE zeroed bytes
 */
void *net_batch_request(struct net_batch *batch);

/**
 * net_batch_add() - Complete @request (its header without sequence number); sends a full batch
 * @tag: handed to on_ack()
 *
 * Return: 0, or negative errno when sending or receiving failed
 */
int net_batch_add(struct net_batch *batch, struct nlmsghdr *request, uint32_t tag);

/** net_batch_flush() - Send what is there and hand out all acknowledgements */
int net_batch_flush(struct net_batch *batch);
