/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/parse.h - what the parts of the parser share */
#pragma once

#include "server/policy/policy_internal.h"

struct parse {
	struct policy *policy;
	struct error *err;
};

/** parse_fail() - Say what is wrong at @at; returns -EINVAL */
int parse_fail(const struct parse *ps, struct json_range at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** parse_no_memory() - Returns -ENOMEM */
int parse_no_memory(const struct parse *ps);

/**
 * parse_string() - The text that a value or a key is; no text is refused
 * @what: for the error, "a user or a group"
 */
int parse_string(const struct parse *ps, struct json_range at, const char *what, char **ret);

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

/** parse_strings() - A list of strings; absent is empty */
int parse_strings(struct parse *ps, struct json_range array, const char *what,
		  struct string_list *ret);

/* parse_selector.c */

/** parse_selector() - What @text (that stands at @at) means as part of a rule */
int parse_selector(struct parse *ps, enum policy_part part, const char *text, struct json_range at,
		   uint32_t *ret);

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

/* parse_names.c */
int parse_groups(struct parse *ps, struct json_range object);
int parse_tag_owners(struct parse *ps, struct json_range object);
int parse_hosts(struct parse *ps, struct json_range object);

/* parse_rules.c */
int parse_acls(struct parse *ps, struct json_range array);
int parse_grants(struct parse *ps, struct json_range array);
int parse_attributes(struct parse *ps, struct json_range array);
int parse_open(struct parse *ps);

/* parse_ssh.c, parse_tests.c */
int parse_ssh(struct parse *ps, struct json_range array);
int parse_tests(struct parse *ps, struct json_range array);
int parse_ssh_tests(struct parse *ps, struct json_range array);

static inline const struct selector *parse_selector_at(const struct parse *ps, uint32_t index)
{
	return ps->policy->selectors[index];
}
