/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/node/test_node_login.c - how a node logs in, between fakes */
#include "unit/node/fakes.h"

#include "tunnel/packet/tunnel_internal.h"

static void a_key_for_one_use_is_given_once(void **state)
{
	struct error refused = {-EACCES, "already used"};
	struct world *w = *state;

	/* As the command line does it, in each place where the second call may find the first. */
	start(w, "once");
	login(w);
	(void)new_key(w, NULL);
	login(w);
	answer_all(w);
	control_says(w, auth_key_wanted);
	assert_string_equal(client()->key, "once");
	login(w);
	assert_int_equal(client()->keys, 1);
	assert_int_equal(client()->starts, 1);
	assert_int_equal(client()->interactive, 0);
	/* Another one takes its place before control has answered. */
	start(w, "better");
	assert_int_equal(client()->starts, 2);
	control_says(w, auth_key_wanted);
	assert_string_equal(client()->key, "better");
	login(w);
	assert_int_equal(client()->starts, 2);
	/* Refused: now a person is asked for. */
	control_says(w, need, CONTROL_NEED_AUTH_KEY, &refused);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
	login(w);
	assert_int_equal(client()->interactive, 1);
	assert_int_equal(client()->keys, 2);
}

static void a_wrong_key_then_a_good_one(void **state)
{
	struct error refused = {-EACCES, "no such key"};
	struct world *w = *state;
	struct secret_key key;

	start(w, "wrong");
	key = new_key(w, NULL);
	answer_all(w);
	control_says(w, auth_key_wanted);
	control_says(w, need, CONTROL_NEED_AUTH_KEY, &refused);
	start(w, "good");
	login(w);
	control_says(w, auth_key_wanted);
	assert_string_equal(client()->key, "good");
	assert_int_equal(client()->keys, 2);
	assert_int_equal(client()->interactive, 0);
	registered(w, &key);
	assert_null(w->node->warnings[NODE_WARN_LOGIN]);
	assert_int_equal(node_state(w->node), NODE_STARTING);
}

/* Its key must not bring back a node that was logged out. */
static void a_start_that_is_refused_wants_no_login(void **state)
{
	struct world *w = *state;
	json_t *options = object("{\"AuthKey\":\"key\",\"UpdatePrefs\":{\"Hostname\":\"a b\","
				 "\"ControlURL\":\"https://one.example\","
				 "\"LoggedOut\":true,\"WantRunning\":true}}");
	struct error err = {0};

	edit(w, "{\"LoggedOut\":true,\"LoggedOutSet\":true,"
		"\"ControlURL\":\"https://one.example\",\"ControlURLSet\":true}");
	assert_true(node_start(w->node, options, &err) < 0);
	edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
	answer_all(w);
	assert_null(w->node->control);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
}

static void a_running_node_logs_in_anew_by_key(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	start(w, "second");
	assert_int_equal(client()->keys, 1); /* it runs: the key is kept */
	login(w);
	assert_string_equal(client()->key, "second");
	assert_int_equal(client()->interactive, 1);
	login(w);
	assert_int_equal(client()->interactive, 1);
	(void)new_key(w, &key);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
}

static void a_new_login_leaves_a_running_node_running(void **state)
{
	struct error refused = {-EACCES, "no"};
	struct world *w = *state;
	struct secret_key key = run(w), next;

	login(w);
	next = new_key(w, &key);
	answer_all(w);
	control_says(w, auth_url, RENEWAL_URL);
	assert_string_equal(w->privsep.login, RENEWAL_URL);
	assert_string_equal(w->node->auth_url, RENEWAL_URL);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	control_says(w, need, CONTROL_NEED_LOGIN, &refused);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	/* Until the key itself is no good any more. */
	control_says(w, key_expired, true);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
	registered(w, &next);
	assert_int_equal(node_state(w->node), NODE_STARTING); /* the map is that of the old key */
	map(w, &next, FULL_MAP);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	assert_null(w->node->auth_url);
}

static void assert_tunnel_key(struct world *w, const struct secret_key *secret)
{
	struct public_key key;

	secret_key_public(secret, &key);
	assert_true(public_key_equal(wg_device_public_key(w->node->tunnel->wg), &key));
}

static void a_login_that_was_given_up_is_survived(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w), next;

	login(w);
	next = new_key(w, &key);
	answer_all(w);
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	assert_null(w->node->tunnel);
	assert_null(w->node->auth_url);
	edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
	assert_tunnel_key(w, &key);
	/* Another process, and control is away: peers know the key of the map. */
	end_node(w);
	start_node(w);
	assert_true(client()->had_netmap);
	assert_true(has_peer(w, 1));
	assert_tunnel_key(w, &key);
	/* Control does know the new one: nothing leads back. */
	registered(w, &next);
	assert_true(sodium_is_zero(w->node->state.persist.old_node_key.bytes, KEY_SIZE));
	end_node(w);
	start_node(w);
	assert_tunnel_key(w, &next);
}

/* states() - The states in @log, in their order: "5 6"; @log is emptied */
static char *states(json_t *log)
{
	static char text[200];
	json_t *message;
	size_t i;

	text[0] = 0;
	json_array_foreach(log, i, message) {
		json_t *state = json_object_get(message, "State");
		size_t used = strlen(text);

		if (state)
			snprintf(text + used, sizeof(text) - used, "%s%d", used ? " " : "",
				 (int)json_integer_value(state));
	}
	json_array_clear(log);
	return text;
}

/* The official command line waits for the state after `start`, changed or not. */
static void a_start_is_answered_on_the_bus(void **state)
{
	struct error refused = {-EACCES, "already used"};
	struct world *w = *state;
	json_t *log = json_array();
	struct node_watch *watch;
	struct secret_key key;

	watch = node_watch_new(w->node, 0, on_notify, log);
	start(w, "first");
	key = new_key(w, NULL);
	answer_all(w);
	for (int i = 0; i < 3; i++) {
		start(w, "bad");
		control_says(w, auth_key_wanted);
		json_array_clear(log);
		control_says(w, need, CONTROL_NEED_AUTH_KEY, &refused);
		assert_int_equal(messages_with(log, "ErrMessage"), 1);
	}
	control_says(w, need, CONTROL_NEED_TAGS, &refused);
	assert_non_null(strstr(w->node->warnings[NODE_WARN_LOGIN], "leave --advertise-tags out"));
	json_array_clear(log);
	start(w, "good");
	assert_string_equal(states(log), "2");
	control_says(w, auth_key_wanted);
	registered(w, &key);
	map(w, &key, FULL_MAP);
	assert_string_equal(states(log), "5 6");
	for (int i = 0; i < 2; i++) {
		unsigned int starts = client()->starts;

		start(w, i ? "any" : NULL);
		assert_int_equal(client()->starts, starts + 1); /* tags are told by registering */
		assert_string_equal(states(log), "5 6");
		assert_int_equal(node_state(w->node), NODE_RUNNING);
		registered(w, &key); /* which is no new login */
		assert_int_equal(messages_with(log, "LoginFinished"), 0);
	}
	/* And what goes wrong with that leaves it running. */
	start(w, NULL);
	control_says(w, need, CONTROL_NEED_LOGIN, &refused);
	assert_int_equal(messages_with(log, "ErrMessage"), 1);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	node_watch_free(watch);
	json_decref(log);
}

/* A server may send the map with the new key before it answers to the registration. */
static void a_login_finishes_after_its_map(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w), next;
	json_t *log = json_array();
	struct node_watch *watch = node_watch_new(w->node, 0, on_notify, log);

	start(w, "other");
	login(w);
	next = new_key(w, &key);
	answer_all(w);
	map(w, &next, FULL_MAP);
	assert_int_equal(messages_with(log, "LoginFinished"), 0);
	registered(w, &next);
	assert_int_equal(messages_with(log, "LoginFinished"), 1);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	registered(w, &next);
	assert_int_equal(messages_with(log, "LoginFinished"), 1);
	node_watch_free(watch);
	json_decref(log);
}

static void peers_are_told_to_who_asked(void **state)
{
	struct world *w = *state;
	json_t *log = json_array(), *other = json_array(), *peers;
	struct secret_key key = run(w);
	struct node_watch *watch = node_watch_new(w->node, NODE_WATCH_PEER_CHANGES, on_notify, log);
	struct node_watch *none = node_watch_new(w->node, 0, on_notify, other);

	json_array_clear(log);
	map(w, &key,
	    "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":true}],"
	    "\"UserProfiles\":[{\"ID\":7,\"LoginName\":\"alice\"}]}");
	map(w, &key, "{\"PeersRemoved\":[3]}");
	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":4,\"Key\":\"PEER2\",\"User\":7,"
	    "\"Addresses\":[\"100.64.0.4/32\"]}]}");
	map(w, &key, "{\"Domain\":\"new\"}");
	assert_int_equal(messages_with(log, "PeersChanged"), 2);
	assert_int_equal(messages_with(log, "PeersRemoved"), 1);
	peers = json_object_get(json_array_get(log, 0), "PeersChanged");
	assert_true(json_is_true(json_object_get(json_array_get(peers, 0), "Online")));
	peers = json_object_get(json_array_get(log, 1), "PeersRemoved");
	assert_int_equal(json_integer_value(json_array_get(peers, 0)), 3);
	peers = json_object_get(json_array_get(log, 2), "UserProfiles");
	assert_string_equal(text_at(json_object_get(peers, "7"), "LoginName"), "alice");
	assert_int_equal(
		messages_with(other, "PeersChanged") + messages_with(other, "PeersRemoved"), 0);
	node_watch_free(watch);
	node_watch_free(none);
	json_decref(log);
	json_decref(other);
}

/* `up --auth-key` on a node that control no longer wants by its node key. */
static void a_key_at_hand_is_tried_when_the_node_key_is_refused(void **state)
{
	struct error refused = {-EACCES, "no such node"};
	struct world *w = *state;
	json_t *log = json_array();
	struct secret_key key = run(w);
	struct node_watch *watch = node_watch_new(w->node, 0, on_notify, log);
	unsigned int keys = client()->keys;

	start(w, "fresh");
	assert_int_equal(client()->interactive, 0);
	control_says(w, need, CONTROL_NEED_LOGIN, &refused);
	assert_int_equal(client()->interactive, 1);
	assert_int_equal(client()->keys, keys + 1);
	assert_string_equal(client()->key, "fresh");
	login(w); /* what belongs to the start, come late */
	assert_int_equal(client()->interactive, 1);
	assert_int_equal(messages_with(log, "ErrMessage"), 0);
	/* Once: the key is answered to now. */
	control_says(w, need, CONTROL_NEED_AUTH_KEY, &refused);
	assert_int_equal(client()->interactive, 1);
	assert_int_equal(messages_with(log, "ErrMessage"), 1);
	secret_key_wipe(&key);
	node_watch_free(watch);
	json_decref(log);
}

static void a_whole_map_says_who_we_are_and_then_the_state(void **state)
{
	struct world *w = *state;
	json_t *log = json_array(), *message, *self = NULL;
	struct secret_key key, next;
	struct node_watch *watch;
	char text[KEY_TEXT_MAX];
	struct public_key public;
	size_t i;

	key = run(w);
	watch = node_watch_new(w->node, 0, on_notify, log);
	start(w, NULL);
	login(w);
	next = new_key(w, &key);
	answer_all(w);
	registered(w, &next);
	json_array_clear(log);
	map(w, &next, FULL_MAP);
	json_array_foreach(log, i, message)
		if (json_object_get(message, "SelfChange"))
			self = json_object_get(message, "SelfChange");
	secret_key_public(&next, &public);
	assert_string_equal(text_at(self, "Key"), public_key_format(&public, KEY_NODE, text));
	json_array_clear(log);
	map(w, &next, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":true}]}");
	assert_int_equal(messages_with(log, "SelfChange"), 0);
	map(w, &next, FULL_MAP); /* nothing is new but that there is a map */
	assert_int_equal(messages_with(log, "SelfChange"), 1);
	/* A login from the beginning: before the state, which ends the command. */
	control_says(w, key_expired, true);
	key = new_key(w, &next);
	registered(w, &key);
	json_array_clear(log);
	map(w, &key, FULL_MAP);
	assert_non_null(json_object_get(json_array_get(log, 0), "SelfChange"));
	assert_string_equal(states(log), "6");
	node_watch_free(watch);
	json_decref(log);
}

static bool flag_of_status(struct world *w, const char *name)
{
	json_t *status = status_of(w, false);
	bool value = json_is_true(json_object_get(status, name));

	json_decref(status);
	return value;
}

static bool status_has_key(struct world *w)
{
	json_t *status = status_of(w, false);
	bool has = json_object_get(json_object_get(status, "Self"), "PublicKey") != NULL;

	json_decref(status);
	return has;
}

/* `up` asks for a login URL as long as nobody has registered this node. */
static void a_node_key_is_had_once_it_is_registered(void **state)
{
	struct world *w = *state;
	struct secret_key key;

	start(w, NULL);
	login(w);
	key = new_key(w, NULL);
	answer_all(w);
	control_says(w, auth_url, RENEWAL_URL);
	for (int i = 0; i < 2; i++) {
		assert_false(flag_of_status(w, "HaveNodeKey"));
		/* While a URL is shown a person compares the key with the login page's. */
		assert_int_equal(status_has_key(w), i == 0);
		end_node(w);
		start_node(w);
	}
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
	edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
	registered(w, &key);
	assert_true(flag_of_status(w, "HaveNodeKey"));
	map(w, &key, FULL_MAP);
	end_node(w);
	start_node(w);
	assert_true(flag_of_status(w, "HaveNodeKey"));
}

static void a_start_drops_the_url_before(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	json_t *log = json_array();
	struct node_watch *watch;

	control_says(w, key_expired, true);
	start(w, NULL);
	(void)new_key(w, &key);
	answer_all(w);
	control_says(w, auth_url, RENEWAL_URL);
	watch = node_watch_new(w->node, 0, on_notify, log);
	start(w, NULL);
	assert_null(w->node->auth_url);
	login(w);
	assert_int_equal(messages_with(log, "BrowseToURL"), 0);
	assert_int_equal(client()->interactive, 1);
	control_says(w, auth_url, "https://one.example/a/2");
	assert_int_equal(messages_with(log, "BrowseToURL"), 1);
	node_watch_free(watch);
	json_decref(log);
}

/* As with the official daemon: no packet passes, and no new key is made that nobody asked for. */
static void an_expired_key_stops_all_packets_until_it_is_extended(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	unsigned int starts = client()->starts;

	control_says(w, key_expired, true);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
	assert_null(w->node->tunnel);
	answer_all(w);
	assert_string_equal(w->privsep.network, "down, nft;;");
	/* Nothing that happens meanwhile opens it, and control is asked for nothing. */
	edit(w, "{\"Hostname\":\"other\",\"HostnameSet\":true}");
	map(w, &key, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":true}]}");
	assert_null(w->node->tunnel);
	assert_int_equal(client()->starts, starts);
	assert_int_equal(client()->pauses, 0);
	control_says(w, key_expired, false);
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	assert_tunnel_key(w, &key);
	assert_true(has_peer(w, 1));
	assert_null(w->node->warnings[NODE_WARN_LOGIN]);
}

/* A key of the environment that was spent serves those who ask, and nothing else. */
static void a_spent_key_does_not_bring_an_expired_node_back(void **state)
{
	struct error expired = {-EKEYEXPIRED, "control calls the node key expired"};
	struct world *w = *state;
	struct secret_key key;

	w->start.config.auth_key_present = true;
	w->privsep.key_file = "one";
	end_node(w);
	w->start.config.up = true;
	start_node(w);
	key = new_key(w, NULL);
	answer_all(w);
	control_says(w, auth_key_wanted);
	assert_int_equal(client()->keys, 1);
	registered(w, &key);
	map(w, &key, FULL_MAP);
	control_says(w, key_expired, true);
	assert_int_equal(client()->interactive, 0);
	assert_int_equal(client()->keys, 1);
	/* Another engine has nobody who asks either, another container start does. */
	end_node(w);
	w->start.config.crash_count = 1;
	w->start.config.up = false;
	start_node(w);
	assert_int_equal(client()->unasked, 1);
	control_says(w, need, CONTROL_NEED_LOGIN, &expired);
	assert_int_equal(client()->interactive, 0);
	end_node(w);
	w->start.config.crash_count = 0;
	start_node(w);
	assert_int_equal(client()->unasked, 0);
	control_says(w, auth_key_wanted);
	assert_int_equal(client()->keys, 1);
	registered(w, &key);
	/* And one that was never spent is at hand. */
	w->privsep.key_file = "two";
	control_says(w, key_expired, true);
	assert_int_equal(client()->interactive, 1);
	assert_string_equal(client()->key, "two");
	end_node(w);
	w->start.config.crash_count = 1;
	start_node(w);
	control_says(w, need, CONTROL_NEED_LOGIN, &expired);
	assert_int_equal(client()->interactive, 1);
	assert_string_equal(client()->key, "two");
}

static void an_approval_is_waited_for(void **state)
{
	struct error refused = {-EACCES, "no"};
	struct world *w = *state;
	json_t *log = json_array();
	struct node_watch *watch = node_watch_new(w->node, 0, on_notify, log);

	struct secret_key key;

	start(w, NULL);
	key = new_key(w, NULL);
	answer_all(w);
	/* The answer to the registration says nothing of it, only the map does. */
	control_says(w, registered, &key, &(struct tailcfg_register_response){0});
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_STARTING);
	map(w, &key, "{\"Node\":{\"ID\":1,\"Key\":\"SELF\",\"Addresses\":[\"100.64.0.1/32\"]}}");
	assert_int_equal(node_state(w->node), NODE_NEEDS_MACHINE_AUTH);
	assert_non_null(strstr(w->node->warnings[NODE_WARN_LOGIN], "an administrator"));
	assert_int_equal(messages_with(log, "ErrMessage"), 0); /* it would end `up` */
	map(w, &key, FULL_MAP);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	assert_null(w->node->warnings[NODE_WARN_LOGIN]);
	control_says(w, need, CONTROL_NEED_LOGIN, &refused);
	assert_int_equal(messages_with(log, "ErrMessage"), 1);
	node_watch_free(watch);
	json_decref(log);
}

static void what_control_says_is_never_lost(void **state)
{
	struct error refused = {.code = -EACCES};
	struct world *w = *state;
	json_t *log = json_array(), *lines;
	struct node_watch *watch = node_watch_new(w->node, 0, on_notify, log);
	char text[ERROR_TEXT_MAX];

	start(w, NULL);
	(void)new_key(w, NULL);
	answer_all(w);
	/* So long that one of the buffers on the way cuts a character of three bytes. */
	for (size_t i = 0; i + 4 < sizeof(text); i += 3)
		memcpy(text + i, "\xe2\x82\xac", 4);
	for (size_t i = 0; i < 3; i++) {
		error_set(&refused, -EACCES, "%s", text + 3 * i);
		control_says(w, need, CONTROL_NEED_LOGIN, &refused);
		assert_int_equal(messages_with(log, "ErrMessage"), i + 1);
		lines = health_lines_of(w);
		assert_true(json_array_size(lines) > 0);
		json_decref(lines);
		lines = health_of(w);
		assert_non_null(
			json_object_get(json_object_get(lines, "Warnings"), "login-needed"));
		json_decref(lines);
		memmove(text + 1, text, sizeof(text) - 2);
		text[0] = 'a';
	}
	node_watch_free(watch);
	json_decref(log);
}

static void warnings_end_with_their_cause(void **state)
{
	struct world *w = *state;
	struct secret_key key;

	start(w, NULL);
	key = new_key(w, NULL);
	answer_all(w);
	registered(w, &key);
	map(w, &key, "{\"Node\":{\"ID\":1,\"Key\":\"SELF\",\"Addresses\":[\"100.64.0.1/32\"]}}");
	map(w, &key, FULL_MAP); /* in which we are approved */
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	assert_null(w->node->warnings[NODE_WARN_LOGIN]);
	/* What is said of relays and filter is said of a tunnel. */
	map(w, &key, UNSIGNED_PEER);
	node_warn(w->node, NODE_WARN_RELAY, "away");
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_STOPPED);
	assert_int_equal(w->privsep.told, PRIVSEP_STATE_STOPPED);
	for (int i = 0; i < NODE_WARN_COUNT; i++)
		if (i != NODE_WARN_CERTIFICATES)
			assert_null(w->node->warnings[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_key_for_one_use_is_given_once),
		TEST(a_wrong_key_then_a_good_one),
		TEST(a_start_that_is_refused_wants_no_login),
		TEST(a_running_node_logs_in_anew_by_key),
		TEST(a_new_login_leaves_a_running_node_running),
		TEST(a_login_that_was_given_up_is_survived),
		TEST(a_start_is_answered_on_the_bus),
		TEST(a_login_finishes_after_its_map),
		TEST(peers_are_told_to_who_asked),
		TEST(a_key_at_hand_is_tried_when_the_node_key_is_refused),
		TEST(a_whole_map_says_who_we_are_and_then_the_state),
		TEST(a_node_key_is_had_once_it_is_registered),
		TEST(a_start_drops_the_url_before),
		TEST(an_expired_key_stops_all_packets_until_it_is_extended),
		TEST(a_spent_key_does_not_bring_an_expired_node_back),
		TEST(an_approval_is_waited_for),
		TEST(what_control_says_is_never_lost),
		TEST(warnings_end_with_their_cause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
