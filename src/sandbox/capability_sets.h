/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/capability_sets.h - the capabilities of the calling thread
 *
 * By system call: a library for two calls would cost every process its pages.
 */
#pragma once

#include <stdint.h>

#define CAPABILITY_BIT(number) (UINT64_C(1) << (number))

struct capability_sets {
	uint64_t effective, permitted, inheritable;
};

/** capability_sets_get() - 0 or negative errno; all sets are empty on failure */
int capability_sets_get(struct capability_sets *ret);

/** capability_sets_set() - 0 or negative errno */
int capability_sets_set(const struct capability_sets *sets);
