/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/proxy_protocol.c - the head that a load balancer puts before a connection */
#include "wire/proxy_protocol.h"

#include "base/cursor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_V1    107 /* with CR LF */
#define HEAD_V2        16
#define V2_LOCAL       0x20
#define V2_PROXY       0x21
#define V2_TCP4        0x11
#define V2_TCP6        0x21
#define V2_TCP4_LENGTH 12
#define V2_TCP6_LENGTH 36

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static bool is_port(const char *text, uint16_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	long port = digits > 0 && digits <= 5 && !text[digits] ? strtol(text, NULL, 10) : -1;

	if (port < 0 || port > UINT16_MAX || (digits > 1 && text[0] == '0'))
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* read_line() - "PROXY TCP4 SOURCE DESTINATION PORT PORT", without the CR LF */
static int read_line(char *line, struct endpoint *ret)
{
	enum { PROXY, FAMILY, SOURCE, DESTINATION, SOURCE_PORT, PORT, WORDS };
	struct endpoint from, to;
	char *words[WORDS + 1] = {0}, *at = line;
	size_t count = 0;

	while (at && count <= WORDS) {
		words[count++] = at;
		at = strchr(at, ' ');
		if (at)
			*at++ = 0;
	}
	if (count >= 2 && strcmp(words[FAMILY], "UNKNOWN") == 0)
		return 1;
	if (count != WORDS ||
	    (strcmp(words[FAMILY], "TCP4") != 0 && strcmp(words[FAMILY], "TCP6") != 0) ||
	    address_parse(words[SOURCE], strlen(words[SOURCE]), &from.address) < 0 ||
	    address_parse(words[DESTINATION], strlen(words[DESTINATION]), &to.address) < 0 ||
	    from.address.family != (words[FAMILY][3] == '4' ? ADDRESS_V4 : ADDRESS_V6) ||
	    !is_port(words[SOURCE_PORT], &from.port) || !is_port(words[PORT], &to.port))
		return -EBADMSG;
	*ret = from;
	return 1;
}

static int parse_line(const uint8_t *bytes, size_t length, struct endpoint *ret, size_t *ret_used)
{
	const uint8_t *end = memchr(bytes, '\n', length < LINE_MAX_V1 ? length : LINE_MAX_V1);
	char line[LINE_MAX_V1 + 1];
	size_t size;

	if (!end)
		return length < LINE_MAX_V1 ? 0 : -EBADMSG;
	size = (size_t)(end - bytes) + 1;
	if (size < 2 || end[-1] != '\r' || memchr(bytes, 0, size))
		return -EBADMSG;
	memcpy(line, bytes, size - 2);
	line[size - 2] = 0;
	*ret_used = size;
	return read_line(line, ret);
}

static int parse_binary(const uint8_t *bytes, size_t length, struct endpoint *ret, size_t *ret_used)
{
	struct cursor c = cursor_of(bytes, length);
	uint8_t command, family, address[16];
	uint16_t rest, port;

	(void)cursor_take(&c, sizeof(signature));
	command = cursor_u8(&c);
	family = cursor_u8(&c);
	rest = cursor_be16(&c);
	if (!cursor_ok(&c))
		return 0;
	if (command != V2_LOCAL && command != V2_PROXY)
		return -EBADMSG;
	if ((size_t)rest + HEAD_V2 > PROXY_PROTOCOL_MAX)
		return -EMSGSIZE;
	if (c.left < rest)
		return 0;
	*ret_used = HEAD_V2 + (size_t)rest;
	if (command == V2_LOCAL || (family != V2_TCP4 && family != V2_TCP6))
		return 1;
	if (rest < (family == V2_TCP4 ? V2_TCP4_LENGTH : V2_TCP6_LENGTH))
		return -EBADMSG;
	(void)cursor_copy(&c, address, family == V2_TCP4 ? 4 : 16);
	(void)cursor_take(&c, family == V2_TCP4 ? 4 : 16);
	port = cursor_be16(&c);
	*ret = (struct endpoint){
		.address = family == V2_TCP4 ? address_v4(address) : address_v6(address),
		.port = port,
	};
	return 1;
}

int proxy_protocol_parse(const uint8_t *bytes, size_t length, struct endpoint *ret_from,
			 size_t *ret_used)
{
	static const char text[] = "PROXY ";
	size_t binary = length < sizeof(signature) ? length : sizeof(signature);
	size_t line = length < sizeof(text) - 1 ? length : sizeof(text) - 1;

	if (memcmp(bytes, signature, binary) == 0)
		return binary < sizeof(signature) ? 0
						  : parse_binary(bytes, length, ret_from, ret_used);
	if (memcmp(bytes, text, line) == 0)
		return line < sizeof(text) - 1 ? 0 : parse_line(bytes, length, ret_from, ret_used);
	return -EBADMSG;
}
