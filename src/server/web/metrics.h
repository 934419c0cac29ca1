/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/metrics.h - numbers as Prometheus reads them (text format 0.0.4) */
#pragma once

#include "base/buffer.h"
#include "server/web/web_server.h"

#include <stdbool.h>
#include <stdint.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_MAX  (32u * 1024)

/* Rows of one name stand together; the first has its help. */
struct metric {
	const char *name;  /* without the prefix */
	const char *label; /* NAME="VALUE", or NULL */
	const char *help;  /* NULL: as the row above */
	uint64_t value;
	bool gauge; /* else it only grows, and its name ends with _total */
};

/** metrics_write() - Append @rows, each name after @prefix; 0, -ENOMEM, -EMSGSIZE */
int metrics_write(struct buffer *out, const char *prefix, const struct metric *rows, size_t count);

/** metrics_write_web() - The statistics of a web server, as PREFIXhttp_…; 0, -ENOMEM, -EMSGSIZE */
int metrics_write_web(struct buffer *out, const char *prefix, const struct web_server *server);
