/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_asks.c - what nodes and pages ask: DNS records, SSH sessions, forms */
#include "base/limits.h"
#include "server/coordinator/dns_hook.h"
#include "server/coordinator/tailnet.h"
#include "unit/unit.h"

#include <errno.h>
#include <stdio.h>

#define MINUTE (60 * NSEC_PER_SEC)

static struct tailnet tailnet;
static struct tailnet_time now;

#define POLICY                                                                         \
	"{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}]," \
	"\"tagOwners\": {\"tag:db\": [\"alice@\"]},"                                   \
	"\"ssh\": [{\"action\": \"check\", \"src\": [\"alice@\"], \"dst\": "           \
	"[\"tag:db\"], \"users\": [\"root\", \"backup\"], \"checkPeriod\": \"1h\"},"   \
	"{\"action\": \"check\", \"src\": [\"alice@\"], \"dst\": [\"tag:db\"], "       \
	"\"users\": [\"always\"], \"checkPeriod\": \"always\"},"                       \
	"{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": [\"tag:db\"], "      \
	"\"users\": [\"deploy\"]}]}"

static int setup(void **state)
{
	struct tailnet_settings settings = {.server_url = "https://c.test",
					    .base_domain = "t.test"};
	struct error err = {0};

	(void)state;
	now = (struct tailnet_time){.boot = 1000 * NSEC_PER_SEC, .wall = 1700000000 * NSEC_PER_SEC};
	if (tailnet_init(&tailnet, &settings) < 0 ||
	    tailnet_policy_set(&tailnet, POLICY, strlen(POLICY), NULL, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tailnet_clear(&tailnet);
	return 0;
}

static struct registry_node *join(uint8_t n, const char *user_name, const char *tag)
{
	struct registry_user *user = registry_user_named(&tailnet.registry, user_name);
	struct public_key machine = {{100, n}}, key = {{1, n}};
	struct registry_node *node;
	struct error err;

	if (!user)
		assert_int_equal(
			registry_add_user(&tailnet.registry, user_name, now.wall, &user, &err), 0);
	assert_int_equal(
		registry_add_node(&tailnet.registry, &machine, &key, "host", now.wall, &node, &err),
		0);
	node->user = user->record.id;
	if (tag)
		assert_int_equal(string_list_add(&node->tags, tag), 0);
	tailnet_changed(&tailnet, node, CHANGE_NODE);
	return node;
}

struct verdict {
	int r;
	bool accept, reject, forwarding;
	char message[1024], id[64];
};

/* ask() - As the node @to would, going on with the check @id */
static struct verdict ask(const struct registry_node *from, const struct registry_node *to,
			  const char *user, const char *id, bool patient)
{
	struct machine_ssh_request q = {.from = from->record.id, .to = to->record.id};
	struct buffer out = BUFFER_INIT(LIMIT_RPC_BODY);
	struct verdict v = {0};
	struct error err = {0};
	const char *url, *check;
	json_t *json;

	strcpy(q.user, user);
	strcpy(q.check, id);
	v.r = tailnet_ssh_action(&tailnet, &to->machine, &q, patient, now, &out, &err);
	if (v.r == REGISTER_ANSWER) {
		json = json_loadb((char *)buffer_head(&out), out.length, 0, NULL);
		assert_non_null(json);
		v.accept = json_is_true(json_object_get(json, "accept"));
		v.reject = json_is_true(json_object_get(json, "reject"));
		v.forwarding = json_is_true(json_object_get(json, "allowAgentForwarding"));
		if (json_object_get(json, "message"))
			snprintf(v.message, sizeof(v.message), "%s",
				 json_string_value(json_object_get(json, "message")));
		url = json_string_value(json_object_get(json, "holdAndDelegate"));
		assert_true(!!url + v.accept + v.reject == 1);
		check = url ? strstr(url, "&check=") : NULL;
		assert_true(!url || (check && strncmp(url,
						      "https://unused/machine/ssh/action/"
						      "$SRC_NODE_ID/to/$DST_NODE_ID?",
						      63) == 0));
		snprintf(v.id, sizeof(v.id), "%s", check ? check + 7 : "");
		json_decref(json);
	}
	buffer_free(&out);
	return v;
}

static void confirm(const char *id, bool yes)
{
	struct ssh_check *check = tailnet_ssh_check(&tailnet, id);

	assert_non_null(check);
	assert_int_equal(tailnet_ssh_decide(&tailnet, check, yes, now), 0);
}

static void pass(nanoseconds time)
{
	now.boot += time;
	now.wall += time;
	tailnet_tick(&tailnet, now);
}

static void test_a_session_is_confirmed(void **state)
{
	struct registry_node *alice = join(1, "alice", NULL), *db = join(2, "alice", "tag:db");
	struct registry_node *bob = join(3, "bob", NULL);
	char text[256], id[64];
	struct verdict v;

	(void)state;
	assert_true(ask(alice, db, "deploy", "", true).accept);
	assert_true(ask(alice, db, "deploy", "", true).forwarding);
	assert_true(ask(alice, db, "nobody", "", true).reject);
	assert_true(ask(bob, db, "root", "", true).reject);
	assert_true(ask(db, alice, "root", "", true).reject);
	assert_int_equal(tailnet.ssh_check_count, 0);

	v = ask(alice, db, "root", "", true);
	snprintf(id, sizeof(id), "%s", v.id);
	snprintf(text, sizeof(text), "https://c.test/ssh/%s", id);
	assert_non_null(strstr(v.message, text));
	snprintf(text, sizeof(text), "pillion control ssh approve %s", id);
	assert_non_null(strstr(v.message, text));
	assert_int_equal(ask(alice, db, "root", id, true).r, REGISTER_HOLD);
	/* Who has waited long asks again, and is not told all of it again. */
	v = ask(alice, db, "root", id, false);
	assert_string_equal(v.id, id);
	assert_string_equal(v.message, "");
	/* A second session waits for the same confirmation; another user is another one. */
	assert_string_equal(ask(alice, db, "root", "", true).id, id);
	assert_string_not_equal(ask(alice, db, "backup", "", true).id, id);
	assert_string_not_equal(ask(alice, db, "backup", id, true).id, id);
	assert_int_equal(tailnet.ssh_check_count, 2);

	confirm(id, true);
	assert_true(ask(alice, db, "root", id, true).accept);
	assert_true(ask(alice, db, "root", id, true).accept); /* the answer was lost */
	assert_false(ask(alice, db, "backup", "", true).accept);
	pass(59 * MINUTE);
	assert_true(ask(alice, db, "root", "", true).accept);
	assert_null(tailnet_ssh_check(&tailnet, id));
	pass(MINUTE);
	assert_false(ask(alice, db, "root", "", true).accept);
	/* An id that is over begins anew. */
	v = ask(alice, db, "root", id, true);
	assert_true(v.id[0] && strcmp(v.id, id) != 0);

	confirm(v.id, false);
	assert_true(ask(alice, db, "root", v.id, true).reject);
	assert_false(ask(alice, db, "root", "", true).accept);
}

static void test_each_time(void **state)
{
	struct registry_node *alice = join(1, "alice", NULL), *db = join(2, "alice", "tag:db");
	struct verdict v = ask(alice, db, "always", "", true);

	(void)state;
	confirm(v.id, true);
	assert_true(ask(alice, db, "always", v.id, true).accept);
	assert_false(ask(alice, db, "always", "", true).accept);
	/* Not for long by the old id either. */
	pass(MINUTE);
	assert_false(ask(alice, db, "always", v.id, true).accept);
}

static void test_what_ends_a_confirmation(void **state)
{
	struct registry_node *alice = join(1, "alice", NULL), *db = join(2, "alice", "tag:db");
	static const char closed[] = "{\"acls\": [], \"ssh\": []}";
	struct public_key other = {{9, 9}};
	struct error err = {0};

	(void)state;
	confirm(ask(alice, db, "root", "", true).id, true);
	assert_true(ask(alice, db, "root", "", true).accept);
	/* Logged in again: somebody else may sit there. */
	registry_set_key(&tailnet.registry, alice, &other);
	assert_false(ask(alice, db, "root", "", true).accept);
	confirm(ask(alice, db, "root", "", true).id, true);
	assert_true(ask(alice, db, "root", "", true).accept);
	tailnet_set_expiry(&tailnet, alice, now.wall, now);
	assert_true(ask(alice, db, "root", "", true).reject);
	tailnet_set_expiry(&tailnet, alice, JSON_TIME_NONE, now);
	assert_int_equal(tailnet_policy_set(&tailnet, closed, strlen(closed), NULL, &err), 0);
	assert_true(ask(alice, db, "root", "", true).reject);
}

static void test_who_may_ask(void **state)
{
	struct registry_node *alice = join(1, "alice", NULL), *db = join(2, "alice", "tag:db");
	struct machine_ssh_request q = {
		.from = alice->record.id, .to = db->record.id, .user = "root"};
	struct buffer out = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};

	(void)state;
	assert_int_equal(tailnet_ssh_action(&tailnet, &alice->machine, &q, true, now, &out, &err),
			 REGISTER_REFUSED);
	q.to = 99;
	assert_int_equal(tailnet_ssh_action(&tailnet, &db->machine, &q, true, now, &out, &err),
			 REGISTER_REFUSED);
	assert_int_equal(out.length, 0);
	assert_int_equal(tailnet.ssh_check_count, 0);
	q = (struct machine_ssh_request){.from = 99, .to = db->record.id, .user = "root"};
	assert_int_equal(tailnet_ssh_action(&tailnet, &db->machine, &q, true, now, &out, &err),
			 REGISTER_ANSWER);
	assert_non_null(memmem(buffer_head(&out), out.length, "\"reject\":true", 13));
	buffer_free(&out);
}

/* One node can't push out what waits at another. */
static void test_checks_are_bounded(void **state)
{
	struct registry_node *db = join(1, "alice", "tag:db"), *other = join(2, "alice", "tag:db");
	struct registry_node *laptops[40];
	char id[64];

	(void)state;
	for (uint8_t i = 0; i < 40; i++)
		laptops[i] = join((uint8_t)(i + 10), "alice", NULL);
	snprintf(id, sizeof(id), "%s", ask(laptops[0], other, "root", "", true).id);
	for (size_t i = 0; i < 40; i++)
		ask(laptops[i], db, "root", "", true);
	assert_int_equal(tailnet.ssh_check_count, LIMIT_CONTROL_CHECKS + 1);
	assert_non_null(tailnet_ssh_check(&tailnet, id));
	pass(31 * MINUTE);
	assert_int_equal(tailnet.ssh_check_count, 0);
}

static void test_ssh_requests(void **state)
{
	static const struct {
		const char *path;
		int r;
		int64_t from, to;
		const char *user, *check;
	} rows[] = {
		/* 0 */ {"1/to/2?ssh_user=root&local_user=root", 0, 1, 2, "root", ""},
		/* 1 */ {"1/to/2?ssh_user=a%2Eb&check=abc", 0, 1, 2, "a.b", "abc"},
		/* 2 */ {"1/to/2", -EINVAL, 0, 0, NULL, NULL},
		/* 3 */ {"1/to/2?local_user=root", -EINVAL, 0, 0, NULL, NULL},
		/* 4 */ {"0/to/2?ssh_user=root", -EINVAL, 0, 0, NULL, NULL},
		/* 5 */ {"-1/to/2?ssh_user=root", -EINVAL, 0, 0, NULL, NULL},
		/* 6 */ {"1/to/99999999999999999999?ssh_user=root", -EINVAL, 0, 0, NULL, NULL},
		/* 7 */ {"1/2?ssh_user=root", -EINVAL, 0, 0, NULL, NULL},
		/* 8 */ {"1/to/2?ssh_user=", -EINVAL, 0, 0, NULL, NULL},
		/* 9 */ {"1/to/2?ssh_user=a%00b", -EINVAL, 0, 0, NULL, NULL},
		/* 10 */
		{"1/to/2?ssh_user=root&check=0123456789012345678901234567890123", -EINVAL, 0, 0,
		 NULL, NULL},
		/* 11 */ {"", -EINVAL, 0, 0, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct machine_ssh_request q = {0};
		int r = machine_ssh_request_parse(rows[i].path, &q);

		if (r != rows[i].r || (r == 0 && (q.from != rows[i].from || q.to != rows[i].to ||
						  strcmp(q.user, rows[i].user) != 0 ||
						  strcmp(q.check, rows[i].check) != 0)))
			fail_msg("row %zu", i);
	}
}

#define KEY "nodekey:0101010101010101010101010101010101010101010101010101010101010101"

static void test_set_dns_requests(void **state)
{
	static const struct {
		const char *json;
		int r;
		const char *name;
	} rows[] = {
		/* 0 */ {"{\"Version\":138,\"NodeKey\":\"" KEY
			 "\",\"Name\":\"_acme-challenge.Host.T.test.\",\"Type\":\"TXT\",\"Value\":"
			 "\"abc\"}",
			 0, "_acme-challenge.host.t.test"},
		/* 1 */
		{"{\"NodeKey\":\"" KEY "\",\"Name\":\"a\",\"Type\":\"TXT\"}", -EINVAL, NULL},
		/* 2 */
		{"{\"NodeKey\":\"" KEY "\",\"Name\":\"a b\",\"Type\":\"TXT\",\"Value\":\"x\"}",
		 -EINVAL, NULL},
		/* 3 */
		{"{\"NodeKey\":\"" KEY
		 "\",\"Name\":\"a\",\"Type\":\"TXTTXTTXTTXTTXTTXT\",\"Value\":\"x\"}",
		 -EINVAL, NULL},
		/* 4 */ {"{\"Name\":\"a\",\"Type\":\"TXT\",\"Value\":\"x\"}", -EINVAL, NULL},
		/* 5 */ {"[]", -EINVAL, NULL},
		/* 6 */ {"{", -EBADMSG, NULL},
	};
	struct machine_set_dns_request q;
	struct error err = {0};
	char text[1024];
	int length;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = machine_set_dns_request_parse(rows[i].json, strlen(rows[i].json), &q, &err);

		if (rows[i].r ? r >= 0 : r != 0 || strcmp(q.name, rows[i].name) != 0)
			fail_msg("row %zu: %d", i, r);
	}
	/* The longest value, and one more. */
	for (int size = 255; size <= 256; size++) {
		length = snprintf(text, sizeof(text),
				  "{\"NodeKey\":\"" KEY
				  "\",\"Name\":\"a\",\"Type\":\"TXT\",\"Value\":\"%0*d\"}",
				  size, 0);
		assert_int_equal(machine_set_dns_request_parse(text, (size_t)length, &q, &err),
				 size == 255 ? 0 : -EINVAL);
	}
}

static void test_names_and_values(void **state)
{
	char longest[300] = "_acme-challenge.";

	(void)state;
	assert_true(dns_hook_name_is_valid("_acme-challenge.host.t.test"));
	assert_false(dns_hook_name_is_valid("_acme-challenge."));
	assert_false(dns_hook_name_is_valid("host.t.test"));
	assert_false(dns_hook_name_is_valid("_acme-challenge.Host"));
	assert_false(dns_hook_name_is_valid("_acme-challenge.a b"));
	assert_false(dns_hook_name_is_valid("_acme-challenge.a;b"));
	memset(longest + 16, 'a', 237);
	assert_true(dns_hook_name_is_valid(longest));
	longest[253] = 'a';
	assert_false(dns_hook_name_is_valid(longest));
	assert_true(dns_hook_value_is_valid("-xJ_9"));
	assert_false(dns_hook_value_is_valid(""));
	assert_false(dns_hook_value_is_valid("a b"));
	assert_false(dns_hook_value_is_valid("$(reboot)"));
}

/* With a hook a node knows which certificate it can have, also after it was renamed. */
static void test_certificate_names(void **state)
{
	struct registry_node *node = join(1, "alice", NULL);
	struct buffer out = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct map_session *s;

	(void)state;
	assert_int_equal(tailnet_full_map(&tailnet, node, now, &out), 0);
	assert_null(memmem(buffer_head(&out), out.length, "CertDomains", 11));
	assert_null(memmem(buffer_head(&out), out.length, "\"https\"", 7));
	buffer_free(&out);
	tailnet.settings.certificates = true;
	out = BUFFER_INIT(LIMIT_MAP_OBJECT);
	s = map_session_open(&tailnet, node, NULL, now);
	assert_int_equal(map_session_take(s, now, &out), 1);
	assert_non_null(memmem(buffer_head(&out), out.length, "\"CertDomains\":[\"host.t.test\"]",
			       strlen("\"CertDomains\":[\"host.t.test\"]")));
	assert_non_null(memmem(buffer_head(&out), out.length, "\"https\"", 7));
	buffer_free(&out);
	out = BUFFER_INIT(LIMIT_MAP_OBJECT);
	assert_int_equal(tailnet_rename(&tailnet, node, "web"), 0);
	assert_int_equal(map_session_take(s, now, &out), 1);
	assert_non_null(memmem(buffer_head(&out), out.length, "\"CertDomains\":[\"web.t.test\"]",
			       strlen("\"CertDomains\":[\"web.t.test\"]")));
	buffer_free(&out);
	map_session_close(s, now);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_session_is_confirmed),       TEST(test_each_time),
		TEST(test_what_ends_a_confirmation),     TEST(test_who_may_ask),
		TEST(test_checks_are_bounded),           TEST(test_certificate_names),
		cmocka_unit_test(test_ssh_requests),     cmocka_unit_test(test_set_dns_requests),
		cmocka_unit_test(test_names_and_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
