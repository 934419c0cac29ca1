/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/url.h - http and https URLs, strictly */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URL_HOST_MAX   256
#define URL_PATH_MAX   1024
#define URL_USER_MAX   512
#define URL_ORIGIN_MAX (URL_HOST_MAX + 16)

struct url {
	bool tls;                /* https */
	bool port_explicit;      /* the text named one */
	uint16_t port;           /* 80 or 443 unless named */
	char host[URL_HOST_MAX]; /* lower case; an IPv6 literal without brackets */
	char path[URL_PATH_MAX]; /* with query, without fragment; "/" at least */
	char user[URL_USER_MAX]; /* "user:password", percent-decoded; "" if none. Secret */
};

/**
 * url_parse() - "https://host[:port][/path]"
 *
 * Return: 0, or -EINVAL with @err set (control characters, other schemes, no host …)
 */
int url_parse(const char *text, struct url *ret, struct error *err);

/** url_same_origin() - Whether both lead to the same host and port, by TLS or not */
bool url_same_origin(const struct url *a, const struct url *b);

/** url_authority() - For a Host header: "host", "host:8443", "[::1]:80"; returns @out */
const char *url_authority(const struct url *url, char out[static URL_ORIGIN_MAX]);
