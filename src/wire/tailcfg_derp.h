/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_derp.h - the relays of a tailnet */
#pragma once

#include "wire/members.h"

#define TAILCFG_DERP_PORT 443
#define TAILCFG_STUN_PORT 3478

struct tailcfg_derp_node {
	const char *name; /* "1a" */
	const char *host_name;
	const char *cert_name; /* NULL: host_name; "sha256-raw:<hex>" pins the certificate */
	uint16_t region_id;
	struct address ipv4; /* ADDRESS_NONE: resolve host_name */
	bool ipv4_disabled;  /* "none": this family is not to be used */
	struct address ipv6;
	bool ipv6_disabled;
	bool stun_only;
	bool insecure_for_tests;
	bool can_port_80;
	uint16_t derp_port; /* never 0: TAILCFG_DERP_PORT by default */
	uint16_t stun_port; /* 0: no STUN here; TAILCFG_STUN_PORT by default */
	struct address stun_test_ip;
};

struct tailcfg_derp_region {
	uint16_t id;      /* never 0 */
	const char *code; /* "fra" */
	const char *name; /* "Frankfurt" */
	bool avoid;
	bool no_measure_no_home;
	struct tailcfg_derp_node *nodes;
	uint32_t node_count;
};

/* Regions are sorted by id. Null ones and those with an id above 65535 are left out. */
struct tailcfg_derp_map {
	struct tailcfg_derp_region *regions;
	uint32_t region_count;
	bool has_regions; /* false in an update: the regions stay as they were */
};

DECLARE_MEMBERS(tailcfg_derp_map);

/** tailcfg_derp_map_region() - The region with that id, or NULL */
const struct tailcfg_derp_region *tailcfg_derp_map_region(const struct tailcfg_derp_map *map,
							  uint16_t id);

/**
 * tailcfg_derp_map_merge() - Apply an update: what it does not say stays (protocol.md 4.5)
 * @map:    the map until now
 * @update: emptied; what it held has moved to @map
 */
void tailcfg_derp_map_merge(struct tailcfg_derp_map *map, struct tailcfg_derp_map *update);
