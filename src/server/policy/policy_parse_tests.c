/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_tests.c - the tests and sshTests sections */
#include "server/policy/policy_parse.h"

#include "wire/ip.h"

#include <errno.h>
#include <string.h>

struct assertions_walk {
	uint32_t source;
	uint8_t protocol;
	bool allowed;
};

static int parse_source(struct parse *ps, struct json_range value, struct json_range test,
			uint32_t *ret)
{
	_cleanup_free_ char *text = NULL;
	int r;

	if (!value.at)
		return parse_fail(ps, test, "a test without \"src\"");
	r = parse_string(ps, value, "a source", &text);
	return r < 0 ? r : parse_selector(ps, PART_TEST, text, value, ret);
}

static int add_assertion(struct parse *ps, struct json_range value, void *data)
{
	const struct assertions_walk *walk = data;
	struct policy *p = ps->policy;
	struct policy_assertion a = {.source = walk->source,
				     .protocol = walk->protocol,
				     .allowed = walk->allowed,
				     .target.at = value};
	struct policy_assertion *list;
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ struct port_range *ports = NULL;
	const struct selector *target;
	uint32_t count = 0;
	char *host = NULL, *ports_text = NULL;
	int r = parse_string(ps, value, "host:port", &text);

	if (r == 0)
		r = parse_split(ps, value, text, &host, &ports_text);
	if (r < 0)
		return r;
	r = parse_ports(ps, value, ports_text, &ports, &count);
	if (r == 0 && (count != 1 || ports[0].first != ports[0].last))
		r = parse_fail(ps, value, "a test is about one port, not \"%s\"", ports_text);
	r = parse_both(r, parse_selector(ps, PART_TEST, host, value, &a.target.selector));
	if (r < 0)
		return r;
	target = parse_selector_at(ps, a.target.selector);
	if (target->key.kind == SELECT_PREFIX &&
	    target->key.prefix.bits != address_bits(&target->key.prefix.address))
		return parse_fail(ps, value, "a test is about one address, not a prefix");
	a.target.port = ports[0].first;
	list = policy_grow(p->assertions, &p->assertion_count, &p->assertion_capacity,
			   sizeof(*list));
	if (!list)
		return parse_no_memory(ps);
	p->assertions = list;
	list[p->assertion_count - 1] = a;
	return 0;
}

static int parse_test(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {
		{.name = "src"}, {.name = "proto"}, {.name = "accept"}, {.name = "deny"}, {0}};
	_cleanup_free_ char *protocol = NULL;
	struct assertions_walk walk = {0};
	uint32_t before = ps->policy->assertion_count;
	int r = parse_fields(ps, value, "a test", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	r = parse_both(r, parse_source(ps, f[0].value, value, &walk.source));
	if (f[1].value.at && !json_range_is(f[1].value, "\"\""))
		r = parse_both(r, parse_string(ps, f[1].value, "a protocol", &protocol));
	r = parse_both(r, parse_protocol(ps, f[1].value, protocol, &walk.protocol));
	if (r == 0 && walk.protocol && walk.protocol != IP_PROTOCOL_TCP &&
	    walk.protocol != IP_PROTOCOL_UDP && walk.protocol != IP_PROTOCOL_SCTP)
		r = parse_fail(ps, f[1].value, "a test is of tcp, udp or sctp");
	walk.allowed = true;
	r = parse_both(r, parse_each(ps, f[2].value, "accept", add_assertion, &walk));
	walk.allowed = false;
	r = parse_both(r, parse_each(ps, f[3].value, "deny", add_assertion, &walk));
	if (r == 0 && ps->policy->assertion_count == before)
		r = parse_fail(ps, value, "a test of nothing: add \"accept\" or \"deny\"");
	return r;
}

int parse_tests(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "tests", parse_test, NULL);
}

/* --- sshTests --- */

struct ssh_walk {
	uint32_t source;
	struct indexes destinations;
	enum ssh_expectation expectation;
};

static int add_ssh_destination(struct parse *ps, struct json_range value, void *data)
{
	struct ssh_walk *walk = data;
	_cleanup_free_ char *text = NULL;
	uint32_t selector;
	int r = parse_string(ps, value, "a destination", &text);

	if (r == 0)
		r = parse_selector(ps, PART_TEST, text, value, &selector);
	if (r == 0 && indexes_add(&walk->destinations, selector) < 0)
		r = parse_no_memory(ps);
	return r;
}

static int add_ssh_assertions(struct parse *ps, struct json_range value, void *data)
{
	const struct ssh_walk *walk = data;
	struct policy *p = ps->policy;
	_cleanup_free_ char *user = NULL;
	int r = parse_string(ps, value, "a user of the system", &user);

	for (uint32_t i = 0; i < walk->destinations.count && r == 0; i++) {
		struct policy_ssh_assertion *list =
			policy_grow(p->ssh_assertions, &p->ssh_assertion_count,
				    &p->ssh_assertion_capacity, sizeof(*list));

		if (!list)
			return parse_no_memory(ps);
		p->ssh_assertions = list;
		list[p->ssh_assertion_count - 1] = (struct policy_ssh_assertion){
			.source = walk->source,
			.destination = walk->destinations.items[i],
			.expectation = walk->expectation,
			.user = strdup(user),
			.at = value,
		};
		if (!list[p->ssh_assertion_count - 1].user)
			r = parse_no_memory(ps);
	}
	return r;
}

static int parse_ssh_test(struct parse *ps, struct json_range value, void *data)
{
	struct parse_field f[] = {{.name = "src"},   {.name = "dst"},  {.name = "accept"},
				  {.name = "check"}, {.name = "deny"}, {0}};
	struct ssh_walk walk = {0};
	int r = parse_fields(ps, value, "an ssh test", f);

	(void)data;
	if (!parse_is_object(value))
		return r;
	r = parse_both(r, parse_source(ps, f[0].value, value, &walk.source));
	r = parse_both(r, parse_each(ps, f[1].value, "dst", add_ssh_destination, &walk));
	if (r == 0 && walk.destinations.count == 0)
		r = parse_fail(ps, value, "an ssh test without \"dst\"");
	for (unsigned int e = EXPECT_ACCEPT; e <= EXPECT_DENY; e++) {
		walk.expectation = e;
		r = parse_both(r, parse_each(ps, f[2 + e].value, f[2 + e].name, add_ssh_assertions,
					     &walk));
	}
	indexes_clear(&walk.destinations);
	return r;
}

int parse_ssh_tests(struct parse *ps, struct json_range array)
{
	return parse_each(ps, array, "sshTests", parse_ssh_test, NULL);
}
