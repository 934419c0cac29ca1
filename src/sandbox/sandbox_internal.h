/* SPDX-License-Identifier: BSD-3-Clause */
/* sandbox/sandbox_internal.h - between the files of this room */
#pragma once

#include "sandbox/sandbox.h"

/**
 * landlock_enter() - Allow this thread to open /dev/urandom and @paths, and no other file
 *
 * Return: the kernel's Landlock ABI, or negative errno if it has none
 */
int landlock_enter(const struct sandbox_path *paths, size_t count);

/** seccomp_seal() - Install the profile's filter in all threads; 0 or negative errno */
int seccomp_seal(const struct sandbox_profile *profile);
