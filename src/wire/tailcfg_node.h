/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_node.h - a node of the tailnet, a change to one, and its user */
#pragma once

#include "wire/members.h"
#include "wire/tailcfg_hostinfo.h"

/* One entry of a CapMap. */
struct tailcfg_capability {
	const char *name;
	const char *values; /* JSON array text, or NULL when it only has to be present */
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

/* A partial update of one peer. What is absent stays as it is. */
struct tailcfg_peer_change {
	int64_t node_id;
	uint16_t derp_region; /* 0 unchanged */
	uint16_t cap;         /* 0 unchanged */
	bool has_cap_map;
	bool has_endpoints;
	bool has_key;
	bool has_disco_key;
	bool has_last_seen;
	bool has_key_expiry;
	enum optional_bool online; /* unset: unchanged */
	struct tailcfg_capability_list cap_map;
	struct endpoint_list endpoints;
	struct public_key key;
	struct public_key disco_key;
	const char *key_signature; /* NULL unchanged */
	nanoseconds last_seen;
	nanoseconds key_expiry;
};

struct tailcfg_user_profile {
	int64_t id;
	const char *login_name;
	const char *display_name;
	const char *profile_pic_url;
};

extern const struct json_members tailcfg_node_members, tailcfg_user_profile_members;

/** tailcfg_cap_map_clear(), … - Of a struct tailcfg_capability_list, for tables of members */
void tailcfg_cap_map_clear(void *list);
void tailcfg_cap_map_encode(struct json_writer *w, const char *name, const void *list);
bool tailcfg_capability_list_equal(const struct tailcfg_capability_list *a,
				   const struct tailcfg_capability_list *b);
void tailcfg_node_clear(struct tailcfg_node *node);
void tailcfg_peer_change_clear(struct tailcfg_peer_change *change);
void tailcfg_user_profile_clear(struct tailcfg_user_profile *profile);

/** tailcfg_capability_find() - The entry, or NULL: the capability is not held */
const struct tailcfg_capability *tailcfg_capability_find(const struct tailcfg_capability_list *list,
							 const char *name);

/**
 * tailcfg_node_decode() - Read a Node and normalise it (protocol.md 4.3, apply order 2)
 *
 * A legacy DERP "127.3.3.40:N" becomes home_derp, AllowedIPs absent or null become
 * the addresses, a peer that is UnsignedPeerAPIOnly keeps no other allowed IPs, and
 * the deprecated Capabilities join the CapMap. Regions above 65535 are 0.
 *
 * Return: 0, -EINVAL with @err set, -ENOMEM
 */
int tailcfg_node_decode(const json_t *json, struct tailcfg_node *ret, struct error *err);

/** tailcfg_node_parse() - The same from text */
int tailcfg_node_parse(struct json_range text, struct tailcfg_node *ret, struct error *err);

/** tailcfg_node_encode() - Write a Node; decoding it gives an equal one */
void tailcfg_node_encode(struct json_writer *w, const char *name, const struct tailcfg_node *node);

/**
 * tailcfg_node_display_name() - For people: the first label of its name, else its hostname
 *
 * Return: @out, "" if it has neither
 */
const char *tailcfg_node_display_name(const struct tailcfg_node *node, char out[static 64]);

/** tailcfg_peer_change_decode() - Read a PeerChange; as tailcfg_node_decode() */
int tailcfg_peer_change_decode(const json_t *json, struct tailcfg_peer_change *ret,
			       struct error *err);

/** tailcfg_peer_change_encode() - Write a PeerChange */
void tailcfg_peer_change_encode(struct json_writer *w, const char *name,
				const struct tailcfg_peer_change *change);

void tailcfg_user_profile_encode(struct json_writer *w, const char *name,
				 const struct tailcfg_user_profile *profile);
