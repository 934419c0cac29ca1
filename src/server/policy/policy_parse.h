/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/policy/policy_parse.h - shared among the parser's files
 *
 * A function of the parser reports its errors itself, and then returns false or NULL. Its caller
 * goes on with the next part, so that a person sees all errors at once, until parse.ended.
 */
#pragma once

#include "server/policy/policy_internal.h"

/* Features of Tailscale that this server lacks. Each is reported once for a policy. */
enum unsupported {
	UNSUPPORTED_IPSETS,
	UNSUPPORTED_POSTURES,
	UNSUPPORTED_VIA,
	UNSUPPORTED_COUNT,
};

struct parse {
	struct policy *policy;
	struct error error;           /* the first, or the one that ended the parsing */
	struct string_list *problems; /* all errors; may be NULL */
	uint32_t problem_count;
	bool ended; /* by POLICY_PROBLEMS_MAX errors, or one that isn't -EINVAL */
	bool said[UNSUPPORTED_COUNT];
};

/** parse_fail() - Report an error at @at; returns false */
bool parse_fail(struct parse *ps, struct json_range at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** parse_unsupported() - Report an unsupported feature; returns false */
bool parse_unsupported(struct parse *ps, enum unsupported what, struct json_range at);

/** parse_no_memory() - End the parsing; returns false */
bool parse_no_memory(struct parse *ps);

/**
 * parse_string() - The text of a value or a key, for the caller to free; an empty text is an error
 * @what: for the error, "a user or a group"
 */
char *parse_string(struct parse *ps, struct json_range at, const char *what);

/** parse_each() - Call @each for every element of an array; an absent one is empty */
bool parse_each(struct parse *ps, struct json_range array, const char *what,
		bool (*each)(struct parse *ps, struct json_range value, void *data), void *data);

/** parse_each_string() - Call @each for every element of an array of strings; @kind as in
 * parse_string() */
bool parse_each_string(struct parse *ps, struct json_range array, const char *what,
		       const char *kind,
		       bool (*each)(struct parse *ps, struct json_range at, char *text, void *data),
		       void *data);

/** parse_members() - Call @each for every member of an object; the key is in its quotes */
bool parse_members(struct parse *ps, struct json_range object, const char *what,
		   bool (*each)(struct parse *ps, struct json_range key, struct json_range value,
				void *data),
		   void *data);

/* struct parse_field - A member that an object may have */
struct parse_field {
	const char *name;
	struct json_range value; /* filled: absent or null is {0} */
	struct json_range key;
};

/**
 * parse_fields() - Find the members of an object; false only if it is none
 * @fields: ends with a NULL name. Names are compared without regard to case, as in Go.
 *          Names that begin with '#' or '$' are ignored; any other unknown name is an error
 */
bool parse_fields(struct parse *ps, struct json_range object, const char *what,
		  struct parse_field *fields);

/** parse_strings() - A list of strings; absent is empty */
bool parse_strings(struct parse *ps, struct json_range array, const char *what,
		   struct string_list *ret);

/** parse_name() - A login, a group or a tag, made if need be; NULL without memory */
struct policy_name *parse_name(struct parse *ps, enum name_kind kind, const char *text);

/** parse_add() - Add @item to @list; false without memory */
bool parse_add(struct parse *ps, struct indexes *list, uint32_t item);

/** parse_add_uses() - Add @use to the uses of all @selectors */
bool parse_add_uses(struct parse *ps, const struct indexes *selectors, uint32_t use);

/** parse_selector() - The selector for @text, at @at, as a part of a rule; NONE after an error */
uint32_t parse_selector(struct parse *ps, enum policy_part part, const char *text,
			struct json_range at);

/** parse_add_selector() - As policy_selector(), and add it to @list */
bool parse_add_selector(struct parse *ps, const struct selector_key *key, struct indexes *list);

/** parse_is_role() - Whether @text is an autogroup of users with rights over the tailnet. Here
 * only the operator of the server has such rights */
bool parse_is_role(const char *text);

/** parse_selectors() - A list of them */
bool parse_selectors(struct parse *ps, enum policy_part part, struct json_range array,
		     const char *what, struct indexes *ret);

/** parse_split() - "host:ports" at its last colon; removes brackets around IPv6. Returns the ports,
 * @text is the host then; NULL after an error */
char *parse_split(struct parse *ps, struct json_range at, char *text);

/** parse_ports() - "*", "22", "80,443", "1000-2000"; appended to @ret */
bool parse_ports(struct parse *ps, struct json_range at, const char *text, struct port_list *ret);

/** parse_protocol() - A name or a number; absent and "" are 0 */
bool parse_protocol(struct parse *ps, struct json_range at, const char *text, uint8_t *ret);

/** parse_protocol_field() - A protocol that may be absent or "" */
bool parse_protocol_field(struct parse *ps, struct json_range at, uint8_t *ret);

/* The sections of a file that are objects, and elements of those that are arrays */
void parse_groups(struct parse *ps, struct json_range object);
void parse_tag_owners(struct parse *ps, struct json_range object);
void parse_hosts(struct parse *ps, struct json_range object);
void parse_auto_approvers(struct parse *ps, struct json_range object);
void parse_random_port(struct parse *ps, struct json_range value);
bool parse_acl(struct parse *ps, struct json_range value, void *unused);
bool parse_grant(struct parse *ps, struct json_range value, void *unused);
bool parse_attribute(struct parse *ps, struct json_range value, void *unused);
bool parse_ssh_rule(struct parse *ps, struct json_range value, void *unused);
bool parse_test(struct parse *ps, struct json_range value, void *unused);
bool parse_ssh_test(struct parse *ps, struct json_range value, void *unused);

/** parse_open() - The rule of a file without rules: everybody may reach everybody */
void parse_open(struct parse *ps);

static inline const struct selector *parse_selector_at(const struct parse *ps, uint32_t index)
{
	return ps->policy->selectors[index];
}
