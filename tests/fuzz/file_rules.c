/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/file_rules.c - any target, conditions and ranges of a request for a file
 *
 * The input is lines: target, Range, If-Range, If-None-Match, If-Match, If-Modified-Since, and
 * what is left is a file. A name never leaves the mount, and ranges lie inside of the file.
 */
#include "services/file_rules.h"

#include <stdlib.h>
#include <string.h>

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define LINES 6

static void check_name(const char *name)
{
	while (*name) {
		size_t part = strcspn(name, "/");

		MUST(part > 0 && !(part == 1 && *name == '.') &&
		     !(part == 2 && name[0] == '.' && name[1] == '.'));
		name += part;
		MUST(*name != '/' || name[1]);
		name += *name == '/';
	}
}

static void check_path(const char *target, const char *mount)
{
	struct buffer where = BUFFER_INIT(1 << 20);
	struct file_path path, again;

	if (file_path_read(target, mount, &path) == 0) {
		check_name(path.name);
		MUST(path.url[0] == '/' && path.url[1] != '/');
		MUST(file_path_location(path.url, "", &where) == 0);
		MUST(buffer_append(&where, "", 1) == 0);
		/* Where it leads is the same place. */
		MUST(file_path_read((char *)buffer_head(&where), mount, &again) == 0);
		MUST(strcmp(again.name, path.name) == 0);
		file_path_free(&again);
	}
	buffer_free(&where);
	file_path_free(&path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[LINES] = {
		NULL, "Range", "If-Range", "If-None-Match", "If-Match", "If-Modified-Since",
	};
	struct http1_head head = {.method = "GET"};
	struct file_facts facts = {.modified = 1700000000, .etag = "\"a-b-c\""};
	struct buffer page = BUFFER_INIT(1 << 24);
	struct file_plan plan;
	char *text = malloc(size + 1), *rest = text, *line;

	MUST(text);
	memcpy(text, data, size);
	text[size] = 0;
	for (size_t i = 0; i < LINES && rest; i++) {
		line = strsep(&rest, "\n");
		if (i == 0) {
			check_path(line, "/");
			check_path(line, "/m");
		} else if (*line) {
			head.headers[head.header_count++] = (struct http1_header){names[i], line};
		}
	}
	facts.size = rest ? size - (size_t)(rest - text) : 0;
	file_plan_make(&head, &facts, &plan);
	MUST(plan.range_count <= FILE_RANGES_MAX && (plan.status == 206) == (plan.range_count > 0));
	for (size_t i = 0; i < plan.range_count; i++)
		MUST(plan.ranges[i].start <= facts.size &&
		     plan.ranges[i].length <= facts.size - plan.ranges[i].start);
	(void)file_type_by_content(data, size < FILE_SNIFF_MAX ? size : FILE_SNIFF_MAX);
	MUST(file_listing(text, size + 1, false, &page) == 0);
	buffer_free(&page);
	free(text);
	return 0;
}
