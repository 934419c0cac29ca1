/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/services_child.c - the services process as a kind of child, and what it serves
 *
 * DOC: Theory of operation
 *
 * The engine says which ports are served, and which targets stand behind them. For each port and
 * each own address there is a listener on another, free port, bound to our link: the app may hold
 * the served port itself, and neighbours on other links never reach the listener. The engine gets
 * these ports and diverts the packets of peers to them. Listeners live as long as their port is
 * wanted, so a new services process takes over the connections that wait there. Connections of this
 * machine itself to an own address pass the loopback link, yet the kernel takes them for packets of
 * the link that has the address: an nftables rule (netlink/nft.h) leads them to the same listener.
 *
 * A node has the PeerAPI also when it serves nothing. Its listener then has no process behind it:
 * the first connection starts one (knock()), and it ends when it has had none for some time, so an
 * idle node pays for two sockets only.
 *
 * When a port is not served any more, connections to it go on for PRIVSEP_SERVE_RETIRED: its listener
 * stays here, where nobody accepts, so that the kernel gives its port to no other socket, and the
 * engine diverts only packets of connections from before.
 *
 * The services process makes no socket: it asks for a connection to a target by its number in the
 * engine's list.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"
#include "privsep/records.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

/* The service's connections to the app: for each request one, if the app closes them. */
#define CONNECTS_BURST 4096u

/* open_listener() - At a free port of @own, for packets of our link alone */
static int open_listener(const struct supervisor *s, const struct address *own, uint16_t *ret_port)
{
	bool v6 = own->family == ADDRESS_V6;
	_cleanup_close_ int fd =
		socket_on_link((enum address_family)own->family, s->network.tun.name);
	struct endpoint at = {.address = *own};
	struct sockaddr_storage address;
	socklen_t length = endpoint_to_sockaddr(&at, &address);

	if (fd < 0)
		return fd;
	/* FREEBIND: the address may come a moment later. */
	if (setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND,
		       &(int){1}, sizeof(int)) < 0 ||
	    /* Accepted sockets inherit it: a vanished peer must not hold a socket for ever. */
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){120}, sizeof(int)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, SOMAXCONN) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
	    endpoint_from_sockaddr((struct sockaddr *)&address, &at) < 0)
		return -errno;
	*ret_port = at.port;
	return TAKE_FD(fd);
}

/* is_ephemeral() - Whether the kernel gives @port to connections that ask for no port */
static bool is_ephemeral(uint16_t port)
{
	_cleanup_close_ int fd =
		open("/proc/sys/net/ipv4/ip_local_port_range", O_RDONLY | O_CLOEXEC);
	unsigned int first, last;
	char text[32] = "";

	return fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
	       sscanf(text, "%u %u", &first, &last) != 2 || (port >= first && port <= last);
}

/*
 * reserve_port() - Keep the kernel from giving a served port to a connection of this machine, whose
 * answers would be diverted to the service
 *
 * The socket is bound and listens never, so that an app may bind the port too, as long as it sets
 * SO_REUSEADDR; only for the ports that the kernel gives away. If another socket listens there
 * already, the kernel skips the port by itself.
 */
static int reserve_port(const struct supervisor *s, const struct endpoint *at)
{
	bool v6 = at->address.family == ADDRESS_V6;
	struct sockaddr_storage address;
	socklen_t length = endpoint_to_sockaddr(at, &address);
	_cleanup_close_ int fd = -1;

	if (!is_ephemeral(at->port))
		return -1;
	fd = socket_on_link((enum address_family)at->address.family, s->network.tun.name);
	if (fd < 0 ||
	    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND,
		       &(int){1}, sizeof(int)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, length) < 0)
		return -1;
	return TAKE_FD(fd);
}

static void close_listener(struct serve_listener *listener)
{
	/* The services process may hold it too: this ends it there. #syscalls: shutdown */
	(void)shutdown(listener->fd, SHUT_RDWR);
	cleanup_close_at(&listener->fd);
	cleanup_close_at(&listener->reserved);
}

/* --- The PeerAPI without a process --- */

static void unwatch(struct services *services)
{
	for (size_t i = 0; i < services->listener_count; i++)
		loop_remove(services->child.process.loop, &services->listeners[i].knock);
}

/* refuse() - A connection that came just when the port was retired. #syscalls: accept4 */
static void refuse(const struct serve_listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		close(fd);
}

/* knock() - The first connection to the PeerAPI, or one to a retired port */
static void knock(struct loop_source *source, uint32_t events)
{
	struct serve_listener *listener = container_of(source, struct serve_listener, knock);
	struct services *services = listener->services;

	(void)events;
	if (listener->divert.retired) {
		refuse(listener);
		return;
	}
	unwatch(services);
	services->knocked = true;
	child_start(&services->child);
}

/* watch() - Wait for it, while no process is wanted, and for connections to retired ports */
static void watch(struct services *services)
{
	bool none = services->child.idle && services->child.process.pid == 0;

	for (size_t i = 0; i < services->listener_count; i++) {
		struct serve_listener *listener = &services->listeners[i];
		bool peerapi = listener->divert.to.port == services->wish.peerapi;

		if ((listener->divert.retired || (none && peerapi)) && listener->knock.fd < 0)
			(void)loop_add(services->child.process.loop, &listener->knock, listener->fd,
				       EPOLLIN);
	}
}

/* --- Listeners --- */

static bool wants_any(const struct services *services)
{
	return services->wish.port_count > 0 || services->wish.keep || services->wish.peerapi != 0;
}

static bool wants_port(const struct services *services, uint16_t port)
{
	if (port == services->wish.peerapi)
		return true;
	for (size_t i = 0; i < services->wish.port_count; i++)
		if (services->wish.ports[i] == port)
			return true;
	return false;
}

static bool has_address(const struct supervisor *s, const struct address *address)
{
	for (size_t i = 0; i < s->network.addresses.count; i++)
		if (address_equal(&s->network.addresses.list[i].address, address))
			return true;
	return false;
}

static bool has_listener(const struct services *services, const struct endpoint *to)
{
	for (size_t i = 0; i < services->listener_count; i++)
		if (endpoint_equal(&services->listeners[i].divert.to, to))
			return true;
	return false;
}

static void send_listener(struct services *services, const struct serve_listener *listener)
{
	union privsep_message m = {
		.listener = {.header.type = PRIVSEP_LISTENER, .port = listener->divert.to.port},
	};

	child_send(&services->child, &m, &listener->fd, 1);
}

/* retire() - The port of @listener is not served any more; whether it may close now */
static bool retire(struct services *services, struct serve_listener *listener, nanoseconds now,
		   bool *changed)
{
	if (services->child.process.pid == 0) /* nobody has connections to it */
		return true;
	if (!listener->divert.retired) {
		listener->divert.retired = 1;
		listener->retired_until = now + PRIVSEP_SERVE_RETIRED;
		*changed = true;
	}
	return now >= listener->retired_until;
}

/* close_unwanted() - Listeners of addresses that are not ours any more, and of ports after a while */
static bool close_unwanted(struct supervisor *s)
{
	struct services *services = &s->services;
	nanoseconds now = clock_boottime(), next = DEADLINE_NEVER;
	size_t kept = 0, before = services->listener_count;
	bool changed = false;

	for (size_t i = 0; i < before; i++) {
		struct serve_listener *listener = &services->listeners[i];
		bool wanted = wants_port(services, listener->divert.to.port);

		if (!has_address(s, &listener->divert.to.address) ||
		    (!wanted && retire(services, listener, now, &changed))) {
			close_listener(listener);
			continue;
		}
		if (wanted && listener->divert.retired) {
			listener->divert.retired = 0;
			send_listener(services, listener);
			changed = true;
		} else if (!wanted) {
			next = deadline_min(next, listener->retired_until);
		}
		services->listeners[kept++] = *listener;
	}
	services->listener_count = kept;
	if (next != DEADLINE_NEVER)
		timer_arm(&s->loop, &services->retired, next);
	return changed || kept != before;
}

/* drop_retired() - Make room for ports that are served */
static void drop_retired(struct services *services)
{
	size_t kept = 0;

	for (size_t i = 0; i < services->listener_count; i++)
		if (services->listeners[i].divert.retired)
			close_listener(&services->listeners[i]);
		else
			services->listeners[kept++] = services->listeners[i];
	services->listener_count = kept;
}

/* open_one() - The listener of @port at @own, if it is missing; 0 or negative errno with @err */
static int open_one(struct supervisor *s, const struct address *own, uint16_t port, bool *changed,
		    struct error *err)
{
	struct services *services = &s->services;
	struct serve_listener listener = {
		.services = services,
		.divert.to = {*own, port},
		.knock = LOOP_SOURCE(knock),
	};
	char text[ENDPOINT_TEXT_MAX];

	if (has_listener(services, &listener.divert.to))
		return 0;
	if (services->listener_count >= SERVE_DIVERTS_MAX)
		drop_retired(services);
	if (services->listener_count >= SERVE_DIVERTS_MAX)
		return 0;
	listener.fd = open_listener(s, own, &listener.divert.high);
	if (listener.fd < 0)
		return error_set_errno(err, listener.fd, "listen for %s",
				       endpoint_format(&listener.divert.to, text));
	listener.reserved = reserve_port(s, &listener.divert.to);
	services->listeners[services->listener_count++] = listener;
	send_listener(services, &listener);
	*changed = true;
	return 0;
}

/* open_wanted() - Listeners that are missing; 0, or the last failure with @err */
static int open_wanted(struct supervisor *s, bool *changed, struct error *err)
{
	const struct privsep_serve *wish = &s->services.wish;
	int r = 0, one;

	for (size_t a = 0; a < s->network.addresses.count; a++) {
		const struct address *own = &s->network.addresses.list[a].address;

		if (wish->peerapi) {
			one = open_one(s, own, wish->peerapi, changed, err);
			r = one < 0 ? one : r;
		}
		for (size_t i = 0; i < wish->port_count; i++) {
			one = open_one(s, own, wish->ports[i], changed, err);
			r = one < 0 ? one : r;
		}
	}
	return r;
}

static void send_diverts(struct supervisor *s)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_DIVERT_MAX);
	union privsep_message m = {.header.type = PRIVSEP_DIVERT};
	struct privsep_divert diverts[SERVE_DIVERTS_MAX];
	_cleanup_close_ int memfd = -1;

	for (size_t i = 0; i < s->services.listener_count; i++)
		diverts[i] = s->services.listeners[i].divert;
	if (privsep_diverts_encode(diverts, s->services.listener_count, &bytes) < 0)
		return;
	memfd = privsep_memfd_seal(PRIVSEP_DIVERT, buffer_head(&bytes), bytes.length);
	if (memfd >= 0)
		child_send(&s->engine, &m, &memfd, 1);
}

/*
 * set_diverts() - This machine's own connections never enter the TUN: the kernel diverts them.
 * The PeerAPI is for peers, so a node that serves nothing needs no rule.
 */
static void set_diverts(struct supervisor *s)
{
	struct net_divert diverts[SERVE_DIVERTS_MAX];
	size_t count = 0;

	_Static_assert(SERVE_DIVERTS_MAX <= NET_DIVERTS_MAX, "all listeners have a rule");
	for (size_t i = 0; i < s->services.listener_count; i++) {
		const struct privsep_divert *divert = &s->services.listeners[i].divert;

		if (divert->to.port != s->services.wish.peerapi && !divert->retired)
			diverts[count++] = (struct net_divert){divert->to, divert->high};
	}
	network_set_diverts(s, diverts, count);
}

/* update() - Bring listeners and process to the wish; 0 or negative errno with @err */
static int update(struct supervisor *s, struct error *err)
{
	bool changed;
	int r;

	unwatch(&s->services);
	changed = close_unwanted(s);
	r = wants_any(&s->services) && s->services.child.program < 0
		    ? error_set(err, -ENOENT,
				"pillion-services is not in the folder of pillion: install all "
				"programs of one version there")
		    : open_wanted(s, &changed, err);

	if (changed) {
		send_diverts(s);
		set_diverts(s);
	}
	if (s->services.wish.port_count > 0 || s->services.wish.keep) {
		s->services.knocked = false;
		child_start(&s->services.child);
	} else if (!s->services.knocked || !s->services.wish.peerapi) {
		s->services.knocked = false;
		child_stop(&s->services.child);
	}
	watch(&s->services);
	return r;
}

static void send_wish(struct services *services)
{
	union privsep_message m = {.header = {PRIVSEP_SERVING, services->number}};

	if (services->memfd >= 0)
		child_send(&services->child, &m, &services->memfd, 1);
}

void services_request(struct supervisor *s, uint32_t id, int memfd)
{
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(PRIVSEP_SERVE_MAX);
	struct services *services = &s->services;
	struct privsep_serve wish = {0};
	struct error err = {0};
	int r = privsep_memfd_read(PRIVSEP_SERVE, memfd, &bytes);

	if (r == 0)
		r = privsep_serve_decode(buffer_head(&bytes), bytes.length, &wish);
	if (r < 0) {
		child_reply(&s->engine, id, r, "the wanted services can't be read", -1);
		return;
	}
	privsep_serve_clear(&services->wish);
	services->wish = wish;
	if (++services->number == 0)
		services->number = 1;
	cleanup_close_at(&services->memfd);
	services->memfd = fcntl(memfd, F_DUPFD_CLOEXEC, 0);
	send_wish(services);
	r = update(s, &err);
	child_reply(&s->engine, id, r, err.text, -1);
}

void services_addresses(struct supervisor *s)
{
	struct error err = {0};

	if (wants_any(&s->services) && update(s, &err) < 0 &&
	    quota_take(&s->engine.quotas.said, clock_boottime()))
		log_warn("a port is not served: %s", err.text);
}

void services_new_link(struct supervisor *s)
{
	unwatch(&s->services);
	for (size_t i = 0; i < s->services.listener_count; i++)
		close_listener(&s->services.listeners[i]);
	s->services.listener_count = 0;
	child_kill(&s->services.child, "its listeners belong to the deleted network link");
	services_addresses(s);
}

void services_new_engine(struct supervisor *s)
{
	union privsep_message m = {.header.type = PRIVSEP_LINK};
	int pair[2];

	if (s->services.listener_count > 0)
		send_diverts(s);
	if (s->services.child.process.pid == 0 || s->engine.process.pid == 0)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		log_error("can't make a channel between the engine and services: %s",
			  strerror(errno));
		return;
	}
	child_send(&s->engine, &m, &pair[0], 1);
	child_send(&s->services.child, &m, &pair[1], 1);
	close(pair[0]);
	close(pair[1]);
}

void services_close(struct supervisor *s)
{
	struct services *services = &s->services;

	unwatch(services);
	for (size_t i = 0; i < services->listener_count; i++)
		close_listener(&services->listeners[i]);
	services->listener_count = 0;
	cleanup_close_at(&services->memfd);
	privsep_serve_clear(&services->wish);
	child_close(&services->child);
}

/* connect_target() - A socket that is connecting; negative errno */
static int connect_target(const struct supervisor *s, const struct privsep_connect *m)
{
	const struct privsep_serve *wish = &s->services.wish;
	const struct privsep_serve_target *target;
	_cleanup_close_ int fd = -1;
	struct sockaddr_storage address;
	socklen_t length;

	if (m->serving != s->services.number || m->target >= wish->target_count)
		return -ESTALE; /* of an older configuration: the number means another target */
	target = &wish->targets[m->target];
	if (m->address >= target->count)
		return target->count == 0 && !target->socket ? -EDESTADDRREQ : -ERANGE;
	/* Our own listener: each request would come back as another one. */
	if (has_address(s, &target->addresses[m->address].address) &&
	    wants_port(&s->services, target->addresses[m->address].port))
		return -ELOOP;
	length = endpoint_to_sockaddr(&target->addresses[m->address], &address);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

void services_opened(void *userdata, unsigned int process, uint32_t id, int fd, const char *text)
{
	struct child *child = &((struct supervisor *)userdata)->services.child;

	/* Another process knows nothing of this request. */
	if (process == child->number && child->process.pid != 0)
		child_reply(child, id, fd < 0 ? fd : 0, text, fd);
	cleanup_close_at(&fd);
}

/* ask_files() - Let the worker open or connect; it is answered later */
static void ask_files(struct child *child, uint32_t id, const char *path, const char *name)
{
	struct services *services = &child->supervisor->services;
	int r = served_files_ask(&services->served, child->number, id, path, name);

	if (r < 0)
		child_reply(child, id, r, strerror(-r), -1);
}

static void on_connect(struct child *child, const struct privsep_connect *m)
{
	struct supervisor *s = child->supervisor;
	const struct privsep_serve *wish = &s->services.wish;

	if (!quota_take(&child->quotas.sockets, clock_boottime()))
		child_reply_fd(child, m->header.id, -EDQUOT);
	else if (m->serving == s->services.number && m->target < wish->target_count &&
		 m->address == 0 && wish->targets[m->target].socket)
		ask_files(child, m->header.id, wish->targets[m->target].socket, NULL);
	else
		child_reply_fd(child, m->header.id, connect_target(s, m));
}

static void on_open(struct child *child, const struct privsep_open *m)
{
	struct supervisor *s = child->supervisor;
	const struct privsep_serve *wish = &s->services.wish;

	if (!quota_take(&child->quotas.sockets, clock_boottime()))
		child_reply_fd(child, m->header.id, -EDQUOT);
	else if (m->serving != s->services.number || m->path >= wish->path_count)
		child_reply_fd(child, m->header.id, -ESTALE);
	else
		ask_files(child, m->header.id, wish->paths[m->path], m->name);
}

static int receive(struct child *child, const union privsep_message *m, struct privsep_fds *fds)
{
	struct supervisor *s = child->supervisor;

	switch (m->header.type) {
	case PRIVSEP_FILE:
	case PRIVSEP_LOAD:
	case PRIVSEP_STORE:
		return child_request(child, m, fds);
	case PRIVSEP_CONNECT:
		on_connect(child, &m->connect);
		return 0;
	case PRIVSEP_OPEN:
		on_open(child, &m->open);
		return 0;
	case PRIVSEP_UNUSED:
		if (s->services.wish.port_count == 0) {
			s->services.knocked = false;
			child_stop(child);
		}
		return 0;
	default:
		return -EBADMSG;
	}
}

static bool prepare(struct child *child)
{
	return child->program >= 0 && wants_any(&child->supervisor->services);
}

/* send_acme_listener() - Whose connections wait for nobody before there is a process */
static void send_acme_listener(struct child *child)
{
	union privsep_message m = {.listener.header.type = PRIVSEP_LISTENER};
	int fd = child->supervisor->acme, r = fd < 0 ? 0 : listener_begin(fd);

	if (r < 0)
		log_error("an ACME authority can't reach us at %s (--acme-listen): %s",
			  child->supervisor->options->acme_listen, strerror(-r));
	else if (fd >= 0)
		child_send(child, &m, &fd, 1);
}

static int greet(struct child *child)
{
	struct supervisor *s = child->supervisor;

	send_wish(&s->services);
	send_acme_listener(child);
	for (size_t i = 0; i < s->services.listener_count; i++)
		if (!s->services.listeners[i].divert.retired)
			send_listener(&s->services, &s->services.listeners[i]);
	services_new_engine(s);
	return 0;
}

static void gone(struct child *child)
{
	watch(&child->supervisor->services);
}

void services_retired_fire(struct loop_timer *timer, nanoseconds now)
{
	struct services *services = container_of(timer, struct services, retired);

	(void)now;
	(void)update(services->child.supervisor, NULL);
}

const struct child_kind services_kind = {
	.name = "the services process",
	.program = "pillion-services",
	.sender = PRIVSEP_FROM_SERVICES,
	.finishes = PRIVSEP_SERVE_END,
	.files = 1u << PRIVSEP_FILE_CERTIFICATE | 1u << PRIVSEP_FILE_CERTIFICATE_KEY |
		 1u << PRIVSEP_FILE_ACME_EAB | 1u << PRIVSEP_FILE_DNS_KEY |
		 1u << PRIVSEP_FILE_CA_SYSTEM | 1u << PRIVSEP_FILE_CA_FILE |
		 1u << PRIVSEP_FILE_CA_DIRECTORY,
	.blobs = 1u << PRIVSEP_BLOB_AUTHORITY | 1u << PRIVSEP_BLOB_ACME_PAUSES |
		 1u << PRIVSEP_BLOB_ACME_ACCOUNT | 1u << PRIVSEP_BLOB_DOMAIN_CERTIFICATE |
		 1u << PRIVSEP_BLOB_DOMAIN_KEY,
	.quotas =
		{
			.sockets = {.burst = CONNECTS_BURST, .interval = NSEC_PER_SEC / 20000},
			.files = {.burst = 16, .interval = NSEC_PER_SEC},
			.loads = {.burst = 16, .interval = NSEC_PER_SEC},
			.said = {.burst = 16, .interval = 2 * NSEC_PER_SEC},
		},
	.prepare = prepare,
	.greet = greet,
	.receive = receive,
	.gone = gone,
};
