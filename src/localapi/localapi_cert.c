/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/localapi_cert.c - cert/DOMAIN: a certificate and its key, from the services process */
#include "localapi/localapi_internal.h"

#include "base/text.h"
#include "node/node.h"

#include <string.h>

#define NAME_MAX_    256
#define BEGINS       "-----BEGIN CERTIFICATE"
#define BEGINS_BYTES strlen(BEGINS)

enum part {
	PART_CERTIFICATE,
	PART_KEY,
	PART_BOTH,
};

static enum part part_of(const struct http1_exchange *x, bool *ret_valid)
{
	char type[16] = "";

	(void)form_field(x->query, strlen(x->query), "type", type, sizeof(type));
	*ret_valid = true;
	if (!*type || strcmp(type, "crt") == 0 || strcmp(type, "cert") == 0)
		return PART_CERTIFICATE;
	if (strcmp(type, "key") == 0)
		return PART_KEY;
	*ret_valid = strcmp(type, "pair") == 0;
	return PART_BOTH;
}

static void done(void *user, const char *pem, size_t length, const struct error *err)
{
	struct http1_exchange *x = user;
	const char *at = err ? NULL : memmem(pem, length, BEGINS, BEGINS_BYTES);
	size_t key = at ? (size_t)(at - pem) : length;
	bool valid;

	if (err) {
		http1_reply_text(x, 500, "%s", err->text);
	} else {
		enum part part = part_of(x, &valid);
		size_t from = part == PART_CERTIFICATE ? key : 0;
		size_t to = part == PART_KEY ? key : length;

		http1_reply(x, 200, "text/plain", pem + from, to - from);
	}
	http1_release(x);
}

static void ask(struct node *node, struct http1_exchange *x, const char *domain,
		nanoseconds min_validity)
{
	struct error err = {0};

	http1_hold(x);
	if (node_cert(node, domain, min_validity, done, x, &err) == 0)
		return;
	http1_reply_text(x, 500, "%s", err.text);
	http1_release(x);
}

void localapi_cert(struct node *node, struct http1_exchange *x)
{
	const char *name = strrchr(x->path, '/');
	char domain[NAME_MAX_], validity[32] = "";
	nanoseconds min_validity = 0;
	bool valid;

	if (!name ||
	    percent_decode(name + 1, strlen(name + 1), false, domain, sizeof(domain)) <= 0) {
		http1_reply_text(x, 400, "the path lacks a domain");
		return;
	}
	(void)part_of(x, &valid);
	if (!valid) {
		http1_reply_text(x, 400,
				 "invalid type; want \"cert\" (default), \"key\", or \"pair\"");
		return;
	}
	if (form_field(x->query, strlen(x->query), "min_validity", validity, sizeof(validity)) >
		    0 &&
	    duration_parse(validity, strlen(validity), false, &min_validity) < 0) {
		http1_reply_text(x, 400, "invalid validity parameter");
		return;
	}
	ask(node, x, domain, min_validity);
}

void localapi_cert_authority(struct node *node, struct http1_exchange *x)
{
	ask(node, x, NULL, 0);
}
