/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/start_config.c - the start configuration as records
 *
 * One table names every field; its row number is the record's kind. Encoding, decoding, limits
 * and freeing all use this table.
 */
#include "privsep/start_config.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "privsep/privsep_serve.h"
#include "privsep/records.h"

#include <errno.h>
#include <string.h>

enum field_type {
	FIELD_STRING,
	FIELD_NUMBER, /* uint32_t, at most .max */
	FIELD_BOOL,
};

#define STRING(member, most)                                               \
	{                                                                  \
		offsetof(struct privsep_start, member), FIELD_STRING, most \
	}
#define NUMBER(member, most)                                               \
	{                                                                  \
		offsetof(struct privsep_start, member), FIELD_NUMBER, most \
	}
#define BOOL(member)                                                  \
	{                                                             \
		offsetof(struct privsep_start, member), FIELD_BOOL, 1 \
	}

static const struct field {
	size_t offset;
	enum field_type type;
	uint32_t max; /* of the number, or of the string's bytes */
} fields[] = {
	STRING(tun_name, 15),
	NUMBER(table, UINT32_MAX),
	NUMBER(mtu, 65535),
	NUMBER(state_mode, START_STATE_MODE_COUNT - 1),
	STRING(prefs, START_PREFS_MAX),
	STRING(disable, START_STRING_MAX),
	STRING(socket_path, START_STRING_MAX),
	STRING(serve_config, START_STRING_MAX),
	STRING(acme_directory, START_STRING_MAX),
	STRING(acme_email, START_STRING_MAX),
	NUMBER(acme_challenge, SERVE_CHALLENGE_COUNT - 1),
	STRING(acme_key_id, START_STRING_MAX),
	STRING(acme_dns_server, START_STRING_MAX),
	STRING(acme_dns_zone, START_STRING_MAX),
	NUMBER(acme_port, UINT16_MAX),
	STRING(ingress_from, START_STRING_MAX),
	STRING(serve_roots, START_STRING_MAX),
	STRING(https_proxy, START_PROXY_MAX),
	STRING(no_proxy, START_PROXY_MAX),
	BOOL(auth_key_present),
	BOOL(up),
	BOOL(allow_exit_node),
	STRING(allow_routes, START_STRING_MAX),
	STRING(tailnet_ranges, START_STRING_MAX),
	BOOL(health_check),
	BOOL(metrics),
	STRING(health_names, START_STRING_MAX),
	NUMBER(log_level, LOG_LEVEL_COUNT - 1),
	NUMBER(log_format, LOG_FORMAT_JSON),
	NUMBER(tun_offloads, 7),
	NUMBER(udp_port, 65535),
	NUMBER(crash_count, UINT32_MAX),
	STRING(last_crash, START_STRING_MAX),
	STRING(warnings, START_STRING_MAX),
};

/* Every field is in the table exactly once: strings, numbers and bools counted apart. */
_Static_assert(ARRAY_SIZE(fields) == 34, "one row a field of struct privsep_start");

static void *member(const struct privsep_start *start, const struct field *field)
{
	return (char *)(uintptr_t)start + field->offset;
}

void privsep_start_init(struct privsep_start *start)
{
	*start = (struct privsep_start){
		.table = 52,
		.mtu = 1280,
		.log_level = LOG_INFO,
	};
}

void privsep_start_clear(struct privsep_start *start)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].type == FIELD_STRING)
			secret_string_free(*(char **)member(start, &fields[i]));
	*start = (struct privsep_start){0};
}

bool privsep_start_disables(const struct privsep_start *start, const char *name)
{
	size_t length = strlen(name);
	const char *at = start->disable;

	while (at && *at) {
		size_t word = strcspn(at, ",");

		if (word == length && memcmp(at, name, length) == 0)
			return true;
		at += word + (at[word] == ',');
	}
	return false;
}

int privsep_start_encode(const struct privsep_start *start, struct buffer *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(fields); i++) {
		const struct field *field = &fields[i];
		const void *at = member(start, field);
		const char *text;
		size_t length;

		switch (field->type) {
		case FIELD_STRING:
			text = *(char *const *)at;
			if (!text)
				break;
			length = strlen(text);
			r = length > field->max ? -EMSGSIZE
						: record_put(out, (uint16_t)i, text, length);
			break;
		case FIELD_NUMBER:
			r = record_put(out, (uint16_t)i, at, sizeof(uint32_t));
			break;
		case FIELD_BOOL:
			r = record_put(out, (uint16_t)i, &(uint8_t){*(const bool *)at}, 1);
			break;
		}
	}
	return r;
}

static int field_decode(const struct field *field, struct cursor value, void *at)
{
	uint32_t number;
	char *text;

	switch (field->type) {
	case FIELD_STRING:
		if (value.left > field->max || memchr(value.at, 0, value.left))
			return -EBADMSG;
		text = strndup((const char *)value.at, value.left);
		if (!text)
			return -ENOMEM;
		*(char **)at = text;
		return 0;
	case FIELD_NUMBER:
		if (value.left != sizeof(number))
			return -EBADMSG;
		memcpy(&number, value.at, sizeof(number));
		if (number > field->max)
			return -EBADMSG;
		*(uint32_t *)at = number;
		return 0;
	case FIELD_BOOL:
		if (value.left != 1 || value.at[0] > 1)
			return -EBADMSG;
		*(bool *)at = value.at[0] == 1;
		return 0;
	}
	return -EBADMSG;
}

int privsep_start_decode(const void *bytes, size_t length, struct privsep_start *ret)
{
	struct cursor c = cursor_of(bytes, length);
	struct privsep_start start = {0};
	bool seen[ARRAY_SIZE(fields)] = {false};
	struct record record;
	int r;

	while ((r = record_next(&c, &record)) > 0) {
		const struct field *field;

		r = -EBADMSG;
		if (record.kind >= ARRAY_SIZE(fields) || seen[record.kind])
			break;
		field = &fields[record.kind];
		seen[record.kind] = true;
		r = field_decode(field, record.value, member(&start, field));
		if (r < 0)
			break;
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(fields); i++)
		if (!seen[i] && fields[i].type != FIELD_STRING)
			r = -EBADMSG;
	if (r < 0) {
		privsep_start_clear(&start);
		return r;
	}
	*ret = start;
	return 0;
}
