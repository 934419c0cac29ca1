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

enum variable_handling {
	FLAG_OF_UP,     /* .at is an enum prefs_flag */
	FLAG_OF_DAEMON, /* .at is an enum daemon_flag */
	SETTING,        /* .at is an offset in struct entry_settings */
	NOT_YET,        /* a warning names it */
	NOT_NEEDED,     /* there is nothing to do for it here */
};

#define OWN(field) offsetof(struct entry_settings, field)

#define NO_SSH "this node runs no SSH server"

static const struct variable {
	const char *name;
	enum variable_handling handling;
	size_t at;
	enum flag_kind kind; /* SETTING */
	const char *text;    /* its help; NOT_YET: what to do instead, or NULL */
} variables[] = {
	{"TS_AUTHKEY", FLAG_OF_UP, PREFS_AUTH_KEY, .text = "the auth key, or file:PATH of one"},
	{"TS_AUTH_KEY", SETTING, OWN(auth_key_alias), FLAG_STRING, "the same as TS_AUTHKEY"},
	{"TS_AUTHKEY_FILE", SETTING, OWN(auth_key_file), FLAG_STRING, "a file with the auth key"},
	{"TS_AUTH_KEY_FILE", SETTING, OWN(auth_key_alias_file), FLAG_STRING,
	 "the same as TS_AUTHKEY_FILE"},
	{"TS_HOSTNAME", FLAG_OF_UP, PREFS_HOSTNAME,
	 .text = "the node's name (default: the container's hostname)"},
	{"TS_ACCEPT_DNS", FLAG_OF_UP, PREFS_ACCEPT_DNS,
	 .text = "no effect yet: true is warned of (default: false)"},
	{"TS_LOGIN_SERVER", FLAG_OF_UP, PREFS_LOGIN_SERVER,
	 .text = "URL of the coordination server (default: Tailscale's)"},
	{"TS_STATE_DIR", FLAG_OF_DAEMON, DAEMON_STATE_DIR,
	 .text = "folder of the node's identity (default: kept in memory only)"},
	{"TS_SOCKET", FLAG_OF_DAEMON, DAEMON_SOCKET, .text = "path of the LocalAPI socket"},
	{"TS_CA_FILE", FLAG_OF_DAEMON, DAEMON_CA_FILE,
	 .text = "PEM file of authorities to trust besides the system's"},
	{"TS_SERVE_CONFIG", FLAG_OF_DAEMON, DAEMON_SERVE_CONFIG,
	 .text = "JSON file of the ports to serve, as of 'tailscale serve'; it is watched"},
	{"TS_SERVE_CONFIG_JSON", SETTING, OWN(serve_config_json), FLAG_STRING,
	 "the JSON of TS_SERVE_CONFIG itself, in place of a file"},
	{"TS_SERVE_ROOT", FLAG_OF_DAEMON, DAEMON_SERVE_ROOT,
	 .text = "folders below which files and Unix sockets may be served: FOLDER:FOLDER"},
	{"TS_CERT_FILE", FLAG_OF_DAEMON, DAEMON_CERT,
	 .text = "PEM certificate for HTTPS (default: made here)"},
	{"TS_KEY_FILE", FLAG_OF_DAEMON, DAEMON_KEY, .text = "PEM private key of TS_CERT_FILE"},
	{"TS_ACME_DIRECTORY_URL", FLAG_OF_DAEMON, DAEMON_ACME_DIRECTORY,
	 .text = "https:// URL of the ACME authority (default: Let's Encrypt)"},
	{"TS_ACME_EMAIL", FLAG_OF_DAEMON, DAEMON_ACME_EMAIL,
	 .text = "contact address for the ACME authority"},
	{"TS_ACME_CHALLENGE", FLAG_OF_DAEMON, DAEMON_ACME_CHALLENGE,
	 .text = "set-dns, dns-01, tls-alpn-01, http-01, off, or auto (default)"},
	{"TS_ACME_EAB_KID", FLAG_OF_DAEMON, DAEMON_ACME_EAB_KID,
	 .text = "external account at the ACME authority"},
	{"TS_ACME_EAB_HMAC", FLAG_OF_DAEMON, DAEMON_ACME_EAB_HMAC,
	 .text = "its key in base64url, or file:PATH of it"},
	{"TS_ACME_DNS_SERVER", FLAG_OF_DAEMON, DAEMON_ACME_DNS_SERVER,
	 .text = "HOST[:PORT] that takes DNS updates (RFC 2136) for dns-01"},
	{"TS_ACME_DNS_ZONE", FLAG_OF_DAEMON, DAEMON_ACME_DNS_ZONE,
	 .text = "zone of the name (default: the server is asked)"},
	{"TS_ACME_DNS_KEY", FLAG_OF_DAEMON, DAEMON_ACME_DNS_KEY,
	 .text = "its TSIG key, NAME:SECRET (hmac-sha256), or file:PATH of one"},
	{"TS_ACME_LISTEN", FLAG_OF_DAEMON, DAEMON_ACME_LISTEN,
	 .text = "public ADDRESS:PORT for the ACME authority alone"},
	{"TS_INGRESS_FROM", FLAG_OF_DAEMON, DAEMON_INGRESS_FROM,
	 .text = "nodes that may bring in the internet (Funnel): tag:TAG, names"},
	{"TS_TAILNET_PREFIX", FLAG_OF_DAEMON, DAEMON_TAILNET_PREFIX,
	 .text = "address pools of a server that has its own: PREFIX,PREFIX"},
	{"TS_EXTRA_ARGS", SETTING, OWN(extra_args), FLAG_STRING,
	 "flags of 'pillion up', separated by spaces"},
	{"TS_TAILSCALED_EXTRA_ARGS", SETTING, OWN(daemon_extra_args), FLAG_STRING,
	 "flags of 'pillion daemon', separated by spaces"},
	{"TS_USERSPACE", SETTING, OWN(userspace), FLAG_BOOL,
	 "true is warned of: there is always a kernel interface"},
	{"TS_AUTH_ONCE", SETTING, OWN(auth_once), FLAG_BOOL,
	 "log in only when the state holds no login (default: false)"},
	{"TS_ENABLE_HEALTH_CHECK", SETTING, OWN(health_check), FLAG_BOOL,
	 "serve /healthz (default: false)"},
	{"TS_ENABLE_METRICS", SETTING, OWN(metrics), FLAG_BOOL, "serve /metrics (default: false)"},
	{"TS_LOCAL_ADDR_PORT", SETTING, OWN(local_address), FLAG_STRING,
	 "ADDRESS:PORT of both (default: [::]:9002)"},
	{"TS_LOCAL_HOSTS", SETTING, OWN(local_hosts), FLAG_STRING,
	 "NAME,NAME by which probes may ask there, besides address and hostname"},
	{"TS_HEALTHCHECK_ADDR_PORT", SETTING, OWN(old_health_address), FLAG_STRING,
	 "old: serve /healthz at ADDRESS:PORT"},
	{"TS_BOOT_TIMEOUT", SETTING, OWN(boot_timeout), FLAG_DURATION,
	 "end with 1 when it isn't running after that: 60s (default: wait)"},

	{"TS_CLIENT_ID", NOT_YET, .text = "log in by TS_AUTHKEY"},
	{"TS_CLIENT_SECRET", NOT_YET, .text = "log in by TS_AUTHKEY"},
	{"TS_ID_TOKEN", NOT_YET, .text = "log in by TS_AUTHKEY"},
	{"TS_AUDIENCE", NOT_YET, .text = "log in by TS_AUTHKEY"},
	{"TS_ROUTES", NOT_YET, .text = "run the official image on the subnet router"},
	{"TS_DEST_IP", NOT_YET,
	 .text = "lead ports to the address by TCPForward in TS_SERVE_CONFIG"},
	{"TS_EXPERIMENTAL_DEST_DNS_NAME", NOT_YET,
	 .text = "lead ports to the name by TCPForward in TS_SERVE_CONFIG"},
	{"TS_TAILNET_TARGET_IP", NOT_YET,
	 .text = "programs in the network namespace of this node reach the address"},
	{"TS_TAILNET_TARGET_FQDN", NOT_YET,
	 .text = "programs in the network namespace of this node reach the address"},
	{"TS_KUBE_SECRET", NOT_YET, .text = "keep the state on a volume, with TS_STATE_DIR"},
	{"TS_SOCKS5_SERVER", NOT_YET, .text = "the kernel interface serves every program already"},
	{"TS_OUTBOUND_HTTP_PROXY_LISTEN", NOT_YET,
	 .text = "the kernel interface serves every program already"},
	{"TS_DEBUG_ADDR_PORT", NOT_YET,
	 .text = "metrics are at TS_LOCAL_ADDR_PORT, with TS_ENABLE_METRICS=true"},
	{"TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR", NOT_YET, .text = "set the other TS_* variables"},
	{"TS_EXPERIMENTAL_ENABLE_FORWARDING_OPTIMIZATIONS", NOT_YET,
	 .text = "only subnet routers need it"},
	{"TS_EXPERIMENTAL_SERVICE_AUTO_ADVERTISEMENT", NOT_YET, .text = "Services are not offered"},
	{"TS_EGRESS_PROXIES_CONFIG_PATH", NOT_YET,
	 .text = "proxies of the Kubernetes operator need the official image"},
	{"TS_INGRESS_PROXIES_CONFIG_PATH", NOT_YET,
	 .text = "proxies of the Kubernetes operator need the official image"},
	{"TS_EXPERIMENTAL_CERT_SHARE", NOT_YET, .text = "each node gets a certificate of its own"},
	{"TS_CERT_SHARE_MODE", NOT_YET, .text = "each node gets a certificate of its own"},
	{"TS_PERMIT_CERT_UID", NOT_YET,
	 .text = "'pillion set --operator=USER' allows it to one user"},
	{"TS_KUBERNETES_READ_API_SERVER_ADDRESS_FROM_ENV", NOT_YET,
	 .text = "keep the state on a volume, with TS_STATE_DIR"},

	/* Read by the official daemon itself. */
	{"TS_DEBUG_MTU", FLAG_OF_DAEMON, DAEMON_MTU, .text = "MTU of the interface"},
	{"TS_DEBUG_ACME_DIRECTORY_URL", FLAG_OF_DAEMON, DAEMON_ACME_DIRECTORY,
	 .text = "the same as TS_ACME_DIRECTORY_URL"},
	{"TS_NO_LOGS_NO_SUPPORT", NOT_NEEDED, .text = NULL},
	{"TS_LOGS_DIR", NOT_NEEDED, .text = NULL},
	{"TS_LOG_TARGET", NOT_NEEDED, .text = NULL},
	{"TS_LOG_VERBOSITY", NOT_NEEDED, .text = NULL},
	{"TS_DEBUG_FIREWALL_MODE", NOT_NEEDED, .text = NULL},
	{"TS_HOST_ENV", NOT_NEEDED, .text = NULL},
	{"TS_CERT_DOMAIN", NOT_NEEDED, .text = NULL},
	{"TS_DEBUG_ENABLE_PMTUD", NOT_YET, .text = "set the MTU by TS_DEBUG_MTU"},
	{"TS_DEBUG_ALWAYS_USE_DERP", NOT_YET,
	 .text = "drop UDP by a firewall to have peers reached by relays"},
	{"TS_DEBUG_NEVER_DIRECT_UDP", NOT_YET,
	 .text = "drop UDP by a firewall to have peers reached by relays"},
	{"TS_DEBUG_PRETENDPOINT", NOT_YET, .text = NULL},
	{"TS_DISABLE_UPNP", NOT_NEEDED, .text = NULL},
	{"TS_DISABLE_PORTMAPPER", NOT_NEEDED, .text = NULL},
	{"TS_FORCE_NOISE_443", NOT_YET, .text = "the URL in TS_LOGIN_SERVER names the port"},
	{"TS_DISABLE_FEATURE", NOT_YET, .text = NULL},
	{"TS_SERVE_ALLOW_ALL_INTERFACES", NOT_YET,
	 .text = "peers reach served ports by tailnet addresses"},
	{"TS_SSH_DISABLE_SFTP", NOT_YET, .text = NO_SSH},
	{"TS_SSH_DISABLE_FORWARDING", NOT_YET, .text = NO_SSH},
	{"TS_SSH_DISABLE_PTY", NOT_YET, .text = NO_SSH},
	{"TS_SSH_LOGIN_GRACE_TIME", NOT_YET, .text = NO_SSH},
	{"TS_SSH_IDLE_TIMEOUT", NOT_YET, .text = NO_SSH},
	{"TS_SSH_SHUTDOWN_TIMEOUT", NOT_YET, .text = NO_SSH},
	{"TS_SSH_IO_DRAIN_TIMEOUT", NOT_YET, .text = NO_SSH},
	{"TS_SSH_HUP_ESCALATION", NOT_YET, .text = NO_SSH},
	{"TS_SSH_FORWARD_GATEWAY_PORTS", NOT_YET, .text = NO_SSH},
	{"TS_DEBUG_SSH_POLICY_FILE", NOT_YET, .text = NO_SSH},
	{"TS_DEBUG_ACME_FORCE_RENEWAL", NOT_YET,
	 .text = "'pillion cert --min-validity=DURATION' asks for a longer one"},
	{"TS_ALLOW_SELF_INGRESS", NOT_YET, .text = "name the ingress nodes by TS_INGRESS_FROM"},
	{"TS_4VIA6_ALLOW_LOCAL", NOT_YET, .text = "only subnet routers need it"},
	{"TS_DEBUG_SERVE_MAX_IDLE_CONNS_PER_HOST", NOT_NEEDED, .text = NULL},
	{"TS_DEBUG_ACME", NOT_NEEDED, .text = NULL},
	{"TS_NETSTACK_ENABLE_RACK", NOT_NEEDED, .text = NULL},
};
_Static_assert(ARRAY_SIZE(variables) <= NAMES_MAX, "room for the names");

void variables_each(void (*print)(const char *name, const char *text))
{
	static const char *const texts[] = {
		[NOT_YET] = "not supported yet", [NOT_NEEDED] = "not needed here"};

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		if (variables[i].handling < NOT_YET)
			print(variables[i].name, variables[i].text);
	for (int handling = NOT_YET; handling <= NOT_NEEDED; handling++)
		for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
			if (variables[i].handling == (enum variable_handling)handling)
				print(variables[i].name, texts[handling]);
}

static const struct variable *find(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
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
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		names[i] = variables[i].name + strlen(PREFIX);
	near = value_nearest(name + strlen(PREFIX), names, ARRAY_SIZE(variables));
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
		      const struct flag_group *group, char **ret_words,
		      void (*warn)(const char *text), struct error *err)
{
	const struct flag_reader reader = {
		.groups = group,
		.count = 1,
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
	const struct flag_group up = {"", prefs_flags, s->prefs, PREFS_FLAG_COUNT};
	const struct flag_group daemon = {"", daemon_flags, s->daemon, DAEMON_FLAG_COUNT};
	const char *server = s->prefs[PREFS_LOGIN_SERVER].text;
	const char *key = s->prefs[PREFS_AUTH_KEY].text;
	const char *ca_file = s->daemon[DAEMON_CA_FILE].text;
	int r;

	r = read_words(&s->extra_args, "TS_EXTRA_ARGS", &up, &s->words[0], warn, err);
	if (r == 0)
		r = read_words(&s->daemon_extra_args, "TS_TAILSCALED_EXTRA_ARGS", &daemon,
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
