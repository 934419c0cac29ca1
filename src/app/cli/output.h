/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/output.h - what commands print for a person */
#pragma once

#include "base/printable.h"

#include <jansson.h>
#include <stdio.h>

enum style {
	STYLE_PLAIN,
	STYLE_GOOD,
	STYLE_BAD,
	STYLE_FAINT,
};

/** style() - The sequence that begins a style; "" unless @to is a terminal that wants colour */
const char *style(FILE *to, enum style style);

static inline void json_decref_at(json_t **value)
{
	json_decref(*value);
}
#define _cleanup_json_ __attribute__((cleanup(json_decref_at)))

/** print_json() - Indented, with a newline */
void print_json(const json_t *value);

/** print_qr() - @text as a QR code of half blocks; says so when it doesn't fit in one */
void print_qr(FILE *to, const char *text);

/** text_of() - The string member @name of @object, or "" */
const char *text_of(const json_t *object, const char *name);
