/* SPDX-License-Identifier: BSD-3-Clause */
/* server/ingress/ingress.c - the listeners of an ingress, its limits and statistics */
#define LOG_ROOM "ingress"
#include "base/log.h"

#include "base/cleanup.h"
#include "server/ingress/ingress_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_A_TURN 64
#define ACCEPT_PAUSE   (NSEC_PER_SEC / 10)
#define WARNING_EVERY  (60 * NSEC_PER_SEC)
#define RATE_SECONDS   10u    /* how many seconds of the rate may come at once */
#define DEAD_AFTER_MS  120000 /* sent, and not acknowledged */

/* Bytes that the kernel keeps for one slow reader: it would take megabytes, which nobody counts. */
#define UNSENT_MAX (128 * 1024)

struct ingress_door {
	struct ingress *ingress;
	uv_poll_t poll;
	struct endpoint at; /* with the real port */
	uint16_t port;      /* the public one */
	bool plain;
	int fd; /* -1: not open */
};

/* --- Limits --- */

bool ingress_is_proxy(const struct ingress *ingress, const struct address *from)
{
	for (size_t i = 0; i < ingress->config.proxy_count; i++)
		if (prefix_contains(&ingress->config.proxies[i], from))
			return true;
	return false;
}

bool ingress_count_source(struct ingress *ingress, const struct address *from,
			  unsigned int *ret_slot)
{
	unsigned int slot = source_limit_slot(ingress->limit, from);

	if (ingress->of_source[slot] >= ingress->source_connections ||
	    !source_limit_admit(ingress->limit, slot, clock_boottime()))
		return false;
	ingress->of_source[slot]++;
	*ret_slot = slot;
	return true;
}

void ingress_uncount_source(struct ingress *ingress, unsigned int slot)
{
	ingress->of_source[slot]--;
}

void ingress_is_empty(struct ingress *ingress)
{
	void (*drained)(void *) = ingress->client_count == 0 ? ingress->drained : NULL;

	if (!drained)
		return;
	ingress->drained = NULL;
	drained(ingress->drained_user);
}

static void warn_full(struct ingress *ingress, const char *why)
{
	nanoseconds now = clock_boottime();

	if (ingress->warned_full && now < ingress->warned_full + WARNING_EVERY)
		return;
	ingress->warned_full = now;
	log_warn("new connections are closed: %s", why);
}

/* --- Listeners --- */

/* set_options() - The kernel finds out that a client is gone. Fails only where it does not matter */
static void set_options(int fd)
{
	static const struct {
		int level, name, value;
	} rows[] = {
		{IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_MS},
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 60},
		{IPPROTO_TCP, TCP_KEEPCNT, 4},
		{IPPROTO_TCP, TCP_KEEPINTVL, 20},
	};

	/* #syscalls: setsockopt */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		(void)setsockopt(fd, rows[i].level, rows[i].name, &rows[i].value,
				 sizeof(rows[i].value));
}

static void take(struct ingress_door *door, int fd, const struct endpoint *from)
{
	struct ingress *ingress = door->ingress;

	ingress->statistics.accepted++;
	if (ingress->client_count >= ingress->connections && !ingress_client_shed(ingress)) {
		ingress->statistics.refused[INGRESS_FULL]++;
		warn_full(ingress, "all connections of --connections are in use");
		close(fd);
		return;
	}
	set_options(fd);
	ingress_client_open(ingress, fd, from, door->port, door->plain);
}

/* #syscalls: accept4 accept */
static void on_incoming(uv_poll_t *poll, int status, int events)
{
	struct ingress_door *door = poll->data;

	(void)status;
	(void)events;
	for (int left = ACCEPTS_A_TURN; left > 0; left--) {
		struct sockaddr_storage address;
		socklen_t length = sizeof(address);
		struct endpoint from;
		int fd = accept4(door->fd, (struct sockaddr *)&address, &length,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
			/* No descriptor or memory: it would fail again at once. */
			warn_full(door->ingress, strerror(errno));
			uv_poll_stop(poll);
			loop_timer_at(door->ingress->accept_again, clock_boottime() + ACCEPT_PAUSE);
		}
		if (fd < 0)
			break;
		if (endpoint_from_sockaddr((struct sockaddr *)&address, &from) < 0)
			close(fd);
		else
			take(door, fd, &from);
	}
}

static void on_accept_again(void *user)
{
	struct ingress *ingress = user;

	for (size_t i = 0; i < ingress->config.listener_count; i++)
		if (ingress->doors[i].fd >= 0)
			uv_poll_start(&ingress->doors[i].poll, UV_READABLE, on_incoming);
}

static int open_door(struct ingress *ingress, size_t i, struct error *err)
{
	const struct ingress_listener *listener = &ingress->config.listeners[i];
	struct ingress_door *door = &ingress->doors[i];
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	_cleanup_close_ int fd = -1;
	int r = web_listen(&listener->at, &fd, err);

	if (r < 0)
		return r;
	/* #syscalls: getsockname */
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
	    endpoint_from_sockaddr((struct sockaddr *)&address, &door->at) < 0)
		return error_set(err, -EIO, "a listener has no address");
	r = uv_poll_init(ingress->loop, &door->poll, fd);
	if (r < 0)
		return error_set_errno(err, r, "watch a listener");
	door->ingress = ingress;
	door->fd = TAKE_FD(fd);
	door->port = listener->port ? listener->port : door->at.port;
	door->plain = listener->plain;
	door->poll.data = door;
	uv_poll_start(&door->poll, UV_READABLE, on_incoming);
	return 0;
}

static void close_door(struct ingress_door *door)
{
	if (door->fd < 0)
		return;
	uv_poll_stop(&door->poll);
	close(door->fd);
	door->fd = -1;
}

/* --- Life --- */

int ingress_new(uv_loop_t *loop, const struct ingress_config *config, struct ingress **ret,
		struct error *err)
{
	struct ingress *ingress = calloc(1, sizeof(*ingress));
	unsigned int rate = config->source_rate ? config->source_rate : INGRESS_SOURCE_RATE;
	int r = 0;

	if (ingress) {
		ingress->loop = loop;
		ingress->config = *config;
		ingress->names_known = ingress_client_names_known;
		TAILQ_INIT(&ingress->waiting);
		LIST_INIT(&ingress->clients);
		ingress->connections =
			config->connections ? config->connections : INGRESS_CONNECTIONS;
		ingress->source_connections = config->source_connections
						      ? config->source_connections
						      : INGRESS_SOURCE_CONNECTIONS;
		conduit_pool_init(&ingress->pool, INGRESS_QUEUED_ALL, ingress->connections);
		ingress->pool.half_closed = INGRESS_HALF_CLOSED;
		ingress->pool.resets = true;
		ingress->limit = source_limit_new(rate, rate * RATE_SECONDS);
		ingress->doors = calloc(config->listener_count + 1, sizeof(*ingress->doors));
	}
	if (!ingress || !ingress->limit || !ingress->doors ||
	    loop_timer_create(loop, on_accept_again, ingress, &ingress->accept_again) < 0) {
		r = error_set(err, -ENOMEM, "out of memory");
		goto failed;
	}
	for (size_t i = 0; i < config->listener_count; i++)
		ingress->doors[i].fd = -1;
	r = ingress_names_new(ingress, &ingress->names, err);
	for (size_t i = 0; r == 0 && i < config->listener_count; i++)
		r = open_door(ingress, i, err);
	if (r == 0)
		r = ingress_metrics_open(ingress, err);
	if (r < 0)
		goto failed;
	*ret = ingress;
	return 0;
failed:
	ingress_free(ingress);
	return r;
}

void ingress_drain(struct ingress *ingress, void (*done)(void *user), void *user)
{
	for (size_t i = 0; i < ingress->config.listener_count; i++)
		close_door(&ingress->doors[i]);
	ingress->drained = done;
	ingress->drained_user = user;
	ingress_is_empty(ingress);
}

/* on_closed() - The last handle to close frees what holds all of them */
static void on_closed(uv_handle_t *handle)
{
	struct ingress_door *doors = handle->data;

	free(doors);
}

/* free_doors() - They are one block, and each has a handle that libuv still knows */
static void free_doors(struct ingress *ingress)
{
	struct ingress_door *last = NULL;

	for (size_t i = 0; ingress->doors && i < ingress->config.listener_count; i++) {
		close_door(&ingress->doors[i]);
		if (ingress->doors[i].ingress)
			last = &ingress->doors[i];
	}
	for (size_t i = 0; last && i < ingress->config.listener_count; i++) {
		if (!ingress->doors[i].ingress)
			continue;
		ingress->doors[i].poll.data = ingress->doors;
		uv_close((uv_handle_t *)&ingress->doors[i].poll,
			 &ingress->doors[i] == last ? on_closed : NULL);
	}
	if (!last)
		free(ingress->doors);
}

void ingress_free(struct ingress *ingress)
{
	if (!ingress)
		return;
	ingress->drained = NULL;
	ingress->closing = true;
	while (!LIST_EMPTY(&ingress->clients))
		ingress_client_close(LIST_FIRST(&ingress->clients));
	conduit_pool_free(&ingress->pool);
	free_doors(ingress);
	ingress_names_free(ingress->names);
	web_server_free(ingress->metrics);
	loop_timer_free(ingress->accept_again);
	source_limit_free(ingress->limit);
	free(ingress);
}

const struct endpoint *ingress_endpoint(const struct ingress *ingress, size_t i)
{
	return &ingress->doors[i].at;
}
