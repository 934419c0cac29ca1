/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/control/test_core_login.c - logins, keys and logouts of the control client */
#include "unit/control/core_world.h"

static void a_new_login_leaves_the_session_until_it_is_through(void **state)
{
	struct secret_key old;
	struct fixture *f = *state;

	to_live(f);
	old = f->c.registration.node_key;
	control_core_start(&f->c, REGISTRATION_INTERACTIVE, false);
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
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
}

static void a_start_ends_the_wait_for_a_person(void **state)
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
	control_core_start(&f->c, REGISTRATION_ASKED, false);
	EXPECT(f, CONTROL_CANCEL);
	assert_int_equal(f->out.slot, CONTROL_SLOT_REGISTER);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/2\"}");
	EXPECT(f, CONTROL_TELL_ASK_AUTH_KEY);
	registration_auth_key(&f->c.registration, strdup("k"));
	EXPECT(f, CONTROL_SEND);
	assert_true(body_has(f, "\"AuthKey\":\"k\""));
}

static void our_own_key_expires_by_our_own_clock(void **state)
{
	struct fixture *f = *state;
	char text[400], key[KEY_TEXT_MAX];

	to_live(f);
	/* An hour from now by our clock; control's is two hours ahead. */
	snprintf(text, sizeof(text),
		 "{\"Node\":{\"ID\":1,\"Key\":\"%s\",\"KeyExpiry\":\"2027-01-15T09:00:00Z\"},"
		 "\"ControlTime\":\"2027-01-15T10:00:00Z\"}",
		 public_key_format(&f->c.node_public, KEY_NODE, key));
	map_message(f, text);
	EXPECT(f, CONTROL_TELL_NETMAP);
	for (int i = 0; i < 35; i++) {
		f->now += 100 * SECOND;
		map_message(f, "{\"KeepAlive\":true}");
		EXPECT(f, CONTROL_NOTHING);
	}
	f->now = 1000 * SECOND + 3600 * SECOND;
	map_message(f, "{\"KeepAlive\":true}");
	EXPECT(f, CONTROL_TELL_KEY_EXPIRED);
	EXPECT(f, CONTROL_NOTHING); /* told once; nobody asked for a new login */
	control_core_start(&f->c, REGISTRATION_INTERACTIVE, false);
	registration_auth_key(&f->c.registration, strdup("k"));
	EXPECT(f, CONTROL_TELL_STORE_KEY);
	registration_key_stored(&f->c.registration, 0, f->now, 0);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"MachineAuthorized\":true}");
	EXPECT(f, CONTROL_TELL_REGISTERED);
	EXPECT(f, CONTROL_CANCEL);
	EXPECT(f, CONTROL_SEND); /* the map of the new key; the old map's expiry says nothing */
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	EXPECT(f, CONTROL_NOTHING);
}

/* By a year, each way; control's clock is ten minutes ahead of the true one. */
static void peers_do_not_expire_because_our_clock_is_set(void **state)
{
	const nanoseconds year = 365 * 86400 * SECOND;
	const nanoseconds steps[] = {year, -year, 0};
	struct fixture *f = *state;
	const struct netmap_peer *peer;

	to_live(f);
	map_message(f, "{\"ControlTime\":\"2027-01-15T08:10:00Z\",\"PeersChanged\":[{\"ID\":2,"
		       "\"KeyExpiry\":\"2027-01-15T09:10:00Z\"}]}");
	EXPECT(f, CONTROL_TELL_NETMAP);
	peer = netmap_peer_by_id(f->c.netmap, 2);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		f->now += 10 * SECOND;
		f->wall_step = steps[i];
		EXPECT(f, CONTROL_NOTHING);
		assert_false(peer->expired);
		/* A message that names the peer, and no time. */
		map_message(f, "{\"PeersChanged\":[{\"ID\":2,"
			       "\"KeyExpiry\":\"2027-01-15T09:10:00Z\"}]}");
		EXPECT(f, CONTROL_NOTHING);
		assert_false(peer->expired);
	}
	while (f->now < (1000 + 3600) * SECOND) {
		assert_false(peer->expired);
		f->now += 100 * SECOND;
		map_message(f, "{\"KeepAlive\":true}");
		if (next(f) == CONTROL_TELL_NETMAP)
			break;
	}
	assert_true(peer->expired);
	assert_true(f->now >= (1000 + 3600) * SECOND && f->now <= (1000 + 3700) * SECOND);
}

/* extend() - Control says until when our node key is good */
static void extend(struct fixture *f, const char *until)
{
	char text[400], key[KEY_TEXT_MAX];

	snprintf(text, sizeof(text), "{\"Node\":{\"ID\":1,\"Key\":\"%s\",\"KeyExpiry\":\"%s\"}}",
		 public_key_format(&f->c.node_public, KEY_NODE, key), until);
	map_message(f, text);
}

static void a_key_that_is_prolonged_needs_no_login(void **state)
{
	struct fixture *f = *state;
	char key[KEY_TEXT_MAX];

	to_live(f);
	public_key_format(&f->c.node_public, KEY_NODE, key);
	extend(f, "2027-01-01T00:00:00Z");
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_TELL_KEY_EXPIRED);
	EXPECT(f, CONTROL_NOTHING);
	extend(f, "2027-02-01T00:00:00Z");
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_TELL_KEY_EXTENDED);
	EXPECT(f, CONTROL_NOTHING);
	/* A person had begun a new login meanwhile. */
	extend(f, "2027-01-01T00:00:00Z");
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_TELL_KEY_EXPIRED);
	control_core_start(&f->c, REGISTRATION_INTERACTIVE, false);
	EXPECT(f, CONTROL_TELL_STORE_KEY);
	registration_key_stored(&f->c.registration, 0, f->now, 0);
	EXPECT(f, CONTROL_SEND);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"AuthURL\":\"https://x/1\"}");
	EXPECT(f, CONTROL_TELL_URL);
	EXPECT(f, CONTROL_SEND); /* held by the server until somebody logs in */
	EXPECT(f, CONTROL_NOTHING);
	extend(f, "2028-01-01T00:00:00Z");
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_CANCEL);
	EXPECT(f, CONTROL_TELL_KEY_EXTENDED);
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
	control_core_start(&f->c, REGISTRATION_ASKED, true);
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_node_registers_again),
		TEST(a_new_login_leaves_the_session_until_it_is_through),
		TEST(a_start_ends_the_wait_for_a_person),
		TEST(our_own_key_expires_by_our_own_clock),
		TEST(peers_do_not_expire_because_our_clock_is_set),
		TEST(a_key_that_is_prolonged_needs_no_login),
		TEST(logout_tells_and_is_silent_then),
		TEST(logout_without_control_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
