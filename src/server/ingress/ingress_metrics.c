/* SPDX-License-Identifier: BSD-3-Clause */
/* server/ingress/ingress_metrics.c - /metrics and /healthz of an ingress */
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/ingress/ingress_internal.h"
#include "server/web/metrics.h"

#include <string.h>

#define PREFIX "pillion_ingress_"

static int write_metrics(const struct ingress *g, struct buffer *out)
{
	const struct ingress_statistics *s = &g->statistics;
	const uint64_t *refused = s->refused;
	const struct metric rows[] = {
		{"connections", NULL, "Connections from the internet", g->client_count, true},
		{"waiting", NULL, "Those whose node has not accepted yet", g->waiting_count, true},
		{"waiting_bytes", NULL, "Bytes that those hold", g->waiting_bytes, true},
		{"queued_bytes", NULL, "Bytes that wait for slow readers", g->pool.waiting, true},
		{"names", NULL, "Names with a node", ingress_names_count(g->names), true},
		{"node_up", NULL, "Whether the node of this machine answers",
		 ingress_names_fresh(g->names), true},
		{"accepted_total", NULL, "Connections accepted", s->accepted, false},
		{"connected_total", NULL, "Connections that a node took", s->connected, false},
		{"answered_total", NULL, "Requests of plain HTTP that were answered here",
		 s->redirected, false},
		{"bytes_total", "direction=\"in\"", "Bytes passed on", s->bytes_in, false},
		{"bytes_total", "direction=\"out\"", NULL, s->bytes_out, false},
		{"refused_total", "reason=\"full\"", "Connections that reached no node",
		 refused[INGRESS_FULL], false},
		{"refused_total", "reason=\"source\"", NULL, refused[INGRESS_SOURCE], false},
		{"refused_total", "reason=\"slow\"", NULL, refused[INGRESS_SLOW], false},
		{"refused_total", "reason=\"malformed\"", NULL, refused[INGRESS_MALFORMED], false},
		{"refused_total", "reason=\"proxy_protocol\"", NULL, refused[INGRESS_PROXY], false},
		{"refused_total", "reason=\"no_name\"", NULL, refused[INGRESS_NO_NAME], false},
		{"refused_total", "reason=\"unknown_name\"", NULL, refused[INGRESS_UNKNOWN], false},
		{"refused_total", "reason=\"node_unreachable\"", NULL, refused[INGRESS_UNREACHABLE],
		 false},
		{"refused_total", "reason=\"node_denied\"", NULL, refused[INGRESS_DENIED], false},
		{"refused_total", "reason=\"client_left\"", NULL, refused[INGRESS_GONE], false},
		{"questions_total", "result=\"answered\"", "Questions to the node of this machine",
		 s->names_asked - s->names_failed, false},
		{"questions_total", "result=\"failed\"", NULL, s->names_failed, false},
	};

	return metrics_write(out, PREFIX, rows, ARRAY_SIZE(rows));
}

static void serve(void *user, struct http1_exchange *x)
{
	const struct ingress *ingress = user;
	struct buffer text = BUFFER_INIT(METRICS_MAX);

	if (strcmp(x->path, "/healthz") == 0 && ingress_names_fresh(ingress->names))
		http1_reply_text(x, 200, "ok");
	else if (strcmp(x->path, "/healthz") == 0)
		http1_reply_text(x, 503, "the node of this machine does not answer");
	else if (strcmp(x->path, "/metrics") != 0)
		http1_reply_text(x, 404, "not found");
	else if (write_metrics(ingress, &text) < 0)
		http1_reply_text(x, 503, "out of memory");
	else
		http1_reply(x, 200, METRICS_TYPE, buffer_head(&text), text.length);
	buffer_free(&text);
}

int ingress_metrics_open(struct ingress *ingress, struct error *err)
{
	struct web_server_options options = {
		.loop = ingress->loop,
		.listen_fd = -1,
		.body_limit = LIMIT_KEY_BODY,
		.serve = serve,
		.user = ingress,
	};
	int r;

	if (ingress->config.metrics.address.family == ADDRESS_NONE)
		return 0;
	r = web_listen(&ingress->config.metrics, &options.listen_fd, err);
	return r < 0 ? r : web_server_new(&options, &ingress->metrics, err);
}
