/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/server/coordinator_config.c - the configuration of `pillion control serve`
 *
 * The folder remembers what the server was started with. The URL and the base domain hold until
 * others are given: nodes know the server by them, and its certificate is made for them. The rest is
 * only compared. None of it may lead root to a file or a program, since the folder is the
 * unprivileged server's.
 */
#define LOG_ROOM "control"
#include "app/server/coordinator_command.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "transport/url.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define DURATION_MAX (36500LL * 24 * 3600 * NSEC_PER_SEC) /* 100 years */

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

const struct flag coordinator_flags[CONTROL_FLAG_COUNT] = {
#define ROW(id, name, kind, argument, help) FLAG_OF(name, FLAG_##kind, argument, help),
	CONTROL_FLAGS(ROW)
#undef ROW
};

static const char *const variables[CONTROL_FLAG_COUNT] = {
#define ROW(id, name, kind, argument, help) "PILLION_CONTROL_" #id,
	CONTROL_FLAGS(ROW)
#undef ROW
};

void coordinator_config_clear(struct coordinator_config *config)
{
	for (size_t i = 0; i < CONTROL_FLAG_COUNT; i++)
		free(config->text[i]);
	tailcfg_derp_map_clear(&config->derp_map);
	tailcfg_dns_config_clear(&config->dns);
	json_decref(config->before);
	*config = (struct coordinator_config){0};
}

static char *default_state(void)
{
	bool system =
		access(CONTROL_LOCAL_STATE, F_OK) != 0 && access(CONTROL_SYSTEM_STATE, F_OK) == 0;

	return strdup(system ? CONTROL_SYSTEM_STATE : CONTROL_LOCAL_STATE);
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

static int load_objects(json_t *file, struct coordinator_config *c, struct error *err)
{
	const char *path = c->text[CONTROL_DERP_MAP];
	json_t *map = json_object_get(file, "derp_map"), *dns = json_object_get(file, "dns");
	json_t *own = NULL;
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
	if (r == 0 && dns)
		r = check_dns(dns, err);
	if (r == 0 && dns)
		r = tailcfg_dns_config_decode(dns, &c->dns, err);
	return r;
}

/* flag_of() - The flag that a member is named like; CONTROL_FLAG_COUNT: none */
static size_t flag_of(const char *name)
{
	for (size_t i = 0; i < CONTROL_FLAG_COUNT; i++) {
		const char *flag = coordinator_flags[i].name;
		size_t at = 0;

		while (flag[at] && (flag[at] == '-' ? '_' : flag[at]) == name[at])
			at++;
		if (!flag[at] && !name[at])
			return i;
	}
	return CONTROL_FLAG_COUNT;
}

/* read_members() - The texts of the file into @texts, borrowed; misspelt members and wrong types are
 * errors */
static int read_members(const char *path, json_t *file, const char **texts, struct error *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(file))
		return error_set(err, -EINVAL, "%s holds no JSON object", path);
	json_object_foreach(file, name, value) {
		size_t flag = flag_of(name);
		bool is_dns = strcmp(name, "dns") == 0;

		if (flag == CONTROL_FLAG_COUNT && !is_dns)
			return error_set(err, -EINVAL, "%s: unknown setting '%s'", path, name);
		if (is_dns || (flag == CONTROL_DERP_MAP && json_is_object(value))) {
			if (!json_is_object(value))
				return error_set(err, -EINVAL, "%s: %s is an object", path, name);
		} else if (!json_is_string(value)) {
			return error_set(err, -EINVAL, "%s: %s is a string, as the flag is", path,
					 name);
		} else {
			texts[flag] = json_string_value(value);
		}
	}
	return 0;
}

/* given() - The flag, or the variable; NULL: neither */
static const char *given(const struct flag_value *values, size_t which)
{
	return values[which].given ? values[which].text : getenv(variables[which]);
}

/* read_texts() - The flag, or the variable, or the file's member; an empty one is none */
static int read_texts(const struct flag_value *values, const char *path, json_t *file,
		      struct coordinator_config *c, struct error *err)
{
	const char *texts[CONTROL_FLAG_COUNT] = {NULL};
	int r = path ? read_members(path, file, texts, err) : 0;

	for (size_t i = 0; r == 0 && i < CONTROL_FLAG_COUNT; i++) {
		const char *text = given(values, i);

		text = text ? text : texts[i];
		c->text[i] = text && *text ? strdup(text) : NULL;
	}
	return r;
}

static int read_durations(struct coordinator_config *c, struct error *err)
{
	const struct {
		enum control_flag flag;
		nanoseconds otherwise, *ret;
	} rows[] = {
		{CONTROL_NODE_EXPIRY, 0, &c->node_expiry},
		{CONTROL_EPHEMERAL_TIMEOUT, 600 * NSEC_PER_SEC, &c->ephemeral_timeout},
		{CONTROL_DNS_HOOK_TIMEOUT, 60 * NSEC_PER_SEC, &c->dns_hook_timeout},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *text = c->text[rows[i].flag];
		const char *name = coordinator_flags[rows[i].flag].name;

		*rows[i].ret = rows[i].otherwise;
		if (text && *text == '-')
			return error_set(err, -EINVAL, "%s is negative", name);
		if (text && value_parse_duration(text, true, rows[i].ret) < 0)
			return error_set(err, -EINVAL,
					 "%s: '%s' is not a valid duration (90s, 12h, 30d)", name,
					 text);
		/* It is added to the time. */
		if (*rows[i].ret > DURATION_MAX)
			return error_set(err, -EINVAL, "%s is at most %lldd", name,
					 DURATION_MAX / (24 * 3600 * NSEC_PER_SEC));
	}
	if (c->text[CONTROL_DNS_HOOK_TIMEOUT] && !c->text[CONTROL_DNS_HOOK])
		return error_set(err, -EINVAL,
				 "dns-hook-timeout has no effect without dns-hook: leave it out");
	if (c->dns_hook_timeout < NSEC_PER_SEC)
		return error_set(err, -EINVAL, "dns-hook-timeout is at least 1s");
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

/* read_endpoint() - ADDRESS:PORT from @text, where that is not NULL */
static int read_endpoint(enum control_flag which, const char *text, struct endpoint *ret,
			 struct error *err)
{
	if (text && endpoint_parse(text, strlen(text), ret) < 0)
		return error_set(err, -EINVAL, "%s: '%s' is not a valid ADDRESS:PORT%s",
				 coordinator_flags[which].name, text,
				 which == CONTROL_LISTEN ? "; http:// or https:// may precede it"
							 : "");
	return 0;
}

/* read_listen() - Where, and whether with TLS */
static int read_listen(struct coordinator_config *c, struct error *err)
{
	static const uint8_t any[16];
	const char *text = c->text[CONTROL_LISTEN];
	struct url url;
	int r = url_parse(c->text[CONTROL_URL], &url, err);

	if (r < 0)
		return error_wrap(err, "url %s", c->text[CONTROL_URL]);
	c->plain = !url.tls;
	c->listen = (struct endpoint){.address = address_v6(any), .port = url.port};
	if (text && (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)) {
		c->plain = text[4] == ':';
		text = strstr(text, "//") + 2;
	}
	r = read_endpoint(CONTROL_LISTEN, text, &c->listen, err);
	if (r == 0 && c->plain && c->text[CONTROL_CERTIFICATE])
		r = error_set(err, -EINVAL,
			      url.tls ? "listen is plain HTTP, so the proxy needs the certificate: "
					"leave certificate and key out here"
				      : "url and listen are plain HTTP: leave certificate and key "
					"out, or write https://");
	return r;
}

/* read_relay() - Whether there is a relay here, and where it and /metrics listen */
static int read_relay(struct coordinator_config *c, struct error *err)
{
	const char *relay = c->text[CONTROL_RELAY];
	struct {
		enum control_flag flag;
		const char *otherwise;
		struct endpoint *at;
	} ports[] = {
		{CONTROL_METRICS, NULL, &c->metrics},
		{CONTROL_RELAY_LISTEN, "[::]:8444", &c->relay_listen},
		{CONTROL_STUN_LISTEN, "[::]:3478", &c->stun_listen},
		{CONTROL_RELAY_HTTP, NULL, &c->relay_http},
	};
	int r = 0;

	if (relay && strcmp(relay, "on") != 0 && strcmp(relay, "off") != 0)
		return error_set(err, -EINVAL, "relay is on or off");
	c->relay = relay ? strcmp(relay, "on") == 0 : c->derp_map.region_count == 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(ports); i++) {
		char **text = &c->text[ports[i].flag];

		if (*text && !c->relay && ports[i].at != &c->metrics)
			return error_set(err, -EINVAL,
					 "relay-listen, stun-listen and relay-http have no effect "
					 "without a relay here: leave them out, or add relay=on");
		if (!*text && c->relay && ports[i].otherwise)
			*text = strdup(ports[i].otherwise);
		r = read_endpoint(ports[i].flag, *text, ports[i].at, err);
	}
	return r;
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

static char *path_of(const struct coordinator_config *c)
{
	char *path;

	return asprintf(&path, "%s/settings.json", c->text[CONTROL_STATE]) < 0 ? NULL : path;
}

/* recall_text() - The member @name of @before into @field, where that is NULL */
static void recall_text(const json_t *before, const char *name, char **field)
{
	const char *text = json_string_value(json_object_get(before, name));

	if (text && *text && !*field)
		*field = strdup(text);
}

/* recall() - Read the settings of the last start; URL and base domain hold unless others are given */
static int recall(struct coordinator_config *c, struct error *err)
{
	_cleanup_free_ char *path = path_of(c);
	char *text = NULL;
	int r = path ? small_file_read_nofollow(path, &text, err)
		     : error_set(err, -ENOMEM, "out of memory");

	if (r == -ENOENT)
		return 0;
	if (r == 0) {
		c->before = json_loads(text, 0, NULL);
		secret_string_free(text);
		if (!json_is_object(c->before))
			r = error_set(err, -EINVAL,
				      "%s holds no settings: move it away, and give --url and "
				      "--base-domain as before",
				      path);
	}
	recall_text(c->before, "url", &c->text[CONTROL_URL]);
	recall_text(c->before, "base_domain", &c->text[CONTROL_BASE_DOMAIN]);
	return r;
}

static int complete(struct coordinator_config *c, struct error *err)
{
	char **state = &c->text[CONTROL_STATE], **socket = &c->text[CONTROL_SOCKET];
	char **url = &c->text[CONTROL_URL], **domain = &c->text[CONTROL_BASE_DOMAIN];
	char host[256] = "";
	int r;

	if (!*state)
		*state = default_state();
	r = *state ? recall(c, err) : 0;
	if (r < 0)
		return r;
	if (!*domain)
		*domain = strdup("tailnet.internal");
	if (!*socket && *state && asprintf(socket, "%s/control.sock", *state) < 0)
		*socket = NULL;
	if (!*url) {
		(void)gethostname(host, sizeof(host) - 1);
		if (asprintf(url, "https://%s:8443", *host ? host : "localhost") < 0)
			*url = NULL;
	}
	if (!*state || !*domain || !*socket || !*url)
		return error_set(err, -ENOMEM, "out of memory");
	make_absolute(state, PATH_MAX);
	make_absolute(socket, SOCKET_PATH_MAX);
	if (!is_domain(*domain))
		return error_set(
			err, -EINVAL,
			"base-domain: '%s' is not a valid domain (lower case, without dots at the "
			"ends)",
			*domain);
	for (size_t end = strlen(*url); end && (*url)[end - 1] == '/'; end--)
		(*url)[end - 1] = '\0';
	if (c->text[CONTROL_LOG_LEVEL] &&
	    log_level_parse(c->text[CONTROL_LOG_LEVEL], &c->log_level) < 0)
		return error_set(err, -EINVAL, "log-level is error, warn, info or debug");
	if (!c->text[CONTROL_CERTIFICATE] != !c->text[CONTROL_KEY])
		return error_set(err, -EINVAL, "certificate and key are given together");
	r = read_listen(c, err);
	if (r == 0)
		r = read_relay(c, err);
	return r < 0 ? r : read_durations(c, err);
}

int coordinator_config_load(const struct flag_value *values, struct coordinator_config *ret,
			    struct error *err)
{
	const char *path = given(values, CONTROL_CONFIG);
	struct coordinator_config c = {.log_level = LOG_INFO};
	json_t *file = NULL;
	int r = 0;

	path = path && *path ? path : NULL;
	if (path)
		r = read_json(path, &file, err);
	if (r == 0)
		r = read_texts(values, path, file, &c, err);
	if (r == 0)
		r = load_objects(file, &c, err);
	if (r == 0)
		r = complete(&c, err);
	json_decref(file);
	if (r < 0)
		coordinator_config_clear(&c);
	else
		*ret = c;
	return r;
}

/* settings() - As they hold now, each as text; NULL without memory */
static json_t *settings(const struct coordinator_config *c)
{
	char listen[ENDPOINT_TEXT_MAX], at[ENDPOINT_TEXT_MAX + 8], expiry[32], ephemeral[32];
	const struct {
		const char *name, *text;
	} members[] = {
		{"url", c->text[CONTROL_URL]},
		{"base_domain", c->text[CONTROL_BASE_DOMAIN]},
		{"listen", at},
		{"certificate", c->text[CONTROL_CERTIFICATE]},
		{"key", c->text[CONTROL_KEY]},
		{"derp_map", c->text[CONTROL_DERP_MAP]},
		{"relay_listen", c->text[CONTROL_RELAY_LISTEN]},
		{"stun_listen", c->text[CONTROL_STUN_LISTEN]},
		{"relay_http", c->text[CONTROL_RELAY_HTTP]},
		{"metrics", c->text[CONTROL_METRICS]},
		{"node_expiry", expiry},
		{"ephemeral_timeout", ephemeral},
		{"dns_hook", c->text[CONTROL_DNS_HOOK]},
	};
	json_t *json = json_object();

	snprintf(at, sizeof(at), "%s://%s", c->plain ? "http" : "https",
		 endpoint_format(&c->listen, listen));
	snprintf(expiry, sizeof(expiry), "%llds", (long long)(c->node_expiry / NSEC_PER_SEC));
	snprintf(ephemeral, sizeof(ephemeral), "%llds",
		 (long long)(c->ephemeral_timeout / NSEC_PER_SEC));
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (json_object_set_new(json, members[i].name,
					json_string(members[i].text ? members[i].text : "")) < 0) {
			json_decref(json);
			return NULL;
		}
	return json;
}

static void say_differences(const json_t *before, json_t *now)
{
	const char *name;
	json_t *value;

	json_object_foreach(now, name, value) {
		const char *old = json_string_value(json_object_get(before, name));
		const char *new = json_string_value(value);

		if (old && strcmp(old, new) != 0)
			log_warn("%s is %s; it was %s when this folder was served before%s", name,
				 *new ? new : "not set", *old ? old : "not set",
				 strcmp(name, "url") == 0 ? ": nodes that joined go on asking there"
							  : "");
	}
}

void coordinator_config_keep(const struct coordinator_config *c)
{
	_cleanup_free_ char *path = path_of(c), *text = NULL;
	json_t *now = settings(c);
	struct error err = {0};

	if (now && c->before)
		say_differences(c->before, now);
	if (now && !json_equal(now, c->before)) {
		text = json_dumps(now, JSON_INDENT(2));
		if (!path || !text || small_file_replace(path, text, strlen(text), &err) < 0)
			log_warn("the settings are not remembered: %s",
				 err.code ? err.text : "out of memory");
	}
	json_decref(now);
}
