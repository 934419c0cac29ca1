/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/hujson.c - any text as JSON with comments */
#include "server/policy/hujson.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size ? size : 1), *twice = malloc(size ? size : 1);
	struct json_range value = {0};
	struct error err = {0};
	json_t *plain;

	if (!text || !twice)
		abort();
	memcpy(text, data, size);
	plain = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	if (hujson_parse(text, size, &value, &err) < 0) {
		/* Whatever is plain JSON, we take, unless it is too deep for us. */
		if (plain && !memchr(data, 0, size) && err.code != -E2BIG)
			abort();
	} else {
		for (size_t i = 0; i < size; i++)
			if (text[i] != (char)data[i] && text[i] != ' ')
				abort();
		if (value.at && (value.at < text || value.at + value.length > text + size))
			abort();
		/* A second time changes nothing. */
		memcpy(twice, text, size);
		if (hujson_standardize(twice, size, &err) < 0 || memcmp(twice, text, size) != 0)
			abort();
	}
	json_decref(plain);
	free(text);
	free(twice);
	return 0;
}
