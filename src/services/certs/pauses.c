/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/pauses.c - how long the next order waits after failures, as JSON */
#include "services/certs/pauses.h"

#include "base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define LENGTH_MAX   (48 * 3600) /* of a row that was damaged, or is not ours */
#define FAILURES_MAX 1000

/* Authorities allow five failures an hour: who has had them waits, with another configuration too. */
#define CORRECTED_FROM 5u
#define CORRECTED      (12 * 60)

struct pauses {
	json_t *rows; /* object: domain to row */
};

struct pauses *pauses_read(const char *text, size_t length)
{
	struct pauses *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->rows = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(p->rows)) {
		json_decref(p->rows);
		p->rows = json_object();
	}
	if (!p->rows) {
		free(p);
		return NULL;
	}
	return p;
}

void pauses_free(struct pauses *p)
{
	if (!p)
		return;
	json_decref(p->rows);
	free(p);
}

int pauses_write(const struct pauses *p, struct buffer *out)
{
	_cleanup_free_ char *text = json_dumps(p->rows, JSON_INDENT(1));

	return text ? buffer_append(out, text, strlen(text)) : -ENOMEM;
}

static const char *text_of(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text ? text : "";
}

/* number_of() - From 0 to @most */
static json_int_t number_of(const json_t *row, const char *name, json_int_t most)
{
	json_int_t number = json_integer_value(json_object_get(row, name));

	return number < 0 ? 0 : number > most ? most : number;
}

bool pauses_find(const struct pauses *p, const char *domain, const char *directory,
		 struct pause *ret)
{
	const json_t *row = json_object_get(p->rows, domain);

	if (!json_is_object(row) || strcmp(text_of(row, "directory"), directory) != 0)
		return false;
	*ret = (struct pause){
		.failures = (unsigned int)number_of(row, "failures", FAILURES_MAX),
		.begun = (time_t)number_of(row, "begun", INT64_MAX),
		.length = (time_t)number_of(row, "pause", LENGTH_MAX),
		.busy = json_is_true(json_object_get(row, "busy")),
		.directory = text_of(row, "directory"),
		.setup = text_of(row, "setup"),
		.problem = text_of(row, "problem"),
	};
	return true;
}

/* make_room() - Remove the oldest row */
static void make_room(struct pauses *p)
{
	json_int_t oldest_at = INT64_MAX;
	const char *domain, *oldest = NULL;
	json_t *row;

	json_object_foreach(p->rows, domain, row) {
		json_int_t at = number_of(row, "begun", INT64_MAX - 1);

		if (at < oldest_at) {
			oldest_at = at;
			oldest = domain;
		}
	}
	if (oldest)
		(void)json_object_del(p->rows, oldest);
}

int pauses_put(struct pauses *p, const char *domain, const struct pause *pause)
{
	json_t *problem = json_string(pause->problem), *row;

	while (!json_object_get(p->rows, domain) && json_object_size(p->rows) >= PAUSES_MAX)
		make_room(p);
	if (!problem) /* it is no UTF-8 */
		problem = json_string("");
	row = json_pack("{s:I, s:I, s:I, s:b, s:s, s:s, s:o}", "failures",
			(json_int_t)pause->failures, "begun", (json_int_t)pause->begun, "pause",
			(json_int_t)pause->length, "busy", pause->busy, "directory",
			pause->directory, "setup", pause->setup, "problem", problem);
	return row && json_object_set_new(p->rows, domain, row) == 0 ? 0 : -ENOMEM;
}

bool pauses_remove(struct pauses *p, const char *domain)
{
	return json_object_del(p->rows, domain) == 0;
}

time_t pause_left(const struct pause *pause, const char *setup, time_t wall)
{
	bool corrected = !pause->busy && strcmp(pause->setup, setup) != 0;
	time_t length = pause->length, gone = wall - pause->begun;

	if (corrected && length > CORRECTED)
		length = CORRECTED;
	if (corrected && pause->failures < CORRECTED_FROM)
		length = 0;
	if (pause->begun > wall) /* the clock was wrong, or is */
		return length;
	return gone < length ? length - gone : 0;
}
