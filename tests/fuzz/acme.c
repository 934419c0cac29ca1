/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/acme.c - any answers of an ACME authority
 *
 * The input is a row of answers: a byte of status, a byte of headers, two bytes of length, the body.
 * Whatever they say, the order ends, and asks for nothing outside of the directory's host.
 */
#include "services/certs/acme.h"
#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)
#define ANSWERS_MAX 64

static const int statuses[] = {200, 201, 204, 400, 403, 404, 409, 429, 500, 503};

static void answer(struct acme *acme, struct cursor *input, nanoseconds now)
{
	uint8_t status = cursor_u8(input), headers = cursor_u8(input);
	uint16_t length = cursor_be16(input);
	size_t size = length < input->left ? length : input->left;
	const struct acme_answer a = {
		.status = statuses[status % (sizeof(statuses) / sizeof(statuses[0]))],
		.nonce = headers & 1 ? "nonce" : NULL,
		.location = headers & 2 ? "https://ca.example/l" : NULL,
		.retry_after = headers & 4   ? "7"
			       : headers & 8 ? "Tue, 01 Dec 2026 04:41:00 GMT"
					     : NULL,
		.body = (const char *)input->at,
		.length = size,
	};

	acme_answered(acme, &a, now, 1796100000);
	cursor_take(input, size);
}

static void run(const uint8_t *data, size_t size, EVP_PKEY *key, enum acme_challenge challenge)
{
	struct cursor input = cursor_of(data, size);
	const struct acme_setup setup = {
		.directory = "https://ca.example/directory",
		.domain = "app.example.com",
		.account_key = key,
		.certificate_key = key,
		.challenge = challenge,
		.certificate_id = "a.b",
	};
	nanoseconds now = NSEC_PER_SEC;
	struct acme_request q;
	struct acme_proof proof;
	struct acme *acme;

	if (acme_new(&setup, now, &acme, NULL) < 0)
		return;
	for (int i = 0; i < ANSWERS_MAX; i++) {
		switch (acme_wants(acme)) {
		case ACME_SENDS:
			if (acme_request(acme, &q) == 0) {
				MUST(q.target[0] == '/');
				answer(acme, &input, now);
			}
			break;
		case ACME_BEGINS:
			acme_noted(acme);
			break;
		case ACME_PRESENTS:
			acme_proof(acme, &proof);
			MUST(!strchr(proof.token, '/') && proof.text[0]);
			acme_presented(acme, now, NULL);
			break;
		case ACME_WAITS:
			MUST(acme_deadline(acme) > now);
			now = acme_deadline(acme);
			acme_wake(acme, now);
			break;
		case ACME_DONE:
			MUST(!key || acme_chain(acme));
			i = ANSWERS_MAX;
			break;
		case ACME_FAILED:
			MUST(acme_error(acme)->text[0] && acme_retry_after(acme) >= 0);
			i = ANSWERS_MAX;
			break;
		}
	}
	acme_free(acme);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static EVP_PKEY *key;

	if (!key) {
		char *text = jose_key_new();

		key = jose_key_parse(text);
		free(text);
	}
	if (size == 0)
		return 0;
	run(data + 1, size - 1, data[0] & 4 ? NULL : key, (enum acme_challenge)(data[0] % 3));
	return 0;
}
