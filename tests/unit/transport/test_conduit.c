/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_conduit.c - bytes both ways between two sockets */
#include "base/cleanup.h"
#include "transport/conduit.h"
#include "unit/unit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEBIBYTE ((size_t)1024 * 1024)

struct fixture {
	uv_loop_t loop;
	struct conduit_pool pool;
	unsigned int ended;
};

/* The far ends of a conduit: a ─ [conduit] ─ b */
struct far {
	int a, b;
	struct conduit *conduit;
};

static void turn(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	conduit_pool_init(&f->pool, 64 * MEBIBYTE, 100);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	conduit_pool_free(&f->pool);
	assert_int_equal(f->pool.pipes, 0);
	assert_int_equal(f->pool.waiting, 0);
	turn(f);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static void on_ended(void *user)
{
	((struct fixture *)user)->ended++;
}

/* pair() - Two ends of a TCP connection, both non-blocking; @small: of which the first takes little */
static void pair(int out[static 2], bool small)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), size = 4096;

	assert_int_equal(bind(listener, (struct sockaddr *)&at, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
	out[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(out[0], (struct sockaddr *)&at, length), 0);
	out[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(out[1] >= 0);
	assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	close(listener);
	if (!small)
		return;
	assert_int_equal(setsockopt(out[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	assert_int_equal(setsockopt(out[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

static struct far open_sized(struct fixture *f, bool small, const char *for_a, const char *for_b)
{
	struct far far;
	int a[2], b[2];

	pair(a, small);
	pair(b, small);
	far.a = a[0];
	far.b = b[0];
	far.conduit = conduit_open(
		&f->loop, &f->pool,
		(struct conduit_end[]){{a[1], (const uint8_t *)for_a, strlen(for_a), NULL},
				       {b[1], (const uint8_t *)for_b, strlen(for_b), NULL}},
		on_ended, f);
	assert_non_null(far.conduit);
	return far;
}

static struct far open_far(struct fixture *f, const char *for_a, const char *for_b)
{
	return open_sized(f, false, for_a, for_b);
}

/* reads() - What has come to @fd; "" is the end, NULL: nothing yet */
static const char *reads(int fd)
{
	static char text[64];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return errno == EAGAIN ? NULL : strerror(errno);
	text[n] = 0;
	return text;
}

static void each_end_ends_alone(void **state)
{
	struct fixture *f = *state;

	for (int turned = 0; turned < 2; turned++) {
		struct far far = open_far(f, "early a ", "early b ");
		int first = turned ? far.b : far.a, second = turned ? far.a : far.b;

		f->ended = 0;
		assert_int_equal(send(first, "up", 2, 0), 2);
		turn(f);
		assert_string_equal(reads(second), turned ? "early a up" : "early b up");
		shutdown(first, SHUT_WR);
		turn(f);
		assert_string_equal(reads(second), "");
		assert_int_equal(f->ended, 0);
		assert_int_equal(send(second, "down", 4, 0), 4);
		turn(f);
		assert_string_equal(reads(first), turned ? "early b down" : "early a down");
		assert_null(reads(first));
		shutdown(second, SHUT_WR);
		turn(f);
		assert_string_equal(reads(first), "");
		assert_int_equal(f->ended, 1);
		close(far.a);
		close(far.b);
	}
}

/* flood() - Send until the whole way stands; the number of bytes */
static size_t flood(struct fixture *f, int fd)
{
	static const uint8_t piece[64 * 1024];
	size_t sent = 0;
	int stood = 0;

	while (stood < 10) {
		ssize_t n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);

		stood = n > 0 ? 0 : stood + 1;
		sent += n > 0 ? (size_t)n : 0;
		turn(f);
		if (stood)
			usleep(500);
	}
	return sent;
}

/* swallow() - Read @wanted bytes, which have to come */
static void swallow(struct fixture *f, int fd, size_t wanted)
{
	static uint8_t piece[1024 * 1024];
	size_t got = 0;

	for (int left = 2000; left > 0 && got < wanted; left--) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		got += n > 0 ? (size_t)n : 0;
		turn(f);
		if (n < 0)
			usleep(5000);
	}
	assert_int_equal(got, wanted);
}

static void much_goes_through_a_pipe(void **state)
{
	struct fixture *f = *state;
	struct far far = open_far(f, "", "");

	for (int i = 0; i < 5; i++) {
		size_t sent = flood(f, far.a);

		assert_true(f->pool.waiting > 0 && f->pool.waiting <= 64 * 1024);
		swallow(f, far.b, sent);
		assert_int_equal(f->pool.waiting, 0);
	}
	assert_true(f->pool.pipes == 1 && f->pool.spare[1] > 0);
	/* One that is closed with bytes in its pipe gives both back. */
	flood(f, far.a);
	conduit_close(far.conduit);
	assert_int_equal(f->pool.waiting, 0);
	assert_int_equal(f->ended, 0);
	close(far.a);
	close(far.b);
}

/* As many as the pool is for, none of which reads, one after another and in both directions. */
static void slow_readers_hold_a_bound(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 150 };
	static struct far all[COUNT];
	struct far quick;

	conduit_pool_init(&f->pool, 2 * MEBIBYTE, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		all[i] = open_sized(f, true, "", "");
		flood(f, all[i].a);
		flood(f, all[i].b);
		assert_true(f->pool.waiting <= f->pool.most);
	}
	assert_true(f->pool.waiting > f->pool.most / 2);
	/* One that reads is served all the same. */
	quick = open_far(f, "", "");
	swallow(f, quick.b, flood(f, quick.a));
	conduit_close(quick.conduit);
	close(quick.a);
	close(quick.b);
	for (size_t i = 0; i < COUNT; i++) {
		conduit_close(all[i].conduit);
		close(all[i].a);
		close(all[i].b);
	}
}

static void a_reset_is_passed_on_if_wanted(void **state)
{
	const struct linger linger = {.l_onoff = 1};
	struct fixture *f = *state;

	for (int resets = 0; resets < 2; resets++) {
		struct far far = open_far(f, "", "");

		f->pool.resets = resets;
		f->ended = 0;
		turn(f);
		setsockopt(far.a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(far.a);
		turn(f);
		assert_string_equal(reads(far.b), resets ? strerror(ECONNRESET) : "");
		assert_int_equal(f->ended, 1);
		close(far.b);
	}
}

static void what_came_before_a_reset_is_passed_on(void **state)
{
	const struct linger linger = {.l_onoff = 1};
	struct fixture *f = *state;
	struct far far = open_far(f, "", "");

	turn(f);
	assert_int_equal(send(far.a, "last words", 10, 0), 10);
	setsockopt(far.a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(far.a);
	turn(f);
	assert_string_equal(reads(far.b), "last words");
	assert_string_equal(reads(far.b), "");
	close(far.b);
}

static void half_closed_ones_have_a_limit(void **state)
{
	struct fixture *f = *state;
	struct far far;

	f->pool.half_closed = NSEC_PER_SEC / 20;
	far = open_far(f, "", "");
	shutdown(far.a, SHUT_WR);
	for (int i = 0; i < 200 && !f->ended; i++) {
		turn(f);
		usleep(5000);
	}
	assert_int_equal(f->ended, 1);
	assert_string_equal(reads(far.b), "");
	close(far.a);
	close(far.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_end_ends_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(much_goes_through_a_pipe, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_readers_hold_a_bound, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reset_is_passed_on_if_wanted, setup, teardown),
		cmocka_unit_test_setup_teardown(what_came_before_a_reset_is_passed_on, setup,
						teardown),
		cmocka_unit_test_setup_teardown(half_closed_ones_have_a_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
