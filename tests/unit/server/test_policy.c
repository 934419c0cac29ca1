/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_policy.c - policy files: what they say, and what is wrong with them */
#include "unit/unit.h"

#include "unit/server/policy_world.h"

#define HEAD                                                                                    \
	"{\"groups\": {\"group:dev\": [\"alice@\", \"group:ops\"], "                            \
	"\"group:ops\": [\"bob@example.com\"], \"group:none\": []},\n"                          \
	"\"hosts\": {\"lan\": \"10.1.0.0/24\", \"db\": \"100.64.0.5\"},\n"                      \
	"\"tagOwners\": {\"tag:web\": [\"group:ops\"], \"tag:db\": [\"tag:web\", \"alice@\"], " \
	"\"tag:exit\": []},\n"

/* The nodes of most tests: */
static struct applied_policy *world(const char *text, struct world_node nodes[7])
{
	struct applied_policy *t;
	struct policy *policy;
	struct error err = {0};

	if (policy_parse(text, strlen(text), &policy, NULL, &err) < 0)
		fail_msg("%s\n%s", err.text, text);
	assert_int_equal(applied_policy_create(policy, &t), 0);
	world_set(&nodes[0], 1, "alice", "", "");
	world_set(&nodes[1], 2, "alice", "", "");
	world_set(&nodes[2], 3, "bob@example.com", "", "");
	world_set(&nodes[3], 4, "alice", "tag:web", "");
	world_set(&nodes[4], 5, NULL, "tag:db", "");
	world_set(&nodes[5], 6, "carol@", "", "10.1.0.0/24");
	world_set(&nodes[6], 7, "carol", "tag:exit", "0.0.0.0/0 ::/0");
	for (int i = 0; i < 7; i++)
		assert_int_equal(applied_policy_put(t, &nodes[i].node, NULL), 0);
	return t;
}

/* Each row: rules, then the pairs that see each other, as "12" for 1 and 2. */
static void who_sees_whom(void **state)
{
	static const struct {
		const char *rules, *pairs;
	} rows[] = {
		/* 0 nothing said: everybody */
		{"\"ssh\": []", "12 13 14 15 16 17 23 24 25 26 27 34 35 36 37 45 46 47 56 57 67"},
		/* 1 nobody */ {"\"acls\": []", ""},
		/* 2 user to tag, one way is enough to see */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": "
		 "[\"tag:web:80\"]}]",
		 "14 24"},
		/* 3 a tagged node isn't its user's any more */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"tag:web\"], \"dst\": "
		 "[\"alice@:*\"]}]",
		 "14 24"},
		/* 4 a group in a group */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"group:dev\"], \"dst\": "
		 "[\"tag:db:5432\"]}]",
		 "15 25 35"},
		/* 5 */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"group:ops\"], \"dst\": "
		 "[\"tag:db:5432\"]}]",
		 "35"},
		/* 6 self */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": "
		 "[\"autogroup:self:*\"]}]",
		 "12"},
		/* 7 self of some only */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"bob@example.com\"], \"dst\": "
		 "[\"autogroup:self:*\"]}]",
		 ""},
		/* 8 a host is its address */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"db\"], \"dst\": "
		 "[\"tag:web:*\"]}]",
		 "45"},
		/* 9 a route makes its router seen */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"bob@example.com\"], \"dst\": "
		 "[\"lan:22\"]}]",
		 "36"},
		/* 10 part of the route */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"bob@example.com\"], \"dst\": "
		 "[\"10.1.0.7:22\"]}]",
		 "36"},
		/* 11 another network */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"bob@example.com\"], \"dst\": "
		 "[\"10.2.0.0/24:22\"]}]",
		 ""},
		/* 12 from the route */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"lan\"], \"dst\": "
		 "[\"tag:db:22\"]}]",
		 "56"},
		/* 13 the internet is what exit nodes reach */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": "
		 "[\"autogroup:internet:*\"]}]",
		 "17 27"},
		/* 14 a public address is part of it, and grants no exit node */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": "
		 "[\"8.8.8.8:53\"]}]",
		 ""},
		/* 15 tagged */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"bob@example.com\"], \"dst\": "
		 "[\"autogroup:tagged:*\"]}]",
		 "34 35 37"},
		/* 16 members */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"tag:web\"], \"dst\": "
		 "[\"autogroup:member:*\"]}]",
		 "14 24 34 46"},
		/* 17 a group without members */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"group:none\"], \"dst\": "
		 "[\"*:*\"]}]",
		 ""},
		/* 18 capabilities alone make seen */
		{"\"grants\": [{\"src\": [\"alice@\"], \"dst\": [\"tag:db\"], \"app\": "
		 "{\"example.com/cap/x\": [{}]}}]",
		 "15 25"},
		/* 19 a grant of ports */
		{"\"grants\": [{\"src\": [\"alice@\"], \"dst\": [\"tag:db\"], \"ip\": "
		 "[\"tcp:5432\"]}]",
		 "15 25"},
		/* 20 to all */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"carol@\"], \"dst\": [\"*:*\"]}]",
		 "16 26 36 46 56 67"},
		/* 21 self and more */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": "
		 "[\"autogroup:self:*\", \"tag:db:*\"]}]",
		 "12 15 25 35 45 56 57"},
		/* 22 the whole tailnet by its prefix */
		{"\"acls\": [{\"action\": \"accept\", \"src\": [\"100.64.0.0/30\"], \"dst\": "
		 "[\"fd7a:115c:a1e0::/48:*\"]}]",
		 "12 13 14 15 16 17 23 24 25 26 27 34 35 36 37"},
	};
	struct world_node nodes[7];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[2048];
		struct applied_policy *t;

		snprintf(text, sizeof(text), HEAD "%s}", rows[i].rules);
		t = world(text, nodes);
		for (int a = 1; a <= 7; a++) {
			struct policy_ids ids = {0};

			assert_int_equal(applied_policy_peers(t, a, &ids), 0);
			for (int b = 1; b <= 7; b++) {
				char pair[3] = {(char)('0' + (a < b ? a : b)),
						(char)('0' + (a < b ? b : a)), 0};
				bool wanted = a != b && strstr(rows[i].pairs, pair);
				bool is = false;

				for (size_t k = 0; k < ids.count; k++)
					is |= ids.items[k] == b;
				if (is != wanted || applied_policy_sees(t, a, b) != wanted)
					fail_msg("row %zu: %d and %d", i, a, b);
			}
			policy_ids_clear(&ids);
		}
		applied_policy_free(t);
	}
}

/* Each row: a packet to a node. */
static void packets(void **state)
{
	static const char policy[] = HEAD
		"\"acls\": [\n"
		/* a */ "{\"action\": \"accept\", \"src\": [\"alice@\"], \"dst\": "
		"[\"tag:web:80,443\", "
		"\"tag:db:5000-5100\"]},\n"
		/* b */ "{\"action\": \"accept\", \"proto\": \"udp\", \"src\": "
		"[\"bob@example.com\"], "
		"\"dst\": [\"tag:web:53\"]},\n"
		/* c */ "{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"lan:22\"]},\n"
		/* d */ "{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": "
		"[\"autogroup:self:*\", \"autogroup:internet:*\"]},\n"
		/* e */ "{\"action\": \"accept\", \"src\": [\"autogroup:danger-all\"], \"dst\": "
		"[\"db:9\"]},\n"
		/* f */ "{\"action\": \"accept\", \"proto\": \"47\", \"src\": [\"tag:web\"], "
		"\"dst\": "
		"[\"tag:db:*\"]},\n"
		/* g */ "{\"action\": \"accept\", \"src\": [\"lan\"], \"dst\": "
		"[\"[fd7a:115c:a1e0::4]:7\"]}],\n"
		"\"grants\": [\n"
		/* h */ "{\"src\": [\"tag:web\"], \"dst\": [\"tag:db\"], \"ip\": [\"tcp:5432\", "
		"\"udp:53\", \"99\"]}]}";
	static const struct {
		const char *from;
		int node;
		const char *to;
		uint8_t protocol;
		uint16_t port;
		bool accepted;
	} rows[] = {
		/* 0 */ {"100.64.0.1", 4, "100.64.0.4", 6, 80, true},
		/* 1 */ {"100.64.0.1", 4, "100.64.0.4", 6, 443, true},
		/* 2 */ {"100.64.0.1", 4, "100.64.0.4", 6, 81, false},
		/* 3 */ {"fd7a:115c:a1e0::2", 4, "fd7a:115c:a1e0::4", 6, 80, true},
		/* 4 */ {"100.64.0.1", 4, "100.64.0.4", 17, 80, true},
		/* 5 */ {"100.64.0.1", 4, "100.64.0.4", 1, 0, true},
		/* 6 */ {"100.64.0.3", 4, "100.64.0.4", 6, 80, false},
		/* 7 */ {"100.64.0.1", 5, "100.64.0.5", 6, 5000, true},
		/* 8 */ {"100.64.0.1", 5, "100.64.0.5", 6, 5100, true},
		/* 9 */ {"100.64.0.1", 5, "100.64.0.5", 6, 5101, false},
		/* 10 */ {"100.64.0.3", 4, "100.64.0.4", 17, 53, true},
		/* 11 */ {"100.64.0.3", 4, "100.64.0.4", 6, 53, false},
		/* 12 */ {"100.64.0.5", 6, "10.1.0.77", 6, 22, true},
		/* 13 */ {"100.64.0.5", 6, "10.1.0.77", 6, 23, false},
		/* 14 not the router itself */ {"100.64.0.5", 6, "100.64.0.6", 6, 22, false},
		/* 15 a route of the tailnet is part of * */
		{"10.1.0.9", 6, "10.1.0.77", 6, 22, true},
		/* 16 what isn't, is not */ {"10.9.0.9", 6, "10.1.0.77", 6, 22, false},
		/* 17 self */ {"100.64.0.1", 2, "100.64.0.2", 6, 9999, true},
		/* 18 */ {"100.64.0.3", 2, "100.64.0.2", 6, 9999, false},
		/* 19 tagged: no self */ {"100.64.0.1", 4, "100.64.0.4", 6, 9999, false},
		/* 20 internet */ {"100.64.0.1", 7, "8.8.8.8", 6, 443, true},
		/* 21 */ {"100.64.0.1", 7, "2606:4700::1", 6, 443, true},
		/* 22 */ {"100.64.0.4", 7, "8.8.8.8", 6, 443, false},
		/* 23 */ {"100.64.0.1", 7, "100.64.0.7", 6, 443, false},
		/* 24 danger-all */ {"1.2.3.4", 5, "100.64.0.5", 6, 9, true},
		/* 25 the host is one address */ {"1.2.3.4", 5, "fd7a:115c:a1e0::5", 6, 9, false},
		/* 26 GRE */ {"100.64.0.4", 5, "100.64.0.5", 47, 0, true},
		/* 27 */ {"100.64.0.1", 5, "100.64.0.5", 47, 0, false},
		/* 28 families don't mix */ {"10.1.0.9", 4, "fd7a:115c:a1e0::4", 6, 7, true},
		/* 29 grant */ {"100.64.0.4", 5, "100.64.0.5", 6, 5432, true},
		/* 30 */ {"100.64.0.4", 5, "100.64.0.5", 17, 5432, false},
		/* 31 */ {"100.64.0.4", 5, "100.64.0.5", 17, 53, true},
		/* 32 no protocol: both */ {"100.64.0.4", 5, "100.64.0.5", 6, 99, true},
		/* 33 */ {"100.64.0.4", 5, "100.64.0.5", 17, 99, true},
		/* 34 nobody to carol */ {"100.64.0.1", 6, "100.64.0.6", 6, 22, false},
	};
	struct world_node nodes[7];
	struct applied_policy *t = world(policy, nodes);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter *f = world_filter(t, &nodes[rows[i].node - 1].node);
		struct address from = world_address(rows[i].from), to = world_address(rows[i].to);

		if (world_accepts(f, &from, &to, rows[i].protocol, rows[i].port) !=
		    rows[i].accepted)
			fail_msg("row %zu", i);
		filter_free(f);
	}
	applied_policy_free(t);
}

static void what_is_wrong(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		/* 0 */ {"{\"acls\": [\n\t{]}", "line 2, column 3: "},
		/* 1 */ {"{ /* x", "line 1, column 3: this comment has no end"},
		/* 2 */ {"[]", "line 1, column 1: a policy is an object"},
		/* 3 */ {"{\"acl\": []}", "line 1, column 2: \"acl\" is unknown in a policy"},
		/* 4 */
		{"{\"acls\": [], // é\n \"ACLs\": []}",
		 "line 2, column 2: \"ACLs\" is given twice"},
		/* 5 */
		{"{\"groups\": {\"group:a\": [\"group:b\"]}}",
		 "line 1, column 25: there is no \"group:b\": declare it under \"groups\""},
		/* 6 */
		{"{\"groups\": {\n\"group:a\": [\"group:b\"],\n\"group:b\": [\"group:a\"]}}",
		 "line 2, column 1: \"group:a\" contains itself, through \"group:b\""},
		/* 7 */
		{"{\"groups\": {\"dev\": []}}",
		 "line 1, column 13: \"dev\": write it as \"group:dev\""},
		/* 8 */
		{"{\"groups\": {\"group:a\": [\"bob\"]}}",
		 "\"bob\" is not a user: a user has an @, as in \"bob@\""},
		/* 9 */
		{"{\"grants\": [{\"src\": [\"autogroup:admin\"], \"dst\": [\"*\"], \"ip\": "
		 "[\"*\"]}]}",
		 "\"autogroup:admin\": users have no roles here: name users or a group"},
		/* 10 */ {"{\"tagOwners\": {\"tag:1\": []}}", "a letter first"},
		/* 11 */
		{"{\"tagOwners\": {\"tag:a\": [\"autogroup:tagged\"]}}", "can't own a tag"},
		/* 12 */
		{"{\"hosts\": {\"x\": \"10.0.0.300\"}}",
		 "line 1, column 17: \"10.0.0.300\" is not a valid address"},
		/* 13 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"tag:x\"], \"dst\": [\"*:*\"]}]}",
		 "line 1, column 40: \"tag:x\" has no owner: declare it under \"tagOwners\""},
		/* 14 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:http\"]}]}",
		 "line 1, column 54: \"http\" is not a valid port"},
		/* 15 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*\"]}]}",
		 "\"*\": the port is missing; add :*"},
		/* 16 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:90-80\"]}]}",
		 "90-80: the lower port comes first"},
		/* 17 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:65536\"]}]}",
		 "\"65536\" is not a valid port"},
		/* 18 */
		{"{\"acls\": [{\"action\": \"deny\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}]}",
		 "line 1, column 22: an acl's action is \"accept\""},
		/* 19 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"]}]}",
		 "an acl without \"dst\""},
		/* 20 */
		{"{\"acls\": [{\"action\": \"accept\", \"proto\": \"*\", \"src\": [\"*\"], "
		 "\"dst\": "
		 "[\"*:*\"]}]}",
		 "\"*\" is not a valid protocol"},
		/* 21 */
		{"{\"acls\": [{\"action\": \"accept\", \"proto\": \"icmp\", \"src\": [\"*\"], "
		 "\"dst\": "
		 "[\"*:80\"]}]}",
		 "protocol 1 has no ports"},
		/* 22 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"autogroup:self\"], \"dst\": "
		 "[\"*:*\"]}]}",
		 "\"autogroup:self\" can't be a source"},
		/* 23 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"10.0.0.0/8\"], \"dst\": "
		 "[\"autogroup:self:*\"]}]}",
		 "with autogroup:self as a destination"},
		/* 24 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [\"server\"], \"dst\": "
		 "[\"*:*\"]}]}",
		 "there is no host \"server\""},
		/* 25 */
		{"{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"]}]}",
		 "a grant without protocols"},
		/* 26 */
		{"{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"*\"], \"via\": "
		 "[\"tag:x\"]}]}",
		 "\"via\" is not supported"},
		/* 27 */
		{"{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"app\": {\"x\": []}}]}",
		 "\"x\": a capability's name looks like example.com/cap/name"},
		/* 28 */
		{"{\"ssh\": [{\"action\": \"accept\", \"src\": [\"a@\"], \"dst\": [\"b@\"], "
		 "\"users\": "
		 "[\"root\"]}]}",
		 "on a user's nodes only that user may log in"},
		/* 29 */
		{"{\"ssh\": [{\"action\": \"accept\", \"src\": [\"a@\"], \"dst\": [\"*\"], "
		 "\"users\": "
		 "[\"root\"]}]}",
		 "\"*\" can't be the destination of an ssh rule"},
		/* 30 */
		{"{\"ssh\": [{\"action\": \"check\", \"src\": [\"a@\"], \"dst\": "
		 "[\"autogroup:self\"], "
		 "\"users\": [\"root\"], \"checkPeriod\": \"200h\"}]}",
		 "a time up to 168h"},
		/* 31 */
		{"{\"autoApprovers\": {\"routes\": {\"ten\": []}}}",
		 "\"ten\" is not a valid prefix"},
		/* 32 */
		{"{\"tests\": [{\"src\": \"a@\", \"accept\": [\"b@:*\"]}]}",
		 "a test needs a single port"},
		/* 33 */ {"{\"tests\": [{\"src\": \"a@\"}]}", "a test without assertions"},
		/* 34 */ {"{\"acls\": \"x\"}", "line 1, column 10: acls is a list"},
		/* 35 */ {"{\"groups\": {\"group:a\": [], \"group:a\": []}}", "duplicate"},
		/* 36 */
		{"{\"acls\": [{\"action\": \"accept\", \"src\": [7], \"dst\": [\"*:*\"]}]}",
		 "line 1, column 40: 7: expected a source, in quotes"},
		/* 37 */
		{"{\"nodeAttrs\": [{\"target\": [\"autogroup:internet\"], \"attr\": [\"x\"]}]}",
		 "can't be a target of nodeAttrs"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policy *policy = NULL;
		struct error err = {0};
		int r = policy_parse(rows[i].text, strlen(rows[i].text), &policy, NULL, &err);

		if (r != -EINVAL || err.code != r || !strstr(err.text, rows[i].error))
			fail_msg("row %zu: %d \"%s\", not \"%s\"", i, r, err.text, rows[i].error);
		assert_null(policy);
	}
}

/* all_problems() - What is wrong with a text, a line each */
static void all_problems(const char *text, size_t length, char *out, size_t size)
{
	struct string_list problems = {0};
	struct policy *policy = NULL;
	struct error err = {0};
	int r = policy_parse(text, length, &policy, &problems, &err);

	if (r == 0) {
		r = policy_test(policy, NULL, &problems, &err);
		policy_free(policy);
	}
	out[0] = 0;
	for (uint32_t i = 0; i < problems.count; i++)
		snprintf(out + strlen(out), size - strlen(out), "%s\n", problems.items[i]);
	if (r < 0)
		assert_string_equal(err.text, problems.items[0]);
	string_list_clear(&problems);
}

static void all_that_is_wrong(void **state)
{
	static const char policy[] =
		"{\"postures\": {\"posture:x\": []}, \"ipsets\": {\"ipset:db\": []},\n"
		"\"groups\": {\"group:a\": [\"bob\"], \"dev\": []},\n"
		"\"acls\": [{\"action\": \"deny\", \"src\": [\"group:b\", \"ipset:db\"], \"dst\": "
		"[\"tag:x:http\"]},\n"
		"{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:22\"], \"srcPosture\": "
		"[\"posture:x\"]}],\n"
		"\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"*\"], \"via\": "
		"[\"tag:r\"]},\n"
		"{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"tcp:x\"], \"via\": "
		"[\"tag:r\"]}],\n"
		"\"autoApprovers\": {\"routes\": {\"ten\": []}, \"exitNode\": [\"carol\"]},\n"
		"\"ssh\": [{\"action\": \"no\", \"src\": [\"*\"], \"dst\": [\"tag:y\"], \"users\": "
		"[\"*\"]}],\n"
		"\"nodeAttrs\": [{\"attr\": [7]}],\n"
		"\"tests\": [{\"src\": \"x\", \"accept\": [\"tag:z:http\"]}]}";
	static const char *const lines[] = {
		"line 1, column 2: postures are not supported: ",
		"line 1, column 33: ipsets are not supported: ",
		"line 2, column 32: \"dev\": write it as \"group:dev\"",
		"line 2, column 24: \"bob\" is not a user",
		"line 3, column 21: an acl's action is \"accept\"",
		"line 3, column 37: there is no \"group:b\"",
		"line 3, column 69: \"http\" is not a valid port",
		"line 3, column 69: \"tag:x\" has no owner",
		"line 5, column 54: \"via\" is not supported: ",
		"line 6, column 37: \"x\" is not a valid port",
		"line 7, column 30: \"ten\" is not a valid prefix",
		"line 7, column 55: there is no host \"carol\"",
		"line 8, column 20: an ssh rule's action",
		"line 8, column 34: \"*\" can't be the source of an ssh rule",
		"line 8, column 48: \"tag:y\" has no owner",
		"line 8, column 68: \"*\" is not a valid user",
		"line 9, column 15: nodeAttrs without \"target\"",
		"line 9, column 25: 7: expected a capability",
		"line 10, column 19: there is no host \"x\"",
		"line 10, column 35: \"http\" is not a valid port",
		"line 10, column 35: \"tag:z\" has no owner",
	};
	static const char failing[] =
		"{\"acls\": [], \"tests\": [{\"src\": \"a@\", \"accept\": [\"b@:1\", \"c@:2\"]}]}";
	static char many[200000], out[40000];
	const char *at = out;
	size_t used;

	(void)state;
	all_problems(policy, strlen(policy), out, sizeof(out));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (strncmp(at, lines[i], strlen(lines[i])) != 0)
			fail_msg("line %zu: not \"%s\" but %s", i, lines[i], at);
		at = strchr(at, '\n') + 1;
	}
	assert_string_equal(at, "");
	/* Tests that fail, too. */
	all_problems(failing, strlen(failing), out, sizeof(out));
	assert_non_null(strstr(out, "lets it reach \"b@:1\"\n"));
	assert_non_null(strstr(out, "lets it reach \"c@:2\"\n"));
	/* Not without end. */
	used = (size_t)sprintf(many, "{\"acls\": [0");
	while (used < sizeof(many) - 10)
		used += (size_t)sprintf(many + used, ", 0");
	used += (size_t)sprintf(many + used, "]}");
	all_problems(many, used, out, sizeof(out));
	used = 0;
	for (at = out; (at = strchr(at, '\n')); at++)
		used++;
	assert_int_equal(used, POLICY_PROBLEMS_MAX);
}

/* owned_tags() - Tags that own themselves and each other, and roles, which are the operator's */
static void owned_tags(void **state)
{
	static const char text[] =
		"{\"tagOwners\": {\"tag:ci\": [\"tag:iac\", \"tag:ci\"], \"tag:iac\": "
		"[\"alice@\"],\n"
		"\"tag:a\": [\"tag:b\"], \"tag:b\": [\"tag:c\", \"bob@\"], \"tag:c\": "
		"[\"tag:a\"],\n"
		"\"tag:op\": [\"autogroup:admin\", \"autogroup:owner\", "
		"\"autogroup:network-admin\", "
		"\"autogroup:it-admin\", \"autogroup:billing-admin\", \"autogroup:auditor\"]},\n"
		"\"autoApprovers\": {\"routes\": {\"10.0.0.0/8\": [\"autogroup:admin\", "
		"\"tag:a\"]}, "
		"\"exitNode\": [\"autogroup:owner\"]}}";
	static const struct {
		const char *user, *bears, *tag;
		bool may;
	} rows[] = {
		{"alice@", "", "tag:ci", true},     {"bob@", "", "tag:ci", false},
		{NULL, "tag:ci", "tag:ci", true},   {NULL, "tag:iac", "tag:ci", true},
		{NULL, "tag:ci", "tag:iac", false}, {"bob@", "", "tag:a", true},
		{"bob@", "", "tag:c", true},        {NULL, "tag:a", "tag:b", true},
		{NULL, "tag:b", "tag:a", true},     {"alice@", "", "tag:a", false},
		{"alice@", "", "tag:op", false},    {NULL, "tag:ci", "tag:op", false},
	};
	struct world_node router, exit_node;
	struct policy *policy = NULL;
	struct error err = {0};

	(void)state;
	if (policy_parse(text, strlen(text), &policy, NULL, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world_node bearer;

		world_set(&bearer, 9, NULL, rows[i].bears, "");
		if (policy_may_tag(policy, rows[i].user, &bearer.node.tags, rows[i].tag) !=
		    rows[i].may)
			fail_msg("row %zu", i);
	}
	world_set(&router, 1, NULL, "tag:a", "10.1.0.0/16");
	world_set(&exit_node, 2, "alice@", "", "0.0.0.0/0");
	assert_true(policy_approves_route(policy, &router.node, &router.routes[0]));
	assert_false(policy_approves_route(policy, &exit_node.node, &exit_node.routes[0]));
	policy_free(policy);
}

/* many_owners() - A ring of tags costs what its size says, and one too large is refused */
static void many_owners(void **state)
{
	static char text[100000];

	(void)state;
	for (int tags = 1000; tags <= 1100; tags += 100) {
		size_t used = (size_t)sprintf(text, "{\"tagOwners\": {");
		struct policy *policy = NULL;
		struct error err = {0};
		int r;

		for (int i = 0; i < tags; i++)
			used += (size_t)sprintf(text + used, "%s\"tag:t%d\": [\"tag:t%d\"]",
						i ? ", " : "", i, (i + 1) % tags);
		used += (size_t)sprintf(text + used, "}}");
		r = policy_parse(text, used, &policy, NULL, &err);
		assert_int_equal(r, tags == 1000 ? 0 : -EINVAL);
		if (r < 0)
			assert_non_null(strstr(err.text, "tags as owners together"));
		policy_free(policy);
	}
}

static void tests_of_the_policy(void **state)
{
	static const struct {
		const char *rules, *tests, *error; /* NULL: passes */
	} rows[] = {
#define ACL(src, dst) "{\"action\": \"accept\", \"src\": [" src "], \"dst\": [" dst "]}"
		/* 0 */ {ACL("\"alice@\"", "\"tag:web:80\""),
			 "{\"src\": \"alice@\", \"accept\": [\"tag:web:80\"], \"deny\": "
			 "[\"tag:web:81\", "
			 "\"tag:db:80\"]}",
			 NULL},
		/* 1 */
		{ACL("\"alice@\"", "\"tag:web:80\""),
		 "{\"src\": \"bob@example.com\", \"accept\": [\"tag:web:80\"]}",
		 "bob@example.com must reach, but no rule lets it reach \"tag:web:80\""},
		/* 2 */
		{ACL("\"*\"", "\"*:*\""), "{\"src\": \"tag:db\", \"deny\": [\"tag:web:80\"]}",
		 "tag:db must not reach, but a rule lets it reach"},
		/* 3 each member of a group */
		{ACL("\"alice@\"", "\"tag:web:80\""),
		 "{\"src\": \"group:dev\", \"accept\": [\"tag:web:80\"]}",
		 "bob@example.com must reach"},
		/* 4 */
		{ACL("\"alice@\"", "\"tag:web:80\""),
		 "{\"src\": \"group:dev\", \"deny\": [\"tag:web:80\"]}", "alice must not reach"},
		/* 5 self */
		{ACL("\"autogroup:member\"", "\"autogroup:self:22\""),
		 "{\"src\": \"alice@\", \"accept\": [\"alice@:22\"], \"deny\": "
		 "[\"bob@example.com:22\"]}",
		 NULL},
		/* 6 addresses */
		{ACL("\"alice@\"", "\"lan:22\""),
		 "{\"src\": \"alice@\", \"accept\": [\"10.1.0.7:22\"], \"deny\": "
		 "[\"10.2.0.7:22\"]}",
		 NULL},
		/* 7 protocols */
		{"{\"action\": \"accept\", \"proto\": \"udp\", \"src\": [\"alice@\"], \"dst\": "
		 "[\"tag:db:53\"]}",
		 "{\"src\": \"alice@\", \"accept\": [\"tag:db:53\"]}, {\"src\": \"alice@\", "
		 "\"proto\": "
		 "\"tcp\", \"deny\": [\"tag:db:53\"]}",
		 NULL},
		/* 8 an address that a node has is that node */
		{ACL("\"tag:web\"", "\"tag:db:5432\""),
		 "{\"src\": \"100.64.0.4\", \"accept\": [\"db:5432\"]}", NULL},
		/* 9 */
		{ACL("\"tag:web\"", "\"tag:db:5432\""),
		 "{\"src\": \"100.64.0.1\", \"accept\": [\"db:5432\"]}", "must reach"},
		/* 10 internet */
		{ACL("\"autogroup:member\"", "\"autogroup:internet:443\""),
		 "{\"src\": \"autogroup:member\", \"accept\": [\"8.8.8.8:443\"], \"deny\": "
		 "[\"10.0.0.1:443\", \"tag:web:443\"]}",
		 NULL},
	};
	struct world_node nodes[7];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[2048];
		struct applied_policy *t;
		struct error err = {0};
		int r;

		snprintf(text, sizeof(text), HEAD "\"acls\": [%s], \"tests\": [%s]}", rows[i].rules,
			 rows[i].tests);
		t = world(text, nodes);
		r = policy_test(applied_policy_source(t), t, NULL, &err);
		if (rows[i].error ? r != -EPERM || !strstr(err.text, rows[i].error) : r != 0)
			fail_msg("row %zu: %d \"%s\"", i, r, err.text);
		applied_policy_free(t);
	}
}

static void tags_and_routes(void **state)
{
	static const char policy[] = HEAD
		"\"autoApprovers\": {\"routes\": {\"10.0.0.0/8\": [\"group:ops\", \"tag:web\"], "
		"\"fd00::/8\": [\"carol@\"]}, \"exitNode\": [\"tag:exit\"]}}";
	static const struct {
		const char *user, *bears, *tag;
		bool may;
	} tags[] = {
		/* 0 */ {"bob@example.com", "", "tag:web", true},
		/* 1 */ {"alice", "", "tag:web", false},
		/* 2 */ {"alice", "", "tag:db", true},
		/* 3 by the tag that owns it */ {"bob@example.com", "", "tag:db", true},
		/* 4 */ {"carol", "", "tag:db", false},
		/* 5 */ {NULL, "tag:web", "tag:db", true},
		/* 6 */ {NULL, "tag:db", "tag:web", false},
		/* 7 nobody's */ {"alice", "", "tag:exit", false},
		/* 8 not declared */ {"alice", "", "tag:new", false},
	};
	static const struct {
		int node;
		const char *route;
		bool approved;
	} routes[] = {
		/* 0 */ {3, "10.1.0.0/16", true},   /* 1 */ {3, "10.0.0.0/8", true},
		/* 2 */ {3, "10.0.0.0/7", false},   /* 3 */ {1, "10.1.0.0/16", false},
		/* 4 */ {4, "10.1.0.0/16", true},   /* 5 */ {3, "fd00:1::/64", false},
		/* 6 */ {6, "fd00:1::/64", true},   /* 7 */ {7, "0.0.0.0/0", true},
		/* 8 */ {7, "::/0", true},          /* 9 */ {3, "0.0.0.0/0", false},
		/* 10 */ {7, "10.1.0.0/16", false},
	};
	struct world_node nodes[7];
	struct applied_policy *t = world(policy, nodes);
	const struct policy *p = applied_policy_source(t);

	(void)state;
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		struct world_node bearer;

		world_set(&bearer, 9, NULL, tags[i].bears, "");
		if (policy_may_tag(p, tags[i].user, &bearer.node.tags, tags[i].tag) != tags[i].may)
			fail_msg("tag row %zu", i);
	}
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		struct prefix route;

		assert_int_equal(prefix_parse(routes[i].route, strlen(routes[i].route), &route), 0);
		if (policy_approves_route(p, &nodes[routes[i].node - 1].node, &route) !=
		    routes[i].approved)
			fail_msg("route row %zu", i);
	}
	applied_policy_free(t);
}

static bool collect(void *data, const char *name, const char *values)
{
	char *text = data;

	sprintf(text + strlen(text), "%s=%s ", name, values ? values : "-");
	return true;
}

static void capabilities(void **state)
{
	static const char policy[] = HEAD
		"\"grants\": [{\"src\": [\"alice@\"], \"dst\": [\"tag:db\", \"lan\"], \"app\": "
		"{\"example.com/cap/x\": [{\"a\": 1, /* all */ }], \"tailscale.com/cap/drive\": "
		"[]}}],\n"
		"\"nodeAttrs\": [{\"target\": [\"tag:web\"], \"attr\": [\"funnel\"]},\n"
		"{\"target\": [\"*\"], \"attr\": [\"magicdns-aaaa\"], \"app\": {\"example.com/y\": "
		"[1]}}], \"randomizeClientPort\": true}";
	static const char *const attributes[7] = {
		[0] = "magicdns-aaaa=- example.com/y=[1] randomize-client-port=- ",
		[3] = "funnel=- magicdns-aaaa=- example.com/y=[1] randomize-client-port=- ",
	};
	static const struct {
		const char *from;
		int node;
		const char *to, *capabilities;
	} rows[] = {
		/* 0 */ {"100.64.0.1", 5, "100.64.0.5",
			 "example.com/cap/x=[{\"a\":1}] tailscale.com/cap/drive=[] "},
		/* 1 */ {"100.64.0.3", 5, "100.64.0.5", ""},
		/* 2 the other way */
		{"100.64.0.5", 1, "100.64.0.1", "tailscale.com/cap/drive-sharer=- "},
		/* 3 a route's */
		{"100.64.0.2", 6, "10.1.0.3",
		 "example.com/cap/x=[{\"a\":1}] tailscale.com/cap/drive=[] "},
		/* 4 */ {"100.64.0.2", 6, "100.64.0.6", ""},
	};
	struct world_node nodes[7];
	struct applied_policy *t = world(policy, nodes);

	(void)state;
	for (int i = 0; i < 7; i++) {
		char text[500] = "";

		assert_int_equal(applied_policy_capabilities(t, i + 1, collect, text), 0);
		if (attributes[i])
			assert_string_equal(text, attributes[i]);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct filter *f = world_filter(t, &nodes[rows[i].node - 1].node);
		struct address from = world_address(rows[i].from), to = world_address(rows[i].to);
		const struct filter_peer peer = {0};
		char text[500] = "";

		filter_peer_capabilities(f, &peer, &from, &to, collect, text);
		if (strcmp(text, rows[i].capabilities) != 0)
			fail_msg("row %zu: %s", i, text);
		/* Capabilities open no port. */
		assert_false(world_accepts(f, &from, &to, 6, 22));
		filter_free(f);
	}
	applied_policy_free(t);
}

static void ssh(void **state)
{
	static const char policy[] = HEAD
		"\"ssh\": [\n"
		"{\"action\": \"accept\", \"src\": [\"group:dev\"], \"dst\": [\"tag:web\"], "
		"\"users\": "
		"[\"deploy\", \"autogroup:nonroot\"]},\n"
		"{\"action\": \"check\", \"src\": [\"alice@\"], \"dst\": [\"tag:web\"], \"users\": "
		"[\"root\"], \"checkPeriod\": \"1h\", \"acceptEnv\": [\"LANG\"]},\n"
		"{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": "
		"[\"autogroup:self\"], \"users\": [\"root\"]},\n"
		"{\"action\": \"accept\", \"src\": [\"group:ops\"], \"dst\": [\"tag:db\"], "
		"\"users\": "
		"[\"localpart:*@example.com\"]}],\n"
		"\"sshTests\": [{\"src\": \"alice@\", \"dst\": [\"tag:web\"], \"accept\": "
		"[\"deploy\", "
		"\"root\"], \"check\": [\"root\"]}, {\"src\": \"bob@example.com\", \"dst\": "
		"[\"tag:web\", \"alice@\"], \"deny\": [\"root\"]}]}";
#define ACCEPT                                                       \
	"\"action\":{\"accept\":true,\"allowAgentForwarding\":true," \
	"\"allowLocalPortForwarding\":true,\"allowRemotePortForwarding\":true}}"
#define ALICE                                                             \
	"{\"nodeIP\":\"100.64.0.1\"},{\"nodeIP\":\"fd7a:115c:a1e0::1\"}," \
	"{\"nodeIP\":\"100.64.0.2\"},{\"nodeIP\":\"fd7a:115c:a1e0::2\"}"
#define BOB "{\"nodeIP\":\"100.64.0.3\"},{\"nodeIP\":\"fd7a:115c:a1e0::3\"}"
	static const char *const wanted[7] = {
		[0] = "{\"rules\":[{\"principals\":[" ALICE
		      "],\"sshUsers\":{\"root\":\"root\"}," ACCEPT "]}",
		[2] = "{\"rules\":[{\"principals\":[" BOB
		      "],\"sshUsers\":{\"root\":\"root\"}," ACCEPT "]}",
		[3] = "{\"rules\":[{\"principals\":[" ALICE
		      "],\"sshUsers\":{\"root\":\"root\"},\"action\":{\"holdAndDelegate\":"
		      "\"https://unused/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID"
		      "?ssh_user=$SSH_USER&local_user=$LOCAL_USER\"},"
		      "\"acceptEnv\":[\"LANG\"]},{\"principals\":[" ALICE "," BOB
		      "],\"sshUsers\":{\"*\":\"=\",\"root\":\"\",\"deploy\":\"deploy\"}," ACCEPT
		      "]}",
		[4] = "{\"rules\":[{\"principals\":[" BOB "],\"sshUsers\":{\"bob\":\"bob\"}," ACCEPT
		      "]}",
		[6] = "{\"rules\":[]}",
	};
	static const struct {
		int from, to;
		const char *user;
		enum policy_ssh_action action;
	} rows[] = {
		/* 0 */ {1, 4, "deploy", POLICY_SSH_ACCEPT},
		/* 1 */ {1, 4, "root", POLICY_SSH_CHECK},
		/* 2 */ {3, 4, "root", POLICY_SSH_REFUSE},
		/* 3 */ {1, 2, "root", POLICY_SSH_ACCEPT},
		/* 4 */ {1, 3, "root", POLICY_SSH_REFUSE},
		/* 5 */ {1, 2, "alice", POLICY_SSH_REFUSE},
		/* 6 */ {3, 5, "bob", POLICY_SSH_ACCEPT},
		/* 7 */ {3, 5, "alice", POLICY_SSH_REFUSE},
		/* 8 */ {4, 1, "root", POLICY_SSH_REFUSE},
		/* 9 */ {99, 1, "root", POLICY_SSH_REFUSE},
	};
	struct world_node nodes[7];
	struct applied_policy *t = world(policy, nodes);
	struct buffer none = BUFFER_INIT(20);
	struct json_writer empty = json_writer_to(&none);
	nanoseconds period = 0;
	struct error err = {0};

	(void)state;
	for (int i = 0; i < 7; i++) {
		struct buffer out = BUFFER_INIT(10000);
		struct json_writer json = json_writer_to(&out);

		applied_policy_ssh(t, i + 1, &json, NULL);
		assert_int_equal(json_writer_result(&json), 0);
		assert_int_equal(buffer_append(&out, "", 1), 0);
		if (wanted[i])
			assert_string_equal((char *)buffer_head(&out), wanted[i]);
		buffer_free(&out);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (applied_policy_ssh_action(t, rows[i].from, rows[i].to, rows[i].user, &period) !=
		    rows[i].action)
			fail_msg("row %zu", i);
	assert_int_equal(period, INT64_C(3600) * 1000000000);
	if (policy_test(applied_policy_source(t), NULL, NULL, &err) < 0)
		fail_msg("%s", err.text);
	applied_policy_free(t);
	t = world("{}", nodes);
	applied_policy_ssh(t, 1, &empty, NULL);
	assert_int_equal(buffer_append(&none, "", 1), 0);
	assert_string_equal((char *)buffer_head(&none), "{\"rules\":[]}");
	buffer_free(&none);
	applied_policy_free(t);
}

static void the_policy_is_replaced(void **state)
{
	static const char closed[] = "{\"acls\": []}";
	struct world_node nodes[7];
	struct applied_policy *t = world("// nothing\n", nodes);
	struct policy *policy;
	struct policy_ids ids;
	struct error err = {0};

	(void)state;
	assert_int_equal(applied_policy_peers(t, 1, &ids), 0);
	assert_int_equal(ids.count, 6);
	policy_ids_clear(&ids);
	assert_int_equal(policy_parse(closed, strlen(closed), &policy, NULL, &err), 0);
	assert_int_equal(applied_policy_replace(&t, policy), 0);
	assert_ptr_equal(applied_policy_source(t), policy);
	assert_int_equal(applied_policy_peers(t, 1, &ids), 0);
	assert_int_equal(ids.count, 0);
	assert_int_equal(applied_policy_peers(t, 8, &ids), -ENOENT);
	applied_policy_free(t);
}

/* Each kind of list that a node is in belongs to the tailnet that holds it: selectors, its user's
 * nodes, routers. After a replacement nodes leave all of them, and enter them. */
static void nodes_change_after_a_replacement(void **state)
{
	static const char lan[] =
		"{\"acls\": [{\"action\": \"accept\", \"src\": [\"bob@example.com\"], "
		"\"dst\": [\"10.1.0.0/24:22\", \"autogroup:self:*\"]}]}";
	struct world_node nodes[7];
	struct applied_policy *t = world("// nothing\n", nodes);
	struct policy *policy;
	struct policy_ids ids;
	struct error err = {0};

	(void)state;
	for (int round = 0; round < 2; round++) {
		assert_int_equal(policy_parse(lan, strlen(lan), &policy, NULL, &err), 0);
		assert_int_equal(applied_policy_replace(&t, policy), 0);
		assert_true(applied_policy_sees(t, 3, 6));
		world_set(&nodes[5], 6, "carol@", "", "");
		assert_int_equal(applied_policy_put(t, &nodes[5].node, NULL), 0);
		assert_false(applied_policy_sees(t, 3, 6));
		world_set(&nodes[5], 6, "carol@", "", "10.1.0.0/24");
		assert_int_equal(applied_policy_put(t, &nodes[5].node, NULL), 0);
		assert_int_equal(applied_policy_peers(t, 3, &ids), 0);
		assert_int_equal(ids.count, 1);
		policy_ids_clear(&ids);
	}
	for (int i = 0; i < 7; i++)
		assert_int_equal(applied_policy_remove(t, nodes[i].node.id, NULL), 0);
	applied_policy_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_sees_whom),
		cmocka_unit_test(packets),
		cmocka_unit_test(what_is_wrong),
		cmocka_unit_test(all_that_is_wrong),
		cmocka_unit_test(owned_tags),
		cmocka_unit_test(many_owners),
		cmocka_unit_test(tests_of_the_policy),
		cmocka_unit_test(tags_and_routes),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(ssh),
		cmocka_unit_test(the_policy_is_replaced),
		cmocka_unit_test(nodes_change_after_a_replacement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
