/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/http1.c - the HTTP/1.1 parser
 *
 * The first byte says which kind and how the rest is cut; the same bytes given whole
 * and in pieces must be found to say the same.
 */
#include "transport/http1.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct summary {
	int result;
	size_t used, body, ends, headers;
};

static void run(const uint8_t *data, size_t size, bool response, size_t step, struct summary *s)
{
	struct http1_parser p;
	size_t at = 0;

	memset(s, 0, sizeof(*s));
	http1_parser_init(&p, response);
	while (at < size && s->result >= 0) {
		size_t piece = size - at < step ? size - at : step, used = 0;

		do {
			s->result = http1_parse(&p, data + at, piece, &used);
			if (s->result < 0)
				break;
			if (used > piece)
				abort();
			if (s->result == HTTP1_HEAD)
				for (size_t i = 0; i < p.head.header_count; i++)
					s->headers += strlen(p.head.headers[i].name) +
						      strlen(p.head.headers[i].value);
			if (s->result == HTTP1_BODY) {
				if (p.body < data + at ||
				    p.body + p.body_length > data + at + piece)
					abort();
				s->body += p.body_length;
			}
			s->ends += s->result == HTTP1_END;
			at += used;
			piece -= used;
		} while (s->result != HTTP1_MORE);
		if (s->result == HTTP1_MORE && piece)
			abort();
	}
	s->used = s->result < 0 ? 0 : at;
	http1_parser_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct summary whole, pieces;

	if (size < 2)
		return 0;
	run(data + 1, size - 1, data[0] & 1, size, &whole);
	run(data + 1, size - 1, data[0] & 1, 1 + (data[0] >> 1) % 16, &pieces);
	if (memcmp(&whole, &pieces, sizeof(whole)) != 0)
		abort();
	return 0;
}
