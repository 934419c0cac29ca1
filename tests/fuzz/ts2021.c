/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/ts2021.c - what a server or a stranger sends in TS2021
 *
 * The first byte chooses: 0 the answer to a handshake, 1 an initiation, 2 records, 3 the
 * early payload, 4 records whose contents are the input, sealed properly.
 */
#include "transport/ts2021.h"
#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct secret_key machine = {{8, 1}}, server = {{16, 2}}, ephemeral = {{24, 3}};

static void open_records(struct ts2021_session *s, const uint8_t *data, size_t size,
			 const uint8_t *expected)
{
	uint8_t plain[TS2021_PLAINTEXT_MAX];
	size_t used, length, at = 0;

	while (size && ts2021_open_record(s, data, size, &used, plain, &length) == 0) {
		if (used > size || length > sizeof(plain))
			abort();
		if (expected && memcmp(plain, expected + at, length) != 0)
			abort();
		at += length;
		data += used;
		size -= used;
	}
	if (expected && size)
		abort();
}

static void strip(const uint8_t *data, size_t size)
{
	struct ts2021_early e = {0};

	while (size) {
		size_t piece = 1 + data[0] % 7, head_length;
		const uint8_t *head;
		int skip;

		if (piece > size)
			piece = size;
		skip = ts2021_early_strip(&e, data, piece, &head, &head_length);
		if (skip < 0)
			return;
		if ((size_t)skip > piece || head_length > 4)
			abort();
		data += piece;
		size -= piece;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	struct ts2021_session session = {.send_key = machine, .receive_key = machine};
	struct ts2021_session peer = session;
	struct buffer sealed = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	struct public_key public, who;
	struct ts2021_client client;
	struct error err;
	uint16_t version;
	size_t used;

	if (size < 1)
		return 0;
	secret_key_public(&server, &public);
	switch (data[0] % 5) {
	case 0:
		if (ts2021_client_start(&client, &machine, &public, 138, &ephemeral, initiation) <
		    0)
			abort();
		if (ts2021_client_finish(&client, data + 1, size - 1, &used, &session, &err) == 0 &&
		    used != TS2021_RESPONSE_SIZE)
			abort();
		ts2021_client_wipe(&client);
		break;
	case 1:
		if (size - 1 < sizeof(initiation))
			break;
		memcpy(initiation, data + 1, sizeof(initiation));
		(void)ts2021_server_accept(&server, initiation, &ephemeral, response, &who,
					   &version, &session);
		break;
	case 2:
		open_records(&session, data + 1, size - 1, NULL);
		break;
	case 3:
		strip(data + 1, size - 1);
		break;
	default:
		if (ts2021_seal(&session, data + 1, size - 1, &sealed) == 0 && sealed.length)
			open_records(&peer, buffer_head(&sealed), sealed.length, data + 1);
		buffer_free(&sealed);
	}
	return 0;
}
