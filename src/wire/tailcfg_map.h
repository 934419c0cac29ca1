/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tailcfg_map.h - POST /machine/map: the request, and each message of the answer
 *
 * A MapResponse is decoded without its peers: their lists stay byte ranges into
 * the received text, to be walked with json_scan and decoded one by one.
 */
#pragma once

#include "wire/tailcfg_derp.h"
#include "wire/tailcfg_filter.h"
#include "wire/tailcfg_node.h"

/* How names are to be resolved in a tailnet. */
struct tailcfg_resolver {
	const char *addr; /* "ip", "ip:port", "https://…", "http://ip:port/dns-query", "tls://…" */
	struct string_list bootstrap_resolution;
	bool use_with_exit_node;
};

struct tailcfg_resolver_list {
	struct tailcfg_resolver *items;
	uint32_t count;
};

struct tailcfg_dns_route {
	const char *suffix;
	struct tailcfg_resolver_list resolvers; /* empty: answered locally */
};

struct tailcfg_dns_route_list {
	struct tailcfg_dns_route *items; /* sorted by suffix */
	uint32_t count;
};

struct tailcfg_dns_record {
	const char *name;
	const char *type; /* NULL: A or AAAA by the value */
	const char *value;
};

struct tailcfg_dns_config {
	struct tailcfg_resolver_list resolvers;
	struct tailcfg_resolver_list fallback_resolvers;
	struct tailcfg_dns_route_list routes;
	struct string_list domains; /* search list */
	bool proxied;               /* MagicDNS is on */
	struct string_list cert_domains;
	struct tailcfg_dns_record *extra_records;
	uint32_t extra_record_count;
	struct string_list exit_node_filtered_set;
};

DECLARE_MEMBERS(tailcfg_dns_config);

/* How we learned of an endpoint of ours. */
enum tailcfg_endpoint_type {
	TAILCFG_ENDPOINT_UNKNOWN = 0,
	TAILCFG_ENDPOINT_LOCAL = 1,
	TAILCFG_ENDPOINT_STUN = 2,
	TAILCFG_ENDPOINT_PORTMAPPED = 3,
	TAILCFG_ENDPOINT_STUN4_LOCAL_PORT = 4,
	TAILCFG_ENDPOINT_EXPLICIT = 5,
};

struct tailcfg_endpoint {
	struct endpoint endpoint;
	enum tailcfg_endpoint_type type;
};

/* Borrows all it points to. */
struct tailcfg_map_request {
	struct public_key node_key;
	struct public_key disco_key;
	bool compress; /* zstd */
	bool stream;   /* long poll, peers included; else a lite update without an answer */
	const struct tailcfg_hostinfo *hostinfo;
	const struct tailcfg_endpoint *endpoints;
	size_t endpoint_count;
};

struct tailcfg_payload {
	uint8_t *bytes;
	size_t length;
};

struct tailcfg_ping_request {
	const char *url;
	bool url_is_noise;
	bool log;
	const char
		*types; /* NULL: HEAD the URL; "c2n"; else a list of disco, TSMP, ICMP, peerapi */
	struct address ip;
	struct tailcfg_payload payload; /* c2n: a raw HTTP/1 request */
};

struct tailcfg_id_flag {
	int64_t id;
	bool value;
};

struct tailcfg_id_flags {
	struct tailcfg_id_flag *items;
	uint32_t count;
};

struct tailcfg_named_filter {
	const char *name;
	bool removed; /* null: this name is gone */
	struct tailcfg_filter filter;
};

struct tailcfg_display_message {
	const char *id;
	bool present; /* not null: that removes it */
	const char *title;
	const char *text;
	const char *severity; /* "high", "medium", "low" */
	bool impacts_connectivity;
	const char *action_url;
	const char *action_label;
};

struct tailcfg_display_changes {
	struct tailcfg_display_message *items;
	uint32_t count;
	bool clear; /* "*": null, before the others */
};

struct tailcfg_dial_candidate {
	struct address ip; /* ADDRESS_NONE: none, or only an ACE host, which we don't speak */
	int64_t priority;  /* higher is better */
};

struct tailcfg_client_version {
	bool running_latest;
	bool urgent_security_update;
	bool notify;
	const char *latest_version;
	const char *notify_url;
	const char *notify_text;
};

struct tailcfg_map_response {
	struct tailcfg_ping_request *ping_request;
	bool keep_alive;
	const char *pop_browser_url;
	struct tailcfg_node *node;         /* NULL unchanged */
	struct tailcfg_derp_map *derp_map; /* NULL unchanged; an update: see has_regions */
	struct json_range peers;           /* arrays inside the text; at = NULL: absent or null */
	struct json_range peers_changed;
	struct json_range peers_changed_patch;
	struct int_list peers_removed;
	struct tailcfg_id_flags peer_seen_change;
	struct tailcfg_id_flags online_change;
	struct tailcfg_dns_config *dns_config; /* NULL unchanged */
	const char *domain;                    /* NULL unchanged */
	bool filters_clear;                    /* "*": null, before the named ones */
	struct tailcfg_named_filter *filters;  /* a legacy PacketFilter comes first, named "base" */
	uint32_t filter_count;
	struct error filter_error; /* code < 0: unparsable; filters are empty */
	struct tailcfg_user_profile *user_profiles;
	uint32_t user_profile_count;
	bool has_health;
	struct string_list health;
	struct tailcfg_display_changes display_messages;
	const char *ssh_policy; /* JSON text; NULL unchanged */
	nanoseconds control_time;
	bool has_tka_info;
	bool tka_disabled;
	const char *tka_head;
	bool has_debug;
	double debug_sleep_seconds;
	bool debug_has_exit;
	bool has_dial_plan;
	struct tailcfg_dial_candidate *dial_candidates;
	uint32_t dial_candidate_count;
	struct tailcfg_client_version *client_version;
};

DECLARE_MEMBERS(tailcfg_ping_request);
DECLARE_MEMBERS(tailcfg_client_version);

/* Without its id. */
extern const struct json_members tailcfg_display_message_members;
void tailcfg_display_message_clear(struct tailcfg_display_message *message);

void tailcfg_named_filter_clear(struct tailcfg_named_filter *filter);
void tailcfg_map_response_clear(struct tailcfg_map_response *response);

/** tailcfg_map_request_encode() - The body of a stream or a lite update */
int tailcfg_map_request_encode(const struct tailcfg_map_request *request, struct buffer *out);

/**
 * tailcfg_map_response_parse() - One message of the map stream
 * @text:   stays the caller's, and must live as long as @ret: the peers are ranges of it
 *
 * Return: 0, -EBADMSG (not JSON), -EINVAL (wrong types), -ENOMEM;
 *         @err says which member
 */
int tailcfg_map_response_parse(const char *text, size_t length, struct tailcfg_map_response *ret,
			       struct error *err);
