/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/json_scan.c - find members and elements of a JSON text as byte ranges
 *
 * skip_value() checks one whole value without recursion. The walks give ranges that it
 * has checked, so a nested walk never meets a syntax error that the outer one missed.
 */
#include "wire/json_scan.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

struct text {
	const char *at;
	const char *end;
};

static void skip_blanks(struct text *t)
{
	while (t->at < t->end &&
	       (*t->at == ' ' || *t->at == '\n' || *t->at == '\r' || *t->at == '\t'))
		t->at++;
}

static bool take(struct text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

static bool is_digit(const struct text *t)
{
	return t->at < t->end && *t->at >= '0' && *t->at <= '9';
}

static bool skip_digits(struct text *t)
{
	if (!is_digit(t))
		return false;
	while (is_digit(t))
		t->at++;
	return true;
}

static bool skip_number(struct text *t)
{
	(void)take(t, '-');
	if (!take(t, '0') && !skip_digits(t))
		return false;
	if (take(t, '.') && !skip_digits(t))
		return false;
	if (take(t, 'e') || take(t, 'E')) {
		if (!take(t, '+'))
			(void)take(t, '-');
		return skip_digits(t);
	}
	return true;
}

static bool skip_escape(struct text *t)
{
	if (t->at == t->end)
		return false;
	switch (*t->at++) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return true;
	case 'u':
		for (int i = 0; i < 4; i++, t->at++) {
			char c = t->at < t->end ? (char)(*t->at | 0x20) : 0;

			if (!is_digit(t) && !(c >= 'a' && c <= 'f'))
				return false;
		}
		return true;
	default:
		return false;
	}
}

static bool skip_string(struct text *t)
{
	if (!take(t, '"'))
		return false;
	while (t->at < t->end) {
		unsigned char c = (unsigned char)*t->at++;

		if (c == '"')
			return true;
		if (c < 0x20 || (c == '\\' && !skip_escape(t)))
			return false;
	}
	return false;
}

static bool skip_word(struct text *t, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(t->end - t->at) < length || memcmp(t->at, word, length) != 0)
		return false;
	t->at += length;
	return true;
}

static bool skip_scalar(struct text *t)
{
	if (t->at == t->end)
		return false;
	switch (*t->at) {
	case '"':
		return skip_string(t);
	case 't':
		return skip_word(t, "true");
	case 'f':
		return skip_word(t, "false");
	case 'n':
		return skip_word(t, "null");
	default:
		return skip_number(t);
	}
}

/* The name and colon of a member. */
static bool skip_key(struct text *t)
{
	skip_blanks(t);
	if (!skip_string(t))
		return false;
	skip_blanks(t);
	return take(t, ':');
}

/* One value, from its first byte to behind its last. */
static int skip_value(struct text *t)
{
	/* What closes each open level. */
	_cleanup_(buffer_free) struct buffer open = BUFFER_INIT(SIZE_MAX);

	for (;;) {
		skip_blanks(t);
		if (t->at < t->end && (*t->at == '{' || *t->at == '[')) {
			char close = *t->at++ == '{' ? '}' : ']';

			skip_blanks(t);
			if (!take(t, close)) {
				if (buffer_append(&open, &close, 1) < 0)
					return -ENOMEM;
				if (close == '}' && !skip_key(t))
					return -EBADMSG;
				continue;
			}
		} else if (!skip_scalar(t)) {
			return -EBADMSG;
		}
		/* A value has ended: close what ends with it, or go on to the next one. */
		for (;;) {
			char close;

			if (open.length == 0)
				return 0;
			close = (char)buffer_end(&open)[-1];
			skip_blanks(t);
			if (take(t, ',')) {
				if (close == '}' && !skip_key(t))
					return -EBADMSG;
				break;
			}
			if (!take(t, close))
				return -EBADMSG;
			open.length--;
		}
	}
}

int json_scan_value(const char *text, size_t length, struct json_range *ret)
{
	struct text t = {.at = text, .end = text + length};
	struct json_range range;
	int r;

	if (!length)
		return -EBADMSG;
	skip_blanks(&t);
	range.at = t.at;
	r = skip_value(&t);
	if (r < 0)
		return r;
	range.length = (size_t)(t.at - range.at);
	skip_blanks(&t);
	if (t.at != t.end)
		return -EBADMSG;
	*ret = range;
	return 0;
}

int json_scan_open(struct json_range value, char open, struct json_scan *ret)
{
	if (value.length < 2 || value.at[0] != open)
		return -EINVAL;
	*ret = (struct json_scan){
		.at = value.at + 1, .end = value.at + value.length - 1, .first = true};
	return 0;
}

/* Before each item: the end, or the comma that all but the first one has. */
static int next_item(struct json_scan *scan, struct text *t)
{
	*t = (struct text){.at = scan->at, .end = scan->end};
	skip_blanks(t);
	if (t->at == t->end)
		return 0;
	if (!scan->first && !take(t, ','))
		return -EBADMSG;
	scan->first = false;
	skip_blanks(t);
	return 1;
}

static int take_value(struct json_scan *scan, struct text *t, struct json_range *ret)
{
	struct json_range value;
	int r;

	skip_blanks(t);
	value.at = t->at;
	r = skip_value(t);
	if (r < 0)
		return r;
	value.length = (size_t)(t->at - value.at);
	scan->at = t->at;
	*ret = value;
	return 1;
}

int json_scan_member(struct json_scan *scan, struct json_range *ret_key,
		     struct json_range *ret_value)
{
	struct json_range key;
	struct text t;
	int r;

	r = next_item(scan, &t);
	if (r <= 0)
		return r;
	key.at = t.at + 1;
	if (!skip_string(&t))
		return -EBADMSG;
	key.length = (size_t)(t.at - key.at) - 1;
	skip_blanks(&t);
	if (!take(&t, ':'))
		return -EBADMSG;
	r = take_value(scan, &t, ret_value);
	if (r == 1)
		*ret_key = key;
	return r;
}

int json_scan_element(struct json_scan *scan, struct json_range *ret_value)
{
	struct text t;
	int r;

	r = next_item(scan, &t);
	return r <= 0 ? r : take_value(scan, &t, ret_value);
}

bool json_range_is(struct json_range range, const char *text)
{
	return range.at && range.length == strlen(text) &&
	       memcmp(range.at, text, range.length) == 0;
}

bool json_range_is_null(struct json_range range)
{
	return !range.at || json_range_is(range, "null");
}
