/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/client.c - a blocking client of the LocalAPI */
#include "app/cli/client.h"

#include "app/cli/daemon_flags.h"
#include "base/cleanup.h"
#include "base/secret.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define LOCALAPI_HOST   "local-tailscaled.sock"
#define CALL_TIMEOUT_MS 60000
#define ASK_TIMEOUT_MS  5000 /* what an engine that lives answers at once */

#define CONNECT_INTERVAL         (100 * NSEC_PER_MSEC)
#define CONNECT_TIMEOUT          (2 * NSEC_PER_SEC)
#define CONNECT_TIMEOUT_STARTING (5 * NSEC_PER_SEC) /* where a daemon is on its way */

/* Compared by its address: a path that a person typed is never this one, even if equal. */
static const char unnamed_path[] = DEFAULT_SOCKET_PATH;

const char *localapi_socket_path(const char *flag)
{
	const char *variable = getenv("TS_SOCKET");

	if (flag && *flag)
		return flag;
	if (variable && *variable)
		return variable;
	/* Never a path in a folder where every user may make a socket. */
	return unnamed_path;
}

/* a_daemon_starts() - Whether a daemon runs that will listen, by its name in /proc */
static bool a_daemon_starts(void)
{
	static const char *const names[] = {"tailscaled\n", "containerboot\n", "pillion\n"};
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while (processes && !found && (entry = readdir(processes))) {
		char path[NAME_MAX + 16], comm[32] = "";
		FILE *file;

		if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file && fgets(comm, sizeof(comm), file))
			for (size_t i = 0; i < ARRAY_SIZE(names); i++)
				found |= strcmp(comm, names[i]) == 0;
		if (file)
			fclose(file);
	}
	if (processes)
		closedir(processes);
	return found;
}

static int connect_once(struct unix_http *h, const char *path, struct error *err)
{
	int r = unix_http_connect(h, path, path != unnamed_path, err);

	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR)
		return error_set(err, -ENOENT,
				 "no daemon answers at %s. Start one with 'pillion connect' (as "
				 "root), or name its socket with --socket=PATH",
				 path);
	if (r == -EACCES)
		return error_set(err, r, "the socket %s is not open to this user; try as root",
				 path);
	return r;
}

/* connect_socket() - Waits for a daemon that was just started: "tailscaled & tailscale up" */
static int connect_socket(struct unix_http *h, const char *path, struct error *err)
{
	const struct timespec pause = {.tv_nsec = CONNECT_INTERVAL};
	nanoseconds begun = clock_boottime(), waited;
	int r;

	while ((r = connect_once(h, path, err)) == -ENOENT) {
		waited = clock_boottime() - begun;
		if (waited >= CONNECT_TIMEOUT &&
		    (waited >= CONNECT_TIMEOUT_STARTING || !a_daemon_starts()))
			break;
		unix_http_close(h);
		nanosleep(&pause, NULL);
	}
	return r;
}

static int ask(struct unix_http *h, const char *path, const char *method, const char *target,
	       const json_t *body, const char *etag, struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int r;

	if (body && !text)
		return error_set(err, -ENOMEM, "out of memory");
	r = connect_socket(h, path, err);
	if (r < 0)
		return r;
	snprintf(h->etag, sizeof(h->etag), "%s", etag);
	r = unix_http_send(h, LOCALAPI_HOST, method, target, text, text ? strlen(text) : 0);
	return r < 0 ? error_set_errno(err, r, "ask the daemon") : 0;
}

static int reply_error(struct unix_http *h, struct error *err)
{
	int code = h->status == 403   ? -EACCES
		   : h->status == 404 ? -ESRCH
		   : h->status == 412 ? -ESTALE
				      : -EREMOTEIO;
	const char *body = h->body.length ? (char *)buffer_head(&h->body) : "", *text;
	size_t length = h->body.length;
	json_t *object = json_loadb(body, length, 0, NULL);

	text = json_string_value(json_object_get(object, "error"));
	text = text ?: json_string_value(json_object_get(object, "Error"));
	while (!text && length > 0 && body[length - 1] == '\n')
		length--;
	if (text && *text)
		error_set(err, code, "%s", text);
	else if (!text && length > 0)
		error_set(err, code, "%.*s", (int)(length < 400 ? length : 400), body);
	else
		error_set(err, code, "the daemon answered with status %d", h->status);
	json_decref(object);
	return code;
}

int localapi_call(const char *path, const char *method, const char *target, const json_t *body,
		  json_t **ret, struct error *err)
{
	bool asks = strcmp(method, "GET") == 0;

	return localapi_call_within(asks ? ASK_TIMEOUT_MS : CALL_TIMEOUT_MS, path, method, target,
				    body, ret, err);
}

int localapi_status(const char *path, bool peers, json_t **ret, struct error *err)
{
	return localapi_call(path, "GET",
			     peers ? "/localapi/v0/status" : "/localapi/v0/status?peers=false",
			     NULL, ret, err);
}

/* exchange() - Ask, and take the whole answer; as localapi_call() */
static int exchange(struct unix_http *h, int timeout_ms, const char *path, const char *method,
		    const char *target, const json_t *body, const char *etag, struct error *err)
{
	nanoseconds deadline = clock_boottime() + timeout_ms * NSEC_PER_MSEC;
	int r = ask(h, path, method, target, body, etag, err);

	while (r >= 0 && !h->ended) {
		r = unix_http_receive(h, deadline);
		if (r == 0)
			return error_set(err, -ETIMEDOUT,
					 "the daemon at %s does not answer within %d s: its engine "
					 "is busy, hangs or restarts. An engine that hangs is "
					 "replaced within 10 seconds: try again then, or see the "
					 "daemon's log",
					 path, timeout_ms / 1000);
		if (r < 0)
			return error_set_errno(err, r, "read the answer of the daemon at %s", path);
	}
	if (r < 0)
		return r;
	return h->status < 200 || h->status > 299 ? reply_error(h, err) : 0;
}

/* call() - @etag: as for localapi_call_tagged() */
static int call(int timeout_ms, const char *path, const char *method, const char *target,
		const json_t *body, char etag[static UNIX_HTTP_ETAG_MAX], json_t **ret,
		struct error *err)
{
	_cleanup_(unix_http_close) struct unix_http h = {.fd = -1};
	int r = exchange(&h, timeout_ms, path, method, target, body, etag, err);
	json_error_t why;

	if (r < 0)
		return r;
	memcpy(etag, h.etag, sizeof(h.etag));
	if (!ret)
		return 0;
	*ret = NULL;
	if (h.body.length == 0)
		return 0;
	*ret = json_loadb((char *)buffer_head(&h.body), h.body.length, JSON_DECODE_ANY, &why);
	return *ret ? 0
		    : error_set(err, -EBADMSG, "the daemon's answer is not valid JSON: %s",
				why.text);
}

int localapi_call_within(int timeout_ms, const char *path, const char *method, const char *target,
			 const json_t *body, json_t **ret, struct error *err)
{
	char etag[UNIX_HTTP_ETAG_MAX] = "";

	return call(timeout_ms, path, method, target, body, etag, ret, err);
}

int localapi_text(int timeout_ms, const char *path, const char *target, char **ret,
		  struct error *err)
{
	_cleanup_(unix_http_close) struct unix_http h = {.fd = -1};
	int r = exchange(&h, timeout_ms, path, "GET", target, NULL, "", err);

	if (r < 0)
		return r;
	*ret = strndup(h.body.length ? (const char *)buffer_head(&h.body) : "", h.body.length);
	if (h.body.length)
		explicit_bzero(buffer_head(&h.body), h.body.length);
	return *ret ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int localapi_call_tagged(const char *path, const char *method, const char *target,
			 const json_t *body, char etag[static UNIX_HTTP_ETAG_MAX], json_t **ret,
			 struct error *err)
{
	return call(CALL_TIMEOUT_MS, path, method, target, body, etag, ret, err);
}

int localapi_stream_open(const char *path, const char *target, struct unix_http *h,
			 struct error *err)
{
	nanoseconds deadline = clock_boottime() + CALL_TIMEOUT_MS * NSEC_PER_MSEC;
	int r = ask(h, path, "GET", target, NULL, "", err);

	/* Read the whole body of a refusal: it has the reason. */
	while (r >= 0 && h->status != 200 && !h->ended) {
		r = unix_http_receive(h, deadline);
		if (r <= 0)
			r = error_set_errno(err, r < 0 ? r : -ETIMEDOUT, "follow the daemon at %s",
					    path);
	}
	if (r >= 0 && h->status != 200)
		r = reply_error(h, err);
	return r < 0 ? r : 0;
}

int localapi_stream_next(struct unix_http *h, int timeout_ms, json_t **ret)
{
	nanoseconds deadline =
		timeout_ms < 0 ? DEADLINE_NEVER : clock_boottime() + timeout_ms * NSEC_PER_MSEC;

	for (;;) {
		uint8_t *line = buffer_head(&h->body);
		uint8_t *end = line ? memchr(line, '\n', h->body.length) : NULL;
		int r;

		if (end) {
			json_t *value = json_loadb((char *)line, (size_t)(end - line), 0, NULL);

			buffer_consume(&h->body, (size_t)(end - line) + 1);
			if (!value)
				return -EBADMSG;
			*ret = value;
			return 1;
		}
		if (h->ended)
			return -EPIPE;
		r = unix_http_receive(h, deadline);
		if (r <= 0)
			return r;
	}
}

int localapi_daemon_pid(const char *path, pid_t *ret, struct error *err)
{
	_cleanup_(unix_http_close) struct unix_http h = {.fd = -1};
	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	int r = connect_once(&h, path, err);

	if (r < 0)
		return r;
	if (getsockopt(h.fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return error_set_errno(err, -errno, "get the process that listens at %s", path);
	*ret = credentials.pid;
	return 0;
}
