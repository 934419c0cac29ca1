/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/node_quota.c - what strangers, and what one machine, may have of us
 *
 * Theory of operation
 *   A guest has proved a machine key, which anybody can make, and asked for no node's map yet.
 *   Guests are bounded by number, where the oldest goes, and by the bytes that their requests make
 *   us hold, where the one that holds most goes: of one source and of all. A machine has a
 *   number of connections, guest or node: its oldest goes.
 */
#include "server/control/internal.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <stdlib.h>

#define GUEST_COST 8192u /* of a connection without a request */

/* The connections of one machine key, newest first. */
struct machine {
	struct public_key key;
	struct node_connection *connections;
	unsigned int count;
	UT_hash_handle hh;
};

static int machine_begin(struct node_connection *n)
{
	struct control *c = n->control;
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

static void machine_end(struct node_connection *n)
{
	struct machine *m = TAKE_PTR(n->of);
	struct node_connection **link = &m->connections;

	while (*link != n)
		link = &(*link)->next_of_machine;
	*link = n->next_of_machine;
	if (--m->count > 0)
		return;
	HASH_DELETE(hh, n->control->machines, m);
	free(m);
}

static void charge(struct node_connection *n, size_t bytes)
{
	struct control *c = n->control;

	c->guest_bytes += bytes - n->charged;
	c->guest_bytes_of[n->source] += (uint32_t)(bytes - n->charged);
	n->charged = bytes;
}

int node_quota_begin(struct node_connection *n)
{
	struct control *c = n->control;

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

void node_quota_adopted(struct node_connection *n)
{
	struct control *c = n->control;

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

void node_quota_end(struct node_connection *n)
{
	node_quota_adopted(n);
	machine_end(n);
}

/* oldest() - Of a source; WEB_SOURCE_LOCAL: of all */
static struct node_connection *oldest(const struct control *c, unsigned int source)
{
	struct node_connection *n = c->oldest_guest;

	while (source != WEB_SOURCE_LOCAL && n->source != source)
		n = n->newer;
	return n;
}

/* largest() - Who holds most, of a source or of all */
static struct node_connection *largest(const struct control *c, unsigned int source)
{
	struct node_connection *most = oldest(c, source);

	for (struct node_connection *n = most->newer; n; n = n->newer)
		if (n->charged > most->charged &&
		    (source == WEB_SOURCE_LOCAL || n->source == source))
			most = n;
	return most;
}

static void cut(struct control *c, struct node_connection *n)
{
	c->guests_cut++;
	node_connection_close(n);
}

/* bound_bytes() - One of this source holds more */
static void bound_bytes(struct control *c, unsigned int source)
{
	while (source != WEB_SOURCE_LOCAL &&
	       c->guest_bytes_of[source] > LIMIT_CONTROL_GUEST_SOURCE_BYTES)
		cut(c, largest(c, source));
	while (c->guest_bytes > LIMIT_CONTROL_GUEST_BYTES)
		cut(c, largest(c, WEB_SOURCE_LOCAL));
}

void node_quota_held(struct node_connection *n, size_t bytes)
{
	bool more = GUEST_COST + bytes > n->charged;
	struct control *c = n->control;
	unsigned int source = n->source;

	if (!n->guest)
		return;
	charge(n, GUEST_COST + bytes);
	if (more)
		bound_bytes(c, source);
}

void node_quota_bound(struct node_connection *n)
{
	struct node_connection *last = n->of->connections;
	struct control *c = n->control;
	unsigned int source = n->source;

	if (n->of->count > LIMIT_CONTROL_MACHINE) {
		while (last->next_of_machine)
			last = last->next_of_machine;
		node_connection_close(last);
	}
	if (source != WEB_SOURCE_LOCAL && c->guests_of[source] > LIMIT_CONTROL_GUEST_SOURCE)
		cut(c, oldest(c, source));
	else if (c->guest_count > LIMIT_CONTROL_GUESTS)
		cut(c, oldest(c, WEB_SOURCE_LOCAL));
	bound_bytes(c, source);
}
