/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_ts2021.c - handshake and records against known answers and each other
 */
#include "base/limits.h"
#include "transport/ts2021.h"
#include "unit/transport/ts2021_vectors.h"
#include "unit/unit.h"

static struct secret_key key_of(const uint8_t bytes[static 32])
{
	struct secret_key key;

	memcpy(key.bytes, bytes, 32);
	return key;
}

static void known_answers(void **state)
{
	struct secret_key machine = key_of(vector_machine), server = key_of(vector_server);
	struct secret_key client_e = key_of(vector_client_ephemeral);
	struct secret_key server_e = key_of(vector_server_ephemeral);
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	uint8_t plain[TS2021_PLAINTEXT_MAX];
	struct buffer out = BUFFER_INIT(8192);
	struct ts2021_session client, peer;
	struct public_key public, who, me;
	struct ts2021_client c;
	uint16_t version;
	size_t used, length;

	(void)state;
	secret_key_public(&server, &public);
	secret_key_public(&machine, &me);
	assert_int_equal(
		ts2021_client_start(&c, &machine, &public, VECTOR_VERSION, &client_e, initiation),
		0);
	assert_int_equal(sizeof(vector_initiation), sizeof(initiation));
	assert_memory_equal(initiation, vector_initiation, sizeof(initiation));

	assert_int_equal(ts2021_server_accept(&server, initiation, &server_e, response, &who,
					      &version, &peer),
			 0);
	assert_int_equal(version, VECTOR_VERSION);
	assert_true(public_key_equal(&who, &me));
	assert_int_equal(sizeof(vector_response), sizeof(response));
	assert_memory_equal(response, vector_response, sizeof(response));

	for (size_t i = 0; i < sizeof(response); i++)
		assert_int_equal(ts2021_client_finish(&c, response, i, &used, &client, NULL),
				 -EAGAIN);
	assert_int_equal(ts2021_client_finish(&c, response, sizeof(response), &used, &client, NULL),
			 0);
	assert_int_equal(used, sizeof(response));

	assert_int_equal(ts2021_seal(&client, "PRI * HTTP/2.0", 14, &out), 0);
	assert_int_equal(out.length, sizeof(vector_client_record_0));
	assert_memory_equal(buffer_head(&out), vector_client_record_0, out.length);

	/* The server's side takes both, the second of no length, and answers with big-endian
	 * counters. */
	assert_int_equal(ts2021_open_record(&peer, vector_client_record_0,
					    sizeof(vector_client_record_0), &used, plain, &length),
			 0);
	assert_int_equal(length, 14);
	assert_int_equal(ts2021_open_record(&peer, vector_client_record_1,
					    sizeof(vector_client_record_1), &used, plain, &length),
			 0);
	assert_int_equal(length, 0);
	buffer_consume(&out, out.length);
	assert_int_equal(ts2021_seal(&peer, "\xff\xff\xffTS", 5, &out), 0);
	assert_memory_equal(buffer_head(&out), vector_server_record_0,
			    sizeof(vector_server_record_0));
	client.receive_counter = 300;
	assert_int_equal(ts2021_open_record(&client, vector_server_record_300,
					    sizeof(vector_server_record_300), &used, plain,
					    &length),
			 0);
	assert_memory_equal(plain, "big-endian", 10);
	buffer_free(&out);
}

/* pair() - Two sessions that speak with each other */
static void pair(struct ts2021_session *client, struct ts2021_session *server)
{
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	struct secret_key machine, key;
	struct public_key public, who;
	struct ts2021_client c;
	uint16_t version;
	size_t used;

	secret_key_generate(&machine);
	secret_key_generate(&key);
	secret_key_public(&key, &public);
	assert_int_equal(ts2021_client_start(&c, &machine, &public, 138, NULL, initiation), 0);
	assert_int_equal(
		ts2021_server_accept(&key, initiation, NULL, response, &who, &version, server), 0);
	assert_int_equal(ts2021_client_finish(&c, response, sizeof(response), &used, client, NULL),
			 0);
}

static void every_flipped_bit_is_noticed(void **state)
{
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE], changed[128];
	struct secret_key machine, key;
	struct ts2021_client c, again;
	struct ts2021_session s = {0};
	struct public_key public, who;
	uint16_t version;
	size_t used;

	(void)state;
	secret_key_generate(&machine);
	secret_key_generate(&key);
	secret_key_public(&key, &public);
	assert_int_equal(ts2021_client_start(&c, &machine, &public, 138, NULL, initiation), 0);
	for (size_t bit = 0; bit < sizeof(initiation) * 8; bit++) {
		/* X25519 ignores the top bit of a public key; the transcript doesn't. */
		memcpy(changed, initiation, sizeof(initiation));
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(
			ts2021_server_accept(&key, changed, NULL, response, &who, &version, &s),
			-EBADMSG);
	}
	assert_int_equal(ts2021_server_accept(&key, initiation, NULL, response, &who, &version, &s),
			 0);
	for (size_t bit = 0; bit < sizeof(response) * 8; bit++) {
		memcpy(changed, response, sizeof(response));
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		again = c;
		assert_true(ts2021_client_finish(&again, changed, sizeof(response), &used, &s,
						 NULL) < 0);
	}
	assert_int_equal(ts2021_client_finish(&c, response, sizeof(response), &used, &s, NULL), 0);
	ts2021_session_wipe(&s);
}

static void the_wrong_server_is_noticed(void **state)
{
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	struct secret_key machine, key, other;
	struct public_key public, zero = {0};
	struct ts2021_session s;
	struct ts2021_client c;
	uint16_t version;

	(void)state;
	secret_key_generate(&machine);
	secret_key_generate(&key);
	secret_key_generate(&other);
	secret_key_public(&key, &public);
	assert_int_equal(ts2021_client_start(&c, &machine, &public, 138, NULL, initiation), 0);
	assert_int_equal(
		ts2021_server_accept(&other, initiation, NULL, response, &public, &version, &s),
		-EBADMSG);
	ts2021_client_wipe(&c);
	assert_int_equal(ts2021_client_start(&c, &machine, &zero, 138, NULL, initiation), -EBADMSG);
}

static void error_messages_are_shown(void **state)
{
	static const uint8_t message[] = {3, 0, 9, 'g', 'o', ' ', 'a', '\n', 'w', 'a', 'y', 0x1b};
	static const uint8_t long_one[] = {3, 0xff, 0xff};
	static const uint8_t record[] = {4, 0, 48};
	uint8_t initiation[TS2021_INITIATION_SIZE];
	struct ts2021_client c, again;
	struct secret_key machine, key;
	struct ts2021_session s;
	struct public_key public;
	struct error err = {0};
	size_t used;

	(void)state;
	secret_key_generate(&machine);
	secret_key_generate(&key);
	secret_key_public(&key, &public);
	assert_int_equal(ts2021_client_start(&c, &machine, &public, 138, NULL, initiation), 0);
	again = c;
	assert_int_equal(
		ts2021_client_finish(&again, message, sizeof(message) - 1, &used, &s, &err),
		-EAGAIN);
	assert_int_equal(ts2021_client_finish(&again, message, sizeof(message), &used, &s, &err),
			 -ECONNREFUSED);
	assert_non_null(strstr(err.text, "go a\\nway\\x1b"));
	again = c;
	assert_int_equal(ts2021_client_finish(&again, long_one, sizeof(long_one), &used, &s, &err),
			 -EBADMSG);
	assert_int_equal(ts2021_client_finish(&c, record, sizeof(record), &used, &s, &err),
			 -EBADMSG);
}

static void records_carry_any_length(void **state)
{
	static const size_t lengths[] = {
		1,     16, TS2021_PLAINTEXT_MAX - 1, TS2021_PLAINTEXT_MAX, TS2021_PLAINTEXT_MAX + 1,
		100000};
	uint8_t *sent = malloc(100000), *got = malloc(100000 + TS2021_PLAINTEXT_MAX);
	struct ts2021_session client, server;

	(void)state;
	pair(&client, &server);
	for (size_t i = 0; i < 100000; i++)
		sent[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct buffer wire = BUFFER_INIT(1 << 20);
		size_t have = 0;

		assert_int_equal(ts2021_seal(&client, sent, lengths[i], &wire), 0);
		while (wire.length) {
			size_t used, length;

			assert_int_equal(ts2021_open_record(&server, buffer_head(&wire),
							    wire.length, &used, got + have,
							    &length),
					 0);
			assert_true(used <= TS2021_FRAME_MAX);
			buffer_consume(&wire, used);
			have += length;
		}
		assert_int_equal(have, lengths[i]);
		assert_memory_equal(sent, got, have);
		buffer_free(&wire);
	}
	free(sent);
	free(got);
}

static void a_bad_record_is_the_end(void **state)
{
	static const struct {
		uint8_t head[3];
		int result;
	} rows[] = {
		/* 1: another type */ {{2, 0, 48}, -EBADMSG},
		/* 2: shorter than its tag */ {{4, 0, 15}, -EBADMSG},
		/* 3: longer than a frame */ {{4, 0x0f, 0xfe}, -EBADMSG},
		/* 4: not sealed */ {{4, 0, 16}, -EBADMSG},
	};
	uint8_t plain[TS2021_PLAINTEXT_MAX], bytes[64] = {0};
	struct ts2021_session client, server;
	struct buffer good = BUFFER_INIT(4096);
	size_t used, length;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pair(&client, &server);
		assert_int_equal(ts2021_seal(&client, "x", 1, &good), 0);
		memcpy(bytes, rows[i].head, 3);
		assert_int_equal(
			ts2021_open_record(&server, bytes, sizeof(bytes), &used, plain, &length),
			rows[i].result);
		/* Even a good one is refused from then on. */
		assert_int_equal(ts2021_open_record(&server, buffer_head(&good), good.length, &used,
						    plain, &length),
				 -EPIPE);
		assert_int_equal(ts2021_seal(&server, "x", 1, &good), -EPIPE);
		buffer_consume(&good, good.length);
	}
	/* Replayed: its counter has passed. */
	pair(&client, &server);
	assert_int_equal(ts2021_seal(&client, "x", 1, &good), 0);
	assert_int_equal(
		ts2021_open_record(&server, buffer_head(&good), good.length, &used, plain, &length),
		0);
	assert_int_equal(
		ts2021_open_record(&server, buffer_head(&good), good.length, &used, plain, &length),
		-EBADMSG);
	buffer_free(&good);
}

static void counters_run_out(void **state)
{
	uint8_t plain[TS2021_PLAINTEXT_MAX];
	struct ts2021_session client, server;
	struct buffer out = BUFFER_INIT(1 << 16);
	size_t used, length;

	(void)state;
	pair(&client, &server);
	client.send_counter = server.receive_counter = UINT64_MAX - 1;
	assert_int_equal(ts2021_seal(&client, "x", 1, &out), 0); /* 2^64-2 is the last */
	assert_int_equal(
		ts2021_open_record(&server, buffer_head(&out), out.length, &used, plain, &length),
		0);
	assert_int_equal(
		ts2021_open_record(&server, buffer_head(&out), out.length, &used, plain, &length),
		-EOVERFLOW);
	assert_int_equal(ts2021_seal(&client, "x", 1, &out), -EOVERFLOW);
	assert_int_equal(ts2021_seal(&client, "x", 1, &out), -EPIPE);
	/* Two records where only one counter is left: none goes. */
	pair(&client, &server);
	client.send_counter = UINT64_MAX - 1;
	buffer_consume(&out, out.length);
	assert_int_equal(ts2021_seal(&client, plain, sizeof(plain), &out), 0);
	pair(&client, &server);
	client.send_counter = UINT64_MAX - 1;
	buffer_consume(&out, out.length);
	{
		uint8_t two[TS2021_PLAINTEXT_MAX + 1] = {0};

		assert_int_equal(ts2021_seal(&client, two, sizeof(two), &out), -EOVERFLOW);
	}
	assert_int_equal(out.length, 0);
	buffer_free(&out);
}

/* strip() - Run @input through the stripper in steps of @step; the remainder is in @out */
static int strip(const uint8_t *input, size_t size, size_t step, uint8_t *out, size_t *ret_length)
{
	struct ts2021_early e = {0};
	size_t at = 0, length = 0;

	while (at < size) {
		size_t piece = size - at < step ? size - at : step, head_length;
		const uint8_t *head;
		int skip = ts2021_early_strip(&e, input + at, piece, &head, &head_length);

		if (skip < 0)
			return skip;
		assert_true((size_t)skip <= piece);
		if (head_length)
			memcpy(out + length, head, head_length);
		length += head_length;
		memcpy(out + length, input + at + skip, piece - (size_t)skip);
		length += piece - (size_t)skip;
		at += piece;
	}
	*ret_length = length;
	return 0;
}

static void early_payloads_are_stripped(void **state)
{
	static const struct {
		const char *in;
		size_t size;
		const char *out;
		size_t out_size;
	} rows[] = {
		/* 1 */ {"\xff\xff\xffTS\0\0\0\x02{}rest", 15, "rest", 4},
		/* 2 */ {"\xff\xff\xffTS\0\0\0\0rest", 13, "rest", 4},
		/* 3 */ {"\0\0\x06\x04settings", 12, "\0\0\x06\x04settings", 12},
		/* 4 */ {"\xff\xff\xffTXrest", 9, "\xff\xff\xffTXrest", 9},
		/* 5 */ {"\xff\xfe", 2, "\xff\xfe", 2},
		/* 6: only once */
		{"\xff\xff\xffTS\0\0\0\0\xff\xff\xffTS\0\0\0\0", 18, "\xff\xff\xffTS\0\0\0\0", 9},
		/* 7: still to come */ {"\xff\xff\xffTS\0\0\0\x09{}", 11, "", 0},
	};
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 'T', 'S', 0x00, 0xa0, 0, 0};
	uint8_t out[64];
	size_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step <= rows[i].size; step++) {
			assert_int_equal(strip((const uint8_t *)rows[i].in, rows[i].size, step, out,
					       &length),
					 0);
			if (length != rows[i].out_size || memcmp(out, rows[i].out, length) != 0)
				fail_msg("row %zu, step %zu: %zu bytes", i + 1, step, length);
		}
	assert_int_equal(strip(huge, sizeof(huge), 9, out, &length), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(the_wrong_server_is_noticed),
		cmocka_unit_test(error_messages_are_shown),
		cmocka_unit_test(records_carry_any_length),
		cmocka_unit_test(a_bad_record_is_the_end),
		cmocka_unit_test(counters_run_out),
		cmocka_unit_test(early_payloads_are_stripped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
