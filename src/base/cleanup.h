/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/cleanup.h - release at the end of the scope
 *
 *	_cleanup_free_ char *path = NULL;
 *	_cleanup_close_ int fd = -1;
 *	…
 *	return TAKE_FD(fd);
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_at(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close_at(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* `unused`: clang does not count the cleanup as a use. */
#define _cleanup_(function) __attribute__((cleanup(function), unused))
#define _cleanup_free_      _cleanup_(cleanup_free_at)
#define _cleanup_close_     _cleanup_(cleanup_close_at)

/** TAKE_FD() - Hand a file descriptor on: the variable no longer owns it */
#define TAKE_FD(fd)                  \
	({                           \
		int take_fd_ = (fd); \
		(fd) = -1;           \
		take_fd_;            \
	})

/** TAKE_PTR() - Hand a pointer on: the variable no longer owns it */
#define TAKE_PTR(pointer)                                  \
	({                                                 \
		__typeof__(pointer) take_ptr_ = (pointer); \
		(pointer) = NULL;                          \
		take_ptr_;                                 \
	})

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))
