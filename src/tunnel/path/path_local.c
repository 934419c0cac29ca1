/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/path/path_local.c - our own endpoints: those of node, and those found by STUN */
#include "tunnel/path/path_internal.h"

#include <errno.h>
#include <stdlib.h>

/* The list is a set: of two equal endpoints the first stays. */
static void add_endpoint(struct path_endpoint *list, size_t *count, const struct endpoint *endpoint,
			 enum path_endpoint_type type)
{
	for (size_t i = 0; i < *count; i++)
		if (endpoint_equal(&list[i].endpoint, endpoint))
			return;
	list[(*count)++] = (struct path_endpoint){*endpoint, type};
}

static void add_type(const struct path_engine *e, enum path_endpoint_type type,
		     struct path_endpoint *list, size_t *count)
{
	for (size_t i = 0; i < e->local_count; i++)
		if (e->local[i].type == type)
			add_endpoint(list, count, &e->local[i].endpoint, type);
}

static void add_stun(const struct path_engine *e, enum address_family family,
		     struct path_endpoint *list, size_t *count)
{
	for (size_t i = 0; i < e->stun.result_count; i++)
		if (e->stun.results[i].mapped.address.family == family)
			add_endpoint(list, count, &e->stun.results[i].mapped, PATH_ENDPOINT_STUN);
}

static bool same_set(const struct path_endpoint *a, size_t a_count, const struct path_endpoint *b,
		     size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		bool found = false;

		for (size_t j = 0; j < b_count && !found; j++)
			found = a[i].type == b[j].type &&
				endpoint_equal(&a[i].endpoint, &b[j].endpoint);
		if (!found)
			return false;
	}
	return true;
}

/* call_again() - Send the new list to peers that got the old one and aren't direct yet */
static void call_again(struct path_engine *e, nanoseconds now)
{
	struct path_peer *p;

	LIST_FOREACH(p, &e->live, live_entry)
		if (p->heartbeat_at && p->last_call && !path_is_trusted(p, now) &&
		    now - p->last_call <= PATH_ENDPOINTS_FRESH)
			path_send_call(p, now);
}

void path_tell_endpoints(struct path_engine *e, nanoseconds now)
{
	struct path_endpoint *list;
	bool changed;
	size_t count = 0;

	list = calloc(e->local_count + e->stun.result_count + 1, sizeof(*list));
	if (!list)
		return; /* the next STUN round tries again */
	add_type(e, PATH_ENDPOINT_PORTMAPPED, list, &count);
	add_stun(e, ADDRESS_V4, list, &count);
	add_stun(e, ADDRESS_V6, list, &count);
	add_type(e, PATH_ENDPOINT_STUN_LOCAL_PORT, list, &count);
	add_type(e, PATH_ENDPOINT_EXPLICIT, list, &count);
	add_type(e, PATH_ENDPOINT_LOCAL, list, &count);
	changed = !same_set(list, count, e->told, e->told_count);
	if (!changed && e->working_udp == e->told_working_udp) {
		free(list);
		return;
	}
	free(e->told);
	e->told = list;
	e->told_count = count;
	e->told_working_udp = e->working_udp;
	if (e->callbacks->endpoints_changed)
		e->callbacks->endpoints_changed(e->ctx, e->told, e->told_count, e->working_udp);
	if (changed)
		call_again(e, now);
}

void path_note_udp(struct path_engine *e, nanoseconds now)
{
	e->udp_heard_at = now;
	if (e->working_udp)
		return;
	e->working_udp = true;
	path_tell_endpoints(e, now);
}

int path_set_local_endpoints(struct path_engine *e, const struct path_endpoint *list, size_t count,
			     nanoseconds now)
{
	struct path_endpoint *copy = calloc(count + 1, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	if (count > 0)
		memcpy(copy, list, count * sizeof(*copy));
	free(e->local);
	e->local = copy;
	e->local_count = count;
	path_tell_endpoints(e, now);
	return 0;
}

static bool is_advertised(const struct path_interface_address *a, bool loopback)
{
	const struct address *address = &a->address;

	if (a->own_tunnel || address->family == ADDRESS_NONE || address_is_tailnet(address) ||
	    address_is_link_local(address) || address_is_multicast(address) ||
	    address_is_unspecified(address))
		return false;
	return address_is_loopback(address) == loopback;
}

size_t path_filter_local(const struct path_interface_address *in, size_t count, uint16_t port_v4,
			 uint16_t port_v6, struct path_endpoint *out, size_t capacity)
{
	size_t used = 0;

	for (int loopback = 0; loopback <= 1 && used == 0; loopback++) {
		for (size_t i = 0; i < count && used < capacity; i++) {
			struct endpoint endpoint = {.address = in[i].address};

			endpoint.port = in[i].address.family == ADDRESS_V4 ? port_v4 : port_v6;
			if (endpoint.port != 0 && is_advertised(&in[i], loopback != 0))
				add_endpoint(out, &used, &endpoint, PATH_ENDPOINT_LOCAL);
		}
	}
	return used;
}
