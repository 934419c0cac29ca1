/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/packet/udp.h - a bound UDP socket on the loop
 *
 * WireGuard, disco and STUN share one socket for each family. The supervisor binds and
 * keeps it, so that the port survives a crash of the engine.
 */
#pragma once

#include "base/address.h"

#include <stdbool.h>
#include <sys/uio.h>
#include <uv.h>

/* The kernel's limits of one UDP_SEGMENT: datagrams, and their bytes over IPv4. */
#define UDP_TRAIN_DATAGRAMS 64u
#define UDP_TRAIN_BYTES     65507u

struct udp_socket;

/**
 * struct udp_handler - What to do with datagrams
 * @receive: a datagram, writable, valid until @drained. Datagrams longer than the buffers were
 *           dropped
 * @drained: the memory of all datagrams since the last call is used again
 * @full:    datagrams of udp_socket_send_all() wait; make no more until @writable
 */
struct udp_handler {
	void (*receive)(void *ctx, const struct endpoint *from, uint8_t *data, size_t length);
	void (*drained)(void *ctx);
	void (*full)(void *ctx);
	void (*writable)(void *ctx);
};

/* Bytes that wait for a full socket: what is on its way through a batch when it fills, and no more. */
#define UDP_WAITING_BYTES (256u * 1024)

/* Offloads of the kernel that may be used; it is asked whether it has them. */
struct udp_offloads {
	bool segment; /* UDP_SEGMENT: many datagrams in one call */
	bool merge;   /* UDP_GRO */
};

/**
 * udp_socket_new() - Read @fd on @loop
 * @fd: a bound, non-blocking datagram socket; the caller keeps owning it
 *
 * Return: 0 and *@ret, or negative errno
 */
int udp_socket_new(uv_loop_t *loop, int fd, const struct udp_offloads *offloads,
		   const struct udp_handler *handler, void *ctx, struct udp_socket **ret);

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

/**
 * udp_socket_send_all() - Send datagrams to one endpoint in their order, now or when the socket is writable
 * @datagrams: @count of them; copied if they have to wait
 *
 * Return: 0; -EAGAIN: the rest was dropped, since UDP_WAITING_BYTES wait; or the negative errno of the
 * first that was refused, the others were sent if possible
 */
int udp_socket_send_all(struct udp_socket *socket, const struct endpoint *to,
			const struct iovec *datagrams, size_t count);
