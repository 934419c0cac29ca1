/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * localapi/localapi_health.c - /healthz and /metrics on a TCP listener, for probes
 *
 * Host must be the address of the connection, localhost, a loopback address, or a configured
 * name. So a web page whose own name leads to this machine (DNS rebinding) can't make a browser
 * read them.
 */
#include "base/limits.h"
#include "localapi/localapi_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int localapi_listen(uv_loop_t *loop, int listen_fd, const struct http1_server_hooks *hooks,
		    const struct localapi_server *from, struct localapi_server **ret,
		    struct error *err)
{
	static const struct http1_server_limits limits = {
		.connections = LIMIT_LOCALAPI_CONNECTIONS,
		.reserved = LIMIT_LOCALAPI_RESERVED,
		.sources = LOCALAPI_SOURCES,
		.of_source = LIMIT_LOCALAPI_USER,
		.body = LIMIT_LOCALAPI_BODY,
		.bodies = LIMIT_LOCALAPI_BODY,
		.queue = LIMIT_LOCALAPI_QUEUE,
		.unread = LIMIT_LOCALAPI_UNREAD,
		.idle = 60,
		.head = 10,
		.request = 30,
		.write = 30,
	};

	struct localapi_server *s = malloc(sizeof(*s));
	int r;

	if (s)
		*s = *from;
	if (!s || (s->names && !(s->names = strdup(s->names)))) {
		free(s);
		close(listen_fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = http1_server_new(loop, listen_fd, NULL, &limits, hooks, s, &s->http, err);
	if (r < 0) {
		error_wrap(err, "%s", s->paths ? "health server" : "LocalAPI");
		free(s->names);
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void localapi_server_free(struct localapi_server *s)
{
	if (!s)
		return;
	http1_server_free(s->http);
	free(s->names);
	free(s);
}

static void serve_healthz(struct node *node, struct http1_exchange *x)
{
	char reason[ERROR_TEXT_MAX] = "";

	if (node_healthy(node, reason, sizeof(reason)))
		http1_reply(x, 200, "text/plain; charset=utf-8", "ok", 2);
	else
		http1_reply_text(x, 503, "%s", reason);
}

void localapi_reply_metrics(struct node *node, struct http1_exchange *x)
{
	struct buffer text = BUFFER_INIT(LIMIT_RPC_BODY);

	if (node_metrics(node, &text) < 0)
		http1_reply_text(x, 500, "out of memory");
	else
		http1_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8",
			    text.length ? buffer_head(&text) : NULL, text.length);
	buffer_free(&text);
}

/* is_name() - Whether @host (@length bytes) is localhost or one of @names, in any case */
static bool is_name(const char *names, const char *host, size_t length)
{
	if (length == strlen("localhost") && strncasecmp(host, "localhost", length) == 0)
		return true;
	for (const char *at = names; at && *at; at += strcspn(at, ",")) {
		at += strspn(at, ", ");
		if (strcspn(at, ", ") == length && strncasecmp(at, host, length) == 0)
			return true;
	}
	return false;
}

/* is_for_us() - Whether Host names this machine */
static bool is_for_us(const struct localapi_server *s, struct http1_exchange *x)
{
	const char *host = http1_header(x->head, "Host") ?: "";
	struct endpoint endpoint, local;
	struct address wanted;
	size_t length = strlen(host);

	if (length == 0)
		return true; /* HTTP/1.0: no browser */
	if (is_name(s->names, host, strcspn(host, ":")))
		return true;
	if (endpoint_parse(host, length, &endpoint) == 0)
		wanted = endpoint.address;
	else if (host[0] == '[' && host[length - 1] == ']' && length > 2) {
		if (address_parse(host + 1, length - 2, &wanted) < 0)
			return false;
	} else if (address_parse(host, length, &wanted) < 0)
		return false;
	/* Loopback may be that of a container's host, whose port leads here (docker -p). */
	return address_is_loopback(&wanted) ||
	       (http1_local_endpoint(x, &local) == 0 && address_equal(&local.address, &wanted));
}

static bool admit(void *user, struct http1_exchange *x)
{
	const struct localapi_server *s = user;

	if (!is_for_us(s, x))
		http1_reply_text(x, 403,
				 "the Host header names another machine: use this machine's "
				 "address, or set TS_LOCAL_HOSTS to the names that probes use");
	else if (strcmp(x->head->method, "GET") != 0 && strcmp(x->head->method, "HEAD") != 0)
		http1_reply_text(x, 405, "method not allowed");
	else if (http1_has_body(x))
		http1_reply_text(x, 413, "a probe takes no request body");
	else
		return true;
	return false;
}

static void serve(void *user, struct http1_exchange *x)
{
	struct localapi_server *s = user;

	if ((s->paths & HEALTH_SERVE_HEALTHZ) && strcmp(x->path, "/healthz") == 0)
		serve_healthz(s->node, x);
	else if ((s->paths & HEALTH_SERVE_METRICS) && strcmp(x->path, "/metrics") == 0)
		localapi_reply_metrics(s->node, x);
	else
		http1_reply_text(x, 404, "404 page not found");
}

static const struct http1_server_hooks hooks = {.admit = admit, .serve = serve};

int health_server_new(uv_loop_t *loop, int listen_fd, unsigned int paths, const char *names,
		      struct node *node, struct localapi_server **ret, struct error *err)
{
	struct localapi_server from = {.node = node, .paths = paths, .names = (char *)names};

	return localapi_listen(loop, listen_fd, &hooks, &from, ret, err);
}
