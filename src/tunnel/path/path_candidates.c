/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_candidates.c - the possible endpoints of a peer
 *
 * A candidate stays while the netmap names it, the last CallMeMaybe named it, or a ping came
 * from it within 45 s. The endpoint that carries data is never removed.
 *
 * An attacker can replay a ping from any address. So in a full list a new candidate displaces an
 * unnamed one: the one with the oldest ping that has not answered us.
 */
#include "tunnel/path/path_internal.h"

#include "base/array.h"
#include "base/limits.h"

#include <stdlib.h>

struct candidate *path_find_candidate(struct path_peer *p, const struct endpoint *endpoint)
{
	for (size_t i = 0; i < p->candidate_count; i++)
		if (endpoint_equal(&p->candidates[i].endpoint, endpoint))
			return &p->candidates[i];
	return NULL;
}

/* Whether a datagram can be sent to the address at all. */
static bool is_usable(const struct endpoint *e)
{
	return e->port != 0 && e->address.family != ADDRESS_NONE &&
	       !address_is_unspecified(&e->address) && !address_is_multicast(&e->address);
}

/* make_room() - The candidate that a new one displaces; NULL: none */
static struct candidate *make_room(struct path_peer *p, nanoseconds now)
{
	struct candidate *found = NULL;

	for (size_t i = 0; i < p->candidate_count; i++) {
		struct candidate *c = &p->candidates[i];

		if (path_is_named(c) || endpoint_equal(&c->endpoint, &p->best) ||
		    (c->proved_at && now - c->proved_at <= PATH_ACTIVE))
			continue;
		if (!found || c->heard_at < found->heard_at)
			found = c;
	}
	return found;
}

struct candidate *path_add_candidate(struct path_peer *p, const struct endpoint *endpoint,
				     nanoseconds now)
{
	struct candidate *c = path_find_candidate(p, endpoint);

	if (c)
		return c;
	if (!is_usable(endpoint))
		return NULL;
	if (p->candidate_count >= LIMIT_PATH_CANDIDATES)
		path_prune(p, now);
	if (p->candidate_count < LIMIT_PATH_CANDIDATES &&
	    ARRAY_GROW(p->candidates, p->candidate_count, p->candidate_capacity) < 0)
		return NULL;
	c = p->candidate_count < LIMIT_PATH_CANDIDATES ? &p->candidates[p->candidate_count++]
						       : make_room(p, now);
	if (!c)
		return NULL;
	*c = (struct candidate){.endpoint = *endpoint};
	p->next_full_ping = 0;
	return c;
}

void path_prune(struct path_peer *p, nanoseconds now)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->candidate_count; i++) {
		struct candidate *c = &p->candidates[i];
		bool heard = c->heard_at && now - c->heard_at <= PATH_ACTIVE;
		bool best = endpoint_equal(&c->endpoint, &p->best);

		if (path_is_named(c) || heard || (best && path_is_trusted(p, now)))
			p->candidates[kept++] = *c;
		else if (best)
			p->best = (struct endpoint){0};
	}
	p->candidate_count = kept;
}

/* Which of two endpoints is better */

/* The bonus of an address, in percent of latency. */
static int address_points(const struct address *a)
{
	int points = 0;

	if (address_is_loopback(a))
		points += 50;
	if (address_is_link_local(a))
		points += 30;
	if (address_is_private(a))
		points += 20;
	if (a->family == ADDRESS_V6)
		points += 10;
	return points;
}

/* By how many percent @fast is below @slow. */
static int latency_points(nanoseconds fast, nanoseconds slow)
{
	return slow > 0 ? (int)(100 - fast * 100 / slow) : 0;
}

bool path_better(const struct endpoint *a, nanoseconds a_latency, const struct endpoint *b,
		 nanoseconds b_latency)
{
	int a_points, b_points;

	if (endpoint_equal(a, b) || a->address.family == ADDRESS_NONE)
		return false;
	if (b->address.family == ADDRESS_NONE)
		return true;
	a_points = address_points(&a->address);
	b_points = address_points(&b->address);
	if (a_latency > b_latency)
		b_points += latency_points(b_latency, a_latency);
	else
		a_points += latency_points(a_latency, b_latency);
	/* Without this margin two equal paths would alternate. */
	if (a_points <= 1 && b_points == 0)
		return false;
	return a_points > b_points;
}
