/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/coordinator.c - the coordination server on an event loop */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/web/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TICK       NSEC_PER_SEC
#define BODY_LIMIT (4u * 1024) /* over HTTP/1 nodes send none; forms and relays do */

/* Strangers over plain HTTP(S) */

/* has_version() - Whether the query names a capability version */
static bool has_version(const char *query)
{
	const char *at = strncmp(query, "v=", 2) == 0 ? query : strstr(query, "&v=");

	if (!at)
		return false;
	at += *at == '&' ? 3 : 2;
	return *at >= '1' && *at <= '9';
}

static void serve_key(struct coordinator *c, struct http1_exchange *x)
{
	char key[KEY_TEXT_MAX], zero[KEY_TEXT_MAX], body[256];
	static const struct public_key none;
	int length;

	if (!has_version(x->query)) {
		http1_reply_text(x, 400, "say your capability version: /key?v=NUMBER");
		return;
	}
	public_key_format(&c->noise_public, KEY_MACHINE, key);
	public_key_format(&none, KEY_MACHINE, zero);
	length = snprintf(body, sizeof(body), "{\"legacyPublicKey\":\"%s\",\"publicKey\":\"%s\"}",
			  zero, key);
	http1_reply(x, 200, "application/json", body, (size_t)length);
}

/* serve_verify() - A separate relay asks whether a node may connect, as it asks Headscale */
static void serve_verify(struct coordinator *c, struct http1_exchange *x)
{
	static const char *const verdicts[] = {"{\"Allow\":false}", "{\"Allow\":true}"};
	struct public_key node;
	struct error err = {0};
	const char *verdict;

	if (strcmp(x->head->method, "POST") != 0) {
		http1_reply_text(x, 405, "POST {\"NodePublic\":\"nodekey:...\"} is wanted");
	} else if (machine_verify_request_parse(buffer_head(x->body), x->body->length, &node,
						&err) < 0) {
		http1_reply_text(x, 400, "%s", err.text);
	} else {
		verdict = verdicts[coordinator_knows(c, &node)];
		http1_reply(x, 200, "application/json", verdict, strlen(verdict));
	}
}

static void serve_web(void *user, struct http1_exchange *x)
{
	struct coordinator *c = user;
	bool get = strcmp(x->head->method, "GET") == 0 || strcmp(x->head->method, "HEAD") == 0;

	if (strcmp(x->path, "/ts2021") == 0)
		machine_accept(c, x);
	else if (pages_serve(c, x))
		return;
	else if (strcmp(x->path, "/verify") == 0)
		serve_verify(c, x);
	else if (!get)
		http1_reply_text(x, 405, "only GET here");
	else if (strcmp(x->path, "/key") == 0)
		serve_key(c, x);
	else if (strcmp(x->path, "/health") == 0)
		http1_reply_text(x, c->store_failed ? 503 : 200, "%s",
				 c->store_failed ? "the database can't be written" : "ok");
	else
		http1_reply_text(x, 404, "there is nothing here; nodes join with --login-server=%s",
				 c->tailnet.settings.server_url);
}

/* Writing, answering, telling: in this order */

static void flush(void *user)
{
	struct coordinator *c = user;
	struct error err;

	if (coordinator_write(c, &err) < 0) {
		loop_timer_at(c->flush, clock_boottime() + NSEC_PER_SEC);
	} else {
		coordinator_answer(c);
		machine_maps_tell(c);
	}
}

static void tick(void *user)
{
	struct coordinator *c = user;
	struct tailnet_time now = tailnet_now();

	tailnet_tick(&c->tailnet, now);
	machine_tick(c, now.boot);
	source_log_tick(c->strangers, now.boot);
	coordinator_settle(c);
	loop_timer_at(c->tick, now.boot + TICK);
}

/* Life */

/* settle_names() - Rename nodes whose name is reserved now, or was allowed by an older version */
static void settle_names(struct coordinator *c)
{
	struct registry *registry = &c->tailnet.registry;

	for (struct registry_node *n = registry->nodes; n; n = n->by_id.next) {
		char old[REGISTRY_NAME_MAX + 1];

		if (!registry_reserves(registry, n->name))
			continue;
		strcpy(old, n->name);
		if (registry_rename(registry, n, old, false) == 0)
			log_warn("node=%lld is now called %s: %s is a number, or the name of this "
				 "server, a relay or a DNS record",
				 (long long)n->record.id, n->name, old);
	}
}

static int open_web(struct coordinator *c, const struct coordinator_options *o, struct error *err)
{
	struct web_server_options web = {
		.loop = o->loop,
		.listen_fd = o->listen_fd,
		.tls = o->tls,
		.behind_proxy = o->behind_proxy,
		.body_limit = BODY_LIMIT,
		.serve = serve_web,
		.user = c,
	};
	struct web_server_options local = {
		.loop = o->loop,
		.listen_fd = o->operator_fd,
		.body_limit = LIMIT_RPC_BODY,
		.serve = operator_serve,
		.user = c,
	};
	int r = web_server_new(&web, &c->web, err);

	if (r < 0) {
		if (o->operator_fd >= 0)
			close(o->operator_fd);
		return r;
	}
	return o->operator_fd >= 0 ? web_server_new(&local, &c->local_web, err) : 0;
}

int coordinator_new(const struct coordinator_options *o, struct coordinator **ret,
		    struct error *err)
{
	struct coordinator *c = calloc(1, sizeof(*c));
	int r = c ? 0 : error_set(err, -ENOMEM, "out of memory");

	if (r == 0) {
		c->loop = o->loop;
		c->tls = o->tls != NULL;
		TAILQ_INIT(&c->guests);
		c->text = BUFFER_INIT(LIMIT_MAP_OBJECT);
		c->last = BUFFER_INIT(LIMIT_MAP_OBJECT);
		c->frame = BUFFER_INIT(ZSTD_COMPRESSBOUND(LIMIT_MAP_OBJECT) + 4);
		if (tailnet_init(&c->tailnet, &o->settings) < 0)
			r = error_set(err, -ENOMEM, "out of memory");
		c->tailnet.settings.certificates = o->dns_hook_fd >= 0;
		c->tailnet.settings.signs = o->authority != NULL;
		c->authority = o->authority;
	}
	if (r == 0)
		r = registry_store_open(o->database, &c->store, err);
	if (r == 0)
		r = registry_store_load(c->store, &c->tailnet.registry, err);
	if (r == 0)
		r = registry_store_noise_key(c->store, &c->noise_key, err);
	if (r == 0)
		r = tailnet_policy_load(&c->tailnet, err);
	if (r == 0) {
		secret_key_public(&c->noise_key, &c->noise_public);
		settle_names(c);
		tailnet_loaded(&c->tailnet, tailnet_now());
		c->zstd = ZSTD_createCCtx();
		c->strangers = source_log_new();
		if (!c->zstd || !c->strangers ||
		    loop_timer_create(c->loop, flush, c, &c->flush) < 0 ||
		    loop_timer_create(c->loop, tick, c, &c->tick) < 0)
			r = error_set(err, -ENOMEM, "out of memory");
	}
	if (r == 0 && o->dns_hook_fd >= 0)
		r = dns_hook_new(c->loop, o->dns_hook_fd, machine_dns_done, c, &c->dns_hook, err);
	else if (o->dns_hook_fd >= 0)
		close(o->dns_hook_fd);
	if (r < 0) {
		close(o->listen_fd);
		if (o->operator_fd >= 0)
			close(o->operator_fd);
		goto refused;
	}
	r = open_web(c, o, err);
	if (r < 0)
		goto refused;
	tick(c);
	*ret = c;
	return 0;
refused:
	coordinator_free(c);
	return r;
}

void coordinator_free(struct coordinator *c)
{
	struct error err;

	if (!c)
		return;
	c->stopping = true;
	web_server_free(c->local_web);
	web_server_free(c->web);
	while (!LIST_EMPTY(&c->connections))
		machine_connection_close(LIST_FIRST(&c->connections));
	if (c->store)
		(void)coordinator_write(c, &err);
	dns_hook_free(c->dns_hook);
	loop_timer_free(c->flush);
	loop_timer_free(c->tick);
	ZSTD_freeCCtx(c->zstd);
	source_log_free(c->strangers);
	buffer_free(&c->text);
	buffer_free(&c->last);
	buffer_free(&c->frame);
	tailnet_clear(&c->tailnet);
	tailcfg_derp_map_clear(&c->tailnet.settings.derp_map);
	tailcfg_dns_config_clear(&c->tailnet.settings.dns);
	registry_store_close(c->store);
	secret_key_wipe(&c->noise_key);
	free(c);
}

int coordinator_endpoint(const struct coordinator *c, struct endpoint *ret)
{
	return http1_server_endpoint(web_server_http(c->web), ret);
}

bool coordinator_knows(const struct coordinator *c, const struct public_key *key)
{
	const struct registry_node *node = registry_node_of_key(&c->tailnet.registry, key);

	return node && node->authorized && !node->expired;
}

struct tailnet *coordinator_tailnet(struct coordinator *c)
{
	return &c->tailnet;
}

/* Metrics */

#define PREFIX "pillion_control_"

struct counts {
	uint64_t connected, online, offline, expired, users, keys, machines, held;
};

static struct counts count(const struct coordinator *c)
{
	const struct machine_connection *connection;
	const struct machine_exchange *exchange;
	struct counts n = {0};

	for (const struct registry_node *node = c->tailnet.registry.nodes; node;
	     node = node->by_id.next) {
		n.connected += node->sessions != NULL;
		*(node->online ? &n.online : &n.offline) += 1;
		n.expired += node->expired;
	}
	for (const struct registry_user *u = c->tailnet.registry.users; u; u = u->by_id.next)
		n.users++;
	for (const struct registry_key *k = c->tailnet.registry.keys; k; k = k->by_id.next)
		n.keys++;
	LIST_FOREACH(connection, &c->connections, next)
		n.machines++;
	LIST_FOREACH(exchange, &c->exchanges[EXCHANGE_HELD], next)
		n.held++;
	return n;
}

int coordinator_metrics(const struct coordinator *c, struct buffer *out)
{
	const struct tailnet_statistics *s = &c->tailnet.statistics;
	const struct counts n = count(c);
	const struct metric rows[] = {
		{"nodes", "state=\"online\"", "Nodes", n.online, true},
		{"nodes", "state=\"offline\"", NULL, n.offline, true},
		{"nodes_connected", NULL, "Nodes with a map stream", n.connected, true},
		{"nodes_expired", NULL, "Nodes whose key has expired", n.expired, true},
		{"users", NULL, "Users", n.users, true},
		{"keys", NULL, "Pre-authentication keys, used and expired ones too", n.keys, true},
		{"connections", NULL, "Connections of machines that proved their key", n.machines,
		 true},
		{"guests", NULL, "Connections that have not asked for a map yet", c->guest_count,
		 true},
		{"guests_cut_total", NULL, "Guests closed because there were too many",
		 c->guests_cut, false},
		{"sessions", NULL, "Map streams", c->tailnet.session_count, true},
		{"logins", NULL, "Pending logins", c->tailnet.login_count, true},
		{"logins_held", NULL, "Held requests", n.held, true},
		{"store_failed", NULL, "1 while the database can't be written", c->store_failed,
		 true},
		{"registrations_total", NULL, "Nodes registered or registered again",
		 s->registrations, false},
		{"logins_total", NULL, "Logins begun", s->logins, false},
		{"maps_total", "kind=\"full\"", "Map messages", s->full_maps, false},
		{"maps_total", "kind=\"delta\"", NULL, s->deltas, false},
		{"notes_total", NULL, "Changes noted at a session", s->notes, false},
		{"overflows_total", NULL, "Sessions whose notes became a full map", s->overflows,
		 false},
	};
	int r = metrics_write(out, PREFIX, rows, ARRAY_SIZE(rows));

	return r < 0 ? r : metrics_write_web(out, PREFIX, c->web);
}
