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

bool parse_fail(struct parse *ps, struct json_range at, const char *format, ...)
{
	const char *text = ps->policy->text;
	struct hujson_position p = hujson_position(text, at.at ? (size_t)(at.at - text) : 0);
	char message[ERROR_TEXT_MAX];
	struct error error;
	va_list args;

	if (ps->ended)
		return false;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	error_set(&error, -EINVAL, "line %zu, column %zu: %s", p.line, p.column, message);
	if (!ps->error.code)
		ps->error = error;
	ps->ended = ++ps->problem_count == POLICY_PROBLEMS_MAX;
	/* Keys are read twice but reported once. */
	if (ps->problems && !string_list_contains(ps->problems, error.text) &&
	    string_list_add(ps->problems, error.text) < 0)
		return parse_no_memory(ps);
	return false;
}

bool parse_unsupported(struct parse *ps, enum unsupported what, struct json_range at)
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
		return false;
	ps->said[what] = true;
	return parse_fail(ps, at, "%s", texts[what]);
}

bool parse_no_memory(struct parse *ps)
{
	ps->ended = true;
	error_set_errno(&ps->error, -ENOMEM, "policy");
	return false;
}

char *parse_string(struct parse *ps, struct json_range at, const char *what)
{
	char *text = NULL;
	json_t *value;

	if (at.length < 2 || *at.at != '"') {
		parse_fail(ps, at, "%.*s: expected %s, in quotes",
			   (int)(at.length < 60 ? at.length : 60), at.at, what);
		return NULL;
	}
	value = json_parse(at, NULL);
	if (!value) {
		parse_fail(ps, at, "invalid string");
	} else if (json_string_length(value) == 0) {
		parse_fail(ps, at, "\"\": expected %s", what);
	} else {
		text = strdup(json_string_value(value));
		if (!text)
			parse_no_memory(ps);
	}
	json_decref(value);
	return text;
}

bool parse_each(struct parse *ps, struct json_range array, const char *what,
		bool (*each)(struct parse *ps, struct json_range value, void *data), void *data)
{
	struct json_scan scan;
	struct json_range value;
	bool good = true;
	int r = 0;

	if (json_range_is_null(array))
		return true;
	if (json_scan_open(array, '[', &scan) < 0)
		return parse_fail(ps, array, "%s is a list: put it in [ ]", what);
	while (!ps->ended && (r = json_scan_element(&scan, &value)) > 0)
		good &= each(ps, value, data);
	return r < 0 ? parse_no_memory(ps) : good;
}

struct strings_walk {
	const char *kind;
	bool (*each)(struct parse *ps, struct json_range at, char *text, void *data);
	void *data;
};

static bool take_string(struct parse *ps, struct json_range value, void *data)
{
	const struct strings_walk *walk = data;
	_cleanup_free_ char *text = parse_string(ps, value, walk->kind);

	return text && walk->each(ps, value, text, walk->data);
}

bool parse_each_string(struct parse *ps, struct json_range array, const char *what,
		       const char *kind,
		       bool (*each)(struct parse *ps, struct json_range at, char *text, void *data),
		       void *data)
{
	struct strings_walk walk = {kind, each, data};

	return parse_each(ps, array, what, take_string, &walk);
}

bool parse_members(struct parse *ps, struct json_range object, const char *what,
		   bool (*each)(struct parse *ps, struct json_range key, struct json_range value,
				void *data),
		   void *data)
{
	struct json_scan scan;
	struct json_range key, value;
	bool good = true;
	int r = 0;

	if (json_range_is_null(object))
		return true;
	if (json_scan_open(object, '{', &scan) < 0)
		return parse_fail(ps, object, "%s is an object: put it in { }", what);
	while (!ps->ended && (r = json_scan_member(&scan, &key, &value)) > 0) {
		key.at--; /* with its quotes */
		key.length += 2;
		good &= each(ps, key, value, data);
	}
	return r < 0 ? parse_no_memory(ps) : good;
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

static bool take_field(struct parse *ps, struct json_range key, struct json_range value, void *data)
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
		return true;
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
		return true;
	}
	known_names(walk->fields, known, sizeof(known));
	return parse_fail(ps, key, "%.*s is unknown in %s; known: %s",
			  (int)(key.length < 60 ? key.length : 60), key.at, walk->what, known);
}

bool parse_fields(struct parse *ps, struct json_range object, const char *what,
		  struct parse_field *fields)
{
	struct fields_walk walk = {.fields = fields, .what = what};

	if (json_range_is_null(object))
		return parse_fail(ps, object, "%s is an object: put it in { }", what);
	parse_members(ps, object, what, take_field, &walk);
	return *object.at == '{';
}

static bool add_string(struct parse *ps, struct json_range at, char *text, void *list)
{
	(void)at;
	return string_list_add(list, text) == 0 || parse_no_memory(ps);
}

bool parse_strings(struct parse *ps, struct json_range array, const char *what,
		   struct string_list *ret)
{
	return parse_each_string(ps, array, what, "text", add_string, ret);
}

struct policy_name *parse_name(struct parse *ps, enum name_kind kind, const char *text)
{
	size_t length = kind == NAME_LOGIN ? login_length(text) : strlen(text);
	struct policy_name *name = policy_name_add(ps->policy, kind, text, length);

	if (!name)
		parse_no_memory(ps);
	return name;
}

bool parse_add(struct parse *ps, struct indexes *list, uint32_t item)
{
	return indexes_add(list, item) == 0 || parse_no_memory(ps);
}

bool parse_add_uses(struct parse *ps, const struct indexes *selectors, uint32_t use)
{
	for (uint32_t i = 0; i < selectors->count; i++)
		if (!parse_add(ps, &ps->policy->selectors[selectors->items[i]]->uses, use))
			return false;
	return true;
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

static bool parse_autogroup(struct parse *ps, const char *text, struct json_range at,
			    struct selector_key *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(autogroups); i++) {
		if (strcmp(autogroups[i].name, text) != 0)
			continue;
		key->kind = (uint8_t)autogroups[i].kind;
		return true;
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

static bool parse_known(struct parse *ps, enum name_kind kind, const char *text,
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
	return true;
}

static bool parse_host(struct parse *ps, const char *text, struct json_range at,
		       struct selector_key *key)
{
	const struct policy_name *host =
		policy_name_find(ps->policy, NAME_HOST, text, strlen(text));

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
	return true;
}

/* find_selector() - As policy_selector(); NONE after an error */
static uint32_t find_selector(struct parse *ps, const struct selector_key *key)
{
	uint32_t selector = NONE;
	int r = policy_selector(ps->policy, key, &selector);

	if (r < 0)
		parse_no_memory(ps);
	if (r == -E2BIG)
		error_set(&ps->error, r, "the policy has more than %u different names",
			  LIMIT_POLICY_SELECTORS);
	return selector;
}

bool parse_add_selector(struct parse *ps, const struct selector_key *key, struct indexes *list)
{
	uint32_t selector = find_selector(ps, key);

	return selector != NONE && parse_add(ps, list, selector);
}

uint32_t parse_selector(struct parse *ps, enum policy_part part, const char *text,
			struct json_range at)
{
	struct selector_key key = {.part = (uint8_t)part};
	const struct policy_name *login;
	struct prefix prefix;
	bool good = true;

	if (prefix_parse(text, strlen(text), &prefix) == 0) {
		key.kind = SELECT_PREFIX;
		key.prefix = prefix_mask(&prefix);
	} else if (!strcmp(text, "*")) {
		key.kind = SELECT_ANY;
	} else if (!strncmp(text, "group:", 6)) {
		good = parse_known(ps, NAME_GROUP, text, at, &key);
	} else if (!strncmp(text, "tag:", 4)) {
		good = parse_known(ps, NAME_TAG, text, at, &key);
	} else if (!strncmp(text, "ipset:", 6)) {
		good = parse_unsupported(ps, UNSUPPORTED_IPSETS, at);
	} else if (!strncmp(text, "autogroup:", 10)) {
		good = parse_autogroup(ps, text, at, &key);
	} else if (strchr(text, '@')) {
		login = parse_name(ps, NAME_LOGIN, text);
		key.kind = SELECT_USER;
		key.name = login ? login->number : NONE;
		good = login;
	} else {
		good = parse_host(ps, text, at, &key);
	}
	if (good && !(parts[part].kinds & BIT(key.kind)))
		good = parse_fail(ps, at, "\"%s\" can't be %s", text, parts[part].what);
	return good ? find_selector(ps, &key) : NONE;
}

struct selectors_walk {
	enum policy_part part;
	struct indexes *list;
};

static bool add_selector(struct parse *ps, struct json_range at, char *text, void *data)
{
	const struct selectors_walk *walk = data;
	uint32_t selector = parse_selector(ps, walk->part, text, at);

	return selector != NONE && parse_add(ps, walk->list, selector);
}

bool parse_selectors(struct parse *ps, enum policy_part part, struct json_range array,
		     const char *what, struct indexes *ret)
{
	struct selectors_walk walk = {.part = part, .list = ret};

	return parse_each_string(ps, array, what, parts[part].what, add_selector, &walk);
}

/* strip_brackets() - "[fd7a::1]/128:80" is "fd7a::1/128:80"; false: anything else */
static bool strip_brackets(char *text)
{
	char *close = strchr(text, ']');
	struct address address;

	if (!close || address_parse(text + 1, (size_t)(close - text - 1), &address) < 0 ||
	    (close[1] != ':' && close[1] != '/'))
		return false;
	memmove(text, text + 1, (size_t)(close - text - 1));
	memmove(close - 1, close + 1, strlen(close + 1) + 1);
	return true;
}

char *parse_split(struct parse *ps, struct json_range at, char *text)
{
	char *colon;

	if (*text == '[' && !strip_brackets(text)) {
		parse_fail(ps, at, "\"%s\": brackets enclose an IPv6 address, as in [fd7a::1]:80",
			   text);
		return NULL;
	}
	colon = strrchr(text, ':');
	if (!colon || colon == text || !colon[1]) {
		parse_fail(ps, at, "\"%s\": the port is missing; add :* for all ports", text);
		return NULL;
	}
	*colon = 0;
	return colon + 1;
}

/* parse_number() - A decimal number up to @most without a sign */
static bool parse_number(const char *text, size_t length, unsigned int most, unsigned int *ret)
{
	unsigned int number = 0;

	for (size_t i = 0; i < length && number <= most; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		number = number * 10 + (unsigned int)(text[i] - '0');
	}
	*ret = number;
	return length > 0 && length <= 5 && number <= most;
}

static bool parse_port(struct parse *ps, struct json_range at, const char *text, size_t length,
		       uint16_t *ret)
{
	unsigned int port;

	if (!parse_number(text, length, UINT16_MAX, &port))
		return parse_fail(
			ps, at,
			"\"%.*s\" is not a valid port: write a number up to 65535, a range like "
			"8000-8100, several separated by commas, or *; a tag or group goes "
			"before the port, as in tag:web:443",
			(int)(length < 40 ? length : 40), text);
	*ret = (uint16_t)port;
	return true;
}

static bool add_ports(struct parse *ps, struct port_range range, struct port_list *list)
{
	struct port_range *grown = reallocarray(list->items, list->count + 1, sizeof(*grown));

	if (!grown)
		return parse_no_memory(ps);
	grown[list->count++] = range;
	list->items = grown;
	return true;
}

/* parse_range() - "22" or "1000-2000" */
static bool parse_range(struct parse *ps, struct json_range at, const char *text, size_t length,
			struct port_range *ret)
{
	const char *dash = memchr(text, '-', length);

	if (dash)
		return parse_port(ps, at, text, (size_t)(dash - text), &ret->first) &&
		       parse_port(ps, at, dash + 1, (size_t)(text + length - dash - 1), &ret->last);
	if (!parse_port(ps, at, text, length, &ret->first))
		return false;
	ret->last = ret->first;
	return ret->first || parse_fail(ps, at, "port 0 is not valid; * means all ports");
}

bool parse_ports(struct parse *ps, struct json_range at, const char *text, struct port_list *ret)
{
	if (!strcmp(text, "*"))
		return add_ports(ps, (struct port_range){0, UINT16_MAX}, ret);
	for (;;) {
		size_t length = strcspn(text, ",");
		struct port_range range = {0};

		if (!parse_range(ps, at, text, length, &range))
			return false;
		if (range.first > range.last)
			return parse_fail(ps, at, "%u-%u: the lower port comes first", range.first,
					  range.last);
		if (!add_ports(ps, range, ret))
			return false;
		if (!text[length])
			return true;
		text += length + 1;
	}
}

bool parse_protocol(struct parse *ps, struct json_range at, const char *text, uint8_t *ret)
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

	for (size_t i = 0; i < ARRAY_SIZE(known) && !number; i++)
		if (strcasecmp(known[i].name, text) == 0)
			number = known[i].number;
	if (!number && *text &&
	    (*text == '0' || !parse_number(text, strlen(text), UINT8_MAX, &number)))
		return parse_fail(ps, at,
				  "\"%s\" is not a valid protocol: write tcp, udp, icmp, "
				  "ipv6-icmp, sctp, gre, esp … "
				  "or a number from 1 to 255; without a protocol a rule covers "
				  "TCP, UDP and ICMP",
				  text);
	*ret = (uint8_t)number;
	return true;
}

bool parse_protocol_field(struct parse *ps, struct json_range at, uint8_t *ret)
{
	_cleanup_free_ char *text = NULL;

	if (!at.at || json_range_is(at, "\"\""))
		return true;
	text = parse_string(ps, at, "a protocol");
	return text && parse_protocol(ps, at, text, ret);
}
