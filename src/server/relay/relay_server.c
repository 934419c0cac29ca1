/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_server.c - a relay (DERP) with its STUN server, on libuv */
#define LOG_ROOM "relay"
#include "server/relay/relay_server.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/small_file.h"
#include "server/relay/relay_bootstrap.h"
#include "server/relay/relay_clients.h"
#include "server/relay/relay_verify.h"
#include "server/relay/stun_server.h"
#include "server/web/certificate_maker.h"
#include "server/web/metrics.h"
#include "server/web/web_server.h"
#include "transport/tls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HTTP_PORT      80
#define BODY_MAX       1024u       /* nothing that is asked of us has a body */
#define UNSENT_MAX     (64 * 1024) /* of one client in the kernel, beyond what the network holds */
#define CHALLENGE_MAX  64
#define METRICS_PREFIX "pillion_relay_"

struct relay_server {
	struct derp_server *core;
	struct relay_clients *clients;
	struct relay_verifier *verifier;
	struct relay_bootstrap *bootstrap;
	struct web_server *web, *pages_web;
	struct stun_server *stun; /* NULL: none */
	struct endpoint endpoint, stun_endpoint;
	uint64_t refused_source; /* connections over the bound of their address */
	bool metrics;

	/* For relay_server_add_to_map(): the name is on the heap, the pin of our own certificate not. */
	struct tailcfg_derp_node node;
	char pin[CERTIFICATE_PIN_MAX];
};

/* --- The pages beside /derp --- */

/* challenge_is_valid() - 1 to 64 of [A-Za-z0-9.:_-]: what may be echoed into a header */
static bool challenge_is_valid(const char *text)
{
	size_t length = strlen(text);

	return length > 0 && length <= CHALLENGE_MAX &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:_-") ==
		       length;
}

int relay_server_metrics(const struct relay_server *relay, struct buffer *out)
{
	static const struct stun_statistics no_stun;
	const struct derp_server_statistics *d = &relay->core->statistics;
	const struct stun_statistics *s =
		relay->stun ? stun_server_statistics(relay->stun) : &no_stun;
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
		{"cut_total", "reason=\"source\"", NULL, relay->refused_source, false},
		{"peer_gone_total", NULL, "PeerGone frames", d->peer_gone, false},
		{"unknown_frames_total", NULL, "Frames that mean nothing here", d->unknown_frames,
		 false},
		{"stun_total", "result=\"answered\"", "STUN requests", s->answered, false},
		{"stun_total", "result=\"malformed\"", NULL, s->malformed, false},
		{"stun_total", "result=\"limited\"", NULL, s->limited, false},
		{"stun_total", "result=\"unsent\"", NULL, s->unsent, false},
	};
	int r = metrics_write(out, METRICS_PREFIX, rows, ARRAY_SIZE(rows));

	return r < 0 ? r : metrics_write_web(out, METRICS_PREFIX, relay->web);
}

static void serve_probe(const struct relay_server *s, struct http1_exchange *x)
{
	(void)s;
	http1_reply_header(x, "Access-Control-Allow-Origin", "*");
	http1_reply(x, 200, NULL, NULL, 0);
}

static void serve_generate_204(const struct relay_server *s, struct http1_exchange *x)
{
	const char *challenge = http1_header(x->head, "X-Tailscale-Challenge");
	char answer[sizeof("response ") + CHALLENGE_MAX];

	(void)s;
	if (challenge && challenge_is_valid(challenge)) {
		snprintf(answer, sizeof(answer), "response %s", challenge);
		http1_reply_header(x, "X-Tailscale-Response", answer);
	}
	http1_reply_header(x, "Cache-Control", "no-cache, no-store, must-revalidate, no-transform");
	http1_reply(x, 204, NULL, NULL, 0);
}

static void serve_bootstrap(const struct relay_server *s, struct http1_exchange *x)
{
	struct buffer text = BUFFER_INIT(LIMIT_KEY_BODY);

	/* A client asks once, and a relay chosen at random. */
	http1_reply_close(x);
	/* All names are sent: the name asked for (?q=) is among them, or unknown. */
	if (relay_bootstrap_write(s->bootstrap, &text) < 0)
		http1_reply_text(x, 503, "out of memory");
	else
		http1_reply(x, 200, "application/json", buffer_head(&text), text.length);
	buffer_free(&text);
}

static void serve_health(const struct relay_server *s, struct http1_exchange *x)
{
	(void)s;
	http1_reply_text(x, 200, "ok");
}

static void serve_metrics(const struct relay_server *s, struct http1_exchange *x)
{
	struct buffer text = BUFFER_INIT(METRICS_MAX);

	if (!s->metrics)
		http1_reply_text(x, 404, "not found");
	else if (relay_server_metrics(s, &text) < 0)
		http1_reply_text(x, 503, "out of memory");
	else
		http1_reply(x, 200, METRICS_TYPE, buffer_head(&text), text.length);
	buffer_free(&text);
}

/* serve_page() - Answer @x if its path is one of the pages; whether it was */
static bool serve_page(const struct relay_server *s, struct http1_exchange *x)
{
	static const struct {
		const char *path;
		void (*serve)(const struct relay_server *s, struct http1_exchange *x);
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
			table[i].serve(s, x);
		}
		return true;
	}
	return false;
}

/* --- Requests --- */

static void upgrade(struct relay_server *s, struct http1_exchange *x)
{
	const char *fast = http1_header(x->head, "Derp-Fast-Start");
	struct endpoint from = x->peer;
	struct buffer head = {0};
	struct stream *stream;
	char key[KEY_TEXT_MAX];

	if (!relay_clients_room(s->clients, &from.address)) {
		s->refused_source++;
		http1_reply_text(x, 429, "too many connections from this address");
		return;
	}
	if (fast && strcmp(fast, "1") == 0) {
		stream = http1_take(x, &head);
	} else {
		http1_reply_header(x, "Derp-Version", "2");
		http1_reply_header(x, "Derp-Public-Key",
				   public_key_format(&s->core->public, KEY_NODE, key) +
					   strlen("nodekey:"));
		stream = http1_upgrade(x, "DERP", &head);
	}
	if (stream)
		relay_clients_add(s->clients, stream, head.length ? buffer_head(&head) : NULL,
				  head.length, &from);
	buffer_free(&head);
}

bool relay_server_serve(struct relay_server *s, struct http1_exchange *x)
{
	if (strcmp(x->path, "/derp") != 0)
		return serve_page(s, x);
	if (strcmp(x->head->method, "GET") == 0 && x->head->upgrade &&
	    http1_header_has(x->head, "Upgrade", "DERP")) {
		upgrade(s, x);
	} else {
		http1_reply_header(x, "Upgrade", "DERP");
		http1_reply_text(x, 426, "DERP requires connection upgrade");
	}
	return true;
}

static void serve(void *user, struct http1_exchange *x)
{
	static const char text[] = "This is a relay of a tailnet (DERP), by pillion.\n";

	if (relay_server_serve(user, x))
		return;
	if (strcmp(x->path, "/") == 0)
		http1_reply(x, 200, "text/plain; charset=utf-8", text, sizeof(text) - 1);
	else
		http1_reply_text(x, 404, "not found");
}

/* serve_pages() - On the plain port: all but /derp itself */
static void serve_pages(void *user, struct http1_exchange *x)
{
	struct relay_server *s = user;

	if (!serve_page(s, x))
		http1_reply_text(x, 404, "not found");
}

/* open_tls() - The certificate, and a context with it; NULL for a plain relay */
static int open_tls(struct relay_server *s, const struct relay_server_config *config,
		    struct tls_context **ret, struct error *err)
{
	_cleanup_(certificate_pair_clear) struct certificate_pair pair = {0};
	char ipv4[ADDRESS_TEXT_MAX], ipv6[ADDRESS_TEXT_MAX];
	const char *names[3];
	size_t count = 0;
	int r;

	*ret = NULL;
	if (config->plain)
		return 0;
	if (config->tls) {
		*ret = tls_context_hold(config->tls);
		return 0;
	}
	if (config->host_name)
		names[count++] = config->host_name;
	if (config->ipv4.family != ADDRESS_NONE)
		names[count++] = address_format(&config->ipv4, ipv4);
	if (config->ipv6.family != ADDRESS_NONE)
		names[count++] = address_format(&config->ipv6, ipv6);
	r = certificate_self_signed(config->directory, names, count, &pair, err);
	if (r == 0 && certificate_pin(pair.certificate, s->pin) < 0)
		r = error_set(err, -EINVAL, "the relay's certificate can't be hashed");
	if (r == 0)
		r = tls_server_context_set(ret, pair.certificate, strlen(pair.certificate),
					   pair.key, strlen(pair.key), err);
	return r;
}

/* or_any() - @e, where no address means all of both families */
static struct endpoint or_any(const struct endpoint *e)
{
	static const uint8_t any[16];

	if (e->address.family != ADDRESS_NONE)
		return *e;
	return (struct endpoint){.address = address_v6(any), .port = e->port};
}

/* listen_at() - A listener whose clients' kernel buffers hold little that isn't under way */
static int listen_at(uv_loop_t *loop, const struct endpoint *at, struct tls_context *tls,
		     bool behind_proxy, void (*handler)(void *user, struct http1_exchange *x),
		     void *user, struct web_server **ret, struct error *err)
{
	int fd = -1, unsent = UNSENT_MAX, r;

	r = web_listen(at, &fd, err);
	if (r < 0)
		return r;
	/* Accepted sockets inherit it. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	return web_server_new(
		&(struct web_server_options){
			.loop = loop,
			.listen_fd = fd,
			.tls = tls,
			.behind_proxy = behind_proxy,
			.body_limit = BODY_MAX,
			.serve = handler,
			.user = user,
		},
		ret, err);
}

/* load_key() - The DERP key in relay.key, made if there is none. A file without a key is an error */
static int load_key(const char *directory, struct secret_key *ret, struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = NULL;
	_cleanup_free_ char *path = NULL;
	char made[KEY_TEXT_MAX];
	int r;

	if (asprintf(&path, "%s/relay.key", directory) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = small_file_read(path, &text, err);
	if (r == 0 && secret_key_parse(text, strcspn(text, "\n"), ret) < 0)
		return error_set(err, -EINVAL,
				 "%s holds no relay key: restore it, or remove it to have a new "
				 "one made",
				 path);
	if (r != -ENOENT)
		return r;
	secret_key_generate(ret);
	secret_key_format(ret, made);
	r = small_file_replace(path, made, strlen(made), err);
	explicit_bzero(made, sizeof(made));
	return r;
}

static int open_core(struct relay_server *s, uv_loop_t *loop,
		     const struct relay_server_config *config, struct error *err)
{
	struct secret_key key;
	int r = load_key(config->directory, &key, err);

	if (r < 0)
		return r;
	r = derp_server_new(&key, config->client_bytes_per_second, &s->core);
	secret_key_wipe(&key);
	if (r == 0 && config->verify_url) {
		r = relay_verifier_new(loop, config->verify_url, config->verify_ca_file,
				       &s->verifier, err);
		if (r < 0)
			return r;
	}
	if (r == 0)
		r = relay_clients_new(loop, s->core, s->verifier, config, &s->clients);
	return r < 0 ? error_set_errno(err, r, "relay") : 0;
}

static int open_sockets(struct relay_server *s, uv_loop_t *loop,
			const struct relay_server_config *config, struct error *err)
{
	struct endpoint at = or_any(&config->listen);
	struct endpoint stun = or_any(&config->stun);
	struct endpoint pages = or_any(&config->pages);
	struct tls_context *tls;
	int r = open_tls(s, config, &tls, err);

	if (r < 0)
		return r;
	r = listen_at(loop, &at, tls, config->plain, serve, s, &s->web, err);
	tls_context_release(tls);
	if (r < 0)
		return r;
	r = http1_server_endpoint(web_server_http(s->web), &s->endpoint);
	if (r < 0)
		return error_set_errno(err, r, "relay's address");
	if (pages.port)
		r = listen_at(loop, &pages, NULL, false, serve_pages, s, &s->pages_web, err);
	if (r == 0 && !config->no_stun) {
		r = stun_server_new(loop, &stun, &s->stun, err);
		if (r == 0)
			s->stun_endpoint = *stun_server_endpoint(s->stun);
	}
	return r;
}

static int open_bootstrap(struct relay_server *s, uv_loop_t *loop,
			  const struct relay_server_config *config, struct error *err)
{
	const struct address own[] = {config->ipv4, config->ipv6};
	const char *name = config->host_name;
	int r = relay_bootstrap_new(loop, &s->bootstrap);

	if (r == 0 && name)
		r = relay_bootstrap_add(s->bootstrap, name, own, ARRAY_SIZE(own));
	for (size_t i = 0; r == 0 && i < config->bootstrap_count; i++) {
		name = config->bootstrap[i].name;
		r = relay_bootstrap_add(s->bootstrap, name, config->bootstrap[i].addresses,
					ARRAY_SIZE(config->bootstrap[i].addresses));
	}
	if (r == -ENOMEM)
		return error_set(err, r, "out of memory");
	if (r == -E2BIG)
		return error_set(err, r, "more than %u names for /bootstrap-dns",
				 LIMIT_BOOTSTRAP_NAMES);
	if (r < 0)
		return error_set(err, r, "'%s' is not a valid host name", name);
	return relay_bootstrap_start(s->bootstrap, err);
}

int relay_server_new(uv_loop_t *loop, const struct relay_server_config *config,
		     struct relay_server **ret, struct error *err)
{
	const struct address *address =
		config->ipv4.family != ADDRESS_NONE ? &config->ipv4 : &config->ipv6;
	char text[ADDRESS_TEXT_MAX];
	struct relay_server *s;
	int r;

	if (!config->host_name && config->ipv4.family == ADDRESS_NONE &&
	    config->ipv6.family == ADDRESS_NONE)
		return error_set(err, -EINVAL,
				 "a relay needs the name or address that clients use");
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	r = open_core(s, loop, config, err);
	if (r == 0)
		r = open_sockets(s, loop, config, err);
	if (r == 0)
		r = open_bootstrap(s, loop, config, err);
	if (r < 0) {
		relay_server_free(s);
		return r;
	}
	s->metrics = config->metrics;
	s->node = (struct tailcfg_derp_node){
		.host_name = strdup(config->host_name ? config->host_name
						      : address_format(address, text)),
		.cert_name = s->pin[0] ? s->pin : NULL,
		.ipv4 = config->ipv4,
		.ipv6 = config->ipv6,
		.derp_port = config->public_port ? config->public_port : s->endpoint.port,
		.stun_port =
			config->public_stun_port ? config->public_stun_port : s->stun_endpoint.port,
		.can_port_80 = config->pages.port == HTTP_PORT,
	};
	*ret = s;
	return 0;
}

void relay_server_free(struct relay_server *s)
{
	if (!s)
		return;
	web_server_free(s->web);
	web_server_free(s->pages_web);
	stun_server_free(s->stun);
	relay_clients_free(s->clients);
	relay_verifier_free(s->verifier);
	derp_server_free(s->core);
	relay_bootstrap_free(s->bootstrap);
	free((char *)s->node.host_name);
	free(s);
}

int relay_server_add_to_map(const struct relay_server *s, uint16_t id, const char *code,
			    const char *name, struct tailcfg_derp_map *map)
{
	struct tailcfg_derp_region *region,
		*regions = reallocarray(map->regions, map->region_count + 1, sizeof(*regions));
	struct tailcfg_derp_node *node = calloc(1, sizeof(*node));
	char node_name[16];
	uint32_t at = 0;

	map->regions = regions ? regions : map->regions;
	if (!regions || !node) {
		free(node);
		return -ENOMEM;
	}
	while (at < map->region_count && regions[at].id < id)
		at++;
	region = &regions[at];
	memmove(region + 1, region, (map->region_count++ - at) * sizeof(*region));
	snprintf(node_name, sizeof(node_name), "%ua", id);
	*node = s->node;
	node->region_id = id;
	node->name = strdup(node_name);
	node->host_name = s->node.host_name ? strdup(s->node.host_name) : NULL;
	node->cert_name = s->node.cert_name ? strdup(s->node.cert_name) : NULL;
	*region = (struct tailcfg_derp_region){.id = id,
					       .code = strdup(code),
					       .name = strdup(name),
					       .nodes = node,
					       .node_count = 1};
	return region->code && region->name && node->name && node->host_name &&
			       (!s->node.cert_name || node->cert_name)
		       ? 0
		       : -ENOMEM;
}

const struct public_key *relay_server_key(const struct relay_server *s)
{
	return &s->core->public;
}

const struct endpoint *relay_server_endpoint(const struct relay_server *s)
{
	return &s->endpoint;
}

const struct endpoint *relay_server_stun(const struct relay_server *s)
{
	return &s->stun_endpoint;
}

void relay_server_expel(struct relay_server *s, const struct public_key *node)
{
	derp_server_expel(s->core, node);
	relay_clients_attend(s->clients);
}

void relay_server_restarting(struct relay_server *s, nanoseconds in, nanoseconds tries)
{
	derp_server_restarting(s->core, (uint32_t)(in / NSEC_PER_MSEC),
			       (uint32_t)(tries / NSEC_PER_MSEC));
	relay_clients_attend(s->clients);
}
