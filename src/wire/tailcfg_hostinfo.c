/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tailcfg_hostinfo.c - Hostinfo and NetInfo, both ways
 *
 * The plain members stand in tables, so that reading, writing and freeing can't
 * disagree about what there is.
 */
#include "wire/tailcfg_hostinfo.h"

#include "base/text.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member {
	const char *name;
	size_t offset;
	bool of_peer; /* a text that is kept of a peer's too */
};

#define HOSTINFO(json_name, member)                                         \
	{                                                                   \
		json_name, offsetof(struct tailcfg_hostinfo, member), false \
	}
#define HOSTINFO_OF_PEER(json_name, member)                                \
	{                                                                  \
		json_name, offsetof(struct tailcfg_hostinfo, member), true \
	}
#define NET_INFO(json_name, member)                                         \
	{                                                                   \
		json_name, offsetof(struct tailcfg_net_info, member), false \
	}

static const struct member texts[] = {
	HOSTINFO("IPNVersion", ipn_version),
	HOSTINFO("BackendLogID", backend_log_id),
	HOSTINFO_OF_PEER("OS", os),
	HOSTINFO("OSVersion", os_version),
	HOSTINFO_OF_PEER("Distro", distro),
	HOSTINFO("DistroVersion", distro_version),
	HOSTINFO("DistroCodeName", distro_code_name),
	HOSTINFO_OF_PEER("App", app),
	HOSTINFO("Package", package),
	HOSTINFO("DeviceModel", device_model),
	HOSTINFO_OF_PEER("Hostname", hostname),
	HOSTINFO("Machine", machine),
	HOSTINFO("GoArch", go_arch),
	HOSTINFO("GoVersion", go_version),
	HOSTINFO("ServicesHash", services_hash),
	HOSTINFO("ExitNodeID", exit_node_id),
};

static const struct member optional_bools[] = {
	HOSTINFO("Container", container),
	HOSTINFO("Userspace", userspace),
	HOSTINFO("UserspaceRouter", userspace_router),
	HOSTINFO("AppConnector", app_connector),
	HOSTINFO("StateEncrypted", state_encrypted),
};

static const struct member bools[] = {
	HOSTINFO("ShieldsUp", shields_up),       HOSTINFO("NoLogsNoSupport", no_logs_no_support),
	HOSTINFO("WireIngress", wire_ingress),   HOSTINFO("IngressEnabled", ingress_enabled),
	HOSTINFO("AllowsUpdate", allows_update), HOSTINFO("PeerRelay", peer_relay),
};

static const struct member net_optional_bools[] = {
	NET_INFO("MappingVariesByDestIP", mapping_varies_by_dest_ip),
	NET_INFO("WorkingIPv6", working_ipv6),
	NET_INFO("OSHasIPv6", os_has_ipv6),
	NET_INFO("WorkingUDP", working_udp),
	NET_INFO("WorkingICMPv4", working_icmpv4),
	NET_INFO("UPnP", upnp),
	NET_INFO("PMP", pmp),
	NET_INFO("PCP", pcp),
};

#define FOREACH_MEMBER(m, table) \
	for (const struct member *m = (table); m < (table) + sizeof(table) / sizeof(*m); m++)
#define MEMBER(type, object, m) ((type *)(void *)((char *)(object) + (m)->offset))
#define MEMBER_CONST(type, object, m) \
	((const type *)(const void *)((const char *)(object) + (m)->offset))

void tailcfg_net_info_clear(struct tailcfg_net_info *info)
{
	free(info->link_type);
	free(info->latencies);
	free(info->firewall_mode);
	*info = (struct tailcfg_net_info){0};
}

void tailcfg_hostinfo_clear(struct tailcfg_hostinfo *info)
{
	FOREACH_MEMBER(m, texts)
		free(*MEMBER(char *, info, m));
	prefix_list_clear(&info->routable_ips);
	string_list_clear(&info->request_tags);
	string_list_clear(&info->ssh_host_keys);
	for (uint32_t i = 0; i < info->service_count; i++)
		free(info->services[i].description);
	free(info->services);
	if (info->net_info)
		tailcfg_net_info_clear(info->net_info);
	free(info->net_info);
	*info = (struct tailcfg_hostinfo){0};
}

static void decode_latencies(struct json_reader *r, struct tailcfg_net_info *ret)
{
	json_t *map = json_get_object(r, "DERPLatency"), *value;
	size_t count = json_object_size(map);
	const char *region;

	if (!count)
		return;
	ret->latencies = calloc(count, sizeof(*ret->latencies));
	if (!ret->latencies) {
		json_reader_fail(r, "DERPLatency", -ENOMEM);
		return;
	}
	json_object_foreach(map, region, value) {
		struct tailcfg_region_latency *l = &ret->latencies[ret->latency_count];

		if (!json_is_number(value) || strlen(region) >= sizeof(l->region))
			continue;
		strcpy(l->region, region);
		l->seconds = json_number_value(value);
		ret->latency_count++;
	}
}

static struct tailcfg_net_info *decode_net_info(const json_t *json, struct json_reader *outer)
{
	struct tailcfg_net_info *info = calloc(1, sizeof(*info));
	struct json_reader r = json_reader_of(json);

	if (!info) {
		json_reader_fail(outer, "NetInfo", -ENOMEM);
		return NULL;
	}
	FOREACH_MEMBER(m, net_optional_bools)
		*MEMBER(enum optional_bool, info, m) = json_get_optional_bool(&r, m->name);
	info->have_port_map = json_get_bool(&r, "HavePortMap");
	info->preferred_derp = json_get_int(&r, "PreferredDERP");
	info->link_type = json_get_string(&r, "LinkType");
	info->firewall_mode = json_get_string(&r, "FirewallMode");
	decode_latencies(&r, info);
	if (r.error == -ENOMEM)
		json_reader_fail(outer, "NetInfo", -ENOMEM);
	return info;
}

static void decode_services(struct json_reader *r, struct tailcfg_hostinfo *ret)
{
	json_t *array = json_get_array(r, "Services"), *item;
	size_t i;

	if (!json_array_size(array))
		return;
	ret->services = calloc(json_array_size(array), sizeof(*ret->services));
	if (!ret->services) {
		json_reader_fail(r, "Services", -ENOMEM);
		return;
	}
	json_array_foreach(array, i, item) {
		struct tailcfg_service *s = &ret->services[ret->service_count];
		struct json_reader service = json_reader_of(item);
		const char *protocol = json_get_text(&service, "Proto");
		int64_t port = json_get_int(&service, "Port");

		if (strlen(protocol) >= sizeof(s->protocol) || port < 0 || port > UINT16_MAX)
			continue;
		strcpy(s->protocol, protocol);
		s->port = (uint16_t)port;
		s->description = json_get_string(&service, "Description");
		ret->service_count++;
	}
}

static int decode(const json_t *json, bool of_peer, struct tailcfg_hostinfo *ret)
{
	struct json_reader r = json_reader_of(json);
	struct tailcfg_hostinfo info = {0};
	json_t *net_info;

	FOREACH_MEMBER(m, texts)
		if (!of_peer || m->of_peer)
			*MEMBER(char *, &info, m) = json_get_string(&r, m->name);
	FOREACH_MEMBER(m, optional_bools)
		*MEMBER(enum optional_bool, &info, m) = json_get_optional_bool(&r, m->name);
	FOREACH_MEMBER(m, bools)
		*MEMBER(bool, &info, m) = json_get_bool(&r, m->name);
	json_get_prefixes(&r, "RoutableIPs", &info.routable_ips);
	json_get_strings(&r, "RequestTags", &info.request_tags);
	json_get_strings(&r, "sshHostKeys", &info.ssh_host_keys);
	decode_services(&r, &info);
	net_info = json_get_object(&r, "NetInfo");
	if (net_info && !of_peer)
		info.net_info = decode_net_info(net_info, &r);
	/* Only lack of memory counts: a peer chose these bytes. */
	if (r.error == -ENOMEM) {
		tailcfg_hostinfo_clear(&info);
		return -ENOMEM;
	}
	*ret = info;
	return 0;
}

int tailcfg_hostinfo_decode(const json_t *json, struct tailcfg_hostinfo *ret)
{
	return decode(json, false, ret);
}

int tailcfg_hostinfo_decode_peer(const json_t *json, struct tailcfg_hostinfo *ret)
{
	return decode(json, true, ret);
}

static void encode_net_info(struct json_writer *w, const struct tailcfg_net_info *info)
{
	json_begin_object(w, "NetInfo");
	FOREACH_MEMBER(m, net_optional_bools)
		json_put_optional_bool(w, m->name, *MEMBER_CONST(enum optional_bool, info, m));
	json_put_bool_if(w, "HavePortMap", info->have_port_map);
	json_put_int_if(w, "PreferredDERP", info->preferred_derp);
	json_put_string_if(w, "LinkType", info->link_type);
	if (info->latency_count) {
		json_begin_object(w, "DERPLatency");
		for (uint32_t i = 0; i < info->latency_count; i++)
			json_put_number(w, info->latencies[i].region, info->latencies[i].seconds);
		json_end_object(w);
	}
	json_put_string_if(w, "FirewallMode", info->firewall_mode);
	json_end_object(w);
}

void tailcfg_hostinfo_encode(struct json_writer *w, const char *name,
			     const struct tailcfg_hostinfo *info)
{
	json_begin_object(w, name);
	FOREACH_MEMBER(m, texts)
		json_put_string_if(w, m->name, *MEMBER_CONST(char *, info, m));
	FOREACH_MEMBER(m, optional_bools)
		json_put_optional_bool(w, m->name, *MEMBER_CONST(enum optional_bool, info, m));
	FOREACH_MEMBER(m, bools)
		json_put_bool_if(w, m->name, *MEMBER_CONST(bool, info, m));
	if (info->routable_ips.count)
		json_put_prefixes(w, "RoutableIPs", &info->routable_ips);
	if (info->request_tags.count)
		json_put_strings(w, "RequestTags", &info->request_tags);
	if (info->ssh_host_keys.count)
		json_put_strings(w, "sshHostKeys", &info->ssh_host_keys);
	if (info->service_count) {
		json_begin_array(w, "Services");
		for (uint32_t i = 0; i < info->service_count; i++) {
			json_begin_object(w, NULL);
			json_put_string(w, "Proto", info->services[i].protocol);
			json_put_int(w, "Port", info->services[i].port);
			json_put_string_if(w, "Description", info->services[i].description);
			json_end_object(w);
		}
		json_end_array(w);
	}
	if (info->net_info)
		encode_net_info(w, info->net_info);
	json_end_object(w);
}

int tailcfg_hostinfo_copy(const struct tailcfg_hostinfo *from, struct tailcfg_hostinfo *ret)
{
	struct buffer text = BUFFER_INIT(SIZE_MAX);
	struct json_writer w = json_writer_to(&text);
	json_t *json;
	int r = -ENOMEM;

	tailcfg_hostinfo_encode(&w, NULL, from);
	if (json_writer_result(&w) == 0) {
		json = json_loadb((char *)buffer_head(&text), text.length, 0, NULL);
		if (json)
			r = tailcfg_hostinfo_decode(json, ret);
		json_decref(json);
	}
	buffer_free(&text);
	return r;
}

bool tailcfg_net_info_basically_equal(const struct tailcfg_net_info *a,
				      const struct tailcfg_net_info *b)
{
	if (!a || !b)
		return a == b;
	FOREACH_MEMBER(m, net_optional_bools)
		if (*MEMBER_CONST(enum optional_bool, a, m) !=
		    *MEMBER_CONST(enum optional_bool, b, m))
			return false;
	return a->have_port_map == b->have_port_map && a->preferred_derp == b->preferred_derp &&
	       text_equal(a->link_type, b->link_type);
}
