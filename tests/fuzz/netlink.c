/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/netlink.c - a datagram of kernel messages through every parser of the netlink room */
#include "netlink/channel.h"
#include "netlink/monitor.h"
#include "netlink/nft.h"

#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(struct nlmsghdr *message)
{
	char table[64], comment[64];
	struct net_object object;
	struct net_ack ack;

	(void)net_ack_parse(message, &ack);
	if (net_parse(message, &object) == 0) {
		if (object.kind == NET_ADDRESS &&
		    object.address.prefix.bits > address_bits(&object.address.prefix.address))
			__builtin_trap();
		if (object.kind == NET_ROUTE &&
		    object.route.prefix.bits > address_bits(&object.route.prefix.address))
			__builtin_trap();
	}
	if (net_nft_parse_rule(message, table, comment) == 0 &&
	    (table[63] != 0 || comment[63] != 0))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct net_watch watch = {.ifindex = 2,
					       .table = 52,
					       .nft_table = "pillion",
					       .route_portid = 1,
					       .nft_portid = 1};
	struct nlmsghdr *message = malloc(size + 1); /* aligned as the receiver's buffer is */
	struct nlmsghdr *next = message;
	int left = (int)size;

	if (!message)
		return 0;
	memcpy(message, data, size);
	for (; nlmsg_ok(next, left); next = nlmsg_next(next, &left))
		parse(next);
	(void)net_classify(message, size, NETLINK_ROUTE, &watch);
	(void)net_classify(message, size, NETLINK_NETFILTER, &watch);
	free(message);
	return 0;
}
