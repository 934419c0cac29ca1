/* SPDX-License-Identifier: BSD-3-Clause */
/* services/file_rules.c - requests for files: paths, conditions, ranges, listings */
#include "services/file_rules.h"

#include "base/array.h"
#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* --- Paths --- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* decode() - The path of @target without its escapes, in place of nothing else */
static int decode(const char *target, char **ret)
{
	size_t length = strcspn(target, "?#");
	char *out = malloc(length + 1), *to = out;

	if (!out)
		return -ENOMEM;
	for (const char *at = target; at < target + length; at++) {
		int high, low;

		if (*at != '%') {
			*to++ = *at;
			continue;
		}
		high = hex_digit(at[1]);
		low = high < 0 ? -1 : hex_digit(at[2]);
		if (low < 0 || (high == 0 && low == 0)) {
			free(out);
			return low < 0 ? -EINVAL : -ENOENT; /* no file has a zero in its name */
		}
		*to++ = (char)(high << 4 | low);
		at += 2;
	}
	*to = 0;
	*ret = out;
	return 0;
}

/* clean() - @path without ".", ".." and double slashes, and without a '/' at its end, in place */
static void clean(char *path)
{
	char *to = path;

	for (const char *at = path; *at;) {
		size_t part = strcspn(at, "/");

		if (part == 2 && at[0] == '.' && at[1] == '.') {
			while (to > path && *--to != '/')
				;
		} else if (part > 0 && !(part == 1 && *at == '.')) {
			*to++ = '/';
			memmove(to, at, part);
			to += part;
		}
		at += part;
		at += *at == '/';
	}
	*to = 0;
}

int file_path_read(const char *target, const char *mount, struct file_path *ret)
{
	size_t length = strcmp(mount, "/") == 0 ? 0 : strlen(mount);
	_cleanup_free_ char *path = NULL;
	size_t end;
	int r;

	*ret = (struct file_path){0};
	r = decode(target, &path);
	if (r < 0)
		return r;
	if (*path != '/' || strncmp(path, mount, length) != 0 ||
	    (path[length] != '/' && path[length] != 0))
		return -ENOENT;
	end = strlen(path);
	ret->slash = path[end - 1] == '/';
	/* What is above the mount can't be named: clean() stops at the beginning. */
	clean(path + length);
	ret->name = strdup(path[length] ? path + length + 1 : "");
	ret->url = strdup(*path ? path : "/");
	return ret->name && ret->url ? 0 : -ENOMEM;
}

void file_path_free(struct file_path *path)
{
	free(path->url);
	free(path->name);
	*path = (struct file_path){0};
}

/* escape() - As Go's url.URL{Path: …}.String() */
static int escape(const char *text, struct buffer *out)
{
	int r = 0;

	for (; *text && r == 0; text++) {
		unsigned char c = (unsigned char)*text;

		r = isalnum(c) && c < 0x80       ? buffer_append(out, text, 1)
		    : strchr("-_.~$&+,/:;=@", c) ? buffer_append(out, text, 1)
						 : buffer_printf(out, "%%%02X", c);
	}
	return r;
}

int file_path_location(const char *url, const char *target, struct buffer *out)
{
	int r = escape(url, out);

	target += strcspn(target, "?");
	return r < 0 ? r : buffer_append(out, target, strlen(target));
}

/* --- Conditions --- */

void file_etag(uint64_t size, int64_t seconds, uint32_t nanoseconds, char ret[static FILE_ETAG_MAX])
{
	snprintf(ret, FILE_ETAG_MAX, "\"%llx-%llx-%x\"", (unsigned long long)size,
		 (unsigned long long)seconds, nanoseconds);
}

const char *file_date(int64_t seconds, char ret[static FILE_DATE_MAX])
{
	time_t time = seconds;
	struct tm tm;

	if (!gmtime_r(&time, &tm) ||
	    !strftime(ret, FILE_DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		*ret = 0;
	return ret;
}

int file_date_read(const char *text, int64_t *ret)
{
	/* RFC 9110 §5.6.7, the two old forms too. */
	static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT",
					    "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, forms[i], &tm);

		if (end && !*end) {
			*ret = timegm(&tm);
			return 0;
		}
	}
	return -EINVAL;
}

/* next_etag() - The next of a list; its length with *at behind it, or 0 at the end or a fault */
static size_t next_etag(const char **at, const char **ret)
{
	const char *c = *at + strspn(*at, " \t,");
	size_t length;

	*ret = c;
	if (*c == '*') {
		*at = c + 1;
		return 1;
	}
	if (c[0] == 'W' && c[1] == '/')
		c += 2;
	if (*c++ != '"')
		return 0;
	while (*c == 0x21 || (unsigned char)*c >= 0x23)
		if (*c++ == 0x7f)
			return 0;
	if (*c++ != '"')
		return 0;
	length = (size_t)(c - *ret);
	*at = c;
	return length;
}

/* is_listed() - Whether @list has the file's ETag; @weak: W/ makes no difference (RFC 9110 §8.8.3.2) */
static bool is_listed(const char *list, const char *etag, bool weak)
{
	const char *one;
	size_t length;

	while ((length = next_etag(&list, &one)) > 0) {
		if (*one == '*')
			return true;
		if (weak && *one == 'W') {
			one += 2;
			length -= 2;
		}
		if (*etag && strlen(etag) == length && strncmp(one, etag, length) == 0)
			return true;
	}
	return false;
}

/* was_modified() - Whether the file is newer than @date; @otherwise if that is none */
static bool was_modified(const char *date, const struct file_facts *facts, bool otherwise)
{
	int64_t since;

	if (!date || facts->modified == 0 || file_date_read(date, &since) < 0)
		return otherwise;
	return facts->modified > since;
}

/* check_conditions() - 0: go on; else the status that answers */
static int check_conditions(const struct http1_head *request, const struct file_facts *facts)
{
	const char *match = http1_header(request, "If-Match");
	const char *none = http1_header(request, "If-None-Match");

	if (match && *match
		    ? !is_listed(match, facts->etag, false)
		    : was_modified(http1_header(request, "If-Unmodified-Since"), facts, false))
		return 412;
	if (none && *none ? is_listed(none, facts->etag, true)
			  : !was_modified(http1_header(request, "If-Modified-Since"), facts, true))
		return 304;
	return 0;
}

/* wants_ranges() - Whether If-Range lets the ranges hold */
static bool wants_ranges(const struct http1_head *request, const struct file_facts *facts)
{
	const char *condition = http1_header(request, "If-Range"), *at = condition, *one;
	int64_t date;

	if (!condition || !*condition)
		return true;
	if (*condition == '"' || strncmp(condition, "W/\"", 3) == 0)
		return next_etag(&at, &one) > 1 && *one == '"' &&
		       is_listed(condition, facts->etag, false);
	return file_date_read(condition, &date) == 0 && facts->modified != 0 &&
	       date == facts->modified;
}

/* --- Ranges --- */

/* number() - Digits only; the end of them, or NULL */
static const char *number(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (unsigned int)(*text - '0'), &value) ||
		    value > INT64_MAX)
			return NULL;
	*ret = value;
	return text;
}

/*
 * read_range() - One of the list, at @at
 *
 * Return: 1; 0: it lies behind the file's end; -EINVAL
 */
static int read_range(const char **at, uint64_t size, struct file_range *ret)
{
	const char *c = *at + strspn(*at, " \t");
	uint64_t first = 0, last;
	bool suffix = *c == '-';

	if (!suffix) {
		c = number(c, &first);
		if (!c)
			return -EINVAL;
		c += strspn(c, " \t");
	}
	if (*c++ != '-')
		return -EINVAL;
	c += strspn(c, " \t");
	if (isdigit((unsigned char)*c)) {
		c = number(c, &last);
		if (!c || (!suffix && last < first && first < size))
			return -EINVAL;
	} else if (suffix) {
		return -EINVAL;
	} else {
		last = UINT64_MAX;
	}
	c += strspn(c, " \t");
	if (*c && *c != ',')
		return -EINVAL;
	*at = c;
	if (suffix) {
		ret->length = last < size ? last : size;
		ret->start = size - ret->length;
		return 1;
	}
	if (first >= size)
		return 0;
	ret->start = first;
	ret->length = (last >= size ? size - 1 : last) - first + 1;
	return 1;
}

static void read_ranges(const char *text, const struct file_facts *facts, struct file_plan *plan)
{
	uint64_t sum = 0;
	bool beyond = false;
	size_t count = 0;

	if (strncmp(text, "bytes=", 6) != 0)
		goto bad;
	for (text += 6; *text; text += *text == ',') {
		struct file_range range;
		int r;

		text += strspn(text, " \t");
		if (*text == ',' || !*text)
			continue;
		r = read_range(&text, facts->size, &range);
		if (r < 0)
			goto bad;
		beyond |= r == 0;
		if (r == 0)
			continue;
		sum += range.length;
		if (count < FILE_RANGES_MAX)
			plan->ranges[count] = range;
		count++;
	}
	if (count == 0 && beyond && facts->size > 0) {
		plan->status = 416;
		plan->invalid = false;
		return;
	}
	/* More than the file has, or many: an attack, or of no use. */
	if (count == 0 || sum > facts->size || count > FILE_RANGES_MAX)
		return;
	plan->range_count = count;
	plan->status = 206;
	return;
bad:
	plan->status = 416;
	plan->invalid = true;
}

void file_plan_make(const struct http1_head *request, const struct file_facts *facts,
		    struct file_plan *ret)
{
	const char *ranges = http1_header(request, "Range");

	*ret = (struct file_plan){.status = check_conditions(request, facts)};
	if (ret->status != 0)
		return;
	ret->status = 200;
	if (ranges && *ranges && wants_ranges(request, facts))
		read_ranges(ranges, facts, ret);
}

/* --- Listings --- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* put_html() - Text between tags */
static int put_html(const char *text, struct buffer *out)
{
	static const struct {
		char c;
		const char *text;
	} escapes[] = {
		{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
	int r = 0;

	while (*text && r == 0) {
		size_t plain = strcspn(text, "&<>\"'");

		r = buffer_append(out, text, plain);
		text += plain;
		for (size_t i = 0; r == 0 && *text && i < ARRAY_SIZE(escapes); i++)
			if (escapes[i].c == *text) {
				r = buffer_append(out, escapes[i].text, strlen(escapes[i].text));
				text++;
				break;
			}
	}
	return r;
}

static int put_link(const char *name, struct buffer *out)
{
	/* "a:b" would be taken for a scheme. */
	bool scheme = memchr(name, ':', strcspn(name, "/")) != NULL;
	int r = buffer_printf(out, "<a href=\"%s", scheme ? "./" : "");

	if (r == 0)
		r = escape(name, out);
	if (r == 0)
		r = buffer_append(out, "\">", 2);
	if (r == 0)
		r = put_html(name, out);
	return r < 0 ? r : buffer_append(out, "</a>\n", 5);
}

int file_listing(const char *names, size_t length, bool cut, struct buffer *out)
{
	const char **list = NULL;
	size_t count = 0, room = 0;
	int r = 0;

	if (length > 0 && names[length - 1] != 0)
		return -EBADMSG;
	for (size_t at = 0; at < length; at += strlen(names + at) + 1) {
		const char **slot = ARRAY_ADD(list, count, room);

		if (!slot) {
			free(list);
			return -ENOMEM;
		}
		*slot = names + at;
	}
	if (count > 1)
		qsort(list, count, sizeof(*list), compare_names);
	r = buffer_printf(
		out, "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n"
		     "<pre>\n");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = put_link(list[i], out);
	if (r == 0 && cut)
		r = buffer_printf(out, "… and more, which are not listed\n");
	free(list);
	return r < 0 ? r : buffer_append(out, "</pre>\n", 7);
}
