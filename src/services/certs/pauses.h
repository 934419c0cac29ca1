/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/pauses.h - how long the next order waits after failures, over restarts
 *
 * A row for each domain, as JSON. It is written before an order begins, so that a process that is
 * killed in the middle of one counts it as failed. Times are the wall clock's, which may be wrong:
 * no pause is longer than it was when it began.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "services/certs/jose.h"

#include <stdbool.h>
#include <time.h>

#define PAUSES_TEXT_MAX ((size_t)64 * 1024)
#define PAUSES_MAX      32u /* rows; the oldest goes for another */

/** struct pause - After @failures orders without success */
struct pause {
	unsigned int failures;
	time_t begun;
	time_t length;         /* seconds */
	bool busy;             /* the authority said so: no other configuration ends it */
	const char *directory; /* of the authority */
	const char *setup;     /* digest of the rest of the configuration: another one ends it */
	const char *problem;
};

struct pauses;

/** pauses_read() - From a stored text; without rows if it is damaged; NULL without memory */
struct pauses *pauses_read(const char *text, size_t length);
void pauses_free(struct pauses *pauses);

/** pauses_write() - The text; 0, -ENOMEM, -EMSGSIZE */
int pauses_write(const struct pauses *pauses, struct buffer *out);

/** pauses_find() - false: none for @domain at @directory; texts are valid until the next change */
bool pauses_find(const struct pauses *pauses, const char *domain, const char *directory,
		 struct pause *ret);

/** pauses_put() - 0 or -ENOMEM */
int pauses_put(struct pauses *pauses, const char *domain, const struct pause *pause);

/** pauses_remove() - Whether there was one */
bool pauses_remove(struct pauses *pauses, const char *domain);

/** pause_left() - Seconds from @wall on, under the configuration @setup */
time_t pause_left(const struct pause *pause, const char *setup, time_t wall);
