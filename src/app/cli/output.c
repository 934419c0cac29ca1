/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/output.c - what commands print for a person */
#include "app/cli/output.h"

#include "base/cleanup.h"

#include <errno.h>
#include <qrencode.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QR_QUIET 2

static bool wants_colour(FILE *to)
{
	const char *term = getenv("TERM");

	return isatty(fileno(to)) && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

const char *style(FILE *to, enum style which)
{
	static const char *const sequences[] = {
		[STYLE_PLAIN] = "\x1b[0m",
		[STYLE_GOOD] = "\x1b[32m",
		[STYLE_BAD] = "\x1b[31m",
		[STYLE_FAINT] = "\x1b[2m",
	};

	return wants_colour(to) ? sequences[which] : "";
}

void print_line(FILE *to, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&text, format, args);
	va_end(args);
	if (r >= 0)
		printable_put(to, text, 0);
	fputc('\n', to);
}

void print_list(FILE *to, const json_t *array)
{
	const json_t *item;
	size_t i;

	json_array_foreach(array, i, item) {
		fputs(i ? ", " : "", to);
		printable_put(to, json_string_value(item) ?: "", 0);
	}
}

void print_json(const json_t *value)
{
	/* jansson keeps characters above ASCII, and a terminal obeys some of them. */
	json_dumpf(value, stdout, JSON_INDENT(2) | (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0));
	putchar('\n');
}

static bool is_dark(const QRcode *code, int x, int y)
{
	return x >= 0 && y >= 0 && x < code->width && y < code->width &&
	       (code->data[y * code->width + x] & 1);
}

void print_qr(FILE *to, const char *text)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);

	if (!code) {
		fprintf(to, "(too long for a QR code)\n");
		return;
	}
	/* Light on dark: the light modules are drawn, two rows a line. */
	for (int y = -QR_QUIET; y < code->width + QR_QUIET; y += 2) {
		for (int x = -QR_QUIET; x < code->width + QR_QUIET; x++) {
			bool top = !is_dark(code, x, y), bottom = !is_dark(code, x, y + 1);

			fputs(top ? bottom ? "\u2588" : "\u2580" : bottom ? "\u2584" : " ", to);
		}
		fputc('\n', to);
	}
	QRcode_free(code);
}

const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static bool has_address(const json_t *node, const char *host)
{
	const json_t *addresses = json_object_get(node, "TailscaleIPs"), *address;
	size_t i;

	json_array_foreach(addresses, i, address)
		if (strcmp(json_string_value(address) ?: "", host) == 0)
			return true;
	return false;
}

static bool is_called(const json_t *node, const char *host)
{
	const char *name = text_of(node, "DNSName");
	size_t length = strlen(host);

	if (length > 0 && host[length - 1] == '.')
		length--;
	if (length == 0 || strncasecmp(name, host, length) != 0)
		return has_address(node, host);
	return name[length] == '.' || !name[length];
}

static bool runs_on(const json_t *node, const char *host)
{
	return *host && strcasecmp(text_of(node, "HostName"), host) == 0;
}

static const json_t *find_by(const json_t *status, const char *host,
			     bool (*matches)(const json_t *node, const char *host))
{
	const json_t *self = json_object_get(status, "Self");
	json_t *peers = json_object_get(status, "Peer"), *peer;
	const char *key;

	if (matches(self, host))
		return self;
	json_object_foreach(peers, key, peer)
		if (matches(peer, host))
			return peer;
	return NULL;
}

const json_t *peer_find(const json_t *status, const char *host, struct error *err)
{
	const json_t *node = find_by(status, host, is_called);

	if (!node)
		node = find_by(status, host, runs_on);
	if (!node)
		error_set(err, -ENOENT,
			  "no node of the tailnet is called '%.64s'; 'pillion status' lists them",
			  host);
	return node;
}

const char *peer_address(const json_t *peer)
{
	const char *text =
		json_string_value(json_array_get(json_object_get(peer, "TailscaleIPs"), 0));

	return text ? text : "-";
}

const char *peer_name(const json_t *peer, char ret[static PEER_NAME_MAX])
{
	size_t length;

	snprintf(ret, PEER_NAME_MAX, "%s", text_of(peer, "DNSName"));
	length = strlen(ret);
	if (length > 0 && ret[length - 1] == '.')
		ret[length - 1] = 0;
	return ret;
}
