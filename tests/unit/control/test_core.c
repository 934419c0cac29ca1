/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/control/test_core.c - the control client against a scripted transport
 *
 * The test plays the transport: it takes each output, checks that it's the expected
 * one, and says what happened. Time is a variable.
 */
#include "base/cursor.h"
#include "control/core.h"
#include "unit/unit.h"

#include <zstd.h>

#define SECOND NSEC_PER_SEC
#define WALL   (INT64_C(1800000000) * SECOND)
#define SELF   "{\"Node\":{\"ID\":1,\"Key\":\"%s\"},\"Peers\":[{\"ID\":2}]}"

struct fixture {
	struct control_core c;
	struct control_output out;
	nanoseconds now;
	struct buffer body; /* of the last request */
	struct public_key server_key;
};

static const char *const kinds[] = {
	"NOTHING",
	"FETCH_KEY",
	"CONNECT",
	"DISCONNECT",
	"SEND",
	"CANCEL",
	"TELL_STORE_KEY",
	"TELL_ASK_AUTH_KEY",
	"TELL_URL",
	"TELL_REGISTERED",
	"TELL_REFUSED",
	"TELL_APPROVAL",
	"TELL_NETMAP",
	"TELL_HEALTHY",
	"TELL_TROUBLE",
	"TELL_KEY_EXPIRED",
	"TELL_LOGGED_OUT",
	"TELL_PING",
	"TELL_BROWSER",
};

static uint32_t no_random(void)
{
	return 0;
}

static int setup(void **state)
{
	struct tailcfg_hostinfo info = {.hostname = "h"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct secret_key key;

	assert_int_equal(control_core_init(&f->c, NULL), 0);
	f->c.random = no_random;
	f->now = 1000 * SECOND;
	f->body = BUFFER_INIT(1 << 20);
	memset(&key, 7, sizeof(key));
	control_core_set_keys(&f->c, &key, NULL);
	memset(&f->c.disco_key, 9, sizeof(f->c.disco_key));
	memset(&f->server_key, 1, sizeof(f->server_key));
	assert_int_equal(control_core_set_hostinfo(&f->c, &info), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_core_clear(&f->c);
	buffer_free_secret(&f->body);
	free(f);
	return 0;
}

static enum control_output_kind next(struct fixture *f)
{
	enum control_output_kind kind =
		control_core_next(&f->c, f->now, WALL + (f->now - 1000 * SECOND), &f->out);

	if (kind == CONTROL_SEND) {
		buffer_free_secret(&f->body);
		assert_int_equal(
			buffer_append(&f->body, buffer_head(f->out.body), f->out.body->length), 0);
		assert_int_equal(buffer_append(&f->body, "", 1), 0);
	}
	return kind;
}

#define EXPECT(f, wanted)                                                                 \
	do {                                                                              \
		enum control_output_kind got_ = next(f);                                  \
		if (got_ != (wanted))                                                     \
			fail_msg("line %d: %s instead of %s (%s)", __LINE__, kinds[got_], \
				 kinds[wanted], (f)->c.trouble.text);                     \
	} while (0)

/* Let time pass until the deadline of the last NOTHING. */
static void sleep_until_deadline(struct fixture *f)
{
	assert_int_equal(f->out.kind, CONTROL_NOTHING);
	assert_true(f->out.deadline > f->now && f->out.deadline != DEADLINE_NEVER);
	f->now = f->out.deadline;
}

static bool body_has(struct fixture *f, const char *text)
{
	return strstr((char *)buffer_head(&f->body), text) != NULL;
}

static void answer(struct fixture *f, enum control_slot slot, int status, const char *body)
{
	control_core_response(&f->c, slot, status, -1);
	if (*body)
		control_core_data(&f->c, slot, (const uint8_t *)body, strlen(body), f->now);
	control_core_end(&f->c, slot, f->now);
}

static void map_message(struct fixture *f, const char *text)
{
	uint8_t frame[8192];
	size_t length = ZSTD_compress(frame + 4, sizeof(frame) - 4, text, strlen(text), 3);

	assert_false(ZSTD_isError(length));
	put_le32(frame, (uint32_t)length);
	control_core_data(&f->c, CONTROL_SLOT_MAP, frame, length + 4, f->now);
}

static void first_message(struct fixture *f)
{
	char text[300], key[KEY_TEXT_MAX];

	snprintf(text, sizeof(text), SELF, public_key_format(&f->c.node_public, KEY_NODE, key));
	control_core_response(&f->c, CONTROL_SLOT_MAP, 200, -1);
	map_message(f, text);
}

static void link_up(struct fixture *f)
{
	EXPECT(f, CONTROL_CONNECT);
	EXPECT(f, CONTROL_NOTHING);
	control_core_connected(&f->c, NULL, f->now);
}

/* From the start to a request that registers. */
static void to_registering(struct fixture *f)
{
	control_core_start(&f->c, false, false);
	EXPECT(f, CONTROL_FETCH_KEY);
	EXPECT(f, CONTROL_NOTHING);
	control_core_key(&f->c, &f->server_key, NULL, f->now);
	link_up(f);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_REGISTER);
	EXPECT(f, CONTROL_NOTHING);
}

static void to_map_request(struct fixture *f)
{
	to_registering(f);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"MachineAuthorized\":true}");
	EXPECT(f, CONTROL_TELL_REGISTERED);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	assert_true(body_has(f, "\"Stream\":true"));
	EXPECT(f, CONTROL_NOTHING);
}

/* To a live session whose first update is acknowledged. */
static void to_live(struct fixture *f)
{
	to_map_request(f);
	first_message(f);
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_TELL_HEALTHY);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_UPDATE);
	assert_true(body_has(f, "\"OmitPeers\":true"));
	EXPECT(f, CONTROL_NOTHING);
	answer(f, CONTROL_SLOT_UPDATE, 200, "");
	EXPECT(f, CONTROL_NOTHING);
}

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
	struct tailcfg_region_latency latency = {.region = "1-v4", .seconds = 0.1};
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
	/* Two more changes while that one is under way: one request, the newest. */
	info.hostname = "x";
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	info.hostname = "y";
	info.net_info = &net;
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	answer(f, CONTROL_SLOT_UPDATE, 200, "ignored");
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"Hostname\":\"y\""));
	answer(f, CONTROL_SLOT_UPDATE, 200, "");
	EXPECT(f, CONTROL_NOTHING);
	/* Order of endpoints, repetition, latencies: no change. */
	turned[0] = endpoints[1];
	turned[1] = endpoints[0];
	control_core_set_endpoints(&f->c, turned, 2);
	net.latencies = &latency;
	net.latency_count = 1;
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	/* A change that is taken back before it could be told. */
	info.hostname = "z";
	control_core_set_hostinfo(&f->c, &info);
	info.hostname = "y";
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_NOTHING);
	/* The home region: told, with the latencies. */
	net.preferred_derp = 2;
	control_core_set_hostinfo(&f->c, &info);
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"PreferredDERP\":2"));
	assert_true(body_has(f, "DERPLatency"));
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
	assert_int_equal(f->c.map_backoff.failures, 0);
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

static void an_unknown_node_registers_again(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	control_core_end(&f->c, CONTROL_SLOT_MAP, f->now);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_MAP, 404, "node not found\n");
	EXPECT(f, CONTROL_TELL_TROUBLE);
	assert_string_equal(f->out.error->text, "map: HTTP 404: node not found");
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_REGISTER);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/1\"}");
	EXPECT(f, CONTROL_TELL_ASK_AUTH_KEY);
	registration_auth_key(&f->c.registration, NULL);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/2\"}");
	EXPECT(f, CONTROL_TELL_URL);
	assert_string_equal(f->out.text, "https://x/2");
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
	for (int i = 0; i < 12; i++) {
		EXPECT(f, CONTROL_NOTHING);
		assert_true(f->out.deadline - f->now <= BACKOFF_MOST);
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
	struct error rejected = {-EKEYREJECTED, "another key"};
	struct fixture *f = *state;

	to_live(f);
	control_core_lost(&f->c, NULL, f->now);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_CONNECT);
	control_core_connected(&f->c, &rejected, f->now);
	EXPECT(f, CONTROL_TELL_TROUBLE);
	EXPECT(f, CONTROL_NOTHING);
	sleep_until_deadline(f);
	EXPECT(f, CONTROL_FETCH_KEY);
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

static void a_new_login_leaves_the_session_until_it_is_through(void **state)
{
	struct secret_key old;
	struct fixture *f = *state;

	to_live(f);
	old = f->c.registration.node_key;
	control_core_start(&f->c, true, false);
	EXPECT(f, CONTROL_TELL_STORE_KEY);
	assert_memory_equal(f->out.old_key, &old, sizeof(old));
	EXPECT(f, CONTROL_NOTHING);
	registration_key_stored(&f->c.registration, 0, f->now, 0);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/1\"}");
	EXPECT(f, CONTROL_TELL_URL);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.timeout, 0); /* a person may take long */
	map_message(f, "{\"PeersRemoved\":[2]}");
	EXPECT(f, CONTROL_TELL_NETMAP); /* the old key still works */
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"MachineAuthorized\":false}");
	EXPECT(f, CONTROL_TELL_REGISTERED);
	assert_memory_not_equal(f->out.key, &old, sizeof(old));
	EXPECT(f, CONTROL_CANCEL);
	EXPECT(f, CONTROL_TELL_APPROVAL);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
}

static void an_auth_key_ends_the_wait_for_a_person(void **state)
{
	struct fixture *f = *state;

	to_registering(f);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/1\"}");
	EXPECT(f, CONTROL_TELL_ASK_AUTH_KEY);
	registration_auth_key(&f->c.registration, NULL);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/1\"}");
	EXPECT(f, CONTROL_TELL_URL);
	EXPECT(f, CONTROL_SEND);
	EXPECT(f, CONTROL_NOTHING);
	registration_auth_key(&f->c.registration, strdup("k"));
	EXPECT(f, CONTROL_CANCEL);
	assert_int_equal(f->out.slot, CONTROL_SLOT_REGISTER);
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"AuthKey\":\"k\""));
}

static void our_own_key_expires_by_the_clock_of_control(void **state)
{
	struct fixture *f = *state;
	char text[400], key[KEY_TEXT_MAX];

	to_live(f);
	/* An hour from now by our clock; control's is half an hour ahead. */
	snprintf(text, sizeof(text),
		 "{\"Node\":{\"ID\":1,\"Key\":\"%s\",\"KeyExpiry\":\"2027-01-15T09:00:00Z\"},"
		 "\"ControlTime\":\"2027-01-15T08:30:00Z\"}",
		 public_key_format(&f->c.node_public, KEY_NODE, key));
	map_message(f, text);
	EXPECT(f, CONTROL_TELL_NETMAP);
	for (int i = 0; i < 17; i++) {
		f->now += 100 * SECOND;
		map_message(f, "{\"KeepAlive\":true}");
		EXPECT(f, CONTROL_NOTHING);
	}
	f->now = 1000 * SECOND + 1800 * SECOND;
	map_message(f, "{\"KeepAlive\":true}");
	EXPECT(f, CONTROL_TELL_KEY_EXPIRED);
	EXPECT(f, CONTROL_TELL_STORE_KEY); /* a new login, by auth key if there is one */
	EXPECT(f, CONTROL_NOTHING);        /* told once */
	registration_key_stored(&f->c.registration, 0, f->now, 0);
	EXPECT(f, CONTROL_TELL_ASK_AUTH_KEY);
	registration_auth_key(&f->c.registration, strdup("k"));
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"MachineAuthorized\":true}");
	EXPECT(f, CONTROL_TELL_REGISTERED);
	EXPECT(f, CONTROL_CANCEL);
	EXPECT(f, CONTROL_SEND); /* the map of the new key; the old map's expiry says nothing */
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	EXPECT(f, CONTROL_NOTHING);
}

static void a_key_that_is_prolonged_needs_no_login(void **state)
{
	struct fixture *f = *state;
	char text[400], key[KEY_TEXT_MAX];

	to_live(f);
	public_key_format(&f->c.node_public, KEY_NODE, key);
	snprintf(text, sizeof(text),
		 "{\"Node\":{\"ID\":1,\"Key\":\"%s\",\"KeyExpiry\":\"2027-01-01T00:00:00Z\"}}",
		 key);
	map_message(f, text);
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_TELL_KEY_EXPIRED);
	EXPECT(f, CONTROL_TELL_STORE_KEY);
	registration_key_stored(&f->c.registration, 0, f->now, 0);
	EXPECT(f, CONTROL_TELL_ASK_AUTH_KEY);
	registration_auth_key(&f->c.registration, NULL);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/1\"}");
	EXPECT(f, CONTROL_TELL_URL);
	EXPECT(f, CONTROL_SEND); /* held by the server until somebody logs in */
	EXPECT(f, CONTROL_NOTHING);
	snprintf(text, sizeof(text),
		 "{\"Node\":{\"ID\":1,\"Key\":\"%s\",\"KeyExpiry\":\"2028-01-01T00:00:00Z\"}}",
		 key);
	map_message(f, text);
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_CANCEL);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_REGISTER);
	assert_true(body_has(f, key)); /* the key that we had */
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"MachineAuthorized\":true}");
	EXPECT(f, CONTROL_TELL_REGISTERED);
}

static void logout_tells_and_is_silent_then(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	control_core_logout(&f->c);
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "1970-01-01T00:02:03Z"));
	answer(f, CONTROL_SLOT_REGISTER, 200, "{}");
	EXPECT(f, CONTROL_TELL_LOGGED_OUT);
	assert_int_equal(f->out.error->code, 0);
	EXPECT(f, CONTROL_DISCONNECT);
	EXPECT(f, CONTROL_NOTHING);
	assert_int_equal(f->out.deadline, DEADLINE_NEVER);
	/* The next start is a first login. */
	control_core_start(&f->c, false, true);
	next(f);
	while (f->out.kind != CONTROL_TELL_STORE_KEY && f->out.kind != CONTROL_NOTHING)
		next(f);
	assert_int_equal(f->out.kind, CONTROL_TELL_STORE_KEY);
}

static void logout_without_control_ends(void **state)
{
	struct error refused = {-ECONNREFUSED, "refused"};
	struct fixture *f = *state;

	control_core_logout(&f->c);
	EXPECT(f, CONTROL_FETCH_KEY);
	control_core_key(&f->c, NULL, &refused, f->now);
	next(f);
	while (f->out.kind == CONTROL_TELL_TROUBLE)
		next(f);
	assert_int_equal(f->out.kind, CONTROL_TELL_LOGGED_OUT);
	assert_int_equal(f->out.error->code, -ECONNREFUSED);
}

static void pause_is_silence_at_any_step(void **state)
{
	struct fixture *f = *state;

	to_live(f);
	control_core_pause(&f->c);
	EXPECT(f, CONTROL_DISCONNECT);
	EXPECT(f, CONTROL_NOTHING);
	assert_int_equal(f->out.deadline, DEADLINE_NEVER);
	control_core_start(&f->c, false, false);
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
		TEST(routes_and_tags_have_no_order),
		TEST(silence_is_noticed),
		TEST(keep_alives_do_not_reset_the_backoff),
		TEST(the_first_message_needs_a_node),
		TEST(garbage_ends_the_session_only),
		TEST(an_unknown_node_registers_again),
		TEST(a_busy_server_says_when_to_come_back),
		TEST(a_lost_link_comes_back_with_backoff),
		TEST(another_server_key_is_fetched),
		TEST(control_may_ask_for_quiet),
		TEST(a_new_login_leaves_the_session_until_it_is_through),
		TEST(an_auth_key_ends_the_wait_for_a_person),
		TEST(our_own_key_expires_by_the_clock_of_control),
		TEST(a_key_that_is_prolonged_needs_no_login),
		TEST(logout_tells_and_is_silent_then),
		TEST(logout_without_control_ends),
		TEST(pause_is_silence_at_any_step),
		TEST(pings_and_pages_are_told),
		TEST(the_dial_plan_is_tried_before_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
