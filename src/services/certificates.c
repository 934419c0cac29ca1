/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certificates.c - what HTTPS proves itself by
 *
 * DOC: Theory of operation
 *
 * A pair of files that the start named comes first (--cert, --key); they are watched. Otherwise
 * this node has a private authority, which is made at the first use, stored, and may sign names of
 * this tailnet only; people who trust it (`pillion cert --ca`) get no warning. The certificate for
 * the node's name is signed by it anew at each start, and again before it ends.
 */
#define LOG_ROOM "services"
#include "base/log.h"
#include "base/small_file.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "privsep/records.h"
#include "services/certs/keeper.h"
#include "services/services_internal.h"
#include "transport/certificate.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX       ((size_t)256 * 1024)
#define AUTHORITY_DAYS 3650
#define LEAF_DAYS      90
#define RENEW_DAYS     30
#define LOOK_AGAIN     (12 * 3600 * NSEC_PER_SEC)

struct certificates {
	struct services *services;
	struct buffer certificate, key; /* texts of the files; empty: not named, or unreadable */
	struct certificate authority, leaf;
	bool loaded;                     /* the stored authority was read, or there is none */
	bool damaged;                    /* there is one that can't be read: it is not replaced */
	enum privsep_cert_source source; /* of the one in use */
	struct certificate used;         /* without its key */
	struct loop_timer *timer;
};

static void on_timer(void *user)
{
	certificates_update(((struct certificates *)user)->services);
}

int certificates_new(struct services *services, struct certificates **ret, struct error *err)
{
	struct certificates *c = calloc(1, sizeof(*c));

	if (!c || loop_timer_create(services->loop, on_timer, c, &c->timer) < 0) {
		free(c);
		return error_set(err, -ENOMEM, "out of memory");
	}
	c->services = services;
	c->certificate = c->key = BUFFER_INIT(FILE_MAX);
	*ret = c;
	return 0;
}

void certificates_free(struct certificates *c)
{
	if (!c)
		return;
	loop_timer_free(c->timer);
	buffer_free(&c->certificate);
	buffer_free_secret(&c->key);
	certificate_clear(&c->authority);
	certificate_clear(&c->leaf);
	certificate_clear(&c->used);
	tls_context_release(TAKE_PTR(c->services->server_tls));
	free(c);
}

/* use() - For connections from now on */
static int use(struct certificates *c, enum privsep_cert_source source, const char *certificate,
	       size_t length, const char *key, size_t key_length, struct error *err)
{
	struct tls_context **tls = &c->services->server_tls;
	int r = tls_server_context_set(tls, certificate, length, key, key_length, err);

	if (r == 0 && tls_server_allow_tickets(*tls) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	c->source = source;
	certificate_clear(&c->used);
	c->used.text.certificate = strndup(certificate, length);
	certificate_parse(&c->used);
	return 0;
}

static void on_stored(void *user, int result, const char *text)
{
	(void)user;
	if (result < 0)
		log_warn("the certificate authority of this node is not stored, so the next start "
			 "makes another one: %s",
			 text);
}

/* store_authority() - Certificate and key in one text */
static void store_authority(struct certificates *c)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(FILE_MAX);
	int r;

	if (c->damaged)
		return;
	r = buffer_printf(&text, "%s%s", c->authority.text.certificate, c->authority.text.key);

	if (r == 0)
		r = privsep_client_store(c->services->privsep, PRIVSEP_BLOB_AUTHORITY,
					 buffer_head(&text), text.length, on_stored, NULL);
	if (r < 0)
		on_stored(NULL, r, strerror(-r));
}

/* load_authority() - The stored one, if it is good for names of @suffix */
static void load_authority(struct certificates *c)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(FILE_MAX);
	struct error err = {0};
	int r;

	c->loaded = true;
	r = privsep_client_load(c->services->privsep, PRIVSEP_BLOB_AUTHORITY, FILE_MAX - 1, &text,
				&err);
	if (r == 0)
		r = buffer_append(&text, "", 1);
	if (r < 0) {
		c->damaged = r != -ENOENT;
		if (c->damaged)
			log_warn("the stored certificate authority can't be read, and another one "
				 "serves until the next start: %s",
				 err.code < 0 ? err.text : strerror(-r));
		return;
	}
	c->authority.text.certificate = strdup((char *)buffer_head(&text));
	c->authority.text.key = strdup((char *)buffer_head(&text));
	certificate_parse(&c->authority);
}

/* need_authority() - One that may sign names of @suffix; 0 or negative errno with @err */
static int need_authority(struct certificates *c, const char *suffix, struct error *err)
{
	char name[64], digest[CERTIFICATE_DIGEST_MAX];
	int r;

	if (!c->loaded)
		load_authority(c);
	snprintf(name, sizeof(name), "pillion authority of %s", suffix);
	if (certificate_is_whole(&c->authority) && certificate_is_named(&c->authority, name) &&
	    certificate_end(&c->authority) > time(NULL))
		return 0;
	certificate_clear(&c->authority);
	r = certificate_make_authority(&c->authority, name, AUTHORITY_DAYS, suffix, err);
	if (r < 0)
		return r;
	store_authority(c);
	if (certificate_digest(&c->authority, digest) == 0)
		log_info("made a certificate authority for HTTPS (SHA-256 %.16s…): clients that "
			 "trust <statedir>/pillion-authority.pem get no warning",
			 digest);
	return 0;
}

/* make_leaf() - A certificate for our name, by our own authority, if there is no good one yet */
static int make_leaf(struct certificates *c, struct error *err)
{
	const struct serving *serving = c->services->serving;
	const char *names[] = {serving->domain};
	int r;

	if (!serving->domain || !serving->suffix)
		return error_set(err, -EAGAIN, "the node has no name yet");
	if (certificate_serves(&c->leaf, names, 1, RENEW_DAYS))
		return 0;
	r = need_authority(c, serving->suffix, err);
	certificate_clear(&c->leaf);
	if (r == 0)
		r = certificate_make_server(&c->leaf, &c->authority, serving->domain, LEAF_DAYS,
					    names, 1, err);
	return r;
}

static int use_own(struct certificates *c, struct error *err)
{
	int r = make_leaf(c, err);

	return r < 0 ? r
		     : use(c, PRIVSEP_CERT_OWN, c->leaf.text.certificate,
			   strlen(c->leaf.text.certificate), c->leaf.text.key,
			   strlen(c->leaf.text.key), err);
}

/* use_kept() - A certificate by ACME or by control; -ENOENT: there is none (yet) */
static int use_kept(struct certificates *c, struct error *err)
{
	const char *domain = c->services->serving->domain;
	const struct certificate *kept = domain ? keeper_pair(c->services->keeper, domain) : NULL;

	return kept ? use(c, keeper_source(c->services->keeper, domain), kept->text.certificate,
			  strlen(kept->text.certificate), kept->text.key, strlen(kept->text.key),
			  err)
		    : -ENOENT;
}

/* next_look() - When the one in use ends, another one serves */
static nanoseconds next_look(const struct certificates *c)
{
	time_t left = c->used.x509 ? certificate_end(&c->used) - time(NULL) : 0;
	nanoseconds look = LOOK_AGAIN;

	if (left > 0 && left < look / NSEC_PER_SEC)
		look = (left + 1) * NSEC_PER_SEC;
	return clock_boottime() + look;
}

void certificates_update(struct services *services)
{
	struct certificates *c = services->certificates;
	bool files = c->certificate.length > 0 && c->key.length > 0;
	struct error err = {0};
	int r;

	if (!services->serving)
		return;
	keeper_update(services->keeper,
		      !files && serve_config_uses_tls(&services->serving->config));
	if (!serve_config_uses_tls(&services->serving->config))
		return;
	if (files)
		r = use(c, PRIVSEP_CERT_FILES, (char *)buffer_head(&c->certificate),
			c->certificate.length, (char *)buffer_head(&c->key), c->key.length, &err);
	else
		r = use_kept(c, &err);
	if (!files && r < 0)
		r = use_own(c, &err);
	if (r < 0)
		log_error("HTTPS has no %scertificate: %s", services->server_tls ? "new " : "",
			  err.text);
	loop_timer_at(c->timer, next_look(c));
	cert_asks_state(services);
}

/* --- For others --- */

static int copy_pair(struct certificate_pair *ret, const char *certificate, size_t length,
		     const char *key, size_t key_length, struct error *err)
{
	ret->certificate = strndup(certificate, length);
	ret->key = strndup(key, key_length);
	if (ret->certificate && ret->key)
		return 0;
	certificate_pair_clear(ret);
	return error_set(err, -ENOMEM, "out of memory");
}

/* pair_of_files() - Those that the start named, if they are for @domain; else -ENOENT */
static int pair_of_files(struct certificates *c, const char *domain, struct certificate_pair *ret,
			 struct error *err)
{
	struct certificate named = {0};
	int r;

	if (c->certificate.length == 0 || c->key.length == 0)
		return -ENOENT;
	r = copy_pair(&named.text, (char *)buffer_head(&c->certificate), c->certificate.length,
		      (char *)buffer_head(&c->key), c->key.length, err);
	if (r < 0)
		return r;
	certificate_parse(&named);
	if (certificate_serves(&named, &domain, 1, 0))
		*ret = named.text;
	else
		r = -ENOENT;
	if (r == 0)
		named.text = (struct certificate_pair){0};
	certificate_clear(&named);
	return r;
}

int certificates_pair(struct services *services, const char *domain, time_t end,
		      struct certificate_pair *ret, struct error *err)
{
	struct certificates *c = services->certificates;
	int r = pair_of_files(c, domain, ret, err);
	const struct certificate *kept;

	if (r != -ENOENT)
		return r;
	kept = keeper_pair(services->keeper, domain);
	if (!kept || certificate_end(kept) < end) {
		if (keeper_can(services->keeper, domain))
			return -EINPROGRESS;
		if (!services->serving->domain || strcmp(domain, services->serving->domain) != 0)
			return error_set(err, -ENOENT,
					 "there is no authority for %s: set up ACME "
					 "(docs/certificates.md)",
					 domain);
		r = make_leaf(c, err);
		if (r < 0)
			return r;
		kept = &c->leaf;
	}
	return copy_pair(ret, kept->text.certificate, strlen(kept->text.certificate),
			 kept->text.key, strlen(kept->text.key), err);
}

int certificates_authority(struct services *services, struct certificate_pair *ret,
			   struct error *err)
{
	struct certificates *c = services->certificates;
	int r = services->serving->suffix ? need_authority(c, services->serving->suffix, err)
					  : error_set(err, -EAGAIN, "the node has no name yet");

	_cleanup_free_ char *own = r < 0 ? NULL : certificate_text(&c->authority);
	const char *signer = c->source == PRIVSEP_CERT_CONTROL ? certificate_root(&c->used) : NULL;

	if (r < 0)
		return r;
	if (!own || asprintf(&ret->certificate, "%s%s", own, signer ? signer : "") < 0) {
		ret->certificate = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

void certificates_state(struct services *services, struct privsep_cert_state *ret)
{
	struct certificates *c = services->certificates;
	const char *domain = services->serving ? services->serving->domain : NULL;

	if (!domain || c->source == PRIVSEP_CERT_NONE)
		return;
	ret->source = c->source;
	ret->end = certificate_end(&c->used);
	snprintf(ret->domain, sizeof(ret->domain), "%s", domain);
	(void)certificate_digest(&c->used, ret->digest);
	if (c->authority.x509)
		(void)certificate_digest(&c->authority, ret->authority);
	if (c->source == PRIVSEP_CERT_FILES)
		return;
	snprintf(ret->problem, sizeof(ret->problem), "%s",
		 keeper_problem(services->keeper, domain));
	/* The one before ends some day, and nothing takes its place. */
	if (c->source != PRIVSEP_CERT_OWN && !keeper_can(services->keeper, domain) &&
	    ret->end - time(NULL) < (time_t)RENEW_DAYS * 24 * 3600)
		snprintf(ret->problem, sizeof(ret->problem),
			 "there is no way any more to prove the name (TS_ACME_CHALLENGE)");
	ret->pending = keeper_can(services->keeper, domain) && c->source == PRIVSEP_CERT_OWN;
}

void certificates_file(struct services *services, enum privsep_file_name name, int fd)
{
	struct certificates *c = services->certificates;
	struct buffer *text = name == PRIVSEP_FILE_CERTIFICATE ? &c->certificate : &c->key;
	_cleanup_close_ int owned = fd;
	int r = fd;

	buffer_free_secret(text);
	if (fd >= 0)
		r = file_read(fd, FILE_MAX, text);
	if (r < 0 && r != -ENOENT)
		log_error("%s can't be read: %s",
			  name == PRIVSEP_FILE_CERTIFICATE ? "the certificate (--cert)"
							   : "its key (--key)",
			  file_problem(r));
	certificates_update(services);
}
