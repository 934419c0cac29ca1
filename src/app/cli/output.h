/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/output.h - what commands print for a person, and the nodes that they name */
#pragma once

#include "base/error.h"
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

/** print_line() - As fprintf(), and a newline; what the line quotes can't steer a terminal */
void print_line(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** print_list() - The strings of @array with ", " between them */
void print_list(FILE *to, const json_t *array);

/** print_json() - Indented, with a newline */
void print_json(const json_t *value);

/** print_qr() - @text as a QR code of half blocks; says so when it doesn't fit in one */
void print_qr(FILE *to, const char *text);

/** text_of() - The string member @name of @object, or "" */
const char *text_of(const json_t *object, const char *name);

/* Nodes in an ipnstate.Status */

#define PEER_NAME_MAX 256

/**
 * peer_find() - This node or a peer, by address, name in the tailnet or machine name
 *
 * "laptop", "laptop.tail.example", with or without the last dot. Names in the tailnet go first.
 * Return: borrowed from @status; NULL with @err
 */
const json_t *peer_find(const json_t *status, const char *host, struct error *err);

/** peer_address() - Its first address, or "-" */
const char *peer_address(const json_t *peer);

/** peer_name() - Its name in the tailnet without the last dot, into @ret; returns @ret */
const char *peer_name(const json_t *peer, char ret[static PEER_NAME_MAX]);
