/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_parts.c - the parts that stand alone: replay window, allowed
 * IPs, cookies, limiter; each by a numbered table or against a naive model
 */
#include "tunnel/wireguard/wg_device.h"
#include "unit/unit.h"

#include "base/cursor.h"

#define SECONDS(n) ((nanoseconds)(n)*NSEC_PER_SEC)

static uint64_t chance_state;

static uint64_t chance(uint64_t below)
{
	/* splitmix64 */
	uint64_t z = (chance_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

static void item_06_replay_window_row_by_row(void **state)
{
	static const struct {
		uint64_t counter;
		bool accepted;
	} rows[] = {
		/* 1 */ {0, true},
		/* 2 */ {1, true},
		/* 3 */ {1, false},
		/* 4 */ {9, true},
		/* 5 */ {8, true},
		/* 6 */ {7, true},
		/* 7 */ {7, false},
		/* 8 */ {WG_REPLAY_WINDOW, true},
		/* 9 */ {WG_REPLAY_WINDOW - 1, true},
		/* 10 */ {WG_REPLAY_WINDOW - 1, false},
		/* 11 */ {0, false}, /* just left */
		/* 12 */ {1, false}, /* seen */
		/* 13 */ {2, true},
		/* 14 */ {2, false},
		/* 15 */ {WG_REPLAY_WINDOW + 16, true},
		/* 16 */ {3, false}, /* left */
		/* 17 */ {WG_REPLAY_WINDOW + 16, false},
		/* 18 */ {16, false}, /* left by one */
		/* 19 */ {17, true},  /* the oldest in it */
		/* 20 */ {17, false},
		/* 21 */ {4 * WG_REPLAY_WINDOW, true}, /* past the whole window */
		/* 22 */ {4 * WG_REPLAY_WINDOW - (WG_REPLAY_WINDOW - 1), true},
		/* 23 */ {3 * WG_REPLAY_WINDOW, false},
		/* 24 */ {4 * WG_REPLAY_WINDOW - 1, true},
		/* 25 */ {WG_REJECT_AFTER_MESSAGES, false},
		/* 26 */ {UINT64_MAX, false},
		/* 27 */ {4 * WG_REPLAY_WINDOW + 1, true},
		/* 28 */ {WG_REJECT_AFTER_MESSAGES - 1, true},
		/* 29 */ {WG_REJECT_AFTER_MESSAGES - 1, false},
		/* 30 */ {WG_REJECT_AFTER_MESSAGES, false},
		/* 31 */ {WG_REJECT_AFTER_MESSAGES - WG_REPLAY_WINDOW, true},
		/* 32 */ {WG_REJECT_AFTER_MESSAGES - WG_REPLAY_WINDOW - 1, false},
		/* 33 */ {0, false},
	};
	struct replay_window window = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("row %zu\n", i + 1);
		assert_int_equal(replay_accept(&window, rows[i].counter), rows[i].accepted);
	}
	/* The window is exactly as wide as it says, wherever its highest bit lies. */
	for (uint64_t high = WG_REPLAY_WINDOW; high < WG_REPLAY_WINDOW + 200; high++) {
		window = (struct replay_window){0};
		assert_true(replay_accept(&window, high));
		assert_false(replay_accept(&window, high - WG_REPLAY_WINDOW));
		for (uint64_t back = WG_REPLAY_WINDOW - 1; back > 0; back--) {
			assert_true(replay_accept(&window, high - back));
			assert_false(replay_accept(&window, high - back));
		}
	}
}

static void item_06_replay_window_against_a_naive_model(void **state)
{
	static uint8_t seen[400000];
	struct replay_window window = {0};
	uint64_t highest = 0, base = 0, accepted = 0;

	(void)state;
	chance_state = 6;
	for (unsigned int i = 0; i < 300000; i++) {
		uint64_t counter, expected;

		switch (chance(20)) {
		case 0: /* a leap, now and then past the window */
			base += chance(chance(10) ? 100 : 3 * WG_REPLAY_WINDOW);
			break;
		case 1:
			base += 63 + chance(3);
			break;
		default:
			base += chance(3);
			break;
		}
		if (base >= sizeof(seen)) {
			memset(seen, 0, sizeof(seen));
			window = (struct replay_window){0};
			base = highest = 0;
		}
		counter = base -
			  chance(base < 2 * WG_REPLAY_WINDOW ? base + 1 : 2 * WG_REPLAY_WINDOW);
		if (chance(2))
			counter = base - (base ? chance(base < 70 ? base : 70) : 0);
		expected = !seen[counter] && counter + WG_REPLAY_WINDOW > highest;
		assert_int_equal(replay_accept(&window, counter), expected);
		if (expected) {
			seen[counter] = 1;
			highest = counter > highest ? counter : highest;
			accepted++;
		}
	}
	assert_in_range(accepted, 50000, 250000); /* both answers were met */
}

/* A model that can't be wrong: a list, searched from end to end. */
#define MODEL_MAX 4096

static struct {
	struct prefix prefix;
	struct allowed_ips_owner *owner;
} model[MODEL_MAX];
static size_t model_count;

static void model_insert(const struct prefix *prefix, struct allowed_ips_owner *owner)
{
	struct prefix masked = prefix_mask(prefix);

	for (size_t i = 0; i < model_count; i++)
		if (prefix_equal(&model[i].prefix, &masked)) {
			model[i].owner = owner;
			return;
		}
	assert_true(model_count < MODEL_MAX);
	model[model_count].prefix = masked;
	model[model_count++].owner = owner;
}

static void model_remove(const struct allowed_ips_owner *owner)
{
	size_t kept = 0;

	for (size_t i = 0; i < model_count; i++)
		if (model[i].owner != owner)
			model[kept++] = model[i];
	model_count = kept;
}

static struct allowed_ips_owner *model_lookup(const struct address *address)
{
	struct allowed_ips_owner *found = NULL;
	int bits = -1;

	for (size_t i = 0; i < model_count; i++)
		if (model[i].prefix.bits > bits &&
		    model[i].prefix.address.family == address->family &&
		    prefix_contains(&model[i].prefix, address)) {
			found = model[i].owner;
			bits = model[i].prefix.bits;
		}
	return found;
}

/* Few distinct bits, so that prefixes nest and collide. */
static struct address random_address(void)
{
	uint8_t bytes[16] = {0};
	bool v6 = chance(2);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = chance(3) ? 0 : (uint8_t)(1u << chance(8));
	if (v6)
		bytes[0] = 0xfd; /* no mapped IPv4 */
	return v6 ? address_v6(bytes) : address_v4(bytes);
}

static void item_11_allowed_ips_against_a_naive_model(void **state)
{
	static struct allowed_ips_owner owners[24];
	struct allowed_ips ips = {0};
	size_t hits = 0, lookups = 0;

	(void)state;
	chance_state = 11;
	for (unsigned int i = 0; i < 60000; i++) {
		struct allowed_ips_owner *owner = &owners[chance(ARRAY_SIZE(owners))];
		struct prefix prefix = {.address = random_address()};

		prefix.bits = (uint8_t)(chance(500) ? 6 + chance(address_bits(&prefix.address) - 5u)
						    : chance(6)); /* few hold nearly all */
		switch (chance(40)) {
		case 0:
			allowed_ips_remove_owner(&ips, owner);
			model_remove(owner);
			break;
		case 1 ... 12:
			assert_int_equal(allowed_ips_insert(&ips, &prefix, owner), 0);
			model_insert(&prefix, owner);
			break;
		default:
			owner = allowed_ips_lookup(&ips, &prefix.address);
			assert_ptr_equal(owner, model_lookup(&prefix.address));
			hits += owner != NULL;
			lookups++;
			break;
		}
	}
	assert_in_range(hits, lookups / 10, lookups - lookups / 100); /* both answers were met */
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		allowed_ips_remove_owner(&ips, &owners[i]);
	assert_null(ips.roots[0]);
	assert_null(ips.roots[1]);
}

static void allowed_ips_row_by_row(void **state)
{
	static const struct {
		const char *prefix;
		int owner; /* -1: refused */
	} inserts[] = {
		/* 1 */ {"10.0.0.0/8", 0},  /* 2 */ {"10.1.2.3/16", 1},
		/* 3 */ {"10.1.0.0/16", 2}, /* the same as 2: moves to this owner */
		/* 4 */ {"0.0.0.0/0", 3},   /* 5 */ {"10.1.2.3/32", 4},
		/* 6 */ {"::/0", 5},        /* 7 */ {"fd7a:115c:a1e0::/48", 6},
	};
	static const struct {
		const char *address;
		int owner; /* -1: none */
	} lookups[] = {
		/* 1 */ {"10.255.0.1", 0},        /* 2 */ {"10.1.9.9", 2},
		/* 3 */ {"10.1.2.3", 4},          /* 4 */ {"11.0.0.0", 3},
		/* 5 */ {"fd7a:115c:a1e0::1", 6}, /* 6 */ {"fd7a:115c:a1e1::1", 5},
		/* 7 */ {"::ffff:10.1.2.3", 4}, /* a mapped address is IPv4 */
	};
	struct allowed_ips_owner owners[7] = {0};
	struct allowed_ips ips = {0};
	struct address none = {0}, address;
	struct prefix prefix;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inserts); i++) {
		assert_int_equal(
			prefix_parse(inserts[i].prefix, strlen(inserts[i].prefix), &prefix), 0);
		assert_int_equal(allowed_ips_insert(&ips, &prefix, &owners[inserts[i].owner]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lookups); i++) {
		print_message("row %zu\n", i + 1);
		assert_int_equal(
			address_parse(lookups[i].address, strlen(lookups[i].address), &address), 0);
		assert_ptr_equal(allowed_ips_lookup(&ips, &address), &owners[lookups[i].owner]);
	}
	assert_null(owners[1].first);
	assert_null(allowed_ips_lookup(&ips, &none));
	prefix.address = none;
	assert_int_equal(allowed_ips_insert(&ips, &prefix, &owners[0]), -EINVAL);
	prefix = (struct prefix){.address = address_v4((uint8_t[]){1, 2, 3, 4}), .bits = 33};
	assert_int_equal(allowed_ips_insert(&ips, &prefix, &owners[0]), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		allowed_ips_remove_owner(&ips, &owners[i]);
	assert_null(ips.roots[0]);
	assert_null(ips.roots[1]);
}

static struct wg_source udp(const char *text)
{
	struct wg_source source = {0};

	assert_int_equal(endpoint_parse(text, strlen(text), &source.endpoint), 0);
	return source;
}

static void item_04_a_cookie_is_good_for_its_source_and_120_seconds(void **state)
{
	static const struct {
		const char *source;
		uint32_t region;
		uint8_t relay_key;
		nanoseconds age;
		bool good;
	} rows[] = {
		/* 1 */ {"192.0.2.1:5000", 0, 0, 0, true},
		/* 2 */ {"192.0.2.1:5001", 0, 0, 0, false}, /* another port */
		/* 3 */ {"192.0.2.2:5000", 0, 0, 0, false}, /* another address */
		/* 4 */ {"192.0.2.1:5000", 1, 0, 0, false}, /* by relay */
		/* 5 */ {"192.0.2.1:5000", 0, 1, 0, false},
		/* 6 */ {"192.0.2.1:5000", 0, 0, WG_COOKIE_REFRESH_TIME - 1, true},
		/* 7 */ {"192.0.2.1:5000", 0, 0, WG_COOKIE_REFRESH_TIME, false}, /* a new secret */
		/* 8 */ {"[2001:db8::1]:5000", 0, 0, 0, false},
	};
	const uint8_t fresh[SECRET_KEY_SIZE + XAEAD_NONCE_SIZE] = {1, 2, 3};
	uint8_t message[WG_INITIATION_SIZE] = {WG_MESSAGE_INITIATION};
	uint8_t bytes[WG_COOKIE_REPLY_SIZE];
	struct wg_cookie_checker checker = {0};
	struct wg_cookie_reply reply;
	struct public_key public = {{5}};
	struct wg_source source = udp("192.0.2.1:5000");
	nanoseconds now = SECONDS(1000);

	(void)state;
	wg_checker_set_key(&checker, &public);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wg_cookie_jar jar = {0};
		struct wg_source from = udp(rows[i].source);

		print_message("row %zu\n", i + 1);
		checker.secret_until = 0;
		wg_jar_stamp(&jar, &public, message, sizeof(message), now);
		assert_true(wg_checker_mac1(&checker, message, sizeof(message)));
		assert_false(wg_checker_mac2(&checker, message, sizeof(message), &source, now));
		wg_checker_reply(&checker, message, sizeof(message), 77, &source, now, fresh,
				 bytes);
		assert_int_equal(wg_cookie_reply_decode(bytes, sizeof(bytes), &reply), 0);
		assert_int_equal(reply.receiver, 77);
		assert_int_equal(wg_jar_open(&jar, &public, &reply, now), 0);
		wg_jar_stamp(&jar, &public, message, sizeof(message), now);
		from.region = rows[i].region;
		from.relay_key.bytes[0] = rows[i].relay_key;
		assert_int_equal(wg_checker_mac2(&checker, message, sizeof(message), &from,
						 now + rows[i].age),
				 rows[i].good);
		/* The jar stops using it a little earlier: nothing is sent that can't be good. */
		memset(message, 0, sizeof(message));
		message[0] = WG_MESSAGE_INITIATION;
		wg_jar_stamp(&jar, &public, message, sizeof(message), now + WG_COOKIE_USE_TIME);
		assert_int_equal(
			message[WG_MAC2_OFFSET(sizeof(message))] | message[sizeof(message) - 1], 0);
	}
}

static unsigned int admitted(struct wg_limiter *limiter, const struct wg_source *source,
			     bool proven, unsigned int times, nanoseconds now)
{
	unsigned int count = 0;

	while (times--)
		count += wg_limiter_admit(limiter, source, proven, now) == WG_ADMIT;
	return count;
}

static void item_04_limiter_counts_by_source_and_forgets(void **state)
{
	static struct wg_limiter limiter;
	struct wg_source one = udp("192.0.2.1:1"), port = udp("192.0.2.1:2");
	struct wg_source six = udp("[2001:db8:0:1::1]:1"), same = udp("[2001:db8:0:1:ffff::2]:1");
	struct wg_source other = udp("[2001:db8:0:2::1]:1");
	struct wg_source relay = {.region = 1, .relay_key = {{1}}};
	struct wg_source client = {.region = 1, .relay_key = {{2}}};
	nanoseconds now = SECONDS(5000);

	(void)state;
	wg_limiter_init(&limiter, (uint8_t[16]){1});
	assert_int_equal(admitted(&limiter, &one, false, 200, now), LIMIT_WG_SOURCE_UNPROVEN);
	/* A port more is no source more; nor is an address in the same /64. */
	assert_int_equal(admitted(&limiter, &port, false, 10, now), 0);
	assert_int_equal(admitted(&limiter, &six, false, 200, now), LIMIT_WG_SOURCE_UNPROVEN);
	assert_int_equal(admitted(&limiter, &same, false, 10, now), 0);
	assert_int_equal(admitted(&limiter, &other, false, 50, now), 50);
	/* By relay, each client is one. */
	assert_int_equal(admitted(&limiter, &relay, false, 200, now), LIMIT_WG_SOURCE_UNPROVEN);
	assert_int_equal(admitted(&limiter, &client, false, 50, now), 50);

	/* With a cookie: 5 at once, then 20 a second; without: ask. */
	assert_int_equal(wg_limiter_admit(&limiter, &one, false, now), WG_ASK_COOKIE);
	assert_int_equal(admitted(&limiter, &one, true, 20, now), LIMIT_WG_SOURCE_PROVEN_BURST);
	assert_int_equal(wg_limiter_admit(&limiter, &one, true, now), WG_REFUSE);
	/* Half a second later: 50 that need none, and 5 more, for the bucket holds no more. */
	now += NSEC_PER_SEC / 2;
	assert_int_equal(admitted(&limiter, &one, true, 200, now),
			 LIMIT_WG_SOURCE_UNPROVEN / 2 + LIMIT_WG_SOURCE_PROVEN_BURST);
	now += NSEC_PER_SEC / 10;
	assert_int_equal(admitted(&limiter, &one, true, 200, now),
			 LIMIT_WG_SOURCE_UNPROVEN / 10 + LIMIT_WG_SOURCE_PROVEN / 10);

	/* After the flood no trace of it. */
	now += SECONDS(2);
	assert_int_equal(admitted(&limiter, &one, false, 200, now), LIMIT_WG_SOURCE_UNPROVEN);

	/* All together, from ever new sources. */
	now += SECONDS(2);
	for (uint32_t i = 0, count = 0; i < 5000; i++) {
		put_be32(one.endpoint.address.bytes, i << 8);
		count += wg_limiter_admit(&limiter, &one, false, now) == WG_ADMIT;
		assert_true(count <= LIMIT_WG_ALL_UNPROVEN);
		if (i == 4999)
			assert_int_equal(count, LIMIT_WG_ALL_UNPROVEN);
	}
	for (uint32_t i = 0, count = 0; i < 5000; i++) {
		put_be32(one.endpoint.address.bytes, i << 8 | 1);
		count += wg_limiter_admit(&limiter, &one, true, now) == WG_ADMIT;
		if (i == 4999)
			assert_int_equal(count, LIMIT_WG_ALL_PROVEN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(item_06_replay_window_row_by_row),
		cmocka_unit_test(item_06_replay_window_against_a_naive_model),
		cmocka_unit_test(item_11_allowed_ips_against_a_naive_model),
		cmocka_unit_test(allowed_ips_row_by_row),
		cmocka_unit_test(item_04_a_cookie_is_good_for_its_source_and_120_seconds),
		cmocka_unit_test(item_04_limiter_counts_by_source_and_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
