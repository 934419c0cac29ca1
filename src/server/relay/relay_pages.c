/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_pages.c - the pages of a relay beside /derp */
#include "server/relay/relay_pages.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "server/web/metrics.h"
#include "wire/json.h"

#include <errno.h>
#include <string.h>

#define PREFIX "pillion_relay_"

bool relay_challenge_is_valid(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length <= RELAY_CHALLENGE_MAX &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:_-") ==
		       length;
}

int relay_metrics_write(const struct relay_pages *pages, struct buffer *out)
{
	static const struct stun_statistics no_stun;
	const struct derp_server_statistics *d = derp_server_statistics(pages->server);
	const struct stun_statistics *s =
		pages->stun ? stun_server_statistics(pages->stun) : &no_stun;
	const struct metric rows[] = {
		{"clients", NULL, "Clients connected", d->ready, true},
		{"peers", NULL, "Node keys connected", d->peers, true},
		{"home_clients", NULL, "Clients whose home this relay is", d->home, true},
		{"connections", NULL, "Connections in any state", d->connections, true},
		{"queued_bytes", NULL, "Bytes queued for clients", d->queued_bytes, true},
		{"accepted_total", NULL, "Upgraded connections", d->accepted, false},
		{"admitted_total", NULL, "Clients admitted", d->admitted, false},
		{"duplicates_total", NULL, "Clients whose key was connected already", d->duplicates,
		 false},
		{"packets_total", "direction=\"in\"", "Packets", d->packets_in, false},
		{"packets_total", "direction=\"out\"", NULL, d->packets_out, false},
		{"bytes_total", "direction=\"in\"", "Bytes of packets", d->bytes_in, false},
		{"bytes_total", "direction=\"out\"", NULL, d->bytes_out, false},
		{"dropped_total", "reason=\"unknown_destination\"", "Packets dropped",
		 d->dropped_unknown, false},
		{"dropped_total", "reason=\"queue\"", NULL, d->dropped_queue, false},
		{"dropped_total", "reason=\"disco_queue\"", NULL, d->dropped_disco, false},
		{"dropped_total", "reason=\"memory\"", NULL, d->dropped_memory, false},
		{"cut_total", "reason=\"refused\"", "Connections cut", d->refused, false},
		{"cut_total", "reason=\"malformed\"", NULL, d->malformed, false},
		{"cut_total", "reason=\"timeout\"", NULL, d->timed_out, false},
		{"cut_total", "reason=\"not_reading\"", NULL, d->stalled, false},
		{"cut_total", "reason=\"source\"", NULL, pages->refused_source, false},
		{"peer_gone_total", NULL, "PeerGone frames", d->peer_gone, false},
		{"unknown_frames_total", NULL, "Frames that mean nothing here", d->unknown_frames,
		 false},
		{"stun_total", "result=\"answered\"", "STUN requests", s->answered, false},
		{"stun_total", "result=\"malformed\"", NULL, s->malformed, false},
		{"stun_total", "result=\"limited\"", NULL, s->limited, false},
		{"stun_total", "result=\"unsent\"", NULL, s->unsent, false},
	};
	int r = metrics_write(out, PREFIX, rows, ARRAY_SIZE(rows));

	return r < 0 ? r : metrics_write_web(out, PREFIX, pages->web);
}

static void serve_probe(const struct relay_pages *pages, struct http1_exchange *x)
{
	(void)pages;
	http1_reply_header(x, "Access-Control-Allow-Origin", "*");
	http1_reply(x, 200, NULL, NULL, 0);
}

static void serve_generate_204(const struct relay_pages *pages, struct http1_exchange *x)
{
	const char *challenge = http1_header(x->head, "X-Tailscale-Challenge");
	char answer[sizeof("response ") + RELAY_CHALLENGE_MAX];

	(void)pages;
	if (challenge && relay_challenge_is_valid(challenge)) {
		snprintf(answer, sizeof(answer), "response %s", challenge);
		http1_reply_header(x, "X-Tailscale-Response", answer);
	}
	http1_reply_header(x, "Cache-Control", "no-cache, no-store, must-revalidate, no-transform");
	http1_reply(x, 204, NULL, NULL, 0);
}

static void serve_bootstrap(const struct relay_pages *pages, struct http1_exchange *x)
{
	struct buffer text = BUFFER_INIT(LIMIT_KEY_BODY);

	/* A client asks once, and a relay chosen at random. */
	http1_reply_close(x);
	/* All names are sent: the name asked for (?q=) is among them, or unknown. */
	if (relay_bootstrap_write(pages->bootstrap, &text) < 0)
		http1_reply_text(x, 503, "out of memory");
	else
		http1_reply(x, 200, "application/json", buffer_head(&text), text.length);
	buffer_free(&text);
}

static void serve_health(const struct relay_pages *pages, struct http1_exchange *x)
{
	(void)pages;
	http1_reply_text(x, 200, "ok");
}

static void serve_metrics(const struct relay_pages *pages, struct http1_exchange *x)
{
	struct buffer text = BUFFER_INIT(METRICS_MAX);

	if (!pages->metrics)
		http1_reply_text(x, 404, "not found");
	else if (relay_metrics_write(pages, &text) < 0)
		http1_reply_text(x, 503, "out of memory");
	else
		http1_reply(x, 200, METRICS_TYPE, buffer_head(&text), text.length);
	buffer_free(&text);
}

bool relay_pages_serve(const struct relay_pages *pages, struct http1_exchange *x)
{
	static const struct {
		const char *path;
		void (*serve)(const struct relay_pages *pages, struct http1_exchange *x);
	} table[] = {
		{"/derp/probe", serve_probe},
		{"/derp/latency-check", serve_probe},
		{"/generate_204", serve_generate_204},
		{"/bootstrap-dns", serve_bootstrap},
		{"/healthz", serve_health},
		{"/metrics", serve_metrics},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(x->path, table[i].path) != 0)
			continue;
		if (strcmp(x->head->method, "GET") != 0 && strcmp(x->head->method, "HEAD") != 0) {
			http1_reply_header(x, "Allow", "GET, HEAD");
			http1_reply_text(x, 405, "only GET and HEAD");
		} else {
			table[i].serve(pages, x);
		}
		return true;
	}
	return false;
}
