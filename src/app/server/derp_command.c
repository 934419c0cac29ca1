/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/server/derp_command.c - pillion derp: a relay by itself
 *
 *	pillion derp --hostname relay.example.com
 *
 * Its folder holds its key, its certificate, and its DERPMap as JSON for a control server.
 */
#define LOG_ROOM "relay"
#include "app/cli/flags.h"
#include "app/server/command.h"
#include "app/server/confine.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/small_file.h"
#include "server/relay/relay_server.h"
#include "server/web/certificate_files.h"
#include "transport/loop_timer.h"
#include "transport/names.h"
#include "transport/tls.h"
#include "wire/json.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_FOLDER "/var/lib/pillion-derp"
#define REGION_FIRST   900 /* as custom regions are numbered */
#define HTTPS_PORT     443
#define STUN_PORT      3478
#define LAST_WORDS     (200 * NSEC_PER_MSEC)
#define COME_BACK_IN   NSEC_PER_SEC
#define COME_BACK_FOR  (30 * NSEC_PER_SEC)
#define CLOSING_ROUNDS 16

/* clang-format off */
#define FLAGS(FLAG) \
	FLAG(FOLDER, FLAG_OF("statedir", FLAG_STRING, "FOLDER", "key, certificate, DERPMap (default " DEFAULT_FOLDER ")")) \
	FLAG(HOST, FLAG_OF("hostname", FLAG_STRING, "NAME", "the name by which clients reach it")) \
	FLAG(IPV4, FLAG_OF("ipv4", FLAG_ADDRESS, "ADDRESS", "the address for clients, so that they need no DNS")) \
	FLAG(IPV6, FLAG_OF("ipv6", FLAG_ADDRESS, "ADDRESS", "the same for IPv6")) \
	FLAG(LISTEN, FLAG_OF("listen", FLAG_ENDPOINT, "ADDRESS:PORT", "for TLS (default [::]:443)")) \
	FLAG(PUBLIC_PORT, FLAG_NUMBER("public-port", "NUMBER", 1, UINT16_MAX, \
				      "the port for clients (default that of --listen; 443 with --plain)")) \
	FLAG(STUN, FLAG_OF("stun", FLAG_STRING, "ADDRESS:PORT", "for STUN, or 'off' (default [::]:3478)")) \
	FLAG(PAGES, FLAG_OF("http", FLAG_ENDPOINT, "ADDRESS:PORT", \
			    "plain HTTP for captive-portal checks, usually [::]:80 (default off)")) \
	FLAG(CERTIFICATE_FILE, FLAG_OF("certificate", FLAG_STRING, "PATH", \
				       "PEM, read again when it changes (default: a self-signed one, " \
				       "trusted by its hash in the DERPMap)")) \
	FLAG(KEY_FILE, FLAG_OF("key", FLAG_STRING, "PATH", "PEM, of --certificate")) \
	FLAG(PLAIN, FLAG_ON("plain", "no TLS: a proxy before this relay has it")) \
	FLAG(VERIFY_URL, FLAG_OF("verify-url", FLAG_STRING, "URL", \
				 "ask this URL whether a node may connect (pillion control, Headscale: https://…/verify)")) \
	FLAG(VERIFY_CA, FLAG_OF("verify-ca-file", FLAG_STRING, "PATH", "PEM to trust for it")) \
	FLAG(VERIFY_OPEN, FLAG_ON("verify-fail-open", "admit every node while the URL can't be asked")) \
	FLAG(RATE, FLAG_NUMBER("rate", "BYTES", 0, INT64_MAX, "a second that one client may send (default: no limit)")) \
	FLAG(SOURCE_CLIENTS, FLAG_NUMBER("source-clients", "NUMBER", 1, INT32_MAX, \
					 "most from one address or /64 (default 4096)")) \
	FLAG(METRICS, FLAG_ON("metrics", "serve /metrics, without authentication")) \
	FLAG(BOOTSTRAP, FLAG_OF("bootstrap-dns-names", FLAG_STRING, "NAME,NAME…", \
				"of servers, resolved here for clients whose DNS is broken")) \
	FLAG(REGION, FLAG_NUMBER("region", "NUMBER", 1, UINT16_MAX, "in the DERPMap (default 900)")) \
	FLAG(LOG_LEVEL_FLAG, FLAG_OF("log-level", FLAG_CHOICE, LOG_LEVELS, "(default info)"))
/* clang-format on */

enum { FLAGS(FLAG_ID) FLAG_COUNT };

static const struct flag flags[FLAG_COUNT] = {FLAGS(FLAG_ROW)};

struct derp {
	uv_loop_t loop;
	uv_signal_t signals[3];
	struct loop_timer *last_words;
	struct relay_server *relay;
	struct sandbox_identity identity;
	struct certificate_files *certificate; /* NULL: of the relay's own making */
	const char *watched[2];
};

/* on_all_addresses() - Where a listener is without a flag */
static struct endpoint on_all_addresses(uint16_t port)
{
	static const uint8_t any[16];

	return (struct endpoint){.address = address_v6(any), .port = port};
}

/* configure() - From flags to the configuration of the relay */
static int configure(const struct flag_value *v, struct relay_server_config *c, struct error *err)
{
	int r = 0;

	c->listen = v[LISTEN].given ? v[LISTEN].endpoint : on_all_addresses(HTTPS_PORT);
	c->stun = on_all_addresses(STUN_PORT);
	c->no_stun = v[STUN].given && strcmp(v[STUN].text, "off") == 0;
	if (v[STUN].given && !c->no_stun &&
	    endpoint_parse(v[STUN].text, strlen(v[STUN].text), &c->stun) < 0)
		r = error_set(err, -EINVAL, "--stun=%s: ADDRESS:PORT or 'off' is required",
			      v[STUN].text);
	c->pages = v[PAGES].endpoint;
	c->ipv4 = v[IPV4].endpoint.address;
	c->ipv6 = v[IPV6].endpoint.address;
	if (r == 0 && v[PLAIN].on && v[CERTIFICATE_FILE].given)
		r = error_set(err, -EINVAL,
			      "with --plain the proxy needs the certificate: leave --certificate "
			      "and --key out here");
	if (r == 0 && !v[CERTIFICATE_FILE].given != !v[KEY_FILE].given)
		r = error_set(err, -EINVAL, "--certificate and --key are given together");
	if (r == 0 && (v[VERIFY_CA].given || v[VERIFY_OPEN].on) && !v[VERIFY_URL].given)
		r = error_set(
			err, -EINVAL,
			"--verify-ca-file and --verify-fail-open have no effect without "
			"--verify-url, and every node may connect: add it, or leave them out");
	if (r == 0 && v[HOST].text && !host_is_valid(v[HOST].text))
		r = error_set(err, -EINVAL, "'%s' is not a valid host name", v[HOST].text);
	if (r < 0)
		return r;
	c->host_name = v[HOST].text;
	c->directory = v[FOLDER].given ? v[FOLDER].text : DEFAULT_FOLDER;
	c->plain = v[PLAIN].on;
	c->public_port = v[PUBLIC_PORT].given ? (uint16_t)v[PUBLIC_PORT].number
			 : c->plain           ? HTTPS_PORT
					      : 0;
	c->verify_url = v[VERIFY_URL].text;
	c->verify_ca_file = v[VERIFY_CA].text;
	c->verify_fail_open = v[VERIFY_OPEN].on;
	c->client_bytes_per_second = (uint64_t)v[RATE].number;
	c->source_clients = (unsigned int)v[SOURCE_CLIENTS].number;
	c->metrics = v[METRICS].on;
	return 0;
}

/* write_map() - The relay as a DERPMap, for people to hand to a control server */
static int write_map(const struct derp *d, const char *folder, uint16_t region, struct error *err)
{
	struct buffer text = BUFFER_INIT(LIMIT_KEY_BODY);
	struct json_writer w = json_writer_to(&text);
	struct tailcfg_derp_map map = {.has_regions = true};
	_cleanup_free_ char *path = NULL;
	int r = relay_server_add_to_map(d->relay, region, "pillion", "pillion", &map);

	if (r < 0)
		goto done;
	tailcfg_derp_map_encode(&w, NULL, &map);
	r = json_writer_result(&w);
	if (r == 0)
		r = buffer_append(&text, "\n", 1);
	if (r == 0 && asprintf(&path, "%s/derpmap.json", folder) < 0)
		r = -ENOMEM;
	if (r == 0) {
		r = small_file_replace(path, buffer_head(&text), text.length, err);
		log_info("DERPMap for the control server: file=%s", path);
	}
done:
	if (r == -ENOMEM)
		error_set(err, r, "out of memory");
	tailcfg_derp_map_clear(&map);
	buffer_free(&text);
	return r;
}

static void stop(void *user)
{
	struct derp *d = user;

	uv_stop(&d->loop);
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct derp *d = signal->data;

	if (number == SIGHUP) {
		if (d->certificate)
			certificate_files_check(d->certificate);
		return;
	}
	relay_server_restarting(d->relay, COME_BACK_IN, COME_BACK_FOR);
	loop_timer_at(d->last_words, clock_boottime() + LAST_WORDS);
}

/*
 * give_up() - Enter the sandbox; the relay's files are read and written, its listeners are open
 *
 * --verify-url takes connections to that URL, and names are resolved.
 * #syscalls: socket
 */
static int give_up(const struct derp *d, const struct relay_server_config *config,
		   struct error *err)
{
	const struct confine serving = {
		.profile = &sandbox_profile_relay,
		.identity = d->identity,
		.folder = config->directory,
		.watched = {d->watched[0], d->watched[1]},
	};

	return confine(&serving, err);
}

/* read_names() - "a,b" into the relay's list; @text is cut up, and has to live as long */
static int read_names(char *text, struct relay_server_config *config, struct error *err)
{
	static struct relay_bootstrap_name names[LIMIT_BOOTSTRAP_NAMES];
	char *rest = NULL;

	config->bootstrap = names;
	for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		if (!host_is_valid(name))
			return error_set(err, -EINVAL,
					 "--bootstrap-dns-names: '%s' is not a valid host name",
					 name);
		if (config->bootstrap_count == ARRAY_SIZE(names))
			return error_set(err, -EINVAL, "--bootstrap-dns-names: more than %zu",
					 ARRAY_SIZE(names));
		names[config->bootstrap_count++].name = name;
	}
	return 0;
}

/* open_files() - Read the files that only root may read, then become the owner of the folder */
static int open_files(struct derp *d, struct relay_server_config *config, struct error *err)
{
	int r = confine_make_folder(config->directory, err);

	if (r == 0)
		r = sandbox_identity_of(config->directory, &d->identity, err);
	if (r == 0 && d->watched[0])
		r = certificate_files_open(&d->loop, d->watched[0], d->watched[1], &d->certificate,
					   err);
	if (r == 0 && d->certificate)
		config->tls = certificate_files_context(d->certificate);
	return r < 0 ? r : sandbox_act_as(&d->identity, err);
}

static int start(struct derp *d, struct relay_server_config *config, uint16_t region,
		 struct error *err)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	char at[ENDPOINT_TEXT_MAX], key[KEY_TEXT_MAX];
	int r = tls_init(err);

	if (r < 0)
		return r;
	if (sodium_init() < 0)
		return error_set(err, -EIO, "libsodium did not start");
	json_object_seed(0);
	r = uv_loop_init(&d->loop);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uv_signal_init(&d->loop, &d->signals[i]);
		d->signals[i].data = d;
		uv_signal_start(&d->signals[i], on_signal, numbers[i]);
	}
	if (loop_timer_create(&d->loop, stop, d, &d->last_words) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = open_files(d, config, err);
	if (r == 0)
		r = relay_server_new(&d->loop, config, &d->relay, err);
	if (r == 0)
		r = write_map(d, config->directory, region, err);
	if (r == 0)
		r = give_up(d, config, err);
	if (r == 0)
		log_info("relay serves: at=%s key=%s",
			 endpoint_format(relay_server_endpoint(d->relay), at),
			 public_key_format(relay_server_key(d->relay), KEY_NODE, key));
	return r;
}

/* let_go() - Release of what start() made, as far as it came: its timer at least */
static void let_go(struct derp *d)
{
	relay_server_free(d->relay);
	certificate_files_free(d->certificate);
	loop_timer_free(d->last_words);
	for (size_t i = 0; i < ARRAY_SIZE(d->signals); i++)
		uv_close((uv_handle_t *)&d->signals[i], NULL);
	for (int round = 0; round < CLOSING_ROUNDS && uv_loop_alive(&d->loop); round++)
		uv_run(&d->loop, UV_RUN_NOWAIT);
	(void)uv_loop_close(&d->loop);
}

static const char help[] =
	"usage: pillion derp --hostname NAME [FLAG…]\n\n"
	"A relay for a tailnet (DERP), with a STUN server.\n\n"
	"Examples:\n"
	"  pillion derp --hostname relay.example.com --verify-url "
	"https://vpn.example.com/verify\n"
	"  pillion derp --hostname relay.example.com --plain --listen 127.0.0.1:8081\n\n";

int run_derp(int argc, char **argv)
{
	struct flag_value values[FLAG_COUNT] = {0};
	struct relay_server_config config = {0};
	struct derp derp = {0};
	_cleanup_free_ char *names = NULL;
	struct error err;
	int r;

	if (argc > 1 && strcmp(argv[1], "complete") == 0) {
		flags_print_words(flags, FLAG_COUNT);
		return EXIT_SUCCESS;
	}
	if (!flags_of_command("pillion derp", help, flags, values, FLAG_COUNT, argc - 1, argv + 1,
			      &r))
		return r;
	r = configure(values, &config, &err);
	if (r == 0 && values[BOOTSTRAP].given) {
		names = strdup(values[BOOTSTRAP].text);
		r = names ? read_names(names, &config, &err)
			  : error_set(&err, -ENOMEM, "out of memory");
	}
	if (r < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	log_setup(STDERR_FILENO,
		  values[LOG_LEVEL_FLAG].given ? (enum log_level)values[LOG_LEVEL_FLAG].number
					       : LOG_INFO,
		  LOG_FORMAT_TEXT);
	(void)signal(SIGPIPE, SIG_IGN);
	derp.watched[0] = values[CERTIFICATE_FILE].text;
	derp.watched[1] = values[KEY_FILE].text;
	r = start(&derp, &config,
		  values[REGION].given ? (uint16_t)values[REGION].number : REGION_FIRST, &err);
	if (r == 0)
		uv_run(&derp.loop, UV_RUN_DEFAULT);
	else
		complain(EXIT_FAILS, "%s", err.text);
	if (derp.last_words)
		let_go(&derp);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
