/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/headscale_keeper.c - keep a Headscale running */
#define LOG_ROOM "headscale"
#include "server/headscale/headscale_keeper.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "process/capped_log.h"
#include "process/process.h"
#include "server/headscale/process_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define NUMBER_FILE "headscale.pid"

#define CHECK_TIME  (60 * NSEC_PER_SEC)
#define CHECK_WORDS 400 /* of its output; an error has room for no more */

/* A Headscale that can't have its port ends within this time of its first start. */
#define FIRST_START (30 * NSEC_PER_SEC)

struct keeper {
	const struct keeper_options *options;
	struct loop loop;
	struct loop_source signals;
	struct process process;
	int number_fd; /* of the file that the child locks */
	struct capped_log log;
	char taken[CHECK_WORDS]; /* the line that says that its port is taken, or "" */
	struct error *err;
	int result;
};

static struct keeper *keeper_of(struct process *process)
{
	return container_of(process, struct keeper, process);
}

static char *file_in(const char *folder, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* note() - A line of our own, to the log and to the file */
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
	capped_log_add(&k->log, line, (size_t)length);
}

static void line(struct process *process, const char *text, size_t length)
{
	struct keeper *k = keeper_of(process);

	if (memmem(text, length, "address already in use", 22))
		snprintf(k->taken, sizeof(k->taken), "%.*s", (int)length - 1, text);
	capped_log_add(&k->log, text, length);
	log_pass_on(text, length);
}

/* --- Its life --- */

/* hold_lock() - A file system without locks costs only the way to find an orphan */
static int hold_lock(void *context)
{
	const struct keeper *k = context;

	(void)process_lock_take(k->number_fd);
	return 0;
}

/* publish() - Write its number for people; the next keeper only looks at the lock */
static void publish(struct keeper *k)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%d\n", (int)k->process.pid);

	(void)!ftruncate(k->number_fd, 0);
	(void)!pwrite(k->number_fd, text, (size_t)length, 0);
	if (process_lock_holder(k->number_fd) != k->process.pid)
		note(k, LOG_WARN,
		     "%s/" NUMBER_FILE " can't be locked: if 'run' is killed, the next 'run' can't "
		     "end a Headscale that hangs",
		     k->options->folder);
}

static void start(struct process *process)
{
	struct keeper *k = keeper_of(process);
	char *const arguments[] = {(char *)k->options->program, (char *)"serve", (char *)"--config",
				   (char *)k->options->config, NULL};
	const struct process_plan plan = {
		.path = k->options->program,
		.program = -1,
		.arguments = arguments,
		.environment = environ,
		.channel = -1,
		.output_may_block = true, /* it must not lose lines to a full pipe */
		.ends_with_us = true,
		.reduce = hold_lock,
		.context = k,
	};
	struct error err = {0};

	k->taken[0] = 0;
	if (process_start(process, &plan, &err) < 0) {
		note(k, LOG_ERROR, "%s; trying again in %.1f s", err.text,
		     (double)process_again(process, 0) / NSEC_PER_SEC);
		return;
	}
	note(k, LOG_INFO, "started %s, process %d", k->options->program, (int)process->pid);
	publish(k);
}

static void ended(struct process *process, int status, nanoseconds lived)
{
	struct keeper *k = keeper_of(process);
	char words[CRASHES_WORDS_MAX];

	crashes_words(status, words);
	if (process->stopping) {
		note(k, LOG_INFO, "Headscale has ended (%s)", words);
		k->loop.done = true;
	} else if (process->crashes.total == 0 && k->taken[0] && lived < FIRST_START) {
		k->result = error_set(k->err, -EADDRINUSE,
				      "Headscale can't listen, another program has its port ('ss "
				      "-ltunp' names it): end that program, or choose another port "
				      "in %s. Headscale's message: %s",
				      k->options->config, k->taken);
		note(k, LOG_ERROR, "%s", k->err->text);
		k->loop.done = true;
	} else {
		note(k, LOG_ERROR, "Headscale died (%s); the next starts in %.1f s", words,
		     (double)process_again(process, lived) / NSEC_PER_SEC);
	}
}

/* send_signal() - To it and to the processes that it started */
static void send_signal(const struct process *process, int number)
{
	/* Not reaped yet, so the number is its own. */
	if (process->pid > 0 && kill(-process->pid, number) < 0)
		(void)kill(process->pid, number);
}

static void ask_to_end(struct process *process)
{
	send_signal(process, SIGTERM);
}

static void send_kill(struct process *process, bool overdue)
{
	if (overdue)
		note(keeper_of(process), LOG_WARN, "Headscale did not end in time and is killed");
	send_signal(process, SIGKILL);
}

static const struct process_kind headscale = {
	.has_group = true,
	.start = start,
	.ask_to_end = ask_to_end,
	.kill = send_kill,
	.line = line,
	.ended = ended,
};

static void signals_ready(struct loop_source *source, uint32_t events)
{
	struct keeper *k = container_of(source, struct keeper, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		process_reap_all(&k->process);
	else if (info.ssi_signo == SIGHUP)
		send_signal(&k->process, SIGHUP);
	else if (k->process.stopping)
		process_kill(&k->process); /* a second request: without patience */
	else
		k->loop.done = !process_stop(&k->process);
}

/* --- From outside --- */

/* collect() - The last @size - 1 bytes of its output; 0 at the end, -ETIMEDOUT */
static int collect(int fd, nanoseconds until, char *out, size_t size)
{
	struct pollfd in = {.fd = fd, .events = POLLIN};
	char piece[1024];
	size_t used = 0;
	ssize_t n = 1;

	out[0] = 0;
	while (n != 0) {
		nanoseconds left = until - clock_boottime();

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&in, 1, (int)(left / NSEC_PER_MSEC) + 1) != 1)
			continue;
		n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		for (ssize_t i = 0; i < n; i++) {
			if (used == size - 1)
				memmove(out, out + 1, --used);
			out[used++] = piece[i];
		}
		out[used] = 0;
	}
	return 0;
}

int keeper_check(const struct keeper_options *options, struct error *err)
{
	char *const arguments[] = {(char *)options->program, (char *)"configtest",
				   (char *)"--config", (char *)options->config, NULL};
	const struct process_plan plan = {
		.path = options->program,
		.program = -1,
		.arguments = arguments,
		.environment = environ,
		.channel = -1,
		.output_may_block = true,
		.ends_with_us = true,
	};
	char words[CHECK_WORDS];
	int output, status = 0, r;
	pid_t pid = process_spawn(&plan, &output, err);

	if (pid < 0)
		return (int)pid;
	r = collect(output, clock_boottime() + CHECK_TIME, words, sizeof(words));
	if (r < 0)
		(void)kill(-pid, SIGKILL);
	close(output);
	if (waitpid(pid, &status, 0) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		return error_set_errno(err, r, "%s", options->program);
	if (status == 0)
		return 0;
	for (char *c = words; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = c[1] ? '|' : 0;
	return error_set(err, -EINVAL, "Headscale refuses %s: %s", options->config, words);
}

/* open_number() - The file that the child locks */
static int open_number(const char *folder, struct error *err)
{
	_cleanup_free_ char *path = file_in(folder, NUMBER_FILE);
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;

	if (!path)
		return error_set(err, -ENOMEM, "out of memory");
	return fd < 0 ? error_set_errno(err, -errno, "open %s", path) : fd;
}

/* remove_number() - After the child's end, while the folder is still locked */
static void remove_number(const char *folder)
{
	_cleanup_free_ char *path = file_in(folder, NUMBER_FILE);

	if (path)
		(void)unlink(path);
}

/* end_orphan() - End a Headscale whose keeper was killed */
static int end_orphan(const char *folder, struct error *err)
{
	_cleanup_close_ int fd = open_number(folder, err);
	pid_t pid = fd < 0 ? 0 : process_lock_holder(fd), older;
	int r;

	if (fd < 0)
		return fd;
	if (pid == -EXDEV)
		return error_set(err, pid,
				 "a Headscale in another container (PID namespace) uses %s: end it "
				 "there, then start this one again",
				 folder);
	older = pid > 0 ? 0 : process_lock_older(fd);
	if (older > 0)
		return error_set(err, -EBUSY,
				 "process %d, which an older pillion started, uses %s: end it "
				 "('kill %d', or 'kill -9 %d' if it hangs), then start this one "
				 "again",
				 (int)older, folder, (int)older, (int)older);
	if (pid > 0)
		log_info("ending process %d of an earlier 'run'", (int)pid);
	r = process_lock_end(fd, KEEPER_STOP_PATIENCE, &pid);
	if (r < 0 && r != -ENOLCK && r != -EOPNOTSUPP)
		return error_set_errno(err, r, "end process %d of an earlier 'run'", (int)pid);
	if (r > 0)
		log_warn("the process did not end in time and was killed");
	remove_number(folder);
	return 0;
}

int keeper_lock(const char *folder, struct error *err)
{
	_cleanup_free_ char *lock = file_in(folder, "headscale.lock");
	_cleanup_close_ int fd = -1;
	int r;

	if (!lock)
		return error_set(err, -ENOMEM, "out of memory");
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(err, -errno, "%s", lock);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return error_set(err, -EBUSY, "another 'pillion headscale run' uses %s",
					 folder);
		/* Some network file systems have no locks. */
		log_warn("%s can't be locked (%s): make sure that no other 'run' uses it", folder,
			 strerror(errno));
	}
	r = end_orphan(folder, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_all(struct keeper *k)
{
	_cleanup_free_ char *log = file_in(k->options->folder, "headscale.log");
	sigset_t set;
	int fd, r;

	if (!log)
		return error_set(k->err, -ENOMEM, "out of memory");
	k->number_fd = open_number(k->options->folder, k->err);
	if (k->number_fd < 0)
		return k->number_fd;
	r = capped_log_open(log, true, &k->log, k->err);
	if (r < 0)
		return r;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = fd < 0 ? -errno : loop_init(&k->loop);
	if (r == 0)
		r = loop_add(&k->loop, &k->signals, fd, EPOLLIN);
	return r < 0 ? error_set_errno(k->err, r, "make an event loop") : 0;
}

int keeper_run(const struct keeper_options *options, struct error *err)
{
	struct keeper k = {
		.options = options,
		.err = err,
		.signals = LOOP_SOURCE(signals_ready),
		.loop.epoll = -1,
		.log.fd = -1,
		.number_fd = -1,
	};
	int r = open_all(&k), fd;

	if (r == 0) {
		process_init(&k.process, &headscale, &k.loop, KEEPER_STOP_PATIENCE);
		start(&k.process);
		r = loop_run(&k.loop);
		remove_number(options->folder);
	}
	fd = k.signals.fd;
	cleanup_close_at(&fd);
	loop_close(&k.loop);
	capped_log_close(&k.log);
	cleanup_close_at(&k.number_fd);
	return r < 0 ? r : k.result;
}
