/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/cpu_threads.h - how many packet threads the machine, or its quota, is good for */
#pragma once

/**
 * cpu_threads() - clamp(floor(CPU quota), else CPUs in the affinity mask; 1, @most)
 * @root: "" for this machine; a folder with proc/ and sys/ in tests
 *
 * The quota is the least of our cgroup and those above it, v1 or v2.
 */
unsigned int cpu_threads(const char *root, unsigned int most);
