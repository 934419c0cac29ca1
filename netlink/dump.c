/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/dump.c - walk what the kernel has, IPv4 first, then IPv6 */
#include "netlink/dump.h"

#include "base/cleanup.h"
#include "netlink/message.h"

#include <errno.h>
#include <linux/rtnetlink.h>

/* What is asked for, and who takes it. */
struct dump {
	const char *what;
	struct nlmsghdr *(*request)(const struct dump *dump, void *buffer, uint8_t family);
	bool (*is_empty)(int code); /* errors that mean "none"; NULL: there are no such */
	uint32_t table, ifindex;
	uint8_t protocol;
	net_record_fn *take; /* gives each message, parsed, to the one of these that is set */
	net_link_fn *link;
	net_address_fn *address;
	net_route_fn *route;
	net_rule_fn *rule;
	void *context;
};

/* parsed() - Other messages, and records of families that we don't know, are passed over */
static int parsed(int r)
{
	return r == -EAFNOSUPPORT ? 0 : r;
}

static int take_link(const struct net_message *message, void *context)
{
	const struct dump *dump = context;
	struct net_link link;
	int r = message->type == RTM_NEWLINK ? net_parse_link(message->body, &link) : -EAFNOSUPPORT;

	return r < 0 ? parsed(r) : dump->link(&link, dump->context);
}

static int take_address(const struct net_message *message, void *context)
{
	const struct dump *dump = context;
	struct net_address address;
	int r = message->type == RTM_NEWADDR ? net_parse_address(message->body, &address)
					     : -EAFNOSUPPORT;

	return r < 0 ? parsed(r) : dump->address(&address, dump->context);
}

static int take_route(const struct net_message *message, void *context)
{
	const struct dump *dump = context;
	struct net_route route;
	int r = message->type == RTM_NEWROUTE ? net_parse_route(message->body, &route)
					      : -EAFNOSUPPORT;

	return r < 0 ? parsed(r) : dump->route(&route, dump->context);
}

static int take_rule(const struct net_message *message, void *context)
{
	const struct dump *dump = context;
	struct net_rule rule;
	int r = message->type == RTM_NEWRULE ? net_parse_rule(message->body, &rule) : -EAFNOSUPPORT;

	return r < 0 ? parsed(r) : dump->rule(&rule, dump->context);
}

static struct nlmsghdr *ask_addresses(const struct dump *dump, void *buffer, uint8_t family)
{
	return net_message_dump_addresses(buffer, family, dump->ifindex);
}

static struct nlmsghdr *ask_routes(const struct dump *dump, void *buffer, uint8_t family)
{
	return net_message_dump_routes(buffer, family, dump->table, dump->protocol, dump->ifindex);
}

static struct nlmsghdr *ask_rules(const struct dump *dump, void *buffer, uint8_t family)
{
	(void)dump;
	return net_message_dump_rules(buffer, family);
}

/* The link has nothing of this family, or went meanwhile. */
static bool no_device(int code)
{
	return code == -ENODEV;
}

/* Besides, a table is made with its first route. */
static bool no_table(int code)
{
	return code == -ENOENT || code == -ENODEV;
}

/* walk() - Both families; @ret_lacks: those that the kernel knows nothing of */
static int walk(struct net_channel *channel, const struct dump *dump, unsigned int *ret_lacks,
		struct error *err)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};

	for (unsigned int i = 0; i < ARRAY_SIZE(families); i++) {
		_Alignas(struct nlmsghdr) uint8_t buffer[NET_REQUEST_SIZE] = {0};
		struct error cause = {0};
		int r = net_channel_ask(channel, dump->request(dump, buffer, families[i]),
					dump->take, (void *)(uintptr_t)dump, &cause);

		if (r == -EAFNOSUPPORT || r == -EOPNOTSUPP)
			*ret_lacks |= 1u << i;
		else if (r < 0 && !(dump->is_empty && dump->is_empty(r)))
			return error_set(err, r, "dump %s: %s", dump->what, cause.text);
	}
	return 0;
}

int net_dump_links(struct net_channel *channel, uint32_t ifindex, net_link_fn *each, void *context,
		   struct error *err)
{
	struct dump dump = {.link = each, .context = context};
	_Alignas(struct nlmsghdr) uint8_t request[NET_REQUEST_SIZE] = {0};

	return net_channel_ask(channel, net_message_get_link(request, ifindex), take_link, &dump,
			       err);
}

int net_dump_addresses(struct net_channel *channel, uint32_t ifindex, net_address_fn *each,
		       void *context, struct error *err)
{
	const struct dump dump = {
		.what = "addresses",
		.request = ask_addresses,
		.is_empty = no_device,
		.ifindex = ifindex,
		.take = take_address,
		.address = each,
		.context = context,
	};

	return walk(channel, &dump, &(unsigned int){0}, err);
}

int net_dump_routes(struct net_channel *channel, uint32_t table, uint8_t protocol, uint32_t ifindex,
		    net_route_fn *each, void *context, struct error *err)
{
	const struct dump dump = {
		.what = "routes",
		.request = ask_routes,
		.is_empty = no_table,
		.table = table,
		.protocol = protocol,
		.ifindex = ifindex,
		.take = take_route,
		.route = each,
		.context = context,
	};

	return walk(channel, &dump, &(unsigned int){0}, err);
}

int net_dump_rules(struct net_channel *channel, net_rule_fn *each, void *context,
		   unsigned int *ret_lacks, struct error *err)
{
	const struct dump dump = {
		.what = "rules",
		.request = ask_rules,
		.take = take_rule,
		.rule = each,
		.context = context,
	};
	unsigned int lacks = 0;
	int r = walk(channel, &dump, &lacks, err);

	if (r == 0 && ret_lacks)
		*ret_lacks = lacks;
	return r;
}
