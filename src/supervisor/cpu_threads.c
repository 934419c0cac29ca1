/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/cpu_threads.c - the number of packet threads, by CPUs and quota */
#include "supervisor/cpu_threads.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NO_QUOTA UINT_MAX

/* read_line() - The first line of a small file, or false */
static bool read_line(const char *path, char *out, int size)
{
	FILE *file = fopen(path, "re");
	bool got;

	if (!file)
		return false;
	got = fgets(out, size, file) != NULL;
	fclose(file);
	return got;
}

/* whole_cpus() - A quota of @quota microseconds a period, in CPUs, rounded down */
static unsigned int whole_cpus(long quota, long period)
{
	if (quota <= 0 || period <= 0)
		return NO_QUOTA;
	return (unsigned int)(quota / period);
}

/* quota_v2(), quota_v1() - The quota of one cgroup folder */
static unsigned int quota_v2(const char *folder)
{
	char path[PATH_MAX], line[64];
	long quota, period;

	if (snprintf(path, sizeof(path), "%s/cpu.max", folder) >= (int)sizeof(path) ||
	    !read_line(path, line, sizeof(line)) || sscanf(line, "%ld %ld", &quota, &period) != 2)
		return NO_QUOTA;
	return whole_cpus(quota, period);
}

static unsigned int quota_v1(const char *folder)
{
	char path[PATH_MAX], line[64];
	long quota, period;

	if (snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder) >= (int)sizeof(path) ||
	    !read_line(path, line, sizeof(line)) || sscanf(line, "%ld", &quota) != 1)
		return NO_QUOTA;
	if (snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder) >= (int)sizeof(path) ||
	    !read_line(path, line, sizeof(line)) || sscanf(line, "%ld", &period) != 1)
		return NO_QUOTA;
	return whole_cpus(quota, period);
}

/* least_upwards() - The lowest quota of our cgroup and every cgroup above it, up to @mount */
static unsigned int least_upwards(const char *mount, const char *group,
				  unsigned int (*quota)(const char *))
{
	unsigned int least = quota(mount);
	char folder[PATH_MAX];
	size_t keep = strlen(mount);

	if (snprintf(folder, sizeof(folder), "%s%s", mount, group) >= (int)sizeof(folder))
		return least;
	while (strlen(folder) > keep) {
		unsigned int here = quota(folder);

		least = here < least ? here : least;
		*strrchr(folder, '/') = 0;
	}
	return least;
}

static unsigned int cgroup_quota(const char *root)
{
	char path[PATH_MAX], mount[PATH_MAX], line[PATH_MAX];
	unsigned int least = NO_QUOTA;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	file = fopen(path, "re");
	if (!file)
		return NO_QUOTA;
	/* "0::/group" for v2, "3:cpu,cpuacct:/group" for v1 */
	while (fgets(line, sizeof(line), file)) {
		char *controllers = strchr(line, ':');
		char *group = controllers ? strchr(controllers + 1, ':') : NULL;
		unsigned int here = NO_QUOTA;

		if (!group || group[1] != '/')
			continue;
		*group++ = 0;
		group[strcspn(group, "\n")] = 0;
		controllers++;
		if (*controllers == 0) {
			snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
			here = least_upwards(mount, group, quota_v2);
		} else if (strcmp(controllers, "cpu") == 0 ||
			   strncmp(controllers, "cpu,", 4) == 0) {
			snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/%s", root, controllers);
			here = least_upwards(mount, group, quota_v1);
		}
		least = here < least ? here : least;
	}
	fclose(file);
	return least;
}

unsigned int cpu_threads(const char *root, unsigned int most)
{
	unsigned int count = cgroup_quota(root);
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0) {
		unsigned int cpus = (unsigned int)CPU_COUNT(&set);

		count = cpus < count ? cpus : count;
	}
	if (count == NO_QUOTA || count < 1)
		return 1;
	return count > most ? most : count;
}
