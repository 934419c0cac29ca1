/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/app_calls.c - connections to the app
 *
 * DOC: Theory of operation
 *
 * The supervisor makes each socket and begins to connect it to an address of the target; here the
 * call waits until it is connected. An app that is just starting refuses: the call goes round the
 * target's addresses again until APP_GRACE is over, so that its restart costs nobody a request. An
 * address that can't be reached ("localhost" is ::1 too, also where IPv6 is off) leaves the others.
 * Many calls wait longer between two tries, or their timers would take all the time there is; the
 * first connection that succeeds wakes the others of its target.
 */
#include "base/cleanup.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"
#include "transport/tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define RETRY_PAUSE   (50 * NSEC_PER_MSEC)
#define RETRY_EACH    (NSEC_PER_MSEC / 4) /* longer by this for each call */
#define CONNECT_LIMIT (10 * NSEC_PER_SEC)

struct app_call {
	TAILQ_ENTRY(app_call) entry;
	struct app_calls *in; /* the list of services that has it, or NULL */
	struct services *services;
	struct serving *serving;
	unsigned int target, address;
	int why; /* what the addresses answered; 0: nothing yet */
	enum app_call_how how;
	app_ready *ready; /* NULL: cancelled */
	void *user;
	nanoseconds grace_ends, ends;
	struct loop_timer *timer;
	uv_poll_t poll; /* while a descriptor connects */
	int fd;
	bool asked; /* the supervisor has not answered yet */
	bool polls; /* the poll handle is not closed yet */
	bool done;
	struct stream *tls; /* while its handshake lasts */
};

static const struct serve_target *target_of(const struct app_call *call)
{
	return serving_target(call->serving, call->target);
}

/* --- Calls --- */

/* free_done() - Free a call that is done, once nothing is under way for it */
static void free_done(struct app_call *call)
{
	if (!call->done || call->asked || call->polls)
		return;
	loop_timer_free(call->timer);
	stream_close(call->tls);
	cleanup_close_at(&call->fd);
	serving_release(call->serving);
	free(call);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct app_call *call = handle->data;

	call->polls = false;
	free_done(call);
}

/* close_poll() - The descriptor is not watched any more; a handle closes later */
static void close_poll(struct app_call *call)
{
	if (!call->polls || uv_is_closing((uv_handle_t *)&call->poll))
		return;
	uv_poll_stop(&call->poll);
	uv_close((uv_handle_t *)&call->poll, on_poll_closed);
}

static void leave_list(struct app_call *call)
{
	if (call->in)
		TAILQ_REMOVE(call->in, call, entry);
	call->in = NULL;
}

static void enter_list(struct app_call *call, struct app_calls *list)
{
	leave_list(call);
	TAILQ_INSERT_TAIL(list, call, entry);
	call->in = list;
}

/* retry_later() - After a pause that leaves time for others, @least or longer */
static void retry_later(struct app_call *call, nanoseconds least)
{
	nanoseconds pause = least + (nanoseconds)call->services->app_calls * RETRY_EACH;

	loop_timer_at(call->timer, clock_boottime() + pause);
}

/* set_done() - It is under way no more, and nobody is told */
static app_ready *set_done(struct app_call *call)
{
	app_ready *ready = call->ready;

	call->done = true;
	call->ready = NULL;
	call->services->app_calls--;
	leave_list(call);
	close_poll(call);
	return ready;
}

/* finish() - Answer, and free the call */
static void finish(struct app_call *call, struct stream *stream, int fd, const struct error *err)
{
	app_ready *ready = set_done(call);

	loop_timer_at(call->timer, DEADLINE_NEVER);
	if (ready) {
		ready(call->user, stream, fd, err);
	} else {
		stream_close(stream);
		cleanup_close_at(&fd);
	}
	free_done(call);
}

static void fail(struct app_call *call, int code)
{
	const struct serve_target *target = target_of(call);
	struct error err = {0};

	if (code == -ECONNREFUSED && call->target >= call->serving->config.target_count)
		error_set(&err, code, "%s refuses connections", target->text);
	else if (code == -ECONNREFUSED)
		error_set(&err, code,
			  "nothing listens at %s: connections were refused for %.0f s. Start the "
			  "app, or correct the port in the serve configuration",
			  target->text, (double)APP_GRACE / (double)NSEC_PER_SEC);
	else if (code == -ELOOP)
		error_set(
			&err, code,
			"%s leads back to a port that this node serves itself: name the app's own "
			"port, at 127.0.0.1",
			target->text);
	else if (code == -EPERM && target->path)
		error_set(&err, code,
			  "%s is outside of the folders that may be served: start pillion with "
			  "--serve-root=FOLDER (TS_SERVE_ROOT)",
			  target->text);
	else if (code == -ENOSYS && target->path)
		error_set(&err, code, "%s needs a kernel with openat2 (Linux 5.6)", target->text);
	else if (code == -EACCES && target->path)
		error_set(
			&err, code,
			"%s may not be opened: it is never served, a link leads out of the served "
			"folders, or its mode forbids it",
			target->text);
	else if (code == -EDESTADDRREQ)
		error_set(&err, code, "the name of %s has no address", target->text);
	else if (code == -ESTALE)
		error_set(&err, code, "the serve configuration has no %s any more", target->text);
	else
		error_set_errno(&err, code, "connect to %s", target->text);
	finish(call, NULL, -1, &err);
}

static void ask(struct app_call *call);

/* begin_again() - With the first address, if there is time */
static void begin_again(struct app_call *call)
{
	call->address = 0;
	if (call->why < 0 && clock_boottime() >= call->grace_ends) {
		fail(call, call->why);
		return;
	}
	enter_list(call, &call->services->app_refused);
	retry_later(call, RETRY_PAUSE);
}

/* refused() - Try the next address, or all of them again a little later */
static void refused(struct app_call *call, int code)
{
	/* An address that refuses says more than one that can't be reached. */
	if (call->why != -ECONNREFUSED)
		call->why = code;
	if (code == -ECONNREFUSED && clock_boottime() >= call->grace_ends) {
		fail(call, code);
	} else if (++call->address == SERVE_TARGET_ADDRESSES_MAX) {
		begin_again(call);
	} else if (code == -ECONNREFUSED) {
		enter_list(call, &call->services->app_refused);
		retry_later(call, RETRY_PAUSE);
	} else {
		loop_timer_at(call->timer, clock_boottime());
	}
}

/* wake_refused() - The app of @call is there */
static void wake_refused(const struct app_call *call)
{
	struct app_call *other, *next;

	for (other = TAILQ_FIRST(&call->services->app_refused); other; other = next) {
		next = TAILQ_NEXT(other, entry);
		if (strcmp(target_of(other)->text, target_of(call)->text) == 0) {
			leave_list(other);
			loop_timer_soon(other->timer);
		}
	}
}

static void on_tls_opened(void *user)
{
	struct app_call *call = user;
	struct stream *stream = TAKE_PTR(call->tls);

	stream_set_events(stream, NULL, NULL);
	stream_pause(stream);
	finish(call, stream, -1, NULL);
}

static void on_tls_closed(void *user, const struct error *err)
{
	struct app_call *call = user;
	struct error why = {.code = -ECONNRESET};

	snprintf(why.text, sizeof(why.text), "TLS with %s: %s", target_of(call)->text,
		 err ? err->text : "it closed the connection");
	finish(call, NULL, -1, &why);
}

/* connected() - Hand the connection over, or begin TLS on it */
static void connected(struct app_call *call)
{
	static const struct stream_events events = {
		.opened = on_tls_opened,
		.closed = on_tls_closed,
	};
	const struct serve_target *target = target_of(call);
	struct tls_options options = {
		.host = target->host,
		.insecure = target->security == SERVE_TLS_INSECURE,
		.protocols = call->how == APP_HTTP ? TLS_HTTP_PROTOCOLS : NULL,
	};
	bool is_plain = target->security == SERVE_PLAIN || target->security == SERVE_H2C;
	struct stream *stream = NULL;
	struct error err = {0};
	int r;

	if (call->how == APP_RAW && is_plain) {
		finish(call, NULL, TAKE_FD(call->fd), NULL);
		return;
	}
	r = tcp_open(call->services->loop, TAKE_FD(call->fd), &stream, &err);
	if (r == 0 && is_plain) {
		stream_pause(stream);
		finish(call, stream, -1, NULL);
		return;
	}
	if (r == 0)
		r = tls_client(call->services->client_tls, &options, stream, &call->tls, &err);
	if (r < 0)
		finish(call, NULL, -1, &err);
	else
		stream_set_events(call->tls, &events, call);
}

/* #syscalls: getsockopt */
static void on_writable(uv_poll_t *poll, int status, int events)
{
	struct app_call *call = poll->data;
	socklen_t size = sizeof(int);
	int error = 0;

	(void)status;
	(void)events;
	if (getsockopt(call->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	close_poll(call);
	if (error == 0) {
		wake_refused(call);
		connected(call);
		return;
	}
	cleanup_close_at(&call->fd);
	call->fd = -1;
	refused(call, -error);
}

/* take_socket() - @fd: the supervisor's answer, which is taken over */
static void take_socket(struct app_call *call, int fd)
{
	call->asked = false;
	if (call->done) {
		cleanup_close_at(&fd);
		free_done(call);
		return;
	}
	if (fd == -ERANGE) { /* after the last address */
		begin_again(call);
		return;
	}
	if (fd == -ESTALE) { /* a configuration came meanwhile: by its numbers */
		retry_later(call, NSEC_PER_MSEC);
		return;
	}
	if (fd == -EDQUOT) { /* too many in this second */
		retry_later(call, RETRY_PAUSE);
		return;
	}
	/* A Unix socket that its app makes anew, or whose queue is full just now. */
	if (fd == -ECONNREFUSED || fd == -ENOENT || fd == -EAGAIN) {
		refused(call, -ECONNREFUSED);
		return;
	}
	if (fd == -ENETUNREACH || fd == -EHOSTUNREACH || fd == -EADDRNOTAVAIL ||
	    fd == -EAFNOSUPPORT) {
		refused(call, fd);
		return;
	}
	if (fd < 0) {
		fail(call, fd);
		return;
	}
	call->fd = fd;
	if (call->polls || uv_poll_init(call->services->loop, &call->poll, fd) < 0) {
		fail(call, -ENOMEM);
		return;
	}
	call->polls = true;
	call->poll.data = call;
	uv_poll_start(&call->poll, UV_WRITABLE, on_writable);
	loop_timer_at(call->timer, call->ends);
}

static void on_socket(void *user, int fd)
{
	struct app_call *call = user, *next;
	struct services *services = call->services;

	take_socket(call, fd);
	next = TAILQ_FIRST(&services->app_queue);
	if (next)
		ask(next);
}

static void ask(struct app_call *call)
{
	int target = serving_target_now(call->services, call->serving, call->target), r;

	leave_list(call);
	if (target < 0) {
		fail(call, -ESTALE);
		return;
	}
	if (call->polls) { /* the handle of the last try is still closing */
		loop_timer_soon(call->timer);
		return;
	}
	r = privsep_client_connect(call->services->privsep, call->services->serving->number,
				   (unsigned int)target, call->address, on_socket, call);
	if (r == -ENOBUFS) { /* many at once */
		enter_list(call, &call->services->app_queue);
		retry_later(call, RETRY_PAUSE);
	} else if (r < 0) {
		fail(call, r);
	} else {
		call->asked = true;
	}
}

static void on_timer(void *user)
{
	struct app_call *call = user;

	if (call->done || call->asked)
		return;
	if (clock_boottime() >= call->ends)
		fail(call, -ETIMEDOUT);
	else if (call->fd < 0 && !call->tls)
		ask(call);
}

struct app_call *app_call_begin(struct services *services, struct serving *serving,
				unsigned int target, enum app_call_how how, app_ready *ready,
				void *user)
{
	struct app_call *call = calloc(1, sizeof(*call));

	if (!call || loop_timer_create(services->loop, on_timer, call, &call->timer) < 0) {
		free(call);
		return NULL;
	}
	call->services = services;
	services->app_calls++;
	call->serving = serving_hold(serving);
	call->target = target;
	call->how = how;
	call->ready = ready;
	call->user = user;
	call->fd = -1;
	call->grace_ends = clock_boottime() + APP_GRACE;
	call->ends = clock_boottime() + CONNECT_LIMIT;
	loop_timer_soon(call->timer);
	return call;
}

void app_call_cancel(struct app_call *call)
{
	if (!call || call->done)
		return;
	(void)set_done(call);
	if (call->tls)
		stream_set_events(call->tls, NULL, NULL);
	free_done(call);
}
