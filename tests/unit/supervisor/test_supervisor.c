/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/supervisor/test_supervisor.c - the supervisor's decisions and its small parts */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "privsep/records.h"
#include "process/event_loop.h"
#include "supervisor/blobs.h"
#include "supervisor/child_rules.h"
#include "supervisor/supervisor_internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define S  NSEC_PER_SEC
#define MS NSEC_PER_MSEC

/* The table of the design: 0, 0.2, 1, 5, 15 s, and from the start after a steady minute. */
static void test_backoff(void **state)
{
	static const struct {
		nanoseconds lived, wait;
		unsigned int in_row;
		bool fresh;
	} rows[] = {
		/*  0 */ {3600 * S, 0, 1, false},
		/*  1 */ {1 * S, 200 * MS, 2, true},
		/*  2 */ {59 * S, 1 * S, 3, true},
		/*  3 */ {0, 5 * S, 4, true},
		/*  4 */ {1 * S, 15 * S, 5, true},
		/*  5 */ {1 * S, 15 * S, 6, true},
		/*  6 */ {60 * S, 0, 1, false},
		/*  7 */ {60 * S, 0, 1, false},
		/*  8 */ {60 * S - 1, 200 * MS, 2, true},
	};
	struct crashes crashes = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		nanoseconds wait = crashes_count(&crashes, rows[i].lived);

		if (wait != rows[i].wait || crashes.in_row != rows[i].in_row ||
		    crashes_want_fresh_sockets(&crashes) != rows[i].fresh)
			fail_msg("row %zu: %lld ns, %u in a row", i, (long long)wait,
				 crashes.in_row);
	}
	assert_int_equal(crashes.total, ARRAY_SIZE(rows));
}

/* One life, told status by status. NEW: another engine begins. */
static void test_life(void **state)
{
	enum { NEW = 100 };
	static const struct {
		int status;
		enum life_verdict plain, exit_on_failure;
	} rows[] = {
		/*  0 */ {PRIVSEP_STATE_NONE, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  1 */ {PRIVSEP_STATE_NEEDS_LOGIN, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  2 */ {PRIVSEP_STATE_STARTING, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  3 */ {PRIVSEP_STATE_RUNNING, LIFE_ANNOUNCE, LIFE_ANNOUNCE},
		/*  4 */ {PRIVSEP_STATE_RUNNING, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  5 */ {NEW, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  6 */ {PRIVSEP_STATE_NONE, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  7 */ {PRIVSEP_STATE_STARTING, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  8 */ {PRIVSEP_STATE_RUNNING, LIFE_GOES_ON, LIFE_GOES_ON},
		/*  9 */ {PRIVSEP_STATE_STARTING, LIFE_GOES_ON, LIFE_ENDS},
		/* 10 */ {PRIVSEP_STATE_STOPPED, LIFE_GOES_ON, LIFE_ENDS},
		/* 11 */ {NEW, LIFE_GOES_ON, LIFE_GOES_ON},
		/* 12 */ {PRIVSEP_STATE_NEEDS_LOGIN, LIFE_GOES_ON, LIFE_ENDS},
	};

	(void)state;
	for (int strict = 0; strict < 2; strict++) {
		struct life life = {0};

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			enum life_verdict expect = strict ? rows[i].exit_on_failure : rows[i].plain;
			enum life_verdict got = LIFE_GOES_ON;

			if (rows[i].status == NEW)
				life_new_engine(&life);
			else
				got = life_status(&life, (enum privsep_state)rows[i].status,
						  strict);
			if (got != expect)
				fail_msg("row %zu: %d", i, got);
		}
	}
}

/* At most burst + elapsed / interval, for every prefix of any sequence. */
static void test_quota(void **state)
{
	struct quota quota = {.burst = 5, .interval = 100};
	unsigned int taken = 0;
	uint32_t seed = 7;
	nanoseconds now = 1000, start = now;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_true(quota_take(&quota, now));
	assert_false(quota_take(&quota, now));
	assert_true(quota_take(&quota, now + 100));
	assert_false(quota_take(&quota, now + 100));
	quota = (struct quota){.burst = 5, .interval = 100};
	for (int i = 0; i < 10000; i++) {
		seed = seed * 1664525 + 1013904223;
		now += seed >> 26;
		taken += quota_take(&quota, now);
		assert_true(taken <= 5 + (now - start) / 100 + 1);
	}
	assert_true(taken >= (now - start) / 100);
}

/* What counts is turns of the supervisor's loop; how long one took doesn't come in. */
static void test_watchdog(void **state)
{
	struct watchdog w = {0};

	/* The longest that a hanging engine lives: it stopped just after it had answered. */
	assert_true((WATCHDOG_TURNS + 1) * WATCHDOG_INTERVAL <= 10 * S);

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(watchdog_turn(&w), WATCHDOG_ASK);
		/* A slow one is waited for, and starts from zero when it has answered. */
		for (unsigned int k = 0; k < WATCHDOG_TURNS - 1; k++)
			assert_int_equal(watchdog_turn(&w), WATCHDOG_WAIT);
		watchdog_answered(&w);
	}
	assert_int_equal(watchdog_turn(&w), WATCHDOG_ASK);
	for (unsigned int k = 0; k < WATCHDOG_TURNS - 1; k++)
		assert_int_equal(watchdog_turn(&w), WATCHDOG_WAIT);
	assert_int_equal(watchdog_turn(&w), WATCHDOG_HANGS);
}

/* An hour of a child that writes as fast as it can, and one that is merely chatty. */
static void test_flood(void **state)
{
	struct flood flood = {0}, chatty = {0};
	unsigned long passed = 0, bytes = 0, lines = 0;

	(void)state;
	for (nanoseconds now = S; now < 3601 * S; now += MS) {
		size_t length = (size_t)(now / MS * 37 % 4096);

		lines++;
		if (flood_pass(&flood, length, now)) {
			passed++;
			bytes += length;
		}
		if (now % (5 * MS) == 0) /* 200 lines a second of 150 bytes */
			assert_true(flood_pass(&chatty, 150, now));
	}
	assert_int_equal(passed + flood.dropped, lines);
	assert_true(bytes <= (FLOOD_BURST + 3601ul * FLOOD_SECOND) * FLOOD_UNIT);
	assert_true(bytes >= 3000ul * FLOOD_SECOND * FLOOD_UNIT / 2);
	/* Silence mends it. */
	for (unsigned int i = 0; i < FLOOD_BURST; i++)
		assert_true(flood_pass(&flood, 100, 3700 * S));
	assert_false(flood_pass(&flood, 100, 3700 * S));
}

static char *copy(const char *text)
{
	char *out = strdup(text);

	assert_non_null(out);
	return out;
}

static void test_hide_secrets(void **state)
{
	static const struct {
		const char *before, *after;
	} variables[] = {
		/*  0 */ {"TS_AUTHKEY=tskey-1", "TS_AUTHKEY=xxxxxxx"},
		/*  1 */ {"TS_AUTH_KEY=k", "TS_AUTH_KEY=x"},
		/*  2 */ {"TS_CLIENT_SECRET=ss", "TS_CLIENT_SECRET=xx"},
		/*  3 */ {"TS_ID_TOKEN=t", "TS_ID_TOKEN=x"},
		/*  4 */ {"TS_AUTHKEY_FILE=/run/key", "TS_AUTHKEY_FILE=/run/key"},
		/*  5 */ {"TS_HOSTNAME=app", "TS_HOSTNAME=app"},
		/*  6 */ {"TS_EXTRA_ARGS=--authkey=abc --ssh", "TS_EXTRA_ARGS=--authkey=xxx --ssh"},
		/*  7 */
		{"TS_EXTRA_ARGS=--ssh --auth-key abc --x",
		 "TS_EXTRA_ARGS=--ssh --auth-key xxx --x"},
		/*  8 */ {"TS_EXTRA_ARGS=--authkeyring=a", "TS_EXTRA_ARGS=--authkeyring=a"},
		/*  9 */ {"TS_EXTRA_ARGS=--authkey", "TS_EXTRA_ARGS=--authkey"},
		/* 10 */ {"TS_AUTHKEY=", "TS_AUTHKEY="},
		/* 11 */ {"nonsense", "nonsense"},
		/* 12: as YAML folds and blocks write them */
		{"TS_EXTRA_ARGS=--ssh\n--auth-key=abc\n", "TS_EXTRA_ARGS=--ssh\n--auth-key=xxx\n"},
		/* 13 */
		{"TS_EXTRA_ARGS=--x\t--authkey \t abc", "TS_EXTRA_ARGS=--x\t--authkey \t xxx"},
		/* 14 */ {"TS_EXTRA_ARGS=--authkey= --ssh", "TS_EXTRA_ARGS=--authkey= --ssh"},
		/* 15 */ {"HTTPS_PROXY=u:p@h:1", "HTTPS_PROXY=xxxxxxx"},
		/* 16 */ {"http_proxy=http://u@h", "http_proxy=xxxxxxxxxx"},
		/* 17 */ {"https_proxy=http://h:1", "https_proxy=http://h:1"},
		/* 18 */ {"NO_PROXY=.lan", "NO_PROXY=.lan"},
	};
	static const char *const arguments[][2] = {
		{"pillion", "pillion"},       {"--auth-key=abc", "--auth-key=xxx"},
		{"--authkey", "--authkey"},   {"def", "xxx"},
		{"--hostname", "--hostname"}, {"app", "app"},
		{"--auth-key", "--auth-key"},
	};
	char *environment[ARRAY_SIZE(variables) + 1] = {NULL};
	char *argv[ARRAY_SIZE(arguments) + 1] = {NULL};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		environment[i] = copy(variables[i].before);
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++)
		argv[i] = copy(arguments[i][0]);
	supervisor_hide_secrets(ARRAY_SIZE(arguments), argv, environment);
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		assert_string_equal(environment[i], variables[i].after);
		free(environment[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
		assert_string_equal(argv[i], arguments[i][1]);
		free(argv[i]);
	}
}

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/pillion-test-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static struct {
	struct loop loop;
	char fired[16];
} l;

static void fire_a(struct loop_timer *timer, nanoseconds now)
{
	(void)timer, (void)now;
	strcat(l.fired, "a");
}

static void fire_b(struct loop_timer *timer, nanoseconds now)
{
	(void)timer, (void)now;
	strcat(l.fired, "b");
	l.loop.done = true;
}

static void test_loop(void **state)
{
	struct loop_timer a = LOOP_TIMER(fire_a), b = LOOP_TIMER(fire_b), c = LOOP_TIMER(fire_b);
	nanoseconds now = clock_boottime();

	(void)state;
	memset(&l, 0, sizeof(l));
	assert_int_equal(loop_init(&l.loop), 0);
	timer_arm(&l.loop, &b, now + 30 * MS);
	timer_arm(&l.loop, &a, now + 60 * MS);
	timer_arm(&l.loop, &c, now + 1 * MS);
	timer_arm(&l.loop, &a, now + 10 * MS);
	timer_cancel(&l.loop, &c);
	timer_cancel(&l.loop, &c);
	assert_int_equal(loop_run(&l.loop), 0);
	assert_string_equal(l.fired, "ab");
	assert_true(clock_boottime() >= now + 30 * MS);
	loop_close(&l.loop);
}

static struct {
	int count, result;
} stored;

static void on_stored(void *userdata, const struct blob_job *job)
{
	(void)userdata;
	stored.count++;
	stored.result = job->result;
	if (stored.count == 3)
		l.loop.done = true;
}

static int store(struct blobs *blobs, enum privsep_blob_name name, const char *text)
{
	struct blob_job job = {.name = name, .memfd = memfd_seal("x", text, strlen(text))};

	return blobs_store(blobs, &job);
}

static void on_any_stored(void *userdata, const struct blob_job *job)
{
	(void)userdata;
	stored.result = job->result;
	l.loop.done = true;
}

static int store_domain(struct blobs *blobs, unsigned int number)
{
	struct blob_job job = {.name = PRIVSEP_BLOB_DOMAIN_KEY};
	char text[64];

	snprintf(job.domain, sizeof(job.domain), "n%u.example", number);
	snprintf(text, sizeof(text), "key %u", number);
	job.memfd = memfd_seal("x", text, strlen(text));
	return blobs_store(blobs, &job);
}

/* More names over time than the table has: each gives its place back once it is on disk. */
static void test_blobs_of_many_domains(void **state)
{
	_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(64);
	struct blobs blobs;
	struct error err = {0};
	int fd;

	(void)state;
	memset(&l, 0, sizeof(l));
	memset(&stored, 0, sizeof(stored));
	assert_int_equal(loop_init(&l.loop), 0);
	assert_int_equal(blobs_open(&blobs, &l.loop, folder, on_any_stored, NULL, &err), 0);
	for (unsigned int i = 0; i < 3 * BLOBS_DOMAINS_MAX; i++) {
		l.loop.done = false;
		assert_int_equal(store_domain(&blobs, i), 0);
		assert_int_equal(loop_run(&l.loop), 0);
		assert_int_equal(stored.result, 0);
	}
	fd = blobs_load(&blobs, PRIVSEP_BLOB_DOMAIN_KEY, "n0.example", NULL);
	assert_true(fd >= 0);
	assert_int_equal(file_read(fd, 64, &got), 0);
	assert_memory_equal(got.data, "key 0", 5);
	close(fd);
	blobs_close(&blobs, clock_boottime() + 2 * S);
	loop_remove(&l.loop, &blobs.done);
	/* Without a folder the latest ones stay. */
	assert_int_equal(blobs_open(&blobs, &l.loop, NULL, on_any_stored, NULL, &err), 0);
	for (unsigned int i = 0; i < 3 * BLOBS_DOMAINS_MAX; i++)
		assert_int_equal(store_domain(&blobs, i), 0);
	assert_int_equal(blobs_load(&blobs, PRIVSEP_BLOB_DOMAIN_KEY, "n0.example", NULL), -ENOENT);
	fd = blobs_load(&blobs, PRIVSEP_BLOB_DOMAIN_KEY, "n47.example", NULL);
	assert_true(fd >= 0);
	close(fd);
	blobs_close(&blobs, clock_boottime() + S);
	loop_close(&l.loop);
}

static void expect_blob(struct blobs *blobs, enum privsep_blob_name name, const char *text)
{
	_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(1024);
	_cleanup_close_ int fd = blobs_load(blobs, name, "", NULL);

	assert_true(fd >= 0);
	assert_int_equal(file_read(fd, 1024, &got), 0);
	assert_int_equal(got.length, strlen(text));
	assert_memory_equal(got.data, text, got.length);
}

static void test_blobs(void **state)
{
	struct blob_job loose = {.memfd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
	struct blobs blobs;
	struct error err = {0};
	struct stat st;
	char path[128];

	(void)state;
	memset(&l, 0, sizeof(l));
	memset(&stored, 0, sizeof(stored));
	assert_int_equal(loop_init(&l.loop), 0);
	assert_int_equal(blobs_open(&blobs, &l.loop, folder, on_stored, NULL, &err), 0);
	assert_int_equal(blobs_load(&blobs, PRIVSEP_BLOB_STATE, "", NULL), -ENOENT);
	assert_int_equal(blobs_store(&blobs, &loose), -EPERM);
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "first"), 0);
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_CACHE, "cache"), 0);
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "second"), 0);
	assert_int_equal(loop_run(&l.loop), 0);
	assert_int_equal(stored.result, 0);
	expect_blob(&blobs, PRIVSEP_BLOB_STATE, "second");
	expect_blob(&blobs, PRIVSEP_BLOB_CACHE, "cache");
	snprintf(path, sizeof(path), "%s/tailscaled.state", folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	/* What is queued at the end is on disk when close returns. */
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "last"), 0);
	blobs_close(&blobs, clock_boottime() + 2 * S);
	loop_remove(&l.loop, &blobs.done);
	assert_int_equal(blobs_open(&blobs, &l.loop, folder, on_stored, NULL, &err), 0);
	expect_blob(&blobs, PRIVSEP_BLOB_STATE, "last");
	blobs_close(&blobs, clock_boottime() + 2 * S);
	loop_close(&l.loop);
}

static nanoseconds fake_now;

static nanoseconds fake_clock(void)
{
	return fake_now;
}

static struct {
	unsigned int count, cancelled;
} late;

static void on_late_stored(void *userdata, const struct blob_job *job)
{
	(void)userdata;
	late.count++;
	late.cancelled += job->result == -ECANCELED;
}

/* on_disk() - Wait for the worker */
static void on_disk(struct blobs *blobs)
{
	pthread_mutex_lock(&blobs->mutex);
	while (blobs->waiting > 0)
		pthread_cond_wait(&blobs->wake, &blobs->mutex);
	pthread_mutex_unlock(&blobs->mutex);
	blobs->done.ready(&blobs->done, EPOLLIN);
}

/* An engine that stores without end: few writes an hour, the newest is what counts. */
static void test_blobs_wear(void **state)
{
	struct blobs blobs;
	struct error err = {0};
	char text[32] = "";
	unsigned int asked = 0, written;

	(void)state;
	memset(&late, 0, sizeof(late));
	assert_int_equal(loop_init(&l.loop), 0);
	assert_int_equal(blobs_open(&blobs, &l.loop, folder, on_late_stored, NULL, &err), 0);
	blobs.clock = fake_clock;
	for (fake_now = S; fake_now < 600 * S; fake_now += S / 2) {
		snprintf(text, sizeof(text), "state %u", ++asked);
		assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, text), 0);
		/* Whoever asks now gets the newest, written or not. */
		if (blobs.late[PRIVSEP_BLOB_STATE].memfd >= 0)
			expect_blob(&blobs, PRIVSEP_BLOB_STATE, text);
		if (blobs.turn.at != 0 && blobs.turn.at <= fake_now) {
			timer_cancel(&l.loop, &blobs.turn);
			blobs.turn.fire(&blobs.turn, fake_now);
		}
		on_disk(&blobs);
	}
	written = late.count - late.cancelled;
	assert_true(written <= BLOBS_BURST + 600 * S / BLOBS_INTERVAL + 1);
	assert_true(written >= 600 * S / BLOBS_INTERVAL - 1);
	/* The other name has its own turns. */
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_CACHE, "cache"), 0);
	assert_int_equal(blobs.late[PRIVSEP_BLOB_CACHE].memfd, -1);
	/* The last one is never lost: not by waiting, */
	snprintf(text, sizeof(text), "almost last");
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, text), 0);
	fake_now += BLOBS_INTERVAL;
	timer_cancel(&l.loop, &blobs.turn);
	blobs.turn.fire(&blobs.turn, fake_now);
	assert_int_equal(blobs.late[PRIVSEP_BLOB_STATE].memfd, -1);
	on_disk(&blobs);
	expect_blob(&blobs, PRIVSEP_BLOB_STATE, text);
	/* and not by the end. */
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "a"), 0);
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "last"), 0);
	assert_true(blobs.late[PRIVSEP_BLOB_STATE].memfd >= 0);
	blobs_close(&blobs, clock_boottime() + 5 * S);
	loop_remove(&l.loop, &blobs.done);
	assert_int_equal(blobs_open(&blobs, &l.loop, folder, on_late_stored, NULL, &err), 0);
	expect_blob(&blobs, PRIVSEP_BLOB_STATE, "last");
	blobs_close(&blobs, clock_boottime() + 5 * S);
	loop_remove(&l.loop, &blobs.done);
	loop_close(&l.loop);
}

static void test_blobs_memory(void **state)
{
	struct blobs blobs;
	struct error err = {0};

	(void)state;
	memset(&stored, 0, sizeof(stored));
	assert_int_equal(loop_init(&l.loop), 0);
	assert_int_equal(blobs_open(&blobs, &l.loop, NULL, on_stored, NULL, &err), 0);
	assert_int_equal(blobs_load(&blobs, PRIVSEP_BLOB_STATE, "", NULL), -ENOENT);
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "one"), 0);
	assert_int_equal(store(&blobs, PRIVSEP_BLOB_STATE, "two"), 0);
	assert_int_equal(stored.count, 2);
	expect_blob(&blobs, PRIVSEP_BLOB_STATE, "two");
	blobs_close(&blobs, clock_boottime() + 1 * S);
	loop_close(&l.loop);
}

static void test_lock(void **state)
{
	struct error err = {0};
	int first = blobs_lock(folder, &err), second;

	(void)state;
	assert_true(first >= 0);
	assert_int_equal(blobs_lock(folder, &err), -EWOULDBLOCK);
	assert_non_null(strstr(err.text, folder));
	close(first);
	second = blobs_lock(folder, &err);
	assert_true(second >= 0);
	close(second);
}

static const struct child_kind talker_kind = {.name = "the talker", .program = "test_supervisor"};

static struct supervisor talking;
static struct child talker;

static void talker_open(void)
{
	struct error err = {0};

	talking = (struct supervisor){.lock = -1};
	assert_int_equal(loop_init(&talking.loop), 0);
	assert_int_equal(child_open(&talker, &talking, &talker_kind, 0, 0, &err), 0);
}

static void talker_close(void)
{
	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	child_close(&talker);
	loop_close(&talking.loop);
}

/* say() - The talker writes @text, and its pipe is read to the end */
static void say(const char *text, size_t length)
{
	struct loop_source *output = &talker.process.output;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(write(pipes[1], text, length), length);
	close(pipes[1]);
	assert_int_equal(loop_add(&talking.loop, output, pipes[0], EPOLLIN), 0);
	while (output->fd >= 0)
		output->ready(output, EPOLLIN | EPOLLHUP);
}

/* A file that grows past its cap is moved away once, and lines are never cut. */
static void test_log_file(void **state)
{
	static char text[200 * 200];
	const size_t line_length = 200, most = 1024 * 1024;
	char path[128], old[136], line[200];
	struct error err = {0};
	struct stat st;
	int fd;

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t end = line_length; end <= sizeof(text); end += line_length)
		text[end - 1] = '\n';
	snprintf(path, sizeof(path), "%s/log", folder);
	snprintf(old, sizeof(old), "%s.1", path);
	talker_open();
	assert_int_equal(capped_log_open(path, false, &talking.log, &err), 0);
	log_setup(talking.log.fd, LOG_INFO, LOG_FORMAT_TEXT);
	for (size_t sent = 0; sent < 3 * most; sent += sizeof(text)) {
		talker.flood = (struct flood){0};
		say(text, sizeof(text));
	}
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= (off_t)most && st.st_size % (off_t)line_length == 0);
	assert_int_equal(stat(old, &st), 0);
	assert_true(st.st_size <= (off_t)most + LINES_MAX);
	assert_int_equal(st.st_size % (off_t)line_length, 0);

	/* Lines above the rate are dropped, which is logged a second later. */
	talker.flood = (struct flood){.quota.full_at = clock_boottime() + 60 * S};
	say("one\ntwo\n", 8);
	assert_int_equal(talker.flood.dropped, 2);
	assert_true(talker.say_dropped.at > 0);
	talker.say_dropped.fire(&talker.say_dropped, 0);
	assert_int_equal(talker.flood.dropped, 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	memset(line, 0, sizeof(line));
	assert_true(pread(fd, line, sizeof(line) - 1, st.st_size - 100) > 0);
	assert_non_null(strstr(line, "2 log lines of the talker were dropped"));
	close(fd);
	talker_close();
	capped_log_close(&talking.log);
}

/* Without a reader lines are lost and counted; the loss is logged once there is room. */
static void test_log_full(void **state)
{
	int out[2];
	char bytes[65536];
	ssize_t n;

	(void)state;
	talker_open();
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(fcntl(out[1], F_SETPIPE_SZ, 4096), 4096);
	log_setup(out[1], LOG_INFO, LOG_FORMAT_TEXT);
	for (int round = 0; round < 2; round++)
		say("one\ntwo\nthree", 13);
	/* The first line made the pipe "full": less than PIPE_BUF is left. */
	n = read(out[0], bytes, sizeof(bytes));
	assert_int_equal(n, 4);
	assert_memory_equal(bytes, "one\n", 4);
	say("four\n", 5);
	n = read(out[0], bytes, sizeof(bytes) - 1);
	assert_true(n > 0);
	bytes[n] = 0;
	assert_non_null(strstr(bytes, "5 log lines were lost"));
	talker_close();
	close(out[0]);
	close(out[1]);
}

int main(void)
{
#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backoff),  cmocka_unit_test(test_life),
		cmocka_unit_test(test_quota),    cmocka_unit_test(test_hide_secrets),
		cmocka_unit_test(test_loop),     cmocka_unit_test(test_blobs_memory),
		cmocka_unit_test(test_log_full), cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_flood),    WITH_FOLDER(test_blobs_wear),
		WITH_FOLDER(test_blobs),         WITH_FOLDER(test_blobs_of_many_domains),
		WITH_FOLDER(test_lock),          WITH_FOLDER(test_log_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
