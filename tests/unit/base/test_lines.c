/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/base/test_lines.c - what a child writes, cut into lines; and how often it crashed */
#include "unit/unit.h"

#include "base/crashes.h"
#include "base/lines.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char got[4 * LINES_MAX];

static void keep(void *user, const char *text, size_t length)
{
	assert_ptr_equal(user, got);
	assert_true(length > 0 && length <= LINES_MAX && text[length - 1] == '\n');
	strncat(got, "|", sizeof(got) - strlen(got) - 1);
	strncat(got, text, length);
}

/* feed() - In pieces of @step bytes */
static void feed(struct lines *lines, const char *text, size_t length, size_t step)
{
	while (length > 0) {
		size_t n = length < step ? length : step;

		if (n > lines_room(lines))
			n = lines_room(lines);
		assert_true(n > 0);
		memcpy(lines_end(lines), text, n);
		lines_take(lines, n, keep, got);
		text += n;
		length -= n;
	}
}

static void cuts_lines_however_they_come(void **state)
{
	static const char text[] = "one\n\ntwo \x1b[31mred\x7f \xc3\xa4\nthree";

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		struct lines lines = {0};

		got[0] = 0;
		feed(&lines, text, sizeof(text) - 1, step);
		assert_string_equal(got, "|one\n|\n|two ?[31mred? \xc3\xa4\n");
		lines_finish(&lines, keep, got);
		assert_string_equal(got, "|one\n|\n|two ?[31mred? \xc3\xa4\n|three\n");
		lines_finish(&lines, keep, got);
		assert_int_equal(lines.used, 0);
	}
}

static void nothing_that_a_terminal_obeys_is_passed_on(void **state)
{
	/* CSI as one C1 character and as a raw byte; an override of direction; half a character */
	static const char text[] = "a\xc2\x9b"
				   "31m\x9b"
				   "b\xe2\x80\xae"
				   "c\xe2\x82\n\xf0\x9f\x90\x98\n";

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		struct lines lines = {0};

		got[0] = 0;
		feed(&lines, text, sizeof(text) - 1, step);
		assert_string_equal(got, "|a??31m?b???c??\n|\xf0\x9f\x90\x98\n");
	}
}

static void a_long_line_is_cut_between_characters(void **state)
{
	static char text[LINES_MAX + 8];
	struct lines lines = {0};

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	got[0] = 0;
	feed(&lines, text, sizeof(text), 100);
	lines_finish(&lines, keep, got);
	assert_null(strchr(got, '?'));
}

static void a_long_line_is_several(void **state)
{
	struct lines lines = {0};
	static char text[2 * LINES_MAX];

	(void)state;
	got[0] = 0;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	feed(&lines, text, sizeof(text), 1000);
	assert_int_equal(lines.used, 0);
	/* 4095 + 4095 + 1 bytes, each with a newline. */
	assert_int_equal(strlen(got), sizeof(text) - 1 + 3 + 3);
	assert_string_equal(got + strlen(got) - 4, "\n|x\n");
}

static void a_reader_who_stands_still_loses_lines(void **state)
{
	int ends[2];
	unsigned int written = 0;
	char line[LINES_MAX];

	(void)state;
	memset(line, 'x', sizeof(line));
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	while (written < 1000 && lines_write(ends[1], line, sizeof(line)))
		written++;
	assert_true(written > 0 && written < 1000);
	assert_int_equal(read(ends[0], line, sizeof(line)), sizeof(line));
	assert_true(lines_write(ends[1], line, sizeof(line)));
	close(ends[0]);
	close(ends[1]);
}

static void says_how_a_child_ended(void **state)
{
	char words[CRASHES_WORDS_MAX];

	(void)state;
	crashes_words(W_EXITCODE(3, 0), words);
	assert_string_equal(words, "ended with code 3");
	crashes_words(W_EXITCODE(0, SIGKILL), words);
	assert_string_equal(words, "killed by SIGKILL");
	crashes_words(W_EXITCODE(0, SIGSYS), words);
	assert_string_equal(words, "killed by SIGSYS (a system call outside its list)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_lines_however_they_come),
		cmocka_unit_test(nothing_that_a_terminal_obeys_is_passed_on),
		cmocka_unit_test(a_long_line_is_cut_between_characters),
		cmocka_unit_test(a_long_line_is_several),
		cmocka_unit_test(a_reader_who_stands_still_loses_lines),
		cmocka_unit_test(says_how_a_child_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
