/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/path/path_quality.c - which of two endpoints is better */
#include "tunnel/path/path_internal.h"

/* What an address is worth, in percent of latency. */
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
	/* One percent is noise: without this, two like paths would take turns. */
	if (a_points <= 1 && b_points == 0)
		return false;
	return a_points > b_points;
}
