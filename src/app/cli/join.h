/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/join.h - apply settings, log in, wait for Running: what up, login and connect share */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct join {
	const char *socket;   /* of the daemon */
	const json_t *masked; /* settings to change (ipn.MaskedPrefs), borrowed */
	const char *auth_key; /* or NULL */
	bool force;           /* a new node key, also where there is a login */
	bool json;            /* print the URL as JSON on stdout */
	bool qr;
	int64_t timeout; /* nanoseconds; 0: none */
};

/** join_tailnet() - Do it, telling the person what to do where a person is needed; exit code */
int join_tailnet(const struct join *join);
