/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/udp.h - a bound UDP socket on the loop
 *
 * WireGuard, disco and STUN share one socket for each family. The supervisor binds and
 * keeps it, so that the port survives a crash of the engine.
 */
#pragma once

#include "base/address.h"

#include <uv.h>

struct udp_socket;

/**
 * udp_receive_fn - Handle a datagram
 * @ctx:    as given to udp_socket_new()
 * @from:   its source
 * @data:   its bytes, writable, valid during the call
 * @length: bytes; longer datagrams than the buffers were dropped
 */
typedef void (*udp_receive_fn)(void *ctx, const struct endpoint *from, uint8_t *data,
			       size_t length);

/**
 * udp_socket_new() - Read @fd on @loop
 * @fd: a bound, non-blocking datagram socket; the caller keeps owning it
 *
 * Return: 0 and *@ret, or negative errno
 */
int udp_socket_new(uv_loop_t *loop, int fd, udp_receive_fn receive, void *ctx,
		   struct udp_socket **ret);

/** udp_socket_free() - Stop reading; the descriptor stays open. NULL is allowed */
void udp_socket_free(struct udp_socket *socket);

/**
 * udp_socket_send() - Send one datagram now
 *
 * Return: 0; -EAGAIN when the socket buffer is full (the datagram is dropped); another
 * negative errno that concerns the path
 */
int udp_socket_send(struct udp_socket *socket, const struct endpoint *to, const void *data,
		    size_t length);
