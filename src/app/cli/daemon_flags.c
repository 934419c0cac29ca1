/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/daemon_flags.c - the flags of tailscaled, and the options of the supervisor from them */
#include "app/cli/daemon_flags.h"

#include "base/address.h"
#include "base/cleanup.h"
#include "privsep/privsep_serve.h"
#include "transport/proxy.h"
#include "transport/url.h"

#include <errno.h>
#include <limits.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define MTU_MIN 1280
#define MTU_MAX 65535

const struct flag daemon_flags[DAEMON_FLAG_COUNT] = {
	[DAEMON_STATE_DIR] = FLAG_ALIASED("statedir", "state-dir", FLAG_STRING, "FOLDER",
					  "where the node is kept (default " DEFAULT_STATE_DIR ")"),
	[DAEMON_STATE] = FLAG_OF("state", FLAG_STRING, "PATH",
				 "state file, or 'mem:' to keep nothing and be ephemeral"),
	[DAEMON_SOCKET] = FLAG_OF("socket", FLAG_STRING, "PATH",
				  "LocalAPI socket (default " DEFAULT_SOCKET_PATH ")"),
	[DAEMON_TUN] =
		FLAG_OF("tun", FLAG_STRING, "NAME", "name of the interface (default tailscale0)"),
	[DAEMON_PORT] = FLAG_NUMBER("port", "PORT", 0, UINT16_MAX,
				    "UDP port for peers; 0: any (default 41641)"),
	[DAEMON_VERBOSE] =
		FLAG_OF("verbose", FLAG_INTEGER, "LEVEL", "1 or more: log at level debug"),
	[DAEMON_TABLE] = FLAG_NUMBER("table", "NUMBER", 1, UINT32_MAX, "route table (default 52)"),
	[DAEMON_MTU] =
		FLAG_NUMBER("mtu", "BYTES", MTU_MIN, MTU_MAX, "of the interface (default 1280)"),
	[DAEMON_CA_FILE] = FLAG_OF("ca-file", FLAG_STRING, "PATH",
				   "PEM certificates to trust beside the system's"),
	[DAEMON_SERVE_CONFIG] = FLAG_OF("serve-config", FLAG_STRING, "PATH",
					"JSON of the ports to serve; it is watched"),
	[DAEMON_SERVE_ROOT] = FLAG_OF("serve-root", FLAG_STRING, "FOLDER:FOLDER",
				      "below them files and Unix sockets may be served"),
	[DAEMON_CERT] = FLAG_OF("cert", FLAG_STRING, "PATH",
				"PEM certificate for HTTPS, its chain after it; it is watched"),
	[DAEMON_KEY] = FLAG_OF("key", FLAG_STRING, "PATH", "PEM private key of --cert"),
	[DAEMON_ACME_DIRECTORY] = FLAG_OF("acme-directory", FLAG_STRING, "URL",
					  "of the ACME authority (default Let's Encrypt)"),
	[DAEMON_ACME_EMAIL] =
		FLAG_OF("acme-email", FLAG_STRING, "ADDRESS", "contact for the ACME authority"),
	[DAEMON_ACME_CHALLENGE] = FLAG_OF("acme-challenge", FLAG_CHOICE, SERVE_CHALLENGES,
					  "how ACME proves the name"),
	[DAEMON_ACME_EAB_KID] =
		FLAG_OF("acme-eab-kid", FLAG_STRING, "ID", "external account at the authority"),
	[DAEMON_ACME_EAB_HMAC] = FLAG_OF("acme-eab-hmac", FLAG_STRING, "TEXT",
					 "its key in base64url, or file:PATH of it"),
	[DAEMON_ACME_DNS_SERVER] = FLAG_OF("acme-dns-server", FLAG_STRING, "HOST[:PORT]",
					   "takes updates (RFC 2136) of the name's zone"),
	[DAEMON_ACME_DNS_ZONE] =
		FLAG_OF("acme-dns-zone", FLAG_STRING, "ZONE", "(default: the server is asked)"),
	[DAEMON_ACME_DNS_KEY] = FLAG_OF("acme-dns-key", FLAG_STRING, "NAME:SECRET",
					"TSIG key for it (hmac-sha256), or file:PATH of one"),
	[DAEMON_ACME_LISTEN] = FLAG_OF("acme-listen", FLAG_STRING, "ADDRESS:PORT",
				       "public; answers tls-alpn-01 or http-01 there"),
	[DAEMON_INGRESS_FROM] = FLAG_OF("ingress-from", FLAG_STRING, "NODES",
					"nodes that may bring in the internet (Funnel)"),
	[DAEMON_HEALTH] = FLAG_OF("health", FLAG_STRING, "ADDRESS:PORT", "serve /healthz there"),
	[DAEMON_METRICS] = FLAG_OF("metrics", FLAG_STRING, "ADDRESS:PORT", "serve /metrics there"),
	[DAEMON_ALLOW_EXIT_NODE] =
		FLAG_ON("allow-exit-node", "let a default route lead into the tailnet"),
	[DAEMON_ALLOW_ROUTES] = FLAG_OF("allow-routes", FLAG_STRING, "PREFIXES",
					"where --accept-routes may lead: all (default), none or "
					"prefixes"),
	[DAEMON_TAILNET_PREFIX] = FLAG_OF("tailnet-prefix", FLAG_STRING, "PREFIXES",
					  "addresses of this tailnet besides the usual ranges"),
	[DAEMON_EXIT_ON_FAILURE] =
		FLAG_ON("exit-on-failure", "end with 1 when the node stops running"),
	[DAEMON_SAME_USER] = FLAG_ON("same-user", "don't give the engine a user of its own"),
	[DAEMON_ENGINE_UID] = FLAG_NUMBER("engine-uid", "UID", 1, UINT32_MAX - 1,
					  "user of the engine (default 65532)"),
	[DAEMON_ENGINE_GID] = FLAG_NUMBER("engine-gid", "GID", 1, UINT32_MAX - 1,
					  "group of the engine (default 65532)"),
	[DAEMON_LOG] = FLAG_OF("log", FLAG_STRING, "PATH",
			       "log to this file, which is kept small, instead of stderr"),
	[DAEMON_LOG_LEVEL] = FLAG_OF("log-level", FLAG_CHOICE, LOG_LEVELS,
				     "from which level on lines are logged (default info)"),
	[DAEMON_LOG_FORMAT] =
		FLAG_OF("log-format", FLAG_CHOICE, "text|json", "of log lines (default text)"),

	[DAEMON_OURS_END] = FLAG_THEIRS("socks5-server", FLAG_STRING, FLAG_NOT_YET,
					"the kernel interface serves every program already"),
	FLAG_THEIRS("outbound-http-proxy-listen", FLAG_STRING, FLAG_NOT_YET,
		    "the kernel interface serves every program already"),
	FLAG_THEIRS("config", FLAG_STRING, FLAG_BINDING, "use flags and variables"),
	FLAG_THEIRS("debug", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("bird-socket", FLAG_STRING, FLAG_NOT_YET, NULL),
	FLAG_THEIRS("syspolicy-file", FLAG_STRING, FLAG_BINDING, NULL),
	FLAG_THEIRS("encrypt-state", FLAG_BOOL, FLAG_NOT_NEEDED,
		    "the state is a file of mode 0600"),
	FLAG_THEIRS("hardware-attestation", FLAG_BOOL, FLAG_NOT_NEEDED,
		    "no hardware keys are used"),
	FLAG_THEIRS("no-logs-no-support", FLAG_BOOL, FLAG_NOT_NEEDED,
		    "no log ever leaves the machine"),
	FLAG_THEIRS("syslog", FLAG_BOOL, FLAG_NOT_NEEDED, "log lines go to stderr"),
};

int daemon_set(char **field, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

/* apply_state() - --state: 'mem:', or a file that must have the official name */
static int apply_state(const char *path, void (*warn)(const char *text),
		       struct supervisor_options *o, struct error *err)
{
	static char folder[PATH_MAX]; /* stays, as the text of the flag does */
	size_t length;

	if (strcmp(path, "mem:") == 0) {
		o->start.state_mode = START_STATE_MEMORY;
		return 0;
	}
	if (path[0] != '/')
		return error_set(err, -EINVAL,
				 "--state=%.80s: only 'mem:' and absolute paths are supported, no "
				 "Kubernetes Secret or parameter store; use --statedir=FOLDER on a "
				 "volume",
				 path);
	length = strlen(path) > strlen("/" STATE_FILE_NAME)
			 ? strlen(path) - strlen("/" STATE_FILE_NAME)
			 : 0;
	if (!length || strcmp(path + length, "/" STATE_FILE_NAME) != 0)
		return error_set(err, -EINVAL,
				 "--state=%.80s: the file must be called " STATE_FILE_NAME
				 "; use --statedir=FOLDER",
				 path);
	if (length >= sizeof(folder))
		return error_set(err, -ENAMETOOLONG, "--state: the path is too long");
	memcpy(folder, path, length);
	folder[length] = 0;
	if (!o->state_dir)
		o->state_dir = folder;
	else if (strcmp(folder, o->state_dir) != 0)
		warn("--state has no effect: --statedir names another folder");
	return 0;
}

static int apply_tun(const char *name, bool strict, void (*warn)(const char *text),
		     struct supervisor_options *o, struct error *err)
{
	if (strcmp(name, "userspace-networking") == 0) {
		if (strict)
			return error_set(err, -EINVAL,
					 "--tun=userspace-networking: pillion always uses a "
					 "kernel interface; leave the flag out and give the "
					 "container NET_ADMIN and /dev/net/tun");
		warn("--tun=userspace-networking: pillion always uses a kernel interface; the "
		     "flag is ignored");
		return 0;
	}
	if (!*name || strlen(name) >= IF_NAMESIZE || strpbrk(name, "/ \t"))
		return error_set(err, -EINVAL,
				 "--tun=%.32s is not a valid name of an interface (1 to %d "
				 "characters)",
				 name, IF_NAMESIZE - 1);
	return daemon_set(&o->start.tun_name, name);
}

static int apply_health(const struct flag_value *values, struct supervisor_options *o,
			struct error *err)
{
	const struct flag_value *health = &values[DAEMON_HEALTH];
	const struct flag_value *metrics = &values[DAEMON_METRICS];

	if (health->given && metrics->given && strcmp(health->text, metrics->text) != 0)
		return error_set(err, -EINVAL,
				 "--health and --metrics share one listener: give both the same "
				 "ADDRESS:PORT");
	if (health->given || metrics->given)
		o->health_address = health->given ? health->text : metrics->text;
	o->start.health_check |= health->given;
	o->start.metrics |= metrics->given;
	return 0;
}

/* The shortest pool that a server may give its nodes' addresses from. */
#define SHORTEST_POOL 8

/* apply_prefixes() - A flag that names prefixes, into a string of the start configuration */
static int apply_prefixes(const struct flag_value *values, enum daemon_flag flag, uint8_t shortest,
			  char **field, struct error *err)
{
	const char *text = values[flag].text;
	struct prefix_set set;

	if (!values[flag].given)
		return 0;
	if (prefix_set_parse(text, &set) < 0)
		return error_set(err, -EINVAL,
				 "--%s=%.64s: write at most %d prefixes with commas, as "
				 "10.0.0.0/8,fd00::/8",
				 daemon_flags[flag].name, text, PREFIX_SET_MAX);
	for (size_t i = 0; i < set.count; i++) {
		if (set.list[i].bits < shortest)
			return error_set(
				err, -EINVAL,
				"--%s=%.64s: a prefix shorter than /%d can't be the pool of a "
				"tailnet; name the server's own",
				daemon_flags[flag].name, text, shortest);
	}
	return daemon_set(field, text);
}

static int apply_routes(const struct flag_value *values, struct supervisor_options *o,
			struct error *err)
{
	const struct flag_value *routes = &values[DAEMON_ALLOW_ROUTES];
	int r = apply_prefixes(values, DAEMON_TAILNET_PREFIX, SHORTEST_POOL,
			       &o->start.tailnet_ranges, err);

	if (r < 0 || !routes->given || strcmp(routes->text, "all") == 0)
		return r;
	if (strcmp(routes->text, "none") == 0)
		return daemon_set(&o->start.allow_routes, "");
	return apply_prefixes(values, DAEMON_ALLOW_ROUTES, 0, &o->start.allow_routes, err);
}

/* apply_ingress() - A typing error must not let in another node, or none */
static int apply_ingress(const struct flag_value *value, struct supervisor_options *o,
			 struct error *err)
{
	const char *at = value->given ? value->text : "";

	while (*at) {
		size_t length = strcspn(at, ",");
		const char *name = strncmp(at, "tag:", 4) == 0 ? at + 4 : at;
		size_t used = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789.-_:");

		if (name + used != at + length || used == 0)
			return error_set(err, -EINVAL,
					 "--ingress-from (TS_INGRESS_FROM): '%.*s' is not a node: "
					 "write tag:TAG, a node's name or its address, and a comma "
					 "between two",
					 (int)length, at);
		at += length + (at[length] == ',');
	}
	return value->given ? daemon_set(&o->start.ingress_from, value->text) : 0;
}

/* put_root() - Append @text of @length, cleaned, to the roots */
static int put_root(char **roots, const char *text, size_t length, struct error *err)
{
	static const char *const never[] = {"/proc", "/sys", "/dev"};
	_cleanup_free_ char *root = strndup(text, length);
	char *joined;

	if (!root)
		return -ENOMEM;
	while (length > 1 && root[length - 1] == '/')
		root[--length] = 0;
	if (*root != '/' || strstr(root, "//") || strstr(root, "/./") || strstr(root, "/../") ||
	    (length > 2 && strcmp(root + length - 3, "/..") == 0))
		return error_set(
			err, -EINVAL,
			"--serve-root (TS_SERVE_ROOT): \"%.200s\" is not the absolute path "
			"of a folder, without \"..\"",
			root);
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (strncmp(root, never[i], strlen(never[i])) == 0 &&
		    (!root[strlen(never[i])] || root[strlen(never[i])] == '/'))
			return error_set(err, -EINVAL,
					 "--serve-root (TS_SERVE_ROOT): nothing below %s is ever "
					 "served",
					 never[i]);
	if (asprintf(&joined, "%s%s%s", *roots ?: "", *roots ? ":" : "", root) < 0)
		return -ENOMEM;
	free(*roots);
	*roots = joined;
	return 0;
}

/* apply_roots() - Folders of --serve-root, and the folder of the serve configuration */
static int apply_roots(const struct flag_value *value, struct supervisor_options *o,
		       struct error *err)
{
	const char *text = value->given ? value->text : "", *config = o->serve_config;
	const char *slash = config ? strrchr(config, '/') : NULL;
	int r = 0;

	free(o->start.serve_roots);
	o->start.serve_roots = NULL;
	while (r == 0 && *text) {
		size_t length = strcspn(text, ":");

		if (length > 0)
			r = put_root(&o->start.serve_roots, text, length, err);
		text += length + (text[length] == ':');
	}
	/* A configuration that lies in "/" does not open everything. */
	if (r == 0 && slash && *config == '/' && slash > config)
		(void)put_root(&o->start.serve_roots, config, (size_t)(slash - config), NULL);
	return r;
}

static void put_text(const struct flag_value *value, const char **field)
{
	if (value->given)
		*field = value->text;
}

static void put_number(const struct flag_value *value, uint32_t *field)
{
	if (value->given)
		*field = (uint32_t)value->number;
}

static void put_bool(const struct flag_value *value, bool *field)
{
	if (value->given)
		*field = value->on;
}

/* apply_acme() - Check what can be checked before the node is up */
static int apply_acme(const struct flag_value values[static DAEMON_FLAG_COUNT],
		      struct supervisor_options *o, struct error *err)
{
	const struct {
		enum daemon_flag flag;
		char **field;
	} rows[] = {
		{DAEMON_ACME_DIRECTORY, &o->start.acme_directory},
		{DAEMON_ACME_EMAIL, &o->start.acme_email},
		{DAEMON_ACME_EAB_KID, &o->start.acme_key_id},
		{DAEMON_ACME_DNS_SERVER, &o->start.acme_dns_server},
		{DAEMON_ACME_DNS_ZONE, &o->start.acme_dns_zone},
	};
	struct url url;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0; i++)
		if (values[rows[i].flag].given)
			r = daemon_set(rows[i].field, values[rows[i].flag].text);
	if (r < 0)
		return r;
	if (o->start.acme_directory && url_parse(o->start.acme_directory, &url, err) < 0) {
		error_wrap(err, "--acme-directory (TS_ACME_DIRECTORY_URL)");
		return -EINVAL;
	}
	if (o->start.acme_directory && !url.tls)
		return error_set(err, -EINVAL,
				 "--acme-directory (TS_ACME_DIRECTORY_URL) must begin with "
				 "https://");
	if (!o->start.acme_key_id != !o->acme_eab_hmac)
		return error_set(err, -EINVAL,
				 "--acme-eab-kid (TS_ACME_EAB_KID) and --acme-eab-hmac "
				 "(TS_ACME_EAB_HMAC) belong together: set both, or none");
	if (!o->start.acme_dns_server != !o->acme_dns_key)
		return error_set(err, -EINVAL,
				 "--acme-dns-server (TS_ACME_DNS_SERVER) and --acme-dns-key "
				 "(TS_ACME_DNS_KEY) belong together: set both, or none");
	if (o->start.acme_challenge == SERVE_CHALLENGE_DNS && !o->start.acme_dns_server)
		return error_set(err, -EINVAL,
				 "--acme-challenge=dns-01 (TS_ACME_CHALLENGE) needs "
				 "--acme-dns-server (TS_ACME_DNS_SERVER)");
	return 0;
}

/* apply_acme_listen() - Where an authority looks for the proof, and by which challenge */
static int apply_acme_listen(const struct flag_value *value, struct supervisor_options *o,
			     struct error *err)
{
	uint32_t challenge = o->start.acme_challenge;
	struct endpoint at;

	if (!value->given)
		return 0;
	if (endpoint_parse(value->text, strlen(value->text), &at) < 0 || at.port == 0)
		return error_set(err, -EINVAL,
				 "--acme-listen (TS_ACME_LISTEN): \"%.64s\" is no address and "
				 "port: write 0.0.0.0:443 or [::]:80",
				 value->text);
	if (challenge == SERVE_CHALLENGE_AUTO && at.port != 80 && at.port != 443)
		return error_set(err, -EINVAL,
				 "--acme-listen (TS_ACME_LISTEN) at port %u does not say which "
				 "challenge is meant: add --acme-challenge=tls-alpn-01 or http-01 "
				 "(TS_ACME_CHALLENGE)",
				 at.port);
	if (challenge != SERVE_CHALLENGE_AUTO && challenge != SERVE_CHALLENGE_TLS_ALPN &&
	    challenge != SERVE_CHALLENGE_HTTP)
		return error_set(err, -EINVAL,
				 "--acme-listen (TS_ACME_LISTEN) is for the challenges tls-alpn-01 "
				 "and http-01: remove it, or change --acme-challenge "
				 "(TS_ACME_CHALLENGE)");
	o->start.acme_port = at.port;
	o->acme_listen = value->text;
	return 0;
}

int daemon_flags_apply(const struct flag_value values[static DAEMON_FLAG_COUNT], bool strict,
		       void (*warn)(const char *text), struct supervisor_options *o,
		       struct error *err)
{
	const struct flag_value *port = &values[DAEMON_PORT];
	int r = 0;

	put_text(&values[DAEMON_STATE_DIR], &o->state_dir);
	put_text(&values[DAEMON_SOCKET], &o->socket_path);
	put_text(&values[DAEMON_LOG], &o->log_path);
	put_text(&values[DAEMON_CA_FILE], &o->ca_file);
	put_text(&values[DAEMON_SERVE_CONFIG], &o->serve_config);
	put_text(&values[DAEMON_CERT], &o->certificate);
	put_text(&values[DAEMON_KEY], &o->certificate_key);
	put_text(&values[DAEMON_ACME_EAB_HMAC], &o->acme_eab_hmac);
	put_text(&values[DAEMON_ACME_DNS_KEY], &o->acme_dns_key);
	put_number(&values[DAEMON_ACME_CHALLENGE], &o->start.acme_challenge);
	put_number(&values[DAEMON_TABLE], &o->start.table);
	put_number(&values[DAEMON_MTU], &o->start.mtu);
	put_number(&values[DAEMON_ENGINE_UID], &o->engine_uid);
	put_number(&values[DAEMON_ENGINE_GID], &o->engine_gid);
	put_bool(&values[DAEMON_EXIT_ON_FAILURE], &o->exit_on_failure);
	put_bool(&values[DAEMON_SAME_USER], &o->same_user);
	put_bool(&values[DAEMON_ALLOW_EXIT_NODE], &o->start.allow_exit_node);
	if (port->given)
		o->udp_port = (uint16_t)port->number;
	o->udp_port_named = port->given && port->number != 0;
	if (values[DAEMON_VERBOSE].number > 0)
		o->start.log_level = LOG_DEBUG;
	if (values[DAEMON_LOG_LEVEL].given)
		o->start.log_level = (enum log_level)values[DAEMON_LOG_LEVEL].number;
	if (values[DAEMON_LOG_FORMAT].given)
		o->start.log_format =
			values[DAEMON_LOG_FORMAT].number ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
	if (values[DAEMON_STATE].given)
		r = apply_state(values[DAEMON_STATE].text, warn, o, err);
	if (r == 0 && values[DAEMON_TUN].given)
		r = apply_tun(values[DAEMON_TUN].text, strict, warn, o, err);
	if (r == 0 && o->start.table >= RT_TABLE_DEFAULT && o->start.table <= RT_TABLE_LOCAL)
		r = error_set(err, -EINVAL, "--table=%u is a table of the system; choose another",
			      o->start.table);
	if (r == 0 && !o->certificate != !o->certificate_key)
		r = error_set(err, -EINVAL,
			      "--cert (TS_CERT_FILE) and --key (TS_KEY_FILE) belong together: name "
			      "both, or none");
	if (r == 0)
		r = apply_acme(values, o, err);
	if (r == 0)
		r = apply_acme_listen(&values[DAEMON_ACME_LISTEN], o, err);
	if (r == 0)
		r = apply_ingress(&values[DAEMON_INGRESS_FROM], o, err);
	if (r == 0)
		r = apply_roots(&values[DAEMON_SERVE_ROOT], o, err);
	if (r == 0)
		r = apply_health(values, o, err);
	if (r == 0)
		r = apply_routes(values, o, err);
	return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
}

/* take_proxy() - One of the variables of proxies, for the engine */
static int take_proxy(const char *capitals, const char *small, char **to, struct error *err)
{
	const char *value = proxy_variable(capitals, small);

	if (!value)
		return 0;
	if (strlen(value) > START_PROXY_MAX)
		return error_set(err, -EINVAL, "%s is longer than %u bytes; shorten it", capitals,
				 START_PROXY_MAX);
	return daemon_set(to, value) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

/* take_aead() - PILLION_AEAD, for the engine: a name of tunnel/aead/aead.h */
static int take_aead(const char **ret, struct error *err)
{
	static const char *const names[] = {"ipsec-mb", "openssl", "libsodium"};
	const char *value = getenv("PILLION_AEAD");

	if (!value || !*value)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(value, names[i]) == 0) {
			*ret = names[i];
			return 0;
		}
	return error_set(err, -EINVAL,
			 "PILLION_AEAD=%.32s is unknown; use ipsec-mb, openssl or libsodium, or "
			 "leave it out: the fastest one is found",
			 value);
}

int daemon_options_finish(struct supervisor_options *o, struct error *err)
{
	const char *disable = getenv("PILLION_DISABLE");
	int r;

	if (!o->state_dir && o->start.state_mode == START_STATE_DIR)
		o->state_dir = DEFAULT_STATE_DIR;
	if (!o->socket_path)
		o->socket_path = DEFAULT_SOCKET_PATH;
	if (!o->ssl_cert_file)
		o->ssl_cert_file = getenv("SSL_CERT_FILE");
	if (!o->ssl_cert_dir)
		o->ssl_cert_dir = getenv("SSL_CERT_DIR");
	if ((!o->start.tun_name && daemon_set(&o->start.tun_name, DEFAULT_TUN) < 0) ||
	    daemon_set(&o->start.socket_path, o->socket_path) < 0 ||
	    (o->serve_config_text &&
	     daemon_set(&o->start.serve_config, START_SERVE_CONFIG_JSON) < 0) ||
	    (o->serve_config && *o->serve_config &&
	     daemon_set(&o->start.serve_config, o->serve_config) < 0) ||
	    (disable && *disable && daemon_set(&o->start.disable, disable) < 0))
		return error_set(err, -ENOMEM, "out of memory");
	r = take_aead(&o->aead, err);
	if (r < 0)
		return r;
	r = take_proxy("HTTPS_PROXY", "https_proxy", &o->start.https_proxy, err);
	return r < 0 ? r : take_proxy("NO_PROXY", "no_proxy", &o->start.no_proxy, err);
}
