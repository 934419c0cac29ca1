/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/relay_clients.h - streams under the relay's core
 *
 * Theory of operation
 *   A client is a stream with a connection of the core. Bytes of a stream go to the
 *   core at once, and requests of the core are carried out at once.
 *
 *   Fairness: in one turn of the loop a client is read TURN_BYTES at most; then it is
 *   paused, and resumed in the next turn, when all others have been looked at. A
 *   client over its rate is paused too, for as long as it takes.
 *   Towards the kernel only one write is under way; until it has left, packets wait
 *   in the core's bounded queues.
 */
#pragma once

#include "base/address.h"
#include "server/relay/derp_server.h"
#include "transport/stream.h"

#include <uv.h>

struct relay_clients;
struct relay_verifier;

struct relay_clients_config {
	uv_loop_t *loop;
	struct derp_server *server; /* borrowed; frees no connection before relay_clients_free() */
	bool (*verify)(void *user, const struct public_key *node, const struct address *source);
	void *user;
	struct relay_verifier *verifier; /* asked after @verify allowed; NULL: none */
	bool verify_fail_open;
	unsigned int source_clients; /* most from one address */
};

/** relay_clients_new() - 0 or -ENOMEM */
int relay_clients_new(const struct relay_clients_config *config, struct relay_clients **ret);

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
