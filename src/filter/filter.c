/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/filter.c - judge packets by a compiled filter */
#include "filter/filter_internal.h"

#include "filter/flows.h"
#include "wire/tsmp.h"

#include <assert.h>
#include <errno.h>

static const char *const labels[] = {
#define LABEL(name, label) [FILTER_##name] = (label),
	FILTER_VERDICTS(LABEL)
#undef LABEL
};
static_assert(ARRAY_SIZE(labels) == FILTER_VERDICT_COUNT, "a label for each verdict");

const char *filter_verdict_label(enum filter_verdict verdict)
{
	return verdict < FILTER_VERDICT_COUNT ? labels[verdict] : "unknown";
}

bool filter_is_discarded(const struct filter *f)
{
	return f->discarded;
}

enum filter_verdict filter_parse_verdict(int error)
{
	switch (error) {
	case -ENODATA:
		return FILTER_ACCEPT_EMPTY;
	case -EPROTONOSUPPORT:
		return FILTER_DROP_UNKNOWN_PROTOCOL;
	default:
		return FILTER_DROP_MALFORMED;
	}
}

/* is_metadata_address() - 169.254.169.254: link-local, and yet served through subnet routers */
static bool is_metadata_address(const struct address *a)
{
	static const struct address metadata = {.family = ADDRESS_V4,
						.bytes = {169, 254, 169, 254}};

	return address_equal(a, &metadata);
}

/* judge_destination() - What holds in both directions; FILTER_ACCEPT_EMPTY when there is nothing
 * against it */
static enum filter_verdict judge_destination(const struct address *a)
{
	if (address_is_multicast(a))
		return FILTER_DROP_MULTICAST;
	if (address_is_link_local(a) && !is_metadata_address(a))
		return FILTER_DROP_LINK_LOCAL;
	return FILTER_ACCEPT_EMPTY;
}

static bool source_matches(const struct filter *f, const struct filter_rule *rule,
			   const struct filter_peer *peer, const struct address *source)
{
	if (ip_set_contains(&rule->sources, source))
		return true;
	if (!f->has_capability || !peer)
		return false;
	for (size_t i = 0; i < rule->source_capability_count; i++)
		if (f->has_capability(peer->node, source, rule->source_capabilities[i]))
			return true;
	return false;
}

static bool has_protocol(const struct filter_rule *rule, uint8_t protocol)
{
	return rule->protocols[protocol / 8] >> protocol % 8 & 1;
}

/* How a rule's protocols and ports are read, by the packet's protocol */
enum match_mode {
	MATCH_PORT,      /* TCP, UDP, SCTP: the protocol, and the port in the range */
	MATCH_ADDRESSES, /* ICMP: whoever may reach any port may ping, whatever the protocol */
	MATCH_ALL_PORTS, /* other: the protocol, and only a destination with all ports open */
};

static bool destination_matches(const struct filter_destination *d, const struct ip_view *v,
				enum match_mode mode)
{
	if (mode == MATCH_PORT &&
	    (v->destination_port < d->first_port || v->destination_port > d->last_port))
		return false;
	if (mode == MATCH_ALL_PORTS && (d->first_port != 0 || d->last_port != UINT16_MAX))
		return false;
	return ip_set_contains(&d->net, &v->destination);
}

static bool rule_matches(const struct filter *f, const struct filter_rule *rule,
			 const struct ip_view *v, const struct filter_peer *peer,
			 enum match_mode mode)
{
	if (mode != MATCH_ADDRESSES && !has_protocol(rule, v->protocol))
		return false;
	/* Destinations first: they are few, and sources may be many. */
	for (size_t i = 0; i < rule->destination_count; i++)
		if (destination_matches(&rule->destinations[i], v, mode))
			return source_matches(f, rule, peer, &v->source);
	return false;
}

static bool is_peerapi(const struct filter *f, const struct ip_view *v)
{
	for (size_t i = 0; i < f->peerapi_count; i++)
		if (f->peerapi[i].port == v->destination_port &&
		    address_equal(&f->peerapi[i].address, &v->destination))
			return true;
	return false;
}

/* judge_by_rules() - What nothing but a rule can let in */
static enum filter_verdict judge_by_rules(const struct filter *f, const struct ip_view *v,
					  const struct filter_peer *peer, enum match_mode mode)
{
	if (f->shields_up)
		return FILTER_DROP_SHIELDS_UP;
	if (peer && peer->jailed)
		return FILTER_DROP_JAILED;
	for (size_t i = 0; i < f->rule_count; i++)
		if (rule_matches(f, &f->rules[i], v, peer, mode))
			return FILTER_ACCEPT_RULE;
	return FILTER_DROP_RULES;
}

static struct filter_flow inbound_flow(const struct ip_view *v)
{
	return (struct filter_flow){
		.local = v->destination,
		.remote = v->source,
		.local_port = v->destination_port,
		.remote_port = v->source_port,
		.protocol = v->protocol,
	};
}

static struct filter_flow outbound_flow(const struct ip_view *v)
{
	return (struct filter_flow){
		.local = v->source,
		.remote = v->destination,
		.local_port = v->source_port,
		.remote_port = v->destination_port,
		.protocol = v->protocol,
	};
}

enum filter_verdict filter_inbound(const struct filter *f, struct filter_flows *flows,
				   const struct ip_view *v, const struct filter_peer *peer)
{
	enum filter_verdict verdict = judge_destination(&v->destination);
	struct filter_flow flow;

	if (!filter_accepts(verdict))
		return verdict;
	if (!f)
		return FILTER_DROP_NO_FILTER;
	if (!ip_set_contains(&f->local, &v->destination))
		return FILTER_DROP_NOT_LOCAL;
	/* The kernel puts it together with a first fragment, which was judged; or not at all. */
	if (v->fragment == IP_FRAGMENT_LATER)
		return FILTER_ACCEPT_FRAGMENT;
	switch (v->protocol) {
	case IP_PROTOCOL_ICMP:
	case IP_PROTOCOL_ICMPV6:
		if (!ip_is_icmp(v))
			return judge_by_rules(f, v, peer, MATCH_ALL_PORTS);
		if (ip_is_echo_reply(v) || ip_is_icmp_error(v))
			return FILTER_ACCEPT_ICMP;
		return judge_by_rules(f, v, peer, MATCH_ADDRESSES);
	case IP_PROTOCOL_TCP:
		/* A connection can't begin without a SYN, so the rest needs no memory of it. */
		if (!ip_is_tcp_syn(v))
			return FILTER_ACCEPT_TCP;
		if (is_peerapi(f, v))
			return FILTER_ACCEPT_PEERAPI;
		return judge_by_rules(f, v, peer, MATCH_PORT);
	case IP_PROTOCOL_UDP:
	case IP_PROTOCOL_SCTP:
		flow = inbound_flow(v);
		if (filter_flows_find(flows, &flow))
			return FILTER_ACCEPT_FLOW;
		return judge_by_rules(f, v, peer, MATCH_PORT);
	case IP_PROTOCOL_TSMP:
		return FILTER_ACCEPT_TSMP;
	default:
		return judge_by_rules(f, v, peer, MATCH_ALL_PORTS);
	}
}

enum filter_verdict filter_outbound(struct filter_flows *flows, const struct ip_view *v)
{
	enum filter_verdict verdict = judge_destination(&v->destination);
	struct filter_flow flow;

	if (!filter_accepts(verdict))
		return verdict;
	if (v->protocol == IP_PROTOCOL_TSMP)
		return FILTER_DROP_TSMP_FROM_HOST;
	if ((v->protocol == IP_PROTOCOL_UDP || v->protocol == IP_PROTOCOL_SCTP) &&
	    v->fragment != IP_FRAGMENT_LATER) {
		flow = outbound_flow(v);
		filter_flows_note(flows, &flow);
	}
	return FILTER_ACCEPT_OUTBOUND;
}

uint8_t filter_reject_reason(enum filter_verdict verdict, const struct ip_view *v)
{
	if (v->version != 4 || !ip_is_tcp_syn(v))
		return TSMP_REASON_NONE;
	switch (verdict) {
	case FILTER_DROP_RULES:
		return TSMP_REASON_ACL;
	case FILTER_DROP_SHIELDS_UP:
	case FILTER_DROP_JAILED:
		return TSMP_REASON_SHIELDS_UP;
	default:
		return TSMP_REASON_NONE;
	}
}

void filter_peer_capabilities(const struct filter *f, const struct filter_peer *peer,
			      const struct address *source, const struct address *destination,
			      bool (*each)(void *data, const char *name, const char *values),
			      void *data)
{
	if (peer && peer->jailed)
		return;
	for (size_t i = 0; i < f->rule_count; i++) {
		const struct filter_rule *rule = &f->rules[i];

		if (rule->grant_count == 0 || !source_matches(f, rule, peer, source))
			continue;
		for (size_t g = 0; g < rule->grant_count; g++) {
			const struct filter_grant *grant = &rule->grants[g];

			if (!ip_set_contains(&grant->destinations, destination))
				continue;
			for (size_t c = 0; c < grant->capability_count; c++)
				if (!each(data, grant->capabilities[c].name,
					  grant->capabilities[c].values))
					return;
		}
	}
}
