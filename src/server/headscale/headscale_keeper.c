/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/headscale_keeper.c - keep a Headscale running */
#define LOG_ROOM "headscale"
#include "server/headscale/headscale_keeper.h"

#include "base/cleanup.h"
#include "base/crashes.h"
#include "base/lines.h"
#include "base/log.h"
#include "server/headscale/child.h"
#include "server/headscale/log_file.h"
#include "server/headscale/process_file.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <uv.h>

#define CHECK_SECONDS 60
#define CHECK_WORDS   400 /* of what it says; the rest of an error */

/* A Headscale that can't have its port ends within this time of its first start. */
#define FIRST_START (30 * NSEC_PER_SEC)

#define READS_AT_ONCE  16u /* of its output in a turn of the loop */
#define DRAIN_MAX      64u /* reads, of one that is gone: another process may go on writing */
#define CLOSING_ROUNDS 16

enum { TERM, INTERRUPT, HANGUP, CHILD, SIGNAL_COUNT };
static const int signal_numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};

struct keeper {
	const struct keeper_options *options;
	uv_loop_t loop;
	uv_signal_t signals[SIGNAL_COUNT];
	uv_poll_t output;
	struct loop_timer *restart, *kill;
	char *process_file;
	struct child child;
	nanoseconds started;
	struct crashes crashes;
	struct lines lines;
	struct log_file log;
	char taken[CHECK_WORDS]; /* the line by which it said that its port is taken, or "" */
	bool stopping, done;
	struct error *err;
	int result;
};

static void look(struct keeper *k);

static char *file_in(const char *folder, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* note() - Of our own, to the log and to the file */
__attribute__((format(printf, 3, 4))) static void note(struct keeper *k, enum log_level level,
						       const char *format, ...)
{
	char text[LINES_MAX - 16], line[LINES_MAX];
	va_list args;
	int length;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_line(level, LOG_ROOM, "%s", text);
	length = snprintf(line, sizeof(line), "pillion: %s\n", text);
	log_file_add(&k->log, line, (size_t)length);
}

/* --- What it says --- */

static void pass_on(void *user, const char *text, size_t length)
{
	struct keeper *k = user;

	if (memmem(text, length, "address already in use", 22))
		snprintf(k->taken, sizeof(k->taken), "%.*s", (int)length - 1, text);
	log_file_add(&k->log, text, length);
	log_pass_on(text, length);
}

/* take() - Read once: 1; 0 when nothing is there; -EPIPE when nothing will be */
static int take(struct keeper *k)
{
	ssize_t n = read(k->child.output, lines_end(&k->lines), lines_room(&k->lines));

	if (n > 0)
		lines_take(&k->lines, (size_t)n, pass_on, k);
	if (n > 0 || (n < 0 && errno == EINTR))
		return 1;
	return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
}

static void on_output(uv_poll_t *handle, int status, int events)
{
	struct keeper *k = handle->data;
	int r = status < 0 ? status : 1;

	(void)events;
	for (unsigned int i = 0; i < READS_AT_ONCE && r > 0; i++)
		r = take(k);
	/* What is left to know comes by SIGCHLD. */
	if (r < 0)
		uv_poll_stop(handle);
}

static void output_closed(uv_handle_t *handle)
{
	struct keeper *k = handle->data;

	close(k->child.output);
	k->child.output = -1;
	look(k);
}

/* --- Its life --- */

static void finish(struct keeper *k)
{
	if (k->done)
		return;
	k->done = true;
	(void)unlink(k->process_file);
	loop_timer_free(TAKE_PTR(k->restart));
	loop_timer_free(TAKE_PTR(k->kill));
	for (size_t i = 0; i < SIGNAL_COUNT; i++)
		uv_close((uv_handle_t *)&k->signals[i], NULL);
}

static void start(void *user)
{
	struct keeper *k = user;
	char *const argv[] = {(char *)k->options->program, (char *)"serve", (char *)"--config",
			      (char *)k->options->config, NULL};
	struct error warning = {0}, err = {0};
	nanoseconds pause;

	k->started = clock_boottime();
	k->taken[0] = 0;
	if (child_start(argv, k->process_file, &k->child, &warning, &err) < 0) {
		pause = crashes_count(&k->crashes, 0);
		note(k, LOG_ERROR, "%s; trying again in %.1f s", err.text,
		     (double)pause / NSEC_PER_SEC);
		loop_timer_at(k->restart, clock_boottime() + pause);
		return;
	}
	if (warning.code < 0)
		note(k, LOG_WARN, "%s; should we be killed, the next 'run' won't end Headscale",
		     warning.text);
	note(k, LOG_INFO, "started %s, process %d", k->options->program, (int)k->child.pid);
	uv_poll_init(&k->loop, &k->output, k->child.output);
	k->output.data = k;
	uv_poll_start(&k->output, UV_READABLE, on_output);
}

/* ended() - It is reaped, and its output closed */
static void ended(struct keeper *k, int status)
{
	nanoseconds lived = clock_boottime() - k->started, pause;
	char words[CRASHES_WORDS_MAX];

	crashes_words(status, words);
	loop_timer_at(k->kill, DEADLINE_NEVER);
	if (k->stopping) {
		note(k, LOG_INFO, "Headscale is gone (%s)", words);
		finish(k);
		return;
	}
	if (k->crashes.total == 0 && k->taken[0] && lived < FIRST_START) {
		k->result = error_set(k->err, -EADDRINUSE,
				      "Headscale can't listen, another program has its port ('ss "
				      "-ltunp' names it): end that, or choose another port in %s. "
				      "It said: %s",
				      k->options->config, k->taken);
		note(k, LOG_ERROR, "%s", k->err->text);
		finish(k);
		return;
	}
	pause = crashes_count(&k->crashes, lived);
	note(k, LOG_ERROR, "Headscale died (%s); the next starts in %.1f s", words,
	     (double)pause / NSEC_PER_SEC);
	loop_timer_at(k->restart, clock_boottime() + pause);
}

/* look() - Whether it has ended. First all that it said is taken, then it is spoken of */
static void look(struct keeper *k)
{
	if (!child_ended(&k->child))
		return;
	if (k->child.output < 0) {
		ended(k, child_reap(&k->child));
		return;
	}
	if (uv_is_closing((uv_handle_t *)&k->output))
		return;
	for (unsigned int i = 0; i < DRAIN_MAX && take(k) > 0; i++)
		;
	lines_finish(&k->lines, pass_on, k);
	uv_close((uv_handle_t *)&k->output, output_closed);
}

static void kill_it(void *user)
{
	struct keeper *k = user;

	note(k, LOG_WARN, "Headscale did not end in time and is killed");
	child_signal(&k->child, SIGKILL);
}

static void stop(struct keeper *k)
{
	if (k->stopping) {
		/* A person who asks twice doesn't want to wait. */
		child_signal(&k->child, SIGKILL);
		return;
	}
	k->stopping = true;
	loop_timer_at(k->restart, DEADLINE_NEVER);
	if (k->child.pid <= 0) {
		finish(k);
		return;
	}
	child_signal(&k->child, SIGTERM);
	loop_timer_at(k->kill, clock_boottime() + KEEPER_STOP_PATIENCE);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct keeper *k = handle->data;

	if (number == SIGCHLD)
		look(k);
	else if (number == SIGHUP)
		child_signal(&k->child, SIGHUP);
	else
		stop(k);
}

/* --- From outside --- */

int keeper_check(const struct keeper_options *options, struct error *err)
{
	char *const argv[] = {(char *)options->program, (char *)"configtest", (char *)"--config",
			      (char *)options->config, NULL};
	char said[CHECK_WORDS];
	int status, r = child_run(argv, CHECK_SECONDS, said, sizeof(said), &status, err);

	if (r < 0)
		return r;
	if (status == 0)
		return 0;
	for (char *c = said; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = c[1] ? '|' : 0;
	return error_set(err, -EINVAL, "Headscale refuses %s: %s", options->config, said);
}

/* end_orphan() - What an earlier keeper left when it was killed */
static int end_orphan(const char *path, struct error *err)
{
	struct process_identity identity;
	_cleanup_close_ int fd = -1;
	int r = process_file_read(path, &identity);

	if (r < 0 && r != -ENOENT && r != -EINVAL)
		return error_set_errno(err, r, "%s", path);
	if (r == 0)
		r = fd = process_find(&identity);
	/* Gone, whoever has its number now. */
	if (r == -ESRCH || r == -ENOENT || r == -EINVAL) {
		(void)unlink(path);
		return 0;
	}
	if (r >= 0) {
		log_info("ending process %d, which an earlier 'run' left", (int)identity.pid);
		r = process_end(fd, KEEPER_STOP_PATIENCE);
	}
	if (r < 0)
		return error_set_errno(err, r, "process %d of an earlier 'run' (%s) can't be ended",
				       (int)identity.pid, path);
	if (r > 0)
		log_warn("it did not end in time and was killed");
	(void)unlink(path);
	return 0;
}

int keeper_lock(const char *folder, struct error *err)
{
	_cleanup_free_ char *lock = file_in(folder, "headscale.lock");
	_cleanup_free_ char *process_file = file_in(folder, "headscale.pid");
	_cleanup_close_ int fd = -1;
	int r;

	if (!lock || !process_file)
		return error_set(err, -ENOMEM, "out of memory");
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(err, -errno, "%s", lock);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return error_set(err, -EBUSY, "'pillion headscale run' runs already for %s",
					 folder);
		/* Some network file systems have no locks. */
		log_warn("%s can't be locked (%s): see to it that nothing else runs for it", folder,
			 strerror(errno));
	}
	r = end_orphan(process_file, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_all(struct keeper *k)
{
	_cleanup_free_ char *log = file_in(k->options->folder, "headscale.log");
	int r;

	k->process_file = file_in(k->options->folder, "headscale.pid");
	if (!log || !k->process_file)
		return error_set(k->err, -ENOMEM, "out of memory");
	r = log_file_open(log, &k->log, k->err);
	if (r < 0)
		return r;
	r = uv_loop_init(&k->loop);
	if (r < 0)
		return error_set_errno(k->err, r, "event loop");
	if (loop_timer_create(&k->loop, start, k, &k->restart) < 0 ||
	    loop_timer_create(&k->loop, kill_it, k, &k->kill) < 0)
		return error_set(k->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		uv_signal_init(&k->loop, &k->signals[i]);
		k->signals[i].data = k;
		uv_signal_start(&k->signals[i], on_signal, signal_numbers[i]);
	}
	return 0;
}

int keeper_run(const struct keeper_options *options, struct error *err)
{
	struct keeper k = {.options = options, .err = err, .child.output = -1, .log.fd = -1};
	int r = open_all(&k);

	if (r == 0) {
		start(&k);
		uv_run(&k.loop, UV_RUN_DEFAULT);
		(void)uv_loop_close(&k.loop);
		r = k.result;
	}
	log_file_close(&k.log);
	free(k.process_file);
	return r;
}
