/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/health.c - /healthz and /metrics on a TCP listener, for probes */
#include "base/limits.h"
#include "localapi/http_server.h"
#include "localapi/metrics.h"
#include "localapi/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct health_server {
	struct node *node;
	unsigned int paths;
	struct http_server *http;
};

static void serve_healthz(struct node *node, struct http_exchange *x)
{
	char reason[ERROR_TEXT_MAX] = "";

	if (node_healthy(node, reason, sizeof(reason)))
		http_reply(x, 200, "text/plain; charset=utf-8", "ok", 2);
	else
		http_reply_text(x, 503, "%s", reason);
}

void localapi_reply_metrics(struct node *node, struct http_exchange *x)
{
	struct buffer text = BUFFER_INIT(LIMIT_RPC_BODY);

	if (node_metrics(node, &text) < 0)
		http_reply_text(x, 500, "out of memory");
	else
		http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8",
			   text.length ? buffer_head(&text) : NULL, text.length);
	buffer_free(&text);
}

static bool admit(void *user, struct http_exchange *x)
{
	(void)user;
	if (strcmp(x->head->method, "GET") == 0 || strcmp(x->head->method, "HEAD") == 0)
		return true;
	http_reply_text(x, 405, "method not allowed");
	return false;
}

static void serve(void *user, struct http_exchange *x)
{
	struct health_server *s = user;

	if ((s->paths & HEALTH_SERVE_HEALTHZ) && strcmp(x->path, "/healthz") == 0)
		serve_healthz(s->node, x);
	else if ((s->paths & HEALTH_SERVE_METRICS) && strcmp(x->path, "/metrics") == 0)
		localapi_reply_metrics(s->node, x);
	else
		http_reply_text(x, 404, "404 page not found");
}

static const struct http_server_handler handler = {.admit = admit, .serve = serve};

int health_server_new(uv_loop_t *loop, int listen_fd, unsigned int paths, struct node *node,
		      struct health_server **ret, struct error *err)
{
	struct health_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(listen_fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->node = node;
	s->paths = paths;
	r = http_server_new(loop, listen_fd, &handler, s, &s->http, err);
	if (r < 0) {
		free(s);
		error_wrap(err, "health server");
		return r;
	}
	*ret = s;
	return 0;
}

void health_server_free(struct health_server *s)
{
	if (!s)
		return;
	http_server_free(s->http);
	free(s);
}
