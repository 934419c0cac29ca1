/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/server/test_held.c - answers to held requests, where each one ends its connection; and
 * full maps that nobody reads
 *
 * Writing an answer may find the connection broken, which frees all of its exchanges. Linked with
 * --wrap, each answer here does that. What is pushed to a map stream is never read.
 */
#include "base/limits.h"
#include "server/coordinator/coordinator_internal.h"
#include "unit/unit.h"

int __wrap_http2_reply(struct http2_exchange *x, int status, const char *type, const void *body,
		       size_t length);
void __wrap_http2_reset(struct http2_exchange *x);
int __wrap_http2_push(struct http2_exchange *x, const void *bytes, size_t length);
size_t __wrap_http2_pushed(const struct http2_exchange *x);

#define EXCHANGES 3

static struct coordinator *control;
static struct http2_exchange exchanges[EXCHANGES];
static size_t pushed[EXCHANGES];
static bool survives; /* an answer */
static int last_status;
static int answers;

static void end_connection(int status)
{
	last_status = status;
	answers++;
	for (int i = 0; i < EXCHANGES && !survives; i++)
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

int __wrap_http2_push(struct http2_exchange *x, const void *bytes, size_t length)
{
	(void)bytes;
	pushed[x - exchanges] += length;
	return 0;
}

size_t __wrap_http2_pushed(const struct http2_exchange *x)
{
	return pushed[x - exchanges];
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
	control->text = control->frame = control->last = BUFFER_INIT(LIMIT_MAP_OBJECT);
	memset(pushed, 0, sizeof(pushed));
	survives = false;
	answers = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tailnet_clear(&control->tailnet);
	buffer_free(&control->text);
	buffer_free(&control->frame);
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
		assert_true(LIST_EMPTY(&control->exchanges[i]));
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

static void open_stream(unsigned int i)
{
	struct public_key key = {.bytes = {(uint8_t)(i + 1)}};
	struct tailnet_time now = tailnet_now();
	struct machine_exchange *e = machine_exchange_new(control, &exchanges[i], EXCHANGE_MAP);
	struct registry_node *node;
	struct error err;

	assert_int_equal(registry_add_node(&control->tailnet.registry, &key, &key, "n", now.wall,
					   &node, &err),
			 0);
	tailnet_changed(&control->tailnet, node, CHANGE_NODE);
	e->session = map_session_open(&control->tailnet, node, e, now);
	assert_non_null(e->session);
}

/* First maps have a budget of their own: unread maps of others don't keep a newcomer waiting. */
static void a_first_map_does_not_wait_for_those_of_others(void **state)
{
	struct machine_exchange *old;

	(void)state;
	open_stream(0);
	machine_maps_tell(control);
	assert_int_not_equal(pushed[0], 0);
	assert_int_equal(control->queued, pushed[0]);
	old = exchanges[0].context;
	pushed[0] = 0; /* it has read its first one, */
	machine_map_drained(&exchanges[0]);
	machine_maps_tell(control);
	pushed[0] = 0;
	machine_map_drained(&exchanges[0]);

	/* and all get another, which takes all of the budget. */
	control->queued = LIMIT_CONTROL_QUEUED + 1;
	tailnet_changed_all(&control->tailnet, WANTS_FULL);
	open_stream(1);
	machine_maps_tell(control);
	assert_int_equal(pushed[0], 0);
	assert_int_not_equal(pushed[1], 0);
	assert_true(old->session->wants & WANTS_FULL);

	/* Newcomers wait only where first maps have filled theirs too. */
	control->queued = LIMIT_CONTROL_QUEUED + (size_t)LIMIT_CONTROL_QUEUED_FIRST + 1;
	open_stream(2);
	machine_maps_tell(control);
	assert_int_equal(pushed[2], 0);
	control->queued = 0;
	machine_maps_tell(control);
	assert_int_not_equal(pushed[0], 0);
	assert_int_not_equal(pushed[2], 0);
	for (int i = 0; i < EXCHANGES; i++)
		machine_exchange_free(exchanges[i].context);
}

/* Where others wait, a reader that takes nothing for 5 s is closed, and one that reads stays. */
static void an_idle_reader_makes_room(void **state)
{
	nanoseconds now;

	(void)state;
	survives = true;
	open_stream(0);
	open_stream(1);
	machine_maps_tell(control);
	now = clock_boottime();
	control->queued += LIMIT_CONTROL_QUEUED;
	pushed[1]--;
	machine_maps_tick(control, now + 4 * NSEC_PER_SEC);
	assert_non_null(exchanges[0].context);
	machine_maps_tick(control, now + 6 * NSEC_PER_SEC);
	assert_null(exchanges[0].context);
	assert_non_null(exchanges[1].context);
	machine_exchange_free(exchanges[1].context);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sessions_are_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(sessions_have_waited_for_long, setup, teardown),
		cmocka_unit_test_setup_teardown(logins_are_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(logins_have_waited_for_long, setup, teardown),
		cmocka_unit_test_setup_teardown(a_first_map_does_not_wait_for_those_of_others,
						setup, teardown),
		cmocka_unit_test_setup_teardown(an_idle_reader_makes_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
