/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/client.c - a blocking client of the LocalAPI */
#include "app/cli/client.h"

#include "app/cli/daemon_flags.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/listener.h"
#include "transport/http1.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define LOCALAPI_HOST   "local-tailscaled.sock"
#define REPLY_MAX       (64u * 1024 * 1024)
#define REQUEST_MAX     (4u * 1024 * 1024)
#define READ_SIZE       (64u * 1024)
#define CALL_TIMEOUT_MS 60000
#define ASK_TIMEOUT_MS  5000 /* what an engine that lives answers at once */

#define CONNECT_INTERVAL         (100 * NSEC_PER_MSEC)
#define CONNECT_TIMEOUT          (2 * NSEC_PER_SEC)
#define CONNECT_TIMEOUT_STARTING (5 * NSEC_PER_SEC) /* where a daemon is on its way */

/* Compared by its address: a path that a person wrote is another one, whatever it says. */
static const char unnamed_path[] = DEFAULT_SOCKET_PATH;

/* A connection with one request on it. */
struct exchange {
	int fd;
	struct http1_parser parser;
	struct buffer in;   /* read, not parsed */
	struct buffer body; /* parsed, not taken */
	int status;         /* 0 until the head came */
	bool ended;
};

struct localapi_stream {
	struct exchange x;
};

const char *localapi_socket_path(const char *flag)
{
	const char *variable = getenv("TS_SOCKET");

	if (flag && *flag)
		return flag;
	if (variable && *variable)
		return variable;
	/* Never one in a folder where every user may make a socket. */
	return unnamed_path;
}

/* a_daemon_starts() - Whether a program is there that will listen, by its name in /proc */
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

static int connect_once(const char *path, int *ret, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int code;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -EINVAL, "the path of the socket is too long: %s", path);
	strcpy(address.sun_path, path);
	if (fd < 0)
		return error_set_errno(err, -errno, "make a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		int r = listener_check(fd, path, path != unnamed_path, err);

		if (r == 0)
			*ret = TAKE_FD(fd);
		return r;
	}
	code = errno;
	if (code == ENOENT || code == ECONNREFUSED || code == ENOTDIR)
		return error_set(err, -ENOENT,
				 "no daemon answers at %s. Start one with 'pillion connect' (as "
				 "root), or name its socket with --socket=PATH",
				 path);
	if (code == EACCES || code == EPERM)
		return error_set(err, -EACCES,
				 "the socket %s is not open to this user; try as root", path);
	return error_set_errno(err, -code, "connect to %s", path);
}

/* connect_socket() - "tailscaled & tailscale up": one that was just started is waited for */
static int connect_socket(const char *path, int *ret, struct error *err)
{
	const struct timespec pause = {.tv_nsec = CONNECT_INTERVAL};
	nanoseconds begun = clock_boottime(), waited;
	int r;

	while ((r = connect_once(path, ret, err)) == -ENOENT) {
		waited = clock_boottime() - begun;
		if (waited >= CONNECT_TIMEOUT &&
		    (waited >= CONNECT_TIMEOUT_STARTING || !a_daemon_starts()))
			break;
		nanosleep(&pause, NULL);
	}
	return r;
}

static int send_all(int fd, struct buffer *out)
{
	while (out->length > 0) {
		ssize_t n = send(fd, buffer_head(out), out->length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buffer_consume(out, (size_t)n);
	}
	return 0;
}

static int write_request(struct buffer *out, const char *method, const char *target,
			 const char *body)
{
	int r = http1_write_request(out, method, target);

	if (r == 0)
		r = http1_write_header(out, "Host", LOCALAPI_HOST);
	if (r == 0)
		r = http1_write_header(out, "Connection", "close");
	if (r == 0 && body)
		r = http1_write_header(out, "Content-Type", "application/json");
	if (r == 0 && (body || strcmp(method, "GET") != 0))
		r = http1_write_length(out, body ? strlen(body) : 0);
	if (r == 0)
		r = http1_write_head_end(out);
	if (r == 0 && body)
		r = buffer_append(out, body, strlen(body));
	return r;
}

static void exchange_close(struct exchange *x)
{
	if (x->fd >= 0)
		close(x->fd);
	http1_parser_free(&x->parser);
	buffer_free_secret(&x->in);
	buffer_free_secret(&x->body);
}

static int exchange_open(struct exchange *x, const char *path, const char *method,
			 const char *target, const json_t *body, struct error *err)
{
	struct buffer out = BUFFER_INIT(REQUEST_MAX);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	int r;

	*x = (struct exchange){
		.fd = -1, .in = BUFFER_INIT(2 * READ_SIZE), .body = BUFFER_INIT(REPLY_MAX)};
	http1_parser_init(&x->parser, true);
	r = connect_socket(path, &x->fd, err);
	if (r == 0) {
		r = body && !text ? -ENOMEM : write_request(&out, method, target, text);
		if (r == 0)
			r = send_all(x->fd, &out);
		/* A refusal may come before the whole body went: read it rather than give up. */
		if (r == -EPIPE || r == -ECONNRESET)
			r = 0;
		if (r < 0)
			error_set_errno(err, r, "ask the daemon");
	}
	if (text) {
		explicit_bzero(text, strlen(text));
		free(text);
	}
	buffer_free_secret(&out);
	return r;
}

/* take() - Parse what was read, as far as it goes */
static int take(struct exchange *x)
{
	for (;;) {
		size_t used = 0;
		int r = http1_parse(&x->parser,
				    x->in.length ? buffer_head(&x->in) : (const uint8_t *)"",
				    x->in.length, &used);

		if (r == HTTP1_HEAD)
			x->status = x->parser.head.status;
		if (r == HTTP1_BODY &&
		    buffer_append(&x->body, x->parser.body, x->parser.body_length) < 0)
			r = -EMSGSIZE;
		buffer_consume(&x->in, used);
		if (r < 0)
			return r;
		if (r == HTTP1_MORE)
			return 0;
		/* 100 Continue and its like stand before the reply. */
		if (r == HTTP1_END && x->status >= 200) {
			x->ended = true;
			return 0;
		}
	}
}

/* advance() - Wait for more bytes and parse them; 1, 0 when @deadline came, negative errno */
static int advance(struct exchange *x, nanoseconds deadline)
{
	nanoseconds left = deadline == DEADLINE_NEVER ? 0 : deadline - clock_boottime();
	struct pollfd p = {.fd = x->fd, .events = POLLIN};
	ssize_t n;
	int r;

	if (left < 0)
		return 0;
	r = poll(&p, 1, deadline == DEADLINE_NEVER ? -1 : (int)(left / NSEC_PER_MSEC) + 1);
	if (r < 0)
		return -errno;
	if (r == 0)
		return 0;
	if (buffer_reserve(&x->in, READ_SIZE) < 0)
		return -ENOMEM;
	n = recv(x->fd, buffer_end(&x->in), READ_SIZE, 0);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0) {
		r = http1_parse_end(&x->parser);
		if (r == HTTP1_END)
			x->ended = true;
		return r == HTTP1_END ? 1 : -EPIPE;
	}
	x->in.length += (size_t)n;
	r = take(x);
	return r < 0 ? r : 1;
}

/* reply_error() - What a reply other than 2xx says, as an error */
static int reply_error(struct exchange *x, struct error *err)
{
	json_t *object = NULL;
	const char *text = NULL;
	int code = x->status == 403 ? -EACCES : x->status == 404 ? -ESRCH : -EREMOTEIO;
	size_t length = x->body.length;

	if (length > 0)
		object = json_loadb((char *)buffer_head(&x->body), length, 0, NULL);
	if (object) {
		text = json_string_value(json_object_get(object, "error"));
		if (!text)
			text = json_string_value(json_object_get(object, "Error"));
	}
	while (!text && length > 0 && buffer_head(&x->body)[length - 1] == '\n')
		length--;
	if (text)
		error_set(err, code, "%s", text);
	else
		error_set(err, code, "%.*s", (int)(length < 400 ? length : 400),
			  length ? (char *)buffer_head(&x->body) : "");
	if (err && !*err->text)
		error_set(err, code, "the daemon answers %d", x->status);
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

int localapi_call_within(int timeout_ms, const char *path, const char *method, const char *target,
			 const json_t *body, json_t **ret, struct error *err)
{
	_cleanup_(exchange_close) struct exchange x = {.fd = -1};
	nanoseconds deadline = clock_boottime() + timeout_ms * NSEC_PER_MSEC;
	json_error_t why;
	json_t *reply;
	int r;

	r = exchange_open(&x, path, method, target, body, err);
	while (r >= 0 && !x.ended) {
		r = advance(&x, deadline);
		if (r == 0)
			return error_set(err, -ETIMEDOUT,
					 "the daemon at %s does not answer within %d s: its engine "
					 "is busy, hangs or is being started again. One that hangs "
					 "is replaced within 10 seconds: try again then; else "
					 "see the daemon's log",
					 path, timeout_ms / 1000);
		if (r < 0)
			return error_set_errno(err, r, "read the answer of the daemon at %s", path);
	}
	if (r < 0)
		return r;
	if (x.status < 200 || x.status > 299)
		return reply_error(&x, err);
	if (!ret)
		return 0;
	*ret = NULL;
	if (x.body.length == 0)
		return 0;
	reply = json_loadb((char *)buffer_head(&x.body), x.body.length, JSON_DECODE_ANY, &why);
	if (!reply)
		return error_set(err, -EBADMSG, "the daemon's answer is no JSON: %s", why.text);
	*ret = reply;
	return 0;
}

int localapi_stream_open(const char *path, const char *target, struct localapi_stream **ret,
			 struct error *err)
{
	struct localapi_stream *s = malloc(sizeof(*s));
	nanoseconds deadline = clock_boottime() + CALL_TIMEOUT_MS * NSEC_PER_MSEC;
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	r = exchange_open(&s->x, path, "GET", target, NULL, err);
	while (r >= 0 && s->x.status < 200) {
		r = advance(&s->x, deadline);
		if (r == 0)
			r = -ETIMEDOUT;
		if (r < 0)
			error_set_errno(err, r, "follow the daemon at %s", path);
	}
	while (r >= 0 && s->x.status != 200 && !s->x.ended)
		r = advance(&s->x, deadline) > 0 ? 1 : -EPIPE;
	if (r >= 0 && s->x.status != 200)
		r = reply_error(&s->x, err);
	if (r < 0) {
		localapi_stream_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

int localapi_stream_next(struct localapi_stream *s, int timeout_ms, json_t **ret)
{
	nanoseconds deadline =
		timeout_ms < 0 ? DEADLINE_NEVER : clock_boottime() + timeout_ms * NSEC_PER_MSEC;

	for (;;) {
		uint8_t *line = s->x.body.length ? buffer_head(&s->x.body) : NULL;
		uint8_t *end = line ? memchr(line, '\n', s->x.body.length) : NULL;
		int r;

		if (end) {
			json_t *value = json_loadb((char *)line, (size_t)(end - line), 0, NULL);

			buffer_consume(&s->x.body, (size_t)(end - line) + 1);
			if (!value)
				return -EBADMSG;
			*ret = value;
			return 1;
		}
		if (s->x.ended)
			return -EPIPE;
		r = advance(&s->x, deadline);
		if (r <= 0)
			return r;
	}
}

void localapi_stream_close(struct localapi_stream *s)
{
	if (!s)
		return;
	exchange_close(&s->x);
	free(s);
}

int localapi_daemon_pid(const char *path, pid_t *ret, struct error *err)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	_cleanup_close_ int fd = -1;
	int r;

	r = connect_once(path, &fd, err);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
		return error_set_errno(err, -errno, "ask who listens at %s", path);
	*ret = credentials.pid;
	return 0;
}
