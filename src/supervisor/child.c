/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/child.c - the child: started, watched, stopped, started again
 *
 * DOC: Theory of operation
 *
 * none ──engine_start()──▶ lives ──exit──▶ counted ──backoff──▶ none
 *                            │ engine_stop()
 *                            ▼
 *                         stopping ──exit, or SIGKILL after STOP_GRACE──▶ gone
 *
 * One that hangs (an endless loop, SIGSTOP) does not end by itself: it is asked for a sign of
 * life every WATCHDOG_INTERVAL, and killed after WATCHDOG_TURNS without one. Then it is
 * replaced as one that crashed. SIGKILL is sent every KILL_RETRY until the process is gone:
 * sending it can fail, since it takes a fork where we lack CAP_KILL.
 *
 * The program is opened once, O_PATH, beside /proc/self/exe, and run by execveat: no
 * PATH, no variable, and the same version even when the file was replaced meanwhile.
 * The child gets /dev/null, its log pipe as stderr, the channel as descriptor 3, SIGPIPE
 * ignored, no environment, and no capability but what it needs to become another user.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"
#include "supervisor/capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

#define ENGINE_NAME "pillion-engine"

/* Messages read of a dead engine: who was handed its channel could go on writing. */
#define LAST_WORDS_MAX 1024u

/* What a child may be given beyond stdio and the channel: nothing. */
#define FIRST_SPARE_FD (PRIVSEP_CHANNEL_FD + 1)

int engine_find(struct error *err)
{
	char path[PATH_MAX];
	_cleanup_close_ int folder = -1;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;
	int fd;

	if (n < 0)
		return error_set_errno(
			err, -errno, "find our own program by /proc/self/exe (is /proc mounted?)");
	path[n] = 0;
	slash = strrchr(path, '/');
	if (!slash)
		return error_set(err, -EINVAL, "our own program \"%s\" has no folder", path);
	slash[slash == path] = 0;
	folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return error_set_errno(err, -errno, "open our program's folder %s", path);
	fd = openat(folder, ENGINE_NAME, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, -errno,
				       "find %s/%s (the installation is incomplete: both programs "
				       "belong into one folder)",
				       path, ENGINE_NAME);
	return fd;
}

static void channel_ready(struct loop_source *source, uint32_t events);
static void restart_fire(struct loop_timer *timer, nanoseconds now);
static void kill_fire(struct loop_timer *timer, nanoseconds now);
static void watch_fire(struct loop_timer *timer, nanoseconds now);

void engine_init(struct supervisor *s)
{
	s->engine = (struct engine){
		.fd = -1,
		.channel = LOOP_SOURCE(channel_ready),
		.restart = LOOP_TIMER(restart_fire),
		.kill = LOOP_TIMER(kill_fire),
		.watch = LOOP_TIMER(watch_fire),
	};
	s->engine.queue_end = &s->engine.queue;
}

/* child() - After fork: only async-signal-safe calls. Does not return */
static _Noreturn void child(const struct supervisor *s, char *const arguments[], int channel,
			    int log_pipe)
{
	char *const environment[] = {NULL};
	static const char complaint[] = "supervisor: can't run " ENGINE_NAME "\n";
	struct sigaction defaults = {.sa_handler = SIG_DFL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int program;
	sigset_t none;

	/* Out of the way of the numbers below. */
	channel = fcntl(channel, F_DUPFD_CLOEXEC, 16);
	log_pipe = fcntl(log_pipe, F_DUPFD_CLOEXEC, 16);
	program = fcntl(s->engine_program, F_DUPFD_CLOEXEC, 16);
	null = fcntl(null, F_DUPFD_CLOEXEC, 16);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(log_pipe, STDERR_FILENO) < 0 || dup2(channel, PRIVSEP_CHANNEL_FD) < 0)
		_exit(127);
	/* All others are close-on-exec already; should one have been missed: */
	(void)syscall(SYS_close_range, FIRST_SPARE_FD, UINT_MAX, 4u /* CLOSE_RANGE_CLOEXEC */);
	(void)setsid();
	/* But for SIGPIPE, which stays ignored: a peer that hangs up is an error, no death. */
	for (int i = 1; i < NSIG; i++)
		if (i != SIGPIPE)
			(void)sigaction(i, &defaults, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (capabilities_for_child(s->split) == 0)
		(void)syscall(SYS_execveat, program, "", arguments, environment, AT_EMPTY_PATH);
	(void)!write(STDERR_FILENO, complaint, sizeof(complaint) - 1);
	_exit(127);
}

/* spawn() - A child with its channel and log pipe; 0 or negative errno */
static int spawn(struct supervisor *s)
{
	_cleanup_close_ int ours = -1, theirs = -1, log_read = -1, log_write = -1;
	char identity[32] = "-", name[] = ENGINE_NAME;
	char *const arguments[] = {name, identity, NULL};
	int channel[2], log_pipe[2], r;
	pid_t pid;

	if (s->split)
		snprintf(identity, sizeof(identity), "%u:%u", s->options->engine_uid,
			 s->options->engine_gid);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel) < 0)
		return -errno;
	ours = channel[0];
	theirs = channel[1];
	/* Neither end blocks: a slow log must not hold the engine, nor the engine us. */
	if (pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	log_read = log_pipe[0];
	log_write = log_pipe[1];
	r = loop_add(&s->loop, &s->engine.channel, ours, EPOLLIN);
	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0)
		child(s, arguments, theirs, log_write);
	if (pid < 0) {
		r = -errno;
		loop_remove(&s->loop, &s->engine.channel);
		return r;
	}
	s->engine.fd = TAKE_FD(ours);
	s->engine.pid = pid;
	(void)logs_follow(&s->logs, TAKE_FD(log_read));
	return 0;
}

void engine_start(struct supervisor *s)
{
	struct engine *engine = &s->engine;
	int r;

	/* Without our link it waits for the one that takes its place. */
	if (s->ending || engine->pid != 0 || s->network.tun.queue_count == 0)
		return;
	if (crashes_want_fresh_sockets(&engine->crashes)) {
		uint32_t mark = netlink_mark(s->network.netlink);
		uint16_t port = s->udp.port;
		struct error err = {0};

		/* One that was shut down stays deaf, and nobody can tell by looking at it. */
		udp_pair_close(&s->udp);
		if (udp_pair_open(port, mark, &s->udp, &err) < 0 &&
		    udp_pair_open(0, mark, &s->udp, &err) < 0)
			log_error("%s", err.text);
	}
	engine->number++;
	engine->started = clock_boottime();
	engine->stopping = false;
	engine->hung = false;
	engine->killed = false;
	engine->watchdog = (struct watchdog){0};
	engine->sockets = (struct quota){.burst = 64, .interval = NSEC_PER_SEC / 32};
	engine->files = (struct quota){.burst = 64, .interval = NSEC_PER_SEC / 8};
	engine->loads = (struct quota){.burst = 16, .interval = NSEC_PER_SEC};
	engine->networks = (struct quota){.burst = 16, .interval = NSEC_PER_SEC / 4};
	engine->said = (struct quota){.burst = 64, .interval = 2 * NSEC_PER_SEC};
	life_new_engine(&s->life);
	r = spawn(s);
	if (r == 0)
		r = requests_start(s);
	if (r == 0) {
		timer_arm(&s->loop, &engine->watch, engine->started + WATCHDOG_INTERVAL);
		log_debug("engine %u started, process %d", engine->number, (int)engine->pid);
		return;
	}
	log_error("can't start the engine: %s; trying again", strerror(-r));
	if (engine->pid != 0)
		engine_kill(s, "it could not be told how to start");
	else
		timer_arm(&s->loop, &engine->restart,
			  clock_boottime() + crashes_count(&engine->crashes, 0));
}

static void restart_fire(struct loop_timer *timer, nanoseconds now)
{
	(void)now;
	engine_start(container_of(timer, struct supervisor, engine.restart));
}

/* send_kill() - SIGKILL, now and again until the process is gone */
static void send_kill(struct supervisor *s)
{
	int r = capabilities_kill(s->engine.pid, SIGKILL, s->split, s->options->engine_uid,
				  s->options->engine_gid);

	if (r < 0 && r != -ESRCH && quota_take(&s->engine.said, clock_boottime()))
		log_error("can't kill the engine, trying again: %s", strerror(-r));
	s->engine.killed = true;
	timer_arm(&s->loop, &s->engine.kill, clock_boottime() + KILL_RETRY);
}

static void kill_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, engine.kill);

	(void)now;
	if (s->engine.pid == 0)
		return;
	if (!s->engine.killed)
		log_warn("the engine did not end in time and is killed");
	send_kill(s);
}

void engine_kill(struct supervisor *s, const char *why)
{
	if (s->engine.pid == 0)
		return;
	log_error("the engine is killed: %s", why);
	loop_remove(&s->loop, &s->engine.channel);
	send_kill(s);
}

static void watch_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, engine.watch);
	union privsep_message ping = {.header.type = PRIVSEP_PING};
	char why[96];

	/* A stopping one has a deadline of its own; one whose channel is closed is dying. */
	if (s->engine.pid == 0 || s->engine.stopping || s->engine.channel.fd < 0)
		return;
	timer_arm(&s->loop, timer, now + WATCHDOG_INTERVAL);
	switch (watchdog_turn(&s->engine.watchdog)) {
	case WATCHDOG_ASK:
		engine_send(s, &ping, NULL, 0);
		break;
	case WATCHDOG_HANGS:
		s->engine.hung = true;
		snprintf(why, sizeof(why), "it hangs: no sign of life for %.1f s",
			 (double)(WATCHDOG_TURNS * WATCHDOG_INTERVAL) / (double)NSEC_PER_SEC);
		engine_kill(s, why);
		break;
	case WATCHDOG_WAIT:
		break;
	}
}

void engine_stop(struct supervisor *s)
{
	union privsep_message stop = {.header.type = PRIVSEP_STOP};

	timer_cancel(&s->loop, &s->engine.restart);
	if (s->engine.pid == 0) {
		supervisor_engine_gone(s);
		return;
	}
	if (s->engine.stopping)
		return;
	s->engine.stopping = true;
	engine_send(s, &stop, NULL, 0);
	timer_arm(&s->loop, &s->engine.kill, clock_boottime() + STOP_GRACE);
}

static void outgoing_free(struct outgoing *outgoing)
{
	for (size_t i = 0; i < outgoing->fd_count; i++)
		close(outgoing->fds[i]);
	free(outgoing);
}

static void flush(struct supervisor *s)
{
	struct engine *engine = &s->engine;
	int r = 0;

	while (engine->queue && engine->channel.fd >= 0) {
		struct outgoing *first = engine->queue;

		r = privsep_send(engine->channel.fd, PRIVSEP_FROM_SUPERVISOR, &first->message,
				 first->fds, first->fd_count);
		if (r < 0)
			break;
		engine->queue = first->next;
		if (!engine->queue)
			engine->queue_end = &engine->queue;
		engine->queue_length--;
		outgoing_free(first);
	}
	if (r < 0 && r != -EAGAIN && r != -EPIPE) {
		engine_kill(s, strerror(-r));
		return;
	}
	/* -EPIPE: it is dying, and SIGCHLD will say so. */
	if (engine->channel.fd >= 0)
		(void)loop_change(&s->loop, &engine->channel,
				  r == -EAGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void engine_send(struct supervisor *s, const union privsep_message *message, const int *fds,
		 size_t fd_count)
{
	struct engine *engine = &s->engine;
	struct outgoing *outgoing;

	if (engine->pid == 0 || engine->channel.fd < 0)
		return;
	if (engine->queue_length >= OUTGOING_MAX) {
		engine_kill(s, "it does not read what it is told");
		return;
	}
	outgoing = calloc(1, sizeof(*outgoing));
	if (!outgoing) {
		engine_kill(s, "out of memory for a message to it");
		return;
	}
	outgoing->message = *message;
	for (size_t i = 0; i < fd_count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			outgoing_free(outgoing);
			engine_kill(s, "out of descriptors for a message to it");
			return;
		}
		outgoing->fds[outgoing->fd_count++] = fd;
	}
	*engine->queue_end = outgoing;
	engine->queue_end = &outgoing->next;
	engine->queue_length++;
	flush(s);
}

static void channel_ready(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, engine.channel);

	if ((events & EPOLLOUT) != 0)
		flush(s);
	if (source->fd >= 0 && (events & ~(uint32_t)EPOLLOUT) != 0) {
		int r = requests_receive(s);

		if (r == -EPIPE) {
			/* Closed: it is dying, or of no use. A stopping one may take its time. */
			loop_remove(&s->loop, source);
			if (!s->engine.stopping)
				send_kill(s);
		} else if (r < 0 && r != -EAGAIN) {
			engine_kill(s, "it said something that can't be");
		}
	}
}

/* forget() - All that belonged to the engine that is gone */
static void forget(struct supervisor *s)
{
	struct engine *engine = &s->engine;

	loop_remove(&s->loop, &engine->channel);
	cleanup_close_at(&engine->fd);
	engine->fd = -1;
	timer_cancel(&s->loop, &engine->kill);
	timer_cancel(&s->loop, &engine->watch);
	while (engine->queue) {
		struct outgoing *next = engine->queue->next;

		outgoing_free(engine->queue);
		engine->queue = next;
	}
	engine->queue_end = &engine->queue;
	engine->queue_length = 0;
	logs_drain(&s->logs);
	network_engine_gone(s);
}

bool engine_exited(struct supervisor *s, pid_t pid, int status)
{
	struct engine *engine = &s->engine;
	nanoseconds now = clock_boottime(), delay;
	char words[CRASHES_WORDS_MAX];

	if (pid != engine->pid || pid == 0)
		return false;
	/* It was reaped: from here on its number may be another's. */
	engine->pid = 0;
	/* What it still said counts: a store on its way, its last state. */
	for (unsigned int left = LAST_WORDS_MAX; left > 0 && engine->channel.fd >= 0; left--)
		if (requests_receive(s) < 0)
			break;
	forget(s);
	if (engine->hung)
		snprintf(words, sizeof(words), "hung, and was killed");
	else
		crashes_words(status, words);
	if (s->ending) {
		if (status != 0)
			log_warn("the engine died while stopping (%s)", words);
		supervisor_engine_gone(s);
		return true;
	}
	delay = crashes_count(&engine->crashes, now - engine->started);
	free(s->last_crash);
	s->last_crash = strdup(words);
	log_error("the engine died (%s); the next starts in %.1f s, tunnel and sockets stay", words,
		  (double)delay / (double)NSEC_PER_SEC);
	timer_arm(&s->loop, &engine->restart, now + delay);
	return true;
}
