/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/filter.c - the filter against naive.h, and masquerade, on a scenario drawn from the input
 *
 * The first bytes draw a configuration, the rest the packets. The input is also read as one
 * packet, masqueraded there and back: no byte outside of it is touched, and it comes out as it
 * went in, but for sums that had two representations.
 */
#include "filter/masquerade.h"
#include "unit/filter/scenario.h"
#include "unit/wire/checksums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void masquerade_both_ways(const uint8_t *data, size_t size)
{
	uint8_t *packet = malloc(size);
	struct masquerade m = {0};
	struct ip_view v, before;

	memcpy(packet, data, size);
	if (ip_parse(packet, size, &v) == 0) {
		before = v;
		m.own_v4 = m.own_v6 = v.destination;
		m.shown_v4 = address_v4((const uint8_t[4]){100, 99, 98, 97});
		m.shown_v6 = address_v6((const uint8_t[16]){0xfd, 0x7a, [15] = 9});
		/* Turned round, so that the destination becomes the shown address and back. */
		if (v.version == 4)
			m.own_v4 = m.shown_v4, m.shown_v4 = v.destination;
		else
			m.own_v6 = m.shown_v6, m.shown_v6 = v.destination;
		if (masquerade_inbound(&m, packet, &v)) {
			struct address own = v.destination, shown = before.destination;
			struct masquerade back = {shown, shown, own, own};
			bool valid = checksums_are_valid(data, &before);

			if (valid != checksums_are_valid(packet, &v) ||
			    !masquerade_inbound(&back, packet, &v) ||
			    memcmp(&v, &before, sizeof(v)) != 0)
				abort();
		}
	}
	free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int counts[FILTER_VERDICT_COUNT] = {0};
	struct draw d = {.data = data, .left = size};
	static struct scenario s;

	if (size == 0)
		return 0;
	scenario_draw(&d, &s);
	if (!scenario_run(&d, &s, 20, counts))
		abort();
	masquerade_both_ways(data, size);
	return 0;
}
