/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_node.h - a node of the tailnet, its Hostinfo, a change to it, and its user */
#pragma once

#include "wire/members.h"

/* Node.Hostinfo.Services */
struct tailcfg_service {
	const char *protocol; /* "tcp", "udp", "peerapi4", "peerapi6", "peerapi-dns-proxy" */
	uint16_t port;
	const char *description;
};

/*
 * The network as netcheck found it. Control propagates our endpoints only if
 * working_udp is true, and peers reach us by relay only at preferred_derp.
 */
struct tailcfg_net_info {
	enum optional_bool mapping_varies_by_dest_ip;
	enum optional_bool working_ipv6;
	enum optional_bool os_has_ipv6;
	enum optional_bool working_udp;
	enum optional_bool working_icmpv4;
	enum optional_bool upnp;
	enum optional_bool pmp;
	enum optional_bool pcp;
	bool have_port_map;
	int64_t preferred_derp;    /* home region; 0 none */
	const char *link_type;     /* "wired", "wifi", "mobile" */
	const char *firewall_mode; /* "nft-default" … */
};

/*
 * Hostinfo in both directions. This node sends all of it. Of a node in a map, the
 * only texts kept are os, distro, hostname and app; its NetInfo is not kept.
 */
struct tailcfg_hostinfo {
	const char *ipn_version;
	const char *backend_log_id; /* 64 hex digits; some servers want it not empty */
	const char *os;             /* "linux" */
	const char *os_version;     /* kernel release */
	const char *distro;
	const char *distro_version;
	const char *distro_code_name;
	const char *app; /* "pillion/0.1.0" */
	const char *package;
	const char *device_model;
	const char *hostname;
	const char *machine; /* "x86_64" */
	const char *go_arch; /* "amd64" */
	const char *go_version;
	enum optional_bool container;
	enum optional_bool userspace;
	enum optional_bool userspace_router;
	enum optional_bool app_connector;
	enum optional_bool state_encrypted;
	bool shields_up;
	bool no_logs_no_support;
	bool wire_ingress;
	bool ingress_enabled;
	bool allows_update;
	bool peer_relay;
	struct prefix_list routable_ips;
	struct string_list request_tags;
	struct string_list ssh_host_keys;
	struct tailcfg_service *services;
	uint32_t service_count;
	const char *services_hash;
	const char *exit_node_id;
	struct tailcfg_net_info *net_info; /* NULL: not known yet */
};

/* Reads only what is kept of a node in a map. */
extern const struct json_members tailcfg_hostinfo_of_peer;

/*
 * A peer writes its own Hostinfo and control forwards it, so no content of it may make
 * the map unusable: members of the wrong type are ignored, and decoding fails without memory only.
 */
DECLARE_MEMBERS(tailcfg_hostinfo);

/**
 * tailcfg_net_info_basically_equal() - Whether a change needs no update to control (protocol.md 4.6)
 *
 * All flags, the home region and the link type are compared.
 */
bool tailcfg_net_info_basically_equal(const struct tailcfg_net_info *a,
				      const struct tailcfg_net_info *b);

/* One entry of a CapMap. */
struct tailcfg_capability {
	const char *name;
	const char *values; /* JSON, or NULL when it only has to be present */
};

struct tailcfg_capability_list {
	struct tailcfg_capability *items; /* sorted by name */
	uint32_t count;
};

/* Self or a peer. Thousands are held: about 400 bytes and a few small blocks each. */
struct tailcfg_node {
	int64_t id;
	const char *stable_id;
	const char *name; /* "host.tailnet.example." with the dot; NULL possible */
	int64_t user;
	int64_t sharer;
	struct public_key key; /* WireGuard */
	struct public_key machine;
	struct public_key disco_key; /* zero: not reachable unless is_wireguard_only */
	nanoseconds key_expiry;      /* JSON_TIME_NONE: never */
	nanoseconds created;
	nanoseconds last_seen;          /* JSON_TIME_NONE: not known */
	struct prefix_list addresses;   /* its own, host prefixes */
	struct prefix_list allowed_ips; /* what may come from it and go to it */
	struct prefix_list primary_routes;
	struct endpoint_list endpoints;
	uint16_t home_derp; /* home region; 0 not known */
	uint16_t cap;       /* its capability version */
	enum optional_bool online;
	bool machine_authorized;
	bool unsigned_peer_api_only;
	bool expired;
	bool is_wireguard_only;
	bool is_jailed;
	struct string_list tags;
	struct tailcfg_capability_list cap_map;
	struct tailcfg_hostinfo *hostinfo;         /* NULL: none sent */
	struct address self_v4_masq_for_this_peer; /* ADDRESS_NONE: none */
	struct address self_v6_masq_for_this_peer;
	const char
		*computed_name; /* NULL unless control sent one; see tailcfg_node_display_name() */
	const char *key_signature;     /* base64, Tailnet Lock */
	const char *stable_tailnet_id; /* self only */
};

struct tailcfg_user_profile {
	int64_t id;
	const char *login_name;
	const char *display_name;
	const char *profile_pic_url;
};

/*
 * Decoding normalises a Node (protocol.md 4.3, apply order 2): a legacy DERP "127.3.3.40:N" becomes
 * home_derp, AllowedIPs absent or null become the addresses, a peer that is UnsignedPeerAPIOnly
 * keeps no other allowed IPs, and the deprecated Capabilities join the CapMap.
 */
DECLARE_MEMBERS(tailcfg_node);
DECLARE_MEMBERS(tailcfg_user_profile);

/* A PeerChange: a partial update of a peer, read into a node. What is null or absent stays. */
extern const struct json_members tailcfg_peer_change_members;

/* An object in JSON whose members are struct tailcfg_capability. */
extern const struct json_members tailcfg_capability_members;

/** tailcfg_capability_find() - The entry, or NULL: the capability is not held */
const struct tailcfg_capability *tailcfg_capability_find(const struct tailcfg_capability_list *list,
							 const char *name);

/**
 * tailcfg_node_display_name() - For people: the first label of its name, else its hostname
 *
 * Return: @out, "" if it has neither
 */
const char *tailcfg_node_display_name(const struct tailcfg_node *node, char out[static 64]);

/* The answer to a ping of a peer, for local programs and for control. */
struct tailcfg_ping_result {
	struct address target;
	const char *name;  /* of the peer, "" if it is gone */
	const char *error; /* "" for an answer in time */
	double latency_seconds;
	struct endpoint endpoint; /* of a direct path; ADDRESS_NONE: there is none */
	uint16_t region;          /* of the relay that carried it; 0: none */
	const char *region_code;
	uint16_t peer_api_port;   /* TSMP, peerapi; 0: not known */
	const char *peer_api_url; /* peerapi; NULL or "": none */
};
