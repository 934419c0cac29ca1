/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_hostinfo.h - a node's description of its host and its network */
#pragma once

#include "wire/members.h"

/* Node.Hostinfo.Services */
struct tailcfg_service {
	const char *protocol; /* "tcp", "udp", "peerapi4", "peerapi6", "peerapi-dns-proxy" */
	uint16_t port;
	const char *description;
};

struct tailcfg_region_latency {
	char region[16]; /* "<region>-v4" or "<region>-v6" */
	double seconds;
};

struct tailcfg_latency_list {
	struct tailcfg_region_latency *items;
	uint32_t count;
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
	int64_t preferred_derp; /* home region; 0 none */
	const char *link_type;  /* "wired", "wifi", "mobile" */
	struct tailcfg_latency_list latencies;
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

void tailcfg_hostinfo_clear(struct tailcfg_hostinfo *info);

/** tailcfg_hostinfo_copy() - A deep copy; 0 or -ENOMEM */
int tailcfg_hostinfo_copy(const struct tailcfg_hostinfo *from, struct tailcfg_hostinfo *ret);

/**
 * tailcfg_hostinfo_decode() - Read a Hostinfo
 *
 * A peer writes its own Hostinfo and control forwards it, so no content of it may make
 * the map unusable: members of the wrong type are ignored.
 *
 * Return: 0, or -ENOMEM
 */
int tailcfg_hostinfo_decode(const json_t *json, struct tailcfg_hostinfo *ret);

/** tailcfg_hostinfo_encode() - Write a Hostinfo with its NetInfo */
void tailcfg_hostinfo_encode(struct json_writer *w, const char *name,
			     const struct tailcfg_hostinfo *info);

/**
 * tailcfg_net_info_basically_equal() - Whether a change needs no update to control (protocol.md 4.6)
 *
 * All flags, the home region and the link type are compared; latencies are not.
 */
bool tailcfg_net_info_basically_equal(const struct tailcfg_net_info *a,
				      const struct tailcfg_net_info *b);
