/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/services.h - what this node offers to others: HTTP, HTTPS and TCP in front of the app
 *
 * The process has listeners, a configuration and certificates from the supervisor, and asks it for
 * each connection to the app. It asks the engine for the owner of a peer's address.
 */
#pragma once

#include "base/error.h"
#include "privsep/privsep_client.h"

#include <uv.h>

struct services;

/** services_new() - Serve nothing yet, with so many @descriptors; 0 or negative errno with @err */
int services_new(uv_loop_t *loop, size_t descriptors, struct services **ret, struct error *err);

/** services_begin() - Use @client from now on, which outlives the services */
void services_begin(struct services *services, struct privsep_client *client);

/**
 * services_end() - Take no more connections and requests, and finish those under way
 *
 * @ended is called once, from the loop: when no request is under way, or after PRIVSEP_SERVE_END. Connections
 * that nobody can finish for their two ends (TCP, upgraded ones) are not waited for.
 */
void services_end(struct services *services, void (*ended)(void *user), void *user);

/** services_free() - Close everything. NULL is fine */
void services_free(struct services *services);

/* Events of the privsep client; see struct privsep_client_handlers. @user is the struct services. */
void services_on_serving(void *user, struct privsep_serve *serve);
void services_on_listener(void *user, uint16_t port, int fd);
void services_on_link(void *user, int fd);
void services_on_file_changed(void *user, enum privsep_file_name name, int fd);
