/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_parse_values.c - JSON values, and the words of a rule: selectors, ports,
 * protocols
 */
#include "server/policy/policy_parse.h"

#include "base/limits.h"
#include "server/policy/hujson.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int parse_fail(struct parse *ps, struct json_range at, const char *format, ...)
{
	const char *text = ps->policy->text;
	struct hujson_position p = hujson_position(text, at.at ? (size_t)(at.at - text) : 0);
	char message[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	error_set(ps->err, -EINVAL, "line %zu, column %zu: %s", p.line, p.column, message);
	if (!ps->first.code)
		ps->first = *ps->err;
	ps->problem_count++;
	/* Keys are read twice but reported once. */
	if (ps->problems && ps->problem_count <= POLICY_PROBLEMS_MAX &&
	    !string_list_contains(ps->problems, ps->err->text) &&
	    string_list_add(ps->problems, ps->err->text) < 0)
		return parse_no_memory(ps);
	return -EINVAL;
}

int parse_unsupported(struct parse *ps, enum unsupported what, struct json_range at)
{
	static const char *const texts[] = {
		[UNSUPPORTED_IPSETS] = "ipsets are not supported: write their prefixes where they "
				       "are used, or name them under \"hosts\"",
		[UNSUPPORTED_POSTURES] =
			"postures are not supported: leave them out, and \"srcPosture\" "
			"of every rule",
		[UNSUPPORTED_VIA] =
			"\"via\" is not supported: leave it out of every grant, and approve "
			"the route on one node only",
	};

	if (ps->said[what])
		return -EINVAL;
	ps->said[what] = true;
	return parse_fail(ps, at, "%s", texts[what]);
}

int parse_no_memory(struct parse *ps)
{
	return error_set_errno(ps->err, -ENOMEM, "policy");
}

int parse_string(struct parse *ps, struct json_range at, const char *what, char **ret)
{
	json_t *value;
	char *text;

	if (at.length < 2 || *at.at != '"')
		return parse_fail(ps, at, "%.*s: expected %s, in quotes",
				  (int)(at.length < 60 ? at.length : 60), at.at, what);
	value = json_parse(at, ps->err);
	if (!value)
		return parse_fail(ps, at, "invalid string");
	if (json_string_length(value) == 0) {
		json_decref(value);
		return parse_fail(ps, at, "\"\": expected %s", what);
	}
	text = strdup(json_string_value(value));
	json_decref(value);
	if (!text)
		return parse_no_memory(ps);
	*ret = text;
	return 0;
}

int parse_each(struct parse *ps, struct json_range array, const char *what,
	       int (*each)(struct parse *ps, struct json_range value, void *data), void *data)
{
	struct json_scan scan;
	struct json_range value;
	int r, worst = 0;

	if (json_range_is_null(array))
		return 0;
	if (json_scan_open(array, '[', &scan) < 0)
		return parse_fail(ps, array, "%s is a list: put it in [ ]", what);
	while ((r = json_scan_element(&scan, &value)) > 0) {
		worst = parse_both(worst, each(ps, value, data));
		if (!parse_goes_on(ps, worst))
			return worst;
	}
	return parse_both(worst, r);
}

int parse_members(struct parse *ps, struct json_range object, const char *what,
		  int (*each)(struct parse *ps, struct json_range key, struct json_range value,
			      void *data),
		  void *data)
{
	struct json_scan scan;
	struct json_range key, value;
	int r, worst = 0;

	if (json_range_is_null(object))
		return 0;
	if (json_scan_open(object, '{', &scan) < 0)
		return parse_fail(ps, object, "%s is an object: put it in { }", what);
	while ((r = json_scan_member(&scan, &key, &value)) > 0) {
		key.at--; /* with its quotes */
		key.length += 2;
		worst = parse_both(worst, each(ps, key, value, data));
		if (!parse_goes_on(ps, worst))
			return worst;
	}
	return parse_both(worst, r);
}

struct fields_walk {
	struct parse_field *fields;
	const char *what;
};

/* known_names() - The list of known names, for the error */
static void known_names(const struct parse_field *fields, char *out, size_t size)
{
	size_t used = 0;

	out[0] = 0;
	for (; fields->name && used < size; fields++)
		used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
					 fields->name);
}

/* is_key() - Compares without regard to case; @key includes its quotes */
static bool is_key(struct json_range key, const char *name)
{
	return strlen(name) == key.length - 2 && strncasecmp(name, key.at + 1, key.length - 2) == 0;
}

static int take_field(struct parse *ps, struct json_range key, struct json_range value, void *data)
{
	static const struct {
		const char *name;
		enum unsupported what;
	} unsupported[] = {
		{"ipsets", UNSUPPORTED_IPSETS},
		{"postures", UNSUPPORTED_POSTURES},
		{"srcPosture", UNSUPPORTED_POSTURES},
		{"defaultSrcPosture", UNSUPPORTED_POSTURES},
		{"via", UNSUPPORTED_VIA},
	};
	struct fields_walk *walk = data;
	char known[200];

	if (key.at[1] == '#' || key.at[1] == '$')
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(unsupported); i++)
		if (is_key(key, unsupported[i].name))
			return parse_unsupported(ps, unsupported[i].what, key);
	for (struct parse_field *f = walk->fields; f->name; f++) {
		if (!is_key(key, f->name))
			continue;
		if (f->key.at)
			return parse_fail(ps, key, "%.*s is given twice", (int)key.length, key.at);
		f->key = key;
		if (!json_range_is_null(value))
			f->value = value;
		return 0;
	}
	known_names(walk->fields, known, sizeof(known));
	return parse_fail(ps, key, "%.*s is unknown in %s; known: %s",
			  (int)(key.length < 60 ? key.length : 60), key.at, walk->what, known);
}

int parse_fields(struct parse *ps, struct json_range object, const char *what,
		 struct parse_field *fields)
{
	struct fields_walk walk = {.fields = fields, .what = what};

	if (json_range_is_null(object))
		return parse_fail(ps, object, "%s is an object: put it in { }", what);
	return parse_members(ps, object, what, take_field, &walk);
}

static int add_string(struct parse *ps, struct json_range value, void *data)
{
	_cleanup_free_ char *text = NULL;
	int r = parse_string(ps, value, "text", &text);

	if (r < 0)
		return r;
	return string_list_add(data, text) < 0 ? parse_no_memory(ps) : 0;
}

int parse_strings(struct parse *ps, struct json_range array, const char *what,
		  struct string_list *ret)
{
	return parse_each(ps, array, what, add_string, ret);
}

/* --- Words of a rule --- */

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
		return parse_fail(ps, at, "\"%s\" is valid only among the users of an ssh rule",
				  text);
	if (parse_is_role(text))
		return parse_fail(ps, at, "\"%s\": users have no roles here: name users or a group",
				  text);
	return parse_fail(ps, at,
			  "there is no \"%s\": known: autogroup:member, :tagged, :self and "
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
					    "with [] if only keys and the operator may assign it",
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
				? "\"%s\" is not a valid user, group, tag, address or prefix"
				: "there is no host \"%s\": declare it under \"hosts\"; a user "
				  "ends with an @",
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
		return error_set(ps->err, r, "the policy has more than %u different names",
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
		return parse_fail(ps, at,
				  "\"%s\": brackets enclose an IPv6 address, as in [fd7a::1]:80",
				  text);
	colon = strrchr(text, ':');
	if (!colon || colon == text || !colon[1])
		return parse_fail(ps, at, "\"%s\": the port is missing; add :* for all ports",
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
			  "\"%.*s\" is not a valid port: write a number up to 65535, a range like "
			  "8000-8100, several separated by commas, or *; a tag or group goes "
			  "before the port, as in tag:web:443",
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
				r = parse_fail(ps, at, "port 0 is not valid; * means all ports");
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
		"\"%s\" is not a valid protocol: write tcp, udp, icmp, ipv6-icmp, sctp, gre, esp … "
		"or a number from 1 to 255; without a protocol a rule covers TCP, UDP and ICMP",
		text);
}
