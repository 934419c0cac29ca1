/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/derp.c - a relay's stream of frames into the codec and the client
 *
 * Frames that parse are written again and must parse to the same. The client gets
 * the same bytes in pieces whose size the first byte says, once as a stranger
 * would send them and once after an authentic greeting.
 */
#include "wire/derp.h"
#include "base/limits.h"
#include "tunnel/relay/derp_client.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void codec(const uint8_t *data, size_t size)
{
	static uint8_t out[DERP_PACKET_MAX + 256];
	struct cursor c = cursor_of(data, size);
	struct derp_frame frame, again;
	struct derp_message m, twice;

	while (derp_frame_next(&c, LIMIT_DERP_FRAME, &frame) > 0) {
		struct cursor written;
		ssize_t length;

		if (derp_message_parse(&frame, &m) < 0)
			continue;
		length = derp_message_write(out, sizeof(out), &m);
		if (length < 0)
			continue; /* a packet above 64 KiB */
		written = cursor_of(out, (size_t)length);
		if (derp_frame_next(&written, LIMIT_DERP_FRAME, &again) != 1 ||
		    derp_message_parse(&again, &twice) != 0 || twice.length != m.length ||
		    !public_key_equal(&twice.key, &m.key) || twice.reason != m.reason)
			abort();
	}
}

static void client(const uint8_t *data, size_t size, bool greeted)
{
	static const struct secret_key node = {{8}}, server = {{16}};
	struct derp_client *c = derp_client_new(&node, "fuzz", 1);
	size_t piece = size > 0 ? (size_t)data[0] + 1 : 1;
	uint8_t out[DERP_INFO_MAX];
	struct derp_message event;
	int r = 0;

	if (greeted) {
		struct derp_message m = {.type = DERP_SERVER_KEY};
		struct derp_server_info info = {.version = 2, .bytes_per_second = 100};
		uint8_t nonce[DERP_NONCE_SIZE] = {0};
		struct public_key public;
		struct key_box box;

		secret_key_public(&server, &m.key);
		secret_key_public(&node, &public);
		key_box_init(&server, &public, &box);
		derp_client_receive(c, out, (size_t)derp_message_write(out, sizeof(out), &m), 1);
		derp_client_receive(
			c, out,
			(size_t)derp_server_info_write(out, sizeof(out), &box, nonce, &info), 1);
		if (derp_client_next(c, 1, &event) != 1 || event.type != DERP_SERVER_INFO)
			abort();
	}
	while (size > 0 && r >= 0) {
		size_t length = size < piece ? size : piece;

		r = derp_client_receive(c, data, length, 2);
		while (r >= 0 && (r = derp_client_next(c, 2, &event)) > 0)
			if (event.type == DERP_RECV_PACKET)
				derp_client_send(c, &event.key, event.data, event.length, 3);
		data += length;
		size -= length;
	}
	derp_client_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	codec(data, size);
	client(data, size, false);
	client(data, size, true);
	return 0;
}
