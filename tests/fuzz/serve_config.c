/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/serve_config.c - any text as a serve configuration
 *
 * What is taken can be asked: each site finds itself, and each handler is found by its mount.
 */
#include "wire/serve_config.h"

#include <stdlib.h>
#include <string.h>

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct serve_config c;
	struct error err = {0};
	const char *rest;

	if (serve_config_parse((const char *)data, size, "app.tail.ts.net", &c, &err) < 0) {
		MUST(err.text[0]);
		return 0;
	}
	for (size_t i = 0; i < c.site_count; i++) {
		const struct serve_site *site = &c.sites[i];

		MUST(serve_config_site(&c, site->host, site->port, "tail.ts.net"));
		for (size_t k = 0; k < site->handler_count; k++) {
			MUST(site->handlers[k].target < c.target_count ||
			     site->handlers[k].action != SERVE_PROXY);
			MUST(serve_site_handler(site, site->handlers[k].mount, &rest));
		}
	}
	for (size_t i = 0; i < c.port_count; i++)
		MUST(serve_config_port(&c, c.ports[i].port));
	serve_config_free(&c);
	return 0;
}
