/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_ask.c - one request over the operator's socket, and waiting for the answer */
#include "app/server/coordinator_command.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/listener.h"
#include "transport/http1.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define TIMEOUT_SECONDS 30

static int open_socket(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return error_set(err, -EINVAL, "socket path %s", path);
	strcpy(address.sun_path, path);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(err, -errno,
				 "no server answers at %s (%s): start one with 'pillion control "
				 "serve', or name its socket by --socket",
				 path, strerror(errno));
	r = listener_check(fd, path, true, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int send_all(int fd, struct buffer *out)
{
	while (out->length) {
		ssize_t n = send(fd, buffer_head(out), out->length, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		buffer_consume(out, (size_t)n);
	}
	return 0;
}

static int send_request(int fd, const char *method, const char *path, const void *body,
			size_t length)
{
	struct buffer out = BUFFER_INIT(LIMIT_HTTP_HEADER + length);
	int r = http1_write_request(&out, method, path);

	if (r == 0)
		r = http1_write_header(&out, "Host", "control");
	if (r == 0)
		r = http1_write_header(&out, "Connection", "close");
	if (r == 0)
		r = http1_write_length(&out, length);
	if (r == 0)
		r = http1_write_head_end(&out);
	if (r == 0)
		r = buffer_append(&out, body, length);
	if (r == 0)
		r = send_all(fd, &out);
	buffer_free_secret(&out);
	return r;
}

/* receive() - The whole answer; its status or negative errno */
static int receive(int fd, struct buffer *body)
{
	struct http1_parser p;
	uint8_t bytes[16384];
	int r = HTTP1_MORE, status = 0;

	http1_parser_init(&p, true);
	while (r >= 0 && r != HTTP1_END) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
		size_t at = 0, used;

		if (n <= 0) {
			r = n < 0 ? -errno : http1_parse_end(&p);
			r = r == HTTP1_MORE ? -EPIPE : r;
			break;
		}
		do {
			r = http1_parse(&p, bytes + at, (size_t)n - at, &used);
			at += used;
			if (r == HTTP1_HEAD)
				status = p.head.status;
			if (r == HTTP1_BODY && buffer_append(body, p.body, p.body_length) < 0)
				r = -EMSGSIZE;
		} while (r > HTTP1_MORE && r != HTTP1_END);
	}
	http1_parser_free(&p);
	return r < 0 ? r : status;
}

int coordinator_ask(const char *socket, const char *method, const char *path, const void *body,
		    size_t length, json_t **ret_json, struct error *err)
{
	struct buffer answer = BUFFER_INIT(LIMIT_MAP_OBJECT);
	_cleanup_close_ int fd = open_socket(socket, err);
	json_t *json = NULL;
	int r = fd;

	*ret_json = NULL;
	if (r < 0)
		return r;
	r = send_request(fd, method, path, body, length);
	if (r == 0)
		r = receive(fd, &answer);
	if (r < 0) {
		error_set_errno(err, r, "the server at %s did not answer", socket);
		goto out;
	}
	if (answer.length)
		json = json_loadb((char *)buffer_head(&answer), answer.length, 0, NULL);
	if (r >= 300) {
		const char *text = json_string_value(json_object_get(json, "error"));

		r = error_set(err, r == 404 ? -ENOENT : -EINVAL, "%s",
			      text ? text : "the server refused");
	} else {
		r = 0;
	}
	*ret_json = TAKE_PTR(json);
out:
	json_decref(json);
	buffer_free_secret(&answer);
	return r;
}
