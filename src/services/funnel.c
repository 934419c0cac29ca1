/* SPDX-License-Identifier: BSD-3-Clause */
/* services/funnel.c - connections of the internet, which an ingress node brings (Funnel) */
#include "services/funnel.h"

#include "transport/tcp.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SOURCE_HEADER "Tailscale-Ingress-Src"
#define TARGET_HEADER "Tailscale-Ingress-Target"

#define HTTP_PORT  80
#define HTTPS_PORT 443

static const char switching[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n";

/* only_header() - The value of @name, if it is there once and not empty; else NULL */
static const char *only_header(const struct http1_head *head, const char *name)
{
	const char *value = NULL;

	for (size_t i = 0; i < head->header_count; i++) {
		if (strcasecmp(head->headers[i].name, name) != 0)
			continue;
		if (value)
			return NULL;
		value = head->headers[i].value;
	}
	return value && *value ? value : NULL;
}

/* read_target() - "host:port" */
static bool read_target(const char *text, struct funnel_request *ret)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	unsigned long port;
	char *end;

	if (length == 0 || length >= sizeof(ret->host) || memchr(text, ':', length) ||
	    !isdigit((unsigned char)colon[1]))
		return false;
	errno = 0;
	port = strtoul(colon + 1, &end, 10);
	if (*end || errno || port == 0 || port > UINT16_MAX)
		return false;
	memcpy(ret->host, text, length);
	ret->host[length] = 0;
	ret->port = (uint16_t)port;
	return true;
}

const char *funnel_request_read(const struct http1_head *head, struct funnel_request *ret,
				int *ret_status)
{
	const char *source = only_header(head, SOURCE_HEADER);
	const char *target = only_header(head, TARGET_HEADER);

	*ret_status = 405;
	if (strcmp(head->method, "POST") != 0)
		return "only POST allowed";
	*ret_status = 400;
	if (!source)
		return SOURCE_HEADER " header not set";
	if (endpoint_parse(source, strlen(source), &ret->source) < 0 || ret->source.port == 0)
		return SOURCE_HEADER " header invalid; want ip:port";
	if (!target)
		return TARGET_HEADER " header not set";
	if (!read_target(target, ret))
		return TARGET_HEADER " header invalid; want host:port";
	return NULL;
}

/* is_proof() - Plain HTTP, of a name that funnels: for funnel_proof.c, whatever port 80 serves */
static bool is_proof(const struct serve_config *config, const struct funnel_request *request)
{
	return request->port == HTTP_PORT &&
	       serve_config_funnels(config, request->host, HTTPS_PORT);
}

const char *funnel_check(struct services *services, const struct funnel_request *request,
			 int *ret_status)
{
	const struct serve_config *config = &services->serving->config;
	const struct serve_port *port = serve_config_port(config, request->port);

	*ret_status = 403;
	if (!is_proof(config, request) &&
	    (!port || port->protocol == SERVE_HTTP || !serve_funnel_port(request->port) ||
	     !serve_config_funnels(config, request->host, request->port)))
		return "denied";
	/* The internet may take half of the places, and never one that a peer waits for. */
	*ret_status = 503;
	if (services->funnels >= services->connections_max / 2 ||
	    services->connections >= services->connections_max)
		return "too many connections";
	return NULL;
}

void funnel_open(struct services *services, struct stream *stream,
		 const struct funnel_request *request, const struct privsep_person *person)
{
	const struct serve_port *port =
		serve_config_port(&services->serving->config, request->port);
	bool v6 = request->source.address.family == ADDRESS_V6;
	struct endpoint to = {person->own[v6], request->port};

	/* The PROXY protocol has one family for both ends: without such an address, "::" or 0.0.0.0. */
	to.address.family = request->source.address.family;
	if (stream_write(stream, switching, strlen(switching)) < 0) {
		stream_close(stream);
	} else if (request->port == HTTP_PORT) {
		funnel_proof_open(services, stream);
	} else if (port->protocol == SERVE_TCP) {
		/* A connection that does not take so few bytes at once is lost. */
		int fd = tcp_take(stream);

		if (fd >= 0)
			tcp_bridge_open(services, fd, port,
					&(struct bridge_ends){&request->source, &to, true});
	} else {
		services_open_tls(services, stream, request->port, &request->source, &to,
				  request->host);
	}
}
