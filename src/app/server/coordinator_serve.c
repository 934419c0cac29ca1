/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_serve.c - `pillion control serve` */
#define LOG_ROOM "control"
#include "app/server/coordinator_command.h"

#include "app/server/confine.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/dns_hook.h"
#include "server/relay/relay_server.h"
#include "server/web/certificate_files.h"
#include "server/web/certificate_maker.h"
#include "server/web/metrics.h"
#include "server/web/web_server.h"
#include "transport/loop_timer.h"
#include "transport/names.h"
#include "transport/url.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Regions from 900 on are the operators' own. */
#define RELAY_REGION 900

/* At the end, the relay sends its clients the time to reconnect. */
#define LAST_WORDS    (200 * NSEC_PER_MSEC)
#define COME_BACK_IN  NSEC_PER_SEC
#define COME_BACK_FOR (30 * NSEC_PER_SEC)

#define DAY     86400L
#define WARNING (400 * DAY) /* before the authority's end; certificates last 397 days */

struct server {
	uv_loop_t loop;
	struct url url;
	struct tls_context *tls;         /* NULL: plain HTTP */
	struct certificate_files *files; /* the operator's; NULL: the private authority's */
	struct loop_timer *daily;        /* to renew the private authority's certificate */
	struct coordinator_config config;
	struct certificate nodes_authority; /* for names of nodes */
	struct coordinator *control;
	struct relay_server *relay;
	struct web_server *metrics; /* NULL: not asked for */
	uv_signal_t signals[3];
	struct sandbox_identity identity;
	int dns_hook_fd;               /* -1: none */
	struct loop_timer *last_words; /* of the relay, to its clients */
};

static const char help[] =
	"usage: pillion control serve [FLAG…]\n"
	"\n"
	"Runs a coordination server, in the foreground. Everything has a default: in an empty\n"
	"folder it makes a database, a Noise key and a private certificate authority. Nodes\n"
	"(pillion, or stock tailscale) join with --login-server=URL and a key.\n"
	"\n"
	"Variables PILLION_CONTROL_URL and so on, and members of the JSON file ('base_domain'),\n"
	"are named like the flags; a flag wins over a variable, and that over the file. In the\n"
	"file derp_map may be the map itself, and 'dns' is what nodes resolve by: an object with\n"
	"Resolvers, Routes (split DNS), ExtraRecords, as in Tailscale's DNSConfig.\n"
	"\n"
	"With --dns-hook nodes get certificates for their names ('tailscale cert') where the base\n"
	"domain is a public one of yours. The program is run without a shell, with the arguments\n"
	"present, _acme-challenge.NODE.BASE-DOMAIN and the value of its TXT record (which may\n"
	"begin with '-'); status 0 says that the record can be looked up now.\n"
	"\n"
	"  pillion control serve --url=https://vpn.example.com\n"
	"  pillion control serve --url=https://vpn.example.com --listen=http://127.0.0.1:8080\n"
	"\tbehind a proxy that has the certificate; it has to pass upgrades on\n"
	"  pillion control serve --url=http://127.0.0.1:8080\n"
	"\tplain HTTP, on loopback\n"
	"\n"
	"Started as root it opens its ports and then runs as the owner of the state folder, "
	"without\n"
	"any privilege. SIGHUP: read the certificate files again.\n"
	"\n";

static void release(void *user)
{
	struct server *s = user;

	coordinator_free(TAKE_PTR(s->control));
	relay_server_free(TAKE_PTR(s->relay));
	web_server_free(TAKE_PTR(s->metrics));
	certificate_clear(&s->nodes_authority);
	certificate_files_free(TAKE_PTR(s->files));
	tls_context_release(TAKE_PTR(s->tls));
	loop_timer_free(TAKE_PTR(s->daily));
	loop_timer_free(TAKE_PTR(s->last_words));
	for (size_t i = 0; i < ARRAY_SIZE(s->signals); i++)
		if (s->signals[i].loop)
			uv_close((uv_handle_t *)&s->signals[i], NULL);
}

/* show_authority() - What an operator hands to nodes */
static void show_authority(const char *state)
{
	char line[128];
	_cleanup_free_ char *path = NULL;
	FILE *file;

	log_info("made a private certificate authority; nodes need %s/ca.pem as TS_CA_FILE "
		 "(pillion) or SSL_CERT_FILE (tailscale)",
		 state);
	if (asprintf(&path, "%s/ca.pem", state) < 0)
		return;
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		fputs(line, stderr);
	if (file)
		fclose(file);
}

/* prove() - Use a certificate of the private authority, made (again) where it has to be */
static int prove(struct server *s, struct error *err)
{
	const char *names[4] = {s->url.host, "localhost", "127.0.0.1", "::1"};
	_cleanup_(certificate_pair_clear) struct certificate_pair pair = {0};
	struct authority_made made;
	int r = certificate_by_authority(s->config.text[CONTROL_STATE], names, ARRAY_SIZE(names),
					 &pair, &made, err);

	if (r == 0)
		r = tls_server_context_set(&s->tls, pair.certificate, strlen(pair.certificate),
					   pair.key, strlen(pair.key), err);
	if (r < 0)
		return r;
	if (made.authority)
		show_authority(s->config.text[CONTROL_STATE]);
	else if (made.server)
		log_info("made a new certificate, by the authority that nodes know");
	if (made.ends < time(NULL) + WARNING)
		log_warn("the private certificate authority ends soon: move %s/ca.pem and ca.key "
			 "away, restart, and hand the new ca.pem to all nodes",
			 s->config.text[CONTROL_STATE]);
	return 0;
}

/* look() - Is the certificate still good, or is there a new one? */
static void look(struct server *s)
{
	struct error err;

	if (s->files)
		certificate_files_check(s->files);
	else if (s->tls && prove(s, &err) < 0)
		log_error("the certificate can't be renewed: %s", err.text);
}

static void on_daily(void *user)
{
	struct server *s = user;

	look(s);
	loop_timer_at(s->daily, clock_boottime() + DAY * NSEC_PER_SEC);
}

/* open_files() - Read the operator's certificate, if there is one */
static int open_files(struct server *s, struct error *err)
{
	char **text = s->config.text;
	int r;

	if (!text[CONTROL_CERTIFICATE])
		return 0;
	r = certificate_files_open(&s->loop, text[CONTROL_CERTIFICATE], text[CONTROL_KEY],
				   &s->files, err);
	if (r == 0)
		s->tls = tls_context_hold(certificate_files_context(s->files));
	return r;
}

/* open_authority() - Its certificate is renewed before it ends, also while the server runs */
static int open_authority(struct server *s, struct error *err)
{
	if (loop_timer_create(&s->loop, on_daily, s, &s->daily) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	loop_timer_at(s->daily, clock_boottime() + DAY * NSEC_PER_SEC);
	return prove(s, err);
}

/* open_nodes_authority() - It signs certificates of nodes, and lasts as long as the folder */
static int open_nodes_authority(struct server *s, struct error *err)
{
	const char *domain = s->config.text[CONTROL_BASE_DOMAIN];
	bool made;
	int r = certificate_nodes_authority(s->config.text[CONTROL_STATE], domain,
					    &s->nodes_authority, &made, err);

	if (r == 0 && made)
		log_info("made an authority for certificates of %s: 'pillion control ca' prints it",
			 domain);
	if (r == 0 && certificate_end(&s->nodes_authority) < time(NULL) + WARNING)
		log_warn("the authority for certificates of nodes ends soon: move "
			 "%s/nodes-ca.%s.pem and .key away, restart, and trust the new one",
			 s->config.text[CONTROL_STATE], domain);
	return r;
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct server *s = handle->data;

	if (number == SIGHUP) {
		look(s);
		return;
	}
	/* A second signal: stop at once. */
	if (!s->control) {
		release(s);
		return;
	}
	log_info("stopping (%s); nodes reconnect by themselves", strsignal(number));
	coordinator_free(TAKE_PTR(s->control));
	if (s->relay)
		relay_server_restarting(s->relay, COME_BACK_IN, COME_BACK_FOR);
	loop_timer_at(s->last_words, clock_boottime() + (s->relay ? LAST_WORDS : 0));
}

static void take_signals(struct server *s)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

	_Static_assert(ARRAY_SIZE(numbers) == ARRAY_SIZE(s->signals), "one handle a signal");
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uv_signal_init(&s->loop, &s->signals[i]); /* can't fail */
		s->signals[i].data = s;
		uv_signal_start(&s->signals[i], on_signal, numbers[i]);
	}
}

static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* verify() - Only nodes of this tailnet may use its relay */
static bool verify(void *user, const struct public_key *node, const struct address *source)
{
	const struct server *s = user;

	(void)source;
	return s->control && coordinator_knows(s->control, node);
}

/* key_gone() - Disconnect a node that lost access to the relay */
static void key_gone(void *user, const struct public_key *key)
{
	struct server *s = user;

	if (s->relay)
		relay_server_expel(s->relay, key);
}

/* bootstrap_names() - This server, and the relays of the map: what a node can't do without */
static size_t bootstrap_names(const struct server *s, const struct tailcfg_derp_map *map,
			      struct relay_bootstrap_name names[static LIMIT_BOOTSTRAP_NAMES])
{
	size_t count = 0;

	names[count++] = (struct relay_bootstrap_name){.name = s->url.host};
	for (uint32_t i = 0; i < map->region_count; i++) {
		const struct tailcfg_derp_region *region = &map->regions[i];

		/* The relay's own name may come too. */
		for (uint32_t n = 0; n < region->node_count && count < LIMIT_BOOTSTRAP_NAMES - 1;
		     n++)
			if (region->nodes[n].host_name && host_is_valid(region->nodes[n].host_name))
				names[count++] = (struct relay_bootstrap_name){
					.name = region->nodes[n].host_name,
					.addresses = {region->nodes[n].ipv4, region->nodes[n].ipv6},
				};
	}
	return count;
}

/* start_relay() - The relay of this program, and its place in the map */
static int start_relay(struct server *s, const struct url *url, struct tailcfg_derp_map *map,
		       struct error *err)
{
	const struct coordinator_config *c = &s->config;
	struct relay_server_config relay = {
		.verify = verify,
		.user = s,
		.listen = c->relay_listen,
		.stun = c->stun_listen,
		.pages = c->relay_http,
	};
	struct relay_bootstrap_name names[LIMIT_BOOTSTRAP_NAMES];
	_cleanup_free_ char *folder = NULL;
	struct address address;
	int r;

	if (asprintf(&folder, "%s/relay", c->text[CONTROL_STATE]) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = confine_make_folder(folder, err);
	if (r < 0)
		return r;
	relay.directory = folder;
	if (address_parse(url->host, strlen(url->host), &address) < 0)
		relay.host_name = url->host;
	else if (address.family == ADDRESS_V4)
		relay.ipv4 = address;
	else
		relay.ipv6 = address;
	relay.bootstrap = names;
	relay.bootstrap_count = bootstrap_names(s, map, names);
	r = relay_server_new(&s->loop, &relay, &s->relay, err);
	if (r < 0)
		return error_wrap(err, "relay (--relay=off does without)");
	r = relay_server_add_to_map(s->relay, RELAY_REGION, "own", "pillion control", map);
	return r < 0 ? error_set(err, r, "out of memory") : 0;
}

static void serve_metrics(void *user, struct http1_exchange *x)
{
	struct server *s = user;
	struct buffer text = BUFFER_INIT(2 * METRICS_MAX);
	int r;

	if (strcmp(x->path, "/healthz") == 0) {
		http1_reply_text(x, 200, "ok");
		return;
	}
	if (strcmp(x->path, "/metrics") != 0) {
		http1_reply_text(x, 404, "only /metrics and /healthz here");
		return;
	}
	r = s->control ? coordinator_metrics(s->control, &text) : 0;
	if (r == 0 && s->relay)
		r = relay_server_metrics(s->relay, &text);
	if (r < 0)
		http1_reply_text(x, 503, "out of memory");
	else
		http1_reply(x, 200, METRICS_TYPE, buffer_head(&text), text.length);
	buffer_free(&text);
}

static int open_metrics(struct server *s, struct error *err)
{
	struct web_server_options options = {
		.loop = &s->loop,
		.body_limit = METRICS_MAX,
		.serve = serve_metrics,
		.user = s,
	};
	int r;

	if (s->config.metrics.address.family == ADDRESS_NONE)
		return 0;
	r = web_listen(&s->config.metrics, &options.listen_fd, err);
	return r < 0 ? r : web_server_new(&options, &s->metrics, err);
}

/* open_listeners() - As root, if the server was started as root */
static int open_listeners(struct server *s, struct coordinator_options *options, struct error *err)
{
	const struct coordinator_config *c = &s->config;
	int r = web_listen(&c->listen, &options->listen_fd, err);

	if (r == 0)
		r = web_listen_unix(c->text[CONTROL_SOCKET], &options->operator_fd, err);
	if (r == 0 && s->identity.change &&
	    lchown(c->text[CONTROL_SOCKET], s->identity.uid, s->identity.gid) < 0)
		r = error_set_errno(err, -errno, "give %s to user %u", c->text[CONTROL_SOCKET],
				    s->identity.uid);
	return r;
}

/*
 * give_up() - Enter the sandbox; the listeners are open
 *
 * SQLite opens the database, its write-ahead log and its locks. It asks where the file really is,
 * and gives the log the mode and, as root, the owner of the database.
 * #syscalls: openat newfstatat access faccessat readlink readlinkat getcwd
 * #syscalls: pread64 pwrite64 ftruncate fsync fdatasync unlink unlinkat fchmod fchown
 * #syscalls: fcntl:F_GETLK fcntl:F_SETLK fcntl:F_SETLKW
 *
 * A renewed certificate is written beside the old one, then renamed.
 * #syscalls: rename renameat renameat2
 *
 * Names are resolved for clients whose DNS is broken (/bootstrap-dns).
 * #syscalls: socket
 */
static int give_up(const struct server *s, struct error *err)
{
	const struct confine serving = {
		.profile = &sandbox_profile_control,
		.identity = s->identity,
		.folder = s->config.text[CONTROL_STATE],
		.keeps = true,
		.watched = {s->config.text[CONTROL_CERTIFICATE], s->config.text[CONTROL_KEY]},
	};

	return confine(&serving, err);
}

static int start(struct server *s, struct error *err)
{
	struct coordinator_config *c = &s->config;
	struct coordinator_options options = {
		.loop = &s->loop, .listen_fd = -1, .operator_fd = -1, .dns_hook_fd = -1};
	_cleanup_free_ char *database = NULL;
	int r = url_parse(c->text[CONTROL_URL], &s->url, err);

	if (r == 0)
		r = confine_make_folder(c->text[CONTROL_STATE], err);
	if (r == 0 && asprintf(&database, "%s/control.db", c->text[CONTROL_STATE]) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = sandbox_identity_of(c->text[CONTROL_STATE], &s->identity, err);
	if (r == 0)
		r = open_files(s, err);
	if (r == 0)
		r = open_listeners(s, &options, err);
	if (r == 0)
		r = open_metrics(s, err);
	if (r == 0)
		r = sandbox_act_as(&s->identity, err);
	if (r == 0 && !c->plain && !s->tls)
		r = open_authority(s, err);
	if (r == 0)
		r = open_nodes_authority(s, err);
	if (r == 0 && c->relay)
		r = start_relay(s, &s->url, &c->derp_map, err);
	if (r == 0 && loop_timer_create(&s->loop, release, s, &s->last_words) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0) {
		if (options.listen_fd >= 0)
			close(options.listen_fd);
		if (options.operator_fd >= 0)
			close(options.operator_fd);
		return r;
	}
	take_signals(s);
	options.dns_hook_fd = TAKE_FD(s->dns_hook_fd);
	options.database = database;
	options.tls = s->tls;
	options.authority = &s->nodes_authority;
	options.behind_proxy = c->plain && s->url.tls;
	options.settings = (struct tailnet_settings){
		.server_url = c->text[CONTROL_URL],
		.base_domain = c->text[CONTROL_BASE_DOMAIN],
		.derp_map = c->derp_map,
		.dns = c->dns,
		.node_expiry = c->node_expiry,
		.ephemeral_timeout = c->ephemeral_timeout,
		.key_gone = key_gone,
		.key_user = s,
	};
	c->derp_map = (struct tailcfg_derp_map){0};
	c->dns = (struct tailcfg_dns_config){0};
	r = coordinator_new(&options, &s->control, err);
	if (r < 0)
		return r;
	coordinator_config_keep(c);
	return give_up(s, err);
}

static void say_where(struct server *s)
{
	const struct coordinator_config *c = &s->config;
	struct endpoint at;
	char text[ENDPOINT_TEXT_MAX], stun[ENDPOINT_TEXT_MAX];

	if (coordinator_endpoint(s->control, &at) == 0)
		log_info("serving url=%s listen=%s://%s state=%s socket=%s", c->text[CONTROL_URL],
			 c->plain ? "http" : "https", endpoint_format(&at, text),
			 c->text[CONTROL_STATE], c->text[CONTROL_SOCKET]);
	if (s->relay)
		log_info("relay listen=%s stun=%s",
			 endpoint_format(relay_server_endpoint(s->relay), text),
			 endpoint_format(relay_server_stun(s->relay), stun));
	if (coordinator_tailnet(s->control)->settings.derp_map.region_count == 0)
		log_warn("no relay (--relay=off, and no --derp-map): nodes reach each other only "
			 "where "
			 "UDP passes directly");
	if (!registry_user(&coordinator_tailnet(s->control)->registry, 1))
		log_info("make a key with 'pillion control keys create --socket=%s'",
			 c->text[CONTROL_SOCKET]);
}

int coordinator_serve(int argc, char **argv)
{
	static struct flag_value values[CONTROL_FLAG_COUNT];
	struct server s = {.dns_hook_fd = -1};
	const char *format;
	struct error err = {0};
	int r;

	if (!flags_of_command("pillion control serve", help, coordinator_flags, values,
			      CONTROL_FLAG_COUNT, argc - 1, argv + 1, &r))
		return r;
	complain_as("pillion control");
	if (coordinator_config_load(values, &s.config, &err) < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	format = s.config.text[CONTROL_LOG_FORMAT];
	log_setup(STDERR_FILENO, s.config.log_level,
		  format && strcmp(format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
	signal(SIGPIPE, SIG_IGN);
	umask(0077);
	/* Its helper is forked while there is nothing yet that it shouldn't have. */
	if (s.config.text[CONTROL_DNS_HOOK] &&
	    dns_hook_spawn(s.config.text[CONTROL_DNS_HOOK], s.config.dns_hook_timeout,
			   &s.dns_hook_fd, &err) < 0) {
		coordinator_config_clear(&s.config);
		return complain(EXIT_USAGE, "%s", err.text);
	}
	raise_file_limit();
	if (sodium_init() < 0 || tls_init(&err) < 0 || uv_loop_init(&s.loop) < 0)
		return complain(EXIT_FAILS, "libsodium, OpenSSL or libuv did not start");
	r = start(&s, &err);
	if (r < 0) {
		log_error("%s", err.text);
		if ((r == -EACCES || r == -EPERM) && s.identity.change)
			log_error(
				"the server runs as user %u, the owner of %s: 'chown -R %u:%u %s' "
				"gives that user all files in it, and every folder above it must "
				"let that user pass",
				s.identity.uid, s.config.text[CONTROL_STATE], s.identity.uid,
				s.identity.gid, s.config.text[CONTROL_STATE]);
		release(&s);
		uv_run(&s.loop, UV_RUN_DEFAULT);
		(void)uv_loop_close(&s.loop);
		coordinator_config_clear(&s.config);
		return EXIT_FAILS;
	}
	say_where(&s);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&s.loop);
	if (r < 0)
		log_debug("the event loop still has handles: %s", uv_strerror(r));
	coordinator_config_clear(&s.config);
	return EXIT_OK;
}
