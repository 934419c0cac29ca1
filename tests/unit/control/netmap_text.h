/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/control/netmap_text.h - feed a netmap with JSON, read it as JSON */
#pragma once

#include "control/netmap.h"
#include "unit/unit.h"

#define NOW (INT64_C(1800000000) * NSEC_PER_SEC)

/* Apply the text; the result of parsing or applying. @change is cleared first. */
static inline int feed(struct netmap *map, const char *text, struct netmap_change *change)
{
	struct tailcfg_map_response response;
	struct error err = {0};
	int r;

	netmap_change_clear(change);
	r = tailcfg_map_response_parse(text, strlen(text), &response, &err);
	if (r < 0)
		return r;
	r = netmap_apply(map, &response, NOW, change, &err);
	tailcfg_map_response_clear(&response);
	return r;
}

/* A node as its JSON; the caller frees it. */
static inline char *node_text(const struct tailcfg_node *node)
{
	struct buffer out = BUFFER_INIT(1 << 20);
	struct json_writer w = json_writer_to(&out);

	tailcfg_node_encode(&w, NULL, node);
	assert_int_equal(json_writer_result(&w), 0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	return (char *)out.data;
}
