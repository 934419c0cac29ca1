/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/proxy.c - HTTPS_PROXY, NO_PROXY and CONNECT */
#include "transport/proxy.h"
#include "base/address.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "transport/http1.h"
#include "transport/names.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct proxy {
	struct url url;
	char *no_proxy;
};

int proxy_create(const char *https_proxy, const char *no_proxy, struct proxy **ret,
		 struct error *err)
{
	_cleanup_(secret_string_free_at) char *text = NULL;
	struct proxy *p;
	int r;

	if (!https_proxy || !*https_proxy) {
		*ret = NULL;
		return 0;
	}
	if (asprintf(&text, "%s%s", strstr(https_proxy, "://") ? "" : "http://", https_proxy) < 0) {
		text = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, -ENOMEM, "out of memory");
	r = url_parse(text, &p->url, err);
	if (r < 0) {
		error_wrap(err, "HTTPS_PROXY");
		goto refused;
	}
	if (no_proxy) {
		p->no_proxy = strdup(no_proxy);
		if (!p->no_proxy) {
			r = error_set(err, -ENOMEM, "out of memory");
			goto refused;
		}
	}
	*ret = p;
	return 0;
refused:
	proxy_free(p);
	return r;
}

void proxy_free(struct proxy *p)
{
	if (!p)
		return;
	free(p->no_proxy);
	explicit_bzero(&p->url, sizeof(p->url));
	free(p);
}

/* suffix_matches() - "lan" and ".lan" match "a.lan"; "lan" also itself */
static bool suffix_matches(const char *item, const char *host)
{
	size_t length, host_length = strlen(host);
	bool dotted = item[0] == '.';

	if (strncmp(item, "*.", 2) == 0) {
		item++;
		dotted = true;
	}
	if (!dotted && strcasecmp(item, host) == 0)
		return true;
	if (dotted)
		item++;
	length = strlen(item);
	return length && host_length > length + 1 && host[host_length - length - 1] == '.' &&
	       strcasecmp(host + host_length - length, item) == 0;
}

static bool item_matches(char *item, const char *host, const struct address *literal, uint16_t port)
{
	struct endpoint e;
	struct prefix p;
	char *colon;

	if (strcmp(item, "*") == 0)
		return true;
	if (prefix_parse(item, strlen(item), &p) == 0)
		return prefix_contains(&p, literal);
	if (endpoint_parse(item, strlen(item), &e) == 0)
		return e.port == port && address_equal(&e.address, literal);
	colon = strrchr(item, ':');
	if (colon) {
		if (strtoul(colon + 1, NULL, 10) != port)
			return false;
		*colon = 0;
	}
	return suffix_matches(item, host);
}

const struct url *proxy_for(const struct proxy *proxy, const char *host, uint16_t port)
{
	struct address literal = {0};
	const char *list;

	if (!proxy || strcasecmp(host, "localhost") == 0)
		return NULL;
	if (address_parse(host, strlen(host), &literal) == 0 && address_is_loopback(&literal))
		return NULL;
	list = proxy->no_proxy ? proxy->no_proxy : "";
	while (*(list += strspn(list, ", \t"))) {
		size_t length = strcspn(list, ", \t");
		char item[256];

		snprintf(item, sizeof(item), "%.*s", (int)length, list);
		if (length < sizeof(item) && item_matches(item, host, &literal, port))
			return NULL;
		list += length;
	}
	return &proxy->url;
}

/* write_authorization() - Basic (RFC 7617) */
static int write_authorization(const char *user, struct buffer *out)
{
	char encoded[(URL_USER_MAX + 2) / 3 * 4 + 1], value[sizeof(encoded) + 8];
	int r;

	EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)user, (int)strlen(user));
	snprintf(value, sizeof(value), "Basic %s", encoded);
	r = http1_write_header(out, "Proxy-Authorization", value);
	explicit_bzero(encoded, sizeof(encoded));
	explicit_bzero(value, sizeof(value));
	return r;
}

int proxy_write_connect(const struct url *proxy, const char *host, uint16_t port,
			struct buffer *out)
{
	char authority[URL_HOST_MAX + 16];
	int r;

	if (!host_is_valid(host))
		return -EINVAL;
	snprintf(authority, sizeof(authority), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	if ((r = http1_write_request(out, "CONNECT", authority)) < 0 ||
	    (r = http1_write_header(out, "Host", authority)) < 0 ||
	    (proxy->user[0] && (r = write_authorization(proxy->user, out)) < 0))
		return r;
	return http1_write_head_end(out);
}
