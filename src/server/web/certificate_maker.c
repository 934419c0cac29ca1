/* SPDX-License-Identifier: BSD-3-Clause */
/* server/web/certificate_maker.c - certificates that a server of this program makes for itself */
#include "server/web/certificate_maker.h"

#include "base/cleanup.h"
#include "base/small_file.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#define LONG_DAYS   3650
#define SERVER_DAYS 397 /* Apple's clients refuse more of a certificate that an authority signed */
#define RENEW_DAYS  30

/* A pair of files, and their contents. */
struct pair {
	char *certificate_path, *key_path;
	struct certificate made;
};

static void pair_clear(struct pair *p)
{
	free(p->certificate_path);
	free(p->key_path);
	certificate_clear(&p->made);
}

/*
 * load() - Read a pair
 * @remedy: for a pair that clients trust: what to do where it can't be used, which is an error.
 *          NULL: the pair can be made again at any time
 *
 * A key without a certificate is fine: that is what a crash leaves when they are made.
 */
static int load(struct pair *p, const char *folder, const char *certificate, const char *key,
		const char *remedy, struct error *err)
{
	struct error unread;
	int r;

	if (asprintf(&p->certificate_path, "%s/%s", folder, certificate) < 0 ||
	    asprintf(&p->key_path, "%s/%s", folder, key) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = small_file_read(p->certificate_path, &p->made.text.certificate, &unread);
	if (r == 0 || r == -ENOENT)
		r = small_file_read(p->key_path, &p->made.text.key, &unread);
	if (r < 0 && r != -ENOENT && remedy)
		return error_set(err, r, "%s", unread.text);
	certificate_parse(&p->made);
	if (!remedy || certificate_is_whole(&p->made) ||
	    (!p->made.text.certificate && (p->made.key || !p->made.text.key)))
		return 0;
	return error_set(err, -EINVAL, "%s and %s can't be used together: %s", p->certificate_path,
			 key, remedy);
}

/* store() - The key first: a certificate without its key would be an error at the next start */
static int store(const struct pair *p, struct error *err)
{
	const struct certificate_pair *text = &p->made.text;
	int r = small_file_replace(p->key_path, text->key, strlen(text->key), err);

	return r < 0 ? r
		     : small_file_replace(p->certificate_path, text->certificate,
					  strlen(text->certificate), err);
}

/* hand_over() - The texts of @p become the caller's */
static void hand_over(struct pair *p, struct certificate_pair *ret)
{
	*ret = p->made.text;
	p->made.text = (struct certificate_pair){0};
}

int certificate_self_signed(const char *folder, const char *const *names, size_t count,
			    struct certificate_pair *ret, struct error *err)
{
	_cleanup_(pair_clear) struct pair relay = {0};
	int r = load(&relay, folder, "relay.crt", "relay.pem",
		     "restore them, or remove both for a new certificate, whose hash differs from "
		     "the one in maps of relays",
		     err);

	if (r == 0 && !certificate_serves(&relay.made, names, count, RENEW_DAYS)) {
		r = certificate_make_server(&relay.made, &relay.made, "pillion relay", LONG_DAYS,
					    names, count, err);
		r = r == 0 ? store(&relay, err) : r;
	}
	if (r == 0)
		hand_over(&relay, ret);
	return r;
}

int certificate_by_authority(const char *folder, const char *const *names, size_t count,
			     struct certificate_pair *ret, struct authority_made *made,
			     struct error *err)
{
	_cleanup_(pair_clear) struct pair ca = {0}, server = {0};
	int r = load(&ca, folder, "ca.pem", "ca.key",
		     "restore them, or move both away for a new authority", err);

	*made = (struct authority_made){.authority = !ca.made.x509};
	/* Nodes that trust a lost certificate trust another one of the same key and name. */
	if (r == 0 && made->authority) {
		r = certificate_make_authority(&ca.made, "pillion control, private authority",
					       LONG_DAYS, NULL, err);
		r = r == 0 ? store(&ca, err) : r;
	}
	if (r == 0)
		r = load(&server, folder, "server.pem", "server.key", NULL, err);
	if (r < 0)
		return r;
	made->ends = certificate_end(&ca.made);
	made->server = !certificate_serves(&server.made, names, count, RENEW_DAYS) ||
		       X509_verify(server.made.x509, ca.made.key) != 1;
	if (made->server) {
		EVP_PKEY_free(TAKE_PTR(server.made.key));
		r = certificate_make_server(&server.made, &ca.made, names[0], SERVER_DAYS, names,
					    count, err);
		r = r == 0 ? store(&server, err) : r;
	}
	ERR_clear_error();
	if (r == 0)
		hand_over(&server, ret);
	return r;
}

int certificate_nodes_authority(const char *folder, const char *domain, struct certificate *ret,
				bool *made, struct error *err)
{
	_cleanup_(pair_clear) struct pair ca = {0};
	_cleanup_free_ char *certificate = NULL, *key = NULL, *name = NULL;
	int r;

	if (asprintf(&certificate, "nodes-ca.%s.pem", domain) < 0 ||
	    asprintf(&key, "nodes-ca.%s.key", domain) < 0 ||
	    asprintf(&name, "pillion control, nodes of %.24s", domain) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = load(&ca, folder, certificate, key,
		 "restore them, or move both away for a new authority", err);
	*made = r == 0 && !ca.made.x509;
	/* Clients that trust a lost certificate trust another one of the same key and name. */
	if (*made) {
		r = certificate_make_authority(&ca.made, name, LONG_DAYS, domain, err);
		r = r == 0 ? store(&ca, err) : r;
	}
	ERR_clear_error();
	if (r == 0) {
		*ret = ca.made;
		ca.made = (struct certificate){0};
	}
	return r;
}

int certificate_pin(const char *certificate, char out[static CERTIFICATE_PIN_MAX])
{
	_cleanup_(certificate_clear) struct certificate c = {
		.text.certificate = strdup(certificate),
	};

	certificate_parse(&c);
	strcpy(out, "sha256-raw:");
	return certificate_digest(&c, out + strlen(out));
}
