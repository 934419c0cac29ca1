/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_node.c - Hostinfo, Node, PeerChange and UserProfile, both ways */
#include "wire/tailcfg_node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A node's home region in the old form is an endpoint at this address. */
#define LEGACY_DERP "127.3.3.40:"

#define HOSTINFO(...) MEMBER(struct tailcfg_hostinfo, __VA_ARGS__)
#define NET_INFO(...) MEMBER(struct tailcfg_net_info, __VA_ARGS__)
#define SERVICE(...)  MEMBER(struct tailcfg_service, __VA_ARGS__)
#define NODE(...)     MEMBER(struct tailcfg_node, __VA_ARGS__)
#define USER(...)     MEMBER(struct tailcfg_user_profile, __VA_ARGS__)

/* --- NetInfo --- */

static const struct json_member net_info_members[] = {
	NET_INFO(OPTIONAL_BOOL, "MappingVariesByDestIP", mapping_varies_by_dest_ip),
	NET_INFO(OPTIONAL_BOOL, "WorkingIPv6", working_ipv6),
	NET_INFO(OPTIONAL_BOOL, "OSHasIPv6", os_has_ipv6),
	NET_INFO(OPTIONAL_BOOL, "WorkingUDP", working_udp),
	NET_INFO(OPTIONAL_BOOL, "WorkingICMPv4", working_icmpv4),
	NET_INFO(OPTIONAL_BOOL, "UPnP", upnp),
	NET_INFO(OPTIONAL_BOOL, "PMP", pmp),
	NET_INFO(OPTIONAL_BOOL, "PCP", pcp),
	NET_INFO(BOOL, "HavePortMap", have_port_map),
	NET_INFO(INT, "PreferredDERP", preferred_derp),
	NET_INFO(TEXT, "LinkType", link_type),
	NET_INFO(TEXT, "FirewallMode", firewall_mode),
};

static const struct json_members net_info =
	MEMBERS("NetInfo", struct tailcfg_net_info, net_info_members, .lenient = true);

bool tailcfg_net_info_basically_equal(const struct tailcfg_net_info *a,
				      const struct tailcfg_net_info *b)
{
	if (!a || !b)
		return a == b;
	for (size_t i = 0; i < net_info.count; i++)
		if (net_info.list[i].offset != offsetof(struct tailcfg_net_info, firewall_mode) &&
		    !member_equal(&net_info.list[i], a, b))
			return false;
	return true;
}

/* --- Hostinfo --- */

static const struct json_member service_members[] = {
	SERVICE(TEXT, "Proto", protocol, .always = true),
	SERVICE(UINT16, "Port", port, .always = true),
	SERVICE(TEXT, "Description", description),
};

static const struct json_members service =
	MEMBERS("service", struct tailcfg_service, service_members, .lenient = true);

static const struct json_member hostinfo_members[] = {
	HOSTINFO(TEXT, "IPNVersion", ipn_version, .own = true),
	HOSTINFO(TEXT, "BackendLogID", backend_log_id, .own = true),
	HOSTINFO(TEXT, "OS", os),
	HOSTINFO(TEXT, "OSVersion", os_version, .own = true),
	HOSTINFO(TEXT, "Distro", distro),
	HOSTINFO(TEXT, "DistroVersion", distro_version, .own = true),
	HOSTINFO(TEXT, "DistroCodeName", distro_code_name, .own = true),
	HOSTINFO(TEXT, "App", app),
	HOSTINFO(TEXT, "Package", package, .own = true),
	HOSTINFO(TEXT, "DeviceModel", device_model, .own = true),
	HOSTINFO(TEXT, "Hostname", hostname),
	HOSTINFO(TEXT, "Machine", machine, .own = true),
	HOSTINFO(TEXT, "GoArch", go_arch, .own = true),
	HOSTINFO(TEXT, "GoVersion", go_version, .own = true),
	HOSTINFO(TEXT, "ServicesHash", services_hash, .own = true),
	HOSTINFO(TEXT, "ExitNodeID", exit_node_id, .own = true),
	HOSTINFO(OPTIONAL_BOOL, "Container", container),
	HOSTINFO(OPTIONAL_BOOL, "Userspace", userspace),
	HOSTINFO(OPTIONAL_BOOL, "UserspaceRouter", userspace_router),
	HOSTINFO(OPTIONAL_BOOL, "AppConnector", app_connector),
	HOSTINFO(OPTIONAL_BOOL, "StateEncrypted", state_encrypted),
	HOSTINFO(BOOL, "ShieldsUp", shields_up),
	HOSTINFO(BOOL, "NoLogsNoSupport", no_logs_no_support),
	HOSTINFO(BOOL, "WireIngress", wire_ingress),
	HOSTINFO(BOOL, "IngressEnabled", ingress_enabled),
	HOSTINFO(BOOL, "AllowsUpdate", allows_update),
	HOSTINFO(BOOL, "PeerRelay", peer_relay),
	HOSTINFO(PREFIXES, "RoutableIPs", routable_ips),
	HOSTINFO(STRINGS, "RequestTags", request_tags),
	HOSTINFO(STRINGS, "sshHostKeys", ssh_host_keys),
	MEMBER_LIST(struct tailcfg_hostinfo, ITEMS, "Services", services, service_count, &service),
	MEMBER_STRUCT(struct tailcfg_hostinfo, "NetInfo", net_info, &net_info, .own = true),
};

const struct json_members tailcfg_hostinfo_members =
	MEMBERS("Hostinfo", struct tailcfg_hostinfo, hostinfo_members, .lenient = true);

const struct json_members tailcfg_hostinfo_of_peer = MEMBERS(
	"Hostinfo", struct tailcfg_hostinfo, hostinfo_members, .lenient = true, .skip_own = true);

/* --- Capabilities --- */

static int by_name(const void *a, const void *b)
{
	const struct tailcfg_capability *left = a, *right = b;

	return strcmp(left->name, right->name);
}

const struct tailcfg_capability *tailcfg_capability_find(const struct tailcfg_capability_list *list,
							 const char *name)
{
	const struct tailcfg_capability wanted = {.name = name};

	if (!list->count)
		return NULL;
	return bsearch(&wanted, list->items, list->count, sizeof(wanted), by_name);
}

static const struct json_member capability_members[] = {
	MEMBER(struct tailcfg_capability, RAW, NULL, values, .always = true),
};

const struct json_members tailcfg_capability_members =
	MEMBERS("capability", struct tailcfg_capability, capability_members);

#define CAP_MAP                                                                       \
	MEMBER_LIST(struct tailcfg_node, MAP, "CapMap", cap_map.items, cap_map.count, \
		    &tailcfg_capability_members)

/* join_capabilities() - The bare names of the deprecated list beside CapMap, whose names come first */
static void join_capabilities(struct json_reader *r, struct tailcfg_capability_list *list)
{
	json_t *names = json_get_array(r, "Capabilities"), *value;
	size_t room = list->count + json_array_size(names), i;
	struct tailcfg_capability_list old, all;

	if (!json_array_size(names))
		return;
	all.items = reallocarray(list->items, room, sizeof(*all.items));
	if (!all.items) {
		json_reader_fail(r, "Capabilities", -ENOMEM);
		return;
	}
	all.count = list->count;
	old = all;
	json_array_foreach(names, i, value) {
		const char *name = json_string_value(value);
		struct tailcfg_capability *next = &all.items[all.count];

		if (name && tailcfg_capability_find(&old, name))
			continue;
		*next = (struct tailcfg_capability){.name = name ? strdup(name) : NULL};
		if (next->name)
			all.count++;
		else
			json_reader_fail(r, "Capabilities", name ? -ENOMEM : -EINVAL);
	}
	qsort(all.items, all.count, sizeof(*all.items), by_name);
	*list = (struct tailcfg_capability_list){.items = all.items};
	for (i = 0; i < all.count; i++)
		if (list->count && by_name(&all.items[list->count - 1], &all.items[i]) == 0)
			free((char *)all.items[i].name);
		else
			list->items[list->count++] = all.items[i];
}

/* --- Node --- */

/* finish_node() - What an older server writes otherwise, and what one member means for another */
static void finish_node(struct json_reader *r, void *object)
{
	struct tailcfg_node *node = object;
	const char *legacy = json_get_text(r, "DERP");
	struct endpoint e;

	if (!node->home_derp && strncmp(legacy, LEGACY_DERP, strlen(LEGACY_DERP)) == 0 &&
	    endpoint_parse(legacy, strlen(legacy), &e) == 0)
		node->home_derp = e.port;
	/* Absent or null is not the same as []: it stands for the node's own addresses. */
	if (!json_get(r, "AllowedIPs") || node->unsigned_peer_api_only) {
		prefix_list_clear(&node->allowed_ips);
		if (prefix_list_copy(&node->addresses, &node->allowed_ips) < 0)
			json_reader_fail(r, "AllowedIPs", -ENOMEM);
	}
	join_capabilities(r, &node->cap_map);
	if (node->id <= 0)
		json_reader_fail(r, "ID", -EINVAL);
}

static const struct json_member node_members[] = {
	NODE(INT, "ID", id, .always = true),
	NODE(TEXT, "StableID", stable_id, .always = true),
	NODE(TEXT, "Name", name, .always = true),
	NODE(INT, "User", user, .always = true),
	NODE(INT, "Sharer", sharer),
	NODE(NODE_KEY, "Key", key, .always = true),
	NODE(TIME, "KeyExpiry", key_expiry, .always = true),
	NODE(TEXT, "KeySignature", key_signature),
	NODE(MACHINE_KEY, "Machine", machine, .always = true),
	NODE(DISCO_KEY, "DiscoKey", disco_key, .always = true),
	NODE(PREFIXES, "Addresses", addresses, .always = true),
	NODE(PREFIXES, "AllowedIPs", allowed_ips, .always = true),
	NODE(ENDPOINTS, "Endpoints", endpoints),
	NODE(UINT16, "HomeDERP", home_derp),
	MEMBER_STRUCT(struct tailcfg_node, "Hostinfo", hostinfo, &tailcfg_hostinfo_of_peer),
	NODE(TIME, "Created", created, .always = true),
	NODE(UINT16, "Cap", cap),
	NODE(STRINGS, "Tags", tags),
	NODE(PREFIXES, "PrimaryRoutes", primary_routes),
	NODE(TIME, "LastSeen", last_seen),
	NODE(OPTIONAL_BOOL, "Online", online),
	NODE(BOOL, "MachineAuthorized", machine_authorized),
	CAP_MAP,
	NODE(BOOL, "UnsignedPeerAPIOnly", unsigned_peer_api_only),
	NODE(TEXT, "ComputedName", computed_name),
	NODE(BOOL, "Expired", expired),
	NODE(ADDRESS, "SelfNodeV4MasqAddrForThisPeer", self_v4_masq_for_this_peer),
	NODE(ADDRESS, "SelfNodeV6MasqAddrForThisPeer", self_v6_masq_for_this_peer),
	NODE(BOOL, "IsWireGuardOnly", is_wireguard_only),
	NODE(BOOL, "IsJailed", is_jailed),
	NODE(TEXT, "StableTailnetID", stable_tailnet_id),
};

const struct json_members tailcfg_node_members =
	MEMBERS("node", struct tailcfg_node, node_members, .finish = finish_node);

const char *tailcfg_node_display_name(const struct tailcfg_node *node, char out[static 64])
{
	const char *name = node->computed_name ? node->computed_name : node->name;
	size_t length;

	if (!name)
		name = node->hostinfo && node->hostinfo->hostname ? node->hostinfo->hostname : "";
	length = strcspn(name, ".");
	if (length > 63)
		length = 63;
	memcpy(out, name, length);
	out[length] = 0;
	return out;
}

/* --- PeerChange --- */

static const struct json_member change_members[] = {
	NODE(INT, "NodeID", id),
	NODE(UINT16, "DERPRegion", home_derp),
	NODE(UINT16, "Cap", cap),
	CAP_MAP,
	NODE(ENDPOINTS, "Endpoints", endpoints),
	NODE(NODE_KEY, "Key", key),
	NODE(TEXT, "KeySignature", key_signature),
	NODE(DISCO_KEY, "DiscoKey", disco_key),
	NODE(OPTIONAL_BOOL, "Online", online),
	NODE(TIME, "LastSeen", last_seen),
	NODE(TIME, "KeyExpiry", key_expiry),
};

const struct json_members tailcfg_peer_change_members =
	MEMBERS("peer change", struct tailcfg_node, change_members);

/* --- UserProfile --- */

static const struct json_member user_members[] = {
	USER(INT, "ID", id, .always = true),
	USER(TEXT, "LoginName", login_name, .always = true),
	USER(TEXT, "DisplayName", display_name, .always = true),
	USER(TEXT, "ProfilePicURL", profile_pic_url),
};

const struct json_members tailcfg_user_profile_members =
	MEMBERS("user profile", struct tailcfg_user_profile, user_members);
