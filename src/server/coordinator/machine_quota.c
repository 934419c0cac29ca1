/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_quota.c - limits for strangers and for one machine
 *
 * Theory of operation
 *   A guest has proved a machine key, which anyone can make, but has not asked for a map yet.
 *   Guests are bounded by number, where the oldest goes, and by the bytes that their requests make
 *   us hold, where the one that holds most goes: of one source and of all. A machine has a
 *   number of connections, guest or node: its oldest goes.
 */
#include "server/coordinator/coordinator_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <stdlib.h>

#define GUEST_COST 8192u /* of a connection without a request */

/* The connections of one machine key, newest first. */
struct machine {
	struct public_key key;
	struct machine_connection *connections;
	unsigned int count;
	UT_hash_handle hh;
};

static int machine_begin(struct machine_connection *n)
{
	struct coordinator *c = n->control;
	struct machine *m;

	HASH_FIND(hh, c->machines, &n->machine, sizeof(n->machine), m);
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		m->key = n->machine;
		HASH_ADD(hh, c->machines, key, sizeof(m->key), m);
	}
	n->of = m;
	n->next_of_machine = m->connections;
	m->connections = n;
	m->count++;
	return 0;
}

static void machine_end(struct machine_connection *n)
{
	struct machine *m = TAKE_PTR(n->of);
	struct machine_connection **link = &m->connections;

	while (*link != n)
		link = &(*link)->next_of_machine;
	*link = n->next_of_machine;
	if (--m->count > 0)
		return;
	HASH_DELETE(hh, n->control->machines, m);
	free(m);
}

static void charge(struct machine_connection *n, size_t bytes)
{
	struct coordinator *c = n->control;

	c->guest_bytes += bytes - n->charged;
	c->guest_bytes_of[n->source] += (uint32_t)(bytes - n->charged);
	n->charged = bytes;
}

int machine_quota_begin(struct machine_connection *n)
{
	struct coordinator *c = n->control;

	if (machine_begin(n) < 0)
		return -ENOMEM;
	n->guest = true;
	n->older = c->newest_guest;
	*(n->older ? &n->older->newer : &c->oldest_guest) = n;
	c->newest_guest = n;
	c->guest_count++;
	c->guests_of[n->source]++;
	charge(n, GUEST_COST);
	return 0;
}

void machine_quota_adopted(struct machine_connection *n)
{
	struct coordinator *c = n->control;

	if (!n->guest)
		return;
	charge(n, 0);
	n->guest = false;
	*(n->older ? &n->older->newer : &c->oldest_guest) = n->newer;
	*(n->newer ? &n->newer->older : &c->newest_guest) = n->older;
	n->older = n->newer = NULL;
	c->guest_count--;
	c->guests_of[n->source]--;
}

void machine_connection_free(struct machine_connection *n)
{
	deadlines_clear(&n->due);
	machine_quota_adopted(n);
	machine_end(n);
	*n->link = n->next;
	if (n->next)
		n->next->link = n->link;
	free(n);
}

void machine_connection_close(struct machine_connection *n)
{
	http2_server_close(TAKE_PTR(n->http2));
	machine_connection_free(n);
}

/* oldest() - Of a source; WEB_SOURCE_LOCAL: of all */
static struct machine_connection *oldest(const struct coordinator *c, unsigned int source)
{
	struct machine_connection *n = c->oldest_guest;

	while (source != WEB_SOURCE_LOCAL && n->source != source)
		n = n->newer;
	return n;
}

/* largest() - The guest that holds most bytes, of a source or of all */
static struct machine_connection *largest(const struct coordinator *c, unsigned int source)
{
	struct machine_connection *most = oldest(c, source);

	for (struct machine_connection *n = most->newer; n; n = n->newer)
		if (n->charged > most->charged &&
		    (source == WEB_SOURCE_LOCAL || n->source == source))
			most = n;
	return most;
}

static void cut(struct coordinator *c, struct machine_connection *n)
{
	c->guests_cut++;
	machine_connection_close(n);
}

/* bound_bytes() - One of this source holds more */
static void bound_bytes(struct coordinator *c, unsigned int source)
{
	while (source != WEB_SOURCE_LOCAL &&
	       c->guest_bytes_of[source] > LIMIT_CONTROL_GUEST_SOURCE_BYTES)
		cut(c, largest(c, source));
	while (c->guest_bytes > LIMIT_CONTROL_GUEST_BYTES)
		cut(c, largest(c, WEB_SOURCE_LOCAL));
}

void machine_quota_held(struct machine_connection *n, size_t bytes)
{
	bool more = GUEST_COST + bytes > n->charged;
	struct coordinator *c = n->control;
	unsigned int source = n->source;

	if (!n->guest)
		return;
	charge(n, GUEST_COST + bytes);
	if (more)
		bound_bytes(c, source);
}

void machine_quota_bound(struct machine_connection *n)
{
	struct machine_connection *last = n->of->connections;
	struct coordinator *c = n->control;
	unsigned int source = n->source;

	if (n->of->count > LIMIT_CONTROL_MACHINE) {
		while (last->next_of_machine)
			last = last->next_of_machine;
		machine_connection_close(last);
	}
	if (source != WEB_SOURCE_LOCAL && c->guests_of[source] > LIMIT_CONTROL_GUEST_SOURCE)
		cut(c, oldest(c, source));
	else if (c->guest_count > LIMIT_CONTROL_GUESTS)
		cut(c, oldest(c, WEB_SOURCE_LOCAL));
	bound_bytes(c, source);
}
