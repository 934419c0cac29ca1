/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/serve_output.h - served ports as the official command prints them */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/** serve_print_status() - What @config, an ipn.ServeConfig, serves; @status: ipnstate.Status */
void serve_print_status(const json_t *config, const json_t *status);

/**
 * serve_print_done() - What was just set
 * @config: that was changed: the whole, or that of a session in the foreground
 * @site:   NAME:PORT
 * @port:   its port
 */
void serve_print_done(const json_t *config, const json_t *status, const char *site,
		      const char *port);
