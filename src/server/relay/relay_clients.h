/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/relay_clients.h - streams under the relay's core
 *
 * Theory of operation
 *   A client is a stream with a connection of the core. Bytes of a stream go to the
 *   core at once, and requests of the core are carried out at once.
 *
 *   Fairness: after TURN_BYTES a client is paused until the next turn of the loop, when all
 *   others have been looked at. A client over its rate is paused too, for as long as it takes.
 *   Towards the kernel only one write is under way; until it has left, packets wait
 *   in the core's bounded queues.
 */
#pragma once

#include "base/address.h"
#include "server/relay/derp_server.h"
#include "server/relay/relay_server.h"
#include "transport/stream.h"

struct relay_clients;
struct relay_verifier;

/**
 * relay_clients_new() - 0 or -ENOMEM
 * @server:   borrowed; frees no connection before relay_clients_free()
 * @verifier: asked after @config's verify() allowed; NULL: none
 */
int relay_clients_new(uv_loop_t *loop, struct derp_server *server, struct relay_verifier *verifier,
		      const struct relay_server_config *config, struct relay_clients **ret);

/** relay_clients_free() - Cut all. NULL is fine */
void relay_clients_free(struct relay_clients *clients);

/** relay_clients_room() - Whether @source may have one more connection */
bool relay_clients_room(const struct relay_clients *clients, const struct address *source);

/**
 * relay_clients_add() - A stream whose upgrade is done
 * @stream: paused; owned from here on
 * @head:   bytes that came behind the request
 */
void relay_clients_add(struct relay_clients *clients, struct stream *stream, const void *head,
		       size_t length, const struct endpoint *source);

/** relay_clients_attend() - Carry out requests of the core, after a call from outside */
void relay_clients_attend(struct relay_clients *clients);
