/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/command_serve.c - serve: ports in front of the app, by command
 *
 * Reads the ipn.ServeConfig of the daemon, edits it as the official command does, and sends it back
 * with its ETag, so that two commands at the same time don't undo each other.
 */
#include "app/cli/command.h"
#include "app/cli/output.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVE_CONFIG_PATH "/localapi/v0/serve-config"

/* What a command line edits. */
struct serving {
	struct command_line *line;
	json_t *config, *status; /* owned */
	char etag[UNIX_HTTP_ETAG_MAX];
	char name[PEER_NAME_MAX];     /* of this node */
	char site[PEER_NAME_MAX + 8]; /* NAME:PORT */
	enum serve_flag kind;         /* SERVE_FLAG_HTTPS … */
	char port[8];
	char *mount; /* owned */
};

static const char *kind_name(enum serve_flag kind)
{
	static const char *const names[] = {
		[SERVE_FLAG_HTTPS] = "https",
		[SERVE_FLAG_HTTP] = "http",
		[SERVE_FLAG_TCP] = "tcp",
		[SERVE_FLAG_TLS_TCP] = "tls-terminated-tcp",
	};

	return names[kind];
}

static bool is_web(enum serve_flag kind)
{
	return kind == SERVE_FLAG_HTTPS || kind == SERVE_FLAG_HTTP;
}

static int load(struct serving *s, struct error *err)
{
	const char *socket = localapi_socket_path(s->line->socket);
	int r = localapi_call_tagged(socket, "GET", SERVE_CONFIG_PATH, NULL, s->etag, &s->config,
				     err);

	if (r == 0)
		r = localapi_status(socket, false, &s->status, err);
	if (r < 0)
		return r;
	if (!json_is_object(s->config))
		return error_set(err, -EBADMSG, "the daemon's serve configuration is no object");
	peer_name(json_object_get(s->status, "Self"), s->name);
	return 0;
}

static int store(struct serving *s, const json_t *config, struct error *err)
{
	return localapi_call_tagged(localapi_socket_path(s->line->socket), "POST",
				    SERVE_CONFIG_PATH, config, s->etag, NULL, err);
}

static void unload(struct serving *s)
{
	json_decref(s->config);
	json_decref(s->status);
	free(s->mount);
}

/* --- status --- */

static void print_handlers(const json_t *handlers)
{
	static const char *const kinds[] = {"Proxy", "Text", "Redirect", "Path"};
	static const char *const words[] = {"proxy", "text", "redirect", "path"};
	const char *mount;
	json_t *handler;

	json_object_foreach((json_t *)(uintptr_t)handlers, mount, handler) {
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
			if (*text_of(handler, kinds[i]))
				print_line(stdout, "|-- %s %s %s", mount, words[i],
					   text_of(handler, kinds[i]));
	}
}

/* print_site() - The URL of a site, and what its mounts lead to */
static void print_site(const json_t *config, const char *site, const json_t *web)
{
	const char *colon = strrchr(site, ':');
	const char *port = colon ? colon + 1 : "";
	const json_t *tcp = json_object_get(json_object_get(config, "TCP"), port);
	bool tls = json_is_true(json_object_get(tcp, "HTTPS"));
	bool usual = strcmp(port, tls ? "443" : "80") == 0;

	print_line(stdout, "%s://%.*s/ (tailnet only)", tls ? "https" : "http",
		   (int)(usual && colon ? (size_t)(colon - site) : strlen(site)), site);
	print_handlers(json_object_get(web, "Handlers"));
}

static void print_forward(const char *name, const char *port, const json_t *tcp)
{
	print_line(stdout, "tcp://%s:%s (%stailnet only)", name, port,
		   *text_of(tcp, "TerminateTLS") ? "TLS-terminated TCP, " : "");
	print_line(stdout, "|--> tcp://%s", text_of(tcp, "TCPForward"));
}

static void print_all(const struct serving *s)
{
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(s->config, "Web"), key, value)
		print_site(s->config, key, value);
	json_object_foreach(json_object_get(s->config, "TCP"), key, value) {
		if (*text_of(value, "TCPForward"))
			print_forward(s->name, key, value);
	}
}

static int show(struct serving *s)
{
	struct error err = {0};

	if (load(s, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	if (s->line->own[SERVE_FLAG_JSON].on)
		print_json(s->config);
	else if (json_object_size(json_object_get(s->config, "TCP")) == 0)
		printf("No serve config\n");
	else
		print_all(s);
	return EXIT_OK;
}

static int reset(struct serving *s)
{
	_cleanup_json_ json_t *nothing = json_object();
	struct error err = {0};

	if (store(s, nothing, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	return EXIT_OK;
}

/* --- what the flags name --- */

/* read_port() - The one port flag; HTTPS at 443 without any */
static int read_port(struct serving *s, struct error *err)
{
	unsigned int given = 0;
	int64_t port = 443;

	s->kind = SERVE_FLAG_HTTPS;
	for (enum serve_flag kind = SERVE_FLAG_HTTPS; kind <= SERVE_FLAG_TLS_TCP; kind++)
		if (s->line->own[kind].given) {
			given++;
			s->kind = kind;
			port = s->line->own[kind].number;
		}
	snprintf(s->port, sizeof(s->port), "%u", (unsigned int)(uint16_t)port);
	return given <= 1 ? 0
			  : error_set(err, -EINVAL,
				      "name only one of --https, --http, --tcp and "
				      "--tls-terminated-tcp");
}

static int read_mount(struct serving *s, struct error *err)
{
	const struct flag_value *path = &s->line->own[SERVE_FLAG_SET_PATH];
	const char *text = path->given && *path->text ? path->text : "/";

	if (path->given && !is_web(s->kind))
		return error_set(err, -EINVAL, "--set-path is for --https and --http");
	if (asprintf(&s->mount, "%s%s", *text == '/' ? "" : "/", text) < 0) {
		s->mount = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (strstr(s->mount, "//") || strstr(s->mount, "/./") || strstr(s->mount, "/../"))
		return error_set(err, -EINVAL, "--set-path: invalid mount point \"%s\"", s->mount);
	return 0;
}

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

/* web_handler() - ipn.HTTPHandler for @target */
static json_t *web_handler(const char *target, struct error *err)
{
	if (strncmp(target, "text:", 5) == 0)
		return json_pack("{s:s}", "Text", target + 5);
	if (*target == '/') {
		error_set(err, -EOPNOTSUPP,
			  "serving files is not supported yet; name a web server as target");
		return NULL;
	}
	if (is_number(target))
		return json_pack("{s:s+}", "Proxy", "http://127.0.0.1:", target);
	if (strstr(target, "://") || strncmp(target, "unix:", 5) == 0)
		return json_pack("{s:s}", "Proxy", target);
	return json_pack("{s:s+}", "Proxy", "http://", target);
}

static json_t *forward(const struct serving *s, const char *target)
{
	const struct flag_value *version = &s->line->own[SERVE_FLAG_PROXY_PROTOCOL];
	json_t *tcp;

	if (strncmp(target, "tcp://", 6) == 0)
		target += 6;
	tcp = json_pack("{s:s+}", "TCPForward", is_number(target) ? "127.0.0.1:" : "", target);
	if (s->kind == SERVE_FLAG_TLS_TCP)
		json_object_set_new(tcp, "TerminateTLS", json_string(s->name));
	if (version->given && version->number > 0)
		json_object_set_new(tcp, "ProxyProtocol", json_integer(version->number));
	return tcp;
}

/* member() - The object @name of @object, made if it isn't there; borrowed */
static json_t *member(json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	if (json_is_object(value))
		return value;
	json_object_set_new(object, name, json_object());
	return json_object_get(object, name);
}

/* same_mount() - "/foo" and "/foo/" are one */
static bool same_mount(const char *a, const char *b)
{
	size_t long_a = strlen(a), long_b = strlen(b);

	while (long_a > 0 && a[long_a - 1] == '/')
		long_a--;
	while (long_b > 0 && b[long_b - 1] == '/')
		long_b--;
	return long_a == long_b && strncmp(a, b, long_a) == 0;
}

/* --- changes --- */

static int set_web(struct serving *s, const char *target, struct error *err)
{
	json_t *tcp = member(s->config, "TCP"), *handler = web_handler(target, err), *handlers;
	json_t *used = json_object_get(tcp, s->port);
	const char *mount;
	json_t *value;
	void *next;

	if (!handler)
		return err->code ? err->code : error_set(err, -ENOMEM, "out of memory");
	if (*text_of(used, "TCPForward")) {
		json_decref(handler);
		return error_set(err, -EINVAL,
				 "cannot serve web; already serving TCP on port %s, which "
				 "'pillion serve --tcp=%s off' ends",
				 s->port, s->port);
	}
	json_object_set_new(tcp, s->port,
			    json_pack("{s:b}", s->kind == SERVE_FLAG_HTTPS ? "HTTPS" : "HTTP", 1));
	handlers = member(member(member(s->config, "Web"), s->site), "Handlers");
	json_object_foreach_safe(handlers, next, mount, value) {
		if (same_mount(mount, s->mount))
			(void)json_object_del(handlers, mount);
	}
	json_object_set_new(handlers, s->mount, handler);
	return 0;
}

static int set_tcp(struct serving *s, const char *target, struct error *err)
{
	json_t *tcp = member(s->config, "TCP");
	const json_t *used = json_object_get(tcp, s->port);

	if (used && !*text_of(used, "TCPForward"))
		return error_set(err, -EINVAL, "cannot serve TCP; already serving web on port %s",
				 s->port);
	return json_object_set_new(tcp, s->port, forward(s, target)) < 0
		       ? error_set(err, -ENOMEM, "out of memory")
		       : 0;
}

static int remove_web(struct serving *s, struct error *err)
{
	json_t *web = json_object_get(s->config, "Web");
	json_t *handlers = json_object_get(json_object_get(web, s->site), "Handlers");
	size_t before = json_object_size(handlers);
	const char *mount;
	json_t *value;
	void *next;

	if (*text_of(json_object_get(json_object_get(s->config, "TCP"), s->port), "TCPForward"))
		return error_set(err, -EINVAL, "cannot remove web handler; currently serving TCP");
	if (!s->line->own[SERVE_FLAG_SET_PATH].given) {
		if (before > 1 && !s->line->own[SERVE_FLAG_YES].on)
			return error_set(err, -EINVAL,
					 "this would delete %zu handlers under port %s: add --yes, "
					 "or name one with --set-path",
					 before, s->port);
		json_object_clear(handlers);
	}
	json_object_foreach_safe(handlers, next, mount, value) {
		if (same_mount(mount, s->mount))
			(void)json_object_del(handlers, mount);
	}
	if (json_object_size(handlers) == before)
		return error_set(err, -ENOENT,
				 "handler does not exist; 'pillion serve status' lists them");
	if (json_object_size(handlers) == 0) {
		(void)json_object_del(web, s->site);
		(void)json_object_del(json_object_get(s->config, "TCP"), s->port);
	}
	return 0;
}

static int remove_tcp(struct serving *s, struct error *err)
{
	json_t *tcp = json_object_get(s->config, "TCP");

	if (!*text_of(json_object_get(tcp, s->port), "TCPForward"))
		return error_set(err, -ENOENT,
				 "no TCP is served on port %s; 'pillion serve status' lists ports",
				 s->port);
	(void)json_object_del(tcp, s->port);
	return 0;
}

static void print_done(const struct serving *s)
{
	const json_t *tcp = json_object_get(json_object_get(s->config, "TCP"), s->port);

	printf("Available within your tailnet:\n\n");
	if (is_web(s->kind))
		print_site(s->config, s->site,
			   json_object_get(json_object_get(s->config, "Web"), s->site));
	else
		print_forward(s->name, s->port, tcp);
	printf("\nServe started and running in the background.\n"
	       "To disable the proxy, run: pillion serve --%s=%s off\n",
	       kind_name(s->kind), s->port);
}

/* change() - Set @target, or NULL: turn it off */
static int change(struct serving *s, const char *target)
{
	bool web, off = !target;
	struct error err = {0};
	int r = read_port(s, &err);

	web = is_web(s->kind);
	if (r == 0)
		r = read_mount(s, &err);
	if (r == 0 && web && s->line->own[SERVE_FLAG_PROXY_PROTOCOL].given)
		r = error_set(&err, -EINVAL,
			      "--proxy-protocol is for --tcp and "
			      "--tls-terminated-tcp");
	if (r < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	r = load(s, &err);
	if (r == 0 && !*text_of(json_object_get(s->status, "Self"), "DNSName"))
		r = error_set(&err, -ENODATA,
			      "the node has no name in a tailnet yet; log in with 'pillion up'");
	if (r == 0) {
		snprintf(s->site, sizeof(s->site), "%s:%s", s->name, s->port);
		r = off ? (web ? remove_web : remove_tcp)(s, &err)
			: (web ? set_web : set_tcp)(s, target, &err);
	}
	if (r == 0)
		r = store(s, s->config, &err);
	if (r < 0)
		return complain(EXIT_FAILS, "%s%s", err.text,
				r == -ESTALE
					? ": another client changed the serve configuration at "
					  "the same time; try again"
					: "");
	if (!off)
		print_done(s);
	return EXIT_OK;
}

int run_serve(struct command_line *line)
{
	_cleanup_(unload) struct serving s = {.line = line};
	const char *first = line->rest_count > 0 ? line->rest[0] : "";
	const char *last = line->rest_count > 0 ? line->rest[line->rest_count - 1] : "";

	if (line->rest_count == 1 && strcmp(first, "status") == 0)
		return show(&s);
	if (line->rest_count == 1 && strcmp(first, "reset") == 0)
		return reset(&s);
	if (line->rest_count <= 2 && strcmp(last, "off") == 0)
		return change(&s, NULL);
	if (line->rest_count != 1)
		return complain(EXIT_USAGE,
				"name one target: pillion serve --bg 8080; 'pillion serve --help' "
				"has more");
	if (!line->own[SERVE_FLAG_BG].on)
		return complain(EXIT_FAILS,
				"serving in the foreground is not supported yet: add --bg. The "
				"port is served then until 'pillion serve … off'");
	return change(&s, first);
}
