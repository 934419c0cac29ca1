/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * app/cli/command_connect.c - connect and disconnect
 *
 * Theory of operation. connect asks for the status. Connected: settings that differ
 * are applied, else nothing happens. A daemon that is not connected: as `up`. No
 * daemon: one is started, by exec of this same program, so that neither its command
 * line nor its environment ever held a key; its stdio is /dev/null, since hooks wait
 * for pipes to close. The key goes to it over the socket.
 * disconnect finds the daemon by the credentials of the socket and waits for it by
 * pidfd, so that no other process can be hit.
 */
#include "app/cli/client.h"
#include "app/cli/command.h"
#include "app/cli/join.h"
#include "app/cli/output.h"
#include "app/entrypoint/entry_options.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/secret.h"
#include "node/prefs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define SELF                 "/proc/self/exe"
#define PROGRAM              "pillion"
#define LOG_NAME             "pillion.log"
#define LOG_TAIL             2048
#define ANSWER_TIMEOUT       (10 * NSEC_PER_SEC)
#define ANSWER_INTERVAL      (10 * NSEC_PER_MSEC)
#define KEY_TIMEOUT          (60 * NSEC_PER_SEC)
#define END_TIMEOUT          (15 * NSEC_PER_SEC)
#define STATE_FILE_MAX       (4u * 1024 * 1024)
#define DAEMON_ARGUMENTS_MAX (DAEMON_FLAG_COUNT + 4)
#define DAEMON_VARIABLES_MAX 8

static void warn(const char *text)
{
	complain(0, "warning: %s", text);
}

/* merge_flags() - A flag of the command line wins over a variable */
static void merge_flags(struct entry_settings *s, const struct command_line *line)
{
	for (size_t i = 0; i < PREFS_FLAG_COUNT; i++)
		if (line->prefs[i].given)
			s->prefs[i] = line->prefs[i];
	for (size_t i = 0; i < DAEMON_FLAG_COUNT; i++)
		if (line->daemon[i].given)
			s->daemon[i] = line->daemon[i];
	if (line->prefs[PREFS_AUTH_KEY].given)
		s->auth_key_file = (struct flag_value){0};
}

/* make_folder() - As mkdir -p; the last one gets @mode */
static int make_folder(const char *path, mode_t mode)
{
	char copy[PATH_MAX];

	if (strlen(path) >= sizeof(copy))
		return -ENAMETOOLONG;
	strcpy(copy, path);
	for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(copy, mode) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_folder_of(const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = strdup(path);

	return copy ? make_folder(dirname(copy), mode) : -ENOMEM;
}

/* read_proc() - /proc/@pid/@name, zero-terminated; the length or negative errno */
static ssize_t read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	_cleanup_close_ int fd = -1;
	ssize_t length;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? -1 : read(fd, text, size - 1);
	if (length < 0)
		return -errno;
	text[length] = 0;
	return length;
}

/* --- the daemon in the background --- */

/* argument() - One more "--name=value" for the daemon; heap, lives as long as we do */
__attribute__((format(printf, 3, 4))) static int argument(char **argv, size_t *count,
							  const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&argv[*count], format, args);
	va_end(args);
	if (r < 0)
		return -ENOMEM;
	(*count)++;
	return 0;
}

/* flag_word() - "--name=value", as the daemon is given it; heap, or NULL */
static char *flag_word(const struct flag *f, const struct flag_value *v)
{
	char *word = NULL;
	int r;

	if (f->kind == FLAG_BOOL)
		r = asprintf(&word, "--%s=%s", f->name, v->on ? "true" : "false");
	else if (f->kind == FLAG_STRING)
		r = asprintf(&word, "--%s=%s", f->name, v->text);
	else
		r = asprintf(&word, "--%s=%lld", f->name, (long long)v->number);
	return r < 0 ? NULL : word;
}

/* daemon_arguments() - The daemon's command line: the flags that we were given, and the log */
static int daemon_arguments(const struct entry_settings *s, const struct entry_options *o,
			    const char *log_path, char **argv)
{
	size_t count = 0;
	int r;

	r = argument(argv, &count, PROGRAM);
	if (r == 0)
		r = argument(argv, &count, "daemon");
	for (size_t i = 0; r == 0 && i < DAEMON_OURS_END; i++) {
		const struct flag *f = &daemon_flags[i];
		const struct flag_value *v = &s->daemon[i];

		if (!v->given || i == DAEMON_LOG)
			continue;
		argv[count] = flag_word(f, v);
		r = argv[count] ? 0 : -ENOMEM;
		count += r == 0;
	}
	/* TS_ENABLE_HEALTH_CHECK and other variables, where no flag is given. */
	if (r == 0 && o->supervisor.start.health_check && !s->daemon[DAEMON_HEALTH].given)
		r = argument(argv, &count, "--health=%s", o->supervisor.health_address);
	if (r == 0 && o->supervisor.start.metrics && !s->daemon[DAEMON_METRICS].given)
		r = argument(argv, &count, "--metrics=%s", o->supervisor.health_address);
	if (r == 0)
		r = argument(argv, &count, "--log=%s", log_path);
	argv[count] = NULL;
	return r;
}

/*
 * daemon_environment() - The variables that the daemon needs, and no other: no key is among them
 * @proxies: HTTPS_PROXY and NO_PROXY, since our own are overwritten by now
 */
static int daemon_environment(const struct privsep_start *start, char *proxies[static 2],
			      char **environment)
{
	static const char *const kept[] = {
		"PATH=",         "SSL_CERT_FILE=", "SSL_CERT_DIR=", "PILLION_DISABLE=",
		"PILLION_AEAD=", "ASAN_OPTIONS=",  "UBSAN_OPTIONS="};
	size_t count = 0;

	for (char **e = environ; *e; e++)
		for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
			if (strncmp(*e, kept[i], strlen(kept[i])) == 0 &&
			    count < DAEMON_VARIABLES_MAX)
				environment[count++] = *e;
	if ((start->https_proxy &&
	     asprintf(&proxies[0], "HTTPS_PROXY=%s", start->https_proxy) < 0) ||
	    (start->no_proxy && asprintf(&proxies[1], "NO_PROXY=%s", start->no_proxy) < 0))
		return -ENOMEM;
	for (size_t i = 0; i < 2; i++)
		if (proxies[i])
			environment[count++] = proxies[i];
	environment[count] = NULL;
	return 0;
}

/* become_daemon() - In the child: a session of its own, no descriptor of ours, then exec */
__attribute__((noreturn)) static void become_daemon(char **argv, char **environment)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (chdir("/") < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(null, 2) < 0)
		_exit(EXIT_FAILS);
	(void)close_range(3, ~0U, 0);
	execve(SELF, argv, environment);
	_exit(EXIT_FAILS);
}

/* print_log_tail() - The last lines of the daemon's log, since it is what knows the cause */
static void print_log_tail(const char *path, off_t from)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	char text[LOG_TAIL + 1];
	ssize_t length;

	if (size - from > LOG_TAIL)
		from = size - LOG_TAIL;
	if (fd < 0 || size <= from)
		return;
	length = pread(fd, text, LOG_TAIL, from);
	if (length <= 0)
		return;
	text[length] = 0;
	for (char *rest = text, *one; (one = strsep(&rest, "\n"));) {
		if (!rest && !*one)
			break;
		printable_put(stderr, one, 0);
		fputc('\n', stderr);
	}
}

/* wait_for_answer() - Until the daemon's socket is there, or the daemon is not */
static int wait_for_answer(pid_t child, const char *socket_path, const char *log_path,
			   off_t log_start)
{
	nanoseconds deadline = clock_boottime() + ANSWER_TIMEOUT;
	const struct timespec pause = {.tv_nsec = ANSWER_INTERVAL};
	struct error err = {0};
	int status, r;
	pid_t pid;

	for (;;) {
		/* It is asked about the socket alone: an engine may still be on its way. */
		r = localapi_daemon_pid(socket_path, &pid, &err);
		if (r == 0)
			return EXIT_OK;
		if (r == -EPERM)
			return complain(EXIT_FAILS, "%s", err.text);
		if (waitpid(child, &status, WNOHANG) == child) {
			print_log_tail(log_path, log_start);
			complain(0, "the daemon could not start; its log is %s", log_path);
			return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status)
									: EXIT_FAILS;
		}
		if (clock_boottime() > deadline)
			return complain(EXIT_FAILS,
					"the daemon does not answer at %s; its log is %s",
					socket_path, log_path);
		nanosleep(&pause, NULL);
	}
}

/* choose_log() - --log, else in the state folder, else beside the socket */
static char *choose_log(const struct entry_settings *s, const struct supervisor_options *o)
{
	_cleanup_free_ char *socket = strdup(o->socket_path);
	char *path = NULL;

	if (s->daemon[DAEMON_LOG].given)
		return strdup(s->daemon[DAEMON_LOG].text);
	if (!socket ||
	    asprintf(&path, "%s/" LOG_NAME, o->state_dir ? o->state_dir : dirname(socket)) < 0)
		return NULL;
	return path;
}

static int start_daemon(const struct entry_settings *s, const struct entry_options *o)
{
	const struct supervisor_options *sup = &o->supervisor;
	char *argv[DAEMON_ARGUMENTS_MAX + 4] = {0};
	char *environment[DAEMON_VARIABLES_MAX + 3], *proxies[2] = {NULL};
	_cleanup_free_ char *log_path = choose_log(s, sup);
	struct stat log = {0};
	pid_t child;
	int r;

	if (!log_path || daemon_arguments(s, o, log_path, argv) < 0)
		return complain(EXIT_FAILS, "out of memory");
	r = sup->state_dir ? make_folder(sup->state_dir, 0700) : 0;
	if (r < 0)
		return complain(EXIT_FAILS,
				"can't make the state folder %s: %s; run as root, or name another "
				"with --statedir",
				sup->state_dir, strerror(-r));
	r = make_folder_of(sup->socket_path, 0755);
	if (r < 0)
		return complain(EXIT_FAILS,
				"can't make the folder of the socket %s: %s; run as root, or name "
				"another with --socket",
				sup->socket_path, strerror(-r));
	(void)stat(log_path, &log);
	if (daemon_environment(&sup->start, proxies, environment) < 0)
		return complain(EXIT_FAILS, "out of memory");
	child = fork();
	if (child < 0)
		return complain(EXIT_FAILS, "fork: %s", strerror(errno));
	if (child == 0)
		become_daemon(argv, environment);
	secret_string_free(proxies[0]);
	secret_string_free(proxies[1]);
	r = wait_for_answer(child, sup->socket_path, log_path, log.st_size);
	for (size_t i = 0; argv[i]; i++)
		free(argv[i]);
	return r;
}

/* --- connect --- */

/* differs() - Whether the node's settings are not yet those of the mask */
static int differs(const char *socket, const json_t *masked, bool *ret, struct error *err)
{
	_cleanup_json_ json_t *current = NULL;
	struct prefs before = {0}, after = {0};
	int r;

	r = localapi_call(socket, "GET", "/localapi/v0/prefs", NULL, &current, err);
	if (r == 0)
		r = prefs_decode(current, &before, err);
	if (r == 0)
		r = prefs_copy(&before, &after);
	if (r == 0)
		r = prefs_edit(&after, masked, err);
	if (r == 0)
		*ret = !prefs_equal(&before, &after);
	prefs_free(&before);
	prefs_free(&after);
	return r;
}

/* connected() - The node is running: apply what differs, and that is all */
static int connected(const char *socket, const struct entry_options *o)
{
	struct error err = {0};
	bool other = false;
	int r;

	r = differs(socket, o->masked, &other, &err);
	if (r == 0 && other)
		r = localapi_call(socket, "PATCH", "/localapi/v0/prefs", o->masked, NULL, &err);
	if (r < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	fprintf(stderr, "%s\n",
		other ? "connected already; the settings were changed" : "connected already");
	return EXIT_OK;
}

static int join(const struct entry_settings *s, const struct entry_options *o)
{
	_cleanup_(secret_string_free_at) char *file_key = NULL;
	struct error err = {0};
	struct join j = {
		.socket = o->supervisor.socket_path,
		.masked = o->masked,
		.auth_key = o->auth_key,
		.force = s->prefs[PREFS_FORCE_REAUTH].on,
		.json = s->prefs[PREFS_JSON].on,
		.qr = s->prefs[PREFS_QR].on,
		.timeout = o->supervisor.boot_timeout,
	};

	if (o->supervisor.auth_key_file) {
		if (read_secret_file(o->supervisor.auth_key_file, &file_key, &err) < 0 &&
		    !entry_has_login(&o->supervisor))
			return complain(EXIT_USAGE, "%s", err.text);
		j.auth_key = file_key;
	}
	/* With a key no person is there to end a wait without limit. */
	if (!j.timeout && j.auth_key)
		j.timeout = KEY_TIMEOUT;
	return join_tailnet(&j);
}

static int foreground(struct command_line *line, struct entry_options *o)
{
	o->supervisor.mode = SUPERVISOR_DAEMON;
	o->supervisor.start.up = true;
	o->supervisor.argc = line->argc;
	o->supervisor.argv = line->argv;
	return supervisor_run(&o->supervisor);
}

/* warn_of_daemon_flags() - A daemon that runs keeps the flags that it was started with */
static void warn_of_daemon_flags(const struct command_line *line, pid_t pid)
{
	char running[PATH_MAX];
	ssize_t length = read_proc(pid, "cmdline", running, sizeof(running));

	for (size_t i = 0; i < DAEMON_OURS_END; i++) {
		_cleanup_free_ char *word = NULL;
		bool same = false;

		if (!line->daemon[i].given || i == DAEMON_SOCKET)
			continue;
		word = flag_word(&daemon_flags[i], &line->daemon[i]);
		for (const char *at = running; word && length > 0 && at < running + length;
		     at += strlen(at) + 1)
			same |= strcmp(at, word) == 0;
		if (!same)
			complain(0,
				 "warning: --%s has no effect: a daemon runs already, with its own "
				 "settings; 'pillion disconnect' first, then connect again",
				 daemon_flags[i].name);
	}
	if (line->own[CONNECT_FOREGROUND].on)
		complain(0, "warning: --foreground has no effect: a daemon runs already");
}

static int connect_with(struct command_line *line, const struct entry_settings *s,
			struct entry_options *o)
{
	const char *socket = o->supervisor.socket_path;
	bool keyed = o->supervisor.start.auth_key_present;
	bool if_configured = line->own[CONNECT_IF_CONFIGURED].on;
	_cleanup_json_ json_t *status = NULL;
	struct error err = {0};
	const char *state;
	pid_t pid;
	int r;

	r = localapi_daemon_pid(socket, &pid, &err);
	if (r == 0)
		r = localapi_status(socket, false, &status, &err);
	if (r < 0 && r != -ENOENT)
		return complain(EXIT_FAILS, "%s", err.text);
	if (status)
		warn_of_daemon_flags(line, pid);
	state = text_of(status, "BackendState");
	if (r == 0 && strcmp(state, "Running") == 0 && !s->prefs[PREFS_FORCE_REAUTH].on)
		return connected(socket, o);
	if (if_configured && !keyed &&
	    (status ? strcmp(state, "NeedsLogin") == 0 : !entry_has_login(&o->supervisor))) {
		fprintf(stderr, "not configured: there is neither a key nor a login; nothing to "
				"do\n");
		return EXIT_OK;
	}
	if (status)
		return join(s, o);
	if (line->own[CONNECT_FOREGROUND].on)
		return foreground(line, o);
	supervisor_hide_secrets(line->argc, line->argv, environ);
	r = start_daemon(s, o);
	return r == EXIT_OK ? join(s, o) : r;
}

int run_connect(struct command_line *line)
{
	struct entry_settings settings;
	struct entry_options options;
	struct error err = {0};
	int r;

	if (variables_read(environ, warn, &settings, &err) < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	merge_flags(&settings, line);
	/* The node itself has no TUN-less mode, so this one is not worth a line here. */
	if (!settings.daemon[DAEMON_SOCKET].given)
		settings.daemon[DAEMON_SOCKET] =
			(struct flag_value){.given = true, .text = localapi_socket_path(NULL)};
	r = entry_options_make(&settings, true, warn, &options, &err);
	if (r < 0) {
		variables_clear(&settings);
		return complain(r == -ENOMEM ? EXIT_FAILS : EXIT_USAGE, "%s", err.text);
	}
	r = daemon_options_finish(&options.supervisor, &err);
	r = r < 0 ? complain(EXIT_FAILS, "%s", err.text) : connect_with(line, &settings, &options);
	entry_options_clear(&options);
	variables_clear(&settings);
	return r;
}

/* --- disconnect --- */

/* is_our_program() - By /proc/@pid/exe; -EACCES: reading it needs the right to trace @pid */
static int is_our_program(pid_t pid)
{
	char path[64], text[PATH_MAX];
	const char *slash;
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	length = readlink(path, text, sizeof(text) - 1);
	if (length < 0)
		return -errno;
	text[length] = 0;
	slash = strrchr(text, '/');
	/* " (deleted)" follows the name while an update has replaced the file. */
	return strncmp(slash ? slash + 1 : text, PROGRAM, strlen(PROGRAM)) == 0;
}

/* says_pillion() - Whether the daemon gives a version of ours */
static bool says_pillion(const char *socket)
{
	_cleanup_json_ json_t *status = NULL;

	return localapi_status(socket, false, &status, NULL) == 0 &&
	       strstr(text_of(status, "Version"), "-" PROGRAM);
}

/*
 * is_our_daemon() - A `pillion daemon`; not the entry point of a container, nor another program
 *
 * A container lacks the right to trace, so the program can't be read: there the command line
 * identifies the daemon, and under the official name its version.
 */
static bool is_our_daemon(const char *socket, pid_t pid)
{
	int ours = is_our_program(pid);
	const char *word, *slash;
	char text[PATH_MAX];
	ssize_t length = read_proc(pid, "cmdline", text, sizeof(text));

	if (ours == 0 || length <= 0)
		return false;
	slash = strrchr(text, '/');
	word = slash ? slash + 1 : text;
	if (strcmp(word, "tailscaled") == 0)
		return ours > 0 || says_pillion(socket);
	if (ours < 0 && strcmp(word, PROGRAM) != 0)
		return false;
	/* --socket may stand before the command. */
	for (word = text + strlen(text) + 1; word < text + length && word[0] == '-';
	     word += strlen(word) + 1)
		if (!strchr(word, '='))
			word += strlen(word) + 1;
	return word < text + length &&
	       (strcmp(word, "daemon") == 0 || strcmp(word, "connect") == 0);
}

static int wait_for_end(int pidfd, int64_t timeout)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r;

	do
		r = poll(&p, 1, (int)(timeout / NSEC_PER_MSEC));
	while (r < 0 && errno == EINTR);
	return r;
}

int run_disconnect(struct command_line *line)
{
	const struct flag_value *given = &line->own[DISCONNECT_TIMEOUT];
	int64_t timeout = given->given ? given->number : END_TIMEOUT;
	const char *socket = localapi_socket_path(line->socket);
	_cleanup_close_ int pidfd = -1;
	struct error err = {0};
	pid_t pid, again;
	int r;

	if (timeout > INT_MAX * NSEC_PER_MSEC)
		return complain(EXIT_USAGE, "--timeout: that is too long");
	r = localapi_daemon_pid(socket, &pid, &err);
	if (r == -ENOENT) {
		fprintf(stderr, "not connected: no daemon at %s\n", socket);
		return EXIT_OK;
	}
	if (r < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* Asked again with the pidfd in hand: the number was not given to another since. */
	if (pidfd < 0 || localapi_daemon_pid(socket, &again, NULL) < 0 || again != pid)
		return complain(EXIT_FAILS,
				"the daemon at %s is in another PID namespace or just ended",
				socket);
	if (!is_our_daemon(socket, pid))
		return complain(EXIT_FAILS,
				"process %d at %s is not a 'pillion daemon'; stop it where it was "
				"started (a container: stop the container), or take the node down "
				"with 'pillion down'",
				(int)pid, socket);
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0)
		return complain(EXIT_FAILS, "end process %d: %s%s", (int)pid, strerror(errno),
				errno == EPERM ? "; try as root" : "");
	if (wait_for_end(pidfd, timeout) != 1)
		return complain(EXIT_FAILS,
				"process %d has not ended after %.0f seconds; see its log",
				(int)pid, (double)timeout / NSEC_PER_SEC);
	return EXIT_OK;
}
