/* SPDX-License-Identifier: BSD-3-Clause */
/* base/listener.c - whether the program behind a Unix socket may be trusted */
#include "base/listener.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the kernel shows for a user without a number here (/proc/sys/kernel/overflowuid). */
#define UNMAPPED_UID 65534

/* every_user_has_a_number() - In the first user namespace, where 65534 is a user like others */
static bool every_user_has_a_number(void)
{
	unsigned int inside = 0, outside = 0, count = 0;
	FILE *map = fopen("/proc/self/uid_map", "re");

	if (map) {
		if (fscanf(map, "%u %u %u", &inside, &outside, &count) != 3)
			count = 0;
		fclose(map);
	}
	return inside == 0 && count == UINT32_MAX;
}

int listener_check(int fd, const char *path, bool named, struct error *err)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return error_set_errno(err, -errno, "find out whether a program listens at %s",
				       path);
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	if (peer.uid == UNMAPPED_UID && !every_user_has_a_number()) {
		if (named)
			return 0;
		return error_set(err, -EPERM,
				 "a user of another user namespace listens at %s: nothing was "
				 "sent. If that is the daemon you mean, name its socket",
				 path);
	}
	return error_set(err, -EPERM,
			 "the user with uid %u listens at %s, neither root nor you: nothing was "
			 "sent. If that is the daemon you mean, run this command as that user",
			 (unsigned int)peer.uid, path);
}
