/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/serve_config.c - which ports a node serves, and what stands behind them (ipn.ServeConfig) */
#include "wire/serve_config.h"

#include "base/address.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX  253u
#define WHERE_MAX 320u /* "Web.HOST:PORT.Handlers./mount" */

/* struct parse - A text that is being read; `where` names the member for messages */
struct parse {
	struct serve_config *config;
	struct error *err;
	char where[WHERE_MAX];
};

void serve_config_warn(struct serve_config *config, const char *text)
{
	size_t used = strlen(config->warnings);

	snprintf(config->warnings + used, SERVE_WARNINGS_MAX - used, "%s%s", used ? "\n" : "",
		 text);
}

static int refuse(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct parse *p, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(p->err, -EINVAL, "%s%s%s", p->where, p->where[0] ? ": " : "", text);
}

static void warn(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct parse *p, const char *format, ...)
{
	char text[256], line[WHERE_MAX + sizeof(text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(line, sizeof(line), "%s%s%s", p->where, p->where[0] ? ": " : "", text);
	serve_config_warn(p->config, line);
}

/* enter() - Name the member that is read now */
static void enter(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void enter(struct parse *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->where, sizeof(p->where), format, args);
	va_end(args);
}

/* append() - A zeroed item behind @count others of @size bytes; NULL without memory */
static void *append(void **items, size_t *count, size_t size)
{
	char *more = reallocarray(*items, *count + 1, size);

	if (!more)
		return NULL;
	*items = more;
	return memset(more + (*count)++ * size, 0, size);
}

#define APPEND(items, count) append((void **)&(items), &(count), sizeof(*(items)))

/* port_of() - "443"; 0 for anything else */
static uint16_t port_of(const char *text)
{
	unsigned long port;
	char *end;

	if (!isdigit((unsigned char)*text))
		return 0;
	errno = 0;
	port = strtoul(text, &end, 10);
	return *end || errno || port > UINT16_MAX ? 0 : (uint16_t)port;
}

/* split_port() - "host:443" or "[::1]:443" to @ret_host (a copy, without brackets) and its port */
static int split_port(const char *text, size_t length, char **ret_host, uint16_t *ret_port)
{
	const char *colon = memrchr(text, ':', length), *end = colon;
	_cleanup_free_ char *port = NULL;

	if (!colon || colon == text)
		return -EINVAL;
	port = strndup(colon + 1, length - (size_t)(colon + 1 - text));
	if (!port)
		return -ENOMEM;
	*ret_port = port_of(port);
	if (*text == '[' && end[-1] == ']') {
		text++;
		end--;
	} else if (memchr(text, ':', (size_t)(end - text))) {
		return -EINVAL; /* an IPv6 address without brackets */
	}
	if (*ret_port == 0 || end == text)
		return -EINVAL;
	*ret_host = strndup(text, (size_t)(end - text));
	return *ret_host ? 0 : -ENOMEM;
}

static bool host_is_valid(const char *host)
{
	if (!*host || strlen(host) > HOST_MAX)
		return false;
	for (; *host; host++)
		if (!isalnum((unsigned char)*host) && !strchr(".-_:", *host))
			return false;
	return true;
}

static void lower(char *host)
{
	for (; *host; host++)
		*host = (char)tolower((unsigned char)*host);
}

static void target_free(struct serve_target *target)
{
	free(target->text);
	free(target->host);
	free(target->path);
	*target = (struct serve_target){0};
}

/* add_target() - The index of @target, which becomes the configuration's; or negative errno */
static int add_target(struct parse *p, struct serve_target *target, unsigned int *ret)
{
	struct serve_config *config = p->config;
	struct serve_target *slot;

	for (unsigned int i = 0; i < config->target_count; i++) {
		const struct serve_target *other = &config->targets[i];

		if (other->port == target->port && other->security == target->security &&
		    text_equal(other->host, target->host) &&
		    text_equal(other->path, target->path)) {
			target_free(target);
			*ret = i;
			return 0;
		}
	}
	if (config->target_count >= SERVE_TARGETS_MAX)
		return refuse(p, "more than %u different targets", SERVE_TARGETS_MAX);
	slot = APPEND(config->targets, config->target_count);
	if (!slot)
		return -ENOMEM;
	*slot = *target;
	*target = (struct serve_target){0};
	*ret = (unsigned int)config->target_count - 1;
	return 0;
}

/* clean_path() - An absolute path without "." and double slashes; NULL for another, or one with ".." */
static char *clean_path(const char *path)
{
	char out[SERVE_PATH_MAX];
	size_t length = 0;

	if (*path != '/')
		return NULL;
	while (*path) {
		size_t part = strcspn(path, "/");

		if ((part == 2 && path[0] == '.' && path[1] == '.') ||
		    length + part + 2 > sizeof(out))
			return NULL;
		if (part > 0 && !(part == 1 && *path == '.')) {
			out[length++] = '/';
			memcpy(out + length, path, part);
			length += part;
		}
		path += part + (path[part] == '/');
	}
	if (length == 0)
		out[length++] = '/';
	return strndup(out, length);
}

/* add_path() - The index of a file or folder; or negative errno */
static int add_path(struct parse *p, const char *text, unsigned int *ret)
{
	struct serve_config *config = p->config;
	_cleanup_free_ char *path = clean_path(text);
	char **slot;

	if (!path)
		return refuse(p,
			      "Path must be absolute, without \"..\", and shorter than %u "
			      "characters, as \"/srv/www\"",
			      SERVE_PATH_MAX);
	for (unsigned int i = 0; i < config->path_count; i++)
		if (strcmp(config->paths[i], path) == 0) {
			*ret = i;
			return 0;
		}
	if (config->path_count >= SERVE_PATHS_MAX)
		return refuse(p, "more than %u different paths", SERVE_PATHS_MAX);
	slot = APPEND(config->paths, config->path_count);
	if (!slot)
		return -ENOMEM;
	*slot = TAKE_PTR(path);
	*ret = (unsigned int)config->path_count - 1;
	return 0;
}

/* unix_target() - "/path", as it stands behind "unix:" */
static int unix_target(struct parse *p, const char *path, struct serve_target *target)
{
	target->path = clean_path(path);
	return target->path ? 0
			    : refuse(p,
				     "\"%s\" is not a valid socket: write unix:/PATH, an absolute "
				     "path without \"..\"",
				     target->text);
}

static void target_cleanup(struct serve_target *target)
{
	target_free(target);
}

/*
 * read_target() - What Proxy and TCPForward name
 * @web:      Proxy: a URL, "host:port" or "port"; else "host:port" or "port"
 * @ret_base: Proxy: the URL's path, without a '/' at its end
 */
static int read_target(struct parse *p, const char *text, bool web, unsigned int *ret,
		       char **ret_base)
{
	static const struct {
		const char *prefix;
		enum serve_security security;
		uint16_t port;
	} schemes[] = {
		{"http://", SERVE_PLAIN, 80},
		{"https://", SERVE_TLS, 443},
		{"https+insecure://", SERVE_TLS_INSECURE, 443},
		{"h2c://", SERVE_H2C, 80},
	};
	_cleanup_(target_cleanup) struct serve_target target = {.text = strdup(text)};
	const char *rest = text, *slash = "";
	uint16_t port = port_of(text), usual = web ? 80 : 0;
	size_t length;
	int r;

	if (!target.text)
		return -ENOMEM;
	if (strncmp(text, "unix:", 5) == 0) {
		r = unix_target(p, text + 5, &target);
		if (r == 0 && web && !(*ret_base = strdup("")))
			r = -ENOMEM;
		return r < 0 ? r : add_target(p, &target, ret);
	}
	for (size_t i = 0; web && i < ARRAY_SIZE(schemes); i++)
		if (strncasecmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
			rest = text + strlen(schemes[i].prefix);
			target.security = schemes[i].security;
			usual = schemes[i].port;
		}
	length = strcspn(rest, web ? "/?#" : "");
	if (web) {
		slash = rest + length;
		if (*slash && strpbrk(slash, "?# "))
			return refuse(p, "\"%s\": a target has no query and no fragment", text);
	}
	if (port != 0) {
		target.host = strdup("127.0.0.1");
		target.port = port;
		slash = "";
	} else if (split_port(rest, length, &target.host, &target.port) < 0 && usual != 0 &&
		   length > 0 && !memchr(rest, ':', length)) {
		target.host = strndup(rest, length);
		target.port = usual;
	}
	if (!target.host || !host_is_valid(target.host))
		return refuse(p, "\"%s\" is not a valid target: write %s", text,
			      web ? "http://127.0.0.1:8080, h2c://127.0.0.1:8080, "
				    "https://HOST:PORT, https+insecure://HOST:PORT or unix:/PATH"
				  : "127.0.0.1:5432 or unix:/PATH");
	if (web) {
		*ret_base = strdup(strcmp(slash, "/") == 0 ? "" : slash);
		if (!*ret_base)
			return -ENOMEM;
	}
	return add_target(p, &target, ret);
}

/* text_of() - The member @name, if it is a text that is not empty; else NULL. -EINVAL by @result */
static const char *text_of(struct parse *p, const json_t *object, const char *name, int *result)
{
	const json_t *value = json_object_get(object, name);

	if (!value || json_is_null(value))
		return NULL;
	if (!json_is_string(value)) {
		*result = refuse(p, "%s must be a text in quotes", name);
		return NULL;
	}
	return *json_string_value(value) ? json_string_value(value) : NULL;
}

static bool flag_of(struct parse *p, const json_t *object, const char *name, int *result)
{
	const json_t *value = json_object_get(object, name);

	if (value && !json_is_null(value) && !json_is_boolean(value))
		*result = refuse(p, "%s must be true or false", name);
	return json_is_true(value);
}

/* object_of() - The member @name, an empty object if it is absent; NULL with @result set */
static json_t *object_of(struct parse *p, json_t *object, const char *name, int *result)
{
	json_t *value = json_object_get(object, name);

	if (!value || json_is_null(value))
		return NULL;
	if (json_is_object(value))
		return value;
	*result = refuse(p, "%s must be an object: {…}", name);
	return NULL;
}

/* check_members() - Warn of members that are not in @known, a list that ends with NULL */
static void check_members(struct parse *p, json_t *object, const char *const *known)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value) {
		const char *const *at = known;

		while (*at && strcmp(*at, name) != 0)
			at++;
		if (!*at)
			warn(p, "unknown member \"%.60s\" is ignored (is it a typing error?)",
			     name);
	}
}

/* --- TCP --- */

static int read_forward(struct parse *p, json_t *json, const char *to, struct serve_port *port)
{
	const json_t *version = json_object_get(json, "ProxyProtocol");
	int r = 0;
	const char *name = text_of(p, json, "TerminateTLS", &r);

	port->protocol = name ? SERVE_TLS_TCP : SERVE_TCP;
	if (version && !json_is_null(version)) {
		json_int_t number = json_integer_value(version);

		if (!json_is_integer(version) || number < 0 || number > 2)
			return refuse(p, "ProxyProtocol must be 0, 1 or 2");
		port->proxy_line = (unsigned int)number;
	}
	if (name && !(port->server_name = strdup(name)))
		return -ENOMEM;
	return r < 0 ? r : read_target(p, to, false, &port->target, NULL);
}

static int read_port(struct parse *p, const char *key, json_t *json)
{
	static const char *const known[] = {"HTTPS",        "HTTP",          "TCPForward",
					    "TerminateTLS", "ProxyProtocol", NULL};
	struct serve_port *port;
	bool https, http;
	const char *to;
	int r = 0;

	enter(p, "TCP.%.40s", key);
	if (port_of(key) == 0)
		return refuse(p, "\"%.40s\" is not a valid port: write a number from 1 to 65535",
			      key);
	if (!json_is_object(json))
		return refuse(p, "a port needs an object, as {\"HTTPS\": true}");
	https = flag_of(p, json, "HTTPS", &r);
	http = flag_of(p, json, "HTTP", &r);
	to = text_of(p, json, "TCPForward", &r);
	if (r < 0)
		return r;
	if (https + http + (to != NULL) != 1)
		return refuse(p, "a port serves exactly one of HTTPS, HTTP and TCPForward");
	check_members(p, json, known);
	if (serve_config_port(p->config, port_of(key))) {
		warn(p, "not served, since a session in the foreground serves this port");
		return 0;
	}
	port = APPEND(p->config->ports, p->config->port_count);
	if (!port)
		return -ENOMEM;
	port->port = port_of(key);
	port->protocol = https ? SERVE_HTTPS : SERVE_HTTP;
	return to ? read_forward(p, json, to, port) : 0;
}

static int compare_ports(const void *a, const void *b)
{
	return ((const struct serve_port *)a)->port - ((const struct serve_port *)b)->port;
}

/* --- Web --- */

/* read_redirect() - "https://…", or "301:https://…" */
static int read_redirect(struct parse *p, const char *text, struct serve_handler *handler)
{
	handler->status = 302;
	if (text[0] == '3' && isdigit((unsigned char)text[1]) && isdigit((unsigned char)text[2]) &&
	    text[3] == ':') {
		handler->status = 300 + (text[1] - '0') * 10 + (text[2] - '0');
		text += 4;
	}
	if (!*text)
		return refuse(p, "Redirect needs a URL");
	handler->text = strdup(text);
	return handler->text ? 0 : -ENOMEM;
}

static int read_capabilities(struct parse *p, json_t *list, struct serve_handler *handler)
{
	json_t *item;
	size_t i;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return refuse(p, "AcceptAppCaps must be a list of capability names");
	json_array_foreach(list, i, item) {
		char **slot;

		if (!json_is_string(item))
			return refuse(p, "AcceptAppCaps must be a list of capability names");
		slot = APPEND(handler->capabilities, handler->capability_count);
		if (!slot)
			return -ENOMEM;
		*slot = strdup(json_string_value(item));
		if (!*slot)
			return -ENOMEM;
	}
	return 0;
}

/* read_mount() - "/", "/api" or "/api/", stored without the last '/' */
static int read_mount(struct parse *p, const char *mount, struct serve_handler *handler)
{
	size_t length = strlen(mount);

	if (*mount != '/')
		return refuse(p, "a mount begins with \"/\"");
	while (length > 1 && mount[length - 1] == '/')
		length--;
	handler->slash = length < strlen(mount);
	handler->mount = strndup(mount, length);
	return handler->mount ? 0 : -ENOMEM;
}

static int read_handler(struct parse *p, struct serve_site *site, const char *mount, json_t *json)
{
	static const char *const known[] = {"Path",     "Proxy",         "Text",
					    "Redirect", "AcceptAppCaps", NULL};
	const char *path, *proxy, *text, *redirect;
	struct serve_handler *handler;
	int r = 0;

	enter(p, "Web.%.200s:%u.Handlers.%.60s", site->host, site->port, mount);
	if (!json_is_object(json))
		return refuse(p,
			      "a handler is an object, as {\"Proxy\": \"http://127.0.0.1:8080\"}");
	path = text_of(p, json, "Path", &r);
	proxy = text_of(p, json, "Proxy", &r);
	text = text_of(p, json, "Text", &r);
	redirect = text_of(p, json, "Redirect", &r);
	if (r < 0)
		return r;
	if (!!path + !!proxy + !!text + !!redirect != 1)
		return refuse(p, "a handler has exactly one of Proxy, Path, Text and Redirect");
	check_members(p, json, known);
	handler = APPEND(site->handlers, site->handler_count);
	if (!handler)
		return -ENOMEM;
	r = read_mount(p, mount, handler);
	if (r == 0)
		r = read_capabilities(p, json_object_get(json, "AcceptAppCaps"), handler);
	if (r < 0)
		return r;
	handler->action = proxy  ? SERVE_PROXY
			  : path ? SERVE_PATH
			  : text ? SERVE_TEXT
				 : SERVE_REDIRECT;
	if (proxy)
		return read_target(p, proxy, true, &handler->target, &handler->base);
	if (redirect)
		return read_redirect(p, redirect, handler);
	if (path)
		return add_path(p, path, &handler->path);
	handler->text = strdup(text);
	return handler->text ? 0 : -ENOMEM;
}

static int compare_handlers(const void *a, const void *b)
{
	const struct serve_handler *left = a, *right = b;
	size_t long_left = strlen(left->mount), long_right = strlen(right->mount);

	return long_left == long_right ? strcmp(left->mount, right->mount)
				       : (long_left < long_right) - (long_left > long_right);
}

static int read_site(struct parse *p, const char *key, json_t *json)
{
	static const char *const known[] = {"Handlers", NULL};
	const struct serve_port *port;
	struct serve_site *site;
	const char *mount;
	json_t *handlers, *value;
	int r = 0;

	enter(p, "Web.%.200s", key);
	if (!json_is_object(json))
		return refuse(p, "a site is an object, as {\"Handlers\": {…}}");
	site = APPEND(p->config->sites, p->config->site_count);
	if (!site)
		return -ENOMEM;
	if (split_port(key, strlen(key), &site->host, &site->port) < 0 ||
	    !host_is_valid(site->host))
		return refuse(p, "the name of a site is HOST:PORT, as \"%s:443\"",
			      SERVE_CERT_DOMAIN);
	lower(site->host);
	check_members(p, json, known);
	handlers = object_of(p, json, "Handlers", &r);
	if (r < 0)
		return r;
	json_object_foreach(handlers, mount, value) {
		r = read_handler(p, site, mount, value);
		if (r < 0)
			return r;
	}
	if (site->handler_count > 1)
		qsort(site->handlers, site->handler_count, sizeof(*site->handlers),
		      compare_handlers);
	enter(p, "Web.%.200s", key);
	port = serve_config_port(p->config, site->port);
	if (!port || (port->protocol != SERVE_HTTP && port->protocol != SERVE_HTTPS))
		warn(p, "not served, since TCP has no \"%u\": {\"HTTPS\": true}", site->port);
	return 0;
}

bool serve_funnel_port(uint16_t port)
{
	return port == 443 || port == 8443 || port == 10000;
}

static int read_funnel(struct parse *p, const char *key, json_t *value)
{
	struct serve_config *config = p->config;
	_cleanup_free_ char *host = NULL;
	const struct serve_port *port;
	struct serve_funnel *funnel;
	uint16_t number;

	enter(p, "AllowFunnel.%.200s", key);
	if (!json_is_boolean(value))
		return refuse(p, "it must be true or false");
	config->names_funnel = true;
	if (!json_is_true(value))
		return 0;
	if (split_port(key, strlen(key), &host, &number) < 0 || !host_is_valid(host))
		return refuse(p, "the name is HOST:PORT, as \"%s:443\"", SERVE_CERT_DOMAIN);
	lower(host);
	if (serve_config_funnels(config, host, number))
		return 0;
	port = serve_config_port(config, number);
	if (!serve_funnel_port(number))
		warn(p, "not reached from the internet: Funnel has the ports 443, 8443 and 10000");
	else if (!port || port->protocol == SERVE_HTTP)
		warn(p, "not reached from the internet, since TCP has no \"%u\": {\"HTTPS\": true}",
		     number);
	funnel = APPEND(config->funnels, config->funnel_count);
	if (!funnel)
		return -ENOMEM;
	*funnel = (struct serve_funnel){TAKE_PTR(host), number};
	return 0;
}

/* read_each() - Call @read for every member of @root's member @name */
static int read_each(struct parse *p, json_t *root, const char *name,
		     int (*read)(struct parse *p, const char *key, json_t *value))
{
	json_t *part, *value;
	const char *key;
	int r = 0;

	enter(p, "%s", "");
	part = object_of(p, root, name, &r);
	json_object_foreach(part, key, value) {
		r = r < 0 ? r : read(p, key, value);
	}
	enter(p, "%s", "");
	return r;
}

static int read_ports(struct parse *p, json_t *root)
{
	return read_each(p, root, "TCP", read_port);
}

static int read_sites(struct parse *p, json_t *root)
{
	int r = read_each(p, root, "Web", read_site);

	return r < 0 ? r : read_each(p, root, "AllowFunnel", read_funnel);
}

/* read_sessions() - What @read reads, of each session in the foreground */
static int read_sessions(struct parse *p, json_t *root, int (*read)(struct parse *p, json_t *part))
{
	json_t *sessions, *session;
	const char *id;
	int r = 0;

	sessions = object_of(p, root, "Foreground", &r);
	json_object_foreach(sessions, id, session) {
		if (r == 0 && !json_is_object(session) && !json_is_null(session))
			r = refuse(p, "Foreground.%.40s must be an object: {…}", id);
		r = r < 0 ? r : read(p, session);
	}
	return r;
}

/* read_root() - Sessions in the foreground go first: their ports and sites win */
static int read_root(struct parse *p, json_t *root)
{
	static const char *const known[] = {"TCP",        "Web",  "AllowFunnel", "Services",
					    "Foreground", "ETag", NULL};
	int r;

	if (!json_is_object(root))
		return refuse(p, "the configuration is a JSON object: {…}");
	if (json_object_get(root, "services") && json_object_get(root, "version"))
		return refuse(p,
			      "this is a file of `serve set-config`, which is for Services: write "
			      "the members TCP and Web instead");
	check_members(p, root, known);
	r = read_sessions(p, root, read_ports);
	if (r == 0)
		r = read_ports(p, root);
	if (r == 0 && p->config->port_count > 1)
		qsort(p->config->ports, p->config->port_count, sizeof(*p->config->ports),
		      compare_ports);
	if (r == 0)
		r = read_sessions(p, root, read_sites);
	if (r == 0)
		r = read_sites(p, root);
	if (r == 0 && json_object_size(object_of(p, root, "Services", &r)) > 0)
		warn(p, "Services are not offered yet, so they are ignored");
	return r;
}

int serve_config_expand(const char *json, size_t length, const char *domain, struct buffer *out)
{
	const size_t mark = strlen(SERVE_CERT_DOMAIN);
	const char *rest = json ?: "", *end = rest + length, *at;
	int r = 0;

	while (r == 0 && (at = memmem(rest, (size_t)(end - rest), SERVE_CERT_DOMAIN, mark))) {
		if (!domain)
			return -EAGAIN;
		r = buffer_append(out, rest, (size_t)(at - rest));
		if (r == 0)
			r = buffer_append(out, domain, strlen(domain));
		rest = at + mark;
	}
	return r < 0 ? r : buffer_append(out, rest, (size_t)(end - rest));
}

/* json_problem() - The error of the JSON parser, and what people do wrong most often */
static int json_problem(const char *text, size_t length, const json_error_t *where,
			struct error *err)
{
	const char *near = strstr(where->text, "near '"), *hint = "";
	char c = near ? near[strlen("near '")] : 0;
	size_t blank = 0;

	while (blank < length && isspace((unsigned char)text[blank]))
		blank++;
	if (blank == length)
		return error_set(err, -EINVAL, "it is empty: write {} to serve nothing");
	if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		return error_set(err, -EINVAL,
				 "it begins with a byte order mark: save it as UTF-8 without one");
	if (length >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
		return error_set(err, -EINVAL, "it is UTF-16: save it as UTF-8");
	if (c == '/' || c == '#')
		hint = " (JSON has no comments)";
	else if (c == '\'')
		hint = " (names and texts stand in double quotes)";
	else if (strstr(where->text, "string or '}' expected"))
		hint = c == '}' ? " (no comma stands before a closing brace)"
				: " (names stand in double quotes)";
	else if (strstr(where->text, "'[' or '{' expected"))
		hint = " (it must be a JSON object: {…})";
	return error_set(err, -EINVAL, "line %d, column %d: %s%s", where->line, where->column,
			 where->text, hint);
}

int serve_config_parse(const char *json, size_t length, const char *domain,
		       struct serve_config *ret, struct error *err)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(SERVE_CONFIG_MAX);
	struct serve_config config = {0};
	struct parse p = {.config = &config, .err = err};
	json_error_t where;
	json_t *root;
	int r = serve_config_expand(json, length, domain, &text);

	if (r == -EAGAIN)
		return error_set(err, r, "it names %s, and the node has no name yet",
				 SERVE_CERT_DOMAIN);
	if (r < 0)
		return error_set_errno(err, r, "it is larger than %u KiB", SERVE_CONFIG_MAX / 1024);
	root = json_loadb((const char *)buffer_head(&text) ?: "", text.length,
			  JSON_REJECT_DUPLICATES, &where);
	if (!root)
		return json_problem((const char *)buffer_head(&text) ?: "", text.length, &where,
				    err);
	r = read_root(&p, root);
	json_decref(root);
	if (r < 0) {
		serve_config_free(&config);
		return r == -ENOMEM ? error_set_errno(err, r, "read the configuration") : r;
	}
	*ret = config;
	return 0;
}

static void handler_free(struct serve_handler *handler)
{
	for (size_t i = 0; i < handler->capability_count; i++)
		free(handler->capabilities[i]);
	free(handler->capabilities);
	free(handler->mount);
	free(handler->text);
	free(handler->base);
}

void serve_config_free(struct serve_config *config)
{
	for (size_t i = 0; i < config->port_count; i++)
		free(config->ports[i].server_name);
	for (size_t i = 0; i < config->site_count; i++) {
		struct serve_site *site = &config->sites[i];

		for (size_t k = 0; k < site->handler_count; k++)
			handler_free(&site->handlers[k]);
		free(site->handlers);
		free(site->host);
	}
	for (size_t i = 0; i < config->target_count; i++)
		target_free(&config->targets[i]);
	for (size_t i = 0; i < config->funnel_count; i++)
		free(config->funnels[i].host);
	free(config->funnels);
	for (size_t i = 0; i < config->path_count; i++)
		free(config->paths[i]);
	free(config->paths);
	free(config->ports);
	free(config->sites);
	free(config->targets);
	*config = (struct serve_config){0};
}

const struct serve_port *serve_config_port(const struct serve_config *config, uint16_t port)
{
	for (size_t i = 0; i < config->port_count; i++)
		if (config->ports[i].port == port)
			return &config->ports[i];
	return NULL;
}

bool serve_config_funnels(const struct serve_config *config, const char *host, uint16_t port)
{
	for (size_t i = 0; i < config->funnel_count; i++)
		if (config->funnels[i].port == port &&
		    strcasecmp(config->funnels[i].host, host) == 0)
			return true;
	return false;
}

const char *serve_protocol_name(enum serve_protocol protocol)
{
	static const char *const names[] = {
		[SERVE_HTTP] = "http",
		[SERVE_HTTPS] = "https",
		[SERVE_TCP] = "tcp",
		[SERVE_TLS_TCP] = "tls-terminated-tcp",
	};

	return names[protocol];
}

bool serve_config_uses_tls(const struct serve_config *config)
{
	for (size_t i = 0; i < config->port_count; i++)
		if (config->ports[i].protocol == SERVE_HTTPS ||
		    config->ports[i].protocol == SERVE_TLS_TCP)
			return true;
	return false;
}

/* name_matches() - Whether @host, with or without ".@suffix", is the site's name */
static bool name_matches(const char *name, const char *host, const char *suffix)
{
	size_t length = strlen(host);

	if (strcasecmp(name, host) == 0)
		return true;
	return suffix && *suffix && strncasecmp(name, host, length) == 0 && name[length] == '.' &&
	       strcasecmp(name + length + 1, suffix) == 0;
}

const struct serve_site *serve_config_site(const struct serve_config *config, const char *host,
					   uint16_t port, const char *suffix)
{
	for (size_t i = 0; i < config->site_count; i++)
		if (config->sites[i].port == port &&
		    name_matches(config->sites[i].host, host, suffix))
			return &config->sites[i];
	return NULL;
}

const struct serve_handler *serve_site_handler(const struct serve_site *site, const char *path,
					       const char **ret_rest)
{
	for (size_t i = 0; i < site->handler_count; i++) {
		const struct serve_handler *handler = &site->handlers[i];
		size_t length = strlen(handler->mount);

		if (length == 1)
			length = 0; /* "/" holds everything */
		if (strncmp(path, handler->mount, length) == 0 &&
		    (path[length] == '/' || path[length] == 0)) {
			*ret_rest = path + length;
			return handler;
		}
	}
	return NULL;
}
