/* SPDX-License-Identifier: BSD-3-Clause */
/* app/entrypoint/variables.c - the TS_* variables, by one table */
#include "app/entrypoint/variables.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX    "TS_"
#define WORDS_MAX 256
#define NAMES_MAX 128

#define UP(name_, flag, text_)                                                   \
	{                                                                        \
		.name = name_, .handling = FLAG_OF_UP, .at = flag, .text = text_ \
	}
#define DAEMON(name_, flag, text_)                                                   \
	{                                                                            \
		.name = name_, .handling = FLAG_OF_DAEMON, .at = flag, .text = text_ \
	}
#define OWN(name_, kind_, field, text_)                                     \
	{                                                                   \
		.name = name_, .handling = SETTING, .kind = kind_,          \
		.at = offsetof(struct entry_settings, field), .text = text_ \
	}
#define LATER(name_, text_)                                       \
	{                                                         \
		.name = name_, .handling = NOT_YET, .text = text_ \
	}
#define NEVER(name_)                                  \
	{                                             \
		.name = name_, .handling = NOT_NEEDED \
	}

const struct variable variables[] = {
	UP("TS_AUTHKEY", PREFS_AUTH_KEY, "the auth key, or file:PATH of one"),
	OWN("TS_AUTH_KEY", FLAG_STRING, auth_key_alias, "the same as TS_AUTHKEY"),
	OWN("TS_AUTHKEY_FILE", FLAG_STRING, auth_key_file, "a file with the auth key"),
	OWN("TS_AUTH_KEY_FILE", FLAG_STRING, auth_key_alias_file, "the same as TS_AUTHKEY_FILE"),
	UP("TS_HOSTNAME", PREFS_HOSTNAME, "the node's name (default: the container's hostname)"),
	UP("TS_ACCEPT_DNS", PREFS_ACCEPT_DNS, "no effect yet: true is warned of (default: false)"),
	UP("TS_LOGIN_SERVER", PREFS_LOGIN_SERVER,
	   "URL of the coordination server (default: Tailscale's)"),
	DAEMON("TS_STATE_DIR", DAEMON_STATE_DIR,
	       "folder of the node's identity (default: kept in memory only)"),
	DAEMON("TS_SOCKET", DAEMON_SOCKET, "path of the LocalAPI socket"),
	DAEMON("TS_CA_FILE", DAEMON_CA_FILE,
	       "PEM file of authorities to trust besides the system's"),
	DAEMON("TS_TAILNET_PREFIX", DAEMON_TAILNET_PREFIX,
	       "address pools of a server that has its own: PREFIX,PREFIX"),
	OWN("TS_EXTRA_ARGS", FLAG_STRING, extra_args, "flags of 'pillion up', separated by spaces"),
	OWN("TS_TAILSCALED_EXTRA_ARGS", FLAG_STRING, daemon_extra_args,
	    "flags of 'pillion daemon', separated by spaces"),
	OWN("TS_USERSPACE", FLAG_BOOL, userspace,
	    "true is warned of: there is always a kernel interface"),
	OWN("TS_AUTH_ONCE", FLAG_BOOL, auth_once,
	    "log in only when the state holds no login (default: false)"),
	OWN("TS_ENABLE_HEALTH_CHECK", FLAG_BOOL, health_check, "serve /healthz (default: false)"),
	OWN("TS_ENABLE_METRICS", FLAG_BOOL, metrics, "serve /metrics (default: false)"),
	OWN("TS_LOCAL_ADDR_PORT", FLAG_STRING, local_address,
	    "ADDRESS:PORT of both (default: [::]:9002)"),
	OWN("TS_LOCAL_HOSTS", FLAG_STRING, local_hosts,
	    "NAME,NAME by which probes may ask there, besides address and hostname"),
	OWN("TS_HEALTHCHECK_ADDR_PORT", FLAG_STRING, old_health_address,
	    "old: serve /healthz at ADDRESS:PORT"),
	OWN("TS_BOOT_TIMEOUT", FLAG_DURATION, boot_timeout,
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
	DAEMON("TS_DEBUG_MTU", DAEMON_MTU, "MTU of the interface"),
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
	static const char *const texts[] = {
		[NOT_YET] = "not supported yet", [NOT_NEEDED] = "not needed here"};

	for (size_t i = 0; i < variable_count; i++)
		if (variables[i].handling < NOT_YET)
			print(variables[i].name, variables[i].text);
	for (int handling = NOT_YET; handling <= NOT_NEEDED; handling++)
		for (size_t i = 0; i < variable_count; i++)
			if (variables[i].handling == (enum variable_handling)handling)
				print(variables[i].name, texts[handling]);
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

	/* They all begin alike: the rest of the name is compared. */
	for (size_t i = 0; i < variable_count; i++)
		names[i] = variables[i].name + strlen(PREFIX);
	near = value_nearest(name + strlen(PREFIX), names, variable_count);
	if (near)
		snprintf(text, sizeof(text),
			 "the variable %.64s is unknown and ignored; did you mean " PREFIX "%s?",
			 name, near);
	else
		snprintf(text, sizeof(text), "the variable %.64s is unknown and ignored", name);
	warn(text);
}

static int read_one(const struct variable *v, const char *text, void (*warn)(const char *text),
		    struct entry_settings *s, struct error *err)
{
	const struct flag setting = {.name = v->name, .kind = v->kind};
	const struct flag *flag = &setting;
	struct flag_value *value;
	char line[ERROR_TEXT_MAX];
	bool unused;

	switch (v->handling) {
	case FLAG_OF_UP:
		flag = &prefs_flags[v->at];
		value = &s->prefs[v->at];
		break;
	case FLAG_OF_DAEMON:
		flag = &daemon_flags[v->at];
		value = &s->daemon[v->at];
		break;
	case SETTING:
		value = (struct flag_value *)(void *)((char *)s + v->at);
		break;
	case NOT_YET:
		snprintf(line, sizeof(line), "the variable %s is not supported yet and ignored%s%s",
			 v->name, v->text ? ": " : "", v->text ? v->text : "");
		warn(line);
		return 0;
	default:
		return 0;
	}
	if (flag->kind == FLAG_BOOL && bool_parse(text, &unused) < 0) {
		snprintf(line, sizeof(line),
			 "the variable %s is ignored: '%.32s' is neither true nor false", v->name,
			 text);
		warn(line);
		return 0;
	}
	return flag_read(flag, v->name, text, value, err);
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
