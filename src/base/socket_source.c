/* SPDX-License-Identifier: BSD-3-Clause */
/* base/socket_source.c - sockets for programs that may make their own */
#include "base/socket_source.h"

#include <errno.h>
#include <sys/socket.h>

static int direct_open(struct socket_source *self, enum socket_kind kind,
		       enum address_family family)
{
	int domain = family == ADDRESS_V6 ? AF_INET6 : AF_INET;
	int type = kind == SOCKET_TCP || kind == SOCKET_PEER ? SOCK_STREAM : SOCK_DGRAM;
	int protocol = 0, fd;

	(void)self;
	if (kind == SOCKET_ICMP)
		protocol = family == ADDRESS_V6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	return fd < 0 ? -errno : fd;
}

struct socket_source *socket_source_direct(void)
{
	static struct socket_source direct = {.open = direct_open};

	return &direct;
}
