/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_config.c - the configuration of `pillion control serve` */
#include "app/server/coordinator_command.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/url.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SYSTEM_STATE "/var/lib/pillion-control"
#define LOCAL_STATE  "pillion-control"

#define NOT_GIVEN    (-1)
#define DURATION_MAX (36500LL * 24 * 3600 * NSEC_PER_SEC) /* 100 years */

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

const struct flag coordinator_flags[COORDINATOR_FLAG_COUNT] = {
	[COORDINATOR_CONFIG] =
		FLAG_OF("config", FLAG_STRING, "FILE", "JSON with any of what follows"),
	[COORDINATOR_STATE] = FLAG_OF("state", FLAG_STRING, "FOLDER",
				      "database, keys, socket (default " SYSTEM_STATE
				      " if it exists, else ./" LOCAL_STATE ")"),
	[COORDINATOR_SOCKET] =
		FLAG_OF("socket", FLAG_STRING, "PATH",
			"where the operator's commands go (default FOLDER/control.sock)"),
	[COORDINATOR_URL] = FLAG_OF("url", FLAG_STRING, "URL",
				    "how nodes call this server (default as before, or "
				    "https://HOSTNAME:8443)"),
	[COORDINATOR_LISTEN] = FLAG_OF(
		"listen", FLAG_STRING, "[SCHEME://]ADDRESS:PORT",
		"(default all addresses, scheme and port of the URL); http://127.0.0.1:8080 "
		"behind a proxy that has the certificate"),
	[COORDINATOR_CERTIFICATE] =
		FLAG_OF("certificate", FLAG_STRING, "FILE",
			"PEM chain (default: from a private authority, made once)"),
	[COORDINATOR_KEY] = FLAG_OF("key", FLAG_STRING, "FILE", "PEM key of the certificate"),
	[COORDINATOR_BASE_DOMAIN] = FLAG_OF("base-domain", FLAG_STRING, "NAME",
					    "what follows a node's name (default as before, or "
					    "tailnet.internal)"),
	[COORDINATOR_DERP_MAP] =
		FLAG_OF("derp-map", FLAG_STRING, "FILE",
			"relays, as a DERPMap in JSON (default: the relay of this program)"),
	[COORDINATOR_RELAY] = FLAG_OF("relay", FLAG_STRING, "on|off",
				      "a relay in this program (default: on without --derp-map)"),
	[COORDINATOR_RELAY_LISTEN] = FLAG_OF("relay-listen", FLAG_STRING, "ADDRESS:PORT",
					     "its TLS port (default all addresses, port 8444)"),
	[COORDINATOR_STUN_LISTEN] = FLAG_OF("stun-listen", FLAG_STRING, "ADDRESS:PORT",
					    "its STUN port (default all addresses, port 3478)"),
	[COORDINATOR_RELAY_HTTP] =
		FLAG_OF("relay-http", FLAG_STRING, "ADDRESS:PORT",
			"plain HTTP for captive-portal checks, usually [::]:80 (default off)"),
	[COORDINATOR_METRICS] =
		FLAG_OF("metrics", FLAG_STRING, "ADDRESS:PORT",
			"serve /metrics and /healthz there, to everybody (default off)"),
	[COORDINATOR_NODE_EXPIRY] =
		FLAG_OF("node-expiry", FLAG_PERIOD, "DURATION",
			"how long a login lasts; 0: it never expires (default 0)"),
	[COORDINATOR_EPHEMERAL] =
		FLAG_OF("ephemeral-timeout", FLAG_PERIOD, "DURATION",
			"until a disconnected ephemeral node is deleted (default 10m)"),
	[COORDINATOR_DNS_HOOK] =
		FLAG_OF("dns-hook", FLAG_STRING, "PROGRAM",
			"run as 'PROGRAM present NAME VALUE' to set a TXT record in public "
			"DNS, for the nodes' certificates"),
	[COORDINATOR_DNS_HOOK_TIMEOUT] = FLAG_OF("dns-hook-timeout", FLAG_DURATION, "DURATION",
						 "until the DNS hook is killed (default 60s)"),
	[COORDINATOR_LOG_LEVEL] = FLAG_OF("log-level", FLAG_STRING, "LEVEL",
					  "error, warn, info or debug (default info)"),
	[COORDINATOR_LOG_FORMAT] = FLAG_OF("log-format", FLAG_STRING, "FORMAT", "text or json"),
};

int coordinator_complain(int code, const char *format, ...)
{
	va_list args;

	fputs("pillion control: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return code;
}

void coordinator_config_clear(struct coordinator_config *config)
{
	free(config->state);
	free(config->socket);
	free(config->url);
	free(config->certificate);
	free(config->key);
	free(config->base_domain);
	free(config->dns_hook);
	free(config->relay_listen);
	free(config->stun_listen);
	free(config->relay_http);
	free(config->metrics);
	free(config->log_level);
	free(config->log_format);
	tailcfg_derp_map_clear(&config->derp_map);
	tailcfg_dns_config_clear(&config->dns);
	free(config->derp_map_file);
	json_decref(config->before);
	*config = (struct coordinator_config){0};
}

static char *default_state(void)
{
	struct stat info;

	if (stat(LOCAL_STATE, &info) != 0 && stat(SYSTEM_STATE, &info) == 0)
		return strdup(SYSTEM_STATE);
	return strdup(LOCAL_STATE);
}

char *coordinator_config_socket(const char *given)
{
	const char *variable = getenv("PILLION_CONTROL_SOCKET");
	const char *state = getenv("PILLION_CONTROL_STATE");
	_cleanup_free_ char *folder = state ? strdup(state) : default_state();
	char *path = NULL;

	if (given || variable)
		return strdup(given ? given : variable);
	return folder && asprintf(&path, "%s/control.sock", folder) >= 0 ? path : NULL;
}

static int read_json(const char *path, json_t **ret, struct error *err)
{
	json_error_t problem;

	*ret = json_load_file(path, 0, &problem);
	if (*ret)
		return 0;
	return error_set(err, -EINVAL, "%s, line %d: %s", path, problem.line, problem.text);
}

/* pick() - The flag, or the variable, or the file's member; NULL: none. Owned */
static char *pick(const struct flag_value *values, enum coordinator_flag which, json_t *file)
{
	const char *name = coordinator_flags[which].name, *text = NULL;
	char variable[64] = "PILLION_CONTROL_", member[64];
	size_t length = strlen(variable);

	for (size_t i = 0; name[i] && length < sizeof(variable) - 1; i++)
		variable[length++] = (char)(name[i] == '-'   ? '_'
					    : name[i] >= 'a' ? name[i] - 32
							     : name[i]);
	snprintf(member, sizeof(member), "%s", name);
	for (char *c = member; *c; c++)
		if (*c == '-')
			*c = '_';
	if (values[which].given)
		text = values[which].text;
	else if (getenv(variable))
		text = getenv(variable);
	else
		text = json_string_value(json_object_get(file, member));
	return text && *text ? strdup(text) : NULL;
}

static int pick_duration(const struct flag_value *values, enum coordinator_flag which, json_t *file,
			 nanoseconds otherwise, nanoseconds *ret, struct error *err)
{
	_cleanup_free_ char *text = NULL;

	*ret = otherwise;
	if (values[which].given)
		*ret = values[which].number;
	else
		text = pick(values, which, file);
	if (text && *text == '-')
		return error_set(err, -EINVAL, "%s is negative", coordinator_flags[which].name);
	if (text && value_parse_period(text, ret) < 0)
		return error_set(err, -EINVAL, "%s: '%s' is not a valid duration (90s, 12h, 30d)",
				 coordinator_flags[which].name, text);
	/* It is added to the time. */
	if (*ret > DURATION_MAX)
		return error_set(err, -EINVAL, "%s is at most %lldd", coordinator_flags[which].name,
				 DURATION_MAX / (24 * 3600 * NSEC_PER_SEC));
	return 0;
}

/* check_dns() - The members of the DNSConfig that an operator may give */
static int check_dns(json_t *dns, struct error *err)
{
	static const char *const known[] = {"Resolvers", "FallbackResolvers", "Routes",
					    "ExtraRecords", "ExitNodeFilteredSet"};
	const char *name;
	json_t *value;

	json_object_foreach(dns, name, value) {
		size_t i = 0;

		(void)value;
		while (i < ARRAY_SIZE(known) && strcmp(known[i], name) != 0)
			i++;
		if (i == ARRAY_SIZE(known))
			return error_set(err, -EINVAL,
					 "dns: unknown member '%s'; known are Resolvers, "
					 "FallbackResolvers, Routes, ExtraRecords and "
					 "ExitNodeFilteredSet",
					 name);
	}
	return 0;
}

static int load_objects(const struct flag_value *values, json_t *file, struct coordinator_config *c,
			struct error *err)
{
	char *path = c->derp_map_file = pick(values, COORDINATOR_DERP_MAP, file);
	json_t *map = json_object_get(file, "derp_map"), *own = NULL;
	int r = 0;

	if (path) {
		r = read_json(path, &own, err);
		map = own;
	}
	if (r == 0 && map && !json_is_object(json_object_get(map, "Regions")))
		r = error_set(err, -EINVAL, "%s: a DERP map has an object 'Regions'",
			      path ? path : "derp_map");
	if (r == 0 && json_is_object(map))
		r = tailcfg_derp_map_decode(map, &c->derp_map, err);
	json_decref(own);
	c->derp_map.has_regions = true;
	if (r == 0 && json_object_get(file, "dns"))
		r = check_dns(json_object_get(file, "dns"), err);
	if (r == 0 && json_object_get(file, "dns"))
		r = tailcfg_dns_config_decode(json_object_get(file, "dns"), &c->dns, err);
	return r;
}

/* flag_of() - The flag that a member is named like; COORDINATOR_FLAG_COUNT: none */
static size_t flag_of(const char *name)
{
	for (size_t i = 0; i < COORDINATOR_FLAG_COUNT; i++) {
		const char *flag = coordinator_flags[i].name;
		size_t at = 0;

		while (flag[at] && (flag[at] == '-' ? '_' : flag[at]) == name[at])
			at++;
		if (!flag[at] && !name[at])
			return i;
	}
	return COORDINATOR_FLAG_COUNT;
}

/* check_members() - Misspelt members and wrong types are errors */
static int check_members(const char *path, json_t *file, struct error *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(file))
		return error_set(err, -EINVAL, "%s holds no JSON object", path);
	json_object_foreach(file, name, value) {
		size_t flag = flag_of(name);
		bool is_dns = strcmp(name, "dns") == 0;

		if (flag == COORDINATOR_FLAG_COUNT && !is_dns)
			return error_set(err, -EINVAL, "%s: unknown setting '%s'", path, name);
		if (is_dns || (flag == COORDINATOR_DERP_MAP && json_is_object(value))) {
			if (!json_is_object(value))
				return error_set(err, -EINVAL, "%s: %s is an object", path, name);
		} else if (!json_is_string(value)) {
			return error_set(err, -EINVAL, "%s: %s is a string, as the flag is", path,
					 name);
		}
	}
	return 0;
}

/* is_domain() - Labels of lower-case letters, digits and inner hyphens */
static bool is_domain(const char *text)
{
	size_t label = 0, length = strlen(text);

	for (size_t i = 0; i <= length; i++) {
		bool end = text[i] == '.' || !text[i];

		if (end && (label == 0 || label > REGISTRY_NAME_MAX || text[i - 1] == '-'))
			return false;
		if (!end && !(text[i] >= 'a' && text[i] <= 'z') &&
		    !(text[i] >= '0' && text[i] <= '9') && (text[i] != '-' || label == 0))
			return false;
		label = end ? 0 : label + 1;
	}
	/* A node's label and its dot go before it. */
	return length <= 253 - REGISTRY_NAME_MAX - 1;
}

/* read_listen() - Where, and whether with TLS; @text may be NULL */
static int read_listen(struct coordinator_config *c, const char *text, const struct url *url,
		       struct error *err)
{
	static const uint8_t any[16];
	const char *at = text;

	c->plain = !url->tls && !c->certificate;
	c->listen = (struct endpoint){.address = address_v6(any), .port = url->port};
	if (!text)
		return 0;
	if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0) {
		c->plain = text[4] == ':';
		at = strstr(text, "//") + 2;
	}
	if (endpoint_parse(at, strlen(at), &c->listen) < 0)
		return error_set(
			err, -EINVAL,
			"listen: '%s' is not a valid ADDRESS:PORT; http:// or https:// may precede "
			"it",
			text);
	if (c->plain && c->certificate)
		return error_set(err, -EINVAL,
				 "listen is plain HTTP, so the proxy needs the certificate: leave "
				 "certificate and key out here");
	return 0;
}

/* make_absolute() - So that paths in the log are valid in any folder */
static void make_absolute(char **path, size_t most)
{
	_cleanup_free_ char *folder = getcwd(NULL, 0);
	char *whole;

	if (!folder || !*path || **path == '/' || asprintf(&whole, "%s/%s", folder, *path) < 0)
		return;
	if (strlen(whole) > most) {
		free(whole);
		return;
	}
	free(*path);
	*path = whole;
}

static int complete(struct coordinator_config *c, const char *listen, const char *relay,
		    struct error *err)
{
	char host[256] = "";
	struct url url;
	int r;

	if (!c->state)
		c->state = default_state();
	r = c->state ? coordinator_memory_recall(c, err) : 0;
	if (r < 0)
		return r;
	if (!c->base_domain)
		c->base_domain = strdup("tailnet.internal");
	if (!c->socket && c->state && asprintf(&c->socket, "%s/control.sock", c->state) < 0)
		c->socket = NULL;
	if (!c->url) {
		(void)gethostname(host, sizeof(host) - 1);
		if (asprintf(&c->url, "https://%s:8443", *host ? host : "localhost") < 0)
			c->url = NULL;
	}
	if (!c->state || !c->base_domain || !c->socket || !c->url)
		return error_set(err, -ENOMEM, "out of memory");
	make_absolute(&c->state, PATH_MAX);
	make_absolute(&c->socket, SOCKET_PATH_MAX);
	if (!is_domain(c->base_domain))
		return error_set(
			err, -EINVAL,
			"base-domain: '%s' is not a valid domain (lower case, without dots at the "
			"ends)",
			c->base_domain);
	while (*c->url && c->url[strlen(c->url) - 1] == '/')
		c->url[strlen(c->url) - 1] = '\0';
	r = url_parse(c->url, &url, err);
	if (r < 0)
		return error_wrap(err, "url %s", c->url);
	r = read_listen(c, listen, &url, err);
	if (r < 0)
		return r;
	if (relay && strcmp(relay, "on") != 0 && strcmp(relay, "off") != 0)
		return error_set(err, -EINVAL, "relay is on or off");
	if (relay ? strcmp(relay, "off") == 0 : c->derp_map.region_count > 0) {
		if (c->relay_listen || c->stun_listen || c->relay_http)
			return error_set(err, -EINVAL,
					 "relay-listen, stun-listen and relay-http have no effect "
					 "without a relay here: leave them out, or add relay=on");
	} else {
		if (!c->relay_listen)
			c->relay_listen = strdup("[::]:8444");
		if (!c->stun_listen)
			c->stun_listen = strdup("[::]:3478");
		if (!c->relay_listen || !c->stun_listen)
			return error_set(err, -ENOMEM, "out of memory");
	}
	if (c->dns_hook_timeout == NOT_GIVEN)
		c->dns_hook_timeout = 60 * NSEC_PER_SEC;
	else if (!c->dns_hook)
		return error_set(err, -EINVAL,
				 "dns-hook-timeout has no effect without dns-hook: leave it out");
	if (c->dns_hook_timeout < NSEC_PER_SEC)
		return error_set(err, -EINVAL, "dns-hook-timeout is at least 1s");
	if (!c->certificate != !c->key)
		return error_set(err, -EINVAL, "certificate and key are given together");
	return 0;
}

int coordinator_config_load(const struct flag_value *values, struct coordinator_config *ret,
			    struct error *err)
{
	_cleanup_free_ char *path = pick(values, COORDINATOR_CONFIG, NULL);
	_cleanup_free_ char *listen = NULL, *relay = NULL;
	struct coordinator_config c = {0};
	json_t *file = NULL;
	int r = path ? read_json(path, &file, err) : 0;

	if (r == 0 && path)
		r = check_members(path, file, err);
	if (r == 0) {
		c.state = pick(values, COORDINATOR_STATE, file);
		c.socket = pick(values, COORDINATOR_SOCKET, file);
		c.url = pick(values, COORDINATOR_URL, file);
		listen = pick(values, COORDINATOR_LISTEN, file);
		c.certificate = pick(values, COORDINATOR_CERTIFICATE, file);
		c.key = pick(values, COORDINATOR_KEY, file);
		c.base_domain = pick(values, COORDINATOR_BASE_DOMAIN, file);
		relay = pick(values, COORDINATOR_RELAY, file);
		c.relay_listen = pick(values, COORDINATOR_RELAY_LISTEN, file);
		c.stun_listen = pick(values, COORDINATOR_STUN_LISTEN, file);
		c.relay_http = pick(values, COORDINATOR_RELAY_HTTP, file);
		c.metrics = pick(values, COORDINATOR_METRICS, file);
		c.dns_hook = pick(values, COORDINATOR_DNS_HOOK, file);
		c.log_level = pick(values, COORDINATOR_LOG_LEVEL, file);
		c.log_format = pick(values, COORDINATOR_LOG_FORMAT, file);
		r = pick_duration(values, COORDINATOR_NODE_EXPIRY, file, 0, &c.node_expiry, err);
	}
	if (r == 0)
		r = pick_duration(values, COORDINATOR_EPHEMERAL, file, 600 * NSEC_PER_SEC,
				  &c.ephemeral_timeout, err);
	if (r == 0)
		r = pick_duration(values, COORDINATOR_DNS_HOOK_TIMEOUT, file, NOT_GIVEN,
				  &c.dns_hook_timeout, err);
	if (r == 0)
		r = load_objects(values, file, &c, err);
	if (r == 0)
		r = complete(&c, listen, relay, err);
	json_decref(file);
	if (r < 0)
		coordinator_config_clear(&c);
	else
		*ret = c;
	return r;
}
