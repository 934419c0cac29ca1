/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_dns_hook.c - the DNS hook: a real helper that runs real programs
 *
 *	dns_hook_ask() --socketpair--> helper --fork, exec--> a shell script in a folder of ours
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/dns_hook.h"
#include "unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NAME "_acme-challenge.host.t.test"

struct fixture {
	char folder[64], program[96], output[96];
	uv_loop_t loop;
	struct dns_hook *hook;
	uint32_t ids[64];
	int results[64];
	size_t count, wanted;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->folder, "/tmp/pillion-hook-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->program, sizeof(f->program), "%s/hook", f->folder);
	snprintf(f->output, sizeof(f->output), "%s/output", f->folder);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	dns_hook_free(f->hook);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	snprintf(command, sizeof(command), "rm -r %s", f->folder);
	assert_int_equal(system(command), 0);
	/* The helper ends with its socket. */
	assert_true(wait(NULL) > 0);
	free(f);
	return 0;
}

static void on_done(void *user, uint32_t id, int result)
{
	struct fixture *f = user;

	assert_true(f->count < 64);
	f->ids[f->count] = id;
	f->results[f->count++] = result;
	if (f->count == f->wanted)
		uv_stop(&f->loop);
}

static void write_program(struct fixture *f, const char *script)
{
	FILE *file = fopen(f->program, "w");

	fprintf(file, "#!/bin/sh\ncd %s\n%s\n", f->folder, script);
	fclose(file);
	assert_int_equal(chmod(f->program, 0700), 0);
}

static void begin(struct fixture *f, const char *script, nanoseconds timeout)
{
	struct error err = {0};
	int fd = -1;

	write_program(f, script);
	if (dns_hook_spawn(f->program, timeout, &fd, &err) < 0 ||
	    dns_hook_new(&f->loop, fd, on_done, f, &f->hook, &err) < 0)
		fail_msg("%s", err.text);
}

static void wait_for_reports(struct fixture *f, size_t count)
{
	f->wanted = count;
	if (f->count < count)
		uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(f->count, count);
}

static char *read_output(struct fixture *f)
{
	static char text[4096];
	FILE *file = fopen(f->output, "r");

	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return text;
}

static void test_it_runs(void **state)
{
	struct fixture *f = *state;
	uint32_t id = 0;

	begin(f, "printf '%s|' \"$@\" >output; ls /proc/self/fd | tr '\\n' ' ' >>output",
	      NSEC_PER_SEC * 20);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "-xJ_9", &id), 0);
	wait_for_reports(f, 1);
	assert_int_equal(f->ids[0], id);
	assert_int_equal(f->results[0], 0);
	/* ls has its folder as 3; nothing else is open there. */
	assert_string_equal(read_output(f), "present|" NAME "|-xJ_9|0 1 2 3 ");
}

static void test_it_fails(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	begin(f, "head -c 1000000 /dev/zero; echo no; exit 3", NSEC_PER_SEC * 20);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, 1);
	assert_int_equal(f->results[0], -EIO);
	/* It isn't there any more, and comes back. */
	assert_int_equal(unlink(f->program), 0);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, 2);
	assert_int_equal(f->results[1], -EIO);
	write_program(f, "kill -9 $$");
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, 3);
	assert_int_equal(f->results[2], -EIO);
	write_program(f, "exit 0");
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, 4);
	assert_int_equal(f->results[3], 0);
}

/* It hangs, and so does what it started: all of it is killed, and others are served meanwhile. */
static void test_it_hangs(void **state)
{
	struct fixture *f = *state;
	nanoseconds began = clock_boottime();
	uint32_t slow, quick;

	begin(f, "[ $3 = slow ] || exit 0\nsleep 1000 & echo $! >output; wait", NSEC_PER_SEC * 2);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "slow", &slow), 0);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "quick", &quick), 0);
	wait_for_reports(f, 1);
	assert_int_equal(f->ids[0], quick);
	wait_for_reports(f, 2);
	assert_int_equal(f->results[1], -ETIMEDOUT);
	assert_true(clock_boottime() - began >= 2 * NSEC_PER_SEC);
	for (int i = 0; i < 200 && kill(atoi(read_output(f)), 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(atoi(read_output(f)), 0), -1);
}

/* Whose output is still open after it ended does not hold the answer up. */
static void test_it_leaves_something_behind(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	begin(f, "sleep 5 & exit 0", NSEC_PER_SEC * 20);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, 1);
	assert_int_equal(f->results[0], 0);
}

static void test_many_at_once(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	begin(f, "echo x >>output", NSEC_PER_SEC * 20);
	for (size_t i = 0; i < LIMIT_CONTROL_HOOKS; i++)
		assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), -EBUSY);
	wait_for_reports(f, LIMIT_CONTROL_HOOKS);
	assert_int_equal(strlen(read_output(f)), 2 * LIMIT_CONTROL_HOOKS);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, LIMIT_CONTROL_HOOKS + 1);
}

static void test_the_helper_dies(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	begin(f, "kill -9 $PPID; sleep 1000", NSEC_PER_SEC * 20);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), 0);
	wait_for_reports(f, 1);
	assert_int_equal(f->results[0], -EPIPE);
	assert_int_equal(dns_hook_ask(f->hook, NAME, "x", &id), -EPIPE);
}

/* What a captured server could say: the helper runs nothing of it, and lives on. */
static void test_hostile_orders(void **state)
{
	struct fixture *f = *state;
	struct dns_hook_order order = {.id = 7, .name = NAME, .value = "$(touch output)"};
	struct dns_hook_report report;
	struct error err = {0};
	int fd = -1;

	write_program(f, "echo \"$@\" >>output");
	if (dns_hook_spawn(f->program, NSEC_PER_SEC * 20, &fd, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(send(fd, &order, sizeof(order), 0), sizeof(order));
	assert_int_equal(recv(fd, &report, sizeof(report), 0), sizeof(report));
	assert_int_equal(report.result, -EINVAL);
	assert_int_equal(send(fd, &order, 3, 0), 3);
	assert_int_equal(recv(fd, &report, sizeof(report), 0), sizeof(report));
	assert_int_equal(report.result, -EINVAL);
	memset(&order, 'a', sizeof(order));
	assert_int_equal(send(fd, &order, sizeof(order), 0), sizeof(order));
	assert_int_equal(recv(fd, &report, sizeof(report), 0), sizeof(report));
	assert_int_equal(report.result, -EINVAL);
	assert_int_equal(access(f->output, F_OK), -1);
	order = (struct dns_hook_order){.id = 8, .name = NAME, .value = "x"};
	assert_int_equal(send(fd, &order, sizeof(order), 0), sizeof(order));
	assert_int_equal(recv(fd, &report, sizeof(report), 0), sizeof(report));
	assert_int_equal(report.id, 8);
	assert_int_equal(report.result, 0);
	assert_string_equal(read_output(f), "present " NAME " x\n");
	close(fd);
}

static void test_programs_that_are_none(void **state)
{
	struct error err = {0};
	int fd = -1;

	(void)state;
	assert_int_equal(dns_hook_spawn("hook", NSEC_PER_SEC, &fd, &err), -EINVAL);
	assert_int_equal(dns_hook_spawn("/nowhere/hook", NSEC_PER_SEC, &fd, &err), -ENOENT);
	assert_int_equal(dns_hook_spawn("/etc/passwd", NSEC_PER_SEC, &fd, &err), -EACCES);
	assert_non_null(strstr(err.text, "/etc/passwd can't be run"));
	assert_int_equal(fd, -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_it_runs),        TEST(test_it_fails),
		TEST(test_it_hangs),       TEST(test_it_leaves_something_behind),
		TEST(test_many_at_once),   TEST(test_the_helper_dies),
		TEST(test_hostile_orders), cmocka_unit_test(test_programs_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
