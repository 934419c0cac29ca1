/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/members.c - structs of the protocol, described by tables of their members */
#include "wire/members.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How each list of ours begins: string_list, prefix_list, endpoint_list, those of MEMBER_ITEMS(). */
struct items {
	void *items;
	uint32_t count;
};

#define FOREACH_MEMBER(m, all) \
	for (const struct json_member *m = (all)->list; m < (all)->list + (all)->count; m++)

static void *place(const struct json_member *m, void *object)
{
	return (char *)object + m->offset;
}

static const void *place_const(const struct json_member *m, const void *object)
{
	return (const char *)object + m->offset;
}

static void *item(const struct json_member *m, const struct items *list, uint32_t i)
{
	return (char *)list->items + i * m->of->size;
}

/* size_of() - Of a member, or of an item of a list */
static size_t size_of(const struct json_member *m)
{
	static const uint8_t sizes[] = {
		[MEMBER_TEXT] = sizeof(char *),
		[MEMBER_BOOL] = sizeof(bool),
		[MEMBER_OPTIONAL_BOOL] = sizeof(enum optional_bool),
		[MEMBER_INT] = sizeof(int64_t),
		[MEMBER_UINT16] = sizeof(uint16_t),
		[MEMBER_NUMBER] = sizeof(double),
		[MEMBER_TIME] = sizeof(nanoseconds),
		[MEMBER_KEY] = sizeof(struct public_key),
		[MEMBER_STRINGS] = sizeof(char *),
		[MEMBER_PREFIXES] = sizeof(struct prefix),
		[MEMBER_ENDPOINTS] = sizeof(struct endpoint),
	};

	return m->kind == MEMBER_LIST ? m->of->size : sizes[m->kind];
}

/* --- Clear --- */

static void clear_all(const struct json_members *all, void *object);

static void clear_member(const struct json_member *m, void *object)
{
	void *at = place(m, object);
	struct items *list = at;

	switch ((enum member_kind)m->kind) {
	case MEMBER_TEXT:
		free(*(void **)at);
		break;
	case MEMBER_STRINGS:
		string_list_clear(at);
		break;
	case MEMBER_POINTER:
		if (*(void **)at)
			clear_all(m->of, *(void **)at);
		free(*(void **)at);
		break;
	case MEMBER_LIST:
		for (uint32_t i = 0; i < list->count; i++)
			clear_all(m->of, item(m, list, i));
		free(list->items);
		break;
	case MEMBER_PREFIXES:
	case MEMBER_ENDPOINTS:
		free(list->items);
		break;
	case MEMBER_NESTED:
		clear_all(m->of, object);
		break;
	case MEMBER_OTHER:
		if (m->by->clear)
			m->by->clear(at);
		break;
	default:
		break;
	}
}

static void clear_all(const struct json_members *all, void *object)
{
	FOREACH_MEMBER(m, all)
		clear_member(m, object);
}

void members_clear(const struct json_members *all, void *object)
{
	clear_all(all, object);
	memset(object, 0, all->size);
}

/* --- Decode --- */

static void decode_object(const struct json_member *m, struct json_reader *outer,
			  const json_t *json, void *object)
{
	struct json_reader r = json_reader_of(json);

	members_read(m->of, &r, object);
	if (r.error == -ENOMEM || (r.error < 0 && !m->of->lenient))
		json_reader_fail(outer, m->name, r.error);
}

static void decode_list(const struct json_member *m, struct json_reader *r, struct items *list)
{
	json_t *array = json_get_array(r, m->name), *value;
	size_t i;

	if (!json_array_size(array))
		return;
	list->items = json_items(r, m->name, json_array_size(array), m->of->size);
	if (!list->items)
		return;
	json_array_foreach(array, i, value)
		if (!m->no_nulls || !json_is_null(value))
			decode_object(m, r, value, item(m, list, list->count++));
}

static uint16_t decode_uint16(const struct json_member *m, struct json_reader *r)
{
	int64_t value = json_get_int(r, m->name);

	if (value > UINT16_MAX)
		value = m->clamped ? UINT16_MAX : 0;
	return (uint16_t)(value < 0 ? 0 : value);
}

static void decode_member(const struct json_member *m, struct json_reader *r, void *object)
{
	void *at = place(m, object);
	json_t *json;

	switch ((enum member_kind)m->kind) {
	case MEMBER_TEXT:
		*(char **)at = json_get_string(r, m->name);
		break;
	case MEMBER_BOOL:
		*(bool *)at = json_get_bool(r, m->name);
		break;
	case MEMBER_OPTIONAL_BOOL:
		*(enum optional_bool *)at = json_get_optional_bool(r, m->name);
		break;
	case MEMBER_INT:
		*(int64_t *)at = json_get_int(r, m->name);
		break;
	case MEMBER_UINT16:
		*(uint16_t *)at = decode_uint16(m, r);
		break;
	case MEMBER_NUMBER:
		*(double *)at = json_get_number(r, m->name);
		break;
	case MEMBER_TIME:
		*(nanoseconds *)at = json_get_time(r, m->name);
		break;
	case MEMBER_KEY:
		*(struct public_key *)at = json_get_key(r, m->name, (enum key_kind)m->key);
		break;
	case MEMBER_ADDRESS:
		*(struct address *)at = json_get_address(r, m->name);
		break;
	case MEMBER_STRINGS:
		json_get_strings(r, m->name, at);
		break;
	case MEMBER_PREFIXES:
		json_get_prefixes(r, m->name, at);
		break;
	case MEMBER_ENDPOINTS:
		json_get_endpoints(r, m->name, at);
		break;
	case MEMBER_POINTER:
	case MEMBER_NESTED:
		json = json_get(r, m->name);
		if (!json || (m->of->lenient && !json_is_object(json)))
			break;
		if (m->kind == MEMBER_POINTER)
			object = *(void **)at = json_items(r, m->name, 1, m->of->size);
		if (object)
			decode_object(m, r, json, object);
		break;
	case MEMBER_LIST:
		decode_list(m, r, at);
		break;
	case MEMBER_OTHER:
		m->by->decode(r, m->name, at);
		break;
	}
}

void members_read(const struct json_members *all, struct json_reader *r, void *object)
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
	members_read(all, &r, ret);
	if (r.error == 0 || (all->lenient && r.error != -ENOMEM))
		return 0;
	members_clear(all, ret);
	return json_reader_result(&r, err, all->what);
}

/* --- Encode --- */

static bool is_empty(const struct json_member *m, const void *object)
{
	static const struct public_key zeros;
	const void *at = place_const(m, object);
	const char *text;

	switch ((enum member_kind)m->kind) {
	case MEMBER_TEXT:
		text = *(const char *const *)at;
		return !text || !*text;
	case MEMBER_ADDRESS:
		return ((const struct address *)at)->family == ADDRESS_NONE;
	case MEMBER_STRINGS:
	case MEMBER_PREFIXES:
	case MEMBER_ENDPOINTS:
	case MEMBER_LIST:
		return ((const struct items *)at)->count == 0;
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
		return memcmp(at, &zeros, size_of(m)) == 0;
	}
}

static void encode_member(const struct json_member *m, struct json_writer *w, const void *object)
{
	const void *at = place_const(m, object);
	const struct items *list = at;
	char text[ADDRESS_TEXT_MAX];

	switch ((enum member_kind)m->kind) {
	case MEMBER_TEXT:
		json_put_string(w, m->name, *(const char *const *)at);
		break;
	case MEMBER_BOOL:
		json_put_bool(w, m->name, *(const bool *)at);
		break;
	case MEMBER_OPTIONAL_BOOL:
		json_put_optional_bool(w, m->name, *(const enum optional_bool *)at);
		break;
	case MEMBER_INT:
		json_put_int(w, m->name, *(const int64_t *)at);
		break;
	case MEMBER_UINT16:
		json_put_int(w, m->name, *(const uint16_t *)at);
		break;
	case MEMBER_NUMBER:
		json_put_number(w, m->name, *(const double *)at);
		break;
	case MEMBER_TIME:
		json_put_time(w, m->name, *(const nanoseconds *)at);
		break;
	case MEMBER_KEY:
		json_put_key(w, m->name, at, (enum key_kind)m->key);
		break;
	case MEMBER_ADDRESS:
		json_put_string(w, m->name, address_format(at, text));
		break;
	case MEMBER_STRINGS:
		json_put_strings(w, m->name, at);
		break;
	case MEMBER_PREFIXES:
		json_put_prefixes(w, m->name, at);
		break;
	case MEMBER_ENDPOINTS:
		json_put_endpoints(w, m->name, at);
		break;
	case MEMBER_POINTER:
		members_encode(m->of, w, m->name, *(const void *const *)at);
		break;
	case MEMBER_LIST:
		json_begin_array(w, m->name);
		for (uint32_t i = 0; i < list->count; i++)
			members_encode(m->of, w, NULL, item(m, list, i));
		json_end_array(w);
		break;
	case MEMBER_NESTED:
		members_encode(m->of, w, m->name, object);
		break;
	case MEMBER_OTHER:
		m->by->encode(w, m->name, at);
		break;
	}
}

void members_put(const struct json_members *all, struct json_writer *w, const void *object)
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
	members_put(all, w, object);
	json_end_object(w);
}

/* --- Copy and compare --- */

static int copy_all(const struct json_members *all, const void *from, void *to);

/* copy_items() - Give a shallow copy of a list its own block of items; 0 or -ENOMEM, and empty */
static int copy_items(const struct json_member *m, struct items *list)
{
	const void *from = list->items;
	uint32_t count = list->count;

	*list = (struct items){0};
	if (count == 0)
		return 0;
	list->items = calloc(count, size_of(m));
	if (!list->items)
		return -ENOMEM;
	list->count = count;
	memcpy(list->items, from, count * size_of(m));
	return 0;
}

static int copy_text(char **at)
{
	bool empty = !*at;

	*at = empty ? NULL : strdup(*at);
	return empty || *at ? 0 : -ENOMEM;
}

/* copy_member() - Give the member of @to, a shallow copy, blocks of its own */
static int copy_member(const struct json_member *m, const void *from, void *to)
{
	void *at = place(m, to);
	struct items *list = at;
	const void *original;
	int r = 0;

	switch ((enum member_kind)m->kind) {
	case MEMBER_TEXT:
		return copy_text(at);
	case MEMBER_PREFIXES:
	case MEMBER_ENDPOINTS:
		return copy_items(m, list);
	case MEMBER_STRINGS:
		r = copy_items(m, list);
		for (uint32_t i = 0; i < list->count; i++)
			r = copy_text((char **)list->items + i) < 0 ? -ENOMEM : r;
		return r;
	case MEMBER_LIST:
		original = list->items;
		r = copy_items(m, list);
		for (uint32_t i = 0; i < list->count; i++)
			if (copy_all(m->of, (const char *)original + i * m->of->size,
				     item(m, list, i)) < 0)
				r = -ENOMEM;
		return r;
	case MEMBER_POINTER:
		original = *(const void **)at;
		if (!original)
			return 0;
		*(void **)at = calloc(1, m->of->size);
		return *(void **)at ? copy_all(m->of, original, *(void **)at) : -ENOMEM;
	case MEMBER_NESTED:
		FOREACH_MEMBER(inner, m->of)
			r = copy_member(inner, from, to) < 0 ? -ENOMEM : r;
		return r;
	case MEMBER_OTHER:
		return m->by->copy ? m->by->copy(place_const(m, from), at) : 0;
	default:
		return 0;
	}
}

/* copy_all() - -ENOMEM leaves @to without what could not be copied */
static int copy_all(const struct json_members *all, const void *from, void *to)
{
	int r = 0;

	memcpy(to, from, all->size);
	FOREACH_MEMBER(m, all)
		r = copy_member(m, from, to) < 0 ? -ENOMEM : r;
	return r;
}

int members_copy(const struct json_members *all, const void *from, void *ret)
{
	int r = copy_all(all, from, ret);

	if (r < 0)
		members_clear(all, ret);
	return r;
}

bool member_equal(const struct json_member *m, const void *a, const void *b)
{
	const void *left = place_const(m, a), *right = place_const(m, b);
	const struct items *one = left, *two = right;
	const void *first, *second;

	switch ((enum member_kind)m->kind) {
	case MEMBER_TEXT:
		return text_equal(*(const char *const *)left, *(const char *const *)right);
	case MEMBER_ADDRESS:
		return address_equal(left, right);
	case MEMBER_STRINGS:
		return string_list_equal(left, right);
	case MEMBER_PREFIXES:
		return prefix_list_equal(left, right);
	case MEMBER_ENDPOINTS:
		return endpoint_list_equal(left, right);
	case MEMBER_POINTER:
		first = *(const void *const *)left;
		second = *(const void *const *)right;
		return first && second ? members_equal(m->of, first, second) : first == second;
	case MEMBER_LIST:
		if (one->count != two->count)
			return false;
		for (uint32_t i = 0; i < one->count; i++)
			if (!members_equal(m->of, item(m, one, i), item(m, two, i)))
				return false;
		return true;
	case MEMBER_NESTED:
		return members_equal(m->of, a, b);
	case MEMBER_OTHER:
		return !m->by->equal || m->by->equal(left, right);
	default:
		return memcmp(left, right, size_of(m)) == 0;
	}
}

bool members_equal(const struct json_members *all, const void *a, const void *b)
{
	FOREACH_MEMBER(m, all)
		if (!member_equal(m, a, b))
			return false;
	return true;
}
