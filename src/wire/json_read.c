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
		error_set(err, -EINVAL, "JSON: %s", error.text);
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
		return error_set(err, r->error, "%s: unusable %s", what, r->bad);
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

enum optional_bool json_get_optional_bool(struct json_reader *r, const char *name)
{
	json_t *value = json_get(r, name);

	if (!value)
		return OPTIONAL_UNSET;
	if (!json_is_boolean(value)) {
		json_reader_fail(r, name, -EINVAL);
		return OPTIONAL_UNSET;
	}
	return json_is_true(value) ? OPTIONAL_TRUE : OPTIONAL_FALSE;
}

bool json_get_bool(struct json_reader *r, const char *name)
{
	return json_get_optional_bool(r, name) == OPTIONAL_TRUE;
}

int64_t json_get_int(struct json_reader *r, const char *name)
{
	return json_integer_value(get_typed(r, name, JSON_INTEGER));
}

double json_get_number(struct json_reader *r, const char *name)
{
	json_t *value = json_get(r, name);

	if (value && !json_is_number(value))
		json_reader_fail(r, name, -EINVAL);
	return json_number_value(value);
}

const char *json_get_text(struct json_reader *r, const char *name)
{
	json_t *value = get_typed(r, name, JSON_STRING);

	return value ? json_string_value(value) : "";
}

char *json_get_string(struct json_reader *r, const char *name)
{
	const char *text = json_get_text(r, name);
	char *copy;

	if (!*text)
		return NULL;
	copy = strdup(text);
	if (!copy)
		json_reader_fail(r, name, -ENOMEM);
	return copy;
}

nanoseconds json_get_time(struct json_reader *r, const char *name)
{
	const char *text = json_get_text(r, name);
	nanoseconds time = JSON_TIME_NONE;

	if (*text && json_time_parse(text, strlen(text), &time) < 0)
		json_reader_fail(r, name, -EINVAL);
	return time;
}

struct public_key json_get_key(struct json_reader *r, const char *name, enum key_kind kind)
{
	const char *text = json_get_text(r, name);
	struct public_key key = {0};

	if (*text && public_key_parse(text, strlen(text), kind, &key) < 0)
		json_reader_fail(r, name, -EINVAL);
	return key;
}

struct address json_get_address(struct json_reader *r, const char *name)
{
	const char *text = json_get_text(r, name);
	struct address address = {0};

	if (*text && address_parse(text, strlen(text), &address) < 0)
		json_reader_fail(r, name, -EINVAL);
	return address;
}

void *json_items(struct json_reader *r, const char *name, size_t count, size_t size)
{
	void *items = calloc(count ? count : 1, size);

	if (!items)
		json_reader_fail(r, name, -ENOMEM);
	return items;
}

/* items_for() - Room for as many items as the array has; NULL for none */
static void *items_for(struct json_reader *r, const char *name, const json_t *array, size_t size)
{
	return json_array_size(array) ? json_items(r, name, json_array_size(array), size) : NULL;
}

void json_get_prefixes(struct json_reader *r, const char *name, struct prefix_list *ret)
{
	json_t *array = json_get_array(r, name), *item;
	size_t i;

	*ret = (struct prefix_list){.items = items_for(r, name, array, sizeof(*ret->items))};
	if (!ret->items)
		return;
	json_array_foreach(array, i, item) {
		struct prefix p;

		if (!json_is_string(item) ||
		    prefix_parse(json_string_value(item), json_string_length(item), &p) < 0)
			json_reader_fail(r, name, -EINVAL);
		else
			ret->items[ret->count++] = prefix_mask(&p);
	}
}

void json_get_endpoints(struct json_reader *r, const char *name, struct endpoint_list *ret)
{
	json_t *array = json_get_array(r, name), *item;
	size_t i;

	*ret = (struct endpoint_list){.items = items_for(r, name, array, sizeof(*ret->items))};
	if (!ret->items)
		return;
	json_array_foreach(array, i, item) {
		if (json_is_string(item) &&
		    endpoint_parse(json_string_value(item), json_string_length(item),
				   &ret->items[ret->count]) == 0)
			ret->count++;
	}
	if (!ret->count)
		endpoint_list_clear(ret);
}

void json_get_strings(struct json_reader *r, const char *name, struct string_list *ret)
{
	json_t *array = json_get_array(r, name), *item;
	size_t i;

	*ret = (struct string_list){.items = items_for(r, name, array, sizeof(*ret->items))};
	if (!ret->items)
		return;
	json_array_foreach(array, i, item) {
		char *copy;

		if (!json_is_string(item)) {
			json_reader_fail(r, name, -EINVAL);
			continue;
		}
		copy = strdup(json_string_value(item));
		if (copy)
			ret->items[ret->count++] = copy;
		else
			json_reader_fail(r, name, -ENOMEM);
	}
}
