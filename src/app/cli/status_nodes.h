/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/status_nodes.h - nodes in an ipnstate.Status */
#pragma once

#include "base/error.h"

#include <jansson.h>

#define PEER_NAME_MAX 256

/**
 * peer_find() - This node or a peer, by address, name in the tailnet or machine name
 *
 * "laptop", "laptop.tail.example", with or without the last dot. Names in the tailnet go first.
 * Return: borrowed from @status; NULL with @err
 */
const json_t *peer_find(const json_t *status, const char *host, struct error *err);

/** peer_address() - Its first address, or "-" */
const char *peer_address(const json_t *peer);

/** peer_name() - Its name in the tailnet without the last dot, into @ret; returns @ret */
const char *peer_name(const json_t *peer, char ret[static PEER_NAME_MAX]);
