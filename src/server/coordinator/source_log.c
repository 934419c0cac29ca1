/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/source_log.c - what strangers may have logged: a line a source a minute */
#define LOG_ROOM "control"
#include "server/coordinator/source_log.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "server/web/source_limit.h"

#include <stdlib.h>

#define PAUSE (60 * NSEC_PER_SEC)

struct source {
	nanoseconds until;   /* no line before */
	uint32_t held;       /* lines since the last one */
	struct address last; /* sources that share a slot share its count */
};

struct source_log {
	nanoseconds look_at;
	size_t holding; /* sources with lines held back */
	struct source sources[SOURCE_SLOTS + 1];
};

struct source_log *source_log_new(void)
{
	return calloc(1, sizeof(struct source_log));
}

void source_log_free(struct source_log *log)
{
	free(log);
}

bool source_log_may(struct source_log *log, unsigned int source, const struct address *who,
		    nanoseconds now)
{
	struct source *s = &log->sources[source];

	if (now >= s->until && s->held == 0) {
		s->until = now + PAUSE;
		return true;
	}
	if (s->held++ == 0)
		log->holding++;
	s->last = *who;
	return false;
}

void source_log_tick(struct source_log *log, nanoseconds now)
{
	char text[ADDRESS_TEXT_MAX];

	if (log->holding == 0 || now < log->look_at)
		return;
	log->look_at = now + PAUSE / 10;
	for (size_t i = 0; i < ARRAY_SIZE(log->sources) && log->holding; i++) {
		struct source *s = &log->sources[i];

		if (s->held == 0 || s->until > now)
			continue;
		log_info("%u more requests like that from=%s in the last minute", s->held,
			 address_format(&s->last, text));
		s->held = 0;
		s->until = now + PAUSE;
		log->holding--;
	}
}
