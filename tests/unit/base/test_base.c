/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/base/test_base.c - errors, cursors, buffers, addresses, log escaping */
#include "base/address.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

static void error_chain_reads_outside_in(void **state)
{
	struct error err = {0};

	(void)state;
	assert_int_equal(error_set_errno(&err, -ECONNREFUSED, "connect %s", "10.0.0.1:443"),
			 -ECONNREFUSED);
	assert_int_equal(error_wrap(&err, "join tailnet"), -ECONNREFUSED);
	assert_string_equal(err.text, "join tailnet: connect 10.0.0.1:443: Connection refused");
	assert_int_equal(error_set(NULL, -EINVAL, "unread"), -EINVAL);
}

static void cursor_fails_once_and_for_all(void **state)
{
	const uint8_t bytes[] = {1, 2, 3, 4, 5};
	struct cursor c = cursor_of(bytes, sizeof(bytes));

	(void)state;
	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_be16(&c), 0x0203);
	assert_int_equal(cursor_be32(&c), 0);
	assert_false(cursor_ok(&c));
	assert_int_equal(cursor_u8(&c), 0);
	c = cursor_of(bytes, 4);
	assert_int_equal(cursor_le32(&c), 0x04030201);
	assert_true(cursor_ok(&c));
}

static void buffer_keeps_its_limit_and_its_bytes(void **state)
{
	struct buffer b = BUFFER_INIT(1000);
	uint8_t chunk[300];

	(void)state;
	memset(chunk, 'x', sizeof(chunk));
	for (int i = 0; i < 100; i++) {
		assert_int_equal(buffer_append(&b, chunk, sizeof(chunk)), 0);
		assert_int_equal(buffer_append(&b, "abc", 3), 0);
		assert_memory_equal(buffer_end(&b) - 3, "abc", 3);
		buffer_consume(&b, 303);
	}
	assert_int_equal(b.length, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(buffer_append(&b, chunk, sizeof(chunk)), 0);
	assert_int_equal(buffer_append(&b, chunk, sizeof(chunk)), -EMSGSIZE);
	assert_int_equal(b.length, 900);
	assert_int_equal(buffer_printf(&b, "%d", 12345), 0);
	assert_memory_equal(buffer_end(&b) - 5, "12345", 5);
	buffer_free(&b);
}

static void addresses_parse_and_format(void **state)
{
	static const struct {
		const char *text;
		const char *formatted; /* NULL: refused */
	} rows[] = {
		/* 1 */ {"10.0.0.0/8", "10.0.0.0/8"},
		/* 2 */ {"100.64.0.1", "100.64.0.1/32"},
		/* 3 */ {"fd7a:115c:a1e0::1", "fd7a:115c:a1e0::1/128"},
		/* 4 */ {"::ffff:1.2.3.4", "1.2.3.4/32"},
		/* 5 */ {"10.0.0.0/33", NULL},
		/* 6 */ {"10.0.0.0/", NULL},
		/* 7 */ {"10.0.0.0/08", NULL},
		/* 8 */ {"", NULL},
		/* 9 */ {"::/129", NULL},
		/* 10 */ {"1.2.3.4/+8", NULL},
	};
	char out[PREFIX_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p;
		int r = prefix_parse(rows[i].text, strlen(rows[i].text), &p);

		if (!rows[i].formatted)
			assert_int_equal(r, -EINVAL);
		else
			assert_string_equal(prefix_format(&p, out), rows[i].formatted);
	}
}

static void endpoints_parse_and_format(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		/* 1 */ {"1.2.3.4:41641", true},
		/* 2 */ {"[fd00::1]:1", true},
		/* 3 */ {"fd00::1:1", false},
		/* 4 */ {"1.2.3.4", false},
		/* 5 */ {"1.2.3.4:65536", false},
		/* 6 */ {"[1.2.3.4:5", false},
		/* 7 */ {":5", false},
		/* 8 */ {"1.2.3.4:", false},
	};
	char out[ENDPOINT_TEXT_MAX];
	struct sockaddr_storage sa;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct endpoint e, back;
		int r = endpoint_parse(rows[i].text, strlen(rows[i].text), &e);

		assert_int_equal(r, rows[i].good ? 0 : -EINVAL);
		if (!rows[i].good)
			continue;
		assert_string_equal(endpoint_format(&e, out), rows[i].text);
		assert_int_not_equal(endpoint_to_sockaddr(&e, &sa), 0);
		assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, &back), 0);
		assert_true(endpoint_equal(&e, &back));
	}
}

static void prefixes_contain(void **state)
{
	static const struct {
		const char *prefix, *address;
		bool inside;
	} rows[] = {
		/* 1 */ {"100.64.0.0/10", "100.127.255.255", true},
		/* 2 */ {"100.64.0.0/10", "100.128.0.0", false},
		/* 3 */ {"0.0.0.0/0", "8.8.8.8", true},
		/* 4 */ {"0.0.0.0/0", "::1", false},
		/* 5 */ {"fd7a:115c:a1e0::/48", "fd7a:115c:a1e0:ffff::1", true},
		/* 6 */ {"fd7a:115c:a1e0::/48", "fd7a:115c:a1e1::1", false},
		/* 7 */ {"1.2.3.4/32", "1.2.3.5", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct address a;
		struct prefix p;

		assert_int_equal(prefix_parse(rows[i].prefix, strlen(rows[i].prefix), &p), 0);
		assert_int_equal(address_parse(rows[i].address, strlen(rows[i].address), &a), 0);
		assert_int_equal(prefix_contains(&p, &a), rows[i].inside);
	}
}

static void classes_of_addresses(void **state)
{
	static const struct {
		const char *text;
		bool loopback, link_local, private, tailnet;
	} rows[] = {
		/* 1 */ {"127.0.0.1", true, false, false, false},
		/* 2 */ {"::1", true, false, false, false},
		/* 3 */ {"169.254.1.1", false, true, false, false},
		/* 4 */ {"fe80::1", false, true, false, false},
		/* 5 */ {"172.31.0.1", false, false, true, false},
		/* 6 */ {"100.100.100.100", false, false, false, true},
		/* 7 */ {"100.115.92.1", false, false, false, false},
		/* 8 */ {"fd7a:115c:a1e0::1", false, false, true, true},
		/* 9 */ {"8.8.8.8", false, false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct address a;

		assert_int_equal(address_parse(rows[i].text, strlen(rows[i].text), &a), 0);
		assert_int_equal(address_is_loopback(&a), rows[i].loopback);
		assert_int_equal(address_is_link_local(&a), rows[i].link_local);
		assert_int_equal(address_is_private(&a), rows[i].private);
		assert_int_equal(address_is_tailnet(&a), rows[i].tailnet);
	}
}

static void texts_of_others_are_printable(void **state)
{
	static const struct {
		const char *text, *shown;
	} rows[] = {
		/* 1 */ {"", ""},
		/* 2 */
		{"web \xc3\xa4 \xf0\x9f\x90\x98 \\ \"", "web \xc3\xa4 \xf0\x9f\x90\x98 \\ \""},
		/* 3 */ {"\x1b[31m\x07\x7f\r\n\t", "\\x1b[31m\\x07\\x7f\\x0d\\n\\x09"},
		/* 4: CSI as C1 */
		{"\xc2\x9b"
		 "2J",
		 "\\u009b2J"},
		/* 5: raw */
		{"\x9b"
		 "2J",
		 "\\x9b2J"},
		/* 6: override of direction */
		{"\xe2\x80\xae"
		 "exe",
		 "\\u202eexe"},
		/* 7: half of one */ {"a\xe2\x82", "a\\xe2\\x82"},
		/* 8: longer than it needs to be */ {"\xc0\xaf", "\\xc0\\xaf"},
		/* 9: a surrogate */ {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
	};
	char shown[128], again[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t length = printable(shown, sizeof(shown), rows[i].text, strlen(rows[i].text));

		assert_string_equal(shown, rows[i].shown);
		assert_int_equal(length, strlen(shown));
		printable(again, sizeof(again), shown, length);
		assert_string_equal(again, shown);
	}
	/* Cut after a whole character, whether it grew or not. */
	for (size_t size = 1; size < 12; size++) {
		assert_true(printable(shown, size, "\xc3\xa4\xe2\x82\xac\x1b", 6) < size);
		assert_int_equal(utf8_whole(shown, strlen(shown)), strlen(shown));
	}
	assert_int_equal(utf8_whole("a\xe2\x82\xac", 4), 4);
	assert_int_equal(utf8_whole("a\xe2\x82\xac", 3), 1);
	assert_int_equal(utf8_whole("a\xe2\x82\xac", 2), 1);
	assert_int_equal(utf8_whole("\x80\x80\x80\x80", 4), 4);
}

static void an_error_is_never_cut_inside_a_character(void **state)
{
	char text[2 * ERROR_TEXT_MAX];

	(void)state;
	for (size_t lead = 0; lead < 3; lead++) {
		struct error err = {0};

		memset(text, 'a', lead);
		for (size_t i = lead; i + 4 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac", 4);
		error_set(&err, -EINVAL, "%s", text);
		assert_null(strchr(err.text, '\\'));
		assert_int_equal(utf8_whole(err.text, strlen(err.text)), strlen(err.text));
		error_wrap(&err, "\x1b]0;%s", "owned");
		assert_null(strchr(err.text, '\x1b'));
		assert_int_equal(utf8_whole(err.text, strlen(err.text)), strlen(err.text));
	}
}

static void log_lines_cannot_be_forged(void **state)
{
	char line[512];
	ssize_t length;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_setup(fds[1], LOG_INFO, LOG_FORMAT_TEXT);
	log_line(LOG_INFO, "test", "name=%s", "evil\nerror forged: \x1b[31m");
	log_line(LOG_DEBUG, "test", "not written");
	length = read(fds[0], line, sizeof(line) - 1);
	assert_true(length > 0);
	line[length] = 0;
	assert_ptr_equal(strchr(line, '\n'), line + length - 1);
	assert_non_null(strstr(line, "info  test: name=evil\\nerror forged: \\x1b[31m"));
	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	close(fds[0]);
	close(fds[1]);
}

/* Nothing reads the pipe: our own lines don't wait for it, and the loss is said later. */
static void a_reader_that_stops_does_not_stop_the_log(void **state)
{
	char bytes[8192];
	ssize_t length;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETPIPE_SZ, 4096), 4096);
	log_setup(fds[1], LOG_INFO, LOG_FORMAT_JSON);
	for (int i = 0; i < 4; i++)
		log_line(LOG_INFO, "test", "line %d", i);
	length = read(fds[0], bytes, sizeof(bytes) - 1);
	assert_true(length > 0);
	bytes[length] = 0;
	assert_non_null(strstr(bytes, "line 0"));
	assert_null(strstr(bytes, "line 1"));
	/* The line that tells of the loss takes the room; the next line counts as lost. */
	log_line(LOG_INFO, "test", "line 4");
	length = read(fds[0], bytes, sizeof(bytes) - 1);
	assert_true(length > 0);
	bytes[length] = 0;
	assert_non_null(
		strstr(bytes, "\"msg\":\"3 log lines were lost: nothing read this log\"}\n"));
	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_chain_reads_outside_in),
		cmocka_unit_test(cursor_fails_once_and_for_all),
		cmocka_unit_test(buffer_keeps_its_limit_and_its_bytes),
		cmocka_unit_test(addresses_parse_and_format),
		cmocka_unit_test(endpoints_parse_and_format),
		cmocka_unit_test(prefixes_contain),
		cmocka_unit_test(classes_of_addresses),
		cmocka_unit_test(texts_of_others_are_printable),
		cmocka_unit_test(an_error_is_never_cut_inside_a_character),
		cmocka_unit_test(log_lines_cannot_be_forged),
		cmocka_unit_test(a_reader_that_stops_does_not_stop_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
