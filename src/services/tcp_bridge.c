/* SPDX-License-Identifier: BSD-3-Clause */
/* services/tcp_bridge.c - TCP to the app, byte by byte, by transport/conduit.h */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "services/services_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Peers may connect all the time. */
#define WARN_PAUSE (30 * NSEC_PER_SEC)

struct bridge {
	struct services_part part;
	struct serving *serving;
	struct app_call *call;
	int client; /* -1: the conduit has it */
	unsigned int target;
	struct address peer;
	bool hairpin; /* in services->hairpins */
	struct conduit *conduit;
	uint8_t line[PROXY_LINE_MAX];
	size_t line_length;
};

size_t proxy_line(unsigned int version, const struct endpoint *from, const struct endpoint *to,
		  uint8_t out[static PROXY_LINE_MAX])
{
	static const uint8_t signature[] = "\r\n\r\n\0\r\nQUIT\n";
	size_t size = address_length(&from->address), at = 16;
	char source[ADDRESS_TEXT_MAX], destination[ADDRESS_TEXT_MAX];
	const uint16_t ports[] = {from->port, to->port};

	if (version == 0)
		return 0;
	if (version == 1)
		return (size_t)snprintf(
			(char *)out, PROXY_LINE_MAX, "PROXY TCP%u %s %s %u %u\r\n",
			from->address.family, address_format(&from->address, source),
			address_format(&to->address, destination), from->port, to->port);
	memcpy(out, signature, 12);
	out[12] = 0x21; /* version 2, PROXY */
	out[13] = from->address.family == ADDRESS_V6 ? 0x21 : 0x11;
	out[14] = 0;
	out[15] = (uint8_t)(2 * size + 4);
	memcpy(out + at, from->address.bytes, size);
	memcpy(out + at + size, to->address.bytes, size);
	at += 2 * size;
	for (size_t i = 0; i < 2; i++) {
		out[at++] = (uint8_t)(ports[i] >> 8);
		out[at++] = (uint8_t)ports[i];
	}
	return at;
}

/* warn() - A client of TCP gets no page that says what is wrong */
static void warn(struct services *services, uint16_t port, const struct error *err)
{
	if (!err || clock_boottime() < services->bridge_silent_until)
		return;
	services->bridge_silent_until = clock_boottime() + WARN_PAUSE;
	log_warn("a connection to the served port %u is closed: %s", port, err->text);
}

static void bridge_free(struct bridge *b)
{
	b->part.services->hairpins -= b->hairpin;
	services_remove(&b->part);
	app_call_cancel(b->call);
	conduit_close(b->conduit);
	cleanup_close_at(&b->client);
	serving_release(b->serving);
	free(b);
}

static void close_part(struct services_part *part)
{
	bridge_free(container_of(part, struct bridge, part));
}

static void on_ended(void *user)
{
	struct bridge *b = user;

	b->conduit = NULL;
	bridge_free(b);
}

static void on_app_ready(void *user, struct stream *stream, int fd, const struct error *err)
{
	struct bridge *b = user;
	struct conduit_end ends[] = {
		{.fd = b->client},
		{.fd = fd, .early = b->line, .early_length = b->line_length},
	};

	(void)stream;
	b->call = NULL;
	warn(b->part.services, b->part.port, err);
	if (fd >= 0) {
		b->hairpin = loops_add_hairpin(b->part.services, fd, b->target, &b->peer);
		b->client = -1;
		b->conduit = conduit_open(b->part.services->loop, &b->part.services->conduits, ends,
					  on_ended, b);
	}
	if (!b->conduit)
		bridge_free(b);
}

void tcp_bridge_open(struct services *services, int fd, const struct serve_port *port,
		     const struct bridge_ends *ends)
{
	bool loop = loops_refuse(services, fd, port->target, &ends->peer->address);
	struct bridge *b = loop ? NULL : calloc(1, sizeof(*b));

	if (!b) {
		close(fd);
		return;
	}
	services_add(services, &b->part, port->port, close_part);
	services_set_peer(&b->part, &ends->peer->address);
	if (ends->funnel)
		services_add_funnel(&b->part);
	b->serving = serving_hold(services->serving);
	b->client = fd;
	b->peer = ends->peer->address;
	b->target = port->target;
	b->line_length = proxy_line(port->proxy_line, ends->peer, ends->to, b->line);
	b->call = app_call_begin(services, b->serving, port->target, APP_RAW, on_app_ready, b);
	if (!b->call)
		bridge_free(b);
}

/* --- TLS that ends here --- */

struct tls_bridge {
	struct services_part part;
	struct address peer;
	struct stream *stream;
	struct app_call *call;
	uint8_t line[PROXY_LINE_MAX];
	size_t line_length;
};

static void tls_bridge_free(struct tls_bridge *b)
{
	services_remove(&b->part);
	app_call_cancel(b->call);
	stream_close(b->stream);
	free(b);
}

static void close_tls_part(struct services_part *part)
{
	tls_bridge_free(container_of(part, struct tls_bridge, part));
}

static void on_tls_closed(void *user, const struct error *err)
{
	(void)err;
	tls_bridge_free(user);
}

static void on_tls_app_ready(void *user, struct stream *app, int fd, const struct error *err)
{
	struct tls_bridge *b = user;
	const struct stream_pair_kind kind = {&b->peer, b->part.port, b->part.funnel, true};
	struct buffer from_client = BUFFER_INIT(0), from_app = BUFFER_INIT(0);

	(void)fd;
	b->call = NULL;
	warn(b->part.services, b->part.port, err);
	if (app && stream_write(app, b->line, b->line_length) == 0)
		stream_pair_open(b->part.services, &kind, TAKE_PTR(b->stream), &from_client, app,
				 &from_app);
	else
		stream_close(app);
	tls_bridge_free(b);
}

void tls_bridge_open(struct services *services, struct serving *serving, struct stream *stream,
		     const struct serve_port *port, const struct bridge_ends *ends)
{
	static const struct stream_events events = {.closed = on_tls_closed};
	const char *name = tls_server_name(stream);
	struct tls_bridge *b = calloc(1, sizeof(*b));

	stream_pause(stream);
	if (!b || !name || strcasecmp(name, port->server_name) != 0) {
		stream_close(stream);
		free(b);
		return;
	}
	services_add(services, &b->part, port->port, close_tls_part);
	services_set_peer(&b->part, &ends->peer->address);
	if (ends->funnel)
		services_add_funnel(&b->part);
	b->peer = ends->peer->address;
	b->stream = stream;
	b->line_length = proxy_line(port->proxy_line, ends->peer, ends->to, b->line);
	stream_set_events(stream, &events, b);
	b->call = app_call_begin(services, serving, port->target, APP_STREAM, on_tls_app_ready, b);
	if (!b->call)
		tls_bridge_free(b);
}
