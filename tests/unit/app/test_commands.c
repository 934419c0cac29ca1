/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/app/test_commands.c - what every command of the table owes a person */
#include "app/cli/command.h"
#include "base/cleanup.h"
#include "unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#define LINE_MAX_SHOWN 100

/* captured() - What @print writes to stdout; a heap string */
static char *captured(void (*print)(const void *context), const void *context)
{
	char path[] = "/tmp/pillion-out-XXXXXX";
	int fd = mkstemp(path), saved = dup(STDOUT_FILENO);
	char *text = calloc(1, 65536);

	assert_true(fd >= 0 && saved >= 0);
	unlink(path);
	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	print(context);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	assert_true(pread(fd, text, 65535, 0) > 0);
	close(fd);
	return text;
}

static void print_help(const void *command)
{
	command_help(command);
}

static void every_command_explains_itself(void **state)
{
	(void)state;
	for (size_t i = 0; i < command_count; i++) {
		const struct command *c = &commands[i];
		char *text = captured(print_help, c), *line, *rest = text;

		assert_ptr_equal(command_find(c->name), c);
		assert_non_null(c->run);
		assert_non_null(strstr(text, c->summary));
		assert_non_null(strstr(text, "Usage:\n  pillion "));
		assert_non_null(strstr(text, "Examples:\n  "));
		assert_true(c->summary[strlen(c->summary) - 1] != '.');
		while ((line = strsep(&rest, "\n")))
			if (strlen(line) > LINE_MAX_SHOWN)
				fail_msg("%s: a line of %zu: %s", c->name, strlen(line), line);
		free(text);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(c->name, commands[j].name);
	}
	assert_null(command_find("nonsense"));
}

static void flags_of_a_command_are_distinct(void **state)
{
	static struct command_line line;

	(void)state;
	for (size_t i = 0; i < command_count; i++) {
		struct flag_group groups[FLAG_GROUPS_MAX];
		size_t count = command_groups(&commands[i], &line, groups);
		const char *seen[256];
		size_t names = 0;

		assert_true(commands[i].flag_count <= OWN_FLAGS_MAX);
		for (size_t g = 0; g < count; g++)
			for (size_t f = 0; f < groups[g].count; f++) {
				for (size_t s = 0; s < names; s++)
					if (strcmp(seen[s], groups[g].flags[f].name) == 0)
						fail_msg("%s has --%s twice", commands[i].name,
							 seen[s]);
				seen[names++] = groups[g].flags[f].name;
			}
	}
}

static void mistakes_end_with_two(void **state)
{
	static char *const rows[][4] = {
		/* 1 */ {"pillion", "nonsense", NULL},
		/* 2 */ {"pillion", "status", "--jsn", NULL},
		/* 3 */ {"pillion", "status", "word", NULL},
		/* 4 */ {"pillion", "up", "--ssh", NULL},
		/* 5 */ {"pillion", "--nonsense", NULL},
		/* 6 */ {"pillion", "completion", "tcsh", NULL},
		/* 7 */ {"pillion", "set", NULL},
		/* 8 */ {"pillion", "whois", "host", NULL},
		/* 9 */ {"pillion", "ping", NULL},
		/* 10 */ {"pillion", "daemon", "--tun=userspace-networking", NULL},
		/* 11 */ {"pillion", "daemon", "--socks5-server=:1", NULL},
		/* 12 */ {"pillion", "up", "--timeout=5", NULL},
		/* 13 */ {"tailscaled", "daemon", "--config=x", NULL},
		/* 14 */ {"tailscaled", "daemon", "--nonsense", NULL},
		/* 15 */ {"pillion", "daemon", "--no-logs-no-support", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int argc = 0;

		while (rows[i][argc])
			argc++;
		if (command_main(argc, (char **)rows[i]) != EXIT_USAGE)
			fail_msg("row %zu", i + 1);
	}
}

/* What the official command takes, that means nothing here or is not there yet. */
static void official_words_are_known(void **state)
{
	static const struct {
		char *words[6];
		int code;
	} rows[] = {
		/* 1 */ {{"tailscaled", "daemon", "--debug=:1", "--bird-socket=x", "--version"}, 0},
		/* 2 */ {{"tailscaled", "daemon", "--socks5-server=:1", "--version"}, 0},
		/* 3 */
		{{"tailscaled", "daemon", "--outbound-http-proxy-listen=:1", "--version"}, 0},
		/* 4 */ {{"tailscaled", "daemon", "--no-logs-no-support", "--version"}, 0},
		/* 5 */ {{"pillion", "version", "--track=stable"}, 0},
		/* 6 */ {{"pillion", "version", "--upstream"}, EXIT_FAILS},
		/* 7 */
		{{"pillion", "status", "--web", "--listen=:1", "--browser=false"}, EXIT_FAILS},
		/* 8 */ {{"pillion", "serve", "status"}, EXIT_FAILS},
		/* 9 */ {{"pillion", "ssh", "host"}, EXIT_FAILS},
		/* 10 */ {{"pillion", "help", "netcheck"}, EXIT_FAILS},
		/* 11 settings would be missing */
		{{"tailscaled", "daemon", "--config=x", "--version"}, EXIT_USAGE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int argc = 0;

		while (argc < 6 && rows[i].words[argc])
			argc++;
		if (command_main(argc, (char **)rows[i].words) != rows[i].code)
			fail_msg("row %zu", i + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_explains_itself),
		cmocka_unit_test(flags_of_a_command_are_distinct),
		cmocka_unit_test(mistakes_end_with_two),
		cmocka_unit_test(official_words_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
