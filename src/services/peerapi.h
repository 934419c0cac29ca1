/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/peerapi.h - what peers' nodes ask this node by HTTP
 *
 *	GET  /            a greeting; HEAD is the ping of `ping --peerapi`
 *	POST /v0/ingress  a connection of the internet, by an ingress node (Funnel)
 *
 * The packet filter lets every peer in, so each request is judged here: by the peer that the
 * source address belongs to, and against pages of a browser (Origin, Referer, another Host).
 */
#pragma once

#include "services/services_internal.h"

struct peerapi;

/** peerapi_new() - Without listeners; NULL without memory */
struct peerapi *peerapi_new(struct services *services);
void peerapi_free(struct peerapi *peerapi);

/** peerapi_listen() - Serve @fd too, which is owned */
void peerapi_listen(struct peerapi *peerapi, int fd);

/** peerapi_close() - Close the listeners and their connections, but those that were handed over */
void peerapi_close(struct peerapi *peerapi);

/** peerapi_is_idle() - Whether there was no connection for @pause */
bool peerapi_is_idle(const struct peerapi *peerapi, nanoseconds pause);
