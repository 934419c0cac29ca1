/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/app_calls.c - connections to the app
 *
 * DOC: Theory of operation
 *
 * The supervisor makes each socket and begins to connect it to an address of the target; here the
 * call waits until it is connected. An app that is just starting refuses: the call goes round the
 * target's addresses again until APP_GRACE is over, so that its restart costs nobody a request.
 * Many calls wait longer between two tries, or their timers would take all the time there is; the
 * first connection that succeeds wakes the others of its target.
 * Connections are kept for a few seconds after a request. Most apps close an idle one after 5 s
 * or more, and one that is closed meanwhile is dropped at once.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"
#include "transport/tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define RETRY_PAUSE   (50 * NSEC_PER_MSEC)
#define RETRY_EACH    (NSEC_PER_MSEC / 4) /* longer by this for each call */
#define CONNECT_LIMIT (10 * NSEC_PER_SEC)
#define IDLE_LIMIT    (4 * NSEC_PER_SEC)
#define IDLE_LOOK     (NSEC_PER_SEC / 2) /* how often those past the limit are closed */
#define IDLE_A_TARGET 256u

struct app_call {
	TAILQ_ENTRY(app_call) entry;
	struct app_calls *in; /* the list of services that has it, or NULL */
	struct services *services;
	struct serving *serving;
	unsigned int target, address;
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

/* Connections to one target that have no request now, the latest one first. */
struct app_pool {
	LIST_ENTRY(app_pool) entry;
	struct serving *serving;
	unsigned int target;
	TAILQ_HEAD(app_idles, app_idle) idle; /* never empty */
	unsigned int count;
};

struct app_idle {
	TAILQ_ENTRY(app_idle) entry;
	struct app_pool *pool;
	struct stream *stream;
	nanoseconds since;
};

static const struct serve_target *target_of(const struct app_call *call)
{
	return serving_target(call->serving, call->target);
}

/* target_now() - The number of the call's target in the newest configuration; -1: it has none */
static int target_now(const struct app_call *call)
{
	const struct serving *now = call->services->serving;
	const struct serve_target *wanted = target_of(call);

	for (size_t i = 0; i < now->config.target_count + SERVING_BEYOND; i++) {
		const struct serve_target *target = serving_target(now, i);

		if (target && text_equal(wanted->host, target->host) &&
		    text_equal(wanted->path, target->path) && wanted->port == target->port &&
		    wanted->security == target->security)
			return (int)i;
	}
	return -1;
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
	else if (code == -EHOSTUNREACH && target->host)
		error_set(&err, code, "the name of %s has no address", target->text);
	else if (code == -ESTALE)
		error_set(&err, code, "the serve configuration has no %s any more", target->text);
	else
		error_set_errno(&err, code, "connect to %s", target->text);
	finish(call, NULL, -1, &err);
}

static void ask(struct app_call *call);

/* refused() - Try the next address, or all of them again a little later */
static void refused(struct app_call *call, int code)
{
	if (++call->address == SERVE_TARGET_ADDRESSES_MAX)
		call->address = 0;
	if (code != -ECONNREFUSED) {
		loop_timer_at(call->timer, clock_boottime());
	} else if (clock_boottime() < call->grace_ends) {
		enter_list(call, &call->services->app_refused);
		retry_later(call, RETRY_PAUSE);
	} else {
		fail(call, code);
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
	if (fd == -ERANGE) { /* after the last address: from the first one again */
		call->address = 0;
		retry_later(call, RETRY_PAUSE);
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
	int target = target_now(call), r;

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

/* --- Connections between requests --- */

static struct app_pool *find_pool(struct services *services, const struct serving *serving,
				  unsigned int target)
{
	struct app_pool *pool;

	LIST_FOREACH(pool, &services->app_pools, entry)
		if (pool->serving == serving && pool->target == target)
			break;
	return pool;
}

/* take_out() - Its stream, which is the caller's; the last one takes the pool along */
static struct stream *take_out(struct app_idle *idle)
{
	struct app_pool *pool = idle->pool;
	struct stream *stream = idle->stream;

	TAILQ_REMOVE(&pool->idle, idle, entry);
	free(idle);
	stream_set_events(stream, NULL, NULL);
	if (--pool->count == 0) {
		LIST_REMOVE(pool, entry);
		serving_release(pool->serving);
		free(pool);
	}
	return stream;
}

void app_look(struct services *services)
{
	nanoseconds now = clock_boottime();
	struct app_pool *pool, *next;

	for (pool = LIST_FIRST(&services->app_pools); pool; pool = next) {
		struct app_idle *oldest = TAILQ_LAST(&pool->idle, app_idles);
		struct app_idle *before;

		next = LIST_NEXT(pool, entry);
		for (; oldest && now - oldest->since > IDLE_LIMIT; oldest = before) {
			before = TAILQ_PREV(oldest, app_idles, entry);
			stream_close(take_out(oldest));
		}
	}
	if (!LIST_EMPTY(&services->app_pools))
		loop_timer_at(services->app_timer, now + IDLE_LOOK);
}

static void on_idle_data(void *user, const uint8_t *bytes, size_t length)
{
	(void)bytes;
	(void)length;
	stream_close(take_out(user)); /* nothing was asked */
}

static void on_idle_closed(void *user, const struct error *err)
{
	(void)err;
	stream_close(take_out(user));
}

struct stream *app_take(struct services *services, const struct serving *serving,
			unsigned int target, nanoseconds idle_at_most)
{
	struct app_pool *pool = find_pool(services, serving, target);
	struct app_idle *idle = pool ? TAILQ_FIRST(&pool->idle) : NULL;
	nanoseconds age = idle ? clock_boottime() - idle->since : 0;

	return idle && age <= idle_at_most && age <= IDLE_LIMIT ? take_out(idle) : NULL;
}

/* make_pool() - NULL without memory */
static struct app_pool *make_pool(struct services *services, struct serving *serving,
				  unsigned int target)
{
	struct app_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->serving = serving_hold(serving);
	pool->target = target;
	TAILQ_INIT(&pool->idle);
	if (LIST_EMPTY(&services->app_pools))
		loop_timer_at(services->app_timer, clock_boottime() + IDLE_LOOK);
	LIST_INSERT_HEAD(&services->app_pools, pool, entry);
	return pool;
}

void app_give(struct services *services, struct serving *serving, unsigned int target,
	      struct stream *stream)
{
	static const struct stream_events events = {
		.data = on_idle_data,
		.closed = on_idle_closed,
	};
	struct app_pool *pool = find_pool(services, serving, target);
	struct app_idle *idle = NULL;

	if (serving == services->serving && (!pool || pool->count < IDLE_A_TARGET))
		idle = calloc(1, sizeof(*idle));
	if (idle && !pool)
		pool = make_pool(services, serving, target);
	if (!idle || !pool) {
		free(idle);
		stream_close(stream);
		return;
	}
	idle->pool = pool;
	idle->stream = stream;
	idle->since = clock_boottime();
	TAILQ_INSERT_HEAD(&pool->idle, idle, entry);
	pool->count++;
	stream_set_events(stream, &events, idle);
	stream_resume(stream);
}

void app_forget(struct services *services)
{
	while (!LIST_EMPTY(&services->app_pools))
		stream_close(take_out(TAILQ_FIRST(&LIST_FIRST(&services->app_pools)->idle)));
}
