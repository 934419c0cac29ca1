/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/socket_source.h - where a room without the right to call socket() gets one
 *
 * The engine may not create sockets; it asks the supervisor, which sets the bypass
 * mark (protocol.md 10.5), or binds it to our link, before it hands one over. node implements this interface
 * by privsep; tests and programs without a sandbox use socket_source_direct().
 */
#pragma once

#include "base/address.h"

enum socket_kind {
	SOCKET_TCP,  /* unconnected stream socket, non-blocking, close-on-exec, marked */
	SOCKET_UDP,  /* unbound datagram socket, marked too (DNS queries) */
	SOCKET_ICMP, /* unprivileged echo; -EACCES where ping_group_range says so */
	SOCKET_PEER, /* as SOCKET_TCP, but bound to our link and without a mark: it reaches peers */
	SOCKET_KIND_COUNT,
};

struct socket_source {
	/**
	 * @open: a new socket of @kind in @family
	 * Return: a file descriptor that the caller owns, or negative errno
	 */
	int (*open)(struct socket_source *self, enum socket_kind kind, enum address_family family);
};

/** socket_source_direct() - The one that simply calls socket(), without a mark */
struct socket_source *socket_source_direct(void);
