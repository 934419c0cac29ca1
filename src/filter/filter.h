/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/filter.h - the packet filter: what a peer may send to this node
 *
 * The control server's rules are compiled into an immutable struct filter, which any number of
 * threads may read; a change makes a new one. The flows that this node began must outlive a
 * change, so they are in a struct filter_flows beside it. Evaluation allocates nothing and logs nothing:
 * a verdict is also the index of its counter.
 *
 *	in:   decrypt → source is the peer's → masquerade_inbound() → TSMP pings
 *	      → filter_inbound() → TUN
 *	out:  TUN → filter_outbound() → masquerade_outbound() → encrypt
 *
 * Default is deny: a compiled filter without rules lets in replies, ICMP errors and TSMP; no
 * filter at all (NULL) lets in nothing.
 */
#pragma once

#include "base/address.h"
#include "wire/ip.h"
#include "wire/tailcfg_filter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, metric label). Accepts first; filter_accepts() relies on it. */
#define FILTER_VERDICTS(X)                           \
	X(ACCEPT_EMPTY, "empty")                     \
	X(ACCEPT_FRAGMENT, "fragment")               \
	X(ACCEPT_ICMP, "icmp")                       \
	X(ACCEPT_TCP, "tcp_established")             \
	X(ACCEPT_FLOW, "flow")                       \
	X(ACCEPT_RULE, "rule")                       \
	X(ACCEPT_TSMP, "tsmp")                       \
	X(ACCEPT_PEERAPI, "peerapi")                 \
	X(ACCEPT_OUTBOUND, "outbound")               \
	X(DROP_MALFORMED, "malformed")               \
	X(DROP_UNKNOWN_PROTOCOL, "unknown_protocol") \
	X(DROP_MULTICAST, "multicast")               \
	X(DROP_LINK_LOCAL, "link_local")             \
	X(DROP_NOT_LOCAL, "not_local")               \
	X(DROP_RULES, "acl")                         \
	X(DROP_SHIELDS_UP, "shields_up")             \
	X(DROP_JAILED, "jailed")                     \
	X(DROP_NO_FILTER, "no_filter")               \
	X(DROP_TSMP_FROM_HOST, "tsmp_from_host")

enum filter_verdict {
#define FILTER_VERDICT_ENUM(name, label) FILTER_##name,
	FILTER_VERDICTS(FILTER_VERDICT_ENUM)
#undef FILTER_VERDICT_ENUM
		FILTER_VERDICT_COUNT,
};

static inline bool filter_accepts(enum filter_verdict verdict)
{
	return verdict < FILTER_DROP_MALFORMED;
}

/** filter_verdict_label() - "acl", "not_local" …: the label of a metric */
const char *filter_verdict_label(enum filter_verdict verdict);

struct filter;
struct filter_flows;

/* struct filter_prefixes - A list that the caller keeps */
struct filter_prefixes {
	const struct prefix *list;
	size_t count;
};

/**
 * filter_capability_test - Whether the node that owns @source has a capability, for "cap:" sources
 * @peer:   filter_peer.node of the packet: the peer that it came from
 * @source: the packet's source address
 *
 * Called while a packet is evaluated, from any thread that does: it may not block or allocate.
 */
typedef bool (*filter_capability_test)(const void *peer, const struct address *source,
				       const char *capability);

/* struct filter_config - All that a filter is compiled from; nothing in it is kept but copies */
struct filter_config {
	/* The named lists of rules, in order. */
	const struct tailcfg_filter *const *lists;
	size_t list_count;

	/* Where packets may go at all: */
	struct filter_prefixes addresses; /* this node's own, and its VIP services' */
	struct filter_prefixes
		advertised;          /* routes, approved or not; a default route is narrowed */
	struct filter_prefixes host; /* networks of this host, which an advertised default
				      * route does not open */

	/* PeerAPI listeners on own addresses: a SYN to one is always let in. */
	const struct endpoint *peerapi;
	size_t peerapi_count;

	/* AllowedIPs of the peers marked UnsignedPeerAPIOnly: if a rule would let one in, there
	 * are no rules (filter_is_discarded()). */
	struct filter_prefixes unsigned_peers;

	bool shields_up;
	filter_capability_test has_capability; /* NULL: no node has any */
};

/**
 * filter_compile() - Make a filter
 * @config: read only during the call
 * @ret:    the filter, released by filter_free(); untouched on failure
 *
 * Rules without a destination that can be ours cost nothing afterwards.
 *
 * Return: 0 or -ENOMEM
 */
int filter_compile(const struct filter_config *config, struct filter **ret);

/** filter_free() - NULL is fine */
void filter_free(struct filter *f);

/** filter_is_discarded() - A rule would have let in an unsigned peer, so all is denied: a health
 * problem */
bool filter_is_discarded(const struct filter *f);

/* struct filter_peer - What the filter needs to know of the peer that a packet came from */
struct filter_peer {
	bool jailed;      /* may only answer */
	const void *node; /* handed to filter_capability_test */
};

/**
 * filter_inbound() - Judge a packet from a peer, after decryption and the check of its source
 * @f:     NULL drops everything
 * @flows: flows begun by filter_outbound(); one that matches becomes the most recent
 * @v:     of a packet that ip_parse() understood; else filter_parse_verdict() is the verdict
 * @peer:  NULL for a peer of which nothing is known: not jailed, without capabilities
 *
 * Return: the verdict, to be counted
 */
enum filter_verdict filter_inbound(const struct filter *f, struct filter_flows *flows,
				   const struct ip_view *v, const struct filter_peer *peer);

/**
 * filter_outbound() - Judge a packet from this host, and note the flow it belongs to
 *
 * Only the daemon speaks protocol 99. What is accepted may still have no peer.
 */
enum filter_verdict filter_outbound(struct filter_flows *flows, const struct ip_view *v);

/** filter_parse_verdict() - The verdict for a packet that ip_parse() refused with @error */
enum filter_verdict filter_parse_verdict(int error);

/**
 * filter_reject_reason() - What to tell the sender of a packet that was dropped
 *
 * Return: the enum tsmp_reason for a TSMP reject (dropped IPv4 TCP SYN), or 0: stay silent
 */
uint8_t filter_reject_reason(enum filter_verdict verdict, const struct ip_view *v);

/**
 * filter_peer_capabilities() - Walk the capabilities that CapGrants give @source at @destination
 * @each: called for every grant that holds, with the name and the JSON array of values (NULL
 *        without values). The same name may occur several times; its values add up.
 *        Returns false to stop
 *
 * There are none with shields up, for a jailed peer, or when the rules were discarded.
 */
void filter_peer_capabilities(const struct filter *f, const struct filter_peer *peer,
			      const struct address *source, const struct address *destination,
			      bool (*each)(void *data, const char *name, const char *values),
			      void *data);
