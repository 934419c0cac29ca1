/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/child.c - a child process of the supervisor, of any kind */
#include "supervisor/child.h"

#include "base/cleanup.h"
#include "supervisor/capabilities.h"
#include "supervisor/supervisor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

#define STOP_GRACE   (1500 * NSEC_PER_MSEC) /* for a child to end in order */
#define STOP_TOTAL   (1900 * NSEC_PER_MSEC) /* until the supervisor ends */
#define OUTGOING_MAX 64u                    /* messages that a child has not read yet */

#define LOG_FILE_MAX (1024u * 1024)

/* Messages read of a dead child: another holder of its channel could go on writing. */
#define LAST_WORDS_MAX 1024u

_Static_assert(PRIVSEP_CHANNEL_FD == PROCESS_CHANNEL_FD, "where a child finds its channel");

struct outgoing {
	STAILQ_ENTRY(outgoing) next;
	union privsep_message message;
	struct privsep_fds fds;
};

static struct child *child_of(struct process *process)
{
	return container_of(process, struct child, process);
}

/* find_program() - The sibling of our own program; descriptor or negative errno with @err */
static int find_program(const char *name, struct error *err)
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
	fd = openat(folder, name, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, -errno,
				       "find %s/%s (the installation is incomplete: both programs "
				       "belong into one folder)",
				       path, name);
	return fd;
}

/* --- Messages to it --- */

static void outgoing_free(struct outgoing *outgoing)
{
	privsep_fds_close(&outgoing->fds);
	free(outgoing);
}

static void drop_first(struct child *child)
{
	struct outgoing *first = STAILQ_FIRST(&child->queue);

	STAILQ_REMOVE_HEAD(&child->queue, next);
	child->queue_length--;
	outgoing_free(first);
}

static void flush(struct child *child)
{
	const struct outgoing *first;
	int r = 0;

	while ((first = STAILQ_FIRST(&child->queue))) {
		r = privsep_send(child->channel.fd, PRIVSEP_FROM_SUPERVISOR, &first->message,
				 first->fds.fd, first->fds.count);
		if (r < 0)
			break;
		drop_first(child);
	}
	if (r < 0 && r != -EAGAIN && r != -EPIPE) {
		child_kill(child, strerror(-r));
		return;
	}
	/* -EPIPE: it is dying, and SIGCHLD follows. */
	(void)loop_change(child->process.loop, &child->channel,
			  r == -EAGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void child_send(struct child *child, const union privsep_message *message, const int *fds,
		size_t fd_count)
{
	struct outgoing *outgoing;

	if (child->channel.fd < 0)
		return;
	if (child->queue_length >= OUTGOING_MAX) {
		child_kill(child, "it does not read its messages");
		return;
	}
	outgoing = calloc(1, sizeof(*outgoing));
	if (!outgoing) {
		child_kill(child, "out of memory for a message to it");
		return;
	}
	outgoing->message = *message;
	for (size_t i = 0; i < fd_count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			outgoing_free(outgoing);
			child_kill(child, "out of descriptors for a message to it");
			return;
		}
		outgoing->fds.fd[outgoing->fds.count++] = fd;
	}
	STAILQ_INSERT_TAIL(&child->queue, outgoing, next);
	child->queue_length++;
	flush(child);
}

void child_reply(struct child *child, uint32_t id, int result, const char *text, int fd)
{
	union privsep_message reply = {.reply = {{PRIVSEP_REPLY, id}, .result = result}};

	snprintf(reply.reply.text, sizeof(reply.reply.text), "%s", text);
	child_send(child, &reply, &fd, fd >= 0 ? 1 : 0);
}

/* --- Messages from it --- */

/* receive() - One message; 0, -EAGAIN if there is none, -EPIPE, or -EBADMSG if it is invalid */
static int receive(struct child *child)
{
	union privsep_message message;
	struct privsep_fds fds;
	int r = privsep_receive(child->channel.fd, child->kind->sender, &message, &fds);

	if (r < 0)
		return r;
	if (message.header.type == PRIVSEP_ALIVE)
		watchdog_answered(&child->watchdog);
	else
		r = child->kind->receive ? child->kind->receive(child, &message, &fds) : -EBADMSG;
	privsep_fds_close(&fds);
	return r;
}

/* hang_up() - Close our end */
static void hang_up(struct child *child)
{
	int fd = child->channel.fd;

	loop_remove(child->process.loop, &child->channel);
	cleanup_close_at(&fd);
	while (!STAILQ_EMPTY(&child->queue))
		drop_first(child);
}

static void channel_ready(struct loop_source *source, uint32_t events)
{
	struct child *child = container_of(source, struct child, channel);
	int r;

	if ((events & EPOLLOUT) != 0)
		flush(child);
	if (source->fd < 0 || (events & ~(uint32_t)EPOLLOUT) == 0)
		return;
	r = receive(child);
	if (r == -EPIPE) {
		/* The child is ending, or of no use. A stopping child has its own deadline. */
		hang_up(child);
		if (!child->process.stopping)
			process_kill(&child->process);
	} else if (r < 0 && r != -EAGAIN) {
		child_kill(child, "it sent an invalid message");
	}
}

/* --- Its log lines --- */

static void pass_on(struct process *process, const char *text, size_t length)
{
	struct child *child = child_of(process);
	struct supervisor *s = child->supervisor;
	nanoseconds now = clock_boottime();

	if (flood_pass(&child->flood, length, now)) {
		log_pass_on(text, length);
		if (s->log.path)
			capped_log_trim(&s->log, LOG_FILE_MAX);
	} else if (child->flood.dropped == 1) {
		timer_arm(process->loop, &child->say_dropped, now + NSEC_PER_SEC);
	}
}

/* say_dropped_fire() - A second after the first dropped line, so once a second in a flood */
static void say_dropped_fire(struct loop_timer *timer, nanoseconds now)
{
	struct child *child = container_of(timer, struct child, say_dropped);

	(void)now;
	if (child->flood.dropped > 0)
		log_warn("%lu log lines of %s were dropped: it wrote too many in a short time",
			 child->flood.dropped, child->kind->name);
	child->flood.dropped = 0;
}

/* --- Its life --- */

static int reduce(void *context)
{
	const struct child *child = context;

	return capabilities_for_child(child->supervisor->split);
}

/* Longer than the name of any library that PILLION_AEAD may name. */
#define AEAD_NAME_MAX 16

static int spawn(struct child *child, struct error *err)
{
	char identity[32] = "-", name[32];
	char *const arguments[] = {name, identity, NULL};
	char aead[sizeof("PILLION_AEAD=") + AEAD_NAME_MAX];
	char *environment[] = {NULL, NULL};
	_cleanup_close_ int ours = -1, theirs = -1;
	int channel[2], r;
	struct process_plan plan = {
		.path = child->kind->program,
		.program = child->program,
		.arguments = arguments,
		.environment = environment,
		.ignores_sigpipe = true, /* a peer that hangs up is an error, no death */
		.reduce = reduce,
		.context = child,
	};

	snprintf(name, sizeof(name), "%s", child->kind->program);
	if (child->supervisor->options->aead) {
		snprintf(aead, sizeof(aead), "PILLION_AEAD=%s", child->supervisor->options->aead);
		environment[0] = aead;
	}
	if (child->supervisor->split)
		snprintf(identity, sizeof(identity), "%u:%u", child->uid, child->gid);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel) < 0)
		return error_set_errno(err, -errno, "make a channel");
	ours = channel[0];
	plan.channel = theirs = channel[1];
	r = process_start(&child->process, &plan, err);
	if (r == 0)
		r = loop_add(child->process.loop, &child->channel, ours, EPOLLIN);
	if (r == 0)
		TAKE_FD(ours);
	return r;
}

void child_start(struct child *child)
{
	const struct child_kind *kind = child->kind;
	struct error err = {0};
	int r;

	child->idle = false;
	if (child->supervisor->ending || child->process.pid != 0 ||
	    (kind->prepare && !kind->prepare(child)))
		return;
	child->number++;
	child->hung = false;
	child->watchdog = (struct watchdog){0};
	child->quotas = kind->quotas;
	r = spawn(child, &err);
	if (r == 0 && kind->greet)
		r = kind->greet(child);
	if (r == 0) {
		timer_arm(child->process.loop, &child->watch,
			  child->process.started + WATCHDOG_INTERVAL);
		log_debug("%s %u started, process %d", kind->name, child->number,
			  (int)child->process.pid);
		return;
	}
	log_error("can't start %s: %s; trying again", kind->name,
		  err.code < 0 ? err.text : strerror(-r));
	if (child->process.pid != 0)
		child_kill(child, "it did not receive its start configuration");
	else
		(void)process_again(&child->process, 0);
}

void child_stop(struct child *child)
{
	child->idle = true;
	timer_cancel(child->process.loop, &child->process.restart);
	(void)process_stop(&child->process);
}

static void start(struct process *process)
{
	child_start(child_of(process));
}

static void ask_to_end(struct process *process)
{
	child_send(child_of(process), &(union privsep_message){.header.type = PRIVSEP_STOP}, NULL,
		   0);
}

static void send_kill(struct process *process, bool overdue)
{
	struct child *child = child_of(process);
	int r = capabilities_kill(process->pid, SIGKILL, child->supervisor->split, child->uid,
				  child->gid);

	if (overdue)
		log_warn("%s did not end in time and is killed", child->kind->name);
	if (r < 0 && r != -ESRCH && quota_take(&child->quotas.said, clock_boottime()))
		log_error("can't kill %s, trying again: %s", child->kind->name, strerror(-r));
}

void child_kill(struct child *child, const char *why)
{
	if (child->process.pid == 0)
		return;
	log_error("%s is killed: %s", child->kind->name, why);
	hang_up(child);
	process_kill(&child->process);
}

static void watch_fire(struct loop_timer *timer, nanoseconds now)
{
	struct child *child = container_of(timer, struct child, watch);
	char why[96];

	/* A stopping child has its own deadline; a child with a closed channel is ending. */
	if (child->process.stopping || child->channel.fd < 0)
		return;
	timer_arm(child->process.loop, timer, now + WATCHDOG_INTERVAL);
	switch (watchdog_turn(&child->watchdog)) {
	case WATCHDOG_ASK:
		child_send(child, &(union privsep_message){.header.type = PRIVSEP_PING}, NULL, 0);
		break;
	case WATCHDOG_HANGS:
		child->hung = true;
		snprintf(why, sizeof(why), "it hangs: no sign of life for %.1f s",
			 (double)(WATCHDOG_TURNS * WATCHDOG_INTERVAL) / (double)NSEC_PER_SEC);
		child_kill(child, why);
		break;
	case WATCHDOG_WAIT:
		break;
	}
}

/* all_gone() - Whether no child runs */
static bool all_gone(const struct supervisor *s)
{
	const struct process *process = s->processes;

	while (process && process->pid == 0)
		process = process->next;
	return !process;
}

/* stop_children() - First those that finish requests, since the others carry the answers */
static void stop_children(struct supervisor *s)
{
	nanoseconds now = clock_boottime(), finishes = 0;

	for (struct process *at = s->processes; at; at = at->next)
		if (child_of(at)->kind->finishes > 0 && process_stop(at))
			finishes = child_of(at)->kind->finishes;
	for (struct process *at = s->processes; at && finishes == 0; at = at->next)
		(void)process_stop(at);
	s->end_by = now + finishes + STOP_TOTAL;
	timer_arm(&s->loop, &s->end, s->end_by);
	s->loop.done = all_gone(s);
}

static void ended(struct process *process, int status, nanoseconds lived)
{
	struct child *child = child_of(process);
	const char *name = child->kind->name;
	char words[CRASHES_WORDS_MAX];
	nanoseconds pause;

	/* Its last messages count: a store, a state. */
	for (unsigned int left = LAST_WORDS_MAX; left > 0 && child->channel.fd >= 0; left--)
		if (receive(child) < 0)
			break;
	hang_up(child);
	timer_cancel(process->loop, &child->watch);
	if (child->kind->gone)
		child->kind->gone(child);
	if (child->hung)
		snprintf(words, sizeof(words), "hung, and was killed");
	else
		crashes_words(status, words);
	if (child->supervisor->ending) {
		if (status != 0)
			log_warn("%s died while stopping (%s)", name, words);
		stop_children(child->supervisor);
		return;
	}
	if (child->idle)
		return;
	if (process->stopping) { /* needed again before it had ended */
		child_start(child);
		return;
	}
	free(child->last_crash);
	child->last_crash = strdup(words);
	pause = process_again(process, lived);
	log_error("%s died (%s); the next starts in %.1f s, tunnel and sockets stay", name, words,
		  (double)pause / (double)NSEC_PER_SEC);
}

static const struct process_kind child_process = {
	.start = start,
	.ask_to_end = ask_to_end,
	.kill = send_kill,
	.line = pass_on,
	.ended = ended,
};

int child_open(struct child *child, struct supervisor *s, const struct child_kind *kind,
	       uint32_t uid, uint32_t gid, struct error *err)
{
	*child = (struct child){
		.supervisor = s,
		.kind = kind,
		.uid = uid,
		.gid = gid,
		.channel = LOOP_SOURCE(channel_ready),
		.watch = LOOP_TIMER(watch_fire),
		.say_dropped = LOOP_TIMER(say_dropped_fire),
	};
	STAILQ_INIT(&child->queue);
	process_init(&child->process, &child_process, &s->loop, kind->finishes + STOP_GRACE);
	child->process.next = s->processes;
	s->processes = &child->process;
	child->program = find_program(kind->program, err);
	return child->program < 0 ? child->program : 0;
}

void child_close(struct child *child)
{
	cleanup_close_at(&child->program);
	free(child->last_crash);
}

/* --- All of them --- */

void children_reap(struct supervisor *s)
{
	process_reap_all(s->processes);
}

static void end_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, end);

	(void)now;
	for (const struct process *at = s->processes; at; at = at->next)
		if (at->pid != 0)
			log_error("%s (process %d) can't be ended and is left behind",
				  container_of(at, struct child, process)->kind->name,
				  (int)at->pid);
	s->loop.done = true;
}

void supervisor_end(struct supervisor *s, int code)
{
	if (s->ending) { /* a second request: requests of clients are not finished */
		for (struct process *at = s->processes; at; at = at->next)
			if (child_of(at)->kind->finishes > 0)
				process_kill(at);
		return;
	}
	s->ending = true;
	s->exit_code = code;
	timer_cancel(&s->loop, &s->boot);
	s->end = LOOP_TIMER(end_fire);
	stop_children(s);
}
