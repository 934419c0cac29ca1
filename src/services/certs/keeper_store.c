/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/keeper_store.c - what the state directory has: the account, certificates, pauses
 *
 * A store is ordered behind those before it, so the note that an order begins is on disk only after
 * the account's key is: a crash makes neither another account nor an order that nobody knows of.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "privsep/records.h"
#include "services/certs/keeper_internal.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- The account --- */

static void on_account_stored(void *user, int result, const char *text)
{
	(void)user;
	if (result < 0)
		log_warn("the key of the ACME account is not stored, so the next start makes "
			 "another account: %s",
			 text);
}

/* make_account() - A new key, stored */
static int make_account(struct keeper *k)
{
	_cleanup_(secret_string_free_at) char *text = jose_key_new();
	int r;

	k->account = text ? jose_key_parse(text) : NULL;
	if (!k->account)
		return -ENOMEM;
	r = privsep_client_store(k->services->privsep, PRIVSEP_BLOB_ACME_ACCOUNT, text,
				 strlen(text), on_account_stored, NULL);
	if (r < 0)
		on_account_stored(NULL, r, strerror(-r));
	return 0;
}

int keeper_need_account(struct keeper *k, struct error *err)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(CERTS_TEXT_MAX);
	int r;

	if (k->account)
		return 0;
	r = privsep_client_load(k->services->privsep, PRIVSEP_BLOB_ACME_ACCOUNT, CERTS_TEXT_MAX - 1,
				&text, err);
	if (r == -ENOENT) {
		err->code = 0;
		r = make_account(k);
		return r < 0 ? error_set(err, r, "a key for the ACME account can't be made") : 0;
	}
	if (r == 0)
		r = buffer_append(&text, "", 1);
	if (r == 0)
		k->account = jose_key_parse((char *)buffer_head(&text));
	if (!k->account)
		return error_set(err, -EINVAL,
				 "<statedir>/certs/acme-account.key.pem is no key on the curve "
				 "P-256: restore it, or remove it to make another ACME account");
	return 0;
}

/* --- Stored certificates --- */

static void on_saved(void *user, int result, const char *text)
{
	struct entry *e = user;

	e->saving--;
	if (!e->keeper) { /* it was freed meanwhile */
		if (e->saving == 0)
			free(e);
		return;
	}
	if (result == -ECANCELED)
		return; /* a newer one is on its way */
	if (result < 0) {
		if (!e->unsaved || e->save_at == 0)
			log_warn("the certificate for %s serves, but is not stored: %s", e->domain,
				 text);
		e->unsaved = true;
		e->save_at = clock_boottime() + STORE_AGAIN;
	}
	loop_timer_soon(e->keeper->timer);
}

/* The key first: a certificate without its key is of no use. */
void keeper_save(struct entry *e)
{
	struct privsep_client *client = e->keeper->services->privsep;
	const char *key = e->pair.text.key, *certificate = e->pair.text.certificate;
	int r;

	e->unsaved = false;
	r = privsep_client_store_domain(client, PRIVSEP_BLOB_DOMAIN_KEY, e->domain, key,
					strlen(key), on_saved, e);
	e->saving += r == 0;
	if (r == 0) {
		r = privsep_client_store_domain(client, PRIVSEP_BLOB_DOMAIN_CERTIFICATE, e->domain,
						certificate, strlen(certificate), on_saved, e);
		e->saving += r == 0;
	}
	if (r < 0) {
		e->unsaved = true;
		e->save_at = clock_boottime() + STORE_AGAIN;
	}
}

static int load_text(struct keeper *k, enum privsep_blob_name name, const char *domain, char **ret)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(CERTS_TEXT_MAX);
	int r = privsep_client_load_domain(k->services->privsep, name, domain, CERTS_TEXT_MAX - 1,
					   &text, NULL);

	if (r == 0)
		r = buffer_append(&text, "", 1);
	if (r == 0)
		*ret = strdup((char *)buffer_head(&text));
	return r < 0 ? r : *ret ? 0 : -ENOMEM;
}

time_t keeper_begin_of(const struct certificate *c)
{
	struct tm at = {0};

	return ASN1_TIME_to_tm(X509_get0_notBefore(c->x509), &at) == 1 ? timegm(&at) : 0;
}

bool keeper_is_good(const struct entry *e)
{
	const char *names[] = {e->domain};

	/* X509_check_host() knows no "*." */
	return certificate_serves(&e->pair, names, e->domain[0] == '*' ? 0 : 1, 0);
}

void keeper_take_pair(struct entry *e, nanoseconds now)
{
	time_t begin, end;

	certificate_parse(&e->pair);
	if (!certificate_is_whole(&e->pair))
		return;
	begin = keeper_begin_of(&e->pair);
	end = certificate_end(&e->pair);
	e->renew_at = begin + (end - begin) / 3 * 2;
	e->rest = acme_rest(begin, end);
	e->ask_at = now;
}

/* --- Pauses after failures --- */

/* need_pauses() - Those that are stored; NULL without memory */
static struct pauses *need_pauses(struct keeper *k)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(PAUSES_TEXT_MAX);

	if (!k->pauses) {
		(void)privsep_client_load(k->services->privsep, PRIVSEP_BLOB_ACME_PAUSES,
					  PAUSES_TEXT_MAX, &text, NULL);
		k->pauses = pauses_read((char *)buffer_head(&text), text.length);
	}
	return k->pauses;
}

static const char *directory_of(const struct keeper *k)
{
	const struct serving *serving = k->services->serving;

	return serving && serving->acme.directory ? serving->acme.directory : "";
}

/* setup_of() - What an order depends on besides the authority; secrets only as a digest */
static void setup_of(struct keeper *k, char out[static JOSE_DIGEST_TEXT])
{
	_cleanup_(buffer_free_secret) struct buffer all = BUFFER_INIT(PAUSES_TEXT_MAX);
	const struct privsep_acme *acme = &k->services->serving->acme;

	*out = 0;
	if (buffer_printf(&all, "%u\n%s\n%s\n%s\n%s\n%s\n", acme->challenge, acme->email ?: "",
			  acme->key_id ?: "", acme->zone ?: "", acme->dns_server ?: "",
			  k->dns_key.name) == 0 &&
	    buffer_append(&all, k->dns_key.secret, k->dns_key.secret_length) == 0 &&
	    buffer_append(&all, buffer_head(&k->external), k->external.length) == 0)
		(void)base64url_digest(buffer_head(&all), all.length, out);
}

void keeper_take_pause(struct entry *e, nanoseconds now)
{
	struct pauses *pauses = need_pauses(e->keeper);
	char setup[JOSE_DIGEST_TEXT];
	struct pause pause;
	time_t left;

	e->order_at = 0;
	if (!pauses || !pauses_find(pauses, e->domain, directory_of(e->keeper), &pause))
		return;
	setup_of(e->keeper, setup);
	left = pause_left(&pause, setup, time(NULL));
	e->failures = pause.failures;
	e->order_at = now + (nanoseconds)left * NSEC_PER_SEC;
	snprintf(e->problem, sizeof(e->problem), "%s", left > 0 ? pause.problem : "");
	if (left > 0)
		log_warn("no %scertificate for %s yet: %s. The next try is in %lld s",
			 keeper_is_good(e) ? "new " : "", e->domain, e->problem, (long long)left);
}

/* store_pauses() - 0 and @done follows, or negative errno */
static int store_pauses(struct keeper *k, privsep_done done, void *user)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(PAUSES_TEXT_MAX);
	int r = pauses_write(k->pauses, &text);

	return r < 0 ? r
		     : privsep_client_store(k->services->privsep, PRIVSEP_BLOB_ACME_PAUSES,
					    buffer_head(&text), text.length, done, user);
}

static void on_pauses_stored(void *user, int result, const char *text)
{
	(void)user;
	if (result < 0 && result != -ECANCELED)
		log_warn("how long ACME waits is not stored, so the next start tries again at "
			 "once: %s",
			 text);
}

static int put_pause(struct entry *e, unsigned int failures, nanoseconds length, bool busy,
		     const char *problem)
{
	struct pauses *pauses = need_pauses(e->keeper);
	char setup[JOSE_DIGEST_TEXT];
	const struct pause pause = {
		.failures = failures,
		.begun = time(NULL),
		.length = (time_t)(length / NSEC_PER_SEC),
		.busy = busy,
		.directory = directory_of(e->keeper),
		.setup = setup,
		.problem = problem,
	};

	setup_of(e->keeper, setup);
	return pauses ? pauses_put(pauses, e->domain, &pause) : -ENOMEM;
}

void keeper_note_pause(struct entry *e, nanoseconds length, bool busy)
{
	int r = put_pause(e, e->failures, length, busy, e->problem);

	if (r == 0)
		r = store_pauses(e->keeper, on_pauses_stored, NULL);
	if (r < 0)
		on_pauses_stored(NULL, r, strerror(-r));
}

void keeper_forget_pause(struct entry *e)
{
	int r = e->keeper->pauses && pauses_remove(e->keeper->pauses, e->domain)
			? store_pauses(e->keeper, on_pauses_stored, NULL)
			: 0;

	if (r < 0)
		on_pauses_stored(NULL, r, strerror(-r));
}

/* on_noted() - @user outlives the order and the keeper */
static void on_noted(void *user, int result, const char *text)
{
	struct beginning *b = user;
	struct keeper *k = b->keeper;

	if (k && k->beginning == b) {
		on_pauses_stored(NULL, result, text);
		k->beginning = NULL;
		order_noted(k->order);
	}
	free(b);
}

void keeper_note_begin(struct keeper *k, nanoseconds length)
{
	struct beginning *b = calloc(1, sizeof(*b));
	int r = b ? put_pause(k->ordering, k->ordering->failures + 1, length, false,
			      "the last order was interrupted, as by a crash")
		  : -ENOMEM;

	if (r == 0) {
		b->keeper = k;
		k->beginning = b;
		r = store_pauses(k, on_noted, b);
	}
	if (r == 0)
		return;
	k->beginning = NULL;
	free(b);
	on_pauses_stored(NULL, r, strerror(-r));
	order_noted(k->order);
}

void keeper_load(struct entry *e, nanoseconds now)
{
	struct keeper *k = e->keeper;
	struct certificate_pair *text = &e->pair.text;
	int r = load_text(k, PRIVSEP_BLOB_DOMAIN_CERTIFICATE, e->domain, &text->certificate);

	e->loaded = true;
	if (r == 0)
		r = load_text(k, PRIVSEP_BLOB_DOMAIN_KEY, e->domain, &text->key);
	if (r == 0)
		keeper_take_pair(e, now);
	else if (r != -ENOENT)
		log_warn("the stored certificate for %s can't be read: %s", e->domain,
			 strerror(-r));
	if (r == 0 && !keeper_is_good(e))
		log_info("the stored certificate for %s has ended, or is damaged", e->domain);
	keeper_take_pause(e, now);
}
