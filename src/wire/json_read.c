/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/json_read.c - read members of a jansson object, absent and null being zero */
#include "wire/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Nothing that we read nests so deep; tailcfg has some ten levels. */
#define DEPTH_KEPT 64u

/* A NUL inside of a string must not spoil the map: getters cut it off there. */
#define LOAD_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* prune() - Write @text to @out, of the same size, with 0 for what is nested too deep; length */
static size_t prune(struct json_range text, char *out)
{
	size_t depth = 0, length = 0;
	bool string = false, escaped = false;

	for (size_t i = 0; i < text.length; i++) {
		char c = text.at[i];
		bool opens = !string && (c == '{' || c == '[');
		bool closes = !string && (c == '}' || c == ']');

		if (opens && depth++ == DEPTH_KEPT) {
			out[length++] = '0';
		} else if (depth <= DEPTH_KEPT) {
			out[length++] = c;
		}
		if (closes && depth > 0)
			depth--;
		if (string && !escaped && c == '\\') {
			escaped = true;
			continue;
		}
		if (c == '"' && !escaped)
			string = !string;
		escaped = false;
	}
	return length;
}

json_t *json_parse(struct json_range text, struct error *err)
{
	json_error_t error;
	json_t *json = json_loadb(text.at, text.length, LOAD_FLAGS, &error);
	char *pruned;

	/* jansson's own depth is bounded; a member that we don't know may be nested deeper. */
	if (!json && json_error_code(&error) == json_error_stack_overflow &&
	    (pruned = malloc(text.length))) {
		json = json_loadb(pruned, prune(text, pruned), LOAD_FLAGS, &error);
		explicit_bzero(pruned, text.length);
		free(pruned);
	}
	if (!json)
		error_set(err, -EINVAL, "not JSON: %s", error.text);
	return json;
}

struct json_reader json_reader_of(const json_t *json)
{
	struct json_reader r = {.object = json};

	if (!json_is_object(json))
		json_reader_fail(&r, "object", -EINVAL);
	return r;
}

int json_reader_result(const struct json_reader *r, struct error *err, const char *what)
{
	if (r->error == -ENOMEM)
		return error_set(err, -ENOMEM, "%s: out of memory", what);
	if (r->error < 0)
		return error_set(err, r->error, "%s: unusable %s%s%s", what,
				 r->within ? r->within : "", r->within ? "." : "", r->bad);
	return 0;
}

void json_reader_fail(struct json_reader *r, const char *name, int error)
{
	if (r->error == 0) {
		r->bad = name;
		r->error = error;
	}
}

json_t *json_get(struct json_reader *r, const char *name)
{
	json_t *value = json_object_get(r->object, name);

	return json_is_null(value) ? NULL : value;
}

/* The member if it is of @type; another type marks the reader. */
static json_t *get_typed(struct json_reader *r, const char *name, json_type type)
{
	json_t *value = json_get(r, name);

	if (value && json_typeof(value) != type) {
		json_reader_fail(r, name, -EINVAL);
		return NULL;
	}
	return value;
}

json_t *json_get_object(struct json_reader *r, const char *name)
{
	return get_typed(r, name, JSON_OBJECT);
}

json_t *json_get_array(struct json_reader *r, const char *name)
{
	return get_typed(r, name, JSON_ARRAY);
}

size_t value_size(enum value_kind kind)
{
	static const uint8_t sizes[] = {
		[VALUE_BOOL] = sizeof(bool),
		[VALUE_OPTIONAL_BOOL] = sizeof(enum optional_bool),
		[VALUE_INT] = sizeof(int64_t),
		[VALUE_UINT16] = sizeof(uint16_t),
		[VALUE_NUMBER] = sizeof(double),
		[VALUE_RAW] = sizeof(char *),
		[VALUE_TEXT] = sizeof(char *),
		[VALUE_TIME] = sizeof(nanoseconds),
		[VALUE_ADDRESS] = sizeof(struct address),
		[VALUE_PREFIX] = sizeof(struct prefix),
		[VALUE_ENDPOINT] = sizeof(struct endpoint),
		[VALUE_KEY] = sizeof(struct public_key),
	};

	kind &= ~(unsigned int)VALUE_LIST;
	return sizes[kind < VALUE_KEY ? kind : VALUE_KEY];
}

static int read_text(enum value_kind kind, const char *text, void *ret)
{
	size_t length = strlen(text);
	int r;

	switch (kind) {
	case VALUE_TEXT:
		*(char **)ret = strdup(text);
		return *(char **)ret ? 0 : -ENOMEM;
	case VALUE_TIME:
		return json_time_parse(text, length, ret);
	case VALUE_ADDRESS:
		return address_parse(text, length, ret);
	case VALUE_PREFIX:
		r = prefix_parse(text, length, ret);
		*(struct prefix *)ret = prefix_mask(ret);
		return r;
	case VALUE_ENDPOINT:
		return endpoint_parse(text, length, ret);
	default:
		return public_key_parse(text, length, (enum key_kind)(kind - VALUE_KEY), ret);
	}
}

static int read_value(enum value_kind kind, const json_t *json, void *ret)
{
	bool is_bool = json_is_boolean(json), is_int = json_is_integer(json);
	json_int_t number = json_integer_value(json);

	switch (kind) {
	case VALUE_BOOL:
		*(bool *)ret = json_is_true(json);
		return is_bool ? 0 : -EINVAL;
	case VALUE_OPTIONAL_BOOL:
		*(enum optional_bool *)ret = json_is_true(json) ? OPTIONAL_TRUE
					     : is_bool          ? OPTIONAL_FALSE
								: OPTIONAL_UNSET;
		return is_bool ? 0 : -EINVAL;
	case VALUE_INT:
		*(int64_t *)ret = number;
		return is_int ? 0 : -EINVAL;
	case VALUE_UINT16:
		*(uint16_t *)ret = number < 0 || number > UINT16_MAX ? 0 : (uint16_t)number;
		return is_int ? 0 : -EINVAL;
	case VALUE_NUMBER:
		*(double *)ret = json_number_value(json);
		return json_is_number(json) ? 0 : -EINVAL;
	case VALUE_RAW:
		*(char **)ret = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
		return *(char **)ret ? 0 : -ENOMEM;
	default:
		return json_is_string(json) ? read_text(kind, json_string_value(json), ret)
					    : -EINVAL;
	}
}

static void get_list(struct json_reader *r, const char *name, enum value_kind kind, void *ret)
{
	json_t *array = json_get_array(r, name), *value;
	struct int_list *list = ret; /* they are all alike */
	size_t i;

	if (!json_array_size(array))
		return;
	list->items = json_items(r, name, json_array_size(array), value_size(kind));
	if (!list->items)
		return;
	json_array_foreach(array, i, value) {
		int result = read_value(kind, value,
					(char *)list->items + list->count * value_size(kind));

		if (result == 0)
			list->count++;
		else if (kind != VALUE_ENDPOINT)
			json_reader_fail(r, name, result);
	}
	if (list->count)
		return;
	free(list->items);
	list->items = NULL;
}

void json_get_value(struct json_reader *r, const char *name, enum value_kind kind, void *ret)
{
	json_t *value = json_get(r, name);
	int result;

	if (kind & VALUE_LIST) {
		get_list(r, name, kind & ~(unsigned int)VALUE_LIST, ret);
		return;
	}
	if (!value || (kind >= VALUE_TEXT && json_is_string(value) && !*json_string_value(value)))
		return;
	result = read_value(kind, value, ret);
	if (result < 0)
		json_reader_fail(r, name, result);
}

bool json_get_bool(struct json_reader *r, const char *name)
{
	bool value = false;

	json_get_value(r, name, VALUE_BOOL, &value);
	return value;
}

int64_t json_get_int(struct json_reader *r, const char *name)
{
	int64_t value = 0;

	json_get_value(r, name, VALUE_INT, &value);
	return value;
}

const char *json_get_text(struct json_reader *r, const char *name)
{
	json_t *value = get_typed(r, name, JSON_STRING);

	return value ? json_string_value(value) : "";
}

char *json_get_string(struct json_reader *r, const char *name)
{
	char *text = NULL;

	json_get_value(r, name, VALUE_TEXT, &text);
	return text;
}

nanoseconds json_get_time(struct json_reader *r, const char *name)
{
	nanoseconds time = JSON_TIME_NONE;

	json_get_value(r, name, VALUE_TIME, &time);
	return time;
}

struct public_key json_get_key(struct json_reader *r, const char *name, enum key_kind kind)
{
	struct public_key key = {0};

	json_get_value(r, name, VALUE_KEY + kind, &key);
	return key;
}

void *json_items(struct json_reader *r, const char *name, size_t count, size_t size)
{
	void *items = calloc(count ? count : 1, size);

	if (!items)
		json_reader_fail(r, name, -ENOMEM);
	return items;
}

void json_get_strings(struct json_reader *r, const char *name, struct string_list *ret)
{
	*ret = (struct string_list){0};
	json_get_value(r, name, VALUE_STRINGS, ret);
}

void json_get_prefixes(struct json_reader *r, const char *name, struct prefix_list *ret)
{
	*ret = (struct prefix_list){0};
	json_get_value(r, name, VALUE_PREFIXES, ret);
}

void json_get_endpoints(struct json_reader *r, const char *name, struct endpoint_list *ret)
{
	*ret = (struct endpoint_list){0};
	json_get_value(r, name, VALUE_ENDPOINTS, ret);
}
