/* SPDX-License-Identifier: BSD-3-Clause */
/* app/entrypoint/entry_options.h - from variables and flags to the options of the supervisor */
#pragma once

#include "app/entrypoint/variables.h"
#include "supervisor/supervisor.h"

#include <jansson.h>

struct entry_options {
	struct supervisor_options supervisor;
	json_t *masked;      /* settings, as ipn.MaskedPrefs; owned */
	char *auth_key;      /* a copy, since its source is wiped; or NULL; owned */
	char *auth_key_path; /* a copy too, since a variable "file:…" is wiped; owned */
	char *health_text;   /* a mended address; owned */
};

/**
 * entry_options_make() - Everything but the defaults that differ between run and connect
 * @settings: borrowed; must outlive @ret
 * @strict:   "userspace-networking" is an error
 *
 * A "file:" key is read once here, to refuse one that isn't there, and by the supervisor each time
 * the engine asks. A node that is logged in may need no key: then a bad one is a warning.
 * Return: 0; -EINVAL or the error of the file, with @err; -ENOMEM
 */
int entry_options_make(const struct entry_settings *settings, bool strict,
		       void (*warn)(const char *text), struct entry_options *ret,
		       struct error *err);

/** entry_has_login() - Whether the state directory knows a node, so that no key is needed */
bool entry_has_login(const struct supervisor_options *options);

/** entry_options_clear() - Wipe and free */
void entry_options_clear(struct entry_options *options);
