/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/web_server.c - the HTTP server that strangers reach */
#define LOG_ROOM "web"
#include "server/web/web_server.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG              4096
#define ACCEPT_WARNING_EVERY (60 * NSEC_PER_SEC)
#define DEAD_AFTER_MS        60000 /* sent, and not acknowledged */

struct web_server {
	struct web_server_options options;
	struct http1_server *http;
	struct source_limit *limit;
	nanoseconds warned; /* when a failure of accept() was logged last; 0: never */
};

/* source_of() - The slot that a peer is counted in; local peers and the proxy are not counted */
static uint32_t source_of(const struct web_server *s, const struct address *peer)
{
	if (peer->family == ADDRESS_NONE || address_is_loopback(peer) ||
	    (s->options.behind_proxy && address_is_private(peer)))
		return WEB_SOURCE_LOCAL;
	return source_limit_slot(s->limit, peer);
}

static bool on_accept(void *user, int fd, struct http1_exchange *x)
{
	static const struct {
		int level, name, value;
	} rows[] = {
		{IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_MS},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 60},
		{IPPROTO_TCP, TCP_KEEPCNT, 3},
		{IPPROTO_TCP, TCP_KEEPINTVL, 20},
	};
	struct web_server *s = user;

	x->source = source_of(s, &x->peer.address);
	if (x->source != WEB_SOURCE_LOCAL &&
	    !source_limit_admit(s->limit, x->source, clock_boottime()))
		return false;
	/* Fails only where it does not matter. */
	for (size_t i = 0; x->peer.address.family != ADDRESS_NONE && i < ARRAY_SIZE(rows); i++)
		(void)setsockopt(fd, rows[i].level, rows[i].name, &rows[i].value,
				 sizeof(rows[i].value));
	return true;
}

/* on_head() - Behind a proxy, the request has the address that the proxy gives, if it gives one */
static bool on_head(void *user, struct http1_exchange *x)
{
	const struct web_server *s = user;
	const char *list = NULL, *last;
	struct address address;

	for (size_t i = 0; i < x->head->header_count; i++)
		if (strcasecmp(x->head->headers[i].name, "X-Forwarded-For") == 0)
			list = x->head->headers[i].value;
	if (!list || !s->options.behind_proxy || x->source != WEB_SOURCE_LOCAL)
		return true;
	/* The text before the last comma is from the client, or from a proxy further away. */
	last = strrchr(list, ',');
	last = last ? last + 1 : list;
	last += strspn(last, " \t");
	if (address_parse(last, strcspn(last, " \t"), &address) == 0) {
		x->peer = (struct endpoint){.address = address};
		x->source = source_of(s, &address);
	}
	return true;
}

static void on_request(void *user, struct http1_exchange *x)
{
	const struct web_server *s = user;

	s->options.serve(s->options.user, x);
}

/* on_starved() - No new connection is accepted: logged once a minute, as it is tried each 0.1 s */
static void on_starved(void *user, int error)
{
	struct web_server *s = user;
	nanoseconds now = clock_boottime();

	if (s->warned && now < s->warned + ACCEPT_WARNING_EVERY)
		return;
	s->warned = now;
	if (error == EMFILE || error == ENFILE)
		log_warn("no new connection can be accepted, %zu are open: %s; raise the limit of "
			 "open files (ulimit -n, LimitNOFILE=, docker run --ulimit nofile=)",
			 http1_server_statistics(s->http)->open, strerror(error));
	else
		log_warn("no new connection can be accepted: %s", strerror(error));
}

int web_server_new(const struct web_server_options *options, struct web_server **ret,
		   struct error *err)
{
	static const struct http1_server_hooks hooks = {
		.accept = on_accept, .admit = on_head, .serve = on_request, .starved = on_starved};
	const struct http1_server_limits limits = {
		.connections = LIMIT_SERVER_CONNECTIONS,
		.sources = SOURCE_SLOTS,
		.of_source = LIMIT_SERVER_SOURCE,
		.body = options->body_limit,
		.held = LIMIT_SERVER_BYTES,
		.held_of_source = LIMIT_SERVER_SOURCE_BYTES,
		.idle = LIMIT_SERVER_PATIENCE,
		.write = LIMIT_SERVER_PATIENCE,
	};
	struct web_server *s = calloc(1, sizeof(*s));
	int r;

	if (s)
		s->limit = source_limit_new(LIMIT_SERVER_SOURCE_RATE, LIMIT_SERVER_SOURCE_BURST);
	if (!s || !s->limit) {
		close(options->listen_fd);
		free(s);
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->options = *options;
	r = http1_server_new(options->loop, options->listen_fd, options->tls, &limits, &hooks, s,
			     &s->http, err);
	if (r < 0)
		web_server_free(s);
	else
		*ret = s;
	return r;
}

void web_server_free(struct web_server *s)
{
	if (!s)
		return;
	http1_server_free(s->http);
	source_limit_free(s->limit);
	free(s);
}

struct http1_server *web_server_http(const struct web_server *s)
{
	return s->http;
}

int web_listen(const struct endpoint *at, int *ret_fd, struct error *err)
{
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(at, &address);
	char text[ENDPOINT_TEXT_MAX];
	_cleanup_close_ int fd = -1;
	int on = 1;

	endpoint_format(at, text);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "listen on %s", text);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* [::] means both families. */
	if (address.ss_family == AF_INET6) {
		int off = 0;

		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	}
	if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, BACKLOG) < 0)
		return error_set_errno(err, -errno, "listen on %s", text);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int web_listen_unix(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	int probe;
	bool alive;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -ENAMETOOLONG,
				 "socket path %s is too long (%zu bytes at most)", path,
				 sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return error_set_errno(err, -errno, "socket");
	alive = connect(probe, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(probe);
	if (alive)
		return error_set(err, -EADDRINUSE, "another server answers at %s", path);
	(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "socket");
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0 || listen(fd, 64) < 0)
		return error_set_errno(err, r < 0 ? r : -errno, "listen on %s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
