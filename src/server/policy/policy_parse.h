/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse.h - shared among the parser's files */
#pragma once

#include "server/policy/policy_internal.h"

#include <errno.h>

/* Features of Tailscale that this server lacks. Each is reported once for a policy. */
enum unsupported {
	UNSUPPORTED_IPSETS,
	UNSUPPORTED_POSTURES,
	UNSUPPORTED_VIA,
	UNSUPPORTED_COUNT,
};

struct parse {
	struct policy *policy;
	struct error *err;            /* the latest */
	struct error first;           /* code 0: nothing is wrong so far */
	struct string_list *problems; /* all errors; may be NULL */
	uint32_t problem_count;
	bool said[UNSUPPORTED_COUNT];
};

/**
 * parse_fail() - Report an error at @at; returns -EINVAL
 *
 * -EINVAL doesn't end the parsing, so that a person sees all errors at once. Any other error ends
 * it.
 */
int parse_fail(struct parse *ps, struct json_range at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** parse_unsupported() - Report an unsupported feature; returns -EINVAL */
int parse_unsupported(struct parse *ps, enum unsupported what, struct json_range at);

/** parse_goes_on() - Whether parsing continues after the result @r */
static inline bool parse_goes_on(const struct parse *ps, int r)
{
	return r == 0 || (r == -EINVAL && ps->problem_count < POLICY_PROBLEMS_MAX);
}

/** parse_both() - Combine @r with a later result: the first error, but one that ends the parsing
 * goes first */
static inline int parse_both(int r, int next)
{
	return r == 0 || (next < 0 && next != -EINVAL) ? next : r;
}

/** parse_no_memory() - Returns -ENOMEM */
int parse_no_memory(struct parse *ps);

/**
 * parse_string() - The text of a value or a key; an empty text is an error
 * @what: for the error, "a user or a group"
 */
int parse_string(struct parse *ps, struct json_range at, const char *what, char **ret);

/** parse_each() - Call @each for every element of an array */
int parse_each(struct parse *ps, struct json_range array, const char *what,
	       int (*each)(struct parse *ps, struct json_range value, void *data), void *data);

/** parse_members() - Call @each for every member of an object; the key is in its quotes */
int parse_members(struct parse *ps, struct json_range object, const char *what,
		  int (*each)(struct parse *ps, struct json_range key, struct json_range value,
			      void *data),
		  void *data);

/* struct parse_field - A member that an object may have */
struct parse_field {
	const char *name;
	struct json_range value; /* filled: absent or null is {0} */
	struct json_range key;
};

/**
 * parse_fields() - Find the members of an object
 * @fields: ends with a NULL name. Names are compared without regard to case, as in Go.
 *          Names that begin with '#' or '$' are ignored; any other unknown name is an error
 */
int parse_fields(struct parse *ps, struct json_range object, const char *what,
		 struct parse_field *fields);

/** parse_is_object() - Whether the value has members, even if parse_fields() failed */
static inline bool parse_is_object(struct json_range value)
{
	return value.length && *value.at == '{';
}

/** parse_strings() - A list of strings; absent is empty */
int parse_strings(struct parse *ps, struct json_range array, const char *what,
		  struct string_list *ret);

/** parse_selector() - The selector for @text, at @at, as a part of a rule */
int parse_selector(struct parse *ps, enum policy_part part, const char *text, struct json_range at,
		   uint32_t *ret);

/** parse_is_role() - Whether @text is an autogroup of users with rights over the tailnet. Here
 * only the operator of the server has such rights */
bool parse_is_role(const char *text);

/** parse_selectors() - A list of them; none is an error */
int parse_selectors(struct parse *ps, enum policy_part part, struct json_range array,
		    const char *what, struct indexes *ret);

/** parse_split() - "host:ports" at its last colon; removes brackets around IPv6 */
int parse_split(struct parse *ps, struct json_range at, char *text, char **ret_host,
		char **ret_ports);

/** parse_ports() - "*", "22", "80,443", "1000-2000"; appended to a list of the caller */
int parse_ports(struct parse *ps, struct json_range at, const char *text, struct port_range **ret,
		uint32_t *ret_count);

/** parse_protocol() - Name or number; "" and NULL are 0 */
int parse_protocol(struct parse *ps, struct json_range at, const char *text, uint8_t *ret);

/* policy_parse_names.c */
int parse_groups(struct parse *ps, struct json_range object);
int parse_tag_owners(struct parse *ps, struct json_range object);
int parse_hosts(struct parse *ps, struct json_range object);
int parse_auto_approvers(struct parse *ps, struct json_range object);

/* policy_parse_rules.c */
int parse_acls(struct parse *ps, struct json_range array);
int parse_grants(struct parse *ps, struct json_range array);
int parse_attributes(struct parse *ps, struct json_range array);
int parse_open(struct parse *ps);
int parse_random_port(struct parse *ps, struct json_range value);

/* policy_parse_ssh.c */
int parse_ssh(struct parse *ps, struct json_range array);
int parse_tests(struct parse *ps, struct json_range array);
int parse_ssh_tests(struct parse *ps, struct json_range array);

static inline const struct selector *parse_selector_at(const struct parse *ps, uint32_t index)
{
	return ps->policy->selectors[index];
}
