/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_source_log.c - a line a source a minute, and the number of the others */
#include "base/cleanup.h"
#include "base/log.h"
#include "server/coordinator/source_log.h"
#include "server/web/source_limit.h"
#include "unit/unit.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOW    (1000 * NSEC_PER_SEC)
#define MINUTE (60 * NSEC_PER_SEC)

static void test_a_line_a_minute(void **state)
{
	struct source_log *log = source_log_new();
	struct address who, other;
	char text[4096] = "";
	int fd = memfd_create("log", MFD_CLOEXEC);

	(void)state;
	assert_non_null(log);
	assert_true(fd >= 0);
	assert_int_equal(address_parse("192.0.2.1", 9, &who), 0);
	assert_int_equal(address_parse("192.0.2.2", 9, &other), 0);
	log_setup(fd, LOG_INFO, LOG_FORMAT_TEXT);
	assert_true(source_log_may(log, 1, &who, NOW));
	for (int i = 0; i < 2999; i++)
		assert_false(source_log_may(log, 1, &who, NOW + i));
	assert_true(source_log_may(log, WEB_SOURCE_LOCAL, &other, NOW));
	source_log_tick(log, NOW + MINUTE / 2);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 0);
	source_log_tick(log, NOW + MINUTE + MINUTE / 10);
	assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, " 2999 more requests like that from=192.0.2.1 "));
	assert_null(strstr(text, "192.0.2.2"));
	/* That was this minute's line. */
	assert_false(source_log_may(log, 1, &who, NOW + MINUTE + MINUTE / 10));
	assert_false(source_log_may(log, 1, &who, NOW + 4 * MINUTE));
	source_log_tick(log, NOW + 4 * MINUTE);
	assert_true(source_log_may(log, 1, &who, NOW + 6 * MINUTE));
	source_log_free(log);
	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_line_a_minute)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
