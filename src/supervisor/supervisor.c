/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/supervisor.c - start-up in order, signals, the end
 *
 * DOC: Theory of operation
 *
 * The checks find problems of the machine before anything is up; a problem is one paragraph with
 * cause and remedy. From then on only a signal, TS_BOOT_TIMEOUT or --exit-on-failure ends the
 * process: as PID 1 of a network namespace its end would end the app as well.
 *
 * Order: secrets are copied and overwritten; checks; state lock; leftovers, TUN, UDP sockets and
 * listeners, with all rights; then capabilities are dropped, and the engine starts. The end: the
 * services process finishes requests, within PRIVSEP_SERVE_END; then, within STOP_TOTAL, the engine
 * stops, or is killed after STOP_GRACE; blobs are written; rules, routes and link are removed.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"
#include "base/pages.h"
#include "base/secret.h"
#include "privsep/cache_head.h"
#include "privsep/handover_record.h"
#include "supervisor/capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

#define LOCK_RETRY_MS   500
#define FIRST_USER_PORT 1024 /* those below take NET_BIND_SERVICE */

void supervisor_options_init(struct supervisor_options *options)
{
	*options = (struct supervisor_options){
		.mode = SUPERVISOR_DAEMON,
		.socket_path = "/var/run/tailscale/tailscaled.sock",
		.health_address = "[::]:9002",
		.udp_port = 41641,
		.engine_uid = SUPERVISOR_ENGINE_UID,
		.engine_gid = SUPERVISOR_ENGINE_GID,
	};
	privsep_start_init(&options->start);
}

/* warn() - One line in the log now, and in the start configuration of engines to come */
static void warn(struct supervisor *s, const char *text)
{
	char *joined = NULL;

	log_warn("%s", text);
	if (asprintf(&joined, "%s%s%s", s->warnings ?: "", s->warnings ? "\n" : "", text) < 0)
		return;
	if (strlen(joined) > START_STRING_MAX) {
		free(joined); /* no engine could be started with it */
		return;
	}
	free(s->warnings);
	s->warnings = joined;
}

/* forgive() - Turn a failure that the node can run with into a warning */
static void forgive(struct supervisor *s, struct error *err)
{
	warn(s, err->text);
	*err = (struct error){0};
}

/* The checks, before anything is touched */

static int check_net_admin(struct error *err)
{
	if (capability_held(CAP_NET_ADMIN))
		return 0;
	return error_set(err, -EPERM,
			 "no NET_ADMIN capability: the tunnel is a kernel network link, and making "
			 "one takes it. In compose write `cap_add: [NET_ADMIN]`, with docker run "
			 "`--cap-add=NET_ADMIN`, in Kubernetes "
			 "securityContext.capabilities.add: [NET_ADMIN]; elsewhere run as root");
}

/* check_writable() - A read-only directory is enough for a node that has logged in */
static int check_writable(struct supervisor *s, const struct stat *st, struct error *err)
{
	const char *dir = s->options->state_dir;
	struct error why = {0};

	if (faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) == 0)
		return 0;
	if (errno == EROFS)
		error_set_errno(&why, -errno,
				"write the state directory %s (mount a volume at %s that can be "
				"written, or "
				"choose another with --statedir, TS_STATE_DIR)",
				dir, dir);
	else
		error_set_errno(&why, -errno,
				"write the state directory %s (owner %u, mode %04o; make it "
				"writable, or choose another with --statedir, TS_STATE_DIR)",
				dir, st->st_uid, st->st_mode & 07777u);
	if (!blobs_have_state(dir)) {
		if (err)
			*err = why;
		return why.code;
	}
	error_wrap(&why, "the state can't be stored, and changes are lost at the end");
	forgive(s, &why);
	return 0;
}

static int check_state_dir(struct supervisor *s, struct error *err)
{
	const struct supervisor_options *options = s->options;
	const char *dir = options->state_dir;
	struct stat st;

	if (options->start.state_mode == START_STATE_MEMORY)
		return 0;
	if (!dir)
		return error_set(err, -EINVAL,
				 "no state directory: name one with --statedir "
				 "(TS_STATE_DIR), or keep the state in memory only "
				 "with --state=mem:");
	if (stat(dir, &st) < 0 && errno == ENOENT && mkdir(dir, 0700) < 0)
		return error_set_errno(err, -errno,
				       "make the state directory %s (mount a volume at %s that can "
				       "be written, or choose "
				       "another with --statedir, TS_STATE_DIR)",
				       dir, dir);
	if (stat(dir, &st) < 0)
		return error_set_errno(err, -errno, "look at the state directory %s", dir);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTDIR,
				 "the state directory %s is not a directory: choose "
				 "another with --statedir (TS_STATE_DIR)",
				 dir);
	if (faccessat(AT_FDCWD, dir, R_OK | X_OK, AT_EACCESS) < 0)
		return error_set_errno(err, -errno,
				       "read the state directory %s (owner %u, mode %04o; make it "
				       "readable, or choose another with --statedir, TS_STATE_DIR)",
				       dir, st.st_uid, st.st_mode & 07777u);
	return check_writable(s, &st, err);
}

/* folder_needs_dac() - Whether DAC_OVERRIDE is needed to make and remove files beside @path */
static bool folder_needs_dac(const char *path)
{
	char copy[PATH_MAX];

	return snprintf(copy, sizeof(copy), "%s", path) < (int)sizeof(copy) &&
	       capabilities_dac_needed(dirname(copy), W_OK | X_OK);
}

/* need_dac() - Whether a named file or folder is accessible by DAC_OVERRIDE alone */
static bool need_dac(const struct supervisor_options *options)
{
	const char *const files[] = {
		options->auth_key_file,
		options->ca_file,
		options->ssl_cert_file,
		options->ssl_cert_dir,
		options->serve_config,
		options->certificate,
		options->certificate_key,
		files_secret_path(options->acme_eab_hmac),
		files_secret_path(options->acme_dns_key),
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (files[i] && capabilities_dac_needed(files[i], R_OK))
			return true;
	if (folder_needs_dac(options->socket_path) ||
	    (options->log_path && folder_needs_dac(options->log_path)))
		return true;
	return options->start.state_mode != START_STATE_MEMORY &&
	       (capabilities_dac_needed(options->state_dir, R_OK | W_OK | X_OK) ||
		blobs_need_dac(options->state_dir));
}

/* check_machine() - 0, or an exit code with @err */
static int check_machine(struct supervisor *s, bool *ret_dac, struct error *err)
{
	const struct supervisor_options *options = s->options;

	if (files_check(options, options->state_dir && blobs_have_state(options->state_dir), err) <
	    0)
		return SUPERVISOR_EXIT_CONFIGURATION;
	if (!options->state_dir && options->start.state_mode != START_STATE_MEMORY) {
		(void)check_state_dir(s, err);
		return SUPERVISOR_EXIT_CONFIGURATION;
	}
	if (check_net_admin(err) < 0 || check_state_dir(s, err) < 0 ||
	    listener_probe(options->socket_path, err) < 0)
		return err->code == -ENAMETOOLONG ? SUPERVISOR_EXIT_CONFIGURATION
						  : SUPERVISOR_EXIT_MACHINE;
	*ret_dac = need_dac(options);
	return 0;
}

/* Signals */

static void signals_ready(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGCHLD:
		children_reap(s);
		break;
	case SIGHUP:
		files_look_now(&s->files);
		break;
	default:
		log_info("SIG%s: stopping", sigabbrev_np((int)info.ssi_signo));
		supervisor_end(s, SUPERVISOR_EXIT_OK);
	}
}

static int block_signals(int *ret_fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGQUIT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	(void)signal(SIGPIPE, SIG_IGN);
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd < 0 ? -errno : 0;
}

/* The state lock: `run` waits for it, since the previous container may still be ending */

/* signal_meanwhile() - Wait @ms; whether a signal asked us to end */
static bool signal_meanwhile(int signals, int ms)
{
	struct pollfd wait = {.fd = signals, .events = POLLIN};
	struct signalfd_siginfo info;

	if (poll(&wait, 1, ms) != 1 || read(signals, &info, sizeof(info)) != sizeof(info))
		return false;
	return info.ssi_signo != SIGCHLD && info.ssi_signo != SIGHUP;
}

/* take_lock() - -EINTR if a signal asked us to end meanwhile */
static int take_lock(struct supervisor *s, int signals, struct error *err)
{
	bool said = false;

	s->lock = -1;
	if (s->options->start.state_mode == START_STATE_MEMORY)
		return 0;
	while ((s->lock = blobs_lock(s->options->state_dir, err)) == -EWOULDBLOCK &&
	       s->options->mode == SUPERVISOR_RUN) {
		if (!said)
			log_warn("waiting: %s", err->text);
		said = true;
		if (signal_meanwhile(signals, LOCK_RETRY_MS))
			return -EINTR;
	}
	if (s->lock < 0 && s->lock != -EWOULDBLOCK) {
		forgive(s, err);
		return 0;
	}
	return s->lock < 0 ? s->lock : 0;
}

/* Start and end */

/* last_port() - The UDP port of the last run; 0: unknown */
static uint16_t last_port(struct supervisor *s)
{
	_cleanup_close_ int fd = blobs_load(&s->blobs, PRIVSEP_BLOB_CACHE, "", NULL);

	return fd < 0 ? 0 : cache_head_port(fd);
}

/*
 * open_udp() - On the port that a person named; else on the port of the last run, so that mappings
 * in routers and the endpoints that peers know stay valid; else on the default port; else on any
 */
static void open_udp(struct supervisor *s, struct error *err)
{
	uint16_t wanted = s->options->udp_port, last = last_port(s);
	bool named = s->options->udp_port_named;
	const uint16_t ports[] = {named ? wanted : last, named ? last : wanted, 0};
	char text[sizeof(err->text) + 64];
	int r = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(ports) && r < 0; i++) {
		bool any = i == ARRAY_SIZE(ports) - 1;

		if (!any && (ports[i] == 0 || (i > 0 && ports[i] == ports[i - 1])))
			continue;
		*err = (struct error){0};
		r = udp_pair_open(ports[i], netlink_mark(s->network.netlink), &s->udp, err);
		if (r == 0 || ports[i] != wanted || wanted == 0)
			continue;
		snprintf(text, sizeof(text), "%s; using another port", err->text);
		warn(s, text);
	}
	if (r < 0) {
		s->udp = (struct udp_pair){.v4 = -1, .v6 = -1};
		snprintf(text, sizeof(text), "no direct paths, only relays: %s", err->text);
		warn(s, text);
		*err = (struct error){0};
	} else if (s->udp.v6 < 0) {
		warn(s, "no IPv6 in this kernel: direct paths by IPv4 only");
	}
}

static int open_listeners(struct supervisor *s, struct error *err)
{
	const struct supervisor_options *options = s->options;
	struct error link_err = {0};

	s->localapi = listener_localapi(options->socket_path, err);
	if (s->localapi < 0 && options->mode != SUPERVISOR_RUN)
		return SUPERVISOR_EXIT_MACHINE;
	/* The node can run without it, for example on a read-only root. */
	if (s->localapi < 0)
		forgive(s, err);
	else if (options->socket_link &&
		 listener_link(options->socket_path, options->socket_link, &link_err) < 0)
		warn(s, link_err.text);
	if (options->acme_listen) {
		s->acme = listener_acme(options->acme_listen, err);
		if (s->acme < 0)
			return SUPERVISOR_EXIT_MACHINE;
	}
	if (!options->start.health_check && !options->start.metrics)
		return 0;
	s->health = listener_health(options->health_address, err);
	if (s->health == -EINVAL)
		return SUPERVISOR_EXIT_CONFIGURATION;
	return s->health < 0 ? SUPERVISOR_EXIT_MACHINE : 0;
}

/* check_serve_config() - A file that is not there may come later */
static void check_serve_config(struct supervisor *s)
{
	const char *path = s->options->serve_config;
	char text[PATH_MAX + 128];

	if (!path || access(path, R_OK) == 0)
		return;
	snprintf(text, sizeof(text),
		 "TS_SERVE_CONFIG names %s, which can't be read (%s): nothing is served until it "
		 "can",
		 path, strerror(errno));
	warn(s, text);
}

static void give_back_fire(struct loop_timer *timer, nanoseconds now)
{
	(void)timer;
	(void)now;
	pages_give_back();
}

static void boot_fire(struct loop_timer *timer, nanoseconds now)
{
	struct supervisor *s = container_of(timer, struct supervisor, boot);

	(void)now;
	log_error("not Running within %.0f s (TS_BOOT_TIMEOUT): %s",
		  (double)s->options->boot_timeout / (double)NSEC_PER_SEC,
		  s->last_text[0] ? s->last_text : "the engine reported no reason");
	supervisor_end(s, SUPERVISOR_EXIT_MACHINE);
}

/* reduce() - Drop capabilities to NET_ADMIN and the few that are kept beside it */
static int reduce(struct supervisor *s, bool dac, struct error *err)
{
	const struct supervisor_options *options = s->options;
	const struct capabilities_kept kept = {
		.users = !options->same_user &&
			 capabilities_can_split(options->engine_uid, options->engine_gid),
		.files = dac,
		.low_ports = s->udp.port != 0 && s->udp.port < FIRST_USER_PORT,
	};

	s->split = kept.users;
	if (dac)
		log_info("keeping DAC_OVERRIDE: a named file belongs to another user");
	if (!s->split)
		log_info("the engine runs as the supervisor's user, without capabilities%s",
			 options->same_user ? "" : " (no right to change users)");
	return capabilities_reduce(&kept, err);
}

/* bring_up() - Open what engines receive, and start the first; 0, or an exit code */
static int bring_up(struct supervisor *s, int signals, bool dac, struct error *err)
{
	const struct supervisor_options *options = s->options;
	const char *state_dir =
		options->start.state_mode == START_STATE_MEMORY ? NULL : options->state_dir;
	int r;

	if (child_open(&s->engine, s, &engine_kind, options->engine_uid, options->engine_gid, err) <
		    0 ||
	    (options->beside && child_open(&s->beside, s, options->beside, options->engine_uid,
					   options->engine_gid, err) < 0))
		return SUPERVISOR_EXIT_MACHINE;
	/* Without its program nothing can be served; the node runs. */
	s->services.retired = LOOP_TIMER(services_retired_fire);
	(void)child_open(&s->services.child, s, &services_kind, options->engine_uid + 1,
			 options->engine_gid + 1, NULL);
	r = take_lock(s, signals, err);
	if (r == -EINTR)
		s->ending = true;
	if (r < 0)
		return r == -EINTR ? SUPERVISOR_EXIT_OK : SUPERVISOR_EXIT_MACHINE;
	if (network_open(s, err) < 0)
		return SUPERVISOR_EXIT_MACHINE;
	r = blobs_open(&s->blobs, &s->loop, state_dir, child_stored, s, err);
	if (r < 0)
		return SUPERVISOR_EXIT_MACHINE;
	open_udp(s, err);
	r = open_listeners(s, err);
	if (r != 0)
		return r;
	check_serve_config(s);
	s->handover = handover_create();
	if (s->handover < 0) {
		error_set_errno(err, s->handover, "make the hand-over record");
		return SUPERVISOR_EXIT_MACHINE;
	}
	r = files_open(&s->files, &s->loop, options, s->auth_key, child_file_changed, s);
	s->files.acme_eab_hmac = s->acme_eab_hmac;
	s->files.acme_dns_key = s->acme_dns_key;
	if (r == 0)
		r = served_files_open(&s->services.served, &s->loop, &s->files, services_opened, s);
	if (r < 0 || reduce(s, dac, err) < 0)
		return SUPERVISOR_EXIT_MACHINE;
	if (options->boot_timeout > 0)
		timer_arm(&s->loop, &s->boot, clock_boottime() + options->boot_timeout);
	child_start(&s->engine);
	if (options->beside)
		child_start(&s->beside);
	return 0;
}

/* take_down() - Remove and close everything; the link goes before the state is written */
static void take_down(struct supervisor *s)
{
	int signals = s->signals.fd;

	if (s->localapi >= 0) {
		(void)unlink(s->options->socket_path);
		if (s->options->socket_link)
			listener_unlink(s->options->socket_path, s->options->socket_link);
	}
	network_close(s);
	udp_pair_close(&s->udp);
	if (s->blobs.loop)
		blobs_close(&s->blobs, s->end_by);
	if (s->files.loop)
		files_close(&s->files);
	cleanup_close_at(&s->localapi);
	cleanup_close_at(&s->health);
	cleanup_close_at(&s->acme);
	cleanup_close_at(&s->handover);
	if (s->services.served.loop)
		served_files_close(&s->services.served);
	services_close(s);
	child_close(&s->engine);
	child_close(&s->beside);
	cleanup_close_at(&s->lock);
	loop_remove(&s->loop, &s->signals);
	cleanup_close_at(&signals);
	secret_string_free(s->auth_key);
	secret_string_free(s->acme_eab_hmac);
	secret_string_free(s->acme_dns_key);
	free(s->warnings);
}

/* open_log() - Write to the log file, if there is one, instead of stderr */
static int open_log(struct supervisor *s, struct error *err)
{
	const struct privsep_start *start = &s->options->start;
	int r = 0;

	if (s->options->log_path)
		r = capped_log_open(s->options->log_path, false, &s->log, err);
	log_setup(s->log.path ? s->log.fd : STDERR_FILENO, (enum log_level)start->log_level,
		  (enum log_format)start->log_format);
	return r;
}

static int run(struct supervisor *s, struct error *err)
{
	bool dac = false;
	int signals = -1;
	int early, code;

	/* First of all: process 1 loses signals that it neither blocks nor handles. */
	if (block_signals(&signals) < 0 || loop_init(&s->loop) < 0 ||
	    loop_add(&s->loop, &s->signals, signals, EPOLLIN) < 0)
		return SUPERVISOR_EXIT_MACHINE;
	/* Early, so that the checks log to the file; they may make its folder. */
	early = open_log(s, NULL);
	code = check_machine(s, &dac, err);
	if (code != 0)
		return code;
	if (early < 0 && open_log(s, err) < 0)
		forgive(s, err);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	code = bring_up(s, signals, dac, err);
	if (code == 0 && !s->ending) {
		int r = loop_run(&s->loop);

		code = s->exit_code;
		if (r < 0) {
			error_set_errno(err, r, "the event loop failed");
			code = SUPERVISOR_EXIT_MACHINE;
		}
	}
	take_down(s);
	loop_close(&s->loop);
	return code;
}

int supervisor_clean_up(const struct supervisor_options *options)
{
	const struct privsep_start *start = &options->start;
	struct netlink *netlink = NULL;
	unsigned int removed = 0;
	struct error err = {0};
	struct stat st;
	int r = listener_probe(options->socket_path, &err);

	if (r == 0)
		r = netlink_open(&netlink, &err);
	if (r == 0)
		r = netlink_claim(netlink, start->table, start->tun_name ?: TUN_NAME_DEFAULT,
				  &removed, &err);
	if (r == 0)
		r = netlink_teardown(netlink, start->table, 0, &err);
	if (r == 0 && lstat(options->socket_path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(options->socket_path);
	netlink_close(netlink);
	if (r == -EBUSY || r == -EADDRINUSE) {
		log_warn("nothing was cleaned up: %s", err.text);
		return 0;
	}
	if (r < 0)
		log_error("clean up: %s", err.text);
	return r < 0 ? SUPERVISOR_EXIT_MACHINE : 0;
}

static bool copy_secret(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return !text || *ret;
}

int supervisor_run(const struct supervisor_options *options)
{
	struct supervisor s = {
		.options = options,
		.signals = LOOP_SOURCE(signals_ready),
		.boot = LOOP_TIMER(boot_fire),
		.give_back = LOOP_TIMER(give_back_fire),
		.udp = {.v4 = -1, .v6 = -1},
		.engine.program = -1,
		.services = {.child.program = -1, .memfd = -1},
		.beside.program = -1,
		.lock = -1,
		.localapi = -1,
		.health = -1,
		.acme = -1,
		.handover = -1,
	};
	struct error err = {0};
	int code;

	if (!copy_secret(options->auth_key, &s.auth_key) ||
	    !copy_secret(options->acme_eab_hmac, &s.acme_eab_hmac) ||
	    !copy_secret(options->acme_dns_key, &s.acme_dns_key))
		return SUPERVISOR_EXIT_MACHINE;
	if (options->argv)
		supervisor_hide_secrets(options->argc, options->argv, environ);
	code = run(&s, &err);
	if (code != SUPERVISOR_EXIT_OK && err.code < 0)
		log_error("%s", err.text);
	log_setup(STDERR_FILENO, LOG_INFO, LOG_FORMAT_TEXT);
	capped_log_close(&s.log);
	return code;
}
