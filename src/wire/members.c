/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/members.c - structs of the protocol, described by tables of their members */
#include "wire/members.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How each list of ours begins: those of VALUE_LIST, MEMBER_ITEMS and MEMBER_MAP. */
struct items {
	void *items;
	uint32_t count;
};

#define FOREACH_MEMBER(m, all) \
	for (const struct json_member *m = (all)->list; m < (all)->list + (all)->count; m++)

static void *place(const struct json_member *m, const void *object)
{
	return (char *)object + m->offset;
}

static bool is_list(const struct json_member *m)
{
	return m->kind == MEMBER_ITEMS || m->kind == MEMBER_MAP ||
	       (m->kind < MEMBER_POINTER && m->kind & VALUE_LIST);
}

/* is_text() - Whether the values, of a list its items, are pointers to text */
static bool is_text(const struct json_member *m)
{
	unsigned int kind = m->kind & ~(unsigned int)VALUE_LIST;

	return kind == VALUE_TEXT || kind == VALUE_RAW;
}

static size_t item_size(const struct json_member *m)
{
	return m->of ? m->of->size : value_size(m->kind);
}

static void *item(const struct json_member *m, const struct items *list, uint32_t i)
{
	return (char *)list->items + i * item_size(m);
}

static bool has_text_name(const struct json_member *m)
{
	return m->kind == MEMBER_MAP && !m->by_id;
}

/* --- Clear --- */

static void clear_member(const struct json_member *m, void *object)
{
	void *at = place(m, object);
	struct items *list = at;

	if (is_list(m)) {
		for (uint32_t i = 0; i < list->count; i++) {
			if (has_text_name(m) || is_text(m))
				free(*(char **)item(m, list, i));
			if (m->of)
				members_clear(m->of, item(m, list, i));
		}
		free(list->items);
	} else if (m->kind == MEMBER_POINTER) {
		if (*(void **)at)
			members_clear(m->of, *(void **)at);
		free(*(void **)at);
	} else if (m->kind == MEMBER_NESTED) {
		FOREACH_MEMBER(inner, m->of)
			clear_member(inner, object);
	} else if (m->kind == MEMBER_OTHER) {
		if (m->by->clear)
			m->by->clear(at);
	} else if (is_text(m)) {
		free(*(char **)at);
	}
}

void members_clear(const struct json_members *all, void *object)
{
	FOREACH_MEMBER(m, all)
		clear_member(m, object);
	memset(object, 0, all->size);
}

/* --- Decode --- */

static void read_members(const struct json_members *all, struct json_reader *r, void *object);

void members_read(const struct json_members *all, struct json_reader *outer, const char *name,
		  const json_t *json, void *object)
{
	struct json_reader r = json_reader_of(json);

	read_members(all, &r, object);
	if (outer->error == 0 && (r.error == -ENOMEM || (r.error < 0 && !all->lenient))) {
		json_reader_fail(outer, r.bad, r.error);
		outer->within = r.within ?: name;
	}
}

static void decode_items(const struct json_member *m, struct json_reader *r, struct items *list)
{
	json_t *array = json_get_array(r, m->name), *value;
	size_t i;

	if (!json_array_size(array))
		return;
	list->items = json_items(r, m->name, json_array_size(array), m->of->size);
	if (!list->items)
		return;
	json_array_foreach(array, i, value)
		if (!json_is_null(value))
			members_read(m->of, r, m->name, value, item(m, list, list->count++));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_number(const void *a, const void *b)
{
	const int64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* read_name() - Of an item of a MAP, which begins with it; 0, -EINVAL, -ENOMEM */
static int read_name(const struct json_member *m, const char *name, void *ret)
{
	char *end;

	if (!m->by_id) {
		*(char **)ret = strdup(name);
		return *(char **)ret ? 0 : -ENOMEM;
	}
	errno = 0;
	*(int64_t *)ret = strtoll(name, &end, 10);
	return errno || end == name || *end || *(int64_t *)ret <= 0 ? -EINVAL : 0;
}

static void decode_map(const struct json_member *m, struct json_reader *r, struct items *list)
{
	struct json_reader inner = {.object = json_get_object(r, m->name)};
	const size_t count = json_object_size(inner.object);
	const char *name;
	json_t *value;

	if (!count)
		return;
	list->items = json_items(r, m->name, count, m->of->size);
	if (!list->items)
		return;
	json_object_foreach((json_t *)inner.object, name, value) {
		struct json_member of_value = *m->of->list;
		const struct json_members one = {.list = &of_value, .count = 1};
		void *at = item(m, list, list->count);
		int result = read_name(m, name, at);

		(void)value;
		of_value.name = name;
		if (result < 0) {
			json_reader_fail(r, m->name, result);
			continue;
		}
		list->count++;
		read_members(&one, &inner, at);
	}
	if (inner.error < 0)
		json_reader_fail(r, m->name, inner.error);
	qsort(list->items, list->count, m->of->size, m->by_id ? by_number : by_text);
}

static void decode_member(const struct json_member *m, struct json_reader *r, void *object)
{
	void *at = place(m, object);
	json_t *json = json_get(r, m->name);

	switch (m->kind) {
	case MEMBER_POINTER:
	case MEMBER_NESTED:
		if (!json || (m->of->lenient && !json_is_object(json)))
			return;
		if (m->kind == MEMBER_POINTER)
			object = *(void **)at = json_items(r, m->name, 1, m->of->size);
		if (object)
			members_read(m->of, r, m->name, json, object);
		return;
	case MEMBER_ITEMS:
		decode_items(m, r, at);
		return;
	case MEMBER_MAP:
		decode_map(m, r, at);
		return;
	case MEMBER_OTHER:
		m->by->decode(r, m->name, at);
		return;
	default:
		json_get_value(r, m->name, m->kind, at);
	}
}

static void read_members(const struct json_members *all, struct json_reader *r, void *object)
{
	FOREACH_MEMBER(m, all) {
		if (m->own && all->skip_own)
			continue;
		decode_member(m, r, object);
		if (m->present)
			*((bool *)object + m->present) = json_get(r, m->name) != NULL;
	}
	if (all->finish)
		all->finish(r, object);
}

int members_decode(const struct json_members *all, const json_t *json, void *ret, struct error *err)
{
	struct json_reader r = json_reader_of(json);

	memset(ret, 0, all->size);
	read_members(all, &r, ret);
	if (r.error == 0 || (all->lenient && r.error != -ENOMEM))
		return 0;
	members_clear(all, ret);
	return json_reader_result(&r, err, all->what);
}

int members_parse(const struct json_members *all, struct json_range text, void *ret,
		  struct error *err)
{
	json_t *json = json_parse(text, err);
	int r = json ? members_decode(all, json, ret, err) : -EINVAL;

	if (!json)
		error_wrap(err, "%s", all->what);
	json_decref(json);
	return r;
}

/* --- Encode --- */

static bool is_empty(const struct json_member *m, const void *object)
{
	static const struct public_key zeros;
	const void *at = place(m, object);

	if (is_list(m))
		return ((const struct items *)at)->count == 0;
	switch (m->kind) {
	case VALUE_TEXT:
		return !*(const char *const *)at || !**(const char *const *)at;
	case MEMBER_POINTER:
		return *(const void *const *)at == NULL;
	case MEMBER_NESTED:
		FOREACH_MEMBER(inner, m->of)
			if (!is_empty(inner, object))
				return false;
		return true;
	case MEMBER_OTHER:
		return false;
	default:
		return memcmp(at, &zeros, value_size(m->kind)) == 0;
	}
}

static void put_members(const struct json_members *all, struct json_writer *w, const void *object);

static void encode_map(const struct json_member *m, struct json_writer *w, const struct items *list)
{
	json_begin_object(w, m->name);
	for (uint32_t i = 0; i < list->count; i++) {
		struct json_member of_value = *m->of->list;
		const struct json_members one = {.list = &of_value, .count = 1};

		of_value.name = *(char **)item(m, list, i);
		put_members(&one, w, item(m, list, i));
	}
	json_end_object(w);
}

static void encode_member(const struct json_member *m, struct json_writer *w, const void *object)
{
	const void *at = place(m, object);
	const struct items *list = at;

	switch (m->kind) {
	case MEMBER_POINTER:
		members_encode(m->of, w, m->name, *(const void *const *)at);
		break;
	case MEMBER_NESTED:
		members_encode(m->of, w, m->name, object);
		break;
	case MEMBER_ITEMS:
		json_begin_array(w, m->name);
		for (uint32_t i = 0; i < list->count; i++)
			members_encode(m->of, w, NULL, item(m, list, i));
		json_end_array(w);
		break;
	case MEMBER_MAP:
		encode_map(m, w, list);
		break;
	case MEMBER_OTHER:
		m->by->encode(w, m->name, at);
		break;
	default:
		json_put_value(w, m->name, m->kind, at);
	}
}

static void put_members(const struct json_members *all, struct json_writer *w, const void *object)
{
	FOREACH_MEMBER(m, all)
		if (m->present ? *((const bool *)object + m->present)
			       : m->always || !is_empty(m, object))
			encode_member(m, w, object);
}

void members_encode(const struct json_members *all, struct json_writer *w, const char *name,
		    const void *object)
{
	json_begin_object(w, name);
	put_members(all, w, object);
	json_end_object(w);
}

/* --- Copy, compare, swap --- */

int members_copy(const struct json_members *all, const void *from, void *ret)
{
	struct buffer text = BUFFER_INIT(SIZE_MAX);
	struct json_writer w = json_writer_to(&text);
	int r;

	memset(ret, 0, all->size);
	members_encode(all, &w, NULL, from);
	r = json_writer_result(&w);
	if (r == 0)
		r = members_parse(all, (struct json_range){(char *)buffer_head(&text), text.length},
				  ret, NULL);
	buffer_free(&text);
	return r < 0 ? -ENOMEM : 0;
}

static bool members_equal(const struct json_members *all, const void *a, const void *b)
{
	FOREACH_MEMBER(m, all)
		if (!member_equal(m, a, b))
			return false;
	return true;
}

static bool value_equal(const struct json_member *m, const void *a, const void *b)
{
	if (is_text(m))
		return text_equal(*(const char *const *)a, *(const char *const *)b);
	/* The only one with padding. */
	if (m->kind == VALUE_ENDPOINT || m->kind == VALUE_ENDPOINTS)
		return endpoint_equal(a, b);
	return memcmp(a, b, value_size(m->kind)) == 0;
}

bool member_equal(const struct json_member *m, const void *a, const void *b)
{
	const void *left = place(m, a), *right = place(m, b);
	const struct items *one = left, *two = right;

	if (is_list(m)) {
		bool equal = one->count == two->count;

		for (uint32_t i = 0; equal && i < one->count; i++) {
			const void *first = item(m, one, i), *second = item(m, two, i);

			equal = (!has_text_name(m) || text_equal(*(const char *const *)first,
								 *(const char *const *)second)) &&
				(m->of ? members_equal(m->of, first, second)
				       : value_equal(m, first, second));
		}
		return equal;
	}
	if (m->kind == MEMBER_POINTER) {
		left = *(const void *const *)left;
		right = *(const void *const *)right;
		return left && right ? members_equal(m->of, left, right) : left == right;
	}
	if (m->kind == MEMBER_NESTED)
		return members_equal(m->of, a, b);
	return m->kind == MEMBER_OTHER || value_equal(m, left, right);
}

void member_swap(const struct json_member *m, void *a, void *b)
{
	size_t size = is_list(m)                  ? sizeof(struct items)
		      : m->kind == MEMBER_POINTER ? sizeof(void *)
						  : value_size(m->kind);
	uint8_t held[sizeof(struct public_key)];

	memcpy(held, place(m, a), size);
	memcpy(place(m, a), place(m, b), size);
	memcpy(place(m, b), held, size);
}
