/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_policy_differential.c - drawn policies and tailnets, judged twice
 *
 * The second judge reads the words of the rules as they stand, asks them of every pair of nodes
 * and of every packet, and keeps nothing. Also: a tailnet that grew and changed node by node
 * must say what one made at once says, and must have named everyone whose answers changed.
 */
#include "unit/unit.h"

#include "unit/server/policy_world.h"

#define NODES   10
#define RULES   5
#define WORDS   3
#define SEEDS   250
#define CHANGES 25

/* struct word - What can stand in a rule, and what the judge has to know of it */
struct word {
	const char *text;
	bool source, destination;
	bool internet; /* a prefix of public addresses only */
};

static const struct word words[] = {
	{"*", true, true, false},
	{"u0@", true, true, false},
	{"u1@", true, true, false},
	{"u2@d.e", true, true, false},
	{"group:a", true, true, false},
	{"group:b", true, true, false},
	{"group:none", true, true, false},
	{"tag:x", true, true, false},
	{"tag:y", true, true, false},
	{"autogroup:member", true, true, false},
	{"autogroup:tagged", true, true, false},
	{"autogroup:self", false, true, false},
	{"autogroup:internet", false, true, false},
	{"autogroup:danger-all", true, false, false},
	{"10.1.0.0/16", true, true, false},
	{"100.64.0.0/30", true, true, false},
	{"100.64.0.5", true, true, false},
	{"fd7a:115c:a1e0::2", true, true, false},
	{"8.8.8.0/24", true, true, true},
	{"2001:db8::/32", true, true, true},
	{"0.0.0.0/0", true, true, false},
};
#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

static const char head[] =
	"\"groups\": {\"group:a\": [\"u0@\", \"group:b\"], \"group:b\": [\"u2@d.e\"], "
	"\"group:none\": []}, \"tagOwners\": {\"tag:x\": [], \"tag:y\": []}";

struct rule {
	const struct word *sources[WORDS], *destinations[WORDS];
	unsigned int source_count, destination_count;
	uint8_t protocol;
	uint16_t first, last;
	bool grant;
};

struct model {
	struct world_node nodes[NODES];
	bool present[NODES];
	struct rule rules[RULES];
	unsigned int rule_count;
	char *text;
};

/* --- Drawing --- */

struct draw {
	uint64_t seed;
};

/* draw_below() - 0 … n-1 */
static unsigned int draw_below(struct draw *d, unsigned int n)
{
	uint64_t z = d->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned int)((z ^ z >> 31) % n);
}

static bool draw_one_in(struct draw *d, unsigned int n)
{
	return draw_below(d, n) == n - 1;
}

static void draw_node(struct draw *d, struct world_node *node, int64_t id)
{
	static const char *const users[] = {"u0", "u1@", "u2@d.e", "stranger"};
	static const char *const tags[] = {"", "", "", "tag:x", "tag:y", "tag:x tag:y tag:x"};
	static const char *const routes[] = {"",
					     "",
					     "",
					     "10.1.2.0/24",
					     "10.0.0.0/8 192.168.7.0/24",
					     "0.0.0.0/0 ::/0",
					     "0.0.0.0/0 8.8.8.8",
					     "2001:db8:1::/48"};

	world_set(node, id, draw_one_in(d, 8) ? NULL : users[draw_below(d, 4)],
		  tags[draw_below(d, 6)], routes[draw_below(d, 8)]);
	if (draw_one_in(d, 10))
		node->node.v6 = (struct address){0};
}

static bool is(const struct word *w, const char *text)
{
	return strcmp(w->text, text) == 0;
}

static void draw_rule(struct draw *d, struct rule *rule)
{
	static const uint8_t protocols[] = {0, 0, 0, 6, 17, 132, 47};
	static const struct {
		uint16_t first, last;
	} ports[] = {{0, 65535}, {80, 80}, {1000, 2000}};
	unsigned int p = draw_below(d, 3);
	bool self = false;

	memset(rule, 0, sizeof(*rule));
	rule->grant = draw_one_in(d, 3);
	rule->protocol = protocols[draw_below(d, 7)];
	if (rule->protocol == 47)
		p = 0;
	rule->first = ports[p].first;
	rule->last = ports[p].last;
	rule->destination_count = 1 + draw_below(d, WORDS);
	for (unsigned int i = 0; i < rule->destination_count; i++) {
		do
			rule->destinations[i] = &words[draw_below(d, WORD_COUNT)];
		while (!rule->destinations[i]->destination);
		self |= is(rule->destinations[i], "autogroup:self");
	}
	rule->source_count = 1 + draw_below(d, WORDS);
	for (unsigned int i = 0; i < rule->source_count; i++)
		do
			rule->sources[i] = &words[draw_below(d, self ? 10 : WORD_COUNT)];
		while (!rule->sources[i]->source ||
		       (self && (!strncmp(rule->sources[i]->text, "tag:", 4) ||
				 (rule->grant && is(rule->sources[i], "*")))));
}

static void write_words(FILE *f, const struct word *const *list, unsigned int count,
			const char *ports)
{
	fputs("[", f);
	for (unsigned int i = 0; i < count; i++)
		fprintf(f, "%s\"%s%s\"", i ? ", " : "", list[i]->text, ports);
	fputs("]", f);
}

static void write_rule(FILE *f, const struct rule *rule)
{
	char ports[16] = "*", colon_ports[17], protocol[8] = "";

	if (rule->last != 65535)
		snprintf(ports, sizeof(ports), "%u-%u", rule->first, rule->last);
	if (rule->protocol)
		snprintf(protocol, sizeof(protocol), "%u", rule->protocol);
	snprintf(colon_ports, sizeof(colon_ports), ":%s", ports);
	fputs("{\"src\": ", f);
	write_words(f, rule->sources, rule->source_count, "");
	fputs(", \"dst\": ", f);
	write_words(f, rule->destinations, rule->destination_count, rule->grant ? "" : colon_ports);
	if (rule->grant)
		fprintf(f, ", \"ip\": [\"%s%s%s\"]}", protocol, *protocol ? ":" : "", ports);
	else
		fprintf(f, ", \"action\": \"accept\", \"proto\": \"%s\"}", protocol);
}

static void write_rules(FILE *f, const struct model *m, bool grants)
{
	bool first = true;

	fprintf(f, ", \"%s\": [", grants ? "grants" : "acls");
	for (unsigned int i = 0; i < m->rule_count; i++) {
		if (m->rules[i].grant != grants)
			continue;
		fputs(first ? "\n" : ",\n", f);
		first = false;
		write_rule(f, &m->rules[i]);
	}
	fputs("]", f);
}

static void model_draw(struct draw *d, struct model *m)
{
	size_t length;
	FILE *f;

	free(m->text);
	memset(m, 0, sizeof(*m));
	for (int i = 0; i < NODES; i++) {
		draw_node(d, &m->nodes[i], i + 1);
		m->present[i] = draw_below(d, 4) != 0;
	}
	m->rule_count = draw_below(d, RULES + 1);
	for (unsigned int i = 0; i < m->rule_count; i++)
		draw_rule(d, &m->rules[i]);
	f = open_memstream(&m->text, &length);
	fprintf(f, "{%s", head);
	write_rules(f, m, false);
	write_rules(f, m, true);
	fputs(", \"ssh\": [{\"action\": \"accept\", \"src\": [\"group:a\", \"tag:x\"], \"dst\": "
	      "[\"tag:y\"], \"users\": [\"root\", \"localpart:*@d.e\"]}, {\"action\": \"check\", "
	      "\"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self\"], \"users\": "
	      "[\"autogroup:nonroot\"]}]}",
	      f);
	fclose(f);
}

/* --- The second judge --- */

static bool naive_in(const struct address *a, const struct prefix *p)
{
	if (a->family != p->address.family)
		return false;
	for (unsigned int bit = 0; bit < p->bits; bit++)
		if ((a->bytes[bit / 8] ^ p->address.bytes[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

static bool naive_in_text(const struct address *a, const char *const *texts)
{
	struct prefix p;

	for (; *texts; texts++)
		if (prefix_parse(*texts, strlen(*texts), &p) == 0 && naive_in(a, &p))
			return true;
	return false;
}

static bool is_user(const struct policy_node *n, const char *login)
{
	size_t length = strlen(login);

	if (!n->user || n->tags.count)
		return false;
	if (strcmp(n->user, login) == 0)
		return true;
	return login[length - 1] == '@' && strlen(n->user) == length - 1 &&
	       !strncmp(n->user, login, length - 1);
}

static bool bears(const struct policy_node *n, const char *tag)
{
	for (uint32_t i = 0; i < n->tags.count; i++)
		if (!strcmp(n->tags.items[i], tag))
			return true;
	return false;
}

/* is_node() - Whether a word means the node for what it is, not for where */
static bool is_node(const struct word *w, const struct policy_node *n)
{
	if (is(w, "group:a"))
		return is_user(n, "u0@") || is_user(n, "u2@d.e");
	if (is(w, "group:b"))
		return is_user(n, "u2@d.e");
	if (is(w, "autogroup:member"))
		return n->tags.count == 0;
	if (is(w, "autogroup:tagged"))
		return n->tags.count > 0;
	return bears(n, w->text) || (strchr(w->text, '@') && is_user(n, w->text));
}

static bool as_prefix(const struct word *w, struct prefix *ret)
{
	return prefix_parse(w->text, strlen(w->text), ret) == 0;
}

static bool has_address(const struct policy_node *n, const struct address *a)
{
	return a->family && (address_equal(&n->v4, a) || address_equal(&n->v6, a));
}

static bool is_exit(const struct policy_node *n)
{
	for (uint32_t i = 0; i < n->routes.count; i++)
		if (n->routes.items[i].bits == 0)
			return true;
	return false;
}

static bool routes_into(const struct policy_node *n, const struct prefix *p)
{
	for (uint32_t i = 0; i < n->routes.count; i++) {
		const struct prefix *r = &n->routes.items[i];

		if (r->bits && (naive_in(&r->address, p) || naive_in(&p->address, r)))
			return true;
	}
	return false;
}

static bool lies_in(const struct policy_node *n, const struct prefix *p)
{
	return naive_in(&n->v4, p) || naive_in(&n->v6, p);
}

/* serves() - Whether packets to an address go to the node at all; a default route leaves out what
 * is private or the tailnet's */
static bool serves(const struct policy_node *n, const struct address *a)
{
	static const char *const special[] = {"10.0.0.0/8",          "172.16.0.0/12",
					      "192.168.0.0/16",      "169.254.0.0/16",
					      "224.0.0.0/4",         "100.64.0.0/10",
					      "fe80::/10",           "ff00::/8",
					      "fd7a:115c:a1e0::/48", NULL};

	for (uint32_t i = 0; i < n->routes.count; i++)
		if (naive_in(a, &n->routes.items[i]) &&
		    (n->routes.items[i].bits || !naive_in_text(a, special)))
			return true;
	return has_address(n, a);
}

static bool same_user(const struct policy_node *a, const struct policy_node *b)
{
	return a->user && b->user && !a->tags.count && !b->tags.count &&
	       (is_user(a, b->user) || is_user(b, a->user));
}

static bool may_come(const struct rule *rule, const struct policy_node *n)
{
	struct prefix p;

	for (unsigned int i = 0; i < rule->source_count; i++) {
		const struct word *w = rule->sources[i];

		if (is(w, "*") || is(w, "autogroup:danger-all") || is_node(w, n) ||
		    (as_prefix(w, &p) && (lies_in(n, &p) || routes_into(n, &p))))
			return true;
	}
	return false;
}

static bool is_target(const struct word *w, const struct policy_node *from,
		      const struct policy_node *to)
{
	struct prefix p;

	if (is(w, "autogroup:self"))
		return same_user(from, to);
	if (is(w, "autogroup:internet"))
		return is_exit(to);
	return is(w, "*") || is_node(w, to) ||
	       (as_prefix(w, &p) && (lies_in(to, &p) || routes_into(to, &p)));
}

static bool judge_reaches(const struct model *m, const struct policy_node *from,
			  const struct policy_node *to)
{
	for (unsigned int i = 0; i < m->rule_count; i++)
		for (unsigned int k = 0;
		     k < m->rules[i].destination_count && may_come(&m->rules[i], from); k++)
			if (is_target(m->rules[i].destinations[k], from, to))
				return true;
	return false;
}

static bool judge_sees(const struct model *m, int a, int b)
{
	return a != b && m->present[a] && m->present[b] &&
	       (judge_reaches(m, &m->nodes[a].node, &m->nodes[b].node) ||
		judge_reaches(m, &m->nodes[b].node, &m->nodes[a].node));
}

static bool touches(const struct word *w, const struct prefix *route)
{
	struct prefix p;

	return is(w, "*") || is(w, "autogroup:danger-all") ||
	       (as_prefix(w, &p) && (naive_in(&p.address, route) || naive_in(&route->address, &p)));
}

/* judge_route() - Whether a node is told that another serves @route, which is no default route */
static bool judge_route(const struct model *m, const struct policy_node *node,
			const struct prefix *route)
{
	for (uint32_t i = 0; i < node->routes.count; i++)
		if (prefix_equal(&node->routes.items[i], route))
			return true;
	for (unsigned int i = 0; i < m->rule_count; i++) {
		const struct rule *rule = &m->rules[i];
		bool to = false, from = false;

		for (unsigned int k = 0; k < rule->destination_count; k++) {
			const struct word *w = rule->destinations[k];

			if (may_come(rule, node) && touches(w, route))
				return true;
			to |= !is(w, "autogroup:internet") && !is(w, "autogroup:self") &&
			      is_target(w, node, node);
		}
		for (unsigned int k = 0; k < rule->source_count; k++)
			from |= touches(rule->sources[k], route);
		if (to && from)
			return true;
	}
	return false;
}

static bool source_is(const struct model *m, const struct word *w, const struct address *a)
{
	static const char *const own[] = {"100.64.0.0/10", "fd7a:115c:a1e0::/48", NULL};
	static const char *const chromeos[] = {"100.115.92.0/23", NULL};
	struct prefix p;

	if (is(w, "autogroup:danger-all"))
		return true;
	if (as_prefix(w, &p))
		return naive_in(a, &p);
	if (is(w, "*") && naive_in_text(a, own) && !naive_in_text(a, chromeos))
		return true;
	for (int i = 0; i < NODES; i++) {
		const struct policy_node *n = &m->nodes[i].node;

		if (!m->present[i])
			continue;
		for (uint32_t k = 0; is(w, "*") && k < n->routes.count; k++)
			if (n->routes.items[k].bits && naive_in(a, &n->routes.items[k]))
				return true;
		if (has_address(n, a) && is_node(w, n))
			return true;
	}
	return false;
}

static bool target_is(const struct model *m, const struct word *w, const struct policy_node *to,
		      const struct address *from, const struct address *a)
{
	struct prefix p;

	if (is(w, "*"))
		return true;
	if (is(w, "autogroup:internet")) {
		static const char *const not_public[] = {"10.0.0.0/8",     "100.64.0.0/10",
							 "169.254.0.0/16", "172.16.0.0/12",
							 "192.168.0.0/16", NULL};
		static const char *const public_v6[] = {"2000::/3", NULL};

		return is_exit(to) && (a->family == ADDRESS_V4 ? !naive_in_text(a, not_public)
							       : naive_in_text(a, public_v6));
	}
	if (as_prefix(w, &p))
		return naive_in(a, &p) && (lies_in(to, &p) || routes_into(to, &p) || w->internet);
	if (!has_address(to, a))
		return false;
	if (!is(w, "autogroup:self"))
		return is_node(w, to);
	for (int i = 0; i < NODES; i++)
		if (m->present[i] && has_address(&m->nodes[i].node, from) &&
		    same_user(&m->nodes[i].node, to))
			return true;
	return false;
}

static bool judge_packet(const struct model *m, const struct policy_node *to,
			 const struct address *from, const struct address *a, uint8_t protocol,
			 uint16_t port)
{
	if (!serves(to, a))
		return false;
	for (unsigned int i = 0; i < m->rule_count; i++) {
		const struct rule *rule = &m->rules[i];
		bool from_source = false;

		if (rule->protocol ? rule->protocol != protocol : protocol != 6 && protocol != 17)
			continue;
		if (protocol != 47 && (port < rule->first || port > rule->last))
			continue;
		for (unsigned int k = 0; k < rule->source_count; k++)
			from_source |= source_is(m, rule->sources[k], from);
		for (unsigned int k = 0; k < rule->destination_count && from_source; k++) {
			const struct word *w = rule->destinations[k];

			/* Of self only the user's nodes that are sources, which `from` is. */
			if (target_is(m, w, to, from, a))
				return true;
		}
	}
	return false;
}

/* --- Both --- */

static struct applied_policy *build(const struct model *m)
{
	struct applied_policy *t;
	struct policy *policy;
	struct error err = {0};

	if (policy_parse(m->text, strlen(m->text), &policy, NULL, &err) < 0)
		fail_msg("%s\n%s", err.text, m->text);
	assert_int_equal(applied_policy_create(policy, &t), 0);
	for (int i = 0; i < NODES; i++)
		if (m->present[i])
			assert_int_equal(applied_policy_put(t, &m->nodes[i].node, NULL), 0);
	return t;
}

static void compare_peers(const struct model *m, struct applied_policy *t)
{
	for (int a = 0; a < NODES; a++) {
		struct policy_ids ids = {0};
		size_t count = 0;

		if (!m->present[a]) {
			assert_int_equal(applied_policy_peers(t, a + 1, &ids), -ENOENT);
			continue;
		}
		assert_int_equal(applied_policy_peers(t, a + 1, &ids), 0);
		for (int b = 0; b < NODES; b++) {
			bool wanted = judge_sees(m, a, b), found = false;

			for (size_t i = 0; i < ids.count; i++)
				found |= ids.items[i] == b + 1;
			if (found != wanted || applied_policy_sees(t, a + 1, b + 1) != wanted)
				fail_msg("%d and %d: %d\n%s", a + 1, b + 1, wanted, m->text);
			count += wanted;
		}
		assert_int_equal(ids.count, count);
		policy_ids_clear(&ids);
	}
}

static void compare_routes(const struct model *m, struct applied_policy *t, unsigned int counts[2])
{
	for (int a = 0; a < NODES; a++)
		for (int b = 0; b < NODES; b++) {
			const struct prefix_list *routes = &m->nodes[b].node.routes;

			for (uint32_t i = 0; i < routes->count; i++) {
				const struct prefix *route = &routes->items[i];
				bool wanted =
					m->present[a] && (route->bits == 0 ||
							  judge_route(m, &m->nodes[a].node, route));

				counts[wanted]++;
				if (applied_policy_grants_route(t, a + 1, route) != wanted)
					fail_msg("%d and a route of %d: not %d\n%s", a + 1, b + 1,
						 wanted, m->text);
			}
		}
}

static struct address draw_from_or_to(struct draw *d, const struct model *m)
{
	static const char *const elsewhere[] = {"10.1.2.3",    "10.9.0.1",      "192.168.7.7",
						"8.8.8.8",     "8.8.4.4",       "172.20.0.1",
						"2001:db8::1", "2001:db8:1::1", "2606:4700::1",
						"100.127.0.1", "fd00::1",       "100.115.92.1"};
	const struct policy_node *n = &m->nodes[draw_below(d, NODES)].node;

	if (draw_one_in(d, 3))
		return world_address(elsewhere[draw_below(d, 12)]);
	return n->v6.family && draw_one_in(d, 2) ? n->v6 : n->v4;
}

static void compare_packets(struct draw *d, const struct model *m, struct applied_policy *t,
			    unsigned int counts[2])
{
	static const uint8_t protocols[] = {6, 6, 17, 132, 47};
	static const uint16_t ports[] = {80, 81, 1000, 2000, 2001, 0};

	for (int i = 0; i < NODES; i++) {
		struct filter *f;

		if (!m->present[i])
			continue;
		f = world_filter(t, &m->nodes[i].node);
		for (int k = 0; k < 30; k++) {
			const struct policy_node *to = &m->nodes[i].node;
			struct address from = draw_from_or_to(d, m);
			struct address a = draw_below(d, 2) ? to->v4 : draw_from_or_to(d, m);
			uint8_t protocol = protocols[draw_below(d, 5)];
			uint16_t port = ports[draw_below(d, 6)];
			bool wanted;

			if (from.family != a.family)
				continue;
			wanted = judge_packet(m, to, &from, &a, protocol, port);
			counts[wanted]++;
			if (world_accepts(f, &from, &a, protocol, port) != wanted) {
				char x[ADDRESS_TEXT_MAX], y[ADDRESS_TEXT_MAX];

				fail_msg("to node %d: %s → %s protocol %u port %u: not %d\n%s",
					 i + 1, address_format(&from, x), address_format(&a, y),
					 protocol, port, wanted, m->text);
			}
		}
		filter_free(f);
	}
}

static void policies_agree_with_their_words(void **state)
{
	unsigned int counts[2] = {0}, route_counts[2] = {0};
	struct model *m = calloc(1, sizeof(*m));

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct draw d = {.seed = seed * 7919};
		struct applied_policy *t;

		model_draw(&d, m);
		t = build(m);
		compare_peers(m, t);
		compare_routes(m, t, route_counts);
		compare_packets(&d, m, t, counts);
		applied_policy_free(t);
	}
	/* The draw is worth something only if both come about often. */
	assert_true(counts[0] > 1000 && counts[1] > 1000);
	assert_true(route_counts[0] > 1000 && route_counts[1] > 1000);
	free(m->text);
	free(m);
}

/* --- Changes --- */

/* answer() - What a node is sent, as text; NULL: it isn't there */
static char *answer(struct applied_policy *t, int64_t id)
{
	struct buffer out = BUFFER_INIT(1024 * 1024);
	struct json_writer json = json_writer_to(&out);

	if (!applied_policy_filter(t, id, &json, NULL)) {
		buffer_free(&out);
		return NULL;
	}
	applied_policy_ssh(t, id, &json, NULL);
	assert_int_equal(json_writer_result(&json), 0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	return (char *)out.data;
}

static bool named(const struct policy_ids *ids, int64_t id)
{
	unsigned int times = 0;

	for (size_t i = 0; i < ids->count; i++)
		times += ids->items[i] == id;
	assert_true(times <= 1);
	return times;
}

static void fail_answers(const struct model *m, int id, int subject, const char *before,
			 const char *after)
{
	fprintf(stderr, "%s\nbefore %s\nafter %s\n", m->text, before, after);
	fail_msg("%d was not named for %d", id, subject);
}

static void change(struct draw *d, struct model *m, struct applied_policy *t,
		   unsigned int counts[2])
{
	int subject = (int)draw_below(d, NODES);
	bool before[NODES], gone = m->present[subject] && draw_one_in(d, 3);
	struct policy_affected affected;
	char *answers[NODES];

	for (int i = 0; i < NODES; i++) {
		before[i] = judge_sees(m, subject, i);
		answers[i] = answer(t, i + 1);
	}
	m->present[subject] = !gone;
	if (!gone && draw_below(d, 5))
		draw_node(d, &m->nodes[subject], subject + 1);
	if (gone)
		assert_int_equal(applied_policy_remove(t, subject + 1, &affected), 0);
	else
		assert_int_equal(applied_policy_put(t, &m->nodes[subject].node, &affected), 0);
	for (int i = 0; i < NODES; i++) {
		bool after = judge_sees(m, subject, i);
		char *now = answer(t, i + 1);
		bool changed = !now != !answers[i] || (now && strcmp(now, answers[i]) != 0);

		if (named(&affected.gained, i + 1) != (after && !before[i]) ||
		    named(&affected.lost, i + 1) != (before[i] && !after))
			fail_msg("%d for %d: saw %d, sees %d\n%s", i + 1, subject + 1, before[i],
				 after, m->text);
		if (changed && now && !named(&affected.rules, i + 1))
			fail_answers(m, i + 1, subject + 1, answers[i], now);
		if (i != subject && named(&affected.rules, i + 1))
			counts[changed]++;
		free(now);
		free(answers[i]);
	}
	policy_affected_clear(&affected);
}

static void changes_name_whom_they_concern(void **state)
{
	unsigned int counts[2] = {0};
	struct model *m = calloc(1, sizeof(*m));

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct draw d = {.seed = seed * 104729};
		struct applied_policy *t, *fresh;

		model_draw(&d, m);
		t = build(m);
		for (int i = 0; i < CHANGES; i++)
			change(&d, m, t, counts);
		compare_peers(m, t);
		fresh = build(m);
		for (int i = 0; i < NODES; i++) {
			char *grown = answer(t, i + 1), *made = answer(fresh, i + 1);

			if (m->present[i])
				assert_string_equal(grown, made);
			else
				assert_true(!grown && !made);
			free(grown);
			free(made);
		}
		applied_policy_free(t);
		applied_policy_free(fresh);
	}
	/* Most who are named for their rules do get others. */
	assert_true(counts[1] > 1000 && counts[0] < counts[1] / 2);
	free(m->text);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies_agree_with_their_words),
		cmocka_unit_test(changes_name_whom_they_concern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
