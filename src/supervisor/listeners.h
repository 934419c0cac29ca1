/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/listeners.h - sockets that outlive an engine
 *
 * All functions: a descriptor or 0, or negative errno with cause and remedy in @err.
 */
#pragma once

#include "base/error.h"
#include "base/socket_source.h"

#include <stdint.h>

/** listener_localapi() - A listening Unix socket, 0666 in a 0755 folder; a stale one is replaced
 *
 * Return: descriptor; -EADDRINUSE if a process answers there
 */
int listener_localapi(const char *path, struct error *err);

/** listener_probe() - -EADDRINUSE with @err if a process answers at @path, else 0 */
int listener_probe(const char *path, struct error *err);

/** listener_link() - Make a symlink at the path that the official CLI uses */
int listener_link(const char *path, const char *link, struct error *err);

/** listener_unlink() - Remove @link if it is a symlink to @path */
void listener_unlink(const char *path, const char *link);

/**
 * listener_health() - A listening TCP socket at "[::]:9002", "0.0.0.0:9002" or "1.2.3.4:9002"
 *
 * The IPv6 wildcard accepts IPv4 too, and falls back to the IPv4 wildcard if IPv6 is off.
 */
int listener_health(const char *address, struct error *err);

/** listener_acme() - A socket that is bound to an address of --acme-listen; listener_begin() follows */
int listener_acme(const char *address, struct error *err);

/** listener_begin() - Listen; 0 or negative errno */
int listener_begin(int fd);

struct udp_pair {
	int v4, v6; /* -1: none */
	uint16_t port;
};

/**
 * udp_pair_open() - UDP sockets on one port for both families, marked, non-blocking
 * @port: wanted; 0 for any
 * @ret:  v6 is -1 if IPv6 is off
 *
 * Return: 0; -EADDRINUSE if the wanted port is taken
 */
int udp_pair_open(uint16_t port, uint32_t mark, struct udp_pair *ret, struct error *err);

void udp_pair_close(struct udp_pair *pair);

/** socket_marked() - A socket with our mark, of a kind that the engine may request */
int socket_marked(enum socket_kind kind, enum address_family family, uint32_t mark);

/** socket_on_link() - A stream socket without our mark that reaches nothing but what is behind @link */
int socket_on_link(enum address_family family, const char *link);
