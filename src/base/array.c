/* SPDX-License-Identifier: BSD-3-Clause */
/* base/array.c - lists that double */
#include "base/array.h"

#include <stdlib.h>

#define CAPACITY_FIRST 4

void *array_double(void *items, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : CAPACITY_FIRST;
	void *grown = reallocarray(items, wanted, size);

	if (grown)
		*capacity = wanted;
	return grown;
}
