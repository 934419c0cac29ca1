/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/metrics.c - numbers as Prometheus reads them (text format 0.0.4) */
#include "server/web/metrics.h"

#include "base/cleanup.h"

int metrics_write(struct buffer *out, const char *prefix, const struct metric *rows, size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct metric *row = &rows[i];
		const char *label = row->label;

		if (row->help)
			r = buffer_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix,
					  row->name, row->help, prefix, row->name,
					  row->gauge ? "gauge" : "counter");
		if (r == 0)
			r = buffer_printf(out, "%s%s%s%s%s %llu\n", prefix, row->name,
					  label ? "{" : "", label ? label : "", label ? "}" : "",
					  (unsigned long long)row->value);
	}
	return r;
}

int metrics_write_web(struct buffer *out, const char *prefix, const struct web_server *server)
{
	static const struct http1_server_statistics none;
	const struct http1_server_statistics *w =
		server ? http1_server_statistics(web_server_http(server)) : &none;
	const struct metric rows[] = {
		{"http_connections", NULL, "Connections that are not upgraded", w->open, true},
		{"http_waiting", NULL, "Those without a whole request yet", w->waiting, true},
		{"http_accepted_total", NULL, "Connections accepted", w->accepted, false},
		{"http_cut_total", "reason=\"full\"", "Connections cut before their request",
		 w->refused, false},
		{"http_cut_total", "reason=\"source\"", NULL, w->limited, false},
		{"http_cut_total", "reason=\"timeout\"", NULL, w->timed_out, false},
		{"http_cut_total", "reason=\"malformed\"", NULL, w->malformed, false},
	};

	return metrics_write(out, prefix, rows, ARRAY_SIZE(rows));
}
