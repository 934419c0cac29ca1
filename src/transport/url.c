/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/url.c - http and https URLs, strictly */
#include "transport/url.h"
#include "base/text.h"
#include "transport/names.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* parse_port() - ":" and digits, or nothing */
static int parse_port(const char *text, size_t length, struct url *u)
{
	unsigned int port = 0;

	if (length == 0)
		return 0;
	if (text[0] != ':' || length < 2 || length > 6)
		return -EINVAL;
	for (size_t i = 1; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return -EINVAL;
	u->port = (uint16_t)port;
	u->port_explicit = true;
	return 0;
}

/* parse_authority() - [user@]host[:port] */
static int parse_authority(const char *text, size_t length, struct url *u)
{
	const char *at = memrchr(text, '@', length), *end;
	size_t host;

	if (at) {
		if (percent_decode(text, (size_t)(at - text), false, u->user, sizeof(u->user)) < 0)
			return -EINVAL;
		length -= (size_t)(at + 1 - text);
		text = at + 1;
	}
	if (length && text[0] == '[') {
		end = memchr(text, ']', length);
		if (!end)
			return -EINVAL;
		text++;
		host = (size_t)(end - text);
		if (!memchr(text, ':', host) || parse_port(end + 1, length - 2 - host, u) < 0)
			return -EINVAL;
	} else {
		end = memchr(text, ':', length);
		host = end ? (size_t)(end - text) : length;
		if (parse_port(text + host, length - host, u) < 0)
			return -EINVAL;
	}
	if (host == 0 || host >= sizeof(u->host))
		return -EINVAL;
	for (size_t i = 0; i < host; i++)
		u->host[i] = (char)tolower((unsigned char)text[i]);
	u->host[host] = 0;
	return host_is_valid(u->host) ? 0 : -EINVAL;
}

int url_parse(const char *text, struct url *ret, struct error *err)
{
	struct url u = {.port = 80};
	const char *rest, *end;
	size_t path;

	for (const char *c = text; *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return error_set(err, -EINVAL, "the URL has a blank or control character");
	if (strncasecmp(text, "https://", 8) == 0) {
		u.tls = true;
		u.port = 443;
		rest = text + 8;
	} else if (strncasecmp(text, "http://", 7) == 0) {
		rest = text + 7;
	} else {
		return error_set(err, -EINVAL, "the URL must begin with https:// or http://");
	}
	end = rest + strcspn(rest, "/?#");
	if (parse_authority(rest, (size_t)(end - rest), &u) < 0) {
		explicit_bzero(u.user, sizeof(u.user));
		return error_set(err, -EINVAL, "the URL has no usable host and port");
	}
	path = strcspn(end, "#");
	if (path + 2 > sizeof(u.path)) {
		explicit_bzero(u.user, sizeof(u.user));
		return error_set(err, -EINVAL, "the URL's path is too long");
	}
	snprintf(u.path, sizeof(u.path), "%s%.*s", end[0] == '/' ? "" : "/", (int)path, end);
	*ret = u;
	explicit_bzero(u.user, sizeof(u.user));
	return 0;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

const char *url_authority(const struct url *url, char out[static URL_ORIGIN_MAX])
{
	bool literal = strchr(url->host, ':');
	uint16_t usual = url->tls ? 443 : 80;

	if (url->port == usual)
		snprintf(out, URL_ORIGIN_MAX, literal ? "[%s]" : "%s", url->host);
	else
		snprintf(out, URL_ORIGIN_MAX, literal ? "[%s]:%u" : "%s:%u", url->host, url->port);
	return out;
}
