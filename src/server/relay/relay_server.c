/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_server.c - a relay (DERP) with its STUN server, on libuv */
#define LOG_ROOM "relay"
#include "server/relay/relay_server.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/small_file.h"
#include "server/relay/relay_clients.h"
#include "server/relay/relay_pages.h"
#include "server/relay/relay_verify.h"
#include "server/relay/stun_server.h"
#include "server/web/certificate_maker.h"
#include "server/web/web_server.h"
#include "transport/tls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HTTP_PORT  80
#define BODY_MAX   1024u       /* nothing that is asked of us has a body */
#define UNSENT_MAX (64 * 1024) /* of one client in the kernel, beyond what the network holds */

struct relay_server {
	struct derp_server *core;
	struct relay_clients *clients;
	struct relay_verifier *verifier;
	struct web_server *web, *pages_web;
	struct stun_server *stun;
	struct relay_pages pages;
	struct endpoint endpoint, stun_endpoint;

	/* For relay_server_derp_node(). */
	char *host_name;
	struct address ipv4, ipv6;
	uint16_t public_port, public_stun_port;
	char pin[CERTIFICATE_PIN_MAX];
	bool can_port_80;
};

static void upgrade(struct relay_server *s, struct http1_exchange *x)
{
	const char *fast = http1_header(x->head, "Derp-Fast-Start");
	struct endpoint from = x->peer;
	struct buffer head = {0};
	struct stream *stream;
	char key[KEY_TEXT_MAX];

	if (!relay_clients_room(s->clients, &from.address)) {
		s->pages.refused_source++;
		http1_reply_text(x, 429, "too many connections from this address");
		return;
	}
	if (fast && strcmp(fast, "1") == 0) {
		stream = http1_take(x, &head);
	} else {
		http1_reply_header(x, "Derp-Version", "2");
		http1_reply_header(x, "Derp-Public-Key",
				   public_key_format(derp_server_key(s->core), KEY_NODE, key) +
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
		return relay_pages_serve(&s->pages, x);
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

	if (!relay_pages_serve(&s->pages, x))
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
		r = tls_server_context_create(pair.certificate, strlen(pair.certificate), pair.key,
					      strlen(pair.key), ret, err);
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
	struct relay_clients_config clients = {
		.loop = loop,
		.verify = config->verify,
		.user = config->user,
		.verify_fail_open = config->verify_fail_open,
		.source_clients =
			config->source_clients ? config->source_clients : LIMIT_RELAY_SOURCE,
	};
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
	clients.server = s->core;
	clients.verifier = s->verifier;
	if (r == 0)
		r = relay_clients_new(&clients, &s->clients);
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
	const struct address own[] = {s->ipv4, s->ipv6};
	const char *name = config->host_name;
	int r = relay_bootstrap_new(loop, &s->pages.bootstrap);

	if (r == 0 && name)
		r = relay_bootstrap_add(s->pages.bootstrap, name, own, ARRAY_SIZE(own));
	for (size_t i = 0; r == 0 && i < config->bootstrap_count; i++) {
		name = config->bootstrap[i].name;
		r = relay_bootstrap_add(s->pages.bootstrap, name, config->bootstrap[i].addresses,
					ARRAY_SIZE(config->bootstrap[i].addresses));
	}
	if (r == -ENOMEM)
		return error_set(err, r, "out of memory");
	if (r == -E2BIG)
		return error_set(err, r, "more than %u names for /bootstrap-dns",
				 LIMIT_BOOTSTRAP_NAMES);
	if (r < 0)
		return error_set(err, r, "'%s' is not a valid host name", name);
	return relay_bootstrap_start(s->pages.bootstrap, err);
}

int relay_server_new(uv_loop_t *loop, const struct relay_server_config *config,
		     struct relay_server **ret, struct error *err)
{
	struct relay_server *s;
	int r;

	if (!config->host_name && config->ipv4.family == ADDRESS_NONE &&
	    config->ipv6.family == ADDRESS_NONE)
		return error_set(err, -EINVAL,
				 "a relay needs the name or address that clients use");
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->ipv4 = config->ipv4;
	s->ipv6 = config->ipv6;
	if (config->host_name) {
		s->host_name = strdup(config->host_name);
		if (!s->host_name) {
			r = error_set(err, -ENOMEM, "out of memory");
			goto refused;
		}
	}
	r = open_core(s, loop, config, err);
	if (r == 0)
		r = open_sockets(s, loop, config, err);
	if (r == 0)
		r = open_bootstrap(s, loop, config, err);
	if (r < 0)
		goto refused;
	s->pages.server = s->core;
	s->pages.stun = s->stun;
	s->pages.web = s->web;
	s->pages.metrics = config->metrics;
	s->can_port_80 = config->pages.port == HTTP_PORT;
	s->public_port = config->public_port ? config->public_port : s->endpoint.port;
	s->public_stun_port =
		config->public_stun_port ? config->public_stun_port : s->stun_endpoint.port;
	*ret = s;
	return 0;
refused:
	relay_server_free(s);
	return r;
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
	relay_bootstrap_free(s->pages.bootstrap);
	free(s->host_name);
	free(s);
}

int relay_server_derp_node(const struct relay_server *s, uint16_t region, const char *name,
			   struct tailcfg_derp_node *ret)
{
	const struct address *address = s->ipv4.family != ADDRESS_NONE ? &s->ipv4 : &s->ipv6;
	char text[ADDRESS_TEXT_MAX];
	struct tailcfg_derp_node node = {
		.name = strdup(name),
		.region_id = region,
		.host_name = strdup(s->host_name ? s->host_name : address_format(address, text)),
		.cert_name = s->pin[0] ? strdup(s->pin) : NULL,
		.ipv4 = s->ipv4,
		.ipv6 = s->ipv6,
		.derp_port = s->public_port,
		.stun_port = s->public_stun_port,
		.can_port_80 = s->can_port_80,
	};

	if (!node.name || !node.host_name || (s->pin[0] && !node.cert_name)) {
		free((char *)node.name);
		free((char *)node.host_name);
		free((char *)node.cert_name);
		return -ENOMEM;
	}
	*ret = node;
	return 0;
}

const struct public_key *relay_server_key(const struct relay_server *s)
{
	return derp_server_key(s->core);
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

int relay_server_metrics(const struct relay_server *s, struct buffer *out)
{
	return relay_metrics_write(&s->pages, out);
}
