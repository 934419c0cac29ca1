/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/claim.c - other programs in this namespace: leftovers of crashed runs, rules before ours
 *
 * A network namespace outlives the containers in it, and a TUN link goes with the
 * process that held it, but rules do not. So rules of the known shape without a living
 * link are a crashed run's. Ours (by protocol number) are left standing, since the
 * next apply wants them; the official client's carry no protocol, and go.
 */
#include "base/cleanup.h"
#include "netlink/channel.h"
#include "netlink/netstate.h"
#include "netlink/nft.h"
#include "netlink/reconcile.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

/* Records kept of a dump: enough to decide; the next start cleans up the rest. */
#define KEPT     64
#define ATTEMPTS 5

struct claim {
	uint32_t table;
	const char *name;

	struct net_rule rules[KEPT]; /* of the known shape and for our table; ours with any mark */
	size_t rule_count;
	bool official;     /* one of @rules is the official client's */
	bool tunnel_rule;  /* a rule of any program leads to our table */
	bool other_tunnel; /* one leads to another table: the bypass rules may be its */

	bool marks_taken[256]; /* by mark >> 16: a rule of another program takes it */

	struct net_route routes[KEPT]; /* in our table; one for each link they lead to */
	size_t route_count;

	struct net_link tuns[KEPT]; /* TUN links with a carrier */
	size_t tun_count;
	char routed_to[IFNAMSIZ]; /* a link with a carrier to which a route of our table leads */
	bool tailnet_address;     /* one of @tuns has an address of a tailnet */
};

/* takes_mark() - Whether @rule of another program selects packets by a mark, and takes @mark */
static bool takes_mark(const struct net_rule *rule, uint32_t mark)
{
	bool system = rule->action == FR_ACT_TO_TBL &&
		      (rule->table == RT_TABLE_MAIN || rule->table == RT_TABLE_DEFAULT ||
		       rule->table == RT_TABLE_LOCAL);

	return rule->protocol != NET_ROUTE_PROTOCOL && rule->priority < NET_RULE_BYPASS_MAIN &&
	       !system && !rule->inverted && rule->mask != 0 &&
	       ((rule->mark ^ mark) & rule->mask) == 0;
}

/* choose_mark() - The official mark, or another where a rule of another program takes it */
static uint32_t choose_mark(const bool taken[static 256])
{
	/* 0x04, the official client's for forwarded packets, is not among them. */
	static const uint8_t choices[] = {0x08, 0x80, 0x40, 0x20, 0x10, 0x02, 0x01};

	for (size_t i = 0; i < ARRAY_SIZE(choices); i++)
		if (!taken[choices[i]])
			return (uint32_t)choices[i] << 16;
	return NET_BYPASS_MARK;
}

static int take_rule(const struct net_object *object, void *context)
{
	const struct net_rule *rule = &object->rule;
	struct claim *claim = context;

	for (uint32_t mark = 0; mark < ARRAY_SIZE(claim->marks_taken); mark++)
		claim->marks_taken[mark] |= takes_mark(rule, mark << 16);
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++) {
		bool tunnel = rule->priority == NET_RULE_TUNNEL;
		bool ours = rule->protocol == NET_ROUTE_PROTOCOL;
		struct net_rule shape =
			net_rule_of_ours(i, tunnel ? rule->table : claim->table, NET_BYPASS_MARK);

		shape.protocol = rule->protocol;
		if (ours && !tunnel)
			shape.mark = rule->mark; /* a run before may have chosen another */
		if (!net_rule_equal(rule, &shape))
			continue;
		if (tunnel && rule->table != claim->table) {
			claim->other_tunnel = true;
			continue;
		}
		claim->tunnel_rule |= tunnel;
		claim->official |= !ours;
		if ((!ours || !tunnel) && claim->rule_count < KEPT)
			claim->rules[claim->rule_count++] = *rule;
	}
	return 0;
}

static int take_route(const struct net_object *object, void *context)
{
	const struct net_route *route = &object->route;
	struct claim *claim = context;

	if (route->table != claim->table)
		return 0;
	for (size_t i = 0; route->type == RTN_UNICAST && i < claim->route_count; i++)
		if (claim->routes[i].oif == route->oif)
			return 0;
	if (claim->route_count < KEPT)
		claim->routes[claim->route_count++] = *route;
	return 0;
}

static int take_link(const struct net_object *object, void *context)
{
	const struct net_link *link = &object->link;
	struct claim *claim = context;

	if (!link->carrier)
		return 0;
	if (link->is_tun && claim->tun_count < KEPT)
		claim->tuns[claim->tun_count++] = *link;
	for (size_t i = 0; i < claim->route_count; i++)
		if (claim->routes[i].type == RTN_UNICAST && claim->routes[i].oif == link->ifindex)
			memcpy(claim->routed_to, link->name, sizeof(claim->routed_to));
	return 0;
}

static int take_address(const struct net_object *object, void *context)
{
	const struct net_address *address = &object->address;
	struct claim *claim = context;

	for (size_t i = 0; i < claim->tun_count; i++)
		if (claim->tuns[i].ifindex == address->ifindex &&
		    address_is_tailnet(&address->prefix.address))
			claim->tailnet_address = true;
	return 0;
}

/* look() - Fill @claim; a family that the kernel lacks is empty */
static int look(struct net_channel *channel, struct claim *claim, struct error *err)
{
	int r;

	*claim = (struct claim){.table = claim->table, .name = claim->name};
	r = net_dump(channel, NET_RULE, 0, 0, 0, take_rule, claim, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_ROUTE, 0, claim->table, 0, take_route, claim, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_LINK, 0, 0, 0, take_link, claim, NULL, err);
	if (r == 0 && claim->tun_count > 0)
		r = net_dump(channel, NET_ADDRESS, 0, 0, 0, take_address, claim, NULL, err);
	return r;
}

#define REMEDY_BOTH "end it, or give us a table and a link of our own: --table 53 --tun tailscale1"

/* refuse_living() - -EBUSY when a running program has our table or our link's name */
static int refuse_living(const struct claim *claim, struct error *err)
{
	for (size_t i = 0; i < claim->tun_count; i++) {
		const char *name = claim->tuns[i].name;

		if (strcmp(name, claim->name) == 0)
			return error_set(
				err, -EBUSY,
				"another tailscaled or pillion runs in this network namespace "
				"and has the link %s: " REMEDY_BOTH,
				name);
		if (claim->tunnel_rule && (strncmp(name, "tailscale", strlen("tailscale")) == 0 ||
					   claim->tailnet_address))
			return error_set(
				err, -EBUSY,
				"another tailscaled or pillion runs in this network namespace: "
				"its rules lead to routing table %u, and its link is "
				"%s: " REMEDY_BOTH,
				claim->table, name);
	}
	if (claim->routed_to[0])
		return error_set(err, -EBUSY,
				 "routing table %u is in use, its routes lead to %s: " REMEDY_BOTH,
				 claim->table, claim->routed_to);
	return 0;
}

static void on_ack(void *context, uint32_t tag, const struct net_ack *ack)
{
	unsigned int *removed = context;

	(void)tag; /* what vanished meanwhile needs no removal */
	*removed += ack->code == 0;
}

/* remove_dead() - Rules without our protocol number or @mark, and routes that lead nowhere */
static int remove_dead(struct net_channel *channel, const struct claim *claim, uint32_t mark,
		       unsigned int *ret_removed)
{
	struct net_batch batch = {.channel = channel, .on_ack = on_ack, .context = ret_removed};
	int r = 0;

	for (size_t i = 0; r == 0 && i < claim->rule_count; i++) {
		const struct net_rule *rule = &claim->rules[i];

		if (rule->protocol == NET_ROUTE_PROTOCOL && rule->mark == mark)
			continue;
		if (rule->priority == NET_RULE_TUNNEL || !claim->other_tunnel)
			r = net_batch_add(&batch, net_request_rule(RTM_DELRULE, rule), 0);
	}
	for (size_t i = 0; r == 0 && claim->tunnel_rule && i < claim->route_count; i++)
		if (claim->routes[i].type != RTN_UNICAST)
			r = net_batch_add(&batch,
					  net_request_route(RTM_DELROUTE, &claim->routes[i]), 0);
	return r < 0 ? r : net_batch_flush(&batch);
}

int netlink_claim(struct netlink *nl, uint32_t table, const char *name, unsigned int *ret_removed,
		  struct error *err)
{
	struct claim claim = {.table = table, .name = name};
	unsigned int removed = 0;
	struct error cause = {0};
	int attempts = 0;
	int r;

	do {
		r = look(&nl->route, &claim, &cause);
	} while ((r == -EINTR || r == -ENOBUFS) && ++attempts < ATTEMPTS);
	if (r < 0)
		return error_set(err, r, "look for another tailscaled: %s", cause.text);
	r = refuse_living(&claim, err);
	if (r < 0)
		return r;
	nl->mark = choose_mark(claim.marks_taken);
	r = remove_dead(&nl->route, &claim, nl->mark, &removed);
	if (r < 0)
		return error_set_errno(err, r, "remove what a crashed run left");
	if (claim.official && table == NET_TABLE_DEFAULT)
		(void)net_nft_flush_official(&nl->nft);
	*ret_removed = removed;
	return 0;
}

/* What rules of other programs do to our packets, once our state stands */

#define RULES_MAX 64 /* of others that stand before ours, and are looked at */

struct before {
	struct net_rule rules[RULES_MAX];
	size_t count;
};

static int take_before(const struct net_object *object, void *context)
{
	const struct net_rule *rule = &object->rule;
	struct before *before = context;

	if (rule->protocol != NET_ROUTE_PROTOCOL && rule->priority < NET_RULE_TUNNEL &&
	    rule->table != RT_TABLE_LOCAL && before->count < RULES_MAX)
		before->rules[before->count++] = *rule;
	return 0;
}

static const struct prefix *first_route(const struct net_wanted *wanted, enum address_family family)
{
	for (size_t i = 0; i < wanted->routes.count; i++)
		if (wanted->routes.list[i].address.family == family &&
		    wanted->routes.list[i].bits > 1)
			return &wanted->routes.list[i];
	return NULL;
}

/* takes_unmarked() - Whether the mark that @rule selects by, if any, leaves the app's packets to it
 */
static bool takes_unmarked(const struct net_rule *rule)
{
	return rule->mask == 0 || (rule->mark & rule->mask) == 0 || rule->inverted;
}

/* taker() - Of the rules before ours, the one that leads where @answer says, or nowhere */
static const struct net_rule *taker(const struct before *before, enum address_family family,
				    const struct net_route *answer)
{
	for (size_t i = 0; i < before->count; i++) {
		const struct net_rule *rule = &before->rules[i];
		bool elsewhere = rule->action != FR_ACT_TO_TBL ||
				 (rule->table != RT_TABLE_MAIN && rule->table != RT_TABLE_DEFAULT);

		if (rule->family == family && takes_unmarked(rule) &&
		    (answer->oif ? rule->table == answer->table : elsewhere))
			return rule;
	}
	return NULL;
}

static void describe(const struct net_rule *rule, char out[static 96])
{
	char mark[40] = "";

	if (rule->mask)
		snprintf(mark, sizeof(mark), "%sfwmark 0x%x/0x%x, ", rule->inverted ? "not " : "",
			 rule->mark, rule->mask);
	if (rule->action == FR_ACT_TO_TBL)
		snprintf(out, 96, "rule %u (%slookup %u)", rule->priority, mark, rule->table);
	else
		snprintf(out, 96, "rule %u (%sno way out)", rule->priority, mark);
}

/* of_family() - Whether packets of the app to the tailnet are taken */
static int of_family(struct netlink *nl, const struct net_wanted *wanted,
		     const struct before *before, enum address_family family, char out[static 256])
{
	const struct prefix *to = first_route(wanted, family);
	struct net_route answer = {0};
	const struct net_rule *rule;
	char text[PREFIX_TEXT_MAX], name[96];
	int r;

	if (!to)
		return 0;
	r = net_look_up(&nl->route, &to->address, 0, &answer);
	if (r < 0 || answer.oif == wanted->ifindex)
		return r;
	rule = taker(before, family, &answer);
	if (!rule)
		return 0;
	describe(rule, name);
	snprintf(out, 256,
		 "%s of another program takes packets to the tailnet (%s) before our rule %u: "
		 "remove it, or add `ip rule add priority %u not fwmark 0x%x/0x%x lookup %u`",
		 name, prefix_format(to, text), NET_RULE_TUNNEL,
		 rule->priority > 1 ? rule->priority - 1 : 1, nl->mark, NET_MARK_MASK,
		 wanted->table);
	return 0;
}

int netlink_obstacle(struct netlink *nl, const struct net_wanted *wanted, unsigned int warnings,
		     char out[static 256])
{
	struct before before = {0};
	char name[96];
	int r;

	out[0] = 0;
	if (!wanted->rules)
		return 0;
	r = net_dump(&nl->route, NET_RULE, 0, 0, 0, take_before, &before, NULL, NULL);
	if (r == 0)
		r = of_family(nl, wanted, &before, ADDRESS_V4, out);
	if (r == 0 && !out[0] && !(warnings & NET_WARNING_IPV6_OFF))
		r = of_family(nl, wanted, &before, ADDRESS_V6, out);
	for (size_t i = 0; r == 0 && !out[0] && i < before.count; i++) {
		if (!takes_mark(&before.rules[i], nl->mark))
			continue;
		describe(&before.rules[i], name);
		snprintf(out, 256,
			 "%s of another program takes packets of our own sockets, whose mark is "
			 "0x%x: start again, so that a free one is chosen",
			 name, nl->mark);
	}
	return r;
}
