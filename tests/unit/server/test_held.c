/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_held.c - answers to held requests, where each one ends its connection
 *
 * Writing an answer may find the connection broken, which frees all of its exchanges. Linked with
 * --wrap, each answer here does that.
 */
#include "base/limits.h"
#include "server/coordinator/coordinator_internal.h"
#include "unit/unit.h"

int __wrap_http2_reply(struct http2_exchange *x, int status, const char *type, const void *body,
		       size_t length);
void __wrap_http2_reset(struct http2_exchange *x);

#define EXCHANGES 3

static struct coordinator *control;
static struct http2_exchange exchanges[EXCHANGES];
static int last_status;
static int answers;

static void end_connection(int status)
{
	last_status = status;
	answers++;
	for (int i = 0; i < EXCHANGES; i++)
		if (exchanges[i].context)
			machine_exchange_free(exchanges[i].context);
}

int __wrap_http2_reply(struct http2_exchange *x, int status, const char *type, const void *body,
		       size_t length)
{
	(void)x;
	(void)type;
	(void)body;
	(void)length;
	end_connection(status);
	return 0;
}

void __wrap_http2_reset(struct http2_exchange *x)
{
	(void)x;
	end_connection(0);
}

static int setup(void **state)
{
	static const struct tailnet_settings settings = {.server_url = "https://c.test",
							 .base_domain = "t.test"};

	(void)state;
	control = calloc(1, sizeof(*control));
	assert_non_null(control);
	assert_int_equal(tailnet_init(&control->tailnet, &settings), 0);
	control->stopping = true; /* there is no loop */
	answers = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tailnet_clear(&control->tailnet);
	free(control);
	return 0;
}

static void hold(bool ssh)
{
	for (int i = 0; i < EXCHANGES; i++) {
		struct machine_exchange *e =
			machine_exchange_new(control, &exchanges[i], EXCHANGE_HELD);

		assert_non_null(e);
		e->until = 0;
		if (ssh) {
			e->ssh = calloc(1, sizeof(*e->ssh));
			assert_non_null(e->ssh);
		}
	}
}

static void run(void (*walk)(struct coordinator *c), bool ssh, int status)
{
	hold(ssh);
	walk(control);
	/* Nothing is sent while the list is walked. */
	assert_int_equal(answers, 0);
	coordinator_answer(control);
	assert_int_equal(answers, 1);
	assert_int_equal(last_status, status);
	for (int i = 0; i < EXCHANGE_KINDS; i++)
		assert_null(control->exchanges[i]);
}

static void tick(struct coordinator *c)
{
	machine_tick(c, 1);
}

/* Nobody knows the nodes of these sessions: 404. */
static void sessions_are_decided(void **state)
{
	(void)state;
	run(machine_decided, true, 404);
}

static void sessions_have_waited_for_long(void **state)
{
	(void)state;
	run(tick, true, 404);
}

/* Their capability version is 0, which is refused by an answer. */
static void logins_are_decided(void **state)
{
	(void)state;
	run(machine_decided, false, 200);
}

static void logins_have_waited_for_long(void **state)
{
	(void)state;
	run(tick, false, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sessions_are_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(sessions_have_waited_for_long, setup, teardown),
		cmocka_unit_test_setup_teardown(logins_are_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(logins_have_waited_for_long, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
