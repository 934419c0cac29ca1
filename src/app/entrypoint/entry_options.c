/* SPDX-License-Identifier: BSD-3-Clause */
/* app/entrypoint/entry_options.c - from variables and flags to the options of the supervisor */
#include "app/entrypoint/entry_options.h"

#include "app/cli/output.h"
#include "base/address.h"
#include "base/cleanup.h"
#include "base/secret.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#define LOG_ROOM "entrypoint"
#include "base/log.h"

#define HEALTH_ADDRESS_DEFAULT "[::]:9002"
#define FILE_PREFIX            "file:"

/* check_auth_key() - Refuse a secret that is not an auth key */
static int check_auth_key(const char *key, struct error *err)
{
	if (strncmp(key, "tskey-client-", 13) == 0)
		return error_set(err, -EINVAL,
				 "the key is an OAuth client secret, which is not supported yet; "
				 "make an auth key in the admin panel and use that");
	for (; *key; key++)
		if (*key <= ' ' || *key >= 0x7f)
			return error_set(
				err, -EINVAL,
				"the auth key holds a space or a byte that no key has; copy "
				"it again");
	return 0;
}

bool entry_has_login(const struct supervisor_options *options)
{
	const char *state_dir = options->state_dir ?: DEFAULT_STATE_DIR;
	char path[PATH_MAX];
	json_t *state;
	bool known;

	if (options->start.state_mode == START_STATE_MEMORY ||
	    snprintf(path, sizeof(path), "%s/" STATE_FILE_NAME, state_dir) >= (int)sizeof(path))
		return false;
	state = json_load_file(path, 0, NULL);
	known = json_is_string(json_object_get(state, "_current-profile"));
	json_decref(state);
	return known;
}

/* check_key() - Check @key, or the key in the file at @path; with a login a bad one is a warning */
static int check_key(const char *key, const char *path, const struct entry_options *o,
		     void (*warn)(const char *text), struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = NULL;
	bool known = entry_has_login(&o->supervisor);
	struct error why = {0};
	int r;

	/* It's read when one is wanted, which may be never. */
	if (path && known)
		return 0;
	r = path ? read_secret_file(path, &text, &why) : 0;
	if (r == 0)
		r = check_auth_key(path ? text : key, &why);
	if (r == 0)
		return 0;
	if (!known) {
		*err = why;
		return r;
	}
	error_wrap(&why, "this node is logged in and goes on without an auth key");
	warn(why.text);
	return 0;
}

/* set_auth_key() - The key itself, or the file that the supervisor is to read it from */
static int set_auth_key(const struct entry_settings *s, struct entry_options *o,
			void (*warn)(const char *text), struct error *err)
{
	const struct flag_value *key = &s->prefs[PREFS_AUTH_KEY];
	const char *path = NULL;
	int r;

	if (s->auth_key_file.given)
		path = s->auth_key_file.text;
	else if (key->given && strncmp(key->text, FILE_PREFIX, strlen(FILE_PREFIX)) == 0)
		path = key->text + strlen(FILE_PREFIX);
	else if (!key->given || !*key->text)
		return 0;
	r = check_key(key->text, path, o, warn, err);
	if (r < 0)
		return r;
	if (path) {
		o->auth_key_path = strdup(path);
		if (!o->auth_key_path)
			return error_set(err, -ENOMEM, "out of memory");
		o->supervisor.auth_key_file = o->auth_key_path;
	} else {
		o->auth_key = strdup(key->text);
		if (!o->auth_key)
			return error_set(err, -ENOMEM, "out of memory");
		o->supervisor.auth_key = o->auth_key;
	}
	o->supervisor.start.auth_key_present = true;
	return 0;
}

/* mend_address() - A template makes "::1:9002" of an IPv6 POD_IP: "[::1]:9002" is meant */
static char *mend_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	struct endpoint endpoint;
	char *mended = NULL;

	if (endpoint_parse(text, strlen(text), &endpoint) == 0)
		return strdup(text);
	if (!colon || text[0] == '[' || strchr(text, ':') == colon ||
	    asprintf(&mended, "[%.*s]%s", (int)(colon - text), text, colon) < 0)
		return NULL;
	if (endpoint_parse(mended, strlen(mended), &endpoint) == 0)
		return mended;
	free(mended);
	return NULL;
}

/* set_health_names() - By which names probes may ask: this machine's, and those that were given */
static int set_health_names(const struct entry_settings *s, struct privsep_start *start)
{
	const char *more = s->local_hosts.given ? s->local_hosts.text : "";
	struct utsname machine;

	if (!start->health_check && !start->metrics)
		return 0;
	if (uname(&machine) < 0)
		machine.nodename[0] = 0;
	return asprintf(&start->health_names, "%s,%s", machine.nodename, more) < 0 ? -ENOMEM : 0;
}

/* set_health() - Where /healthz and /metrics are served, if they are */
static int set_health(const struct entry_settings *s, struct entry_options *o, struct error *err)
{
	const struct flag_value *old = &s->old_health_address;
	const char *address =
		s->local_address.given ? s->local_address.text : HEALTH_ADDRESS_DEFAULT;
	struct supervisor_options *sup = &o->supervisor;

	if (old->given && s->health_check.on)
		return error_set(err, -EINVAL,
				 "TS_HEALTHCHECK_ADDR_PORT is the old name for "
				 "TS_ENABLE_HEALTH_CHECK=true with TS_LOCAL_ADDR_PORT; unset it");
	if (old->given && s->metrics.on && strcmp(old->text, address) != 0)
		return error_set(
			err, -EINVAL,
			"TS_HEALTHCHECK_ADDR_PORT and TS_ENABLE_METRICS would need two "
			"listeners; set TS_ENABLE_HEALTH_CHECK=true and TS_LOCAL_ADDR_PORT "
			"instead");
	if (old->given)
		address = old->text;
	sup->start.health_check |= s->health_check.on || old->given;
	sup->start.metrics |= s->metrics.on;
	if (s->daemon[DAEMON_HEALTH].given || s->daemon[DAEMON_METRICS].given ||
	    !(s->health_check.on || old->given || s->metrics.on))
		return 0;
	o->health_text = mend_address(address);
	if (!o->health_text)
		return error_set(err, -EINVAL,
				 "%s=%.64s is not ADDRESS:PORT; write 127.0.0.1:9002 or [::]:9002, "
				 "without a host name",
				 old->given ? "TS_HEALTHCHECK_ADDR_PORT" : "TS_LOCAL_ADDR_PORT",
				 address);
	sup->health_address = o->health_text;
	return 0;
}

/* check_operator() - Refuse an unknown user before anything is up; the node would refuse it too */
static int check_operator(const struct entry_settings *s, struct error *err)
{
	const struct flag_value *user = &s->prefs[PREFS_OPERATOR];
	struct passwd *entry;
	bool found = false;
	FILE *file;

	if (!user->given || !*user->text)
		return 0;
	file = fopen("/etc/passwd", "re");
	while (file && (entry = fgetpwent(file)))
		found |= strcmp(entry->pw_name, user->text) == 0;
	if (file)
		fclose(file);
	if (!found)
		return error_set(err, -EINVAL,
				 "--operator=%.64s: there is no such user in "
				 "/etc/passwd",
				 user->text);
	return 0;
}

static int set_prefs(const struct entry_settings *s, struct entry_options *o, struct error *err)
{
	o->masked = prefs_flags_masked(s->prefs, err);
	if (!o->masked)
		return err && err->code ? err->code : -EINVAL;
	o->supervisor.start.prefs = json_dumps(o->masked, JSON_COMPACT);
	if (!o->supervisor.start.prefs)
		return error_set(err, -ENOMEM, "out of memory");
	/* A captured engine must not overrule a "no" of the start configuration. */
	if (s->prefs[PREFS_ACCEPT_ROUTES].given && !s->prefs[PREFS_ACCEPT_ROUTES].on &&
	    !s->daemon[DAEMON_ALLOW_ROUTES].given)
		return daemon_set(&o->supervisor.start.allow_routes, "");
	return 0;
}

/* show_qr() - Into the log of the container, line by line, since PID 1 must not wait for a reader
 */
static void show_qr(const char *url)
{
	_cleanup_free_ char *code = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&code, &size);

	if (!out)
		return;
	print_qr(out, url);
	if (fclose(out) != 0)
		return;
	for (char *line = code, *end; (end = strchr(line, '\n')); line = end + 1)
		log_pass_on(line, (size_t)(end - line) + 1);
}

/* set_serve_config() - The JSON itself, in place of a file */
static int set_serve_config(const struct entry_settings *s, struct entry_options *o,
			    struct error *err)
{
	if (!s->serve_config_json.given)
		return 0;
	if (o->supervisor.serve_config)
		return error_set(err, -EINVAL,
				 "TS_SERVE_CONFIG and TS_SERVE_CONFIG_JSON are both set; unset one "
				 "of them");
	o->supervisor.serve_config_text = s->serve_config_json.text;
	return 0;
}

int entry_options_make(const struct entry_settings *s, bool strict, void (*warn)(const char *text),
		       struct entry_options *ret, struct error *err)
{
	struct entry_options o = {0};
	int r;

	supervisor_options_init(&o.supervisor);
	r = daemon_flags_apply(s->daemon, strict, warn, &o.supervisor, err);
	if (r == 0)
		r = set_health(s, &o, err);
	if (r == 0 && (r = set_health_names(s, &o.supervisor.start)) < 0)
		error_set_errno(err, r, "the names for health and metrics");
	if (r == 0)
		r = set_serve_config(s, &o, err);
	if (r == 0)
		r = check_operator(s, err);
	if (r == 0)
		r = set_prefs(s, &o, err);
	if (r == 0)
		r = set_auth_key(s, &o, warn, err);
	if (r < 0) {
		entry_options_clear(&o);
		return r;
	}
	if (s->prefs[PREFS_QR].on)
		o.supervisor.show_login = show_qr;
	if (s->boot_timeout.given)
		o.supervisor.boot_timeout = s->boot_timeout.number;
	else if (s->prefs[PREFS_TIMEOUT].given)
		o.supervisor.boot_timeout = s->prefs[PREFS_TIMEOUT].number;
	*ret = o;
	return 0;
}

void entry_options_clear(struct entry_options *o)
{
	privsep_start_clear(&o->supervisor.start);
	json_decref(o->masked);
	secret_string_free(o->auth_key);
	free(o->auth_key_path);
	free(o->health_text);
	*o = (struct entry_options){0};
}
