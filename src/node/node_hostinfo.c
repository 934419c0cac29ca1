/* SPDX-License-Identifier: BSD-3-Clause */
/* node/node_hostinfo.c - the description of this node for control */
#define LOG_ROOM "node"
#include "base/log.h"
#include "node/node_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <sys/utsname.h>

char *node_hostname(const struct node *node, char out[static 64])
{
	const char *name = node->state.prefs.hostname;
	struct utsname system;

	if (!name || !name[0]) {
		uname(&system);
		snprintf(out, 64, "%.63s", system.nodename);
	} else {
		snprintf(out, 64, "%.63s", name);
	}
	return out;
}

static enum optional_bool optional(bool value)
{
	return value ? OPTIONAL_TRUE : OPTIONAL_FALSE;
}

/* has_family() - Whether the machine has a global address of @family beside our own link */
static bool has_family(const struct node *node, enum address_family family)
{
	for (size_t i = 0; i < node->interface_count; i++) {
		const struct address *a = &node->interfaces[i].address;

		if (a->family == family && !node->interfaces[i].own_tunnel &&
		    !address_is_loopback(a) && !address_is_link_local(a))
			return true;
	}
	return false;
}

/* #syscalls: uname */
void node_tell_hostinfo(struct node *node)
{
	const struct prefs *prefs = &node->state.prefs;
	struct tailcfg_net_info net = {
		.working_udp = optional(node->working_udp),
		.working_ipv6 = optional(has_family(node, ADDRESS_V6)),
		.os_has_ipv6 = optional(node->start->udp_v6 >= 0),
		.mapping_varies_by_dest_ip = OPTIONAL_FALSE,
		.upnp = OPTIONAL_FALSE,
		.pmp = OPTIONAL_FALSE,
		.pcp = OPTIONAL_FALSE,
		.working_icmpv4 = OPTIONAL_FALSE,
		.preferred_derp = node->home_derp,
		.link_type = "wired",
		.firewall_mode = "nft-default",
	};
	struct tailcfg_hostinfo info = {
		.ipn_version = NODE_VERSION,
		.os = "linux",
		.app = "pillion/" PILLION_VERSION,
		.go_arch = NODE_ARCHITECTURE,
		.shields_up = prefs->shields_up,
		/* An ingress leads clients here at once, which needs the PeerAPI. */
		.ingress_enabled = node->funnels && node->peerapi_count > 0,
		.wire_ingress = node->names_funnel && !node->funnels,
		.no_logs_no_support = true,
		.container = OPTIONAL_TRUE,
		.userspace = OPTIONAL_FALSE,
		.userspace_router = OPTIONAL_FALSE,
		.net_info = &net,
	};
	struct tailcfg_service services[LIMIT_NET_ADDRESSES];
	struct tailcfg_endpoint endpoints[ARRAY_SIZE(node->endpoints)];
	unsigned char digest[32];
	char log_id[65], name[64];
	struct utsname system;

	if (!node->control)
		return;
	uname(&system);
	info.os_version = system.release;
	info.machine = system.machine;
	info.hostname = node_hostname(node, name);
	/* Some servers want a log ID. It has to be stable, and reveals nothing. */
	crypto_generichash(digest, sizeof(digest), node->state.machine_key.bytes, KEY_SIZE,
			   (const unsigned char *)"pillion log id", 14);
	sodium_bin2hex(log_id, sizeof(log_id), digest, sizeof(digest));
	info.backend_log_id = log_id;
	info.request_tags.items = (char **)prefs->advertise_tags;
	info.request_tags.count = (uint32_t)prefs->advertise_tag_count;
	info.routable_ips.items = prefs->advertise_routes;
	info.routable_ips.count = (uint32_t)prefs->advertise_route_count;

	info.services = services;
	info.service_count = (uint32_t)node->peerapi_count;
	for (uint32_t i = 0; i < info.service_count; i++)
		services[i] = (struct tailcfg_service){
			.protocol = node->peerapi[i].address.family == ADDRESS_V4 ? "peerapi4"
										  : "peerapi6",
			.port = node->peerapi[i].port,
		};

	for (size_t i = 0; i < node->endpoint_count; i++)
		endpoints[i] = (struct tailcfg_endpoint){
			.endpoint = node->endpoints[i].endpoint,
			.type = (enum tailcfg_endpoint_type)node->endpoints[i].type,
		};
	if (control_client_set_hostinfo(node->control, &info) < 0 ||
	    control_client_set_endpoints(node->control, endpoints, node->endpoint_count) < 0)
		log_error("no memory to describe this node to control");
}
