/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_hostinfo.c - Hostinfo and NetInfo, both ways */
#include "wire/tailcfg_hostinfo.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HOSTINFO(...) MEMBER(struct tailcfg_hostinfo, __VA_ARGS__)
#define NET_INFO(...) MEMBER(struct tailcfg_net_info, __VA_ARGS__)
#define SERVICE(...)  MEMBER(struct tailcfg_service, __VA_ARGS__)

/* --- NetInfo --- */

static void decode_latencies(struct json_reader *r, const char *name, void *at)
{
	json_t *map = json_get_object(r, name), *value;
	struct tailcfg_latency_list *list = at;
	size_t count = json_object_size(map);
	const char *region;

	if (!count)
		return;
	list->items = json_items(r, name, count, sizeof(*list->items));
	if (!list->items)
		return;
	json_object_foreach(map, region, value) {
		struct tailcfg_region_latency *l = &list->items[list->count];

		if (!json_is_number(value) || strlen(region) >= sizeof(l->region))
			continue;
		strcpy(l->region, region);
		l->seconds = json_number_value(value);
		list->count++;
	}
}

static void encode_latencies(struct json_writer *w, const char *name, const void *at)
{
	const struct tailcfg_latency_list *list = at;

	if (!list->count)
		return;
	json_begin_object(w, name);
	for (uint32_t i = 0; i < list->count; i++)
		json_put_number(w, list->items[i].region, list->items[i].seconds);
	json_end_object(w);
}

static void clear_latencies(void *at)
{
	free(((struct tailcfg_latency_list *)at)->items);
}

static int copy_latencies(const void *from, void *to)
{
	const struct tailcfg_latency_list *original = from;
	struct tailcfg_latency_list *list = to;

	*list = (struct tailcfg_latency_list){0};
	if (!original->count)
		return 0;
	list->items = reallocarray(NULL, original->count, sizeof(*list->items));
	if (!list->items)
		return -ENOMEM;
	memcpy(list->items, original->items, original->count * sizeof(*list->items));
	list->count = original->count;
	return 0;
}

static const struct json_member_functions latencies = {
	.clear = clear_latencies,
	.decode = decode_latencies,
	.encode = encode_latencies,
	.copy = copy_latencies,
};

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
	MEMBER_BY(struct tailcfg_net_info, "DERPLatency", latencies, &latencies),
	NET_INFO(TEXT, "FirewallMode", firewall_mode),
};

static const struct json_members net_info =
	MEMBERS("NetInfo", struct tailcfg_net_info, net_info_members, .lenient = true);

bool tailcfg_net_info_basically_equal(const struct tailcfg_net_info *a,
				      const struct tailcfg_net_info *b)
{
	if (!a || !b)
		return a == b;
	/* The functions of the latencies call them equal. */
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
	MEMBER_ITEMS(struct tailcfg_hostinfo, "Services", services, service_count, &service),
	MEMBER_STRUCT(struct tailcfg_hostinfo, "NetInfo", net_info, &net_info, .own = true),
};

static const struct json_members hostinfo =
	MEMBERS("Hostinfo", struct tailcfg_hostinfo, hostinfo_members, .lenient = true);

const struct json_members tailcfg_hostinfo_of_peer = MEMBERS(
	"Hostinfo", struct tailcfg_hostinfo, hostinfo_members, .lenient = true, .skip_own = true);

void tailcfg_hostinfo_clear(struct tailcfg_hostinfo *info)
{
	members_clear(&hostinfo, info);
}

int tailcfg_hostinfo_decode(const json_t *json, struct tailcfg_hostinfo *ret)
{
	return members_decode(&hostinfo, json, ret, NULL);
}

void tailcfg_hostinfo_encode(struct json_writer *w, const char *name,
			     const struct tailcfg_hostinfo *info)
{
	members_encode(&hostinfo, w, name, info);
}

int tailcfg_hostinfo_copy(const struct tailcfg_hostinfo *from, struct tailcfg_hostinfo *ret)
{
	return members_copy(&hostinfo, from, ret);
}
