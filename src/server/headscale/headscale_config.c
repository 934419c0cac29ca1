/* SPDX-License-Identifier: BSD-3-Clause */
/* server/headscale/headscale_config.c - make a configuration for Headscale */
#include "server/headscale/headscale_config.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/small_file.h"
#include "server/web/certificate_maker.h"
#include "transport/url.h"
#include "wire/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Regions from 900 on are the operators' own. */
#define RELAY_REGION 900

#define CONFIG_MAX (64u * 1024)
#define URL_MAX    512

/* The text so far, and the first failure. */
struct writer {
	struct buffer text;
	int error;
};

__attribute__((format(printf, 2, 3))) static void say(struct writer *w, const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (w->error == 0)
		w->error = buffer_append(&w->text, line, strlen(line));
}

/* put() - "name: value", or "- value", with the value in quotes; JSON's are YAML's */
static void put(struct writer *w, const char *name, const char *value)
{
	struct json_writer json = json_writer_to(&w->text);

	say(w, "%s%s ", name, name[strlen(name) - 1] == '-' ? "" : ":");
	json_put_string(&json, NULL, value);
	if (w->error == 0)
		w->error = json_writer_result(&json);
	say(w, "\n");
}

static void put_file(struct writer *w, const char *name, const char *folder, const char *file)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, file) < 0)
		w->error = -ENOMEM;
	else
		put(w, name, path);
}

static void put_relay(struct writer *w, const struct headscale_settings *s, const struct url *url)
{
	struct address address;

	say(w, "derp:\n  server:\n    enabled: %s\n", s->derp_map ? "false" : "true");
	if (!s->derp_map) {
		say(w,
		    "    region_id: %d\n"
		    "    region_code: own\n"
		    "    region_name: Headscale\n"
		    "    verify_clients: true\n"
		    "    automatically_add_embedded_derp_region: true\n",
		    RELAY_REGION);
		put(w, "    stun_listen_addr", s->stun);
		put_file(w, "    private_key_path", s->folder, "derp.key");
		if (address_parse(url->host, strlen(url->host), &address) == 0)
			put(w, address.family == ADDRESS_V4 ? "    ipv4" : "    ipv6", url->host);
	}
	say(w, "  urls: []\n  auto_update_enabled: false\n");
	if (s->derp_map)
		put_file(w, "  paths:\n    -", s->folder, "derp.yaml");
	else
		say(w, "  paths: []\n");
}

static void put_tls(struct writer *w, const struct headscale_settings *s, const struct url *url)
{
	if (s->certificate) {
		put(w, "tls_cert_path", s->certificate);
		put(w, "tls_key_path", s->key);
	} else if (url->tls) {
		put_file(w, "tls_cert_path", s->folder, "server.pem");
		put_file(w, "tls_key_path", s->folder, "server.key");
	}
}

static void put_all(struct writer *w, const struct headscale_settings *s, const struct url *url)
{
	say(w, "# Headscale's configuration, made by 'pillion headscale run' because there was "
	       "none.\n"
	       "# Edit it as you like: pillion does not write it again. All settings:\n"
	       "# https://headscale.net/stable/ref/configuration/\n\n");
	put(w, "server_url", s->url);
	put(w, "listen_addr", s->listen);
	put_tls(w, s, url);
	say(w, "\n# 127.0.0.1:9090 serves metrics.\n");
	put(w, "metrics_listen_addr", "");
	say(w, "# The command line uses the socket; this is any free port.\n");
	put(w, "grpc_listen_addr", "127.0.0.1:0");
	put_file(w, "unix_socket", s->folder, "headscale.sock");
	put(w, "unix_socket_permission", "0770");
	say(w, "\nnoise:\n");
	put_file(w, "  private_key_path", s->folder, "noise.key");
	say(w, "prefixes:\n");
	put(w, "  v4", "100.64.0.0/10");
	put(w, "  v6", "fd7a:115c:a1e0::/48");
	put(w, "  allocation", "sequential");
	say(w, "database:\n  type: sqlite\n  sqlite:\n");
	put_file(w, "    path", s->folder, "db.sqlite");
	say(w, "    write_ahead_log: true\n\n");
	put_relay(w, s, url);
	say(w, "\ndns:\n  magic_dns: true\n");
	put(w, "  base_domain", s->base_domain);
	say(w, "  override_local_dns: false\n"
	       "  nameservers:\n    global: []\n\n"
	       "# Set by 'headscale policy set'; until then all nodes reach each other.\n"
	       "policy:\n  mode: database\n"
	       "log:\n  level: info\n  format: text\n"
	       "logtail:\n  enabled: false\n"
	       "disable_check_updates: true\n");
}

/* lower() - A copy with all member names in lower case, as in Headscale's YAML */
static json_t *lower(json_t *value)
{
	json_t *copy, *member;
	const char *name;
	size_t i;

	if (json_is_object(value)) {
		copy = json_object();
		json_object_foreach(value, name, member) {
			char small[64];

			snprintf(small, sizeof(small), "%s", name);
			for (char *c = small; *c; c++)
				*c = (char)tolower((unsigned char)*c);
			json_object_set_new(copy, small, lower(member));
		}
		return copy;
	}
	if (!json_is_array(value))
		return json_incref(value);
	copy = json_array();
	json_array_foreach(value, i, member)
		json_array_append_new(copy, lower(member));
	return copy;
}

/* write_relays() - derp.yaml: "regions:\n  900: {JSON}", with numbers for names */
static int write_relays(const char *folder, const struct tailcfg_derp_map *map, struct error *err)
{
	struct buffer json = BUFFER_INIT(LIMIT_KEY_BODY), text = BUFFER_INIT(LIMIT_KEY_BODY);
	struct json_writer w = json_writer_to(&json);
	_cleanup_free_ char *path = NULL;
	json_t *whole = NULL, *small = NULL, *region;
	const char *id;
	int r;

	tailcfg_derp_map_encode(&w, NULL, map);
	r = json_writer_result(&w);
	if (r == 0 && asprintf(&path, "%s/derp.yaml", folder) < 0) {
		path = NULL;
		r = -ENOMEM;
	}
	if (r == 0) {
		whole = json_loadb((char *)buffer_head(&json), json.length, 0, NULL);
		small = lower(whole);
		r = buffer_printf(&text, "regions:\n");
	}
	json_object_foreach(json_object_get(small, "regions"), id, region) {
		_cleanup_free_ char *line = json_dumps(region, JSON_COMPACT);

		if (r == 0)
			r = line ? buffer_printf(&text, "  %s: %s\n", id, line) : -ENOMEM;
	}
	r = r < 0 ? error_set_errno(err, r, "relays")
		  : small_file_replace(path, buffer_head(&text), text.length, err);
	json_decref(whole);
	json_decref(small);
	buffer_free(&json);
	buffer_free(&text);
	return r;
}

int headscale_config_write(const char *path, const struct headscale_settings *s, struct error *err)
{
	struct writer w = {.text = BUFFER_INIT(CONFIG_MAX)};
	struct url url;
	int r = url_parse(s->url, &url, err);

	if (r < 0)
		return error_wrap(err, "URL %s", s->url);
	if (!url.tls && !s->derp_map)
		return error_set(
			err, -EINVAL,
			"an http:// URL leaves nodes without a relay, since Headscale's own relay "
			"needs TLS: use an https:// URL, or name relays by --derp-map (the "
			"file that 'pillion derp' writes)");
	if (s->derp_map) {
		r = write_relays(s->folder, s->derp_map, err);
		if (r < 0)
			return r;
	}
	put_all(&w, s, &url);
	r = w.error < 0 ? error_set_errno(err, w.error, "make a configuration")
			: small_file_replace(path, buffer_head(&w.text), w.text.length, err);
	buffer_free(&w.text);
	return r;
}

/* find_url() - The value of "server_url:" at the start of a line; false if there is none */
static bool find_url(const char *text, char out[static URL_MAX])
{
	static const char name[] = "server_url:";

	for (const char *line = text; line; line = strchr(line, '\n')) {
		size_t length;

		line += *line == '\n';
		if (strncmp(line, name, sizeof(name) - 1) != 0)
			continue;
		line += sizeof(name) - 1;
		line += strspn(line, " \t\"'");
		length = strcspn(line, " \t\r\n\"'");
		if (length == 0 || length >= URL_MAX)
			return false;
		memcpy(out, line, length);
		out[length] = 0;
		return true;
	}
	return false;
}

/* has_authority() - Whether the configuration uses the certificate of our private authority */
static bool has_authority(const char *text, const char *folder)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/server.pem", folder) < 0)
		path = NULL;
	return path && strstr(text, path);
}

int headscale_config_renew(const char *path, const char *folder, bool *ret_new, struct error *err)
{
	_cleanup_(certificate_pair_clear) struct certificate_pair pair = {0};
	_cleanup_free_ char *text = NULL;
	struct authority_made made = {0};
	char address[URL_MAX];
	struct url url;
	int r = small_file_read(path, &text, err);

	*ret_new = false;
	if (r < 0 || !has_authority(text, folder) || !find_url(text, address))
		return r;
	r = url_parse(address, &url, err);
	if (r == 0) {
		const char *names[] = {url.host, "localhost", "127.0.0.1", "::1"};

		r = certificate_by_authority(folder, names, ARRAY_SIZE(names), &pair, &made, err);
	}
	*ret_new = made.authority;
	return r < 0 ? error_wrap(err, "the certificate of a private authority") : 0;
}
