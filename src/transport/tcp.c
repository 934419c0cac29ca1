/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tcp.c - a TCP or Unix socket as a stream, on libuv
 *
 * Theory of operation
 *   A write goes to the kernel at once where it can; the rest is queued. At most one
 *   uv_write() is under way, with the bytes in `flight`; later bytes gather in `queue`, and the
 *   two swap. A read buffer is used from libuv's alloc callback to its read callback, so an idle
 *   connection holds none, and one for each thread does.
 */
#include "transport/tcp.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#define READ_SIZE ((size_t)64 * 1024)

/* Of the thread; malloc() would trim and grow the heap for each read. */
static _Thread_local char read_buffer[READ_SIZE];
static _Thread_local bool read_buffer_used;

struct tcp {
	struct stream stream;
	uv_tcp_t handle; /* a Unix socket too: libuv makes no difference once it is open */
	uv_connect_t connect;
	uv_write_t write;
	struct buffer queue, flight;
	struct endpoint to;
	bool connected, paused, writing, ending;
};

static struct tcp *tcp_of(const struct stream *s)
{
	return container_of(s, struct tcp, stream);
}

/* tcp_fail() - The connection has ended; @code: negative */
static void tcp_fail(struct tcp *t, int code, const char *what)
{
	char peer[ENDPOINT_TEXT_MAX];
	struct error err = {0};

	uv_read_stop((uv_stream_t *)&t->handle);
	if (t->to.address.family != ADDRESS_NONE)
		error_set_errno(&err, code, "%s %s", what, endpoint_format(&t->to, peer));
	else
		error_set_errno(&err, code, "%s", what);
	stream_emit_closed(&t->stream, &err);
}

static void tcp_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	(void)suggested;
	buf->base = read_buffer_used ? malloc(READ_SIZE) : read_buffer; /* a read within a read */
	buf->len = buf->base ? READ_SIZE : 0;
	read_buffer_used = true;
}

static void tcp_read(uv_stream_t *handle, ssize_t length, const uv_buf_t *buf)
{
	struct tcp *t = handle->data;

	stream_hold(&t->stream);
	if (length > 0)
		stream_emit_data(&t->stream, (uint8_t *)buf->base, (size_t)length);
	else if (length < 0)
		uv_read_stop((uv_stream_t *)&t->handle);
	if (length == UV_EOF)
		stream_emit_finished(&t->stream);
	else if (length < 0)
		tcp_fail(t, (int)length, "read from");
	if (buf->base == read_buffer)
		read_buffer_used = false;
	else
		free(buf->base);
	stream_release(&t->stream);
}

static int tcp_start_reading(struct tcp *t)
{
	return t->paused || !t->connected || t->stream.finished
		       ? 0
		       : uv_read_start((uv_stream_t *)&t->handle, tcp_alloc, tcp_read);
}

static int tcp_flush(struct tcp *t);

/* tcp_shut() - Tell the peer that no more comes, once all is written. #syscalls: shutdown */
static void tcp_shut(struct tcp *t)
{
	uv_os_fd_t fd;

	if (t->ending && !t->writing && t->queue.length == 0 &&
	    uv_fileno((uv_handle_t *)&t->handle, &fd) == 0)
		(void)shutdown(
			fd, SHUT_WR); /* fails on a connection that is gone, which reading tells */
}

static void tcp_written(uv_write_t *request, int status)
{
	struct tcp *t = container_of(request, struct tcp, write);

	t->writing = false;
	if (status == UV_ECANCELED || t->stream.closed)
		return;
	stream_hold(&t->stream);
	buffer_free(&t->flight);
	if (status == 0)
		status = tcp_flush(t);
	if (status < 0)
		tcp_fail(t, status, "write to");
	else if (!t->writing) {
		tcp_shut(t);
		stream_emit_drained(&t->stream);
	}
	stream_release(&t->stream);
}

static int tcp_flush(struct tcp *t)
{
	struct buffer swap = t->flight;
	uv_buf_t buf;
	int r;

	if (t->writing || t->queue.length == 0 || !t->connected)
		return 0;
	t->flight = t->queue;
	t->queue = swap;
	buf = uv_buf_init((char *)buffer_head(&t->flight), (unsigned int)t->flight.length);
	r = uv_write(&t->write, (uv_stream_t *)&t->handle, &buf, 1, tcp_written);
	t->writing = r == 0;
	return r;
}

static size_t tcp_pending(const struct stream *s)
{
	const struct tcp *t = tcp_of(s);

	return t->queue.length + (t->writing ? t->flight.length : 0);
}

static int tcp_write(struct stream *s, const void *bytes, size_t length)
{
	struct tcp *t = tcp_of(s);
	int r;

	if (length > LIMIT_STREAM_QUEUE || tcp_pending(s) > LIMIT_STREAM_QUEUE - length)
		return -ENOBUFS;
	if (t->connected && !t->writing && t->queue.length == 0) {
		uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned int)length);

		r = uv_try_write((uv_stream_t *)&t->handle, &buf, 1);
		/* An error shows again, asynchronously, with the rest of the write. */
		if (r > 0) {
			bytes = (const uint8_t *)bytes + r;
			length -= (size_t)r;
		}
	}
	r = buffer_append(&t->queue, bytes, length);
	return r < 0 ? r : tcp_flush(t);
}

static void tcp_end(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	t->ending = true;
	if (t->connected)
		tcp_shut(t);
}

static void tcp_pause(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	t->paused = true;
	uv_read_stop((uv_stream_t *)&t->handle);
}

static void tcp_resume(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	t->paused = false;
	(void)tcp_start_reading(t); /* fails only on a handle that is closing */
}

static void tcp_handle_closed(uv_handle_t *handle)
{
	struct tcp *t = handle->data;

	stream_release(&t->stream);
}

static void tcp_close(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	stream_hold(s);
	uv_close((uv_handle_t *)&t->handle, tcp_handle_closed);
}

static void tcp_release(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	buffer_free_secret(&t->queue);
	buffer_free_secret(&t->flight);
	free(t);
}

static const struct stream_operations tcp_operations = {
	.write = tcp_write,
	.pending = tcp_pending,
	.pause = tcp_pause,
	.resume = tcp_resume,
	.end = tcp_end,
	.close = tcp_close,
	.release = tcp_release,
};

/*
 * tcp_create() - The stream around @fd, which is closed on failure
 * #syscalls: close
 */
static int tcp_create(uv_loop_t *loop, int fd, struct tcp **ret)
{
	struct tcp *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		close(fd);
		return -ENOMEM;
	}
	stream_init(&t->stream, &tcp_operations);
	t->queue = t->flight = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	r = uv_tcp_init(loop, &t->handle);
	if (r < 0)
		goto not_opened;
	t->handle.data = t;
	r = uv_tcp_open(&t->handle, fd);
	if (r < 0) {
		close(fd);
		stream_close(&t->stream);
		return r;
	}
	*ret = t;
	return 0;
not_opened:
	close(fd);
	free(t);
	return r;
}

static void tcp_connected(uv_connect_t *request, int status)
{
	struct tcp *t = container_of(request, struct tcp, connect);

	if (status == UV_ECANCELED || t->stream.closed)
		return;
	stream_hold(&t->stream);
	if (status < 0) {
		tcp_fail(t, status, "connect");
		goto done;
	}
	t->connected = true;
	status = tcp_start_reading(t);
	if (status == 0)
		status = tcp_flush(t);
	if (status < 0) {
		tcp_fail(t, status, "connect");
	} else {
		tcp_shut(t);
		stream_emit_opened(&t->stream);
	}
done:
	stream_release(&t->stream);
}

int tcp_connect(uv_loop_t *loop, int fd, const struct endpoint *to, struct stream **ret,
		struct error *err)
{
	struct sockaddr_storage address;
	char text[ENDPOINT_TEXT_MAX];
	struct tcp *t;
	int r;

	if (endpoint_to_sockaddr(to, &address) == 0) {
		close(fd);
		return error_set(err, -EINVAL, "no address to connect to");
	}
	r = tcp_create(loop, fd, &t);
	if (r < 0)
		return error_set_errno(err, r, "connect %s", endpoint_format(to, text));
	t->to = *to;
	(void)uv_tcp_nodelay(&t->handle, 1); /* fails only where it doesn't matter */
	r = uv_tcp_connect(&t->connect, &t->handle, (struct sockaddr *)&address, tcp_connected);
	if (r < 0) {
		stream_close(&t->stream);
		return error_set_errno(err, r, "connect %s", endpoint_format(to, text));
	}
	*ret = &t->stream;
	return 0;
}

int tcp_open(uv_loop_t *loop, int fd, struct stream **ret, struct error *err)
{
	struct tcp *t;
	int r = tcp_create(loop, fd, &t);

	if (r < 0)
		return error_set_errno(err, r, "open connection");
	(void)uv_tcp_nodelay(&t->handle, 1); /* a Unix socket has no such thing */
	t->connected = true;
	r = tcp_start_reading(t);
	if (r < 0) {
		stream_close(&t->stream);
		return error_set_errno(err, r, "open connection");
	}
	*ret = &t->stream;
	return 0;
}

/* #syscalls: fcntl:F_DUPFD_CLOEXEC */
int tcp_take(struct stream *s)
{
	struct tcp *t = tcp_of(s);
	uv_os_fd_t fd;
	int r = tcp_pending(s) > 0 || s->ended ? -EBUSY : uv_fileno((uv_handle_t *)&t->handle, &fd);

	/* libuv closes its own in the next round only. */
	if (r == 0) {
		r = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (r < 0)
			r = -errno;
	}
	stream_close(s);
	return r;
}
