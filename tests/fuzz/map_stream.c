/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/map_stream.c - the framing of the map: whole and byte by byte give the same */
#include "control/map_session.h"

#include <stdint.h>
#include <stdlib.h>

struct result {
	int last;
	size_t messages;
	size_t bytes;
};

static struct result read_all(const uint8_t *data, size_t size, size_t piece, bool compressed)
{
	struct result result = {0};
	struct map_stream s;

	map_stream_init(&s, compressed);
	for (size_t at = 0; at < size && result.last >= 0; at += piece) {
		size_t left = size - at;
		struct buffer message;

		if (map_stream_feed(&s, data + at, left < piece ? left : piece) < 0)
			abort();
		while ((result.last = map_stream_next(&s, &message, NULL)) == 1) {
			result.messages++;
			result.bytes += message.length;
			buffer_free(&message);
		}
	}
	map_stream_clear(&s);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int compressed = 0; compressed < 2; compressed++) {
		struct result whole = read_all(data, size, size ? size : 1, compressed);
		struct result pieces = read_all(data, size, 7, compressed);

		if (whole.last != pieces.last || whole.messages != pieces.messages ||
		    whole.bytes != pieces.bytes)
			abort();
	}
	return 0;
}
