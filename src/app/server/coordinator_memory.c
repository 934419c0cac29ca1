/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/server/coordinator_memory.c - what a server was started with the last time, in its folder
 *
 * The URL and the base domain hold until others are given: nodes know the server by them, and its
 * certificate is made for them. The rest is only compared. None of it may lead root to a file or a
 * program, since the folder is the unprivileged server's.
 */
#define LOG_ROOM "control"
#include "app/server/coordinator_command.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/small_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static char *path_of(const struct coordinator_config *c)
{
	char *path;

	return asprintf(&path, "%s/settings.json", c->state) < 0 ? NULL : path;
}

/* recall() - The member @name of @before into @field, where that is NULL */
static void recall(const json_t *before, const char *name, char **field)
{
	const char *text = json_string_value(json_object_get(before, name));

	if (text && *text && !*field)
		*field = strdup(text);
}

int coordinator_memory_recall(struct coordinator_config *c, struct error *err)
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
	recall(c->before, "url", &c->url);
	recall(c->before, "base_domain", &c->base_domain);
	return r;
}

/* settings() - As they hold now, each as text; NULL without memory */
static json_t *settings(const struct coordinator_config *c)
{
	char listen[ENDPOINT_TEXT_MAX], at[ENDPOINT_TEXT_MAX + 8], expiry[32], ephemeral[32];
	const struct {
		const char *name, *text;
	} members[] = {
		{"url", c->url},
		{"base_domain", c->base_domain},
		{"listen", at},
		{"certificate", c->certificate},
		{"key", c->key},
		{"derp_map", c->derp_map_file},
		{"relay_listen", c->relay_listen},
		{"stun_listen", c->relay_listen ? c->stun_listen : NULL},
		{"relay_http", c->relay_http},
		{"metrics", c->metrics},
		{"node_expiry", expiry},
		{"ephemeral_timeout", ephemeral},
		{"dns_hook", c->dns_hook},
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

void coordinator_memory_keep(const struct coordinator_config *c)
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
