/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/unix_http.c - a blocking HTTP/1.1 client on a Unix socket, for command lines */
#include "transport/unix_http.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (64u * 1024 * 1024)
#define READ_SIZE  (64u * 1024)

/* What the kernel shows for a user without a number here (/proc/sys/kernel/overflowuid). */
#define UNMAPPED_UID 65534

/* every_user_has_a_number() - In the first user namespace, where 65534 is a user like others */
static bool every_user_has_a_number(void)
{
	unsigned int inside = 0, outside = 0, count = 0;
	FILE *map = fopen("/proc/self/uid_map", "re");

	if (map) {
		if (fscanf(map, "%u %u %u", &inside, &outside, &count) != 3)
			count = 0;
		fclose(map);
	}
	return inside == 0 && count == UINT32_MAX;
}

/* check_listener() - Whether root or our own user listens at the other end of @fd */
static int check_listener(int fd, const char *path, bool named, struct error *err)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return error_set_errno(err, -errno, "find out whether a program listens at %s",
				       path);
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	if (peer.uid == UNMAPPED_UID && !every_user_has_a_number()) {
		if (named)
			return 0;
		return error_set(err, -EPERM,
				 "a user of another user namespace listens at %s: nothing was "
				 "sent. If that is the daemon you mean, name its socket",
				 path);
	}
	return error_set(err, -EPERM,
			 "the user with uid %u listens at %s, neither root nor you: nothing was "
			 "sent. If that is the daemon you mean, run this command as that user",
			 (unsigned int)peer.uid, path);
}

int unix_http_connect(struct unix_http *ret, const char *path, bool named, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	*ret = (struct unix_http){
		.fd = -1, .in = BUFFER_INIT(2 * READ_SIZE), .body = BUFFER_INIT(ANSWER_MAX)};
	http1_parser_init(&ret->parser, true);
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -EINVAL, "the path of the socket is too long: %s", path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ret->fd = fd;
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set_errno(err, -errno, "connect to %s", path);
	return check_listener(fd, path, named, err);
}

static int write_request(struct buffer *out, const char *host, const char *method,
			 const char *target, const char *etag, const void *body, size_t length)
{
	int r = http1_write_request(out, method, target);

	if (r == 0)
		r = http1_write_header(out, "Host", host);
	if (r == 0)
		r = http1_write_header(out, "Connection", "close");
	if (r == 0 && *etag)
		r = http1_write_header(out, "If-Match", etag);
	if (r == 0 && body)
		r = http1_write_header(out, "Content-Type", "application/json");
	if (r == 0 && (body || strcmp(method, "GET") != 0))
		r = http1_write_length(out, length);
	if (r == 0)
		r = http1_write_head_end(out);
	return r == 0 ? buffer_append(out, body, length) : r;
}

int unix_http_send(struct unix_http *h, const char *host, const char *method, const char *target,
		   const void *body, size_t length)
{
	struct buffer out = BUFFER_INIT(LIMIT_HTTP_HEADER + length);
	int r = write_request(&out, host, method, target, h->etag, body, length);

	while (r == 0 && out.length > 0) {
		ssize_t n = send(h->fd, buffer_head(&out), out.length, MSG_NOSIGNAL);

		if (n >= 0)
			buffer_consume(&out, (size_t)n);
		else if (errno == EPIPE || errno == ECONNRESET)
			break;
		else if (errno != EINTR)
			r = -errno;
	}
	buffer_free_secret(&out);
	return r;
}

static int parse(struct unix_http *h)
{
	while (!h->ended) {
		size_t used = 0;
		int r = http1_parse(&h->parser, buffer_head(&h->in), h->in.length, &used);

		buffer_consume(&h->in, used); /* a body still points to it */
		if (r <= HTTP1_MORE)
			return r;
		if (r == HTTP1_HEAD) {
			const char *etag = http1_header(&h->parser.head, "Etag");

			h->status = h->parser.head.status;
			snprintf(h->etag, sizeof(h->etag), "%s", etag ? etag : "");
		}
		if (r == HTTP1_BODY &&
		    buffer_append(&h->body, h->parser.body, h->parser.body_length) < 0)
			return -EMSGSIZE;
		/* 100 Continue and its like come before the answer. */
		h->ended = r == HTTP1_END && h->status >= 200;
	}
	return 0;
}

int unix_http_receive(struct unix_http *h, nanoseconds deadline)
{
	nanoseconds left = deadline == DEADLINE_NEVER ? 0 : deadline - clock_boottime();
	struct pollfd p = {.fd = h->fd, .events = POLLIN};
	ssize_t n;
	int r;

	if (left < 0)
		return 0;
	r = poll(&p, 1, deadline == DEADLINE_NEVER ? -1 : (int)(left / NSEC_PER_MSEC) + 1);
	if (r <= 0)
		return r < 0 ? -errno : 0;
	if (buffer_reserve(&h->in, READ_SIZE) < 0)
		return -ENOMEM;
	n = recv(h->fd, buffer_end(&h->in), READ_SIZE, 0);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	h->in.length += (size_t)n;
	if (n == 0)
		h->ended = http1_parse_end(&h->parser) == HTTP1_END;
	r = n ? parse(h) : h->ended ? 0 : -EPIPE;
	return r < 0 ? r : 1;
}

void unix_http_close(struct unix_http *h)
{
	if (h->fd >= 0)
		close(h->fd);
	h->fd = -1;
	http1_parser_free(&h->parser);
	buffer_free_secret(&h->in);
	buffer_free_secret(&h->body);
}
