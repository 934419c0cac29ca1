/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/json_scan.c - the scanner against jansson
 *
 * What jansson takes, the scanner takes (unless it is nested deeper than we allow);
 * and a walk over what the scanner took meets no error and covers all that jansson
 * counts. The other way round they may differ: jansson also checks UTF-8, surrogates,
 * and the size of numbers. A NUL byte ends the text for jansson; it's left out here.
 */
#include "wire/json.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void walk(struct json_range value)
{
	struct json_range key, item;
	struct json_scan scan;
	int r = 0;

	if (json_scan_open(value, '{', &scan) == 0) {
		while ((r = json_scan_member(&scan, &key, &item)) == 1)
			walk(item);
	} else if (json_scan_open(value, '[', &scan) == 0) {
		while ((r = json_scan_element(&scan, &item)) == 1)
			walk(item);
	}
	MUST(r == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *json = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct json_range range, item;
	struct json_scan scan;
	size_t count = 0;
	int r;

	if (size && memchr(data, 0, size)) {
		json_decref(json);
		json = NULL;
	}
	r = json_scan_value((const char *)data, size, &range);

	if (json)
		MUST(r == 0 || r == -E2BIG);
	if (r == 0)
		walk(range);
	if (json && r == 0 && json_is_array(json)) {
		MUST(json_scan_open(range, '[', &scan) == 0);
		while (json_scan_element(&scan, &item) == 1)
			count++;
		MUST(count == json_array_size(json));
	}
	json_decref(json);
	return 0;
}
