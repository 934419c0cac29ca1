/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/netlink.c - a datagram of kernel messages through every parser of the netlink room */
#include "netlink/classify.h"
#include "netlink/parse.h"

#include <linux/netlink.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct net_watch watch = {.ifindex = 2,
					       .table = 52,
					       .nft_table = "pillion",
					       .route_portid = 1,
					       .nft_portid = 1};
	struct cursor datagram = cursor_of(data, size);
	struct net_message message;

	while (net_message_next(&datagram, &message)) {
		char table[64], comment[64];
		struct net_address address;
		struct net_route route;
		struct net_rule rule;
		struct net_link link;
		struct net_ack ack;

		(void)net_parse_ack(message.body, message.flags, &ack);
		(void)net_parse_link(message.body, &link);
		if (net_parse_address(message.body, &address) == 0 &&
		    address.prefix.bits > address_bits(&address.prefix.address))
			__builtin_trap();
		if (net_parse_route(message.body, &route) == 0 &&
		    route.prefix.bits > address_bits(&route.prefix.address))
			__builtin_trap();
		(void)net_parse_rule(message.body, &rule);
		if (net_parse_nft_rule(message.body, table, comment) == 0 &&
		    (table[63] != 0 || comment[63] != 0))
			__builtin_trap();
	}
	(void)net_classify(data, size, NETLINK_ROUTE, &watch);
	(void)net_classify(data, size, NETLINK_NETFILTER, &watch);
	return 0;
}
