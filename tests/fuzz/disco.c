/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/disco.c - disco plaintexts, and packets as they come
 *
 * The fuzzer can't seal, so the plaintext goes straight into the parser; what is
 * of a type that we speak is sealed, opened, and must be the same.
 */
#include "wire/disco.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct key_box box = {{1}};
	static const struct public_key sender = {{2}};
	static const uint8_t nonce[DISCO_NONCE_SIZE] = {3};
	static uint8_t packet[DISCO_OPEN_MAX + DISCO_OVERHEAD], plain[2][DISCO_OPEN_MAX];
	struct disco_message m, again;
	ssize_t length;

	if (disco_open(data, size, &box, &m) != 0 && disco_recognise(data, size)) {
		struct public_key key;

		if (disco_sender(data, size, &key) != 0)
			abort();
	}
	if (disco_message_parse(data, size, &m) != 0)
		return 0;
	length = disco_seal(packet, sizeof(packet), &sender, &box, nonce, &m);
	if (length < 0)
		return 0;
	if (length > DISCO_OPEN_MAX)
		return 0;
	if (disco_open(packet, (size_t)length, &box, &again) != 0 ||
	    disco_message_write(plain[0], sizeof(plain[0]), &m) != length - DISCO_OVERHEAD ||
	    disco_message_write(plain[1], sizeof(plain[1]), &again) != length - DISCO_OVERHEAD ||
	    memcmp(plain[0], plain[1], (size_t)length - DISCO_OVERHEAD) != 0)
		abort();
	return 0;
}
