/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_stream.c - a socket as a stream: back-pressure, pauses, ends */
#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/tcp.h"
#include "unit/transport/peer.h"

#include <fcntl.h>
#include <signal.h>

struct heard {
	struct stream *stream;
	size_t received;
	unsigned int drained, closed;
	bool in_order, close_in_data;
	struct error err;
};

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct heard *h = user;

	(void)bytes;
	assert_int_equal(h->closed, 0);
	h->received += length;
	if (h->close_in_data)
		stream_close(TAKE_PTR(h->stream));
}

static void on_drained(void *user)
{
	((struct heard *)user)->drained++;
}

static void on_closed(void *user, const struct error *err)
{
	struct heard *h = user;

	h->closed++;
	h->in_order = !err;
	if (err)
		h->err = *err;
}

static const struct stream_events events = {
	.data = on_data, .drained = on_drained, .closed = on_closed};

/* open_pair() - A stream (Unix, so that Unix is tested too) and the other end's descriptor */
static void open_pair(uv_loop_t *loop, struct heard *h, int *ret_fd)
{
	int fds[2];

	memset(h, 0, sizeof(*h));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	uv_loop_init(loop);
	assert_int_equal(tcp_open(loop, fds[0], &h->stream, NULL), 0);
	stream_set_events(h->stream, &events, h);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	*ret_fd = fds[1];
}

static void close_pair(uv_loop_t *loop, struct heard *h, int fd)
{
	stream_close(h->stream);
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
	close(fd);
}

/* drain() - Read all that the loop brings until @total bytes came, checking their order */
static void drain(uv_loop_t *loop, int fd, size_t total)
{
	uint8_t bytes[65536];
	size_t at = 0;

	while (at < total) {
		ssize_t r = read(fd, bytes, sizeof(bytes));

		for (ssize_t i = 0; i < r; i++)
			if (bytes[i] != (uint8_t)(at + (size_t)i))
				fail_msg("byte %zu is wrong", at + (size_t)i);
		at += r > 0 ? (size_t)r : 0;
		uv_run(loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(at, total);
}

static void a_peer_that_does_not_read(void **state)
{
	static uint8_t piece[LIMIT_STREAM_QUEUE];
	size_t total = 0;
	uv_loop_t loop;
	struct heard h;
	int fd;

	(void)state;
	open_pair(&loop, &h, &fd);
	for (unsigned int i = 0; i < 1000; i++) {
		for (size_t k = 0; k < 10000; k++)
			piece[k] = (uint8_t)(total + k);
		if (stream_write(h.stream, piece, 10000) == -ENOBUFS)
			break;
		total += 10000;
		assert_true(stream_pending(h.stream) <= LIMIT_STREAM_QUEUE);
	}
	assert_true(total > LIMIT_STREAM_QUEUE - 10000); /* the kernel's buffer holds some more */
	assert_int_equal(stream_write(h.stream, piece, LIMIT_STREAM_QUEUE), -ENOBUFS);
	assert_int_equal(h.drained, 0);
	drain(&loop, fd, total);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(h.drained, 1);
	assert_int_equal(stream_pending(h.stream), 0);
	close_pair(&loop, &h, fd);
}

static void finish_passes_the_queue_on(void **state)
{
	static uint8_t piece[900000];
	uv_loop_t loop;
	struct heard h;
	uint8_t byte;
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = (uint8_t)i;
	open_pair(&loop, &h, &fd);
	assert_int_equal(stream_write(h.stream, piece, sizeof(piece)), 0);
	assert_true(stream_pending(h.stream) > 0);
	stream_finish(TAKE_PTR(h.stream));
	drain(&loop, fd, sizeof(piece));
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(read(fd, &byte, 1), 0); /* and then it is closed */
	assert_int_equal(h.drained + h.closed, 0);
	close_pair(&loop, &h, fd);
}

static void pauses_hold_data_back(void **state)
{
	uv_loop_t loop;
	struct heard h;
	int fd;

	(void)state;
	open_pair(&loop, &h, &fd);
	stream_pause(h.stream);
	assert_int_equal(write(fd, "abc", 3), 3);
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(h.received, 0);
	stream_resume(h.stream);
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(h.received, 3);
	close_pair(&loop, &h, fd);
}

static void an_end_is_told_once(void **state)
{
	uv_loop_t loop;
	struct heard h;
	int fd;

	(void)state;
	open_pair(&loop, &h, &fd);
	assert_int_equal(write(fd, "abc", 3), 3);
	shutdown(fd, SHUT_RDWR);
	uv_run(&loop, UV_RUN_DEFAULT); /* returns: nothing is watched any more */
	assert_int_equal(h.received, 3);
	assert_int_equal(h.closed, 1);
	assert_true(h.in_order);
	assert_int_equal(stream_write(h.stream, "x", 1), -EPIPE);
	assert_int_equal(stream_pending(h.stream), 0);
	close_pair(&loop, &h, fd);
	assert_int_equal(h.closed, 1);
}

static void a_write_to_nobody_is_an_error(void **state)
{
	uv_loop_t loop;
	struct heard h;
	int fd;

	(void)state;
	open_pair(&loop, &h, &fd);
	stream_pause(h.stream); /* so that the write finds out */
	close(fd);
	assert_int_equal(stream_write(h.stream, "x", 1), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(h.closed, 1);
	assert_int_equal(h.err.code, -EPIPE);
	assert_non_null(strstr(h.err.text, "write"));
	close_pair(&loop, &h, -1);
}

static void nothing_follows_a_close(void **state)
{
	uv_loop_t loop;
	struct heard h;
	int fd;

	(void)state;
	open_pair(&loop, &h, &fd);
	h.close_in_data = true;
	assert_int_equal(write(fd, "abc", 3), 3);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(h.received, 3);
	assert_int_equal(h.closed + h.drained, 0);
	stream_close(NULL);
	stream_finish(NULL);
	close_pair(&loop, &h, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_that_does_not_read),
		cmocka_unit_test(finish_passes_the_queue_on),
		cmocka_unit_test(pauses_hold_data_back),
		cmocka_unit_test(an_end_is_told_once),
		cmocka_unit_test(a_write_to_nobody_is_an_error),
		cmocka_unit_test(nothing_follows_a_close),
	};

	signal(SIGPIPE, SIG_IGN); /* as every program on libuv must */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
