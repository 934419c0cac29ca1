/* SPDX-License-Identifier: BSD-3-Clause */
/* base/array.h - lists that double */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** array_double() - @items moved to twice *@capacity, which is updated; NULL without memory */
static inline void *array_double(void *items, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : 4;
	void *grown = reallocarray(items, wanted, size);

	if (grown)
		*capacity = wanted;
	return grown;
}

/**
 * ARRAY_GROW() - Make room for one more item behind @count of them
 * @items:    the list, an lvalue
 * @capacity: how many have room, an lvalue of any unsigned type
 *
 * Return: 0 or -ENOMEM, which changes nothing
 */
#define ARRAY_GROW(items, count, capacity)                                                        \
	({                                                                                        \
		size_t grow_room_ = (capacity);                                                   \
		int grow_result_ = 0;                                                             \
		if ((count) == grow_room_) {                                                      \
			void *grow_items_ = array_double((items), &grow_room_, sizeof(*(items))); \
			if (grow_items_) {                                                        \
				(items) = grow_items_;                                            \
				(capacity) = (__typeof__(capacity))grow_room_;                    \
			} else {                                                                  \
				grow_result_ = -ENOMEM;                                           \
			}                                                                         \
		}                                                                                 \
		grow_result_;                                                                     \
	})

/** ARRAY_ADD() - A new zeroed item at the end, after ARRAY_GROW(); @count grows. NULL without memory */
#define ARRAY_ADD(items, count, capacity)                                             \
	({                                                                            \
		void *add_item_ = NULL;                                               \
		if (ARRAY_GROW(items, count, capacity) == 0)                          \
			add_item_ = memset(&(items)[(count)++], 0, sizeof(*(items))); \
		(__typeof__(items))add_item_;                                         \
	})
