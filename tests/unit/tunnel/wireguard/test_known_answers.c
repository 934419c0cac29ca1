/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/wireguard/test_known_answers.c - a handshake byte for byte
 *
 * vectors/handshake.txt is the work of a second implementation (handshake.py beside it). Two
 * devices whose chance is scripted must send exactly its messages.
 */
#include "tunnel/wireguard/wg_device.h"
#include "unit/tunnel/wireguard/receive.h"
#include "unit/unit.h"

#include <sodium.h>

struct answer {
	uint8_t bytes[256];
	size_t length;
};

static struct {
	struct answer initiator_static, responder_static, initiator_ephemeral, responder_ephemeral;
	struct answer psk, initiation, response, packet, data, keepalive;
	uint32_t initiator_index, responder_index;
	nanoseconds realtime;
} known;

static void read_answers(void)
{
	static const struct {
		const char *name;
		struct answer *answer;
	} fields[] = {
		{"initiator_static", &known.initiator_static},
		{"responder_static", &known.responder_static},
		{"initiator_ephemeral", &known.initiator_ephemeral},
		{"responder_ephemeral", &known.responder_ephemeral},
		{"psk", &known.psk},
		{"initiation", &known.initiation},
		{"response", &known.response},
		{"packet", &known.packet},
		{"data", &known.data},
		{"keepalive", &known.keepalive},
	};
	FILE *file = fopen("unit/tunnel/wireguard/vectors/handshake.txt", "r");
	char name[64], value[1024];
	size_t count = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "#%*[^\n]"), 0);
	while (fscanf(file, "%63s %1023s", name, value) == 2) {
		count++;
		for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
			if (strcmp(name, fields[i].name) == 0)
				assert_int_equal(sodium_hex2bin(fields[i].answer->bytes,
								sizeof(known.packet.bytes), value,
								strlen(value), NULL,
								&fields[i].answer->length, NULL),
						 0);
		if (strcmp(name, "initiator_index") == 0)
			known.initiator_index = (uint32_t)strtoul(value, NULL, 16);
		if (strcmp(name, "responder_index") == 0)
			known.responder_index = (uint32_t)strtoul(value, NULL, 16);
		if (strcmp(name, "realtime") == 0)
			known.realtime = strtoll(value, NULL, 10);
	}
	fclose(file);
	assert_int_equal(count, 13);
}

/* One end: chance gives its ephemeral key and its index, whoever asks for so many bytes. */
struct end {
	const struct answer *ephemeral;
	uint32_t index;
	struct wg_device *device;
	struct wg_peer *peer;
	struct answer sent[4];
	size_t sent_count;
	struct answer delivered;
};

static void hook_random(void *context, void *out, size_t length)
{
	struct end *end = context;

	memset(out, 0, length);
	if (length == SECRET_KEY_SIZE)
		memcpy(out, end->ephemeral->bytes, length);
	else if (length == sizeof(uint32_t))
		memcpy(out, &end->index, length);
}

static void hook_send(void *context, struct wg_peer *peer, uint8_t *datagram, size_t length,
		      enum wg_kind kind)
{
	struct end *end = context;
	struct answer *sent = &end->sent[end->sent_count++];

	(void)peer;
	(void)kind;
	memcpy(sent->bytes, datagram, length);
	sent->length = length;
}

static void hook_deliver(void *context, struct wg_peer *peer, uint8_t *packet, size_t length)
{
	struct end *end = context;

	(void)peer;
	memcpy(end->delivered.bytes, packet, length);
	end->delivered.length = length;
}

static nanoseconds hook_realtime(void *context)
{
	(void)context;
	return known.realtime;
}

static const struct wg_callbacks hooks = {
	.send = hook_send,
	.deliver = hook_deliver,
	.realtime = hook_realtime,
	.random = hook_random,
};

static void end_init(struct end *end, const struct answer *own, const struct answer *other,
		     uint8_t host)
{
	struct prefix inner = {.address = address_v4((uint8_t[]){10, 0, 0, host}), .bits = 32};
	struct public_key public;

	secret_key_public((const struct secret_key *)other->bytes, &public);
	end->device = wg_device_new((const struct secret_key *)own->bytes, &hooks, end);
	assert_non_null(end->device);
	assert_int_equal(wg_peer_add(end->device, &public,
				     (const struct secret_key *)known.psk.bytes, end, &end->peer),
			 0);
	assert_int_equal(wg_peer_set_allowed_ips(end->peer, &inner, 1), 0);
}

static void sent_is(const struct end *end, size_t index, const struct answer *expected)
{
	assert_int_equal(end->sent_count, index + 1);
	assert_int_equal(end->sent[index].length, expected->length);
	assert_memory_equal(end->sent[index].bytes, expected->bytes, expected->length);
}

static void both_ends_send_what_a_second_implementation_sent(void **state)
{
	struct end initiator = {.ephemeral = &known.initiator_ephemeral};
	struct end responder = {.ephemeral = &known.responder_ephemeral};
	uint8_t packet[WG_HEADROOM + 256 + WG_TAILROOM];
	const struct wg_source source = {.region = 1};
	nanoseconds now = 1000 * NSEC_PER_SEC;

	(void)state;
	read_answers();
	initiator.index = known.initiator_index;
	responder.index = known.responder_index;
	end_init(&initiator, &known.initiator_static, &known.responder_static, 2);
	end_init(&responder, &known.responder_static, &known.initiator_static, 1);

	memcpy(packet + WG_HEADROOM, known.packet.bytes, known.packet.length);
	assert_int_equal(wg_send(initiator.peer, packet + WG_HEADROOM, known.packet.length, now),
			 0);
	sent_is(&initiator, 0, &known.initiation);
	assert_int_equal(wg_receive(responder.device, &source, initiator.sent[0].bytes,
				    initiator.sent[0].length, now, NULL),
			 WG_RECEIVED_INITIATION);
	sent_is(&responder, 0, &known.response);
	assert_int_equal(wg_receive(initiator.device, &source, responder.sent[0].bytes,
				    responder.sent[0].length, now, NULL),
			 WG_RECEIVED_RESPONSE);
	sent_is(&initiator, 1, &known.data);
	assert_int_equal(wg_receive(responder.device, &source, initiator.sent[1].bytes,
				    initiator.sent[1].length, now, NULL),
			 WG_RECEIVED_PACKET);
	assert_int_equal(responder.delivered.length, known.packet.length);
	assert_memory_equal(responder.delivered.bytes, known.packet.bytes, known.packet.length);
	/* Ten seconds later its passive keepalive. */
	wg_device_timeout(responder.device, now + WG_KEEPALIVE_TIMEOUT);
	sent_is(&responder, 1, &known.keepalive);
	wg_device_free(initiator.device);
	wg_device_free(responder.device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_send_what_a_second_implementation_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
