/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/privsep_serve.c - the ports that a node serves as records */
#include "privsep/privsep_serve.h"

#include "base/secret.h"
#include "privsep/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	RECORD_PORT,           /* uint16_t */
	RECORD_TARGET,         /* struct endpoint, up to SERVE_TARGET_ADDRESSES_MAX of them */
	RECORD_CONFIG,         /* text */
	RECORD_DOMAIN,         /* text */
	RECORD_SUFFIX,         /* text */
	RECORD_DIVERT,         /* struct privsep_divert */
	RECORD_CERT_DOMAINS,   /* text */
	RECORD_SIGNS,          /* nothing: it is there */
	RECORD_PEERAPI,        /* uint16_t */
	RECORD_ACME,           /* uint32_t: enum serve_challenge */
	RECORD_ACME_DIRECTORY, /* text, as the next ones */
	RECORD_ACME_EMAIL,
	RECORD_ACME_KEY_ID,
	RECORD_ACME_ZONE,
	RECORD_ACME_DNS_SERVER,
	RECORD_ACME_PROXY,
	RECORD_KEEP,   /* nothing */
	RECORD_SOCKET, /* text: a target too */
	RECORD_PATH,   /* text */
};

_Static_assert(sizeof(struct endpoint) == 20, "no padding but one byte");

static int put_text(struct buffer *out, uint16_t kind, const char *text)
{
	return text ? record_put(out, kind, text, strlen(text)) : 0;
}

int privsep_serve_encode(const struct privsep_serve *serve, struct buffer *out)
{
	int r = 0;

	if (serve->port_count > SERVE_PORTS_MAX || serve->target_count > SERVE_WISH_TARGETS_MAX ||
	    serve->path_count > SERVE_WISH_PATHS_MAX)
		return -EMSGSIZE;
	if (serve->peerapi)
		r = record_put(out, RECORD_PEERAPI, &serve->peerapi, sizeof(uint16_t));
	for (size_t i = 0; r == 0 && i < serve->port_count; i++)
		r = record_put(out, RECORD_PORT, &serve->ports[i], sizeof(uint16_t));
	for (size_t i = 0; r == 0 && i < serve->target_count; i++)
		r = serve->targets[i].socket
			    ? put_text(out, RECORD_SOCKET, serve->targets[i].socket)
			    : record_put(out, RECORD_TARGET, serve->targets[i].addresses,
					 serve->targets[i].count * sizeof(struct endpoint));
	for (size_t i = 0; r == 0 && i < serve->path_count; i++)
		r = put_text(out, RECORD_PATH, serve->paths[i]);
	if (r == 0)
		r = put_text(out, RECORD_CONFIG, serve->config);
	if (r == 0)
		r = put_text(out, RECORD_DOMAIN, serve->domain);
	if (r == 0)
		r = put_text(out, RECORD_SUFFIX, serve->suffix);
	if (r == 0)
		r = put_text(out, RECORD_CERT_DOMAINS, serve->cert_domains);
	if (r == 0 && serve->signs)
		r = record_put(out, RECORD_SIGNS, NULL, 0);
	if (r == 0 && serve->acme.challenge != SERVE_CHALLENGE_AUTO)
		r = record_put(out, RECORD_ACME, &serve->acme.challenge, sizeof(uint32_t));
	if (r == 0)
		r = put_text(out, RECORD_ACME_DIRECTORY, serve->acme.directory);
	if (r == 0)
		r = put_text(out, RECORD_ACME_EMAIL, serve->acme.email);
	if (r == 0)
		r = put_text(out, RECORD_ACME_KEY_ID, serve->acme.key_id);
	if (r == 0)
		r = put_text(out, RECORD_ACME_ZONE, serve->acme.zone);
	if (r == 0)
		r = put_text(out, RECORD_ACME_DNS_SERVER, serve->acme.dns_server);
	if (r == 0)
		r = put_text(out, RECORD_ACME_PROXY, serve->acme.proxy);
	return r == 0 && serve->keep ? record_put(out, RECORD_KEEP, NULL, 0) : r;
}

static bool endpoint_fits(const struct endpoint *e)
{
	return (e->address.family == ADDRESS_V4 || e->address.family == ADDRESS_V6) && e->port != 0;
}

/* take_text() - The value as a text without a zero inside */
static int take_text(struct cursor *value, char **ret)
{
	size_t length = value->left;
	char *text;

	if (*ret || length > SERVE_TEXT_MAX)
		return -EBADMSG;
	text = malloc(length + 1);
	if (!text)
		return -ENOMEM;
	if (!cursor_copy(value, text, length) || memchr(text, 0, length)) {
		free(text);
		return -EBADMSG;
	}
	text[length] = 0;
	*ret = text;
	return 0;
}

static int add_target(struct privsep_serve *serve, const struct privsep_serve_target *target)
{
	struct privsep_serve_target *more =
		reallocarray(serve->targets, serve->target_count + 1, sizeof(*target));

	if (!more)
		return -ENOMEM;
	serve->targets = more;
	serve->targets[serve->target_count++] = *target;
	return 0;
}

/* take_path() - An absolute path without ".." */
static int take_path(struct cursor *value, char **ret)
{
	int r = value->left < SERVE_WISH_PATH_MAX ? take_text(value, ret) : -EBADMSG;
	size_t length = r == 0 ? strlen(*ret) : 0;

	if (r == 0 && (**ret != '/' || strstr(*ret, "/../") || strstr(*ret, "//") ||
		       (length > 2 && strcmp(*ret + length - 3, "/..") == 0)))
		r = -EBADMSG;
	if (r < 0) {
		free(*ret);
		*ret = NULL;
	}
	return r;
}

static int take_socket(struct cursor *value, struct privsep_serve *serve)
{
	struct privsep_serve_target target = {0};
	int r = serve->target_count < SERVE_WISH_TARGETS_MAX ? take_path(value, &target.socket)
							     : -EBADMSG;

	if (r == 0)
		r = add_target(serve, &target);
	if (r < 0)
		free(target.socket);
	return r;
}

static int take_served_path(struct cursor *value, struct privsep_serve *serve)
{
	char **more, *path = NULL;
	int r = serve->path_count < SERVE_WISH_PATHS_MAX ? take_path(value, &path) : -EBADMSG;

	more = r == 0 ? reallocarray(serve->paths, serve->path_count + 1, sizeof(*more)) : NULL;
	if (!more) {
		free(path);
		return r < 0 ? r : -ENOMEM;
	}
	serve->paths = more;
	serve->paths[serve->path_count++] = path;
	return 0;
}

static int take_target(struct cursor *value, struct privsep_serve *serve)
{
	struct privsep_serve_target target = {.count = value->left / sizeof(struct endpoint)};

	if (value->left % sizeof(struct endpoint) != 0 ||
	    target.count > SERVE_TARGET_ADDRESSES_MAX ||
	    serve->target_count >= SERVE_WISH_TARGETS_MAX)
		return -EBADMSG;
	(void)cursor_copy(value, target.addresses, target.count * sizeof(struct endpoint));
	for (size_t i = 0; i < target.count; i++)
		if (!endpoint_fits(&target.addresses[i]))
			return -EBADMSG;
	return add_target(serve, &target);
}

static int take_port(struct cursor *value, uint16_t *ret)
{
	return value->left == sizeof(*ret) && cursor_copy(value, ret, sizeof(*ret)) && *ret != 0
		       ? 0
		       : -EBADMSG;
}

static int take_challenge(struct cursor *value, uint32_t *ret)
{
	uint32_t challenge;

	if (value->left != sizeof(challenge) ||
	    !cursor_copy(value, &challenge, sizeof(challenge)) ||
	    challenge == SERVE_CHALLENGE_AUTO || challenge >= SERVE_CHALLENGE_COUNT)
		return -EBADMSG;
	*ret = challenge;
	return 0;
}

int privsep_serve_decode(const void *bytes, size_t length, struct privsep_serve *ret)
{
	struct cursor c = cursor_of(bytes, length);
	struct privsep_serve serve = {.acme.challenge = SERVE_CHALLENGE_OFF};
	struct record record;
	int r;

	while ((r = record_next(&c, &record)) > 0) {
		switch (record.kind) {
		case RECORD_PORT:
			r = serve.port_count < SERVE_PORTS_MAX
				    ? take_port(&record.value, &serve.ports[serve.port_count++])
				    : -EBADMSG;
			break;
		case RECORD_PEERAPI:
			r = take_port(&record.value, &serve.peerapi);
			break;
		case RECORD_TARGET:
			r = take_target(&record.value, &serve);
			break;
		case RECORD_SOCKET:
			r = take_socket(&record.value, &serve);
			break;
		case RECORD_PATH:
			r = take_served_path(&record.value, &serve);
			break;
		case RECORD_CONFIG:
			r = take_text(&record.value, &serve.config);
			break;
		case RECORD_DOMAIN:
			r = take_text(&record.value, &serve.domain);
			break;
		case RECORD_SUFFIX:
			r = take_text(&record.value, &serve.suffix);
			break;
		case RECORD_CERT_DOMAINS:
			r = take_text(&record.value, &serve.cert_domains);
			break;
		case RECORD_SIGNS:
			r = record.value.left > 0 || serve.signs ? -EBADMSG : 0;
			serve.signs = true;
			break;
		case RECORD_ACME:
			r = take_challenge(&record.value, &serve.acme.challenge);
			break;
		case RECORD_ACME_DIRECTORY:
			r = take_text(&record.value, &serve.acme.directory);
			break;
		case RECORD_ACME_EMAIL:
			r = take_text(&record.value, &serve.acme.email);
			break;
		case RECORD_ACME_KEY_ID:
			r = take_text(&record.value, &serve.acme.key_id);
			break;
		case RECORD_ACME_ZONE:
			r = take_text(&record.value, &serve.acme.zone);
			break;
		case RECORD_ACME_DNS_SERVER:
			r = take_text(&record.value, &serve.acme.dns_server);
			break;
		case RECORD_ACME_PROXY:
			r = take_text(&record.value, &serve.acme.proxy);
			break;
		case RECORD_KEEP:
			r = record.value.left > 0 ? -EBADMSG : 0;
			serve.keep = true;
			break;
		default:
			r = -EBADMSG;
		}
		if (r < 0)
			break;
	}
	if (r < 0) {
		privsep_serve_clear(&serve);
		return r;
	}
	*ret = serve;
	return 0;
}

void privsep_acme_clear(struct privsep_acme *acme)
{
	free(acme->directory);
	free(acme->email);
	free(acme->key_id);
	free(acme->zone);
	free(acme->dns_server);
	secret_string_free(acme->proxy);
	*acme = (struct privsep_acme){.challenge = SERVE_CHALLENGE_OFF};
}

void privsep_serve_clear(struct privsep_serve *serve)
{
	for (size_t i = 0; i < serve->target_count; i++)
		free(serve->targets[i].socket);
	for (size_t i = 0; i < serve->path_count; i++)
		free(serve->paths[i]);
	free(serve->paths);
	free(serve->targets);
	free(serve->config);
	free(serve->domain);
	free(serve->suffix);
	free(serve->cert_domains);
	privsep_acme_clear(&serve->acme);
	*serve = (struct privsep_serve){0};
}

const char *serve_root(const char *roots, const char *path, size_t *ret_length)
{
	const char *best = NULL;

	while (roots && *roots) {
		size_t length = strcspn(roots, ":");
		size_t root = length == 1 ? 0 : length; /* "/" holds everything */

		if (length > 0 && strncmp(roots, path, root) == 0 &&
		    (path[root] == '/' || path[root] == 0) && (!best || root > *ret_length)) {
			best = roots;
			*ret_length = root;
		}
		roots += length + (roots[length] == ':');
	}
	return best;
}

int privsep_diverts_encode(const struct privsep_divert *diverts, size_t count, struct buffer *out)
{
	int r = count > SERVE_DIVERTS_MAX ? -EMSGSIZE : 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = record_put(out, RECORD_DIVERT, &diverts[i], sizeof(*diverts));
	return r;
}

int privsep_diverts_decode(const void *bytes, size_t length, struct privsep_divert *ret,
			   size_t *ret_count)
{
	struct cursor c = cursor_of(bytes, length);
	struct record record;
	size_t count = 0;
	int r;

	while ((r = record_next(&c, &record)) > 0) {
		struct privsep_divert *divert = &ret[count];

		if (record.kind != RECORD_DIVERT || count >= SERVE_DIVERTS_MAX ||
		    record.value.left != sizeof(*divert) ||
		    !cursor_copy(&record.value, divert, sizeof(*divert)) ||
		    !endpoint_fits(&divert->to) || divert->high == 0 || divert->retired > 1)
			return -EBADMSG;
		count++;
	}
	if (r == 0)
		*ret_count = count;
	return r;
}
