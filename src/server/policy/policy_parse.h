/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/policy_parse.h - what the parts of the parser share */
#pragma once

#include "server/policy/policy_internal.h"

#include <errno.h>

/* What Tailscale has and this server has not. Each is said once a policy. */
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
	struct string_list *problems; /* all of them; NULL: nobody asks */
	uint32_t problem_count;
	bool said[UNSUPPORTED_COUNT];
};

/**
 * parse_fail() - Say what is wrong at @at; returns -EINVAL
 *
 * -EINVAL doesn't end the parsing: the rest is looked at, so that a person reads all that is wrong
 * at once. After any other error nothing more is to be done.
 */
int parse_fail(struct parse *ps, struct json_range at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** parse_unsupported() - Say that the policy uses what there is not; returns -EINVAL */
int parse_unsupported(struct parse *ps, enum unsupported what, struct json_range at);

/** parse_goes_on() - Whether what follows is still to be looked at */
static inline bool parse_goes_on(const struct parse *ps, int r)
{
	return r == 0 || (r == -EINVAL && ps->problem_count < POLICY_PROBLEMS_MAX);
}

/** parse_both() - @r with what came after it: the first error, but one that ends all before others
 */
static inline int parse_both(int r, int next)
{
	return r == 0 || (next < 0 && next != -EINVAL) ? next : r;
}

/** parse_no_memory() - Returns -ENOMEM */
int parse_no_memory(struct parse *ps);

/**
 * parse_string() - The text that a value or a key is; no text is refused
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
 * @fields: ends with a NULL name. Names are told apart without regard to case, as Go does it,
 *          and those that begin with '#' or '$' are passed over; any other is an error
 */
int parse_fields(struct parse *ps, struct json_range object, const char *what,
		 struct parse_field *fields);

/** parse_is_object() - Whether there are members to look at, though parse_fields() failed */
static inline bool parse_is_object(struct json_range value)
{
	return value.length && *value.at == '{';
}

/** parse_strings() - A list of strings; absent is empty */
int parse_strings(struct parse *ps, struct json_range array, const char *what,
		  struct string_list *ret);

/** parse_selector() - What @text (that stands at @at) means as part of a rule */
int parse_selector(struct parse *ps, enum policy_part part, const char *text, struct json_range at,
		   uint32_t *ret);

/** parse_is_role() - Whether @text is an autogroup of people with rights over the tailnet. Nobody
 * has such rights here but who operates the server */
bool parse_is_role(const char *text);

/** parse_selectors() - A list of them; none is an error */
int parse_selectors(struct parse *ps, enum policy_part part, struct json_range array,
		    const char *what, struct indexes *ret);

/** parse_split() - "host:ports" at its last colon; brackets around IPv6 are taken off */
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
