/* SPDX-License-Identifier: BSD-3-Clause */
/* base/listener.h - whether the program behind a Unix socket may be trusted */
#pragma once

#include "base/error.h"

#include <stdbool.h>

/**
 * listener_check() - Whether root or this process's own user listens at the other end of @fd
 * @path:  of the socket, for the message
 * @named: an option named the socket: a listener whose user has no number in this user namespace
 *         (a daemon of the host, seen from inside of a container) is accepted then
 *
 * Any user may have made the socket at a path. Ask before the first byte is sent.
 * Return: 0; -EPERM with @err: another user listens; other negative errno
 */
int listener_check(int fd, const char *path, bool named, struct error *err);
