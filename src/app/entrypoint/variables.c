/* SPDX-License-Identifier: BSD-3-Clause */
/* app/entrypoint/variables.c - the TS_* variables, by one table */
#include "app/entrypoint/variables.h"

#include "app/cli/flag_values.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX      "TS_"
#define WORDS_MAX   256
#define NAMES_MAX   128
#define SETTING(at) offsetof(struct entry_settings, at)

#define ROW(name_, kind_, since_, handling_, target_, flag_, text_)                   \
	{                                                                             \
		.name = name_, .kind = kind_, .since = since_, .handling = handling_, \
		.target = target_, .flag = flag_, .text = text_                       \
	}
#define PREFS(name_, kind_, since_, flag_, text_) \
	ROW(name_, kind_, since_, HANDLED, TARGET_PREFS, flag_, text_)
#define DAEMON(name_, kind_, since_, flag_, text_) \
	ROW(name_, kind_, since_, HANDLED, TARGET_DAEMON, flag_, text_)
#define OWN(name_, kind_, since_, at_, text_) \
	ROW(name_, kind_, since_, HANDLED, TARGET_SETTINGS, SETTING(at_), text_)
#define LATER(name_, text_) \
	ROW(name_, VARIABLE_STRING, SINCE_OFFICIAL, NOT_YET, TARGET_NONE, 0, text_)
#define NEVER(name_) ROW(name_, VARIABLE_STRING, SINCE_OFFICIAL, NOT_NEEDED, TARGET_NONE, 0, NULL)

const struct variable variables[] = {
	PREFS("TS_AUTHKEY", VARIABLE_STRING, SINCE_OFFICIAL, PREFS_AUTH_KEY,
	      "the auth key, or file:PATH of one"),
	OWN("TS_AUTH_KEY", VARIABLE_STRING, SINCE_OFFICIAL, auth_key_alias,
	    "the same as TS_AUTHKEY"),
	OWN("TS_AUTHKEY_FILE", VARIABLE_STRING, SINCE_PILLION, auth_key_file,
	    "a file with the auth key"),
	OWN("TS_AUTH_KEY_FILE", VARIABLE_STRING, SINCE_PILLION, auth_key_alias_file,
	    "the same as TS_AUTHKEY_FILE"),
	PREFS("TS_HOSTNAME", VARIABLE_STRING, SINCE_OFFICIAL, PREFS_HOSTNAME,
	      "the node's name (default: the container's hostname)"),
	PREFS("TS_ACCEPT_DNS", VARIABLE_BOOL, SINCE_OFFICIAL, PREFS_ACCEPT_DNS,
	      "no effect yet: true is warned of (default: false)"),
	PREFS("TS_LOGIN_SERVER", VARIABLE_STRING, SINCE_PILLION, PREFS_LOGIN_SERVER,
	      "URL of the coordination server (default: Tailscale's)"),
	DAEMON("TS_STATE_DIR", VARIABLE_STRING, SINCE_OFFICIAL, DAEMON_STATE_DIR,
	       "folder of the node's identity (default: kept in memory only)"),
	DAEMON("TS_SOCKET", VARIABLE_STRING, SINCE_OFFICIAL, DAEMON_SOCKET,
	       "path of the LocalAPI socket"),
	DAEMON("TS_CA_FILE", VARIABLE_STRING, SINCE_PILLION, DAEMON_CA_FILE,
	       "PEM file of authorities to trust besides the system's"),
	DAEMON("TS_TAILNET_PREFIX", VARIABLE_STRING, SINCE_PILLION, DAEMON_TAILNET_PREFIX,
	       "address pools of a server that has its own: PREFIX,PREFIX"),
	OWN("TS_EXTRA_ARGS", VARIABLE_WORDS, SINCE_OFFICIAL, extra_args,
	    "flags of 'pillion up', separated by spaces"),
	OWN("TS_TAILSCALED_EXTRA_ARGS", VARIABLE_WORDS, SINCE_OFFICIAL, daemon_extra_args,
	    "flags of 'pillion daemon', separated by spaces"),
	OWN("TS_USERSPACE", VARIABLE_BOOL, SINCE_OFFICIAL, userspace,
	    "true is warned of: there is always a kernel interface"),
	OWN("TS_AUTH_ONCE", VARIABLE_BOOL, SINCE_OFFICIAL, auth_once,
	    "log in only when the state holds no login (default: false)"),
	OWN("TS_ENABLE_HEALTH_CHECK", VARIABLE_BOOL, SINCE_OFFICIAL, health_check,
	    "serve /healthz (default: false)"),
	OWN("TS_ENABLE_METRICS", VARIABLE_BOOL, SINCE_OFFICIAL, metrics,
	    "serve /metrics (default: false)"),
	OWN("TS_LOCAL_ADDR_PORT", VARIABLE_ADDRESS, SINCE_OFFICIAL, local_address,
	    "ADDRESS:PORT of both (default: [::]:9002)"),
	OWN("TS_LOCAL_HOSTS", VARIABLE_STRING, SINCE_PILLION, local_hosts,
	    "NAME,NAME by which probes may ask there, besides address and hostname"),
	OWN("TS_HEALTHCHECK_ADDR_PORT", VARIABLE_ADDRESS, SINCE_OFFICIAL, old_health_address,
	    "old: serve /healthz at ADDRESS:PORT"),
	OWN("TS_BOOT_TIMEOUT", VARIABLE_DURATION, SINCE_OFFICIAL, boot_timeout,
	    "end with 1 when it isn't running after that: 60s (default: wait)"),

	LATER("TS_CLIENT_ID", "log in by TS_AUTHKEY"),
	LATER("TS_CLIENT_SECRET", "log in by TS_AUTHKEY"),
	LATER("TS_ID_TOKEN", "log in by TS_AUTHKEY"),
	LATER("TS_AUDIENCE", "log in by TS_AUTHKEY"),
	LATER("TS_ROUTES", NULL),
	LATER("TS_DEST_IP", NULL),
	LATER("TS_EXPERIMENTAL_DEST_DNS_NAME", NULL),
	LATER("TS_TAILNET_TARGET_IP", NULL),
	LATER("TS_TAILNET_TARGET_FQDN", NULL),
	LATER("TS_KUBE_SECRET", "keep the state on a volume, with TS_STATE_DIR"),
	LATER("TS_SOCKS5_SERVER", "the kernel interface serves every program already"),
	LATER("TS_OUTBOUND_HTTP_PROXY_LISTEN", "the kernel interface serves every program already"),
	LATER("TS_SERVE_CONFIG", "the app's ports are reachable as they are"),
	LATER("TS_DEBUG_ADDR_PORT", NULL),
	LATER("TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR", NULL),
	LATER("TS_EXPERIMENTAL_ENABLE_FORWARDING_OPTIMIZATIONS", NULL),
	LATER("TS_EXPERIMENTAL_SERVICE_AUTO_ADVERTISEMENT", NULL),
	LATER("TS_EGRESS_PROXIES_CONFIG_PATH", NULL),
	LATER("TS_INGRESS_PROXIES_CONFIG_PATH", NULL),
	LATER("TS_EXPERIMENTAL_CERT_SHARE", NULL),
	LATER("TS_CERT_SHARE_MODE", NULL),
	LATER("TS_PERMIT_CERT_UID", NULL),
	LATER("TS_KUBERNETES_READ_API_SERVER_ADDRESS_FROM_ENV", NULL),

	/* Read by the official daemon itself. */
	DAEMON("TS_DEBUG_MTU", VARIABLE_STRING, SINCE_OFFICIAL, DAEMON_MTU, "MTU of the interface"),
	NEVER("TS_NO_LOGS_NO_SUPPORT"),
	NEVER("TS_LOGS_DIR"),
	NEVER("TS_LOG_TARGET"),
	NEVER("TS_LOG_VERBOSITY"),
	NEVER("TS_DEBUG_FIREWALL_MODE"),
	NEVER("TS_HOST_ENV"),
	NEVER("TS_CERT_DOMAIN"),
	LATER("TS_DEBUG_ENABLE_PMTUD", NULL),
	LATER("TS_DEBUG_ALWAYS_USE_DERP", NULL),
	LATER("TS_DEBUG_NEVER_DIRECT_UDP", NULL),
	LATER("TS_DEBUG_PRETENDPOINT", NULL),
	LATER("TS_DISABLE_UPNP", NULL),
	LATER("TS_DISABLE_PORTMAPPER", NULL),
	LATER("TS_FORCE_NOISE_443", NULL),
	LATER("TS_DISABLE_FEATURE", NULL),
	LATER("TS_SERVE_ALLOW_ALL_INTERFACES", NULL),
};
const size_t variable_count = ARRAY_SIZE(variables);
_Static_assert(ARRAY_SIZE(variables) <= NAMES_MAX, "room for the names");

void variables_each(void (*print)(const char *name, const char *text))
{
	for (size_t i = 0; i < variable_count; i++)
		if (variables[i].handling == HANDLED)
			print(variables[i].name, variables[i].text);
	for (size_t i = 0; i < variable_count; i++)
		if (variables[i].handling == NOT_YET)
			print(variables[i].name, "not supported yet");
	for (size_t i = 0; i < variable_count; i++)
		if (variables[i].handling == NOT_NEEDED)
			print(variables[i].name, "not needed here");
}

static const struct variable *find(const char *name, size_t length)
{
	for (size_t i = 0; i < variable_count; i++)
		if (strlen(variables[i].name) == length &&
		    strncmp(variables[i].name, name, length) == 0)
			return &variables[i];
	return NULL;
}

static void warn_unknown(const char *name, void (*warn)(const char *text))
{
	const char *names[NAMES_MAX], *near;
	char text[ERROR_TEXT_MAX];

	/* They all begin alike: what comes after counts. */
	for (size_t i = 0; i < variable_count; i++)
		names[i] = variables[i].name + strlen(PREFIX);
	near = value_nearest(name + strlen(PREFIX), names, variable_count);
	if (near)
		snprintf(text, sizeof(text),
			 "the variable %.64s is unknown and passed over; did you mean " PREFIX
			 "%s?",
			 name, near);
	else
		snprintf(text, sizeof(text), "the variable %.64s is unknown and passed over", name);
	warn(text);
}

static struct flag_value *place(struct entry_settings *s, const struct variable *v)
{
	if (v->target == TARGET_PREFS)
		return &s->prefs[v->flag];
	if (v->target == TARGET_DAEMON)
		return &s->daemon[v->flag];
	return (struct flag_value *)(void *)((char *)s + v->flag);
}

/* is_number() - Whether the flag that @v stands for is a number (TS_DEBUG_MTU) */
static bool is_number(const struct variable *v)
{
	return v->target == TARGET_DAEMON && daemon_flags[v->flag].kind == FLAG_INTEGER;
}

static int read_one(const struct variable *v, const char *text, void (*warn)(const char *text),
		    struct entry_settings *s, struct error *err)
{
	struct flag_value value = {.given = true, .text = text};
	char line[ERROR_TEXT_MAX];

	if (v->handling == NOT_YET) {
		snprintf(line, sizeof(line),
			 "the variable %s is not supported yet and passed over%s%s", v->name,
			 v->text ? ": " : "", v->text ? v->text : "");
		warn(line);
	}
	if (v->handling != HANDLED)
		return 0;
	if (v->kind == VARIABLE_BOOL && bool_parse(text, &value.on) < 0) {
		snprintf(line, sizeof(line),
			 "the variable %s is passed over: '%.32s' is neither true nor false",
			 v->name, text);
		warn(line);
		return 0;
	}
	if (v->kind == VARIABLE_DURATION && value_parse_duration(text, &value.number) < 0)
		return error_set(
			err, -EINVAL,
			"%s=%.32s is no duration; write 60s or 1m30s, or leave it unset to "
			"wait without limit",
			v->name, text);
	if (is_number(v) && value_parse_integer(text, &value.number) < 0)
		return error_set(err, -EINVAL, "%s=%.32s is no number", v->name, text);
	*place(s, v) = value;
	return 0;
}

/* split() - As strings.Fields: at white space, no quoting; @ret_argv points into *@ret_words */
static int split(const char *text, char **ret_words, char *ret_argv[static WORDS_MAX])
{
	char *words = strdup(text), *rest = words, *word;
	int count = 0;

	if (!words)
		return -ENOMEM;
	*ret_words = words;
	while (count < WORDS_MAX && (word = strsep(&rest, " \t\r\n\v\f")))
		if (*word)
			ret_argv[count++] = word;
	return count;
}

static int read_words(const struct flag_value *variable, const char *name,
		      const struct flag_group *groups, size_t count, char **ret_words,
		      void (*warn)(const char *text), struct error *err)
{
	const struct flag_reader reader = {
		.groups = groups,
		.count = count,
		.source = FLAGS_VARIABLE,
		.where = name,
		.warn = warn,
	};
	char *argv[WORDS_MAX];
	int r;

	if (!variable->given)
		return 0;
	r = split(variable->text, ret_words, argv);
	if (r < 0)
		return error_set(err, r, "out of memory");
	r = flags_parse(&reader, r, argv, NULL, err);
	if (r == -ECANCELED)
		return error_set(err, -EINVAL, "%s holds --help; remove it", name);
	return r < 0 ? r : 0;
}

static int read_extra_args(struct entry_settings *s, void (*warn)(const char *text),
			   struct error *err)
{
	const struct flag_group up[] = {{"", prefs_flags, s->prefs, PREFS_FLAG_COUNT}};
	const struct flag_group daemon[] = {{"", daemon_flags, s->daemon, DAEMON_FLAG_COUNT}};
	const char *server = s->prefs[PREFS_LOGIN_SERVER].text;
	const char *key = s->prefs[PREFS_AUTH_KEY].text;
	const char *ca_file = s->daemon[DAEMON_CA_FILE].text;
	int r;

	r = read_words(&s->extra_args, "TS_EXTRA_ARGS", up, 1, &s->words[0], warn, err);
	if (r == 0)
		r = read_words(&s->daemon_extra_args, "TS_TAILSCALED_EXTRA_ARGS", daemon, 1,
			       &s->words[1], warn, err);
	if (r < 0)
		return r;
	if (server && strcmp(server, s->prefs[PREFS_LOGIN_SERVER].text) != 0)
		return error_set(err, -EINVAL,
				 "TS_LOGIN_SERVER says %.80s and --login-server in TS_EXTRA_ARGS "
				 "says %.80s; remove one of them",
				 server, s->prefs[PREFS_LOGIN_SERVER].text);
	if (key && strcmp(key, s->prefs[PREFS_AUTH_KEY].text) != 0)
		return error_set(err, -EINVAL,
				 "TS_AUTHKEY and --auth-key in TS_EXTRA_ARGS hold two different "
				 "keys; remove one of them");
	if (ca_file && strcmp(ca_file, s->daemon[DAEMON_CA_FILE].text) != 0)
		return error_set(err, -EINVAL,
				 "TS_CA_FILE says %.80s and --ca-file in TS_TAILSCALED_EXTRA_ARGS "
				 "says %.80s; remove one of them",
				 ca_file, s->daemon[DAEMON_CA_FILE].text);
	return 0;
}

/* merge_alias() - @alias is another name of @value: take it over, unless they contradict */
static int merge_alias(struct flag_value *value, const struct flag_value *alias, const char *name,
		       const char *alias_name, struct error *err)
{
	if (!alias->given)
		return 0;
	if (value->given && strcmp(value->text, alias->text) != 0)
		return error_set(err, -EINVAL,
				 "%s and %s are both set, to different values; unset "
				 "one of them",
				 name, alias_name);
	*value = *alias;
	return 0;
}

static int merge_keys(struct entry_settings *s, struct error *err)
{
	struct flag_value *key = &s->prefs[PREFS_AUTH_KEY];
	int r;

	r = merge_alias(key, &s->auth_key_alias, "TS_AUTHKEY", "TS_AUTH_KEY", err);
	if (r == 0)
		r = merge_alias(&s->auth_key_file, &s->auth_key_alias_file, "TS_AUTHKEY_FILE",
				"TS_AUTH_KEY_FILE", err);
	if (r == 0 && key->given && s->auth_key_file.given)
		r = error_set(err, -EINVAL,
			      "TS_AUTHKEY and TS_AUTHKEY_FILE are both set; unset one of them");
	return r;
}

int variables_read(char *const *environment, void (*warn)(const char *text),
		   struct entry_settings *ret, struct error *err)
{
	struct entry_settings s = {0};
	int r = 0;

	for (; r == 0 && *environment; environment++) {
		const char *equals = strchr(*environment, '=');
		const struct variable *v;
		char name[128];

		if (strncmp(*environment, PREFIX, strlen(PREFIX)) != 0 || !equals)
			continue;
		v = find(*environment, (size_t)(equals - *environment));
		if (v && equals[1])
			r = read_one(v, equals + 1, warn, &s, err);
		if (v)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(equals - *environment), *environment);
		warn_unknown(name, warn);
	}
	if (r == 0)
		r = merge_keys(&s, err);
	if (r == 0)
		r = read_extra_args(&s, warn, err);
	if (r == 0 && s.auth_key_file.given && s.prefs[PREFS_AUTH_KEY].given)
		r = error_set(
			err, -EINVAL,
			"TS_AUTHKEY_FILE and --auth-key in TS_EXTRA_ARGS are both set; remove "
			"one of them");
	if (r < 0) {
		variables_clear(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void variables_clear(struct entry_settings *s)
{
	/* The first holds pieces cut by zeros: its end is not its first zero. */
	for (size_t i = 0; i < ARRAY_SIZE(s->words); i++) {
		const struct flag_value *from = i == 0 ? &s->extra_args : &s->daemon_extra_args;

		if (s->words[i])
			explicit_bzero(s->words[i], strlen(from->text));
		free(s->words[i]);
	}
	*s = (struct entry_settings){0};
}
