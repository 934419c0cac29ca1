/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/wireguard_messages.c - what decodes must encode to the same bytes */
#include "wire/wireguard.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union {
		struct wg_initiation initiation;
		struct wg_response response;
		struct wg_cookie_reply cookie;
		struct wg_transport transport;
	} message;
	uint8_t out[WG_INITIATION_SIZE];
	size_t same = 0;
	unsigned int decoded = 0, type = wg_message_type(data, size);

	if (wg_initiation_decode(data, size, &message.initiation) == 0) {
		wg_initiation_encode(&message.initiation, out);
		same = WG_MAC1_OFFSET(WG_INITIATION_SIZE);
		decoded |= 1u << WG_MESSAGE_INITIATION;
	}
	if (wg_response_decode(data, size, &message.response) == 0) {
		wg_response_encode(&message.response, out);
		same = WG_MAC1_OFFSET(WG_RESPONSE_SIZE);
		decoded |= 1u << WG_MESSAGE_RESPONSE;
	}
	if (wg_cookie_reply_decode(data, size, &message.cookie) == 0) {
		wg_cookie_reply_encode(&message.cookie, out);
		same = WG_COOKIE_REPLY_SIZE;
		decoded |= 1u << WG_MESSAGE_COOKIE;
	}
	if (wg_transport_decode(data, size, &message.transport) == 0) {
		wg_transport_encode(&message.transport, out);
		same = WG_TRANSPORT_HEADER_SIZE;
		decoded |= 1u << WG_MESSAGE_TRANSPORT;
	}
	/* One decoder at most, and the one that the type names. */
	if (decoded != (type ? 1u << type : 0) || (same && memcmp(data, out, same) != 0))
		abort();
	return 0;
}
