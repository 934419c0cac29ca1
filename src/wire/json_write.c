/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/json_write.c - JSON appended to a buffer, without a tree */
#include "wire/json.h"

#include "base/printable.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct json_writer json_writer_to(struct buffer *out)
{
	return (struct json_writer){.out = out};
}

int json_writer_result(const struct json_writer *w)
{
	return w->error;
}

static void put(struct json_writer *w, const char *bytes, size_t length)
{
	if (w->error == 0)
		w->error = buffer_append(w->out, bytes, length);
}

static void put_text(struct json_writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_quoted(struct json_writer *w, const char *text)
{
	const char *at = text, *plain = at;

	put_text(w, "\"");
	while (*at) {
		size_t length = utf8_length(at, UTF8_MAX);
		unsigned char byte = (unsigned char)*at;
		char escape[8];

		if (length && byte >= 0x20 && *at != '"' && *at != '\\') {
			at += length;
			continue;
		}
		put(w, plain, (size_t)(at - plain));
		if (*at == '"' || *at == '\\')
			snprintf(escape, sizeof(escape), "\\%c", *at);
		else
			snprintf(escape, sizeof(escape), "\\u%04x", length ? byte : 0xfffdu);
		put_text(w, escape);
		plain = ++at;
	}
	put(w, plain, (size_t)(at - plain));
	put_text(w, "\"");
}

/* new_line() - Indent by a blank for each level, if that is wanted */
static void new_line(struct json_writer *w)
{
	if (!w->pretty)
		return;
	put_text(w, "\n");
	for (unsigned int i = 0; i < w->depth; i++)
		put_text(w, " ");
}

/* Comma and name before a value. */
static void begin_value(struct json_writer *w, const char *name)
{
	if (w->comma)
		put_text(w, ",");
	w->comma = true;
	if (w->depth)
		new_line(w);
	if (name) {
		put_quoted(w, name);
		put_text(w, w->pretty ? ": " : ":");
	}
}

static void put_value(struct json_writer *w, const char *name, const char *text)
{
	begin_value(w, name);
	put_text(w, text);
}

static void open_level(struct json_writer *w, const char *name, const char *open)
{
	put_value(w, name, open);
	w->comma = false;
	w->depth++;
}

static void close_level(struct json_writer *w, const char *close)
{
	w->depth--;
	if (w->comma)
		new_line(w);
	put_text(w, close);
	w->comma = true;
}

void json_begin_object(struct json_writer *w, const char *name)
{
	open_level(w, name, "{");
}

void json_end_object(struct json_writer *w)
{
	close_level(w, "}");
}

void json_begin_array(struct json_writer *w, const char *name)
{
	open_level(w, name, "[");
}

void json_end_array(struct json_writer *w)
{
	close_level(w, "]");
}

void json_put_string(struct json_writer *w, const char *name, const char *text)
{
	begin_value(w, name);
	put_quoted(w, text ? text : "");
}

void json_put_bool(struct json_writer *w, const char *name, bool value)
{
	put_value(w, name, value ? "true" : "false");
}

void json_put_int(struct json_writer *w, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	put_value(w, name, text);
}

void json_put_number(struct json_writer *w, const char *name, double value)
{
	char text[32];

	if (!isfinite(value)) {
		if (w->error == 0)
			w->error = -EINVAL;
		return;
	}
	snprintf(text, sizeof(text), "%.17g", value);
	put_value(w, name, text);
}

void json_put_null(struct json_writer *w, const char *name)
{
	put_value(w, name, "null");
}

void json_put_time(struct json_writer *w, const char *name, nanoseconds time)
{
	char text[JSON_TIME_TEXT_MAX];

	json_put_string(w, name, json_time_format(time, text));
}

void json_put_key(struct json_writer *w, const char *name, const struct public_key *key,
		  enum key_kind kind)
{
	char text[KEY_TEXT_MAX];

	json_put_string(w, name, public_key_format(key, kind, text));
}

void json_put_value(struct json_writer *w, const char *name, enum value_kind kind, const void *at)
{
	const struct int_list *list = at; /* they are all alike */
	char text[KEY_TEXT_MAX];

	if (kind & VALUE_LIST) {
		kind &= ~(unsigned int)VALUE_LIST;
		json_begin_array(w, name);
		for (uint32_t i = 0; i < list->count; i++)
			json_put_value(w, NULL, kind, (char *)list->items + i * value_size(kind));
		json_end_array(w);
		return;
	}
	switch (kind) {
	case VALUE_BOOL:
		json_put_bool(w, name, *(const bool *)at);
		break;
	case VALUE_OPTIONAL_BOOL:
		json_put_optional_bool(w, name, *(const enum optional_bool *)at);
		break;
	case VALUE_INT:
		json_put_int(w, name, *(const int64_t *)at);
		break;
	case VALUE_UINT16:
		json_put_int(w, name, *(const uint16_t *)at);
		break;
	case VALUE_NUMBER:
		json_put_number(w, name, *(const double *)at);
		break;
	case VALUE_RAW:
		json_put_raw(w, name, *(const char *const *)at ?: "null");
		break;
	case VALUE_TEXT:
		json_put_string(w, name, *(const char *const *)at);
		break;
	case VALUE_TIME:
		json_put_time(w, name, *(const nanoseconds *)at);
		break;
	case VALUE_ADDRESS:
		json_put_string(w, name, address_format(at, text));
		break;
	case VALUE_PREFIX:
		json_put_string(w, name, prefix_format(at, text));
		break;
	case VALUE_ENDPOINT:
		json_put_string(w, name, endpoint_format(at, text));
		break;
	default:
		json_put_key(w, name, at, (enum key_kind)(kind - VALUE_KEY));
		break;
	}
}

void json_put_prefixes(struct json_writer *w, const char *name, const struct prefix_list *list)
{
	json_put_value(w, name, VALUE_PREFIXES, list);
}

void json_put_endpoints(struct json_writer *w, const char *name, const struct endpoint_list *list)
{
	json_put_value(w, name, VALUE_ENDPOINTS, list);
}

void json_put_strings(struct json_writer *w, const char *name, const struct string_list *list)
{
	json_put_value(w, name, VALUE_STRINGS, list);
}

void json_put_raw(struct json_writer *w, const char *name, const char *text)
{
	put_value(w, name, text);
}

void json_put_string_if(struct json_writer *w, const char *name, const char *text)
{
	if (text && *text)
		json_put_string(w, name, text);
}

void json_put_bool_if(struct json_writer *w, const char *name, bool value)
{
	if (value)
		json_put_bool(w, name, value);
}

void json_put_int_if(struct json_writer *w, const char *name, int64_t value)
{
	if (value)
		json_put_int(w, name, value);
}

void json_put_time_if(struct json_writer *w, const char *name, nanoseconds time)
{
	if (time != JSON_TIME_NONE)
		json_put_time(w, name, time);
}

void json_put_optional_bool(struct json_writer *w, const char *name, enum optional_bool value)
{
	if (value != OPTIONAL_UNSET)
		json_put_bool(w, name, value == OPTIONAL_TRUE);
}
