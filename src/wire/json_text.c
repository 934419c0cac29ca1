/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/json_text.c - owned lists, and the text form of times */
#include "wire/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void string_list_clear(struct string_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct string_list){0};
}

void prefix_list_clear(struct prefix_list *list)
{
	free(list->items);
	*list = (struct prefix_list){0};
}

void endpoint_list_clear(struct endpoint_list *list)
{
	free(list->items);
	*list = (struct endpoint_list){0};
}

int string_list_add(struct string_list *list, const char *text)
{
	char **items = reallocarray(list->items, list->count + 1, sizeof(*items));
	char *copy;

	if (!items)
		return -ENOMEM;
	list->items = items;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	items[list->count++] = copy;
	return 0;
}

bool string_list_contains(const struct string_list *list, const char *text)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], text) == 0)
			return true;
	return false;
}

int prefix_list_copy(const struct prefix_list *from, struct prefix_list *ret)
{
	struct prefix_list copy = {.count = from->count};

	if (from->count) {
		copy.items = reallocarray(NULL, from->count, sizeof(*copy.items));
		if (!copy.items)
			return -ENOMEM;
		memcpy(copy.items, from->items, from->count * sizeof(*copy.items));
	}
	*ret = copy;
	return 0;
}

bool string_list_equal(const struct string_list *a, const struct string_list *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

bool prefix_list_contains(const struct prefix_list *list, const struct prefix *p)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (prefix_equal(&list->items[i], p))
			return true;
	return false;
}

bool prefix_list_equal(const struct prefix_list *a, const struct prefix_list *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!prefix_equal(&a->items[i], &b->items[i]))
			return false;
	return true;
}

bool endpoint_list_equal(const struct endpoint_list *a, const struct endpoint_list *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!endpoint_equal(&a->items[i], &b->items[i]))
			return false;
	return true;
}

/* --- Times --- */

#define GO_ZERO_SECONDS INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define DATE_LENGTH     19                    /* 2006-01-02T15:04:05 */

/* parse_date() - The first DATE_LENGTH bytes, as if in UTC; strict, since it must look the same again */
static bool parse_date(const char *text, int64_t *ret)
{
	char again[64];
	struct tm tm = {0};

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6 ||
	    tm.tm_year < 0)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	*ret = timegm(&tm);
	snprintf(again, sizeof(again), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return strncmp(again, text, DATE_LENGTH) == 0 && strlen(again) == DATE_LENGTH;
}

/* parse_fraction() - Digits behind a point; what is finer than a nanosecond is cut off */
static const char *parse_fraction(const char *at, int64_t *ret)
{
	int64_t unit = NSEC_PER_SEC;

	for (; *at >= '0' && *at <= '9'; at++) {
		unit /= 10;
		*ret += (*at - '0') * unit;
	}
	return at;
}

/* parse_zone() - "Z" or "+02:00", to the end of the text, in seconds east of UTC */
static bool parse_zone(const char *text, int64_t *ret)
{
	unsigned int hours = 0, minutes = 0;
	char again[8];

	*ret = 0;
	if (strcmp(text, "Z") == 0)
		return true;
	if ((*text != '+' && *text != '-') || sscanf(text + 1, "%2u:%2u", &hours, &minutes) != 2)
		return false;
	snprintf(again, sizeof(again), "%02u:%02u", hours, minutes);
	*ret = (int64_t)(hours * 60 + minutes) * (*text == '-' ? -60 : 60);
	return hours <= 23 && minutes <= 59 && strcmp(text + 1, again) == 0;
}

int json_time_parse(const char *text, size_t length, nanoseconds *ret)
{
	int64_t fraction = 0, east, seconds;
	char copy[64];
	const char *at = copy + DATE_LENGTH;

	if (length <= DATE_LENGTH || length >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, length);
	copy[length] = 0;
	if (!parse_date(copy, &seconds))
		return -EINVAL;
	if (*at == '.') {
		at = parse_fraction(at + 1, &fraction);
		if (at[-1] == '.')
			return -EINVAL;
	}
	if (strlen(copy) != length || !parse_zone(at, &east))
		return -EINVAL;
	seconds -= east;
	if (seconds == GO_ZERO_SECONDS && fraction == 0)
		*ret = JSON_TIME_NONE;
	else if (seconds >= INT64_MAX / NSEC_PER_SEC)
		*ret = INT64_MAX;
	else if (seconds <= INT64_MIN / NSEC_PER_SEC)
		*ret = INT64_MIN;
	else
		*ret = seconds * NSEC_PER_SEC + fraction ?: 1;
	return 0;
}

const char *json_time_format(nanoseconds time, char out[static JSON_TIME_TEXT_MAX])
{
	time_t seconds = time / NSEC_PER_SEC;
	int64_t fraction = time % NSEC_PER_SEC;
	struct tm tm;
	size_t used;

	if (time == JSON_TIME_NONE)
		return strcpy(out, "0001-01-01T00:00:00Z");
	if (fraction < 0) {
		fraction += NSEC_PER_SEC;
		seconds--;
	}
	gmtime_r(&seconds, &tm);
	used = strftime(out, JSON_TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	if (fraction) {
		used += (size_t)snprintf(out + used, JSON_TIME_TEXT_MAX - used, ".%09" PRId64,
					 fraction);
		while (out[used - 1] == '0')
			used--;
	}
	strcpy(out + used, "Z");
	return out;
}
