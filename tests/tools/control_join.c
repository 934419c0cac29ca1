/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/control_join.c - join a control server and print its messages
 *
 * Usage: control_join URL [AUTH-KEY [CA.pem]]
 *
 * One line an event on stdout; commands on stdin, one a line: "hostname NAME", "route
 * PREFIX …", "endpoint ADDRESS:PORT", "map" (the netmap as JSON in the event "map"), "login",
 * "logout", "quit", and "rpc METHOD PATH [BODY]": a request of one's own, in whose body $NODEKEY
 * is the node key; its answer is the event "rpc NUMBER STATUS BODY". The node key lives in memory
 * only. Tests drive the control client alone with it, without a tunnel.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "control/control_client.h"
#include "tests/tools/control_rpc.h"
#include "transport/names.h"
#include "transport/tls.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUTES_MAX 8u

struct joiner {
	uv_loop_t loop;
	struct control_client *client;
	const char *auth_key;
	struct tailcfg_hostinfo hostinfo;
	struct tailcfg_net_info net_info;
	struct prefix routes[ROUTES_MAX];
	const struct netmap *map; /* NULL: none yet */
	struct control_rpc_options rpc;
	char node_key[KEY_TEXT_MAX];
	char line[4096];
	size_t line_length;
	nanoseconds began;
};

static void say(struct joiner *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct joiner *j, const char *format, ...)
{
	va_list args;

	printf("%.3f ", (double)(clock_boottime() - j->began) / (double)NSEC_PER_SEC);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static void on_auth_key_wanted(void *user)
{
	struct joiner *j = user;

	say(j, "auth-key-wanted");
	control_client_give_auth_key(j->client, j->auth_key ? strdup(j->auth_key) : NULL);
}

static void on_auth_url(void *user, const char *url)
{
	say(user, "auth-url %s", url);
}

static void on_new_node_key(void *user, const struct secret_key *key, const struct secret_key *old)
{
	struct public_key public;
	char text[KEY_TEXT_MAX];
	struct joiner *j = user;

	secret_key_public(key, &public);
	say(j, "new-node-key %s%s", public_key_format(&public, KEY_NODE, text),
	    old ? " rotation" : "");
	control_client_key_stored(j->client, 0);
}

static void on_registered(void *user, const struct secret_key *key,
			  const struct tailcfg_register_response *response)
{
	struct public_key public;
	struct joiner *j = user;

	secret_key_public(key, &public);
	say(j, "registered %s user=%s authorized=%d",
	    public_key_format(&public, KEY_NODE, j->node_key),
	    response->login_name ? response->login_name : "-", response->machine_authorized);
}

static void on_need(void *user, enum control_need need, const struct error *reason)
{
	static const char *const names[] = {"login", "auth-key", "approval"};

	say(user, "need %s: %s", names[need], reason ? reason->text : "-");
}

static void on_netmap(void *user, const struct netmap *map, const struct netmap_change *change)
{
	char name[64], address[PREFIX_TEXT_MAX], endpoint[ENDPOINT_TEXT_MAX];

	((struct joiner *)user)->map = map;
	say(user, "netmap self=%lld peers=%u parts=%x filters=%u regions=%u domain=%s locked=%d",
	    (long long)map->self->id, netmap_peer_count(map), change->parts, map->filter_count,
	    map->derp_map.region_count, map->domain ? map->domain : "-", map->locked);
	if (change->parts & NETMAP_SELF)
		say(user, "self %s %s what=%x", map->self->name,
		    map->self->addresses.count
			    ? prefix_format(&map->self->addresses.items[0], address)
			    : "-",
		    change->self_what);
	for (uint32_t i = 0; i < change->removal_count; i++)
		say(user, "peer-removed %lld", (long long)change->removals[i].id);
	for (uint32_t i = 0; i < change->update_count; i++) {
		const struct tailcfg_node *n = &change->updates[i].peer->node;

		say(user, "peer %lld %s what=%x %s home=%u online=%d endpoints=%u %s",
		    (long long)n->id, tailcfg_node_display_name(n, name), change->updates[i].what,
		    n->addresses.count ? prefix_format(&n->addresses.items[0], address) : "-",
		    n->home_derp, n->online, n->endpoints.count,
		    n->endpoints.count ? endpoint_format(&n->endpoints.items[0], endpoint) : "-");
	}
	if (change->trouble.code)
		say(user, "passed-over %s", change->trouble.text);
}

static void on_trouble(void *user, const struct error *reason, nanoseconds retry_in)
{
	say(user, "trouble %s (again in %.1f s)", reason->text,
	    (double)retry_in / (double)NSEC_PER_SEC);
}

static void on_healthy(void *user)
{
	say(user, "healthy");
}

static void on_key_expired(void *user, bool expired)
{
	say(user, expired ? "key-expired" : "key-extended");
}

static void on_logged_out(void *user, const struct error *error)
{
	say(user, "logged-out %s", error ? error->text : "ok");
}

static void on_ping(void *user, const struct control_ping *ping)
{
	say(user, "ping %s", ping->types);
}

static void on_c2n(void *user, const struct control_c2n_request *request,
		   struct control_c2n_reply *reply)
{
	(void)reply;
	say(user, "c2n %s %s", request->method, request->path);
}

static void on_reached(void *user, const struct address *addresses, size_t count)
{
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		say(user, "reached %s", address_format(&addresses[i], text));
}

static void on_pop_browser(void *user, const char *url)
{
	say(user, "browser %s", url);
}

static const struct control_handler handler = {
	.auth_key_wanted = on_auth_key_wanted,
	.auth_url = on_auth_url,
	.new_node_key = on_new_node_key,
	.registered = on_registered,
	.need = on_need,
	.netmap = on_netmap,
	.trouble = on_trouble,
	.healthy = on_healthy,
	.key_expired = on_key_expired,
	.logged_out = on_logged_out,
	.ping = on_ping,
	.c2n = on_c2n,
	.reached = on_reached,
	.pop_browser = on_pop_browser,
};

/* --- Commands --- */

static void on_rpc_done(void *user, int number, int status, const char *body, size_t length)
{
	say(user, "rpc %d %d %.*s", number, status, (int)length, length ? body : "");
}

/* run_rpc() - "METHOD PATH [BODY]" */
static void run_rpc(struct joiner *j, char *text)
{
	char *path = strchr(text, ' '), *body = path ? strchr(path + 1, ' ') : NULL, *key;
	char whole[sizeof(j->line) + KEY_TEXT_MAX];

	if (!path) {
		say(j, "rpc METHOD PATH [BODY]");
		return;
	}
	*path++ = 0;
	if (body)
		*body++ = 0;
	key = body ? strstr(body, "$NODEKEY") : NULL;
	snprintf(whole, sizeof(whole), "%.*s%s%s", (int)(key ? key - body : 0), body ? body : "",
		 key ? j->node_key : "",
		 key    ? key + strlen("$NODEKEY")
		 : body ? body
			: "");
	j->rpc.method = text;
	j->rpc.path = path;
	j->rpc.body = whole;
	j->rpc.number++;
	control_rpc(&j->rpc);
}

static void say_map(struct joiner *j)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);

	if (j->map && netmap_encode(j->map, NULL, NULL, &text) == 0)
		say(j, "map %.*s", (int)text.length, (char *)buffer_head(&text));
	else
		say(j, "map null");
	buffer_free(&text);
}

/* set_routes() - "PREFIX PREFIX …" */
static void set_routes(struct joiner *j, char *text)
{
	uint32_t count = 0;
	char *rest;

	for (char *word = strtok_r(text, " ", &rest); word && count < ROUTES_MAX;
	     word = strtok_r(NULL, " ", &rest))
		if (prefix_parse(word, strlen(word), &j->routes[count]) == 0)
			count++;
		else
			say(j, "no prefix %s", word);
	j->hostinfo.routable_ips = (struct prefix_list){j->routes, count};
	control_client_set_hostinfo(j->client, &j->hostinfo);
}

static void run_command(struct joiner *j, char *line)
{
	const struct control_login interactive = {.interactive = true};
	struct tailcfg_endpoint endpoint = {.type = TAILCFG_ENDPOINT_LOCAL};
	char *argument = strchr(line, ' ');

	if (argument)
		*argument++ = 0;
	if (strcmp(line, "hostname") == 0 && argument) {
		free((char *)j->hostinfo.hostname);
		j->hostinfo.hostname = strdup(argument);
		control_client_set_hostinfo(j->client, &j->hostinfo);
	} else if (strcmp(line, "route") == 0 && argument) {
		set_routes(j, argument);
	} else if (strcmp(line, "map") == 0) {
		say_map(j);
	} else if (strcmp(line, "endpoint") == 0 && argument &&
		   endpoint_parse(argument, strlen(argument), &endpoint.endpoint) == 0) {
		control_client_set_endpoints(j->client, &endpoint, 1);
	} else if (strcmp(line, "login") == 0) {
		control_client_start(j->client, &interactive);
	} else if (strcmp(line, "logout") == 0) {
		control_client_logout(j->client);
	} else if (strcmp(line, "rpc") == 0 && argument) {
		run_rpc(j, argument);
	} else if (strcmp(line, "quit") == 0) {
		uv_stop(&j->loop);
	} else {
		say(j, "unknown command %s", line);
	}
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct joiner *j = handle->data;

	(void)suggested;
	*buf = uv_buf_init(j->line + j->line_length,
			   (unsigned int)(sizeof(j->line) - 1 - j->line_length));
}

static void on_input(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
	struct joiner *j = stream->data;
	char *end;

	(void)buf;
	if (count < 0) {
		uv_stop(&j->loop);
		return;
	}
	j->line_length += (size_t)count;
	j->line[j->line_length] = 0;
	while ((end = strchr(j->line, '\n'))) {
		*end++ = 0;
		run_command(j, j->line);
		j->line_length -= (size_t)(end - j->line);
		memmove(j->line, end, j->line_length + 1);
	}
}

/* --- Start --- */

static char *read_file(const char *path, size_t *ret_length)
{
	FILE *file = fopen(path, "rb");
	char *text = file ? calloc(1, 1 << 20) : NULL;

	*ret_length = text ? fread(text, 1, (1 << 20) - 1, file) : 0;
	if (file)
		fclose(file);
	return text;
}

static int set_up_tls(const char *path, struct tls_context **ret, struct error *err)
{
	size_t length;
	char *pem = read_file(path, &length);
	int r = pem ? tls_init(err) : error_set(err, -ENOENT, "no %s", path);

	if (r == 0)
		r = tls_context_create(ret, err);
	if (r == 0)
		r = tls_context_set_roots(*ret, 0, pem, length, path, err);
	free(pem);
	return r < 0 ? r : 0;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

int main(int argc, char **argv)
{
	struct control_login login = {0};
	struct joiner j = {.began = clock_boottime()};
	struct control_options options = {
		.loop = &j.loop,
		.sockets = socket_source_direct(),
		.handler = &handler,
		.user = &j,
	};
	struct secret_key disco_secret;
	struct public_key disco;
	struct error err = {0};
	size_t resolv_length = 0, hosts_length = 0;
	char *resolv, *hosts;
	uv_pipe_t input;

	if (argc < 2) {
		fprintf(stderr, "usage: %s URL [AUTH-KEY [CA.pem]]\n", argv[0]);
		return 2;
	}
	j.auth_key = argc > 2 && *argv[2] ? argv[2] : NULL;
	uv_loop_init(&j.loop);
	resolv = read_file("/etc/resolv.conf", &resolv_length);
	hosts = read_file("/etc/hosts", &hosts_length);
	if (names_create(&j.loop, options.sockets, &options.names, &err) < 0 ||
	    names_configure(options.names, resolv, resolv_length, hosts, hosts_length, &err) < 0 ||
	    (argc > 3 && set_up_tls(argv[3], &options.tls, &err) < 0))
		goto failed;
	options.server_url = argv[1];
	secret_key_generate(&options.machine_key);
	if (control_client_new(&options, &j.client, &err) < 0)
		goto failed;
	j.rpc = (struct control_rpc_options){
		.dialer = {.loop = &j.loop,
			   .sockets = options.sockets,
			   .names = options.names,
			   .tls = options.tls},
		.server_url = argv[1],
		.machine = options.machine_key,
		.done = on_rpc_done,
		.user = &j,
	};
	secret_key_generate(&disco_secret);
	secret_key_public(&disco_secret, &disco);
	control_client_set_identity(j.client, NULL, NULL, &disco, NULL);
	j.net_info = (struct tailcfg_net_info){.working_udp = OPTIONAL_TRUE, .preferred_derp = 999};
	j.hostinfo = (struct tailcfg_hostinfo){
		.ipn_version = TAILCFG_IPN_VERSION,
		.os = "linux",
		.app = "pillion/" PILLION_VERSION,
		.hostname = strdup("control-join"),
		.net_info = &j.net_info,
	};
	control_client_set_hostinfo(j.client, &j.hostinfo);
	control_client_start(j.client, &login);
	uv_pipe_init(&j.loop, &input, 0);
	input.data = &j;
	if (uv_pipe_open(&input, STDIN_FILENO) == 0)
		uv_read_start((uv_stream_t *)&input, allocate, on_input);
	uv_run(&j.loop, UV_RUN_DEFAULT);

	control_client_free(j.client);
	names_free(options.names);
	tls_context_release(options.tls);
	uv_walk(&j.loop, close_handle, NULL);
	uv_run(&j.loop, UV_RUN_DEFAULT);
	uv_loop_close(&j.loop);
	free((char *)j.hostinfo.hostname);
	free(resolv);
	free(hosts);
	return 0;
failed:
	fprintf(stderr, "%s\n", err.text);
	return 1;
}
