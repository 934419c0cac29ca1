/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/server/ingress_command.c - pillion ingress: the public end of Funnel
 *
 *	pillion ingress --socket /var/run/tailscale/tailscaled.sock
 *
 * It shares the network namespace of a pillion node, whose LocalAPI tells it which peer funnels
 * which name. It has no key and no files.
 */
#define LOG_ROOM "ingress"
#include "app/cli/flags.h"
#include "app/server/command.h"
#include "app/server/confine.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/small_file.h"
#include "server/ingress/ingress.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define DEFAULT_SOCKET "/var/run/tailscale/tailscaled.sock"
#define DEFAULT_LISTEN "[::]:443,[::]:8443,[::]:10000"
#define DRAIN_MOST     (10 * NSEC_PER_SEC)
#define CLOSING_ROUNDS 16

/* clang-format off */
#define FLAGS(FLAG) \
	FLAG(LISTEN, FLAG_OF("listen", FLAG_STRING, "ADDRESS:PORT,…", \
			     "for TLS; ADDRESS:PORT=443 where clients use another port (default " DEFAULT_LISTEN ")")) \
	FLAG(PLAIN, FLAG_OF("http", FLAG_STRING, "ADDRESS:PORT,…", \
			    "plain HTTP, usually [::]:80: ACME challenges, and redirects to https (default off)")) \
	FLAG(NO_REDIRECT, FLAG_ON("no-redirect", "with --http: answer 404 instead of redirecting")) \
	FLAG(SOCKET, FLAG_OF("socket", FLAG_STRING, "PATH", \
			     "of the node in this namespace (default $TS_SOCKET, else " DEFAULT_SOCKET ")")) \
	FLAG(MAP, FLAG_OF("map", FLAG_STRING, "NAME=NODE,…", \
			  "further names of nodes; a node that funnels has its MagicDNS name without it")) \
	FLAG(MAP_FILE, FLAG_OF("map-file", FLAG_STRING, "PATH", "the same, a NAME=NODE on each line")) \
	FLAG(PROXIES, FLAG_OF("proxy-protocol", FLAG_STRING, "PREFIX,…", \
			      "load balancers, whose connections begin with a head of the PROXY protocol")) \
	FLAG(METRICS, FLAG_OF("metrics", FLAG_ENDPOINT, "ADDRESS:PORT", \
			      "serve /metrics and /healthz there, without authentication (default off)")) \
	FLAG(CONNECTIONS, FLAG_NUMBER("connections", "NUMBER", 1, 1000000, "most at once (default 8192)")) \
	FLAG(SOURCE, FLAG_NUMBER("source-connections", "NUMBER", 1, 65535, \
				 "most from one address or /64 (default 512)")) \
	FLAG(RATE, FLAG_NUMBER("source-rate", "NUMBER", 1, 100000, \
			       "new connections a second from one address or /64 (default 100)")) \
	FLAG(LOG_LEVEL_FLAG, FLAG_OF("log-level", FLAG_CHOICE, LOG_LEVELS, "(default info)"))
/* clang-format on */

enum { FLAGS(FLAG_ID) FLAG_COUNT };

static const struct flag flags[FLAG_COUNT] = {FLAGS(FLAG_ROW)};

struct process {
	uv_loop_t loop;
	uv_signal_t signals[2];
	struct loop_timer *last;
	struct ingress *ingress;
};

/* each - One item of a list; 0 or negative errno with @err */
typedef int each(struct ingress_config *config, char *item, struct error *err);

/* split() - @text, which is cut up, at each of @separators */
static int split(char *text, const char *separators, each *take, struct ingress_config *config,
		 struct error *err)
{
	char *rest = NULL;
	int r = 0;

	for (char *item = strtok_r(text, separators, &rest); item && r == 0;
	     item = strtok_r(NULL, separators, &rest))
		r = take(config, item, err);
	return r;
}

static int take_listener(struct ingress_config *config, char *item, struct error *err)
{
	struct ingress_listener *listener = &config->listeners[config->listener_count];
	char *public = strchr(item, '='), *end = NULL;
	long port = 0;

	if (config->listener_count == INGRESS_LISTENERS_MAX)
		return error_set(err, -E2BIG, "more than %u listeners", INGRESS_LISTENERS_MAX);
	if (public) {
		*public ++ = 0;
		port = strtol(public, &end, 10);
		if (!*public || *end || port < 1 || port > UINT16_MAX)
			return error_set(err, -EINVAL, "'%s' is not a valid port", public);
	}
	if (endpoint_parse(item, strlen(item), &listener->at) < 0)
		return error_set(err, -EINVAL, "'%s' is not a valid ADDRESS:PORT", item);
	listener->port = (uint16_t)port;
	config->listener_count++;
	return 0;
}

static int take_plain(struct ingress_config *config, char *item, struct error *err)
{
	int r = take_listener(config, item, err);

	if (r == 0)
		config->listeners[config->listener_count - 1].plain = true;
	return r;
}

static int take_map(struct ingress_config *config, char *item, struct error *err)
{
	char *node;

	item += strspn(item, " \t");
	item[strcspn(item, " \t\r")] = 0;
	if (!*item || *item == '#')
		return 0;
	if (config->map_count == INGRESS_MAPS_MAX)
		return error_set(err, -E2BIG, "more than %u names in --map and --map-file",
				 INGRESS_MAPS_MAX);
	node = strchr(item, '=');
	if (!node || node == item || !node[1] || strchr(node + 1, '='))
		return error_set(err, -EINVAL, "'%s' is not NAME=NODE", item);
	*node++ = 0;
	for (char *c = item; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	config->maps[config->map_count++] = (struct ingress_map){item, node};
	return 0;
}

static int take_proxy(struct ingress_config *config, char *item, struct error *err)
{
	if (config->proxy_count == INGRESS_PROXIES_MAX)
		return error_set(err, -E2BIG, "more than %u prefixes in --proxy-protocol",
				 INGRESS_PROXIES_MAX);
	if (prefix_parse(item, strlen(item), &config->proxies[config->proxy_count]) < 0)
		return error_set(err, -EINVAL, "'%s' is not a valid address or prefix", item);
	config->proxy_count++;
	return 0;
}

/* The texts that lists were made of; the configuration points into them. */
struct texts {
	char *listen, *plain, *map, *file, *proxies;
};

static void texts_free(struct texts *texts)
{
	free(texts->listen);
	free(texts->plain);
	free(texts->map);
	free(texts->file);
	free(texts->proxies);
}

static int take_list(const struct flag_value *value, const char *otherwise, const char *name,
		     each *take, struct ingress_config *config, char **ret_text, struct error *err)
{
	const char *text = value->given ? value->text : otherwise;
	int r;

	if (!text)
		return 0;
	*ret_text = strdup(text);
	r = *ret_text ? split(*ret_text, ",", take, config, err)
		      : error_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		error_wrap(err, "--%s", name);
	return r;
}

static int take_map_file(const char *path, struct ingress_config *config, char **ret_text,
			 struct error *err)
{
	int r = small_file_read(path, ret_text, err);

	if (r < 0)
		return r;
	r = split(*ret_text, "\n", take_map, config, err);
	if (r < 0)
		error_wrap(err, "%s", path);
	return r;
}

static int configure(const struct flag_value *v, struct ingress_config *c, struct texts *texts,
		     struct error *err)
{
	const char *variable = getenv("TS_SOCKET");
	int r = take_list(&v[LISTEN], DEFAULT_LISTEN, "listen", take_listener, c, &texts->listen,
			  err);

	if (r == 0)
		r = take_list(&v[PLAIN], NULL, "http", take_plain, c, &texts->plain, err);
	if (r == 0)
		r = take_list(&v[MAP], NULL, "map", take_map, c, &texts->map, err);
	if (r == 0 && v[MAP_FILE].given)
		r = take_map_file(v[MAP_FILE].text, c, &texts->file, err);
	if (r == 0)
		r = take_list(&v[PROXIES], NULL, "proxy-protocol", take_proxy, c, &texts->proxies,
			      err);
	if (r == 0 && v[NO_REDIRECT].on && !v[PLAIN].given)
		r = error_set(err, -EINVAL, "--no-redirect has no effect without --http");
	if (r < 0)
		return r;
	c->socket = v[SOCKET].given         ? v[SOCKET].text
		    : variable && *variable ? variable
					    : DEFAULT_SOCKET;
	c->no_redirect = v[NO_REDIRECT].on;
	c->metrics = v[METRICS].endpoint;
	c->connections = (unsigned int)v[CONNECTIONS].number;
	c->source_connections = (unsigned int)v[SOURCE].number;
	c->source_rate = (unsigned int)v[RATE].number;
	return 0;
}

static void stop(void *user)
{
	uv_stop(&((struct process *)user)->loop);
}

/* on_signal() - The first one lets connections end, the second one ends them */
static void on_signal(uv_signal_t *signal, int number)
{
	static bool again;
	struct process *p = signal->data;

	(void)number;
	if (again) {
		stop(p);
		return;
	}
	again = true;
	loop_timer_at(p->last, clock_boottime() + DRAIN_MOST);
	ingress_drain(p->ingress, stop, p);
}

/* raise_descriptors() - Each connection needs two */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* give_up() - Enter the sandbox; the listeners are open */
static int give_up(const struct ingress_config *config, struct error *err)
{
	_cleanup_free_ char *copy = strdup(config->socket);
	struct sandbox_identity identity;
	struct sandbox_report report;
	int r = copy ? sandbox_identity_for(dirname(copy), &identity, err)
		     : error_set(err, -ENOMEM, "out of memory");

	if (r == 0)
		r = sandbox_enter(&sandbox_profile_ingress, &identity, NULL, 0, &report, err);
	return r < 0 ? r : sandbox_seal(&sandbox_profile_ingress, &report, err);
}

static int start(struct process *p, const struct ingress_config *config, struct error *err)
{
	static const int numbers[] = {SIGTERM, SIGINT};
	char at[ENDPOINT_TEXT_MAX];
	int r;

	if (sodium_init() < 0)
		return error_set(err, -EIO, "libsodium did not start");
	json_object_seed(0);
	raise_descriptors();
	r = uv_loop_init(&p->loop);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uv_signal_init(&p->loop, &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, numbers[i]);
	}
	if (loop_timer_create(&p->loop, stop, p, &p->last) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = ingress_new(&p->loop, config, &p->ingress, err);
	if (r == 0)
		r = give_up(config, err);
	for (size_t i = 0; r == 0 && i < config->listener_count; i++)
		log_info("ingress serves: at=%s%s",
			 endpoint_format(ingress_endpoint(p->ingress, i), at),
			 config->listeners[i].plain ? " (HTTP)" : "");
	return r;
}

static void let_go(struct process *p)
{
	ingress_free(p->ingress);
	loop_timer_free(p->last);
	for (size_t i = 0; i < ARRAY_SIZE(p->signals); i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
	for (int round = 0; round < CLOSING_ROUNDS && uv_loop_alive(&p->loop); round++)
		uv_run(&p->loop, UV_RUN_NOWAIT);
	(void)uv_loop_close(&p->loop);
}

static const char help[] =
	"usage: pillion ingress [FLAG…]\n\n"
	"The public end of Funnel. It shares the network namespace of a pillion node, takes TLS\n"
	"connections from the internet, reads the server name, and passes the bytes on to the\n"
	"node that funnels this name. It holds no TLS key. docs/funnel.md has the whole recipe.\n\n"
	"Examples:\n"
	"  pillion ingress\n"
	"  pillion ingress --http [::]:80 --metrics 127.0.0.1:9100\n"
	"  pillion ingress --map shop.example.com=shop,www.example.com=web\n\n";

int run_ingress(int argc, char **argv)
{
	struct flag_value values[FLAG_COUNT] = {0};
	struct ingress_config config = {0};
	_cleanup_(texts_free) struct texts texts = {0};
	struct process process = {0};
	struct error err;
	int r;

	if (argc > 1 && strcmp(argv[1], "complete") == 0) {
		flags_print_words(flags, FLAG_COUNT);
		return EXIT_SUCCESS;
	}
	if (!flags_of_command("pillion ingress", help, flags, values, FLAG_COUNT, argc - 1,
			      argv + 1, &r))
		return r;
	r = configure(values, &config, &texts, &err);
	if (r < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	log_setup(STDERR_FILENO,
		  values[LOG_LEVEL_FLAG].given ? (enum log_level)values[LOG_LEVEL_FLAG].number
					       : LOG_INFO,
		  LOG_FORMAT_TEXT);
	(void)signal(SIGPIPE, SIG_IGN);
	r = start(&process, &config, &err);
	if (r == 0)
		uv_run(&process.loop, UV_RUN_DEFAULT);
	else
		complain(EXIT_FAILS, "%s", err.text);
	if (process.last)
		let_go(&process);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
