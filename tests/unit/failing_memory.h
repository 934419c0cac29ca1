/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/failing_memory.h - let the n-th allocation of the code under test fail
 *
 * Included once by a test that is linked with -Wl,--wrap=malloc -Wl,--wrap=calloc
 * -Wl,--wrap=realloc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

static unsigned int allocations, fail_at; /* 0: never */

static bool allocation_fails(void)
{
	return fail_at && ++allocations == fail_at;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(pointer, size);
}
