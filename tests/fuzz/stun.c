/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/stun.c - STUN answers and requests; an endpoint that was read is written and read
 * again */
#include "wire/stun.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[STUN_RESPONSE_MAX];
	struct endpoint mapped, again;
	struct stun_txid txid;

	if (stun_response_parse(data, size, &txid, &mapped) == 0) {
		size_t length = stun_response_write(out, &txid, &mapped);

		if (stun_response_parse(out, length, &txid, &again) != 0 ||
		    !endpoint_equal(&mapped, &again))
			abort();
	}
	if (stun_request_parse(data, size, &txid) == 0 && !stun_recognise(data, size))
		abort();
	return 0;
}
