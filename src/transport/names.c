/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/names.c - host names to addresses, by c-ares on libuv
 *
 * Theory of operation
 *   A question is in one of three states: asked (c-ares has it), ready (its answer
 *   waits for `deliver`, a timer that fires from the loop, so that no answer comes
 *   out of names_resolve() or from inside c-ares), or dropped (cancelled while c-ares
 *   had it, which can't take one question back; freed when c-ares lets go).
 *   A new configuration makes a new channel: destroying the old one ends its questions with
 *   ARES_EDESTRUCTION, and they are asked again.
 */
#include "transport/names.h"
#include "base/cleanup.h"
#include "base/small_file.h"
#include "transport/loop_timer.h"
#include "transport/names_text.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/uio.h>

/* Unless resolv.conf says otherwise: shorter than the C library's 5 s, which is a dial's half. */
#define DEFAULT_TIMEOUT_MS 2000
#define DEFAULT_TRIES      3

enum query_state {
	QUERY_ASKED,
	QUERY_READY,
	QUERY_DROPPED,
	QUERY_AGAIN, /* the channel went away under it */
};

struct names_query {
	struct names *names;
	LIST_ENTRY(names_query) entry;
	enum query_state state;
	char host[RESOLV_NAME_MAX + 1];
	names_answer *answer;
	void *user;
	struct address addresses[NAMES_ADDRESSES_MAX];
	size_t count;
	struct error err;
};

/* One socket of c-ares in the loop. */
struct names_poll {
	uv_poll_t handle;
	struct names *names;
	LIST_ENTRY(names_poll) entry;
	ares_socket_t fd;
	int events; /* wanted */
};

struct names {
	uv_loop_t *loop;
	struct socket_source *sockets;
	ares_channel channel;
	char servers[RESOLV_SERVERS_MAX * ENDPOINT_TEXT_MAX];
	char *hosts;
	size_t hosts_length;
	LIST_HEAD(, names_query) queries;
	LIST_HEAD(, names_poll) polls;
	struct loop_timer *timeout; /* of c-ares */
	struct loop_timer *deliver;
	bool freeing;
};

static void free_query(struct names_query *q)
{
	LIST_REMOVE(q, entry);
	free(q);
}

static void make_ready(struct names_query *q)
{
	q->state = QUERY_READY;
	loop_timer_soon(q->names->deliver);
}

static void arm_timeout(struct names *n)
{
	struct timeval tv, *wait = n->channel ? ares_timeout(n->channel, NULL, &tv) : NULL;

	loop_timer_at(n->timeout, wait ? clock_boottime() + wait->tv_sec * NSEC_PER_SEC +
						  wait->tv_usec * NSEC_PER_USEC
				       : DEADLINE_NEVER);
}

static void on_timeout(void *user)
{
	struct names *n = user;

	ares_process_fd(n->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timeout(n);
}

/* Sockets of c-ares */

static struct names_poll *find_poll(struct names *n, ares_socket_t fd)
{
	struct names_poll *p;

	LIST_FOREACH(p, &n->polls, entry)
		if (p->fd == fd)
			break;
	return p;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct names_poll *p = handle->data;
	struct names *n = p->names;
	ares_socket_t fd = p->fd;

	if (status < 0) /* an error on the socket, which c-ares learns by using it */
		events = UV_READABLE | UV_WRITABLE;
	ares_process_fd(n->channel, events & UV_READABLE ? fd : ARES_SOCKET_BAD,
			events & UV_WRITABLE ? fd : ARES_SOCKET_BAD);
	/* libuv has stopped watching after an error; c-ares may have kept the socket. */
	p = find_poll(n, fd);
	if (status < 0 && p)
		uv_poll_start(&p->handle, p->events, on_poll);
	arm_timeout(n);
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void close_poll(struct names_poll *p)
{
	LIST_REMOVE(p, entry);
	uv_poll_stop(&p->handle);
	uv_close((uv_handle_t *)&p->handle, on_poll_closed);
}

/* on_socket_state() - c-ares wants @fd watched, or (neither) not any more */
static void on_socket_state(void *user, ares_socket_t fd, int readable, int writable)
{
	struct names *n = user;
	struct names_poll *p = find_poll(n, fd);

	if (!readable && !writable) {
		if (p)
			close_poll(p);
		return;
	}
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p || uv_poll_init_socket(n->loop, &p->handle, fd) < 0) {
			free(p); /* the question runs into its timeout */
			return;
		}
		p->handle.data = p;
		p->names = n;
		p->fd = fd;
		LIST_INSERT_HEAD(&n->polls, p, entry);
	}
	p->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
	uv_poll_start(&p->handle, p->events, on_poll);
}

static ares_socket_t socket_open(int family, int type, int protocol, void *user)
{
	struct names *n = user;
	int fd;

	(void)protocol;
	fd = n->sockets->open(n->sockets, type == SOCK_STREAM ? SOCKET_TCP : SOCKET_UDP,
			      family == AF_INET6 ? ADDRESS_V6 : ADDRESS_V4);
	if (fd < 0) {
		errno = -fd;
		return ARES_SOCKET_BAD;
	}
	return fd;
}

/* #syscalls: close */
static int socket_close(ares_socket_t fd, void *user)
{
	(void)user;
	return close(fd);
}

/* #syscalls: connect */
static int socket_connect(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t length,
			  void *user)
{
	(void)user;
	return connect(fd, to, length);
}

/* #syscalls: recvfrom */
static ares_ssize_t socket_receive(ares_socket_t fd, void *bytes, size_t size, int flags,
				   struct sockaddr *from, ares_socklen_t *length, void *user)
{
	(void)user;
	return recvfrom(fd, bytes, size, flags, from, length);
}

/* #syscalls: writev */
static ares_ssize_t socket_send(ares_socket_t fd, const struct iovec *vector, int count, void *user)
{
	ssize_t sent = writev(fd, vector, count);

	(void)user;
	/*
	 * The error is of the datagram before: c-ares would send this question to the next server
	 * and leave the other one to its timeout. It comes again if the server is really down.
	 */
	if (sent < 0 && errno == ECONNREFUSED)
		sent = writev(fd, vector, count);
	return sent;
}

static const struct ares_socket_functions socket_functions = {
	.asocket = socket_open,
	.aclose = socket_close,
	.aconnect = socket_connect,
	.arecvfrom = socket_receive,
	.asendv = socket_send,
};

/* The channel */

/* create_channel() - With every option given, so that c-ares reads no file of its own */
static int create_channel(struct names *n, const struct resolv_conf *c, ares_channel *ret)
{
	struct ares_options options = {
		.flags = ARES_FLAG_NOALIASES | (c->use_tcp ? ARES_FLAG_USEVC : 0),
		.timeout = c->timeout ? c->timeout * 1000 : DEFAULT_TIMEOUT_MS,
		.tries = c->tries ? c->tries : DEFAULT_TRIES,
		.ndots = c->ndots,
		.lookups = (char[]){"b"},
		.ndomains = (int)c->search_count,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = n,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS | ARES_OPT_SERVERS | ARES_OPT_SORTLIST |
		   ARES_OPT_SOCK_STATE_CB | (c->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);
	char *domains[RESOLV_SEARCH_MAX];
	int r;

	for (size_t i = 0; i < c->search_count; i++)
		domains[i] = (char *)(uintptr_t)c->search[i];
	options.domains = domains;
	r = ares_init_options(ret, &options, mask);
	if (r != ARES_SUCCESS)
		return -ENOMEM;
	ares_set_socket_functions(*ret, &socket_functions, n);
	return 0;
}

/* format_servers() - "1.2.3.4:53,[::1]:53" */
static void format_servers(const struct resolv_conf *c, char *out, size_t size)
{
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i < c->server_count && used < size; i++) {
		char text[ENDPOINT_TEXT_MAX];

		used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "," : "",
					 endpoint_format(&c->servers[i], text));
	}
}

static int fail(struct names_query *q, int status)
{
	const char *servers = q->names->servers;

	switch (status) {
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
		return error_set(&q->err, -ENOENT, "resolve %s: no such name (asked %s)", q->host,
				 servers);
	case ARES_ETIMEOUT:
		return error_set(&q->err, -ETIMEDOUT, "resolve %s: no answer from %s", q->host,
				 servers);
	case ARES_ECONNREFUSED:
		return error_set(&q->err, -ECONNREFUSED,
				 "resolve %s: can't reach the name server (%s of resolv.conf)",
				 q->host, servers);
	default:
		return error_set(&q->err, -EAGAIN, "resolve %s: %s (asked %s)", q->host,
				 ares_strerror(status), servers);
	}
}

static void add_address(struct names_query *q, const struct sockaddr *sa)
{
	struct endpoint e;

	if (q->count < NAMES_ADDRESSES_MAX && endpoint_from_sockaddr(sa, &e) == 0)
		q->addresses[q->count++] = e.address;
}

static void on_answer(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
	struct names_query *q = user;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		for (struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next)
			add_address(q, node->ai_addr);
	if (info)
		ares_freeaddrinfo(info);
	if (q->state == QUERY_DROPPED || q->names->freeing) {
		free_query(q);
		return;
	}
	if (status == ARES_EDESTRUCTION) {
		q->state = QUERY_AGAIN;
		return;
	}
	if (q->count == 0)
		fail(q, status == ARES_SUCCESS ? ARES_ENODATA : status);
	make_ready(q);
}

static void ask(struct names_query *q)
{
	struct ares_addrinfo_hints hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = ARES_AI_NOSORT, /* sorting would open a socket an address */
	};

	q->state = QUERY_ASKED;
	ares_getaddrinfo(q->names->channel, q->host, NULL, &hints, on_answer, q);
	arm_timeout(q->names);
}

static void on_deliver(void *user)
{
	struct names *n = user;

	struct names_query *q, answer;

	LIST_FOREACH(q, &n->queries, entry)
		if (q->state == QUERY_READY)
			break;
	if (!q)
		return;
	answer = *q;
	free_query(q);
	/* More may be ready: come again, since names_free() may be called in there. */
	loop_timer_soon(n->deliver);
	answer.answer(answer.user, answer.count ? answer.addresses : NULL, answer.count,
		      answer.count ? NULL : &answer.err);
}

int names_create(uv_loop_t *loop, struct socket_source *sockets, struct names **ret,
		 struct error *err)
{
	struct names *n = calloc(1, sizeof(*n));
	int r;

	if (!n || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(n);
		return error_set(err, -ENOMEM, "out of memory");
	}
	n->loop = loop;
	n->sockets = sockets;
	if (loop_timer_create(loop, on_timeout, n, &n->timeout) < 0 ||
	    loop_timer_create(loop, on_deliver, n, &n->deliver) < 0) {
		names_free(n);
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = names_configure(n, NULL, 0, NULL, 0, err);
	if (r < 0) {
		names_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	n->freeing = true;
	if (n->channel)
		ares_destroy(n->channel);
	while (!LIST_EMPTY(&n->queries))
		free_query(LIST_FIRST(&n->queries));
	while (!LIST_EMPTY(&n->polls))
		close_poll(LIST_FIRST(&n->polls));
	loop_timer_free(n->timeout);
	loop_timer_free(n->deliver);
	free(n->hosts);
	free(n);
	ares_library_cleanup();
}

int names_configure(struct names *n, const char *resolv_conf, size_t resolv_conf_length,
		    const char *hosts, size_t hosts_length, struct error *err)
{
	static const uint8_t local[4] = {127, 0, 0, 1};
	char servers[sizeof(n->servers)];
	ares_channel channel, old = n->channel;
	_cleanup_free_ char *copy = NULL;
	struct resolv_conf c;

	if (resolv_conf_parse(resolv_conf, resolv_conf_length, &c) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (c.server_count == 0)
		c.servers[c.server_count++] =
			(struct endpoint){.address = address_v4(local), .port = 53};
	if (hosts) {
		copy = malloc(hosts_length + 1);
		if (!copy)
			return error_set(err, -ENOMEM, "out of memory");
		memcpy(copy, hosts, hosts_length);
	}
	if (create_channel(n, &c, &channel) < 0)
		return error_set(err, -ENOMEM, "c-ares can't make a channel");
	format_servers(&c, servers, sizeof(servers));
	if (ares_set_servers_ports_csv(channel, servers) != ARES_SUCCESS) {
		ares_destroy(channel);
		return error_set(err, -EINVAL, "unusable name servers: %s", servers);
	}
	memcpy(n->servers, servers, sizeof(servers));
	free(n->hosts);
	n->hosts = TAKE_PTR(copy);
	n->hosts_length = hosts ? hosts_length : 0;
	n->channel = channel;
	if (old)
		ares_destroy(old);
	for (struct names_query *q = LIST_FIRST(&n->queries), *next; q; q = next) {
		next = LIST_NEXT(q, entry);
		if (q->state == QUERY_AGAIN)
			ask(q);
	}
	arm_timeout(n);
	return 0;
}

int names_open_system(uv_loop_t *loop, struct names **ret, struct error *err)
{
	_cleanup_free_ char *resolv_conf = NULL, *hosts = NULL;
	struct names *names = NULL;
	int r = names_create(loop, socket_source_direct(), &names, err);

	if (r < 0)
		return r;
	(void)small_file_read("/etc/resolv.conf", &resolv_conf, NULL);
	(void)small_file_read("/etc/hosts", &hosts, NULL);
	r = names_configure(names, resolv_conf, resolv_conf ? strlen(resolv_conf) : 0, hosts,
			    hosts ? strlen(hosts) : 0, err);
	if (r < 0)
		names_free(names);
	else
		*ret = names;
	return r;
}

/* answer_localhost() - RFC 6761 §6.3 */
static void answer_localhost(struct names_query *q)
{
	size_t length = strlen(q->host), suffix = strlen("localhost");
	struct address six = {.family = ADDRESS_V6, .bytes = {[15] = 1}};
	struct address four = {.family = ADDRESS_V4, .bytes = {127, 0, 0, 1}};

	if (length && q->host[length - 1] == '.')
		length--;
	if (length < suffix || strncasecmp(q->host + length - suffix, "localhost", suffix) != 0)
		return;
	if (length > suffix && q->host[length - suffix - 1] != '.')
		return;
	q->addresses[q->count++] = four;
	q->addresses[q->count++] = six;
}

int names_resolve(struct names *n, const char *host, names_answer *answer, void *user,
		  struct names_query **ret, struct error *err)
{
	struct names_query *q;

	if (!host_is_valid(host))
		return error_set(err, -EINVAL, "'%.64s' is not a valid host name", host);
	q = calloc(1, sizeof(*q));
	if (!q)
		return error_set(err, -ENOMEM, "out of memory");
	q->names = n;
	q->answer = answer;
	q->user = user;
	snprintf(q->host, sizeof(q->host), "%s", host);
	LIST_INSERT_HEAD(&n->queries, q, entry);
	*ret = q; /* before c-ares may answer */

	if (address_parse(host, strlen(host), &q->addresses[0]) == 0)
		q->count = 1;
	else
		q->count = hosts_find(n->hosts, n->hosts_length, host, q->addresses,
				      NAMES_ADDRESSES_MAX);
	if (q->count == 0)
		answer_localhost(q);
	if (q->count)
		make_ready(q);
	else
		ask(q);
	return 0;
}

void names_cancel(struct names_query *q)
{
	if (!q)
		return;
	if (q->state == QUERY_ASKED)
		q->state = QUERY_DROPPED;
	else
		free_query(q);
}
