/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/services/test_file_rules.c - requests for files: paths, conditions, ranges, types */
#include "unit/unit.h"

#include <errno.h>

#include "base/cleanup.h"
#include "services/file_rules.h"

static void test_paths(void **state)
{
	static const struct {
		const char *target, *mount;
		int result;
		const char *name, *url;
		bool slash;
	} rows[] = {
		/* 1 */ {"/a/b.txt?x=/y", "/", 0, "a/b.txt", "/a/b.txt", false},
		/* 2 */ {"/", "/", 0, "", "/", true},
		/* 3 */ {"/a%20b/%C3%BC/", "/", 0, "a b/\xc3\xbc", "/a b/\xc3\xbc", true},
		/* 4 */ {"/a/../../b/./c//d", "/", 0, "b/c/d", "/b/c/d", false},
		/* 5 */ {"/%2e%2e/%2E/x", "/", 0, "x", "/x", false},
		/* 6 */ {"/..%2f..%2fx", "/", 0, "x", "/x", false},
		/* 7 */ {"/f/../../x", "/f", 0, "x", "/f/x", false},
		/* 8 */ {"/f", "/f", 0, "", "/f", false},
		/* 9 */ {"/f/", "/f", 0, "", "/f", true},
		/* 10 */ {"/fx", "/f", -ENOENT, NULL, NULL, false},
		/* 11 */ {"/x/../f/a", "/f", -ENOENT, NULL, NULL, false},
		/* 12 */ {"/a%", "/", -EINVAL, NULL, NULL, false},
		/* 13 */ {"/a%4", "/", -EINVAL, NULL, NULL, false},
		/* 14 */ {"/a%zz", "/", -EINVAL, NULL, NULL, false},
		/* 15 */ {"/a%00b", "/", -ENOENT, NULL, NULL, false},
		/* 16 */ {"/...", "/", 0, "...", "/...", false},
		/* 17 */ {"/%66/x", "/f", 0, "x", "/f/x", false},
		/* 18 */ {"/a%3Fb#c", "/", 0, "a?b", "/a?b", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct file_path path;
		int r = file_path_read(rows[i].target, rows[i].mount, &path);

		if (r != rows[i].result)
			fail_msg("row %zu: %d", i + 1, r);
		if (r == 0 && (strcmp(path.name, rows[i].name) != 0 ||
			       strcmp(path.url, rows[i].url) != 0 || path.slash != rows[i].slash))
			fail_msg("row %zu: \"%s\" \"%s\" %d", i + 1, path.name, path.url,
				 path.slash);
		file_path_free(&path);
	}
}

static void test_locations(void **state)
{
	struct buffer out = BUFFER_INIT(256);

	(void)state;
	assert_int_equal(file_path_location("/a b/\xc3\xbc?/", "/x?q=1&r", &out), 0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	assert_string_equal((char *)buffer_head(&out), "/a%20b/%C3%BC%3F/?q=1&r");
	buffer_free(&out);
}

/* plan_of() - For a request with up to two headers */
static struct file_plan plan_of(const char *name, const char *value, const char *name2,
				const char *value2, const struct file_facts *facts)
{
	struct http1_head head = {.method = "GET"};
	struct file_plan plan;

	if (name)
		head.headers[head.header_count++] = (struct http1_header){name, value};
	if (name2)
		head.headers[head.header_count++] = (struct http1_header){name2, value2};
	file_plan_make(&head, facts, &plan);
	return plan;
}

static void test_ranges(void **state)
{
	static const struct {
		const char *range;
		uint64_t size;
		int status;
		size_t count;
		uint64_t start, length; /* of the last range */
	} rows[] = {
		/* 1 */ {"bytes=0-9", 100, 206, 1, 0, 10},
		/* 2 */ {"bytes=90-", 100, 206, 1, 90, 10},
		/* 3 */ {"bytes=-30", 100, 206, 1, 70, 30},
		/* 4 */ {"bytes=-300", 100, 206, 1, 0, 100},
		/* 5 */ {"bytes=99-1000", 100, 206, 1, 99, 1},
		/* 6 */ {"bytes=0-0,-1", 100, 206, 2, 99, 1},
		/* 7 */ {"bytes= 0 - 1 , 4 - 5 ", 100, 206, 2, 4, 2},
		/* 8 */ {"bytes=,,5-6,", 100, 206, 1, 5, 2},
		/* 9 */ {"bytes=100-", 100, 416, 0, 0, 0},
		/* 10 */ {"bytes=100-,0-1", 100, 206, 1, 0, 2},
		/* 11 */ {"bytes=5-4", 100, 416, 0, 0, 0},
		/* 12 */ {"bytes=-", 100, 416, 0, 0, 0},
		/* 13 */ {"bytes=a-b", 100, 416, 0, 0, 0},
		/* 14 */ {"bytes=--1", 100, 416, 0, 0, 0},
		/* 15 */ {"bytes=1", 100, 416, 0, 0, 0},
		/* 16 */ {"bytes=1-2x", 100, 416, 0, 0, 0},
		/* 17 */ {"items=0-1", 100, 416, 0, 0, 0},
		/* 18 */ {"bytes=", 100, 200, 0, 0, 0},
		/* 19 */ {"bytes=0-99,0-0", 100, 200, 0, 0, 0},
		/* 20 */ {"bytes=0-", 0, 200, 0, 0, 0},
		/* 21 */ {"bytes=-5", 0, 206, 1, 0, 0},
		/* 22 */ {"bytes=18446744073709551616-", 100, 416, 0, 0, 0},
		/* 23 */ {"bytes=0-18446744073709551616", 100, 416, 0, 0, 0},
		/* 24 */ {"bytes=9223372036854775807-", 100, 416, 0, 0, 0},
		/* 25 */ {"bytes=+1-2", 100, 416, 0, 0, 0},
	};
	char many[1024] = "bytes=";
	struct file_facts facts = {.size = 1000};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct file_plan plan;

		facts.size = rows[i].size;
		plan = plan_of("Range", rows[i].range, NULL, NULL, &facts);
		if (plan.status != rows[i].status || plan.range_count != rows[i].count ||
		    (rows[i].count > 0 &&
		     (plan.ranges[rows[i].count - 1].start != rows[i].start ||
		      plan.ranges[rows[i].count - 1].length != rows[i].length)))
			fail_msg("row %zu: %d, %zu ranges", i + 1, plan.status, plan.range_count);
	}
	facts.size = 1000;
	for (size_t i = 0; i < FILE_RANGES_MAX; i++)
		strcat(many, "1-1,");
	assert_int_equal(plan_of("Range", many, NULL, NULL, &facts).range_count, FILE_RANGES_MAX);
	strcat(many, "1-1");
	assert_int_equal(plan_of("Range", many, NULL, NULL, &facts).status, 200);
}

#define DATE   "Tue, 14 Nov 2023 22:13:20 GMT"
#define LATER  "Tue, 14 Nov 2023 22:13:21 GMT"
#define SOONER "Tue, 14 Nov 2023 22:13:19 GMT"

static void test_conditions(void **state)
{
	static const struct {
		const char *name, *value, *name2, *value2;
		int status;
	} rows[] = {
		/* 1 */ {"If-None-Match", "\"a\"", NULL, NULL, 304},
		/* 2 */ {"If-None-Match", "\"b\" , W/\"a\"", NULL, NULL, 304},
		/* 3 */ {"If-None-Match", "a", NULL, NULL, 200},
		/* 4 */ {"If-None-Match", "\"a", NULL, NULL, 200},
		/* 5 */ {"If-None-Match", "*", NULL, NULL, 304},
		/* 6 */ {"If-None-Match", "", "If-Modified-Since", DATE, 304},
		/* 7 */ {"If-None-Match", "\"b\"", "If-Modified-Since", DATE, 200},
		/* 8 */ {"If-Modified-Since", DATE, NULL, NULL, 304},
		/* 9 */ {"If-Modified-Since", LATER, NULL, NULL, 304},
		/* 10 */ {"If-Modified-Since", SOONER, NULL, NULL, 200},
		/* 11 */ {"If-Modified-Since", "Tuesday, 14-Nov-23 22:13:20 GMT", NULL, NULL, 304},
		/* 12 */ {"If-Modified-Since", "Tue Nov 14 22:13:20 2023", NULL, NULL, 304},
		/* 13 */ {"If-Modified-Since", "yesterday", NULL, NULL, 200},
		/* 14 */ {"If-Match", "\"a\"", "If-Unmodified-Since", SOONER, 200},
		/* 15 */ {"If-Match", "\"b\"", NULL, NULL, 412},
		/* 16 */ {"If-Match", "W/\"a\"", NULL, NULL, 412},
		/* 17 */ {"If-Match", "*", NULL, NULL, 200},
		/* 18 */ {"If-Unmodified-Since", SOONER, NULL, NULL, 412},
		/* 19 */ {"If-Unmodified-Since", DATE, NULL, NULL, 200},
		/* 20 */ {"Range", "bytes=0-0", "If-Range", "\"a\"", 206},
		/* 21 */ {"Range", "bytes=0-0", "If-Range", "\"b\"", 200},
		/* 22 */ {"Range", "bytes=0-0", "If-Range", "W/\"a\"", 200},
		/* 23 */ {"Range", "bytes=0-0", "If-Range", DATE, 206},
		/* 24 */ {"Range", "bytes=0-0", "If-Range", LATER, 200},
		/* 25 */ {"Range", "bytes=0-0", "If-Range", "x", 200},
		/* 26 */ {"Range", "bytes=9-", "If-None-Match", "\"a\"", 304},
	};
	const struct file_facts facts = {.size = 5, .modified = 1700000000, .etag = "\"a\""};
	const struct file_facts bare = {.size = 5};
	char date[FILE_DATE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct file_plan plan =
			plan_of(rows[i].name, rows[i].value, rows[i].name2, rows[i].value2, &facts);

		if (plan.status != rows[i].status)
			fail_msg("row %zu: %d", i + 1, plan.status);
	}
	assert_int_equal(plan_of("If-Modified-Since", DATE, NULL, NULL, &bare).status, 200);
	assert_int_equal(plan_of("If-None-Match", "\"\"", NULL, NULL, &bare).status, 200);
	assert_string_equal(file_date(1700000000, date), DATE);
}

static void test_types(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
		const char *type;
	} rows[] = {
		/* 1 */ {"  \n<!doctype html>", 18, "text/html; charset=utf-8"},
		/* 2 */ {"<htmlx", 6, "text/plain; charset=utf-8"},
		/* 3 */ {"<?xml?>", 7, "text/xml; charset=utf-8"},
		/* 4 */ {"\x89PNG\r\n\x1a\n", 8, "image/png"},
		/* 5 */ {"RIFF1234WEBPVP", 14, "image/webp"},
		/* 6 */
		{"\0\0\0\x10"
		 "ftypmp42\0\0\0\0",
		 16, "video/mp4"},
		/* 7 */
		{"\0\0\xff\xff"
		 "ftypmp42",
		 12, "application/octet-stream"},
		/* 8 */ {"plain\ttext\n", 11, "text/plain; charset=utf-8"},
		/* 9 */ {"a\0b", 3, "application/octet-stream"},
		/* 10 */ {"", 0, "text/plain; charset=utf-8"},
		/* 11 */ {"wOF2", 4, "font/woff2"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *type =
			file_type_by_content((const uint8_t *)rows[i].bytes, rows[i].length);

		if (strcmp(type, rows[i].type) != 0)
			fail_msg("row %zu: %s", i + 1, type);
	}
	assert_string_equal(file_type_by_name("a/b.HTML"), "text/html; charset=utf-8");
	assert_string_equal(file_type_by_name(".zip"), "application/zip");
	assert_string_equal(file_type_by_name("x.ai"), "application/postscript");
	assert_null(file_type_by_name("a.html/b"));
	assert_null(file_type_by_name("a."));
}

static void test_listing(void **state)
{
	static const char names[] = "b/\0a:\"<>\0c'&";
	struct buffer out = BUFFER_INIT(4096);

	(void)state;
	assert_int_equal(file_listing(names, sizeof(names), true, &out), 0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	assert_non_null(strstr((char *)buffer_head(&out),
			       "<pre>\n<a href=\"./a:%22%3C%3E\">a:&#34;&lt;&gt;</a>\n"
			       "<a href=\"b/\">b/</a>\n"
			       "<a href=\"c%27&\">c&#39;&amp;</a>\n… and more"));
	buffer_free(&out);
	assert_int_equal(file_listing("a", 1, false, &out), -EBADMSG);
	buffer_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),  cmocka_unit_test(test_locations),
		cmocka_unit_test(test_ranges), cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_types),  cmocka_unit_test(test_listing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
