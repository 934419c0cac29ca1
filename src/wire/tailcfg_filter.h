/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_filter.h - the rules of the packet filter, as control sends them */
#pragma once

#include "wire/tailcfg_node.h"

enum tailcfg_net_kind {
	TAILCFG_NET_ANY,    /* "*": both families */
	TAILCFG_NET_PREFIX, /* one address, or a prefix with its host bits cleared */
	TAILCFG_NET_RANGE,  /* first-last, same family, first <= last */
};

struct tailcfg_net {
	uint8_t kind;         /* enum tailcfg_net_kind */
	struct prefix prefix; /* PREFIX; of a RANGE its address is the first */
	struct address last;  /* RANGE: inclusive */
};

struct tailcfg_net_ports {
	struct tailcfg_net net;
	uint16_t first_port; /* 0-65535 is all */
	uint16_t last_port;
};

/* The rule's sources hold @caps towards this node, if @dsts contains one of its addresses. */
struct tailcfg_cap_grant {
	struct prefix_list dsts;
	struct string_list caps;                /* names without values */
	struct tailcfg_capability_list cap_map; /* names with values */
};

/* A rule opens ports (destinations) or grants capabilities. */
struct tailcfg_filter_rule {
	struct tailcfg_net *sources;
	uint32_t source_count;
	struct string_list source_capabilities; /* "cap:NAME" sources: nodes that hold NAME */
	struct tailcfg_net_ports *destinations;
	uint32_t destination_count;
	bool default_protocols; /* IPProto empty: TCP, UDP, ICMPv4, ICMPv6 */
	uint8_t *protocols;     /* else exactly these */
	uint32_t protocol_count;
	struct tailcfg_cap_grant *grants;
	uint32_t grant_count;
};

struct tailcfg_filter {
	struct tailcfg_filter_rule *rules;
	uint32_t count;
};

/*
 * Any source or destination that can't be read fails the whole rule, and with it the
 * update: the filter that stood before is kept (protocol.md 10.1). So do the
 * deprecated SrcBits and Bits, which no server sends to this version.
 */
DECLARE_MEMBERS(tailcfg_filter_rule);

void tailcfg_filter_clear(struct tailcfg_filter *filter);

/** tailcfg_filter_parse() - A list of rules from its text, one at a time; 0, -EINVAL, -ENOMEM */
int tailcfg_filter_parse(struct json_range text, struct tailcfg_filter *ret, struct error *err);

void tailcfg_filter_encode(struct json_writer *w, const char *name,
			   const struct tailcfg_filter *filter);
