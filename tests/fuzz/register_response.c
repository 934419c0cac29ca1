/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/register_response.c - the bodies of /key and /machine/register */
#include "wire/tailcfg.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tailcfg_register_response response;
	struct tailcfg_server_keys keys;
	struct error err = {0};

	if (tailcfg_register_response_parse(data, size, &response, &err) == 0) {
		if (err.code != 0)
			abort();
		tailcfg_register_response_clear(&response);
	}
	if (tailcfg_server_keys_parse(data, size, &keys, NULL) == 0 &&
	    public_key_is_zero(&keys.public_key))
		abort();
	return 0;
}
