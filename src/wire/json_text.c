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

struct text {
	const char *at;
	const char *end;
};

/* Exactly @digits digits, at most @most. */
static bool take_number(struct text *t, int digits, int least, int most, int *ret)
{
	int value = 0;

	for (int i = 0; i < digits; i++, t->at++) {
		if (t->at == t->end || *t->at < '0' || *t->at > '9')
			return false;
		value = value * 10 + (*t->at - '0');
	}
	*ret = value;
	return value >= least && value <= most;
}

static bool take_char(struct text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

/* Digits behind a point, as a count of 1/@unit; what is finer is cut off. */
static bool take_fraction(struct text *t, int64_t unit, int64_t *ret)
{
	const char *first = t->at;
	int64_t value = 0;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
		unit /= 10;
		value += (*t->at - '0') * unit;
		t->at++;
	}
	*ret = value;
	return t->at > first;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; years from 0 on. */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

#define GO_ZERO_SECONDS INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */

int json_time_parse(const char *text, size_t length, nanoseconds *ret)
{
	struct text t = {.at = text, .end = text + length};
	int year, month, day, hour, minute, second, zone_hour = 0, zone_minute = 0, sign = 0;
	int64_t fraction = 0, seconds, time;

	if (!take_number(&t, 4, 0, 9999, &year) || !take_char(&t, '-') ||
	    !take_number(&t, 2, 1, 12, &month) || !take_char(&t, '-') ||
	    !take_number(&t, 2, 1, days_in(year, month), &day) || !take_char(&t, 'T') ||
	    !take_number(&t, 2, 0, 23, &hour) || !take_char(&t, ':') ||
	    !take_number(&t, 2, 0, 59, &minute) || !take_char(&t, ':') ||
	    !take_number(&t, 2, 0, 59, &second))
		return -EINVAL;
	if (take_char(&t, '.') && !take_fraction(&t, NSEC_PER_SEC, &fraction))
		return -EINVAL;
	if (!take_char(&t, 'Z')) {
		sign = take_char(&t, '+') ? 1 : take_char(&t, '-') ? -1 : 0;
		if (!sign || !take_number(&t, 2, 0, 23, &zone_hour) || !take_char(&t, ':') ||
		    !take_number(&t, 2, 0, 59, &zone_minute))
			return -EINVAL;
	}
	if (t.at != t.end)
		return -EINVAL;
	seconds = ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second -
		  sign * (zone_hour * 60 + zone_minute) * 60;
	if (seconds == GO_ZERO_SECONDS && fraction == 0)
		time = JSON_TIME_NONE;
	else if (seconds >= INT64_MAX / NSEC_PER_SEC)
		time = INT64_MAX;
	else if (seconds <= INT64_MIN / NSEC_PER_SEC)
		time = INT64_MIN;
	else
		time = seconds * NSEC_PER_SEC + fraction;
	if (time == JSON_TIME_NONE && seconds != GO_ZERO_SECONDS)
		time = 1;
	*ret = time;
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
