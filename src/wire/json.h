/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/json.h - read members of a jansson object, and write JSON into a buffer
 *
 * Reading: Go writes an empty list as `null` where we would write `[]`, and leaves
 * out what is zero. So every getter takes absent and null for "the zero value". A
 * member of the wrong type marks the reader, which is asked once at the end:
 *
 *	struct json_reader r = json_reader_of(json);
 *	region->id = json_get_int(&r, "RegionID");
 *	region->code = json_get_string(&r, "RegionCode");
 *	return json_reader_result(&r, err, "DERP region");
 *
 * Writing: a writer appends to a buffer and remembers the first failure.
 *
 *	struct json_writer w = json_writer_to(&buffer);
 *	json_begin_object(&w, NULL);
 *	json_put_string(&w, "Proto", "tcp");
 *	json_end_object(&w);
 *	return json_writer_result(&w);
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "wire/json_scan.h"
#include "wire/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* true, false, or not said */
enum optional_bool {
	OPTIONAL_UNSET = 0,
	OPTIONAL_FALSE,
	OPTIONAL_TRUE,
};

/* How a value is kept in a struct. */
enum value_kind {
	VALUE_BOOL,          /* bool */
	VALUE_OPTIONAL_BOOL, /* enum optional_bool */
	VALUE_INT,           /* int64_t */
	VALUE_UINT16,        /* uint16_t; 0 where it doesn't fit */
	VALUE_NUMBER,        /* double */
	VALUE_RAW,           /* char *: JSON, of any type; NULL for null */
	/* From here on strings in JSON, of which "" is the zero value. */
	VALUE_TEXT,     /* char *; NULL when empty */
	VALUE_TIME,     /* nanoseconds */
	VALUE_ADDRESS,  /* struct address */
	VALUE_PREFIX,   /* struct prefix, without host bits */
	VALUE_ENDPOINT, /* struct endpoint */
	VALUE_KEY,      /* struct public_key; to this its enum key_kind is added */
	VALUE_NODE_KEY = VALUE_KEY + KEY_NODE,
	VALUE_MACHINE_KEY = VALUE_KEY + KEY_MACHINE,
	VALUE_DISCO_KEY = VALUE_KEY + KEY_DISCO,
	/* A list of them: a pointer to items, followed by their uint32_t count. */
	VALUE_LIST = 32,
	VALUE_INTS = VALUE_LIST | VALUE_INT,
	VALUE_STRINGS = VALUE_LIST | VALUE_TEXT,
	VALUE_PREFIXES = VALUE_LIST | VALUE_PREFIX,
	VALUE_ENDPOINTS = VALUE_LIST | VALUE_ENDPOINT,
};

/** value_size() - Of a value, or of an item of a list */
size_t value_size(enum value_kind kind);

/* Owned lists. All zero is empty. */
struct int_list {
	int64_t *items;
	uint32_t count;
};

struct string_list {
	char **items;
	uint32_t count;
};

struct prefix_list {
	struct prefix *items;
	uint32_t count;
};

struct endpoint_list {
	struct endpoint *items;
	uint32_t count;
};

/** string_list_clear(), … - Free what a list holds; it is empty afterwards */
void string_list_clear(struct string_list *list);
void prefix_list_clear(struct prefix_list *list);
void endpoint_list_clear(struct endpoint_list *list);

/** string_list_add() - Append a copy of @text; 0 or -ENOMEM */
int string_list_add(struct string_list *list, const char *text);

/** string_list_contains() - Whether one item equals @text */
bool string_list_contains(const struct string_list *list, const char *text);

/** string_list_equal(), … - Whether the same items stand in the same order */
bool string_list_equal(const struct string_list *a, const struct string_list *b);
bool prefix_list_equal(const struct prefix_list *a, const struct prefix_list *b);

/** prefix_list_copy() - 0 or -ENOMEM */
int prefix_list_copy(const struct prefix_list *from, struct prefix_list *ret);

/** prefix_list_contains() - Whether one item equals @p */
bool prefix_list_contains(const struct prefix_list *list, const struct prefix *p);
bool endpoint_list_equal(const struct endpoint_list *a, const struct endpoint_list *b);

/**
 * Wall-clock times: nanoseconds since 1970, where 0 is Go's zero time ("not set").
 * What lies outside of the years 1677-2262 is clamped; 1970-01-01T00:00:00Z itself
 * reads as 1 ns later, so that an ancient expiry is never mistaken for none.
 */
#define JSON_TIME_NONE     INT64_C(0)
#define JSON_TIME_TEXT_MAX 40

/** json_time_parse() - RFC 3339, as Go writes it; 0 or -EINVAL */
int json_time_parse(const char *text, size_t length, nanoseconds *ret);

/** json_time_format() - In UTC, "2024-05-01T12:34:56.5Z"; JSON_TIME_NONE is year 1 */
const char *json_time_format(nanoseconds time, char out[static JSON_TIME_TEXT_MAX]);

/* --- Reading --- */

struct json_reader {
	const json_t *object;
	const char *within; /* the member in which @bad stands, or NULL */
	const char *bad;    /* first member of the wrong type, or NULL */
	int error;          /* 0, -EINVAL or -ENOMEM */
};

/** json_parse() - One value with all its blanks; NULL with @err set. Release with json_decref() */
json_t *json_parse(struct json_range text, struct error *err);

/** json_reader_of() - Read the members of @json; not an object marks the reader at once */
struct json_reader json_reader_of(const json_t *json);

/** json_reader_result() - 0, or the first failure, said in @err as "@what: member: …" */
int json_reader_result(const struct json_reader *r, struct error *err, const char *what);

/** json_reader_fail() - Mark the reader: @name holds what can't be used */
void json_reader_fail(struct json_reader *r, const char *name, int error);

/** json_get() - The member, or NULL when absent or null. Borrowed */
json_t *json_get(struct json_reader *r, const char *name);

/** json_get_object(), json_get_array() - As json_get(), and of that type */
json_t *json_get_object(struct json_reader *r, const char *name);
json_t *json_get_array(struct json_reader *r, const char *name);

/**
 * json_get_value() - Read the member into @ret, which is all zero
 *
 * One bad item of a list marks the reader, but endpoints that are no "ip:port" (one with a zone,
 * for example) are ignored.
 */
void json_get_value(struct json_reader *r, const char *name, enum value_kind kind, void *ret);

bool json_get_bool(struct json_reader *r, const char *name);
int64_t json_get_int(struct json_reader *r, const char *name);
nanoseconds json_get_time(struct json_reader *r, const char *name);

/** json_get_text() - The string, or "". Borrowed; never NULL */
const char *json_get_text(struct json_reader *r, const char *name);

/** json_get_string() - A copy of the string, or NULL when absent or empty */
char *json_get_string(struct json_reader *r, const char *name);

/** json_get_key() - Zero when absent, null or "" */
struct public_key json_get_key(struct json_reader *r, const char *name, enum key_kind kind);

/** json_items() - @count zeroed items, one at least; NULL without memory, with the reader marked */
void *json_items(struct json_reader *r, const char *name, size_t count, size_t size);

/** json_get_strings(), … - As json_get_value(); @ret is written in any case */
void json_get_strings(struct json_reader *r, const char *name, struct string_list *ret);
void json_get_prefixes(struct json_reader *r, const char *name, struct prefix_list *ret);
void json_get_endpoints(struct json_reader *r, const char *name, struct endpoint_list *ret);

/* --- Writing --- */

struct json_writer {
	struct buffer *out;
	int error;   /* first failure of the buffer */
	bool comma;  /* a value stands before */
	bool pretty; /* set by the caller: each member on a line of its own, indented */
	unsigned int depth;
};

/** json_writer_to() - Append to @out, whose limit holds */
struct json_writer json_writer_to(struct buffer *out);

/** json_writer_result() - 0, or the first failure: -EMSGSIZE, -ENOMEM, -EINVAL */
int json_writer_result(const struct json_writer *w);

/* @name is NULL at the top and inside of arrays. */
void json_begin_object(struct json_writer *w, const char *name);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w, const char *name);
void json_end_array(struct json_writer *w);

/** json_put_string() - NULL is written as "". Bytes that are no UTF-8 become U+FFFD */
void json_put_string(struct json_writer *w, const char *name, const char *text);
void json_put_bool(struct json_writer *w, const char *name, bool value);
void json_put_int(struct json_writer *w, const char *name, int64_t value);
void json_put_number(struct json_writer *w, const char *name, double value);
void json_put_null(struct json_writer *w, const char *name);
void json_put_time(struct json_writer *w, const char *name, nanoseconds time);
void json_put_key(struct json_writer *w, const char *name, const struct public_key *key,
		  enum key_kind kind);
void json_put_prefixes(struct json_writer *w, const char *name, const struct prefix_list *list);
void json_put_endpoints(struct json_writer *w, const char *name, const struct endpoint_list *list);
void json_put_strings(struct json_writer *w, const char *name, const struct string_list *list);

/** json_put_value() - As json_get_value() reads it */
void json_put_value(struct json_writer *w, const char *name, enum value_kind kind, const void *at);

/** json_put_raw() - @text is JSON already */
void json_put_raw(struct json_writer *w, const char *name, const char *text);

/* The same, but nothing at all when the value is zero, empty or not said: Go's omitempty. */
void json_put_string_if(struct json_writer *w, const char *name, const char *text);
void json_put_bool_if(struct json_writer *w, const char *name, bool value);
void json_put_int_if(struct json_writer *w, const char *name, int64_t value);
void json_put_time_if(struct json_writer *w, const char *name, nanoseconds time);
void json_put_optional_bool(struct json_writer *w, const char *name, enum optional_bool value);
