/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_run.c - `pillion headscale run` */
#define LOG_ROOM "headscale"
#include "app/cli/flags.h"
#include "app/server/command.h"
#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "server/headscale/headscale_config.h"
#include "server/headscale/headscale_keeper.h"
#include "transport/tls.h"
#include "transport/url.h"
#include "wire/json.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_STATE "/var/lib/pillion-headscale"
#define LOCAL_STATE  "pillion-headscale"

#define FIRST_SETTING URL
#define LAST_SETTING  DERP_MAP

#define NEW "for a new configuration: "

/* clang-format off */
#define FLAGS(FLAG) \
	FLAG(STATE, FLAG_OF("state", FLAG_STRING, "FOLDER", \
			    "configuration, database, keys, log (default /var/lib/pillion-headscale if it " \
			    "exists, else ./pillion-headscale)")) \
	FLAG(PROGRAM, FLAG_OF("headscale", FLAG_STRING, "PATH", "the program (default: headscale in PATH)")) \
	FLAG(CONFIG, FLAG_OF("config", FLAG_STRING, "FILE", \
			     "Headscale's configuration (default FOLDER/config.yaml, made if there is none)")) \
	FLAG(URL, FLAG_OF("url", FLAG_STRING, "URL", NEW "the URL for nodes (default https://HOSTNAME:8443)")) \
	FLAG(LISTEN, FLAG_OF("listen", FLAG_STRING, "ADDRESS:PORT", \
			     NEW "where Headscale listens (default all addresses, the port of the URL)")) \
	FLAG(STUN, FLAG_OF("stun-listen", FLAG_STRING, "ADDRESS:PORT", \
			   NEW "where its STUN server listens (default all addresses, port 3478)")) \
	FLAG(CERTIFICATE, FLAG_OF("certificate", FLAG_STRING, "FILE", \
				  NEW "PEM chain (default: from a private authority, made once)")) \
	FLAG(KEY, FLAG_OF("key", FLAG_STRING, "FILE", NEW "PEM key of the certificate")) \
	FLAG(BASE_DOMAIN, FLAG_OF("base-domain", FLAG_STRING, "NAME", \
				  NEW "suffix of node names (default tailnet.internal)")) \
	FLAG(DERP_MAP, FLAG_OF("derp-map", FLAG_STRING, "FILE", \
			       NEW "relays as a DERPMap in JSON, as 'pillion derp' writes it (default: the relay " \
			       "inside of Headscale)")) \
	FLAG(LOG_LEVEL_FLAG, FLAG_OF("log-level", FLAG_CHOICE, LOG_LEVELS, \
				     "level of the lines of 'run' itself (default info)"))
/* clang-format on */

enum { FLAGS(FLAG_ID) FLAG_COUNT };

static const struct flag flags[FLAG_COUNT] = {FLAGS(FLAG_ROW)};

static const char help[] =
	"usage: pillion headscale run [FLAG…]\n"
	"\n"
	"Keeps a Headscale running in the foreground: starts it, restarts it when it ends, and\n"
	"stops it on SIGTERM. If there is no configuration, it makes a working one: SQLite,\n"
	"MagicDNS, the relay inside Headscale, and TLS by a private certificate authority\n"
	"unless --certificate is given. It never writes that file again; edit it as you like.\n"
	"SIGHUP makes Headscale read its policy file again.\n"
	"\n"
	"Examples:\n"
	"  pillion headscale run --url https://headscale.example.com:8443\n"
	"\tfirst start; later starts need no flags for the same folder\n"
	"  pillion headscale run --config /etc/headscale/config.yaml\n"
	"\twith an existing configuration\n"
	"  headscale --config pillion-headscale/config.yaml users create alice\n"
	"\tHeadscale's own command line, while it runs\n"
	"\n";

char *headscale_folder(const char *given)
{
	struct stat info;

	if (!given && stat(LOCAL_STATE, &info) != 0 && stat(SYSTEM_STATE, &info) == 0)
		given = SYSTEM_STATE;
	return realpath(given ? given : LOCAL_STATE, NULL);
}

/* make_folder() - The state folder, absolute */
static int make_folder(const char *given, char **ret, struct error *err)
{
	char *path = headscale_folder(given);

	if (!path && errno == ENOENT && mkdir(given ? given : LOCAL_STATE, 0700) == 0)
		path = headscale_folder(given);
	if (!path)
		return error_set_errno(err, -errno, "state folder %s",
				       given ? given : "./pillion-headscale");
	*ret = path;
	return 0;
}

/* find_program() - In PATH, unless --headscale names it */
static int find_program(const char *given, char **ret, struct error *err)
{
	const char *path = getenv("PATH");

	if (given) {
		*ret = realpath(given, NULL);
		if (*ret && access(*ret, X_OK) == 0)
			return 0;
		return error_set_errno(err, -errno, "--headscale %s", given);
	}
	while (path && *path) {
		size_t length = strcspn(path, ":");
		_cleanup_free_ char *at = NULL;
		struct stat info;

		if (asprintf(&at, "%.*s/headscale", (int)length, path) < 0)
			return error_set(err, -ENOMEM, "out of memory");
		if (length > 0 && stat(at, &info) == 0 && S_ISREG(info.st_mode) &&
		    access(at, X_OK) == 0) {
			*ret = realpath(at, NULL);
			return *ret ? 0 : error_set_errno(err, -errno, "%s", at);
		}
		path += length + (path[length] == ':');
	}
	return error_set(err, -ENOENT,
			 "there is no headscale in PATH: install it "
			 "(https://headscale.net/stable/setup/install/official/), or name its "
			 "path by --headscale PATH");
}

static int read_map(const char *path, struct tailcfg_derp_map *ret, struct error *err)
{
	json_error_t problem;
	json_t *json = json_load_file(path, 0, &problem);
	int r;

	if (!json)
		return error_set(err, -EINVAL, "%s, line %d: %s", path, problem.line, problem.text);
	r = tailcfg_derp_map_decode(json, ret, err);
	json_decref(json);
	if (r == 0 && ret->region_count == 0) {
		tailcfg_derp_map_clear(ret);
		r = error_set(err, -EINVAL, "%s has no relay", path);
	}
	return r < 0 ? error_wrap(err, "--derp-map") : 0;
}

/* check_listen() - "ADDRESS:PORT", or ":PORT" for all addresses */
static int check_listen(const char *name, const char *text, struct error *err)
{
	_cleanup_free_ char *whole = NULL;
	struct endpoint at;

	if (asprintf(&whole, "%s%s", *text == ':' ? "[::]" : "", text) < 0) {
		whole = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (endpoint_parse(whole, strlen(whole), &at) < 0)
		return error_set(err, -EINVAL, "--%s: '%s' is not a valid ADDRESS:PORT", name,
				 text);
	return 0;
}

/* absolute() - Headscale reads relative paths from the folder of its configuration */
static int absolute(const struct flag_value *value, char out[static PATH_MAX], const char **ret,
		    struct error *err)
{
	if (!value->given)
		return 0;
	if (!realpath(value->text, out))
		return error_set_errno(err, -errno, "%s", value->text);
	*ret = out;
	return 0;
}

/* write_config() - From flags and defaults */
static int write_config(const char *path, const char *folder, const struct flag_value *v,
			struct error *err)
{
	char url_text[URL_HOST_MAX + 32], host[URL_HOST_MAX] = "", listen[16];
	char certificate[PATH_MAX], key[PATH_MAX];
	struct headscale_settings s = {
		.folder = folder,
		.url = v[URL].given ? v[URL].text : url_text,
		.listen = v[LISTEN].given ? v[LISTEN].text : listen,
		.stun = v[STUN].given ? v[STUN].text : ":3478",
		.base_domain = v[BASE_DOMAIN].given ? v[BASE_DOMAIN].text : "tailnet.internal",
	};
	struct tailcfg_derp_map map = {0};
	struct url url;
	int r;

	(void)gethostname(host, sizeof(host) - 1);
	snprintf(url_text, sizeof(url_text), "https://%s:8443", *host ? host : "localhost");
	if (v[CERTIFICATE].given != v[KEY].given)
		return error_set(err, -EINVAL, "--certificate and --key must be given together");
	r = url_parse(s.url, &url, err);
	if (r < 0)
		return error_wrap(err, "--url %s", s.url);
	snprintf(listen, sizeof(listen), ":%u", url.port);
	r = check_listen("listen", s.listen, err);
	if (r == 0)
		r = check_listen("stun-listen", s.stun, err);
	if (r == 0)
		r = absolute(&v[CERTIFICATE], certificate, &s.certificate, err);
	if (r == 0)
		r = absolute(&v[KEY], key, &s.key, err);
	if (r == 0 && v[DERP_MAP].given)
		r = read_map(v[DERP_MAP].text, &map, err);
	if (r < 0)
		return r;
	if (v[DERP_MAP].given)
		s.derp_map = &map;
	r = headscale_config_write(path, &s, err);
	tailcfg_derp_map_clear(&map);
	if (r == 0)
		log_info("made %s for %s; edit it as you like", path, s.url);
	return r;
}

/* check_lost() - A missing configuration beside a database was lost: no first start */
static int check_lost(const char *path, const char *folder, bool url_given, struct error *err)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;

	if (stat(path, &st) == 0 && st.st_size == 0)
		return error_set(
			err, -EINVAL,
			"%s is empty, as after a loss of power: restore it, or remove it and "
			"set --url again",
			path);
	if (asprintf(&data, "%s/db.sqlite", folder) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (!url_given && stat(path, &st) < 0 && errno == ENOENT && access(data, F_OK) == 0)
		return error_set(
			err, -EINVAL,
			"%s is missing, but %s exists: restore it, or set --url to the URL "
			"that nodes use",
			path, data);
	return 0;
}

static int ensure_config(const char *path, const char *folder, const struct flag_value *v,
			 struct error *err)
{
	bool new_authority;
	int r = check_lost(path, folder, v[URL].given, err);

	if (r < 0)
		return r;
	if (access(path, F_OK) != 0 && errno == ENOENT) {
		r = write_config(path, folder, v, err);
	} else {
		for (size_t i = FIRST_SETTING; i <= LAST_SETTING; i++)
			if (v[i].given)
				log_warn("--%s is ignored: edit %s, which exists already",
					 flags[i].name, path);
	}
	if (r == 0)
		r = headscale_config_renew(path, folder, &new_authority, err);
	if (r == 0 && new_authority)
		log_info("made a private certificate authority; nodes need %s/ca.pem as TS_CA_FILE "
			 "(pillion) or SSL_CERT_FILE (tailscale)",
			 folder);
	return r;
}

/* keep() - With checked flags; exit code */
static int keep(const struct keeper_options *options, const struct flag_value *v, struct error *err)
{
	_cleanup_close_ int lock = keeper_lock(options->folder, err);

	if (lock < 0 || ensure_config(options->config, options->folder, v, err) < 0)
		return lock < 0 ? EXIT_FAILS : EXIT_USAGE;
	if (keeper_check(options, err) < 0)
		return err->code == -EINVAL ? EXIT_USAGE : EXIT_FAILS;
	return keeper_run(options, err) < 0 ? EXIT_FAILS : EXIT_OK;
}

int headscale_run(int argc, char **argv)
{
	struct flag_value values[FLAG_COUNT] = {0};
	_cleanup_free_ char *folder = NULL, *program = NULL, *config = NULL;
	enum log_level level = LOG_INFO;
	struct error err = {0};
	int r;

	if (!flags_of_command("pillion headscale run", help, flags, values, FLAG_COUNT, argc - 1,
			      argv + 1, &r))
		return r;
	if (values[LOG_LEVEL_FLAG].given)
		level = (enum log_level)values[LOG_LEVEL_FLAG].number;
	log_setup(STDERR_FILENO, level, LOG_FORMAT_TEXT);
	(void)signal(SIGPIPE, SIG_IGN);
	umask(0077);
	json_object_seed(0);
	r = find_program(values[PROGRAM].text, &program, &err);
	if (r == 0)
		r = make_folder(values[STATE].text, &folder, &err);
	if (r == 0)
		r = tls_init(&err);
	if (r < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	config = values[CONFIG].given ? realpath(values[CONFIG].text, NULL) : NULL;
	if (values[CONFIG].given && !config)
		return complain(EXIT_USAGE,
				"--config %s: %s (a configuration is made only without --config)",
				values[CONFIG].text, strerror(errno));
	if (!config && asprintf(&config, "%s/config.yaml", folder) < 0) {
		config = NULL;
		return complain(EXIT_FAILS, "out of memory");
	}
	r = keep(&(struct keeper_options){.folder = folder, .program = program, .config = config},
		 values, &err);
	return r == EXIT_OK ? EXIT_OK : complain(r, "%s", err.text);
}
