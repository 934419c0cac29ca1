/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/state_file.c - any bytes as tailscaled.state; an adopted state survives a round trip */
#include "node/state_file.h"
#include "base/limits.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer out = BUFFER_INIT(2 * LIMIT_STATE_FILE);
	struct state_file first, second;
	struct error err;

	if (state_file_decode(data, size, &first, &err) < 0)
		return 0;
	if (state_file_encode(&first, &out) < 0 ||
	    state_file_decode(buffer_head(&out), out.length, &second, &err) < 0)
		abort();
	if (memcmp(&first.machine_key, &second.machine_key, sizeof(first.machine_key)) != 0 ||
	    memcmp(&first.persist.node_key, &second.persist.node_key,
		   sizeof(first.persist.node_key)) != 0 ||
	    strcmp(first.profile_id, second.profile_id) != 0 ||
	    !prefs_equal(&first.prefs, &second.prefs))
		abort();
	buffer_free_secret(&out);
	state_file_free(&first);
	state_file_free(&second);
	return 0;
}
