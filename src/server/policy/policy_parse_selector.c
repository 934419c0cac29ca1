/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse_selector.c - the words of a rule: who, where, which ports, which protocol */
#include "server/policy/policy_parse.h"

#include "base/limits.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define BIT(kind) (1u << (kind))
#define PEOPLE    (BIT(SELECT_USER) | BIT(SELECT_GROUP))
#define NODES     (PEOPLE | BIT(SELECT_TAG) | BIT(SELECT_MEMBER) | BIT(SELECT_TAGGED))

static const struct {
	const char *what;
	unsigned int kinds;
} parts[PART_COUNT] = {
	[PART_SOURCE] = {"a source",
			 NODES | BIT(SELECT_ANY) | BIT(SELECT_PREFIX) | BIT(SELECT_DANGER_ALL)},
	[PART_DESTINATION] = {"a destination", NODES | BIT(SELECT_ANY) | BIT(SELECT_PREFIX) |
						       BIT(SELECT_SELF) | BIT(SELECT_INTERNET)},
	[PART_SSH_SOURCE] = {"the source of an ssh rule", NODES},
	[PART_SSH_DESTINATION] = {"the destination of an ssh rule", (NODES & ~BIT(SELECT_GROUP)) |
									    BIT(SELECT_SELF) |
									    BIT(SELECT_PREFIX)},
	[PART_ATTRIBUTE] = {"a target of nodeAttrs", NODES | BIT(SELECT_ANY) | BIT(SELECT_PREFIX)},
	[PART_APPROVER] = {"an approver", NODES},
	[PART_TEST] = {"part of a test", NODES | BIT(SELECT_PREFIX)},
};

static const struct {
	const char *name;
	enum selector_kind kind;
} autogroups[] = {
	{"autogroup:member", SELECT_MEMBER},  {"autogroup:tagged", SELECT_TAGGED},
	{"autogroup:self", SELECT_SELF},      {"autogroup:internet", SELECT_INTERNET},
	{"autogroup:members", SELECT_MEMBER}, {"autogroup:danger-all", SELECT_DANGER_ALL},
};

bool parse_is_role(const char *text)
{
	static const char *const roles[] = {
		"owner", "admin", "network-admin", "it-admin", "billing-admin", "auditor",
	};

	if (strncmp(text, "autogroup:", 10) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		if (!strcmp(text + 10, roles[i]))
			return true;
	return false;
}

static int parse_autogroup(struct parse *ps, const char *text, struct json_range at,
			   struct selector_key *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(autogroups); i++) {
		if (strcmp(autogroups[i].name, text) != 0)
			continue;
		key->kind = (uint8_t)autogroups[i].kind;
		return 0;
	}
	if (!strcmp(text, "autogroup:nonroot"))
		return parse_fail(ps, at, "\"%s\" stands only among the users of an ssh rule",
				  text);
	if (parse_is_role(text))
		return parse_fail(ps, at, "\"%s\": users have no roles here: name users or a group",
				  text);
	return parse_fail(ps, at,
			  "there is no \"%s\": known are autogroup:member, :tagged, :self and "
			  ":internet",
			  text);
}

static int parse_known(struct parse *ps, enum name_kind kind, const char *text,
		       struct json_range at, struct selector_key *key)
{
	const struct policy_name *name = policy_name_find(ps->policy, kind, text, strlen(text));

	if (!name || !name->declared)
		return parse_fail(ps, at,
				  kind == NAME_GROUP
					  ? "there is no \"%s\": declare it under \"groups\""
					  : "\"%s\" has no owner: declare it under \"tagOwners\", "
					    "with [] if only keys and the operator may give it",
				  text);
	key->kind = kind == NAME_GROUP ? SELECT_GROUP : SELECT_TAG;
	key->name = name->number;
	return 0;
}

static int parse_host(struct parse *ps, const char *text, struct json_range at,
		      struct selector_key *key)
{
	struct policy_host *host;

	HASH_FIND_STR(ps->policy->hosts, text, host);
	if (!host)
		return parse_fail(
			ps, at,
			strchr(text, ':')
				? "\"%s\" is no user, group, tag, address or prefix"
				: "there is no host \"%s\": declare it under \"hosts\"; a "
				  "user is written with an @ at the end",
			text);
	key->kind = SELECT_PREFIX;
	key->prefix = host->prefix;
	return 0;
}

int parse_selector(struct parse *ps, enum policy_part part, const char *text, struct json_range at,
		   uint32_t *ret)
{
	struct selector_key key = {.part = (uint8_t)part};
	struct policy_name *login;
	struct prefix prefix;
	int r = 0;

	if (prefix_parse(text, strlen(text), &prefix) == 0) {
		key.kind = SELECT_PREFIX;
		key.prefix = prefix_mask(&prefix);
	} else if (!strcmp(text, "*")) {
		key.kind = SELECT_ANY;
	} else if (!strncmp(text, "group:", 6)) {
		r = parse_known(ps, NAME_GROUP, text, at, &key);
	} else if (!strncmp(text, "tag:", 4)) {
		r = parse_known(ps, NAME_TAG, text, at, &key);
	} else if (!strncmp(text, "ipset:", 6)) {
		return parse_unsupported(ps, UNSUPPORTED_IPSETS, at);
	} else if (!strncmp(text, "autogroup:", 10)) {
		r = parse_autogroup(ps, text, at, &key);
	} else if (strchr(text, '@')) {
		login = policy_name_add(ps->policy, NAME_LOGIN, text, login_length(text));
		if (!login)
			return parse_no_memory(ps);
		key.kind = SELECT_USER;
		key.name = login->number;
	} else {
		r = parse_host(ps, text, at, &key);
	}
	if (r < 0)
		return r;
	if (!(parts[part].kinds & BIT(key.kind)))
		return parse_fail(ps, at, "\"%s\" can't be %s", text, parts[part].what);
	r = policy_selector(ps->policy, &key, ret);
	if (r == -E2BIG)
		return error_set(ps->err, r,
				 "a policy of more than %u different names; the limit "
				 "is there to keep it quick",
				 LIMIT_POLICY_SELECTORS);
	return r < 0 ? parse_no_memory(ps) : 0;
}

struct selectors_walk {
	enum policy_part part;
	struct indexes *list;
};

static int add_selector(struct parse *ps, struct json_range value, void *data)
{
	struct selectors_walk *walk = data;
	_cleanup_free_ char *text = NULL;
	uint32_t selector = 0;
	int r = parse_string(ps, value, parts[walk->part].what, &text);

	if (r == 0)
		r = parse_selector(ps, walk->part, text, value, &selector);
	if (r == 0 && indexes_add(walk->list, selector) < 0)
		r = parse_no_memory(ps);
	return r;
}

int parse_selectors(struct parse *ps, enum policy_part part, struct json_range array,
		    const char *what, struct indexes *ret)
{
	struct selectors_walk walk = {.part = part, .list = ret};

	return parse_each(ps, array, what, add_selector, &walk);
}

/* strip_brackets() - "[fd7a::1]/128:80" is "fd7a::1/128:80"; -EINVAL */
static int strip_brackets(char *text)
{
	char *close = strchr(text, ']');
	struct address address;

	if (!close || address_parse(text + 1, (size_t)(close - text - 1), &address) < 0 ||
	    (close[1] != ':' && close[1] != '/'))
		return -EINVAL;
	memmove(text, text + 1, (size_t)(close - text - 1));
	memmove(close - 1, close + 1, strlen(close + 1) + 1);
	return 0;
}

int parse_split(struct parse *ps, struct json_range at, char *text, char **ret_host,
		char **ret_ports)
{
	char *colon;

	if (*text == '[' && strip_brackets(text) < 0)
		return parse_fail(
			ps, at, "\"%s\": brackets are for an IPv6 address, as [fd7a::1]:80", text);
	colon = strrchr(text, ':');
	if (!colon || colon == text || !colon[1])
		return parse_fail(ps, at, "\"%s\": ports are missing; add :* for all of them",
				  text);
	*colon = 0;
	*ret_host = text;
	*ret_ports = colon + 1;
	return 0;
}

static int parse_port(struct parse *ps, struct json_range at, const char *text, size_t length,
		      uint16_t *ret)
{
	unsigned int port = 0;

	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)text[i]) || i >= 5)
			goto wrong;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	if (length == 0 || port > UINT16_MAX)
		goto wrong;
	*ret = (uint16_t)port;
	return 0;

wrong:
	return parse_fail(ps, at,
			  "\"%.*s\" is no port: write a number up to 65535, a range as 8000-8100, "
			  "several with commas between, or *; and a tag or group before them, as "
			  "tag:web:443",
			  (int)(length < 40 ? length : 40), text);
}

static int add_ports(struct parse *ps, struct port_range range, struct port_range **list,
		     uint32_t *count)
{
	struct port_range *grown = reallocarray(*list, *count + 1, sizeof(*grown));

	if (!grown)
		return parse_no_memory(ps);
	grown[(*count)++] = range;
	*list = grown;
	return 0;
}

int parse_ports(struct parse *ps, struct json_range at, const char *text, struct port_range **ret,
		uint32_t *ret_count)
{
	if (!strcmp(text, "*"))
		return add_ports(ps, (struct port_range){0, UINT16_MAX}, ret, ret_count);
	for (;;) {
		size_t length = strcspn(text, ",");
		const char *dash = memchr(text, '-', length);
		struct port_range range = {0};
		int r;

		if (dash) {
			r = parse_port(ps, at, text, (size_t)(dash - text), &range.first);
			if (r == 0)
				r = parse_port(ps, at, dash + 1, (size_t)(text + length - dash - 1),
					       &range.last);
		} else {
			r = parse_port(ps, at, text, length, &range.first);
			range.last = range.first;
			if (r == 0 && range.first == 0)
				r = parse_fail(ps, at, "port 0 is no port; * is all of them");
		}
		if (r == 0 && range.first > range.last)
			r = parse_fail(ps, at, "%u-%u: the lower port comes first", range.first,
				       range.last);
		if (r == 0)
			r = add_ports(ps, range, ret, ret_count);
		if (r < 0 || !text[length])
			return r;
		text += length + 1;
	}
}

int parse_protocol(struct parse *ps, struct json_range at, const char *text, uint8_t *ret)
{
	/* IANA's numbers */
	static const struct {
		const char *name;
		uint8_t number;
	} known[] = {
		{"icmp", 1}, {"igmp", 2},   {"ipv4", 4}, {"ip-in-ip", 4},   {"tcp", 6},
		{"egp", 8},  {"igp", 9},    {"udp", 17}, {"gre", 47},       {"esp", 50},
		{"ah", 51},  {"sctp", 132}, {"fc", 133}, {"ipv6-icmp", 58},
	};
	unsigned int number = 0;

	if (!text || !*text) {
		*ret = 0;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcasecmp(known[i].name, text) == 0) {
			*ret = known[i].number;
			return 0;
		}
	}
	for (const char *c = text; *c; c++) {
		if (!isdigit((unsigned char)*c) || c - text >= 3 || *text == '0')
			goto wrong;
		number = number * 10 + (unsigned int)(*c - '0');
	}
	if (number > UINT8_MAX)
		goto wrong;
	*ret = (uint8_t)number;
	return 0;

wrong:
	return parse_fail(
		ps, at,
		"\"%s\" is no protocol: write tcp, udp, icmp, ipv6-icmp, sctp, gre, esp … "
		"or a number from 1 to 255; without one, TCP, UDP and ICMP are meant",
		text);
}
