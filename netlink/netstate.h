/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/netstate.h - apply a wanted network state to the kernel
 *
 * The caller passes the whole wanted state; netlink_apply() dumps the kernel's state,
 * computes the difference (reconcile.h) and sends that difference alone. A second apply of
 * the same state sends nothing. netlink_change_routes() sends a few routes without a dump.
 *
 * These objects are ours, and no others are ever removed:
 *	- the TUN link, and every address on it that is not link-local;
 *	- routes with protocol NET_ROUTE_PROTOCOL through that link in the wanted table;
 *	- rules with that protocol and a priority of enum net_rule_priority;
 *	- the nft table `pillion`.
 *
 * Table, priorities and mark are the official client's, so that its documentation (`ip rule`,
 * `ip route show table 52`) holds here too.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "base/prefixes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netlink;

/* Stands in each route and rule of ours ('P'); free in iproute2's rt_protos. */
#define NET_ROUTE_PROTOCOL 80

#define NET_TABLE_DEFAULT 52u
#define NET_MTU_DEFAULT   1280u

/* Every socket of the engine carries a mark and so never enters the tunnel: this one, unless a rule
 * of another program takes it (netlink_claim()). */
#define NET_BYPASS_MARK 0x80000u
#define NET_MARK_MASK   0xff0000u

#define NET_NFT_TABLE "pillion"

enum net_rule_priority {
	NET_RULE_BYPASS_MAIN = 5210,        /* marked: table main … */
	NET_RULE_BYPASS_DEFAULT = 5230,     /* … then table default … */
	NET_RULE_BYPASS_UNREACHABLE = 5250, /* … then nothing */
	NET_RULE_TUNNEL = 5270,             /* all else: the wanted table first */
};

/**
 * struct net_allowed - Routes that the start configuration allows an engine to request
 * @exit_node: a default route, and routes to any share of the public internet
 * @routes:    where subnet routes may lead; empty: none is allowed
 * @tailnet:   ranges of tailnet addresses besides tailnet_ranges()' own
 */
struct net_allowed {
	bool exit_node;
	struct prefix_set routes;
	struct prefix_set tailnet;
};

/** struct net_divert - TCP of this machine to @to, an own address, goes to its port @high */
struct net_divert {
	struct endpoint to;
	uint16_t high;
};

#define NET_DIVERTS_MAX 256u

/**
 * struct net_wanted - The whole wanted state
 * @ifindex:       our TUN link
 * @mtu:           in bytes, 0 leaves it
 * @up:            whether the link is up; routes are only kept on a link that is
 * @rules:         whether the policy rules stand, for IPv4 and IPv6
 * @protect_input: whether packets that come in by another link with a source address that is
 *                 reached through ours are dropped (forged tailnet addresses)
 * @whole_ranges:  with it: ranges of the tailnet from which nothing comes by another link, peer or
 *                 not; see net_ranges_alone()
 * @table:         routing table, NET_TABLE_DEFAULT unless --table; not 0, main, default or local
 * @addresses:     of the link, each a host prefix (/32, /128)
 * @routes:        through the link; host bits are ignored, doubles count once
 * @diverts:       @divert_count of them; only with @protect_input
 */
struct net_wanted {
	uint32_t ifindex;
	uint32_t mtu;
	bool up;
	bool rules;
	bool protect_input;
	uint32_t whole_ranges;
	uint32_t table;
	struct prefixes addresses;
	struct prefixes routes;
	const struct net_divert *diverts;
	size_t divert_count;
	uint32_t route_changes_max; /* in one call; 0: all. See net_report.partial */
};

/* Parts that could not be set; the others stand. net_warning_text() has the remedy. */
enum net_warning {
	NET_WARNING_IPV6_OFF = 1 << 0,    /* the kernel refused IPv6 addresses */
	NET_WARNING_NO_NFTABLES = 1 << 1, /* input is not protected */
	NET_WARNING_NO_RULES = 1 << 2,    /* no policy routing: routes went to table main */
	NET_WARNING_ROUTE_CONFLICT =
		1 << 3, /* a route of another program stands in the place of ours */
	NET_WARNING_NO_SOCKET_RULE = 1 << 4, /* answers to us out of a routed prefix are dropped */
	NET_WARNING_NO_RANGE_RULE = 1 << 5,  /* tailnet addresses of no peer may be forged */
	NET_WARNING_STRICT_SOURCE = 1 << 6,  /* as NO_SOCKET_RULE, by the kernel's rp_filter */
	NET_WARNING_NO_DIVERT = 1 << 7,      /* the kernel can't divert own connections */
	NET_WARNING_DIVERT_OFF = 1 << 8, /* own connections are not diverted: no protect_input */
};

/**
 * struct net_report - The result of netlink_apply()
 * @changes:   messages that changed the kernel's state; 0 when nothing was to do
 * @rounds:    dumps it took; more than one when another program changed the state meanwhile
 * @warnings:  bits of enum net_warning; log one only when it was not in the last report
 * @conflict:  the first route that found another's in its place (family 0: none)
 * @nftables_error: negative errno behind NET_WARNING_NO_NFTABLES
 */
struct net_report {
	unsigned int changes;
	bool partial; /* stopped at route_changes_max: call again */
	unsigned int rounds;
	unsigned int warnings;
	struct prefix conflict;
	int nftables_error;
};

/** net_warning_text() - One line for a person: the missing part, and the remedy */
const char *net_warning_text(enum net_warning warning);

/**
 * netlink_open() - Open the request socket
 * @ret: handle for the calls below and those of interfaces.h and monitor.h; single-threaded
 *
 * Return: 0 or negative errno
 */
int netlink_open(struct netlink **ret, struct error *err);

/** netlink_mark() - For sockets that never enter the tunnel; chosen by netlink_claim() */
uint32_t netlink_mark(const struct netlink *nl);

/** netlink_set_tailnet() - Ranges of tailnet addresses besides tailnet_ranges()' own */
void netlink_set_tailnet(struct netlink *nl, const struct prefix_set *named);

/** netlink_close() - Close; the kernel keeps the applied state. Takes NULL, returns NULL */
struct netlink *netlink_close(struct netlink *nl);

/**
 * netlink_claim() - Before the first apply: find other VPNs of our kind, remove leftovers of crashes
 * @table: routing table we are about to use
 * @name:  name of the TUN link we are about to make
 * @ret_removed: rules and routes removed that a crashed run left, ours or the official client's
 *
 * A program counts as running if its table has a route to a link with a carrier, or if such a
 * link stands beside its rules. Call this before tun_open(): our own link would count as that of
 * another program.
 *
 * Return: 0; -EBUSY when another pillion or tailscaled is alive on this table or link name (@err
 * names it, and --table and --tun as the remedy); another negative errno
 */
int netlink_claim(struct netlink *nl, uint32_t table, const char *name, unsigned int *ret_removed,
		  struct error *err);

/**
 * netlink_apply() - Bring the kernel to the wanted state
 * @ret: filled on success
 *
 * Order: input protection; rules (bypass before tunnel); MTU and addresses; link up; new routes;
 * then removals, routes first. So no step opens a gap that the next one would have to
 * close. IPv6 that is refused is a warning, and IPv4 goes on. A state that changes under our
 * hands (EEXIST, ESRCH, ENOBUFS, an interrupted dump) is dumped again, a bounded number of times.
 *
 * Return: 0; -ENODEV when the link is gone; -EPERM without NET_ADMIN; -EINVAL for a wanted state
 * that contradicts itself; -EAGAIN when the state never held still; another negative errno
 */
int netlink_apply(struct netlink *nl, const struct net_wanted *wanted, struct net_report *ret,
		  struct error *err);

/**
 * netlink_obstacle() - The first rule of another program that misdirects packets
 * @wanted:   applied; the kernel is asked how it routes to the first of its routes
 * @warnings: of the apply: without IPv6 there are no such packets to take
 * @out:      one line for a person that names the rule and the remedy; empty if there is none
 *
 * A rule before ours, of another VPN for example, may take the packets to the tailnet, or those of
 * our own sockets if it selects by their mark. Return: 0 or negative errno
 */
int netlink_obstacle(struct netlink *nl, const struct net_wanted *wanted, unsigned int warnings,
		     char out[static 256]);

/**
 * netlink_change_routes() - Change a few routes of a state that netlink_apply() set
 * @wanted:   its link and table
 * @warnings: of that call: without rules the routes are in another table; without IPv6 none is
 *            deleted, and those that are added show whether IPv6 is back
 * @changes:  how many were made
 *
 * Sends @added and @gone and dumps nothing. Where the kernel has another state than we think, or
 * refuses one of them, or has IPv6 again, the rest may have been changed: netlink_apply() is needed
 * again.
 *
 * Return: 0; -EAGAIN or another negative errno: apply the whole
 */
int netlink_change_routes(struct netlink *nl, const struct net_wanted *wanted,
			  unsigned int warnings, const struct prefixes *added,
			  const struct prefixes *gone, unsigned int *changes);

/**
 * netlink_teardown() - Remove all that is ours from @table and of link @ifindex
 *
 * The link itself ends with its last queue. It need not exist any more. The bypass rules stay
 * while a tunnel rule of another pillion (--table) relies on them.
 *
 * Return: 0 or negative errno
 */
int netlink_teardown(struct netlink *nl, uint32_t table, uint32_t ifindex, struct error *err);
