/* SPDX-License-Identifier: BSD-3-Clause */
/* services/http_heads.c - the heads of proxied requests and answers */
#include "services/http_heads.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#define INFO_URL "https://tailscale.com/s/serve-headers"

/*
 * next_byte() - One byte of a path, whose escape it decodes; -EINVAL for a bad escape
 *
 * "%00" stays as it is: no mount has it, and a text would end there.
 */
static int next_byte(const char **path)
{
	const char *at = (*path)++;
	int high, low;

	if (*at != '%')
		return (unsigned char)*at;
	high = hex_digit(at[1]);
	low = high < 0 ? -1 : hex_digit(at[2]);
	if (low < 0)
		return -EINVAL;
	if (high == 0 && low == 0)
		return '%';
	*path += 2;
	return high << 4 | low;
}

/* decode() - The path without its escapes: an escaped slash divides as a plain one does */
static int decode(const char *path, char out[static HTTP_PATH_MAX])
{
	size_t length = 0;

	while (*path && *path != '?') {
		int byte = next_byte(&path);

		if (byte < 0)
			return byte;
		if (length + 2 > HTTP_PATH_MAX)
			return -EMSGSIZE;
		out[length++] = (char)byte;
	}
	out[length] = 0;
	return 0;
}

/* clean() - @path without ".", ".." and double slashes, in place; a slash at its end stays */
static void clean(char *path)
{
	size_t whole = strlen(path);
	bool slash = whole > 1 && path[whole - 1] == '/';
	char *to = path;

	for (const char *at = path; *at;) {
		size_t part = strcspn(++at, "/");

		if (part == 2 && at[0] == '.' && at[1] == '.') {
			while (to > path && *--to != '/')
				;
		} else if (part > 0 && !(part == 1 && *at == '.')) {
			*to++ = '/';
			memmove(to, at, part);
			to += part;
		}
		at += part;
	}
	if (to == path || slash)
		*to++ = '/';
	*to = 0;
}

int http_path(const char *target, char out[static HTTP_PATH_MAX], const char **ret_from)
{
	const char *path = target, *scheme = strstr(target, "://");
	int r;

	if (*path != '/') {
		if (!scheme || (strncasecmp(target, "http://", 7) != 0 &&
				strncasecmp(target, "https://", 8) != 0))
			return -EINVAL;
		path = scheme + 3 + strcspn(scheme + 3, "/?#");
		if (*path != '/')
			return -EINVAL;
	}
	*ret_from = path;
	r = decode(path, out);
	if (r == 0)
		clean(out);
	return r;
}

/* below_mount() - What of @from is behind @mount, however the client has escaped that; NULL: another path */
static const char *below_mount(const char *from, const char *mount)
{
	const char *next;

	if (strcmp(mount, "/") == 0)
		return from;
	for (; *mount; mount++)
		if (!*from || *from == '?' || next_byte(&from) != (unsigned char)*mount)
			return NULL;
	next = from;
	return !*from || *from == '?' || next_byte(&next) == '/' ? from : NULL;
}

size_t http_host_length(const char *host)
{
	return strnlen(host, *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":"));
}

bool http_authority_fits(const struct http1_head *head)
{
	const char *host = http1_header(head, "Host"), *at = head->target;
	size_t length;

	if (*at == '/' || !host)
		return true;
	at = strstr(at, "://");
	if (!at)
		return true; /* of a form that http_path() refuses */
	at += 3;
	length = strcspn(at, "/?#");
	return length == strlen(host) && strncasecmp(at, host, length) == 0;
}

bool http_is_hop(const struct http1_head *head, const char *name)
{
	static const char *const names[] = {
		"Connection", "Keep-Alive",          "Proxy-Connection",  "Proxy-Authenticate",
		"TE",         "Proxy-Authorization", "Transfer-Encoding", "Upgrade",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (http1_name_is(names[i], name))
			return true;
	/* Without these two the receiver would see another request, or other ones. */
	if (http1_name_is(name, "Content-Length") || http1_name_is(name, "Host"))
		return false;
	return http1_header_has(head, "Connection", name);
}

/* plain() - A letter in lower case, a digit, and '-' for any mark: CGI and its heirs make '_' of them */
static char plain(char c)
{
	if (isalnum((unsigned char)c))
		return (char)tolower((unsigned char)c);
	return c ? '-' : 0;
}

/* begins() - Whether @name begins with @prefix, however it is spelled */
static bool begins(const char *name, const char *prefix)
{
	for (; *prefix; name++, prefix++)
		if (plain(*name) != *prefix)
			return false;
	return true;
}

/* is_ours() - Headers that only we may set: apps trust them */
static bool is_ours(const char *name)
{
	return begins(name, "tailscale-") || begins(name, "x-forwarded-") ||
	       http1_name_is(name, "Forwarded");
}

/* put_encoded() - A header for a text of any language: RFC 2047's Q encoding where it needs it */
static int put_encoded(struct buffer *out, const char *name, const char *text)
{
	const char *at = text;
	json_t *checked;
	int r;

	while (*at >= ' ' && *at <= '~')
		at++;
	if (!*at)
		return http1_write_header(out, name, text);
	checked = json_string(text);
	if (!checked) /* no UTF-8 */
		return 0;
	json_decref(checked);
	r = buffer_printf(out, "%s: =?utf-8?q?", name);
	for (at = text; *at && r == 0; at++) {
		unsigned char c = (unsigned char)*at;

		if (c == ' ')
			r = buffer_append(out, "_", 1);
		else if (c > ' ' && c <= '~' && c != '=' && c != '?' && c != '_')
			r = buffer_append(out, at, 1);
		else
			r = buffer_printf(out, "=%02X", c);
	}
	return r < 0 ? r : buffer_printf(out, "?=\r\n");
}

/* put_capabilities() - Those of the peer that the handler accepts */
static int put_capabilities(struct buffer *out, const struct serve_handler *handler,
			    const struct privsep_person *person)
{
	json_t *all = json_loads(person->capabilities, 0, NULL), *some = json_object();
	_cleanup_free_ char *text = NULL;
	int r = 0;

	for (size_t i = 0; i < handler->capability_count; i++) {
		json_t *values = json_object_get(all, handler->capabilities[i]);

		if (values)
			(void)json_object_set(some, handler->capabilities[i], values);
	}
	if (json_object_size(some) > 0) {
		text = json_dumps(some, JSON_COMPACT);
		r = text ? put_encoded(out, "Tailscale-App-Capabilities", text) : -ENOMEM;
	}
	json_decref(all);
	json_decref(some);
	return r;
}

static int put_person(struct buffer *out, const struct serve_handler *handler,
		      const struct privsep_person *person)
{
	int r = 0;

	if (!person || !person->known)
		return 0;
	if (!person->tagged && person->login[0]) {
		r = put_encoded(out, "Tailscale-User-Login", person->login);
		if (r == 0)
			r = put_encoded(out, "Tailscale-User-Name", person->name);
		if (r == 0)
			r = put_encoded(out, "Tailscale-User-Profile-Pic", person->picture);
		if (r == 0)
			r = http1_write_header(out, "Tailscale-Headers-Info", INFO_URL);
	}
	return r < 0 ? r : put_capabilities(out, handler, person);
}

static int put_forwarded(struct buffer *out, const struct http1_head *head,
			 const struct http_origin *origin)
{
	char address[ADDRESS_TEXT_MAX];
	int r = http1_write_header(out, "X-Forwarded-For", address_format(&origin->peer, address));

	if (r == 0)
		r = http1_write_header(out, "X-Forwarded-Host",
				       http1_header(head, "Host") ?: origin->host);
	return r == 0 && origin->tls ? http1_write_header(out, "X-Forwarded-Proto", "https") : r;
}

bool http_is_upgrade(const struct http1_head *head)
{
	return head->upgrade && !http1_header_has(head, "Upgrade", "h2c") &&
	       !strcasestr(http1_header(head, "Upgrade"), "HTTP/") &&
	       !strcasestr(http1_header(head, "Upgrade"), "TLS/");
}

/* put_upgrade() - The two headers of an upgrade, which are of the connection, but mean the app */
static int put_upgrade(struct buffer *out, const struct http1_head *head)
{
	int r = http1_write_header(out, "Connection", "Upgrade");

	return r < 0 ? r : http1_write_header(out, "Upgrade", http1_header(head, "Upgrade"));
}

int http_request_head(const struct http1_head *head, const char *from,
		      const struct serve_handler *handler, const struct http_origin *origin,
		      struct buffer *out)
{
	const char *rest = below_mount(from, handler->mount);
	size_t base = strlen(handler->base);
	bool slash; /* between base and rest */
	int r;

	if (!rest)
		return -ENOENT;
	slash = *rest != '/' &&
		(base == 0 || (*rest && *rest != '?' && handler->base[base - 1] != '/'));
	if (base > 0 && handler->base[base - 1] == '/' && *rest == '/')
		rest++;
	r = buffer_printf(out, "%s %s%s%s HTTP/1.1\r\n", head->method, handler->base,
			  slash ? "/" : "", rest);
	if (r == 0 && origin->socket)
		r = http1_write_header(out, "Host", "localhost");
	else if (r == 0 && !http1_header(head, "Host")) /* HTTP/1.0 */
		r = http1_write_header(out, "Host", origin->host);
	for (size_t i = 0; r == 0 && i < head->header_count; i++) {
		const struct http1_header *h = &head->headers[i];

		if (!http_is_hop(head, h->name) && !is_ours(h->name) &&
		    !(origin->socket && strcasecmp(h->name, "Host") == 0))
			r = http1_write_header(out, h->name, h->value);
	}
	if (r == 0)
		r = put_forwarded(out, head, origin);
	if (r == 0 && origin->funnel)
		r = http1_write_header(out, "Tailscale-Funnel-Request", "?1");
	else if (r == 0)
		r = put_person(out, handler, origin->person);
	if (r == 0 && origin->loop_name)
		r = http1_write_header(out, "CDN-Loop", origin->loop_name);
	if (r == 0 && http_is_upgrade(head))
		r = put_upgrade(out, head);
	if (r == 0 && http1_header_has(head, "TE", "trailers"))
		r = http1_write_header(out, "TE", "trailers");
	if (r == 0 && head->chunked)
		r = http1_write_header(out, "Transfer-Encoding", "chunked");
	return r < 0 ? r : http1_write_head_end(out);
}

/* may_trail() - Whether a trailer can't pass for a header that decides something (RFC 9110 §6.5.1) */
static bool may_trail(const char *name)
{
	static const char *const names[] = {
		"Host",
		"Content-Length",
		"Content-Type",
		"Content-Encoding",
		"Content-Range",
		"Authorization",
		"Cookie",
		"Set-Cookie",
		"Cache-Control",
		"Expect",
		"Location",
		"Range",
		"TE",
		"Trailer",
		"Connection",
		"Transfer-Encoding",
		"Upgrade",
		"Keep-Alive",
		"If-Match",
		"If-None-Match",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcasecmp(names[i], name) == 0)
			return false;
	return !is_ours(name) && !begins(name, "proxy-");
}

struct http1_header *http_trailers(const struct http1_header *trailers, size_t count,
				   size_t *ret_count)
{
	struct http1_header *list = count ? calloc(count, sizeof(*list)) : NULL;

	*ret_count = 0;
	for (size_t i = 0; list && i < count; i++)
		if (may_trail(trailers[i].name))
			list[(*ret_count)++] = trailers[i];
	return list;
}

int http_answer_head(const struct http1_head *head, bool bodyless, int minor, bool *keep_alive,
		     enum http_framing *ret_framing, struct buffer *out)
{
	bool interim = head->status < 200, empty = head->status == 204 || head->status == 304;
	int r = buffer_printf(out, "HTTP/1.1 %d %s\r\n", head->status, head->reason);

	if (interim || bodyless || empty)
		*ret_framing = HTTP_NO_BODY;
	else if (head->content_length >= 0 && !(minor >= 1 && http1_header(head, "Trailer")))
		*ret_framing = HTTP_LENGTH; /* which leaves no place for trailers */
	else if (minor >= 1)
		*ret_framing = HTTP_CHUNKED;
	else
		*ret_framing = HTTP_UNTIL_CLOSE;
	if (*ret_framing == HTTP_UNTIL_CLOSE)
		*keep_alive = false;
	for (size_t i = 0; r == 0 && i < head->header_count; i++) {
		const struct http1_header *h = &head->headers[i];

		if (!http_is_hop(head, h->name) &&
		    !((interim || empty || *ret_framing == HTTP_CHUNKED) &&
		      strcasecmp(h->name, "Content-Length") == 0))
			r = http1_write_header(out, h->name, h->value);
	}
	if (r == 0 && head->status == 101)
		r = put_upgrade(out, head);
	else if (r == 0 && !interim && (!*keep_alive || minor == 0))
		r = http1_write_header(out, "Connection", *keep_alive ? "keep-alive" : "close");
	if (r == 0 && *ret_framing == HTTP_CHUNKED)
		r = http1_write_header(out, "Transfer-Encoding", "chunked");
	return r < 0 ? r : http1_write_head_end(out);
}
