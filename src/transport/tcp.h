/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/tcp.h - a TCP (or Unix) socket as a stream, on libuv
 *
 * The socket comes ready made: connecting ones from a struct socket_source, accepted
 * ones from a listener. libuv writes without MSG_NOSIGNAL: the program ignores SIGPIPE.
 */
#pragma once

#include "base/address.h"
#include "transport/stream.h"

#include <uv.h>

/**
 * tcp_connect() - A stream that connects to @to
 * @fd: unconnected non-blocking TCP socket; owned from here on, also on failure
 *
 * Events: opened, or closed with the reason. There is no timeout but the kernel's.
 * Return: 0 or negative errno with @err set
 */
int tcp_connect(uv_loop_t *loop, int fd, const struct endpoint *to, struct stream **ret,
		struct error *err);

/**
 * tcp_open() - A stream over a connected socket, TCP or Unix, born open
 * @fd: owned from here on, also on failure
 *
 * Return: 0 or negative errno with @err set
 */
int tcp_open(uv_loop_t *loop, int fd, struct stream **ret, struct error *err);

/**
 * tcp_take() - The socket of an open stream of tcp_open() for other use; closes the stream, on failure too
 *
 * Return: the descriptor; -EBUSY if queued bytes are not written yet; other negative errno
 */
int tcp_take(struct stream *s);
