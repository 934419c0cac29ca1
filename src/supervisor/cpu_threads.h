/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/cpu_threads.h - the number of packet threads, by CPUs and quota */
#pragma once

/**
 * cpu_threads() - clamp(floor(CPU quota), else CPUs in the affinity mask; 1, @most)
 * @root: "" for this machine; a folder with proc/ and sys/ in tests
 *
 * The quota is the lowest of our cgroup and the cgroups above it, v1 or v2.
 */
unsigned int cpu_threads(const char *root, unsigned int most);
