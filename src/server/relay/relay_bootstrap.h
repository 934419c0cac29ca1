/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/relay_bootstrap.h - names that clients may need while their DNS is broken
 *
 * Theory of operation
 *   Some addresses are given; the others are asked for at once and every ten minutes. A name
 *   that can't be resolved keeps its former addresses. Names that clients ask for are only looked
 *   up here, never resolved for them.
 */
#pragma once

#include "base/address.h"
#include "base/buffer.h"
#include "base/error.h"

#include <uv.h>

struct relay_bootstrap;

/** relay_bootstrap_new() - Without names; 0 or -ENOMEM */
int relay_bootstrap_new(uv_loop_t *loop, struct relay_bootstrap **ret);

/** relay_bootstrap_free() - NULL is fine */
void relay_bootstrap_free(struct relay_bootstrap *b);

/**
 * relay_bootstrap_add() - One more name, copied; one that is there gets these addresses besides
 * @addresses: ADDRESS_NONE entries are ignored; without another one the name is resolved
 *
 * A name that DNS does not know (an address, localhost) is ignored.
 * Return: 0; -EINVAL: no host name; -E2BIG: too many (LIMIT_BOOTSTRAP_NAMES); -ENOMEM
 */
int relay_bootstrap_add(struct relay_bootstrap *b, const char *name,
			const struct address *addresses, size_t count);

/** relay_bootstrap_start() - Read how to resolve, and do; the files are not opened again */
int relay_bootstrap_start(struct relay_bootstrap *b, struct error *err);

/** relay_bootstrap_write() - Append {"NAME":["ADDRESS",…],…}; 0, -ENOMEM, -EMSGSIZE */
int relay_bootstrap_write(const struct relay_bootstrap *b, struct buffer *out);
