/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/control/test_core.c - connections and sessions of the control client
 *
 * Logins and keys are in test_core_login.c; the scripted transport in core_world.h.
 */
#include "base/cleanup.h"
#include "unit/control/core_world.h"

static void the_straight_way(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	assert_int_equal(netmap_peer_count(f->c.netmap), 1);
	/* Nothing more to say to control, whatever happens. */
	map_message(f, "{\"KeepAlive\":true}");
	EXPECT(f, CONTROL_NOTHING);
	map_message(f, "{\"PeersChanged\":[{\"ID\":3}]}");
	map_message(f, "{\"PeersRemoved\":[2]}");
	EXPECT(f, CONTROL_TELL_NETMAP); /* one at a time */
	assert_int_equal(f->out.change->update_count, 1);
	assert_int_equal(f->out.change->removal_count, 0);
	EXPECT(f, CONTROL_TELL_NETMAP);
	assert_int_equal(f->out.change->removal_count, 1);
	EXPECT(f, CONTROL_NOTHING);
	map_message(f, "{\"PeersRemoved\":[2]}"); /* no news */
	EXPECT(f, CONTROL_NOTHING);
}

static void only_real_changes_are_told_to_control(void **state)
{
	struct tailcfg_endpoint endpoints[2] = {{.type = TAILCFG_ENDPOINT_LOCAL},
						{.type = TAILCFG_ENDPOINT_STUN}};
	struct tailcfg_endpoint turned[2];
	struct tailcfg_net_info net = {.working_udp = OPTIONAL_TRUE, .preferred_derp = 1};
	struct tailcfg_hostinfo info = {.hostname = "h"};
	struct fixture *f = *state;

	to_live(f);
	assert_int_equal(endpoint_parse("10.0.0.1:1", 10, &endpoints[0].endpoint), 0);
	assert_int_equal(endpoint_parse("10.0.0.2:2", 10, &endpoints[1].endpoint), 0);
	control_core_set_hostinfo(&f->c, &info); /* as it was */
	EXPECT(f, CONTROL_NOTHING);
	control_core_set_endpoints(&f->c, endpoints, 2);
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(
		f, "\"Endpoints\":[\"10.0.0.1:1\",\"10.0.0.2:2\"],\"EndpointTypes\":[1,2]"));
	assert_true(body_has(f, "\"Hostname\":\"h\"")); /* all of it, always */
	assert_true(body_has(f, "\"DiscoKey\":\"discokey:0909"));
	/* More changes while control holds that one: the last of them follows its answer. */
	for (int i = 0; i < 2; i++) {
		info.hostname = i ? "y" : "x";
		info.net_info = i ? &net : NULL;
		control_core_set_hostinfo(&f->c, &info);
		EXPECT(f, CONTROL_NOTHING);
	}
	answer(f, CONTROL_SLOT_UPDATE, 200, "");
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"Hostname\":\"y\""));
	answer(f, CONTROL_SLOT_UPDATE, 200, "");
	EXPECT(f, CONTROL_NOTHING);
	/* Order of endpoints, repetition: no change. */
	turned[0] = endpoints[1];
	turned[1] = endpoints[0];
	control_core_set_endpoints(&f->c, turned, 2);
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	/* A change that is taken back before it could be told. */
	info.hostname = "z";
	control_core_set_hostinfo(&f->c, &info);
	info.hostname = "y";
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	/* The home region: told. */
	net.preferred_derp = 2;
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"PreferredDERP\":2"));
	/* Refused: again after a while, not before. */
	answer(f, CONTROL_SLOT_UPDATE, 500, "");
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_SEND);
	control_core_response(&f->c, CONTROL_SLOT_UPDATE, 429, 60);
	control_core_end(&f->c, CONTROL_SLOT_UPDATE, f->now);
	f->now += 59 * SECOND;
	map_message(f, "{\"KeepAlive\":true}");
	EXPECT(f, CONTROL_NOTHING);
	f->now += SECOND;
	EXPECT(f, CONTROL_SEND);
}

/* Control may have taken what it never answered, so what it knew before is told again. */
static void news_that_is_taken_back_is_told(void **state)
{
	struct tailcfg_hostinfo info = {.hostname = "b"};
	struct error err = {0};
	struct fixture *f = *state;

	to_live(f);
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_SEND);
	info.hostname = "h";
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	control_core_failed(&f->c, CONTROL_SLOT_UPDATE, &err, f->now);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"Hostname\":\"h\""));
}

static void routes_and_tags_have_no_order(void **state)
{
	struct prefix routes[3], turned[2];
	char *tags[] = {"tag:b", "tag:a", "tag:b"}, *tags_turned[] = {"tag:a", "tag:b"};
	struct tailcfg_hostinfo info = {
		.hostname = "h", .routable_ips = {routes, 3}, .request_tags = {tags, 3}};
	struct fixture *f = *state;

	assert_int_equal(prefix_parse("10.0.0.0/8", 10, &routes[0]), 0);
	assert_int_equal(prefix_parse("192.168.0.0/16", 14, &routes[1]), 0);
	routes[2] = routes[0];
	turned[0] = routes[1];
	turned[1] = routes[0];
	control_core_set_hostinfo(&f->c, &info);
	to_live(f);
	info.routable_ips = (struct prefix_list){turned, 2};
	info.request_tags = (struct string_list){tags_turned, 2};
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	info.routable_ips.count = 1;
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_SEND);
}

static void silence_is_noticed(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	f->now += 119 * SECOND;
	map_message(f, "{\"KeepAlive\":true}");
	EXPECT(f, CONTROL_NOTHING);
	f->now += 119 * SECOND;
	EXPECT(f, CONTROL_NOTHING);
	/* Half a message is none. */
	control_core_data(&f->c, CONTROL_SLOT_MAP, (const uint8_t *)"\10\0\0", 3, f->now);
	f->now += 2 * SECOND;
	EXPECT(f, CONTROL_DISCONNECT);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	assert_int_equal(f->out.error->code, -ETIMEDOUT);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	link_up(f);
	EXPECT(f, CONTROL_SEND); /* the map, without registering again */
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	EXPECT(f, CONTROL_NOTHING);
	assert_int_equal(netmap_peer_count(f->c.netmap), 1); /* the old map is in use */
	first_message(f);
	EXPECT(f, CONTROL_TELL_NETMAP);
	assert_int_equal(f->out.change->parts, 0); /* as before */
	EXPECT(f, CONTROL_TELL_HEALTHY);
	EXPECT(f, CONTROL_NOTHING); /* and control knows all about us */
}

static void keep_alives_do_not_reset_the_backoff(void **state)
{
	struct fixture *f = *state;
	nanoseconds last = 0;

	to_map_request(f);
	for (int i = 0; i < 6; i++) {
		nanoseconds wait;

		control_core_response(&f->c, CONTROL_SLOT_MAP, 200, -1);
		map_message(f, "{\"KeepAlive\":true}");
		EXPECT(f, CONTROL_NOTHING);
		control_core_end(&f->c, CONTROL_SLOT_MAP, f->now);
		next(f);
		while (f->out.kind == CONTROL_TELL_TROUBLE)
			next(f);
		wait = f->out.deadline - f->now;
		assert_true(wait > last);
		last = wait;
		sleep_until_deadline(f);
		EXPECT(f, CONTROL_SEND);
		EXPECT(f, CONTROL_NOTHING);
	}
	first_message(f);
	EXPECT(f, CONTROL_TELL_NETMAP);
	assert_int_equal(f->c.map_backoff.failures, 3);
}

static void sessions_that_end_soon_are_not_begun_at_once(void **state)
{
	struct fixture *f = *state;
	nanoseconds wait = 0;

	to_map_request(f);
	for (int i = 0; i < 8; i++) {
		first_message(f);
		while (next(f) != CONTROL_NOTHING)
			;
		f->now += i < 6 ? SECOND : 10 * SECOND;
		control_core_end(&f->c, CONTROL_SLOT_MAP, f->now);
		/* One that lasted is not told: it will be there again. */
		if (i < 6)
			EXPECT(f, CONTROL_TELL_TROUBLE);
		EXPECT(f, CONTROL_NOTHING);
		wait = f->out.deadline - f->now;
		/* 0.1, 0.2, 0.4, 0.8, 0.8 … s, and then 0.1 again. */
		assert_int_equal(wait,
				 i < 6 ? BACKOFF_FIRST / 2 << (i < 3 ? i : 3) : BACKOFF_FIRST / 2);
		sleep_until_deadline(f);
		EXPECT(f, CONTROL_SEND);
		EXPECT(f, CONTROL_NOTHING);
	}
}

static void the_end_of_a_session_is_told_if_it_does_not_come_back(void **state)
{
	static const struct error refused = {-ECONNREFUSED, "refused"};
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		if (i == 0)
			to_live(f);
		f->now += 60 * SECOND;
		control_core_lost(&f->c, NULL, f->now);
		EXPECT(f, CONTROL_NOTHING);
		sleep_until_deadline(f);
		link_up(f);
		EXPECT(f, CONTROL_SEND);
		first_message(f);
		EXPECT(f, CONTROL_TELL_NETMAP);
		EXPECT(f, CONTROL_NOTHING);
	}
	f->now += 60 * SECOND;
	control_core_lost(&f->c, NULL, f->now);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_CONNECT);
	control_core_connected(&f->c, &refused, f->now);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	assert_int_equal(f->out.error->code, -ECONNREFUSED);
}

static void the_first_message_needs_a_node(void **state)
{
	struct fixture *f = *state;

	to_map_request(f);
	control_core_response(&f->c, CONTROL_SLOT_MAP, 200, -1);
	map_message(f, "{\"Peers\":[{\"ID\":2}]}");
	EXPECT(f, CONTROL_CANCEL);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	assert_int_equal(f->out.error->code, -EPROTO);
}

static void garbage_ends_the_session_only(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	control_core_data(&f->c, CONTROL_SLOT_MAP, (const uint8_t *)"\2\0\0\0{}", 6, f->now);
	EXPECT(f, CONTROL_CANCEL);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
}

static void a_busy_server_says_when_to_come_back(void **state)
{
	static const struct {
		int status;
		int64_t retry_after;
		nanoseconds least, most;
	} rows[] = {
		/* 0 */ {429, 60, 60 * SECOND, 60 * SECOND},
		/* 1 */ {503, 90, 90 * SECOND, 90 * SECOND},
		/* 2 */ {429, 1000, 300 * SECOND, 300 * SECOND},
		/* 3: without the header */ {429, -1, 5 * SECOND, 10 * SECOND},
	};
	struct fixture *f = *state;

	to_live(f);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		nanoseconds from = f->now;

		control_core_response(&f->c, CONTROL_SLOT_MAP, rows[i].status, rows[i].retry_after);
		control_core_end(&f->c, CONTROL_SLOT_MAP, f->now);
		EXPECT(f, CONTROL_TELL_TROUBLE);
		EXPECT(f, CONTROL_NOTHING);
		sleep_until_deadline(f);
		if (f->now - from < rows[i].least || f->now - from > rows[i].most)
			fail_msg("row %zu: after %lld s", i, (long long)((f->now - from) / SECOND));
		EXPECT(f, CONTROL_SEND);
		assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	}
}

static void a_lost_link_comes_back_with_backoff(void **state)
{
	struct error refused = {-ECONNREFUSED, "refused"};
	struct fixture *f = *state;
	nanoseconds last = 0;

	to_live(f);
	control_core_lost(&f->c, NULL, f->now);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	for (int i = 0; i < BACKOFF_SOON_TRIES + 2; i++) {
		EXPECT(f, CONTROL_NOTHING);
		assert_true(f->out.deadline - f->now <=
			    (i < BACKOFF_SOON_TRIES ? BACKOFF_SOON : BACKOFF_MOST));
		sleep_until_deadline(f);
		EXPECT(f, CONTROL_CONNECT);
		EXPECT(f, CONTROL_NOTHING);
		control_core_connected(&f->c, &refused, f->now);
		assert_true(f->c.retry_at - f->now >= last);
		last = f->c.retry_at - f->now;
		/* Waits that differ by less than a second aren't told again. */
		next(f);
		if (f->out.kind == CONTROL_NOTHING)
			continue;
		assert_int_equal(f->out.kind, CONTROL_TELL_TROUBLE);
	}
	assert_int_equal(last, BACKOFF_MOST / 2);
	/* The network has changed. */
	control_core_retry_now(&f->c);
	link_up(f);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
}

static void another_server_key_is_fetched(void **state)
{
	static const struct error rejected[] = {{-EKEYREJECTED, "another key"},
						{-EPROTO, "HTTP 400"}};
	struct fixture *f = *state;

	to_live(f);
	control_core_lost(&f->c, NULL, f->now);
	for (size_t i = 0; i < ARRAY_SIZE(rejected); i++) {
		EXPECT(f, CONTROL_TELL_TROUBLE);
		EXPECT(f, CONTROL_NOTHING);
		sleep_until_deadline(f);
		EXPECT(f, CONTROL_CONNECT);
		control_core_connected(&f->c, &rejected[i], f->now);
		EXPECT(f, CONTROL_TELL_TROUBLE);
		EXPECT(f, CONTROL_NOTHING);
		sleep_until_deadline(f);
		EXPECT(f, CONTROL_FETCH_KEY);
		control_core_key(&f->c, &f->server_key, NULL, f->now);
		EXPECT(f, CONTROL_CONNECT);
		control_core_connected(&f->c, NULL, f->now);
		control_core_lost(&f->c, NULL, f->now);
	}
}

static void control_may_ask_for_quiet(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	map_message(f, "{\"Debug\":{\"SleepSeconds\":1e9},\"PeersRemoved\":[2]}");
	map_message(f, "{\"PeersChanged\":[{\"ID\":4}]}");
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_NOTHING);
	assert_int_equal(f->out.deadline, f->now + 300 * SECOND); /* not a second more */
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_NOTHING);
	assert_int_equal(f->out.deadline, f->now + 120 * SECOND);
}

static void pause_is_silence_at_any_step(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	control_core_pause(&f->c);
	EXPECT(f, CONTROL_DISCONNECT);
	EXPECT(f, CONTROL_NOTHING);
	assert_int_equal(f->out.deadline, DEADLINE_NEVER);
	control_core_start(&f->c, REGISTRATION_ASKED, false);
	EXPECT(f, CONTROL_CONNECT); /* the server's key is known */
	control_core_pause(&f->c);
	EXPECT(f, CONTROL_DISCONNECT);
	/* What arrives late is not for us. */
	control_core_connected(&f->c, NULL, f->now);
	map_message(f, "{\"PeersRemoved\":[2]}");
	EXPECT(f, CONTROL_NOTHING);
}

static void pings_and_pages_are_told(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	map_message(f, "{\"KeepAlive\":true,\"PingRequest\":{\"URL\":\"https://x/p\"},"
		       "\"PopBrowserURL\":\"https://x/b\"}");
	EXPECT(f, CONTROL_TELL_PING);
	assert_string_equal(f->out.ping->url, "https://x/p");
	EXPECT(f, CONTROL_TELL_BROWSER);
	assert_string_equal(f->out.text, "https://x/b");
	map_message(f, "{\"KeepAlive\":true,\"PopBrowserURL\":\"https://x/b\"}");
	EXPECT(f, CONTROL_NOTHING); /* each page once */
}

/* `up` and scripts wait for what the official daemon sends at each full map, changed or not. */
static void every_full_map_is_told(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	for (int i = 0; i < 2; i++) {
		map_message(f, "{\"Domain\":\"one.example\"}");
		EXPECT(f, CONTROL_TELL_NETMAP);
		assert_true(f->out.change->full);
		EXPECT(f, CONTROL_NOTHING);
	}
	map_message(f, "{\"PeersChangedPatch\":[]}");
	EXPECT(f, CONTROL_NOTHING);
}

static void the_dial_plan_is_tried_before_names(void **state)
{
	struct error refused = {-ECONNREFUSED, "refused"};
	struct fixture *f = *state;
	char text[ADDRESS_TEXT_MAX];

	to_live(f);
	map_message(f,
		    "{\"ControlDialPlan\":{\"Candidates\":[{\"IP\":\"192.0.2.1\",\"Priority\":1},"
		    "{\"IP\":\"192.0.2.2\",\"Priority\":5},{\"ACEHost\":\"x\"}]}}");
	EXPECT(f, CONTROL_NOTHING);
	control_core_lost(&f->c, NULL, f->now);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_CONNECT);
	assert_int_equal(f->out.address_count, 2);
	assert_string_equal(address_format(&f->out.addresses[0], text), "192.0.2.2");
	control_core_connected(&f->c, &refused, f->now);
	next(f);
	while (f->out.kind == CONTROL_TELL_TROUBLE)
		next(f);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_CONNECT);
	assert_int_equal(f->out.address_count, 0); /* by name */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_straight_way),
		TEST(only_real_changes_are_told_to_control),
		TEST(news_that_is_taken_back_is_told),
		TEST(routes_and_tags_have_no_order),
		TEST(silence_is_noticed),
		TEST(keep_alives_do_not_reset_the_backoff),
		TEST(sessions_that_end_soon_are_not_begun_at_once),
		TEST(the_end_of_a_session_is_told_if_it_does_not_come_back),
		TEST(the_first_message_needs_a_node),
		TEST(garbage_ends_the_session_only),
		TEST(a_busy_server_says_when_to_come_back),
		TEST(a_lost_link_comes_back_with_backoff),
		TEST(another_server_key_is_fetched),
		TEST(control_may_ask_for_quiet),
		TEST(pause_is_silence_at_any_step),
		TEST(pings_and_pages_are_told),
		TEST(every_full_map_is_told),
		TEST(the_dial_plan_is_tried_before_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
