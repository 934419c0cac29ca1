/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/tsmp.c - a message that is understood encodes to one that means the same */
#include "wire/tsmp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t first[TSMP_MESSAGE_MAX], second[TSMP_MESSAGE_MAX];
	struct tsmp_message m, again;
	size_t length;

	if (tsmp_decode(data, size, &m) < 0)
		return 0;
	length = tsmp_encode(&m, first);
	if (tsmp_decode(first, length, &again) < 0 || tsmp_encode(&again, second) != length ||
	    memcmp(first, second, length) != 0)
		abort();
	return 0;
}
