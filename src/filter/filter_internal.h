/* SPDX-License-Identifier: BSD-3-Clause */
/* filter/filter_internal.h - a compiled filter, for compile.c, which makes it, and filter.c */
#pragma once

#include "base/cleanup.h"
#include "filter/filter.h"
#include "filter/ip_set.h"

struct filter_destination {
	struct ip_set net;
	uint16_t first_port;
	uint16_t last_port;
};

struct filter_capability {
	char *name;
	char *values; /* JSON array, or NULL */
};

struct filter_grant {
	struct ip_set destinations;
	struct filter_capability *capabilities;
	size_t capability_count;
};

struct filter_rule {
	uint8_t protocols[32]; /* a bit for each number */
	struct ip_set sources;
	char **source_capabilities; /* or the peer has one of these */
	size_t source_capability_count;
	struct filter_destination *destinations;
	size_t destination_count;
	struct filter_grant *grants;
	size_t grant_count;
};

struct filter {
	struct ip_set local;
	struct filter_rule *rules; /* none with shields up, or when discarded */
	size_t rule_count;
	struct endpoint *peerapi;
	size_t peerapi_count;
	filter_capability_test has_capability;
	bool shields_up;
	bool discarded;
};
