/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/apply.c - bring the kernel to the wanted network state
 *
 * DOC: Theory of operation
 *
 * A round is: dump, compute (reconcile.h), send. The changes go out in batches, each
 * acknowledged by itself; net_outcome_of() says what an answer means. An
 * answer that shows a concurrent change by another program ends in another round,
 * at most ROUNDS of them. A route that another program's route blocks (EEXIST twice) is left
 * out and reported. IPv6 or policy rules that the kernel refuses are left out of all
 * further rounds of this call: the next call tries them again, so they come by
 * themselves once they are to be had.
 *
 * Between addresses and routes the batch is sent out, so that a refused IPv6 address
 * spares the kernel thousands of IPv6 routes.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "netlink/channel.h"
#include "netlink/netstate.h"
#include "netlink/nft.h"
#include "netlink/reconcile.h"

#include <dirent.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS         5
#define SOURCE_FILTERS "/proc/sys/net/ipv4/conf"
#define SOURCE_FILTER  SOURCE_FILTERS "/%s/rp_filter"

struct applying {
	const struct net_changes *changes;
	struct net_report *report;
	bool again;
	bool conflict; /* a route found another's in its place */
	uint32_t left; /* changes of routes that may still be sent */
	struct prefix first_conflict;
	int failure; /* the first */
	struct error *err;
};

const char *net_warning_text(enum net_warning warning)
{
	switch (warning) {
	case NET_WARNING_IPV6_OFF:
		return "IPv6 is off in this network namespace, so the tailnet is reached by IPv4 "
		       "alone; to have it, in Docker add `sysctls: "
		       "net.ipv6.conf.all.disable_ipv6=0`";
	case NET_WARNING_NO_NFTABLES:
		return "this kernel has no nf_tables (or lacks nft_fib), so a neighbour on the LAN "
		       "could forge tailnet source addresses; load the module nft_fib_inet on the "
		       "host";
	case NET_WARNING_NO_RULES:
		return "this kernel has no policy routing, so routes into the tailnet stand in "
		       "table main, and an exit node or a route to our own servers can't be used";
	case NET_WARNING_ROUTE_CONFLICT:
		return "another program's route stands where one of ours belongs; remove it, or "
		       "give us a table of our own with --table";
	case NET_WARNING_NO_SOCKET_RULE:
		return "this kernel has no nft_socket, so a route into the tailnet that covers the "
		       "server, a relay or a peer's own address cuts us off from it; load the "
		       "module nft_socket on the host";
	case NET_WARNING_NO_RANGE_RULE:
		return "this kernel has no nft_ct, so a neighbour on the LAN could forge tailnet "
		       "addresses that no peer has; load the module nft_ct on the host";
	case NET_WARNING_STRICT_SOURCE:
		return "a subnet route that covers the server, a relay or a peer's own address "
		       "cuts us off from it, since this machine takes packets only from where "
		       "its routes lead (rp_filter=1); in Docker add `sysctls: "
		       "net.ipv4.conf.all.rp_filter=2`";
	case NET_WARNING_NO_DIVERT:
		return "this kernel has no nft_nat, so connections of this machine to its own "
		       "served ports don't reach the service, while those of peers do; load the "
		       "module nft_nat on the host";
	case NET_WARNING_DIVERT_OFF:
		return "the netfilter mode is off, so connections of this machine to its own "
		       "served ports don't reach the service, while those of peers do";
	}
	return "";
}

int netlink_open(struct netlink **ret, struct error *err)
{
	struct netlink *nl = calloc(1, sizeof(*nl));
	int r;

	if (!nl)
		return error_set_errno(err, -ENOMEM, "netlink");
	nl->nft.bus = NETLINK_NETFILTER;
	nl->mark = NET_BYPASS_MARK;
	netlink_set_tailnet(nl, &(struct prefix_set){0});
	r = net_channel_open(&nl->route, NETLINK_ROUTE);
	if (r < 0) {
		free(nl);
		return error_set_errno(err, r, "open netlink");
	}
	*ret = nl;
	return 0;
}

uint32_t netlink_mark(const struct netlink *nl)
{
	return nl->mark;
}

void netlink_set_tailnet(struct netlink *nl, const struct prefix_set *named)
{
	nl->ranges = tailnet_ranges(named);
}

struct netlink *netlink_close(struct netlink *nl)
{
	if (!nl)
		return NULL;
	net_channel_close(&nl->route);
	net_channel_close(&nl->nft);
	free(nl);
	return NULL;
}

/* Our part of a dump. The kernel filters if it can; the callbacks below filter again. */
struct reading {
	uint32_t ifindex;
	uint32_t table;
	uint32_t mark;
	struct net_have have;
};

static int take_rule(struct reading *reading, const struct net_rule *rule)
{
	for (unsigned int i = 0; i < NET_RULE_COUNT; i++) {
		struct net_rule ours = net_rule_of_ours(i, reading->table, reading->mark);

		if (net_rule_equal(rule, &ours))
			reading->have.rules |= 1u << i;
	}
	if (rule->protocol == NET_ROUTE_PROTOCOL && rule->priority == NET_RULE_TUNNEL &&
	    rule->table != reading->table)
		reading->have.bypass_shared = true;
	return 0;
}

static int take(const struct net_object *object, void *context)
{
	const struct net_address *address = &object->address;
	const struct net_route *route = &object->route;
	struct reading *reading = context;

	switch (object->kind) {
	case NET_LINK:
		reading->have.link = object->link;
		return 0;
	case NET_ADDRESS:
		if (address->ifindex != reading->ifindex ||
		    address_is_link_local(&address->prefix.address))
			return 0;
		return prefixes_add(&reading->have.addresses, &address->prefix);
	case NET_ROUTE:
		if (route->table != reading->table || route->oif != reading->ifindex ||
		    route->protocol != NET_ROUTE_PROTOCOL || route->type != RTN_UNICAST)
			return 0;
		return prefixes_add(&reading->have.routes, &route->prefix);
	case NET_RULE:
		break;
	}
	return take_rule(reading, &object->rule);
}

/*
 * read_have() - Dump our part of the kernel's state
 * @ifindex: our link; 0 reads the rules alone
 * @table:   routing table; RT_TABLE_MAIN where there is no policy routing
 * @without: in and out; bits are added for NET_WARNING_NO_RULES and NET_WARNING_IPV6_OFF when the
 *           kernel has no such thing at all
 * @ret:     caller ends it by net_have_free()
 *
 * Return: 0; -ENODEV when link @ifindex doesn't exist; -EINTR, -ENOBUFS: dump again; other errno
 */
static int read_have(struct net_channel *channel, uint32_t ifindex, uint32_t table, uint32_t mark,
		     unsigned int *without, struct net_have *ret, struct error *err)
{
	struct reading reading = {.ifindex = ifindex, .table = table, .mark = mark};
	unsigned int lacks = 0;
	int r = net_dump(channel, NET_RULE, 0, 0, 0, take, &reading, &lacks, err);

	if (lacks & NET_LACKS_IPV4)
		*without |= NET_WARNING_NO_RULES;
	if (lacks & NET_LACKS_IPV6)
		*without |= NET_WARNING_IPV6_OFF;
	if (r < 0 || ifindex == 0)
		goto done;
	if (*without & NET_WARNING_NO_RULES)
		reading.table = RT_TABLE_MAIN;
	r = net_dump(channel, NET_LINK, ifindex, 0, 0, take, &reading, NULL, err);
	if (r < 0) {
		error_wrap(err, "read link %u", ifindex);
		goto done;
	}
	r = net_dump(channel, NET_ADDRESS, ifindex, 0, 0, take, &reading, NULL, err);
	if (r == 0)
		r = net_dump(channel, NET_ROUTE, ifindex, reading.table, NET_ROUTE_PROTOCOL, take,
			     &reading, NULL, err);
done:
	if (r < 0)
		net_have_free(&reading.have);
	else
		*ret = reading.have;
	return r;
}

/* request_of() - The request that makes @change */
static struct nl_msg *request_of(const struct net_change *change, uint32_t ifindex, uint32_t table,
				 uint32_t mark)
{
	const struct net_route route = {
		.table = table,
		.oif = ifindex,
		.protocol = NET_ROUTE_PROTOCOL,
		.type = RTN_UNICAST,
		.prefix = change->prefix,
	};
	struct net_rule rule;

	switch (change->kind) {
	case NET_RULE_ADD:
	case NET_RULE_DELETE:
		rule = net_rule_of_ours(change->rule, table, mark);
		return net_request_rule(change->kind == NET_RULE_ADD ? RTM_NEWRULE : RTM_DELRULE,
					&rule);
	case NET_LINK_MTU:
		return net_request_link(ifindex, 0, 0, change->mtu);
	case NET_LINK_GENERATION:
		return net_request_generation(ifindex);
	case NET_ADDRESS_ADD:
		return net_request_address(RTM_NEWADDR, &change->prefix, ifindex);
	case NET_ADDRESS_DELETE:
		return net_request_address(RTM_DELADDR, &change->prefix, ifindex);
	case NET_ROUTE_ADD:
		return net_request_route(RTM_NEWROUTE, &route);
	case NET_ROUTE_DELETE:
		return net_request_route(RTM_DELROUTE, &route);
	case NET_LINK_UP:
		return net_request_link(ifindex, IFF_UP, IFF_UP, 0);
	case NET_LINK_DOWN:
		break;
	}
	return net_request_link(ifindex, 0, IFF_UP, 0);
}

static void on_ack(void *context, uint32_t tag, const struct net_ack *ack)
{
	struct applying *applying = context;
	const struct net_change *change = &applying->changes->list[tag];
	char text[80];

	switch (net_outcome_of(change, ack->code)) {
	case NET_OUTCOME_DONE:
		applying->report->changes++;
		break;
	case NET_OUTCOME_CONFLICT:
		if (!applying->conflict)
			applying->first_conflict = change->prefix;
		applying->conflict = true;
		break;
	case NET_OUTCOME_AGAIN:
		applying->again = true;
		break;
	case NET_OUTCOME_NO_IPV6:
		applying->report->warnings |= NET_WARNING_IPV6_OFF;
		break;
	case NET_OUTCOME_NO_RULES:
		applying->report->warnings |= NET_WARNING_NO_RULES;
		applying->again = true; /* the routes belong to table main then */
		break;
	case NET_OUTCOME_IGNORED:
		break;
	case NET_OUTCOME_FAILED:
		if (applying->failure == 0)
			applying->failure = error_set_errno(applying->err, ack->code, "%s%s%s",
							    net_change_format(change, text),
							    ack->text[0] ? ": " : "", ack->text);
		break;
	}
}

/* send_changes() - All of @applying->changes; 0, or negative errno when the socket failed */
static int send_changes(struct net_channel *channel, struct applying *applying, uint32_t ifindex,
			uint32_t table, uint32_t mark)
{
	struct net_batch batch = {
		.channel = channel,
		.on_ack = on_ack,
		.context = applying,
	};
	bool routes = false;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < applying->changes->count; i++) {
		const struct net_change *change = &applying->changes->list[i];

		if (!routes && change->kind >= NET_ROUTE_ADD) {
			routes = true;
			r = net_batch_flush(&batch);
			if (r < 0 || applying->failure < 0)
				return r;
		}
		if (change->kind == NET_ROUTE_ADD && change->prefix.address.family == ADDRESS_V6 &&
		    applying->report->warnings & NET_WARNING_IPV6_OFF)
			continue;
		if (routes && applying->left-- == 0) {
			applying->report->partial = true;
			break;
		}
		r = net_batch_add(&batch, request_of(change, ifindex, table, mark), i);
	}
	return r < 0 ? r : net_batch_flush(&batch);
}

/* is_passing() - Whether dumping again may help */
static bool is_passing(int code)
{
	return code == -EINTR || code == -ENOBUFS;
}

/* apply_round() - Dump, compute, send; 1 for "again", 0 for done, or negative errno */
static int apply_round(struct netlink *nl, const struct net_wanted *wanted, bool settle,
		       struct net_report *report, struct error *err)
{
	struct net_changes changes = {0};
	struct applying applying = {
		.changes = &changes,
		.left = wanted->route_changes_max ?: UINT32_MAX,
		.report = report,
		.err = err,
	};
	struct net_have have = {0};
	struct error cause = {0};
	uint32_t table;
	int r;

	report->rounds++;
	report->partial = false;
	r = read_have(&nl->route, wanted->ifindex, wanted->table, nl->mark, &report->warnings,
		      &have, &cause);
	if (is_passing(r))
		return 1;
	if (r < 0)
		return error_set(err, r, "%s", cause.text);
	table = report->warnings & NET_WARNING_NO_RULES ? RT_TABLE_MAIN : wanted->table;
	r = net_reconcile(&have, wanted, report->warnings, &changes);
	if (r < 0)
		error_set_errno(err, r, "compare network state");
	else
		r = send_changes(&nl->route, &applying, wanted->ifindex, table, nl->mark);
	net_changes_free(&changes);
	net_have_free(&have);
	if (is_passing(r))
		return 1;
	if (r < 0)
		return error_set_errno(err, r, "change network state");
	if (applying.failure < 0)
		return applying.failure;
	if (applying.again || (applying.conflict && !settle))
		return 1;
	if (applying.conflict) {
		report->warnings |= NET_WARNING_ROUTE_CONFLICT;
		report->conflict = applying.first_conflict;
	}
	return 0;
}

static int check_shape(const struct net_wanted *wanted, struct error *err)
{
	if (wanted->ifindex == 0)
		return error_set(err, -EINVAL, "no link");
	if (wanted->table == RT_TABLE_UNSPEC ||
	    (wanted->table >= RT_TABLE_DEFAULT && wanted->table <= RT_TABLE_LOCAL))
		return error_set(err, -EINVAL, "routing table %u is the system's", wanted->table);
	if (wanted->addresses.count > LIMIT_NET_ADDRESSES ||
	    wanted->routes.count > LIMIT_NET_ROUTES || wanted->divert_count > NET_DIVERTS_MAX)
		return error_set(err, -E2BIG, "too many addresses, routes or served ports");
	return 0;
}

/* has_default_route() - With one into the tunnel, every source address leads there */
static bool has_default_route(const struct net_wanted *wanted)
{
	for (size_t i = 0; i < wanted->routes.count; i++)
		if (wanted->routes.list[i].bits <= 1)
			return true;
	return false;
}

/* source_filter_of() - rp_filter of a link: 1 is strict (RFC 3704) */
static int source_filter_of(const char *link)
{
	char path[sizeof(SOURCE_FILTER) + 256];
	FILE *file;
	int value = 0;

	snprintf(path, sizeof(path), SOURCE_FILTER, link);
	file = fopen(path, "re");
	if (file && fscanf(file, "%d", &value) != 1)
		value = 0;
	if (file)
		fclose(file);
	return value;
}

/*
 * is_strict() - Whether a link besides @ours drops IPv4 packets whose source leads elsewhere
 *
 * The kernel takes the larger of a link's and all links' value; 2 accepts each source with a route.
 */
static bool is_strict(uint32_t ours)
{
	char name[IF_NAMESIZE] = "";
	int all = source_filter_of("all");
	bool strict = false;
	DIR *folder = all < 2 ? opendir(SOURCE_FILTERS) : NULL;

	if_indextoname(ours, name);
	for (struct dirent *e; folder && !strict && (e = readdir(folder));) {
		const char *const others[] = {".", "..", "all", "default", "lo", name};
		int own = source_filter_of(e->d_name);

		strict = (own > all ? own : all) == 1;
		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			strict &= strcmp(e->d_name, others[i]) != 0;
	}
	if (folder)
		closedir(folder);
	return strict;
}

/* has_subnet() - Whether one of @routes is an IPv4 route beyond the tailnet's own ranges */
static bool has_subnet(const struct netlink *nl, const struct prefixes *routes)
{
	for (size_t i = 0; i < routes->count; i++)
		if (routes->list[i].address.family == ADDRESS_V4 &&
		    !prefix_set_holds(&nl->ranges, &routes->list[i]))
			return true;
	return false;
}

static void apply_nft(struct netlink *nl, const struct net_wanted *wanted,
		      struct net_report *report)
{
	struct net_nft_wanted nft;
	unsigned int parts;
	bool changed = false;
	char name[32];
	int r;

	memset(&nft, 0, sizeof(nft)); /* it is hashed by its bytes, padding among them */
	nft.ifindex = wanted->ifindex;
	nft.mark = nl->mark;
	nft.all = !has_default_route(wanted);
	nft.ranges = nl->ranges;
	nft.whole = wanted->whole_ranges;
	nft.diverts = wanted->diverts;
	nft.divert_count = wanted->divert_count;
	net_nft_table_name(wanted->table, name);
	r = net_nft_apply(&nl->nft, name, wanted->protect_input ? &nft : NULL, &changed, &parts,
			  NULL);
	report->changes += changed;
	if (!wanted->protect_input) {
		if (wanted->divert_count > 0)
			report->warnings |= NET_WARNING_DIVERT_OFF;
		return;
	}
	if (wanted->divert_count > 0 && (r < 0 || !(parts & NET_NFT_DIVERTS)))
		report->warnings |= NET_WARNING_NO_DIVERT;
	if (r < 0) {
		report->warnings |= NET_WARNING_NO_NFTABLES;
		report->nftables_error = r;
		return;
	}
	if (!(parts & NET_NFT_OWN_SOCKETS))
		report->warnings |= NET_WARNING_NO_SOCKET_RULE;
	if (!(parts & NET_NFT_WHOLE) && nft.whole)
		report->warnings |= NET_WARNING_NO_RANGE_RULE;
}

static int apply_all(struct netlink *nl, const struct net_wanted *wanted, struct net_report *ret,
		     struct error *err)
{
	struct net_report report = {0};
	int r;

	apply_nft(nl, wanted, &report);
	if (has_subnet(nl, &wanted->routes) && is_strict(wanted->ifindex))
		report.warnings |= NET_WARNING_STRICT_SOURCE;
	do {
		r = apply_round(nl, wanted, report.rounds > 0, &report, err);
	} while (r == 1 && report.rounds < ROUNDS);
	if (r == 1)
		return error_set(err, -EAGAIN,
				 "another program keeps changing the network state: gave up after "
				 "%d attempts",
				 ROUNDS);
	if (r < 0)
		return r;
	*ret = report;
	return 0;
}

int netlink_apply(struct netlink *nl, const struct net_wanted *wanted, struct net_report *ret,
		  struct error *err)
{
	int r = check_shape(wanted, err);

	return r < 0 ? r : apply_all(nl, wanted, ret, err);
}

/* add_changes() - A change of @kind for each of @routes, but for those that the kernel can't have */
static void add_changes(struct net_changes *changes, enum net_change_kind kind,
			const struct prefixes *routes, unsigned int warnings)
{
	for (size_t i = 0; i < routes->count; i++)
		if (routes->list[i].address.family == ADDRESS_V4 ||
		    !(warnings & NET_WARNING_IPV6_OFF))
			net_changes_add(changes, (struct net_change){.kind = kind,
								     .prefix = routes->list[i]});
}

int netlink_change_routes(struct netlink *nl, const struct net_wanted *wanted,
			  unsigned int warnings, const struct prefixes *added,
			  const struct prefixes *gone, unsigned int *changes)
{
	uint32_t table = warnings & NET_WARNING_NO_RULES ? RT_TABLE_MAIN : wanted->table;
	struct net_report report = {.warnings = warnings};
	struct net_changes list = {0};
	struct applying applying = {.changes = &list, .left = UINT32_MAX, .report = &report};
	int r;

	add_changes(&list, NET_ROUTE_ADD, added, 0);
	add_changes(&list, NET_ROUTE_DELETE, gone, warnings);
	r = list.result;
	for (size_t i = 0; i < added->count; i++)
		if (added->list[i].address.family == ADDRESS_V6) /* is IPv6 back? */
			report.warnings &= ~(unsigned int)NET_WARNING_IPV6_OFF;
	if (has_subnet(nl, gone)) /* was it the last? */
		report.warnings &= ~(unsigned int)NET_WARNING_STRICT_SOURCE;
	if (has_subnet(nl, added) && is_strict(wanted->ifindex))
		report.warnings |= NET_WARNING_STRICT_SOURCE;
	if (r == 0)
		r = send_changes(&nl->route, &applying, wanted->ifindex, table, nl->mark);
	net_changes_free(&list);
	*changes = report.changes;
	if (r < 0 || applying.failure < 0)
		return r < 0 ? r : applying.failure;
	return applying.again || applying.conflict || report.warnings != warnings ? -EAGAIN : 0;
}

int netlink_teardown(struct netlink *nl, uint32_t table, uint32_t ifindex, struct error *err)
{
	struct net_wanted nothing = {.ifindex = ifindex, .table = table};
	struct net_report report;
	struct error cause = {0};
	int r = apply_all(nl, &nothing, &report, &cause);

	if (r == -ENODEV) { /* its addresses and routes went with the link; the rules did not */
		nothing.ifindex = 0;
		r = apply_all(nl, &nothing, &report, &cause);
	}
	return r < 0 ? error_set(err, r, "%s", cause.text) : 0;
}
