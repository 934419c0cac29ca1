/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_json.c - scanner, times, durations, reader and writer */
#include "unit/unit.h"
#include "wire/json.h"

static void scanner_takes_json_and_nothing_else(void **state)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		/* 1 */ {"{}", 0},
		/* 2 */ {" [ ] ", 0},
		/* 3 */ {"null", 0},
		/* 4 */ {"-0.5e+10", 0},
		/* 5 */ {"\"\\u00e9\\n\\\"\"", 0},
		/* 6 */ {"{\"a\":[1,{\"b\":null}],\"c\":true}", 0},
		/* 7 */ {"", -EBADMSG},
		/* 8 */ {"{", -EBADMSG},
		/* 9 */ {"[1,]", -EBADMSG},
		/* 10 */ {"{\"a\":1,}", -EBADMSG},
		/* 11 */ {"{\"a\" 1}", -EBADMSG},
		/* 12 */ {"{a:1}", -EBADMSG},
		/* 13 */ {"01", -EBADMSG},
		/* 14 */ {"1.", -EBADMSG},
		/* 15 */ {"+1", -EBADMSG},
		/* 16 */ {"\"\n\"", -EBADMSG},
		/* 17 */ {"\"\\x\"", -EBADMSG},
		/* 18 */ {"\"\\u12g4\"", -EBADMSG},
		/* 19 */ {"\"open", -EBADMSG},
		/* 20 */ {"\"\\", -EBADMSG},
		/* 21 */ {"{} {}", -EBADMSG},
		/* 22 */ {"[1}", -EBADMSG},
		/* 23 */ {"{\"a\":1]", -EBADMSG},
		/* 24 */ {"truefalse", -EBADMSG},
		/* 25 */ {"nul", -EBADMSG},
		/* 26 */ {"1e", -EBADMSG},
		/* 27 */ {"-", -EBADMSG},
		/* 28 */ {"\xef\xbb\xbf{}", -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_range range;
		int r = json_scan_value(rows[i].text, strlen(rows[i].text), &range);

		if (r != rows[i].result)
			fail_msg("row %zu: %s: %d", i + 1, rows[i].text, r);
	}
}

/* As deep as the text is long; each level keeps its kind. */
static void scanner_walks_over_any_depth(void **state)
{
	static const size_t depths[] = {1, 63, 64, 65, 127, 128, 129, 1000, 1000000};
	struct json_range range;

	(void)state;
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
		size_t depth = depths[i], used = 0;
		char *text = malloc(6 * depth);

		/* [{"":[{"":[… */
		for (size_t k = 0; k < depth; k++) {
			memcpy(text + used, k % 2 ? "{\"\":" : "[", k % 2 ? 4 : 1);
			used += k % 2 ? 4 : 1;
		}
		text[used++] = '1';
		for (size_t k = depth; k-- > 0;)
			text[used++] = k % 2 ? '}' : ']';
		assert_int_equal(json_scan_value(text, used, &range), 0);
		assert_int_equal(json_scan_value(text, used - 1, &range), -EBADMSG);
		text[used - 1] = '}';
		assert_int_equal(json_scan_value(text, used, &range), -EBADMSG);
		free(text);
	}
}

/* A member that we don't know, deeper than jansson goes: the others are read all the same. */
static void a_deep_member_spoils_no_object(void **state)
{
	static const char head[] = "{\"a\":1,\"deep\":{\"s\":\"]\\\"}\",\"x\":",
			  tail[] = "},\"b\":[2,{\"c\":3}]}";
	size_t depth = 100000, length = strlen(head) + 2 * depth + strlen(tail);
	char *text = malloc(length);
	json_t *json;

	(void)state;
	memcpy(text, head, strlen(head));
	memset(text + strlen(head), '[', depth);
	memset(text + strlen(head) + depth, ']', depth);
	memcpy(text + strlen(head) + 2 * depth, tail, strlen(tail));
	json = json_parse((struct json_range){text, length}, NULL);
	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "a")), 1);
	assert_string_equal(json_string_value(json_object_get(json_object_get(json, "deep"), "s")),
			    "]\"}");
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(json, "b"), 1), "c")),
			 3);
	json_decref(json);
	free(text);
}

static void scanner_walks_members_and_elements(void **state)
{
	const char *text = " {\"a\" : [ 1 , {\"x\":[2]}, \"t\\\"]\" ] , \"b\":null} ";
	static const char *const elements[] = {"1", "{\"x\":[2]}", "\"t\\\"]\""};
	struct json_range whole, key, value, element;
	struct json_scan scan, inner;

	(void)state;
	assert_int_equal(json_scan_value(text, strlen(text), &whole), 0);
	assert_int_equal(json_scan_open(whole, '[', &scan), -EINVAL);
	assert_int_equal(json_scan_open(whole, '{', &scan), 0);
	assert_int_equal(json_scan_member(&scan, &key, &value), 1);
	assert_true(json_range_is(key, "a"));
	assert_int_equal(json_scan_open(value, '[', &inner), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(json_scan_element(&inner, &element), 1);
		assert_true(json_range_is(element, elements[i]));
	}
	assert_int_equal(json_scan_element(&inner, &element), 0);
	assert_int_equal(json_scan_member(&scan, &key, &value), 1);
	assert_true(json_range_is(key, "b"));
	assert_true(json_range_is_null(value));
	assert_int_equal(json_scan_member(&scan, &key, &value), 0);
}

static void times_are_read_and_written(void **state)
{
	static const struct {
		const char *text;
		int result;
		nanoseconds time;
		const char *written; /* NULL: as read */
	} rows[] = {
		/* 1 */ {"0001-01-01T00:00:00Z", 0, JSON_TIME_NONE, NULL},
		/* 2 */ {"1970-01-01T00:02:03Z", 0, 123 * NSEC_PER_SEC, NULL},
		/* 3 */ {"2024-02-29T12:34:56.5Z", 0, 1709210096500000000, NULL},
		/* 4 */
		{"2024-02-29T14:34:56.5+02:00", 0, 1709210096500000000, "2024-02-29T12:34:56.5Z"},
		/* 5 */ {"2023-02-29T00:00:00Z", -EINVAL, 0, NULL},
		/* 6 */ {"2024-01-01T24:00:00Z", -EINVAL, 0, NULL},
		/* 7 */ {"2024-01-01 00:00:00Z", -EINVAL, 0, NULL},
		/* 8 */ {"2024-01-01T00:00:00", -EINVAL, 0, NULL},
		/* 9 */ {"2024-01-01T00:00:00.Z", -EINVAL, 0, NULL},
		/* 10 */ {"2024-01-01T00:00:00Zx", -EINVAL, 0, NULL},
		/* 11 */ {"", -EINVAL, 0, NULL},
		/* 12 */ {"9999-12-31T23:59:59Z", 0, INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
		/* 13 */ {"1970-01-01T00:00:00Z", 0, 1, "1970-01-01T00:00:00.000000001Z"},
		/* 14 */ {"1969-12-31T23:59:59.25Z", 0, -750000000, NULL},
		/* 15 */
		{"2024-01-01T00:00:00.123456789123Z", 0, 1704067200123456789,
		 "2024-01-01T00:00:00.123456789Z"},
		/* 16 */
		{"2000-03-01T00:00:00-00:30", 0, 951870600000000000, "2000-03-01T00:30:00Z"},
		/* 17 */ {"0001-01-01T00:00:01Z", 0, INT64_MIN, "1677-09-21T00:12:43.145224192Z"},
	};
	char out[JSON_TIME_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		nanoseconds time = 77;
		int r = json_time_parse(rows[i].text, strlen(rows[i].text), &time);

		if (r != rows[i].result)
			fail_msg("row %zu: result %d", i + 1, r);
		if (r < 0) {
			assert_int_equal(time, 77);
			continue;
		}
		if (time != rows[i].time)
			fail_msg("row %zu: %lld", i + 1, (long long)time);
		assert_string_equal(json_time_format(time, out),
				    rows[i].written ? rows[i].written : rows[i].text);
	}
}

static void reader_takes_null_and_absent_for_zero(void **state)
{
	json_t *json =
		json_loads("{\"n\":null,\"i\":7,\"s\":\"x\",\"e\":\"\",\"l\":[],\"b\":false,"
			   "\"p\":[\"10.1.2.3/8\"],\"ep\":[\"1.2.3.4:5\",\"[fe80::1%eth0]:1\","
			   "\"\"],\"k\":\"\"}",
			   0, NULL);
	struct json_reader r = json_reader_of(json);
	struct prefix_list prefixes;
	struct endpoint_list endpoints;
	enum optional_bool said = OPTIONAL_UNSET;
	struct string_list strings;
	struct public_key key;
	struct error err = {0};
	char *text;

	(void)state;
	assert_int_equal(json_get_int(&r, "n"), 0);
	assert_int_equal(json_get_int(&r, "absent"), 0);
	assert_int_equal(json_get_int(&r, "i"), 7);
	assert_null(json_get_string(&r, "e"));
	assert_null(json_get_string(&r, "n"));
	text = json_get_string(&r, "s");
	assert_string_equal(text, "x");
	free(text);
	json_get_value(&r, "n", VALUE_OPTIONAL_BOOL, &said);
	assert_int_equal(said, OPTIONAL_UNSET);
	json_get_value(&r, "b", VALUE_OPTIONAL_BOOL, &said);
	assert_int_equal(said, OPTIONAL_FALSE);
	assert_int_equal(json_get_time(&r, "n"), JSON_TIME_NONE);
	key = json_get_key(&r, "k", KEY_NODE);
	assert_true(public_key_is_zero(&key));
	json_get_strings(&r, "l", &strings);
	assert_int_equal(strings.count, 0);
	json_get_prefixes(&r, "p", &prefixes);
	assert_int_equal(prefixes.count, 1);
	assert_int_equal(prefixes.items[0].address.bytes[1], 0); /* without host bits */
	json_get_endpoints(&r, "ep", &endpoints);
	assert_int_equal(endpoints.count, 1); /* zones and "" are passed over */
	assert_int_equal(json_reader_result(&r, &err, "thing"), 0);
	assert_int_equal(err.code, 0);
	prefix_list_clear(&prefixes);
	endpoint_list_clear(&endpoints);

	assert_int_equal(json_get_int(&r, "s"), 0);
	assert_int_equal(json_get_int(&r, "l"), 0);
	assert_int_equal(json_reader_result(&r, &err, "thing"), -EINVAL);
	assert_string_equal(err.text, "thing: unusable s");
	json_decref(json);
}

static void writer_escapes_and_separates(void **state)
{
	struct buffer out = BUFFER_INIT(1000);
	struct json_writer w = json_writer_to(&out);
	struct prefix_list none = {0};

	(void)state;
	json_begin_object(&w, NULL);
	json_put_string(&w, "a", "q\"b\\n\nt\x01\xc3\xa9\xff\xed\xa0\x80");
	json_put_string(&w, "b", NULL);
	json_put_string_if(&w, "c", "");
	json_put_bool(&w, "d", true);
	json_put_int_if(&w, "e", 0);
	json_begin_array(&w, "f");
	json_put_int(&w, NULL, -1);
	json_put_null(&w, NULL);
	json_begin_object(&w, NULL);
	json_end_object(&w);
	json_end_array(&w);
	json_put_prefixes(&w, "g", &none);
	json_put_number(&w, "h", 0.5);
	json_end_object(&w);
	assert_int_equal(json_writer_result(&w), 0);
	assert_int_equal(buffer_append(&out, "", 1), 0);
	assert_string_equal(
		(char *)buffer_head(&out),
		"{\"a\":\"q\\\"b\\\\n\\u000at\\u0001\xc3\xa9\\ufffd\\ufffd\\ufffd\\ufffd\","
		"\"b\":\"\",\"d\":true,\"f\":[-1,null,{}],\"g\":[],\"h\":0.5}");
	buffer_free(&out);

	out = BUFFER_INIT(4);
	w = json_writer_to(&out);
	json_put_string(&w, NULL, "too long");
	assert_int_equal(json_writer_result(&w), -EMSGSIZE);
	buffer_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scanner_takes_json_and_nothing_else),
		cmocka_unit_test(scanner_walks_over_any_depth),
		cmocka_unit_test(a_deep_member_spoils_no_object),
		cmocka_unit_test(scanner_walks_members_and_elements),
		cmocka_unit_test(times_are_read_and_written),
		cmocka_unit_test(reader_takes_null_and_absent_for_zero),
		cmocka_unit_test(writer_escapes_and_separates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
