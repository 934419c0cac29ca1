/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/services.c - configuration and listeners
 *
 * DOC: Theory of operation
 *
 * A new configuration replaces the old one at once: each request, and each TCP connection, goes by
 * the one that is in force when it begins, and holds it. A listener comes once for each address of
 * a port, and closes when a configuration lacks the port; the supervisor has it too, so that a
 * connection that comes meanwhile is not refused.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "privsep/root_files.h"
#include "services/certs/keeper.h"
#include "services/exchange.h"
#include "services/peerapi.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"
#include "transport/tcp.h"
#include "transport/url.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define ACCEPTS_A_TURN  64
#define HANDSHAKE_LIMIT (10 * NSEC_PER_SEC)
#define ACCEPT_PAUSE    (NSEC_PER_SEC / 10)
#define END_LOOK_AGAIN  (NSEC_PER_SEC / 50)
#define RETIRED_SPARE   (2 * NSEC_PER_SEC)

/* Nothing but the PeerAPI is served, and there was no connection for so long: the process may end. */
#define UNUSED_AFTER (60 * NSEC_PER_SEC)

/* For all but connections of peers, which take two each. */
#define DESCRIPTORS_SPARE 256u

struct listener {
	LIST_ENTRY(listener) entry;
	struct services *services;
	uint16_t port; /* the served one */
	int fd;
	uv_poll_t poll;
};

/* A connection that is in its TLS handshake, for TCP or HTTP behind it. */
struct handshake {
	struct services_part part;
	struct services *services;
	struct serving *serving;
	struct stream *stream;
	struct endpoint peer, to;
	uint16_t port;
	char *funnel; /* the name that a client of the internet may ask for; NULL: a peer's connection */
	struct loop_timer *timer;
};

/* --- Connections --- */

static void handshake_free(struct handshake *h)
{
	services_remove(&h->part);
	loop_timer_free(h->timer);
	serving_release(h->serving);
	free(h->funnel);
	free(h);
}

static void on_tls_opened(void *user)
{
	struct handshake *h = user;
	const struct serve_port *port = serve_config_port(&h->serving->config, h->port);
	struct stream *stream = h->stream;

	stream_set_events(stream, NULL, NULL);
	if (tls_protocol_is(stream, ACME_TLS_PROTOCOL))
		stream_finish(stream); /* the authority has seen what it looked for */
	else if (h->funnel &&
		 (!tls_server_name(stream) || strcasecmp(tls_server_name(stream), h->funnel) != 0))
		stream_close(stream); /* another site of the port, which is for peers alone */
	else if (port && port->protocol == SERVE_TLS_TCP)
		tls_bridge_open(h->services, h->serving, stream, port,
				&(struct bridge_ends){&h->peer, &h->to, h->funnel != NULL});
	else if (tls_protocol_is(stream, "h2"))
		http2_front_open(h->services, stream, true, h->funnel != NULL, &h->peer, h->port,
				 NULL, 0);
	else
		http_front_open(h->services, stream, true, h->funnel != NULL, &h->peer, h->port);
	handshake_free(h);
}

static void on_tls_closed(void *user, const struct error *err)
{
	struct handshake *h = user;

	(void)err; /* a client that does not trust us, a scanner: its own affair */
	stream_close(h->stream);
	handshake_free(h);
}

static void on_tls_late(void *user)
{
	on_tls_closed(user, NULL);
}

static void close_handshake(struct services_part *part)
{
	on_tls_closed(container_of(part, struct handshake, part), NULL);
}

void services_open_tls(struct services *services, struct stream *below, uint16_t port,
		       const struct endpoint *peer, const struct endpoint *to, const char *funnel)
{
	static const struct stream_events events = {
		.opened = on_tls_opened,
		.closed = on_tls_closed,
	};
	struct tls_context *tls = services->server_tls;
	struct handshake *h = calloc(1, sizeof(*h));
	const struct serve_port *served;

	if (!tls || !h || (funnel && !(h->funnel = strdup(funnel))) ||
	    loop_timer_create(services->loop, on_tls_late, h, &h->timer) < 0) {
		stream_close(below);
		if (h)
			free(h->funnel);
		free(h);
		return;
	}
	if (tls_server(tls, below, &h->stream, NULL) < 0) {
		loop_timer_free(h->timer);
		free(h->funnel);
		free(h);
		return;
	}
	h->services = services;
	h->serving = serving_hold(services->serving);
	served = serve_config_port(&h->serving->config, port);
	if (served && served->protocol == SERVE_HTTPS)
		tls_server_offer(h->stream, TLS_HTTP_PROTOCOLS);
	h->peer = *peer;
	h->to = *to;
	h->port = port;
	services_add(services, &h->part, port, close_handshake);
	services_set_peer(&h->part, &h->peer.address);
	if (funnel)
		services_add_funnel(&h->part);
	loop_timer_at(h->timer, clock_boottime() + HANDSHAKE_LIMIT);
	stream_set_events(h->stream, &events, h);
	stream_resume(below); /* an ingress node's was handed over paused */
}

static void serve(struct services *services, int fd, uint16_t number, const struct endpoint *peer)
{
	const struct serve_port *port =
		services->serving ? serve_config_port(&services->serving->config, number) : NULL;
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct stream *stream;
	struct endpoint to = {0};

	if (!port) {
		close(fd);
		return;
	}
	/* #syscalls: getsockname */
	if (port->proxy_line > 0 && getsockname(fd, (struct sockaddr *)&address, &length) == 0)
		(void)endpoint_from_sockaddr((struct sockaddr *)&address, &to);
	to.port = number;
	if (port->protocol == SERVE_TCP) {
		tcp_bridge_open(services, fd, port, &(struct bridge_ends){peer, &to, false});
		return;
	}
	if (tcp_open(services->loop, fd, &stream, NULL) < 0)
		return;
	if (port->protocol == SERVE_HTTP)
		http_front_open(services, stream, false, false, peer, number);
	else
		services_open_tls(services, stream, number, peer, &to, NULL);
}

static void on_listener_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void close_listener(struct listener *listener)
{
	LIST_REMOVE(listener, entry);
	uv_poll_stop(&listener->poll);
	close(listener->fd);
	uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
}

/* #syscalls: accept4 accept */
static void on_incoming(uv_poll_t *poll, int status, int events)
{
	struct listener *listener = poll->data;
	struct services *services = listener->services;

	(void)status;
	(void)events;
	for (int left = ACCEPTS_A_TURN; left > 0; left--) {
		struct sockaddr_storage address;
		socklen_t length = sizeof(address);
		struct endpoint peer;
		int fd = accept4(listener->fd, (struct sockaddr *)&address, &length,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 &&
		    errno == EINVAL) { /* the supervisor has ended it: its address is gone */
			close_listener(listener);
			return;
		}
		if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
			/* No descriptor or memory: it would fail again at once. */
			uv_poll_stop(poll);
			loop_timer_at(services->accept_again, clock_boottime() + ACCEPT_PAUSE);
		}
		if (fd < 0)
			break;
		if (endpoint_from_sockaddr((struct sockaddr *)&address, &peer) < 0 ||
		    !services_admit(services, &peer.address))
			close(fd);
		else
			serve(services, fd, listener->port, &peer);
	}
}

/* --- Listeners --- */

static void on_accept_again(void *user)
{
	struct services *services = user;
	struct listener *listener;

	LIST_FOREACH(listener, &services->listeners, entry)
		uv_poll_start(&listener->poll, UV_READABLE, on_incoming);
}

void services_on_listener(void *user, uint16_t port, int fd)
{
	struct services *services = user;
	struct listener *listener;

	if (services->ended) {
		close(fd);
		return;
	}
	if (port == 0) {
		public_proofs_listen(services, fd);
		return;
	}
	if (services->serving && port == services->serving->peerapi) {
		peerapi_listen(services->peerapi, fd);
		return;
	}
	listener = calloc(1, sizeof(*listener));
	if (!listener || uv_poll_init(services->loop, &listener->poll, fd) < 0) {
		log_error("port %u can't be served: out of memory", port);
		close(fd);
		free(listener);
		return;
	}
	listener->services = services;
	listener->port = port;
	listener->fd = fd;
	listener->poll.data = listener;
	LIST_INSERT_HEAD(&services->listeners, listener, entry);
	uv_poll_start(&listener->poll, UV_READABLE, on_incoming);
}

/* --- Configuration --- */

/* take_roots() - Trust the authorities in @fd, in place of those that the file held before */
static void take_roots(struct services *services, unsigned int source, int fd)
{
	_cleanup_(buffer_free) struct buffer pem = BUFFER_INIT(LIMIT_CA_BUNDLE);
	struct error err = {0};
	int r = privsep_read_roots(source, fd, &pem, &err);

	if (r == 0)
		r = tls_context_set_roots(services->client_tls, source,
					  pem.length ? (const char *)buffer_head(&pem) : NULL,
					  pem.length, privsep_root_files[source].name, &err);
	if (r < 0)
		log_warn("%s; https:// targets are verified by the authorities from before",
			 err.text);
}

/* trust() - Load the roots if some target needs them */
static void trust(struct services *services)
{
	const struct serve_config *config = &services->serving->config;

	if (services->serving->acme.challenge != SERVE_CHALLENGE_OFF &&
	    (services->serving->keep || serve_config_uses_tls(config)))
		services->trusts = true;
	for (size_t i = 0; i < config->target_count && !services->trusts; i++)
		services->trusts = config->targets[i].security == SERVE_TLS;
	for (unsigned int i = 0; i < PRIVSEP_ROOT_FILES && services->trusts; i++)
		take_roots(services, i,
			   privsep_client_open_file(services->privsep, privsep_root_files[i].file));
}

/* add_beyond() - The targets of certificates; without memory there are none */
static void add_beyond(struct serving *serving)
{
	struct serve_target *acme = &serving->beyond[SERVING_ACME];
	struct serve_target *dns = &serving->beyond[SERVING_DNS];
	const struct url *proxy;
	struct url url;

	if (serving->acme.challenge == SERVE_CHALLENGE_OFF || !serving->acme.directory ||
	    url_parse(serving->acme.directory, &url, NULL) < 0)
		return;
	if (serving->acme.proxy &&
	    proxy_create(serving->acme.proxy, NULL, &serving->proxy, NULL) < 0)
		return;
	proxy = proxy_for(serving->proxy, url.host, url.port);
	*acme = (struct serve_target){
		.text = strdup(proxy ? "the proxy" : serving->acme.directory),
		.host = strdup(proxy ? proxy->host : url.host),
		.port = proxy ? proxy->port : url.port,
		.security = proxy ? SERVE_PLAIN : SERVE_TLS,
	};
	/* Only the engine knows where it is. */
	*dns = (struct serve_target){
		.text = strdup("the DNS server (TS_ACME_DNS_SERVER)"),
		.host = strdup("(dns)"),
		.security = SERVE_PLAIN,
	};
	if (acme->text && acme->host && dns->text && dns->host)
		return;
	privsep_acme_clear(&serving->acme);
}

/* is_served() - Whether @part came to a port that is still served */
static bool is_served(const struct services *services, const struct services_part *part)
{
	return part->port == 0 || serve_config_port(&services->serving->config, part->port);
}

/* on_retired() - The listeners of ports that are not served any more close soon, and nothing can be sent then */
static void on_retired(void *user)
{
	struct services *services = user;
	struct services_part *part, *next;

	services->retired_at = DEADLINE_NEVER;
	for (part = LIST_FIRST(&services->parts); part; part = next) {
		next = LIST_NEXT(part, entry);
		if (!is_served(services, part))
			part->close(part);
	}
}

/* retire_parts() - Connections to ports that are not served any more; @all: every one */
static void retire_parts(struct services *services, bool all)
{
	struct services_part *part, *next;
	bool left = false;

	for (part = LIST_FIRST(&services->parts); part; part = next) {
		next = LIST_NEXT(part, entry);
		if (!all && is_served(services, part))
			continue;
		left = true;
		if (part->retire)
			part->retire(part);
	}
	if (left && !all && services->retired_at == DEADLINE_NEVER) {
		services->retired_at = clock_boottime() + PRIVSEP_SERVE_RETIRED - RETIRED_SPARE;
		loop_timer_at(services->retired, services->retired_at);
	}
}

void services_on_serving(void *user, struct privsep_serve *serve_wish)
{
	struct services *services = user;
	struct serving *serving = calloc(1, sizeof(*serving)), *before;
	struct listener *listener, *next;
	struct error err = {0};

	if (serving) {
		serving->holds = 1;
		serving->number = serve_wish->number;
		serving->peerapi = serve_wish->peerapi;
		serving->domain = TAKE_PTR(serve_wish->domain);
		serving->suffix = TAKE_PTR(serve_wish->suffix);
		serving->cert_domains = TAKE_PTR(serve_wish->cert_domains);
		serving->signs = serve_wish->signs;
		serving->keep = serve_wish->keep;
		if (serve_wish->target_count > 0)
			serving->places =
				calloc(serve_wish->target_count, sizeof(*serving->places));
		for (size_t i = 0; serving->places && i < serve_wish->target_count; i++) {
			serving->places[i] = serve_wish->targets[i];
			serving->places[i].socket = NULL;
			serving->place_count++;
		}
		serving->acme = serve_wish->acme;
		serve_wish->acme = (struct privsep_acme){.challenge = SERVE_CHALLENGE_OFF};
		add_beyond(serving);
	}
	if (!serving || (serve_wish->config &&
			 serve_config_parse(serve_wish->config, strlen(serve_wish->config),
					    serving->domain, &serving->config, &err) < 0)) {
		/* The engine has parsed the same text. */
		log_error("the serve configuration can't be used: %s",
			  serving ? err.text : "out of memory");
		serving_release(serving);
		privsep_serve_clear(serve_wish);
		return;
	}
	privsep_serve_clear(serve_wish);
	if (services->serving && services->serving->peerapi != serving->peerapi)
		peerapi_close(services->peerapi);
	before = services->serving;
	services->serving = serving;
	if (before) {
		app_move(services, before);
		app_http2_move(services, before);
	}
	serving_release(before);
	loop_timer_at(services->unused, serving->config.port_count > 0 || serving->keep
						? DEADLINE_NEVER
						: clock_boottime() + UNUSED_AFTER);
	trust(services);
	for (listener = LIST_FIRST(&services->listeners); listener; listener = next) {
		next = LIST_NEXT(listener, entry);
		if (!serve_config_port(&serving->config, listener->port))
			close_listener(listener);
	}
	retire_parts(services, services->ended != NULL);
	certificates_update(services);
}

/* --- The end --- */

static bool has_requests(const struct services *services)
{
	const struct services_part *part;

	LIST_FOREACH(part, &services->parts, entry)
		if (part->retire)
			return true;
	return false;
}

static void on_end(void *user)
{
	struct services *services = user;
	void (*ended)(void *) = services->ended;

	/* A connection that has just sent its first request is retired too. */
	retire_parts(services, true);
	if (has_requests(services) && clock_boottime() < services->end_by) {
		loop_timer_at(services->end, clock_boottime() + END_LOOK_AGAIN);
		return;
	}
	ended(services->ended_user);
}

void services_end(struct services *services, void (*ended)(void *user), void *user)
{
	if (services->ended)
		return;
	services->ended = ended;
	services->ended_user = user;
	services->end_by = clock_boottime() + PRIVSEP_SERVE_END;
	while (!LIST_EMPTY(&services->listeners))
		close_listener(LIST_FIRST(&services->listeners));
	peerapi_close(services->peerapi);
	loop_timer_soon(services->end);
}

static void on_unused(void *user)
{
	struct services *services = user;

	if (services->connections == 0 && peerapi_is_idle(services->peerapi, UNUSED_AFTER))
		(void)privsep_client_unused(services->privsep);
	loop_timer_at(services->unused, clock_boottime() + UNUSED_AFTER / 4);
}

void services_on_link(void *user, int fd)
{
	engine_link_open(((struct services *)user)->engine, fd);
}

void services_on_file_changed(void *user, enum privsep_file_name name, int fd)
{
	struct services *services = user;
	int source = privsep_root_source(name);

	if (name == PRIVSEP_FILE_ACME_EAB || name == PRIVSEP_FILE_DNS_KEY)
		keeper_file(services->keeper, name, fd);
	else if (source < 0)
		certificates_file(services, name, fd);
	else if (services->trusts)
		take_roots(services, (unsigned int)source, fd);
	else if (fd >= 0)
		close(fd);
}

static void on_app_timer(void *user)
{
	app_look(user);
}

static void on_flush_timer(void *user)
{
	services_flush(user);
}

int services_new(uv_loop_t *loop, size_t descriptors, struct services **ret, struct error *err)
{
	struct services *services = calloc(1, sizeof(*services));
	int r = services ? 0 : error_set(err, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	services->loop = loop;
	services->retired_at = DEADLINE_NEVER;
	services->open_files = app_files_open;
	LIST_INIT(&services->listeners);
	LIST_INIT(&services->app_pools);
	TAILQ_INIT(&services->app_queue);
	TAILQ_INIT(&services->app_refused);
	LIST_INIT(&services->flush_parts);
	LIST_INIT(&services->parts);
	LIST_INIT(&services->cert_asks);
	LIST_INIT(&services->dns_calls);
	services->cert_events = &cert_asks_events;
	TAILQ_INIT(&services->idle_parts);
	services->connections_max =
		(descriptors > 2u * DESCRIPTORS_SPARE ? descriptors - DESCRIPTORS_SPARE
						      : descriptors / 2) /
		2;
	services->kept.max = KEPT_ALL;
	if (services->connections_max > CONNECTIONS_MAX)
		services->connections_max = CONNECTIONS_MAX;
	loops_init(services);
	conduit_pool_init(&services->conduits, QUEUED_ALL, services->connections_max);
	services->conduits.half_closed = HALF_CLOSED;
	services->engine = engine_link_new(services);
	services->people = people_new(loop, services->engine);
	services->peerapi = peerapi_new(services);
	services->control_asks = control_asks_new(loop, services->engine);
	r = services->engine && services->people && services->control_asks && services->peerapi &&
			    loop_timer_create(loop, on_accept_again, services,
					      &services->accept_again) == 0 &&
			    loop_timer_create(loop, on_unused, services, &services->unused) == 0 &&
			    loop_timer_create(loop, on_end, services, &services->end) == 0 &&
			    loop_timer_create(loop, on_retired, services, &services->retired) ==
				    0 &&
			    loop_timer_create(loop, on_flush_timer, services,
					      &services->flush_timer) == 0 &&
			    loop_timer_create(loop, on_app_timer, services, &services->app_timer) ==
				    0
		    ? tls_context_create(&services->client_tls, err)
		    : error_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = keeper_new(services, &services->keeper, err);
	if (r == 0)
		r = certificates_new(services, &services->certificates, err);
	if (r < 0)
		services_free(services);
	else
		*ret = services;
	return r;
}

void services_begin(struct services *services, struct privsep_client *client)
{
	services->privsep = client;
	certificates_file(services, PRIVSEP_FILE_CERTIFICATE,
			  privsep_client_open_file(client, PRIVSEP_FILE_CERTIFICATE));
	certificates_file(services, PRIVSEP_FILE_CERTIFICATE_KEY,
			  privsep_client_open_file(client, PRIVSEP_FILE_CERTIFICATE_KEY));
	keeper_file(services->keeper, PRIVSEP_FILE_ACME_EAB,
		    privsep_client_open_file(client, PRIVSEP_FILE_ACME_EAB));
	keeper_file(services->keeper, PRIVSEP_FILE_DNS_KEY,
		    privsep_client_open_file(client, PRIVSEP_FILE_DNS_KEY));
}

void services_free(struct services *services)
{
	if (!services)
		return;
	while (!LIST_EMPTY(&services->listeners))
		close_listener(LIST_FIRST(&services->listeners));
	while (!LIST_EMPTY(&services->parts))
		LIST_FIRST(&services->parts)->close(LIST_FIRST(&services->parts));
	conduit_pool_free(&services->conduits);
	app_forget(services);
	app_http2_forget(services);
	if (services->peerapi)
		peerapi_close(services->peerapi);
	cert_asks_free(services);
	public_proofs_free(services);
	keeper_free(services->keeper);
	certificates_free(services->certificates);
	people_free(services->people);
	peerapi_free(services->peerapi);
	loop_timer_free(services->unused);
	loop_timer_free(services->end);
	loop_timer_free(services->retired);
	control_asks_free(services->control_asks);
	engine_link_free(services->engine);
	loop_timer_free(services->accept_again);
	loop_timer_free(services->app_timer);
	loop_timer_free(services->flush_timer);
	tls_context_release(services->client_tls);
	serving_release(services->serving);
	free(services);
}
