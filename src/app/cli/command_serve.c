/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/command_serve.c - serve and funnel: ports in front of the app, by command
 *
 * Reads the ipn.ServeConfig of the daemon, edits it as the official command does, and sends it back
 * with its ETag, so that two commands at the same time don't undo each other.
 *
 * In the foreground the command follows the bus of the daemon, and what it sets belongs to this
 * session: the daemon ends it with the connection, however the command ends.
 */
#include "app/cli/command.h"
#include "app/cli/output.h"
#include "app/cli/serve_output.h"
#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVE_CONFIG_PATH "/localapi/v0/serve-config"
#define SESSION_PATH      "/localapi/v0/watch-ipn-bus?mask=2"
#define SESSION_WAIT_MS   5000

/* What a command line edits. */
struct serving {
	struct command_line *line;
	bool funnel;             /* let the internet in too */
	json_t *config, *status; /* owned */
	json_t *part;            /* of @config, that is edited: the whole, or that of our session */
	struct unix_http session; /* in the foreground */
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

static const char *command_name(const struct serving *s)
{
	return s->funnel ? "funnel" : "serve";
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
	s->part = s->config;
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
	unix_http_close(&s->session);
}

/* --- status --- */

static int show(struct serving *s)
{
	struct error err = {0};

	if (load(s, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	if (s->line->own[SERVE_FLAG_JSON].on)
		print_json(s->config);
	else if (json_object_size(json_object_get(s->config, "TCP")) == 0 &&
		 json_object_size(json_object_get(s->config, "Foreground")) == 0 &&
		 json_object_size(json_object_get(s->config, "Services")) == 0)
		printf("No serve config\n");
	else
		serve_print_status(s->config, s->status);
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
	if (s->funnel && port != 443 && port != 8443 && port != 10000)
		return error_set(err, -EINVAL,
				 "port %s is not allowed for funnel; allowed ports are: "
				 "443,8443,10000",
				 s->port);
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

/* clean_path() - @path without "." and ".." and double slashes, as Go's filepath.Clean */
static void clean_path(const char *path, char out[static PATH_MAX])
{
	size_t length = 0;

	while (*path) {
		size_t part = strcspn(path, "/");

		if (part == 2 && path[0] == '.' && path[1] == '.') {
			while (length > 0 && out[--length] != '/')
				;
		} else if (part > 0 && !(part == 1 && *path == '.') &&
			   length + part + 2 < PATH_MAX) {
			out[length++] = '/';
			memcpy(out + length, path, part);
			length += part;
		}
		path += part + (path[part] == '/');
	}
	if (length == 0)
		out[length++] = '/';
	out[length] = 0;
}

/* path_handler() - For a file or folder; the mount of a folder ends with '/', for its links */
static json_t *path_handler(struct serving *s, const char *target, struct error *err)
{
	char path[PATH_MAX];
	struct stat what;

	clean_path(target, path);
	if (stat(path, &what) < 0) {
		error_set_errno(err, -errno, "invalid path %s", path);
		return NULL;
	}
	if (S_ISDIR(what.st_mode) && s->mount[strlen(s->mount) - 1] != '/') {
		char *mount;

		if (asprintf(&mount, "%s/", s->mount) < 0)
			return NULL;
		free(s->mount);
		s->mount = mount;
	}
	return json_pack("{s:s}", "Path", path);
}

static bool is_capability(const char *name)
{
	const char *slash = strchr(name, '/');
	bool dot = false;

	if (!slash || slash == name || !slash[1] || *name == '.' || slash[-1] == '.')
		return false;
	for (const char *at = name; *at; at++) {
		dot |= *at == '.' && at < slash;
		if (!isalnum((unsigned char)*at) && (unsigned char)*at < 0x80 &&
		    !strchr(at < slash ? "-." : "-/", *at))
			return false;
	}
	return dot && !strstr(name, "..");
}

/* put_capabilities() - AcceptAppCaps of --accept-app-caps, names separated by commas */
static int put_capabilities(const struct serving *s, json_t *handler, struct error *err)
{
	const struct flag_value *flag = &s->line->own[SERVE_FLAG_APP_CAPS];
	_cleanup_free_ char *text = flag->given ? strdup(flag->text) : NULL;
	char *rest = text, *name;

	while (rest && (name = strsep(&rest, ","))) {
		name += strspn(name, " ");
		name[strcspn(name, " ")] = 0;
		if (!is_capability(name))
			return error_set(err, -EINVAL,
					 "\"%s\" does not match the form {domain}/{name}, where "
					 "domain must be a fully qualified domain name",
					 name);
		if (!json_object_get(handler, "AcceptAppCaps"))
			json_object_set_new(handler, "AcceptAppCaps", json_array());
		json_array_append_new(json_object_get(handler, "AcceptAppCaps"), json_string(name));
	}
	return 0;
}

/* web_handler() - ipn.HTTPHandler for @target */
static json_t *web_handler(struct serving *s, const char *target, struct error *err)
{
	json_t *handler;

	if (strcmp(target, "text:") == 0) {
		error_set(err, -EINVAL, "unable to serve; text cannot be an empty string");
		return NULL;
	}
	if (strncmp(target, "text:", 5) == 0)
		return json_pack("{s:s}", "Text", target + 5);
	if (*target == '/')
		return path_handler(s, target, err);
	if (is_number(target))
		handler = json_pack("{s:s+}", "Proxy", "http://127.0.0.1:", target);
	else if (strstr(target, "://") || strncmp(target, "unix:", 5) == 0)
		handler = json_pack("{s:s}", "Proxy", target);
	else if (!strchr(target, ':') &&
		 error_set(err, -EINVAL,
			   "\"%s\" is not a valid target: write a port, "
			   "HOST:PORT, a URL, /PATH, unix:/PATH or text:TEXT",
			   target))
		return NULL;
	else
		handler = json_pack("{s:s+}", "Proxy", "http://", target);
	if (handler && put_capabilities(s, handler, err) < 0) {
		json_decref(handler);
		return NULL;
	}
	return handler;
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

/* set_funnel() - Whether the internet reaches the port of the flags */
static void set_funnel(const struct serving *s, bool on)
{
	json_t *allowed = json_object_get(s->part, "AllowFunnel");

	if (on) {
		json_object_set_new(member(s->part, "AllowFunnel"), s->site, json_true());
		return;
	}
	(void)json_object_del(allowed, s->site);
	if (json_object_size(allowed) == 0)
		(void)json_object_del(s->part, "AllowFunnel");
}

static int set_web(struct serving *s, const char *target, struct error *err)
{
	json_t *tcp = member(s->part, "TCP"), *handler = web_handler(s, target, err), *handlers;
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
	handlers = member(member(member(s->part, "Web"), s->site), "Handlers");
	json_object_foreach_safe(handlers, next, mount, value) {
		if (same_mount(mount, s->mount))
			(void)json_object_del(handlers, mount);
	}
	json_object_set_new(handlers, s->mount, handler);
	return 0;
}

static int set_tcp(struct serving *s, const char *target, struct error *err)
{
	json_t *tcp = member(s->part, "TCP");
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
		/* A script is not asked, as by the official command. */
		if (before > 1 && !s->line->own[SERVE_FLAG_YES].on && isatty(STDIN_FILENO))
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
		set_funnel(s, false);
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
	set_funnel(s, false);
	return 0;
}

static void print_done(const struct serving *s, bool foreground)
{
	printf(s->funnel ? "Available on the internet:\n\n" : "Available within your tailnet:\n\n");
	serve_print_done(s->part, s->status, s->site, s->port);
	if (foreground)
		printf("Press Ctrl+C to exit.\n");
	else
		printf("%s started and running in the background.\n"
		       "To disable the proxy, run: pillion %s --%s=%s off\n",
		       s->funnel ? "Funnel" : "Serve", command_name(s), kind_name(s->kind),
		       s->port);
	(void)fflush(stdout);
}

/* --- the foreground --- */

static void on_interrupt(int number)
{
	(void)number;
	_exit(EXIT_OK); /* the daemon notices the end of the connection */
}

/* begin_session() - Edit what belongs to a session of ours, from now on */
static int begin_session(struct serving *s, struct error *err)
{
	_cleanup_json_ json_t *first = NULL;
	const char *id;
	int r = localapi_stream_open(localapi_socket_path(s->line->socket), SESSION_PATH,
				     &s->session, err);

	if (r < 0)
		return r;
	r = localapi_stream_next(&s->session, SESSION_WAIT_MS, &first);
	id = r > 0 ? text_of(first, "SessionID") : "";
	if (!*id)
		return error_set(err, -EBADMSG, "the daemon gave no session: missing SessionID");
	s->part = member(member(s->config, "Foreground"), id);
	return 0;
}

/* follow_session() - Until Ctrl-C, or the daemon's end of the session; exit code */
static int follow_session(struct serving *s)
{
	json_t *message;
	int r;

	(void)signal(SIGINT, on_interrupt);
	while ((r = localapi_stream_next(&s->session, -1, &message)) > 0)
		json_decref(message);
	if (s->session.ended) /* by `serve reset`, or by another change that lacks it */
		return EXIT_OK;
	return complain(EXIT_FAILS,
			"the connection to the daemon broke: %s. The port is not "
			"served any more",
			strerror(-r));
}

/* change() - Set @target, or NULL: turn it off */
static int change(struct serving *s, const char *target)
{
	bool web, off = !target, foreground = target && !s->line->own[SERVE_FLAG_BG].on;
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
	if (r == 0 && foreground)
		r = begin_session(s, &err);
	if (r == 0) {
		snprintf(s->site, sizeof(s->site), "%s:%s", s->name, s->port);
		r = off ? (web ? remove_web : remove_tcp)(s, &err)
			: (web ? set_web : set_tcp)(s, target, &err);
	}
	if (r == 0 && !off) {
		if (!s->funnel && json_object_get(json_object_get(s->part, "AllowFunnel"), s->site))
			print_line(stderr, "Removing Funnel for %s", s->site);
		set_funnel(s, s->funnel);
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
		print_done(s, foreground);
	return foreground ? follow_session(s) : EXIT_OK;
}

static int run(struct command_line *line, bool funnel)
{
	static const char *const later[] = {"advertise", "drain", "clear", "get-config",
					    "set-config"};
	_cleanup_(unload) struct serving s = {.line = line, .funnel = funnel, .session.fd = -1};
	const char *first = line->rest_count > 0 ? line->rest[0] : "";
	const char *last = line->rest_count > 0 ? line->rest[line->rest_count - 1] : "";

	if (line->rest_count == 1 && strcmp(first, "status") == 0)
		return show(&s);
	if (line->rest_count == 1 && strcmp(first, "reset") == 0)
		return reset(&s);
	for (size_t i = 0; i < ARRAY_SIZE(later); i++)
		if (strcmp(first, later[i]) == 0)
			return complain(EXIT_FAILS,
					"'serve %s' is for Services, which are not supported yet: "
					"serve ports of this node",
					first);
	if (funnel && line->rest_count == 2 && is_number(first) && strcmp(last, "off") == 0)
		return complain(EXIT_USAGE,
				"'funnel PORT off' has another meaning in old versions of the "
				"official command: write 'pillion funnel --https=%s off'",
				first);
	if (line->rest_count >= 1 && line->rest_count <= 2 && strcmp(last, "off") == 0)
		return change(&s, NULL);
	if (line->rest_count != 1)
		return complain(EXIT_USAGE,
				"name one target: pillion %s 8080; 'pillion %s --help' has more",
				command_name(&s), command_name(&s));
	return change(&s, first);
}

int run_serve(struct command_line *line)
{
	return run(line, false);
}

int run_funnel(struct command_line *line)
{
	return run(line, true);
}
