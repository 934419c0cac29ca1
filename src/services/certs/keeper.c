/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/keeper.c - the certificates by ACME: which there are, and when the next is due
 *
 * DOC: Theory of operation
 *
 * A certificate is stored under its domain's name, in the official layout, so that a restart, a
 * volume of the official image, and its return to it cost no certificate. It is renewed at a random
 * moment of the time that the authority suggests (RFC 9773), or after two thirds of its life.
 * A failure is tried again after a pause that grows, or after what the authority's Retry-After
 * says. The certificate in use stays until the next one is there.
 *
 * One order runs at a time, and each certificate is followed by a rest (acme_rest()), whatever the
 * authority suggests or a local program wants. A certificate that could not be stored serves all the same, and is
 * stored later: it is never ordered twice.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "base/secret.h"
#include "privsep/records.h"
#include "services/certs/certs.h"
#include "services/certs/keeper.h"
#include "transport/loop_timer.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define LOOK_AGAIN      (3600 * NSEC_PER_SEC) /* clocks are corrected, machines sleep */
#define STORE_AGAIN     (30 * NSEC_PER_SEC)
#define ASK_AGAIN       (6 * 3600 * NSEC_PER_SEC)
#define ASK_AGAIN_MIN   (600 * NSEC_PER_SEC)
#define ACME_IDENTIFIER "1.3.6.1.5.5.7.1.31"
#define HTTP_PROOFS     "/.well-known/acme-challenge/"
#define NAMES_MAX       16u
#define SECRET_MAX      ((size_t)4096)

/* After refusals; an authority allows five of them an hour for a name. */
static const nanoseconds pauses[] = {60 * NSEC_PER_SEC, 300 * NSEC_PER_SEC, 900 * NSEC_PER_SEC,
				     3600 * NSEC_PER_SEC, 4 * 3600 * NSEC_PER_SEC};

/* While something can't be reached, which costs nobody anything. */
static const nanoseconds short_pauses[] = {5 * NSEC_PER_SEC, 15 * NSEC_PER_SEC, 60 * NSEC_PER_SEC,
					   300 * NSEC_PER_SEC, 900 * NSEC_PER_SEC};
_Static_assert(ARRAY_SIZE(pauses) == ARRAY_SIZE(short_pauses), "one index");

struct entry {
	LIST_ENTRY(entry) entry;
	struct keeper *keeper;
	char domain[PRIVSEP_DOMAIN_MAX];
	bool wanted;
	time_t demand; /* a local program wants one that is good until then; 0: none */
	enum privsep_cert_source source;
	bool loaded;
	bool unsaved; /* the certificate is not on disk yet */
	unsigned int saving;
	nanoseconds save_at;
	struct certificate pair;
	time_t renew_at;      /* 0: unknown yet */
	time_t rest;          /* not before, while there is a good one */
	nanoseconds ask_at;   /* when to ask the authority about that */
	nanoseconds order_at; /* not before */
	unsigned int failures;
	char problem[ERROR_TEXT_MAX];
};

/* What our listeners show. */
struct shown {
	char name[ACME_NAME_MAX], token[ACME_TOKEN_MAX];
	char *text; /* HTTP-01 */
};

struct keeper {
	struct services *services;
	LIST_HEAD(, entry) entries;
	struct loop_timer *timer;
	EVP_PKEY *account;
	bool account_loaded;
	struct order *order;
	struct control_ask *signing; /* instead of an order: control is the authority */
	struct entry *ordering;      /* of either */
	bool asks;                   /* it only asks when to renew */
	char *next_key;              /* PEM of the order's certificate; secret */
	struct buffer external;      /* secret of the external account */
	struct dns_key dns_key;
	char dns_problem[256]; /* "": the key can be used */
	struct shown shown;
};

static void look(struct keeper *k);

static bool is_on(const struct keeper *k)
{
	const struct serving *serving = k->services->serving;

	return serving && serving->acme.challenge != SERVE_CHALLENGE_OFF && serving->acme.directory;
}

/* by_control() - Whether control signs for @domain, since there is no ACME */
static bool by_control(const struct keeper *k, const char *domain)
{
	const struct serving *serving = k->services->serving;

	return serving && !is_on(k) && serving->signs && serving->domain &&
	       strcmp(serving->domain, domain) == 0;
}

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

/* need_account() - The stored key, or a new one where there is none; 0 or negative errno with @err */
static int need_account(struct keeper *k, struct error *err)
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
	look(e->keeper);
}

/* save() - The key first: a certificate without its key is of no use */
static void save(struct entry *e)
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

static time_t begin_of(const struct certificate *c)
{
	struct tm at = {0};

	return ASN1_TIME_to_tm(X509_get0_notBefore(c->x509), &at) == 1 ? timegm(&at) : 0;
}

static bool is_good(const struct entry *e)
{
	const char *names[] = {e->domain};

	/* X509_check_host() knows no "*." */
	return certificate_serves(&e->pair, names, e->domain[0] == '*' ? 0 : 1, 0);
}

/* take_pair() - Use the texts of e->pair: until when, and when to ask */
static void take_pair(struct entry *e, nanoseconds now)
{
	time_t begin, end;

	certificate_parse(&e->pair);
	if (!certificate_is_whole(&e->pair))
		return;
	begin = begin_of(&e->pair);
	end = certificate_end(&e->pair);
	e->renew_at = begin + (end - begin) / 3 * 2;
	e->rest = acme_rest(begin, end);
	e->ask_at = now;
}

static void load(struct entry *e, nanoseconds now)
{
	struct keeper *k = e->keeper;
	struct certificate_pair *text = &e->pair.text;
	int r = load_text(k, PRIVSEP_BLOB_DOMAIN_CERTIFICATE, e->domain, &text->certificate);

	e->loaded = true;
	if (r == 0)
		r = load_text(k, PRIVSEP_BLOB_DOMAIN_KEY, e->domain, &text->key);
	if (r == 0)
		take_pair(e, now);
	else if (r != -ENOENT)
		log_warn("the stored certificate for %s can't be read: %s", e->domain,
			 strerror(-r));
	if (r == 0 && !is_good(e))
		log_info("the stored certificate for %s has ended, or is damaged", e->domain);
}

/* --- What our listeners show --- */

static void hide(struct keeper *k)
{
	struct tls_context *tls = certificates_tls(k->services);

	if (tls)
		(void)tls_server_set_challenge(tls, NULL, NULL);
	free(k->shown.text);
	k->shown = (struct shown){0};
}

/* add_digest() - The extension acmeIdentifier (RFC 8737 §3), and a new signature */
static bool add_digest(struct certificate *c, const uint8_t digest[static 32])
{
	ASN1_OBJECT *kind = OBJ_txt2obj(ACME_IDENTIFIER, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	uint8_t der[2 + 32] = {V_ASN1_OCTET_STRING, 32};
	X509_EXTENSION *extension = NULL;
	bool good;

	memcpy(der + 2, digest, 32);
	if (kind && value && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1)
		extension = X509_EXTENSION_create_by_OBJ(NULL, kind, 1, value);
	good = extension && X509_add_ext(c->x509, extension, -1) == 1 &&
	       X509_sign(c->x509, c->key, EVP_sha256()) > 0;
	X509_EXTENSION_free(extension);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(kind);
	return good;
}

static int show_by_tls(struct keeper *k, const struct acme_proof *proof, struct error *err)
{
	struct tls_context *tls = certificates_tls(k->services);
	struct certificate c = {0};
	int r;

	if (!tls || !serve_config_uses_tls(&k->services->serving->config))
		return error_set(err, -EINVAL,
				 "tls-alpn-01 needs port 443 to be served as HTTPS: add it to the "
				 "serve configuration");
	r = certificate_make_server(&c, &c, proof->name, 1, &proof->name, 1, err);
	if (r == 0 && !add_digest(&c, proof->digest))
		r = error_set(err, -ENOMEM, "the certificate of the proof can't be made");
	if (r == 0 && tls_server_set_challenge(tls, proof->name, &c) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	certificate_clear(&c);
	return r;
}

static int show(struct keeper *k, const struct acme_proof *proof, struct error *err)
{
	hide(k);
	snprintf(k->shown.name, sizeof(k->shown.name), "%s", proof->name);
	if (proof->challenge == ACME_HTTP_01) {
		const struct serve_config *config = &k->services->serving->config;
		const struct serve_port *port = serve_config_port(config, 80);

		if ((!port || port->protocol != SERVE_HTTP) &&
		    !serve_config_funnels(config, proof->name, 443))
			return error_set(
				err, -EINVAL,
				"http-01 needs port 80 to be served as HTTP, or Funnel at port "
				"443: add one of them to the serve configuration");
		snprintf(k->shown.token, sizeof(k->shown.token), "%s", proof->token);
		k->shown.text = strdup(proof->text);
		return k->shown.text ? 0 : error_set(err, -ENOMEM, "out of memory");
	}
	return show_by_tls(k, proof, err);
}

/* --- Orders --- */

/* spread() - A random moment between two */
static time_t spread(time_t from, time_t to)
{
	uint32_t random = 0;

	(void)RAND_bytes((unsigned char *)&random, sizeof(random));
	return from + (time_t)((double)(to - from) * ((double)random / UINT32_MAX));
}

static void on_window(struct entry *e, const struct order_result *result, nanoseconds now)
{
	nanoseconds pause = result->retry_after ?: ASK_AGAIN;

	e->ask_at = now + (pause < ASK_AGAIN_MIN ? ASK_AGAIN_MIN : pause);
	if (result->err) {
		log_debug("%s: when to renew is not known: %s", e->domain, result->err->text);
		return;
	}
	/* The moment stays, unless the authority wants another time. */
	if (result->window_start > 0 &&
	    (e->renew_at < result->window_start || e->renew_at > result->window_end))
		e->renew_at = spread(result->window_start, result->window_end);
}

static void on_failed(struct entry *e, const struct order_result *result, nanoseconds now)
{
	const int code = result->err->code;
	const bool refused = code == -EACCES || code == -EBUSY || code == -EPROTO;
	const size_t most = ARRAY_SIZE(pauses) - 1;
	const size_t which = e->failures < most ? e->failures : most;
	nanoseconds pause = refused ? pauses[which] : short_pauses[which];

	e->failures++;
	if (result->retry_after > pause)
		pause = result->retry_after;
	pause += pause / 10 * spread(0, 100) / 100;
	e->order_at = now + pause;
	if (strcmp(e->problem, result->err->text) != 0)
		log_warn("no %scertificate for %s yet: %s. The next try is in %lld s",
			 is_good(e) ? "new " : "", e->domain, result->err->text,
			 (long long)(pause / NSEC_PER_SEC));
	snprintf(e->problem, sizeof(e->problem), "%s", result->err->text);
	e->demand = 0;
	cert_asks_settled(e->keeper->services, e->domain, e->problem);
	cert_asks_state(e->keeper->services);
}

static void on_certificate(struct entry *e, const struct order_result *result, nanoseconds now)
{
	char digest[CERTIFICATE_DIGEST_MAX] = "";

	certificate_clear(&e->pair);
	e->pair.text.certificate = strdup(result->chain);
	e->pair.text.key = TAKE_PTR(e->keeper->next_key);
	e->failures = 0;
	e->order_at = 0;
	e->problem[0] = 0;
	take_pair(e, now);
	(void)certificate_digest(&e->pair, digest);
	log_info("a new certificate for %s (SHA-256 %.16s…)", e->domain, digest);
	save(e);
	e->demand = 0;
	certificates_update(e->keeper->services);
	cert_asks_settled(e->keeper->services, e->domain, NULL);
}

static void on_order(void *user, const struct order_result *result)
{
	struct keeper *k = user;
	struct entry *e = k->ordering;
	nanoseconds now = clock_boottime();

	k->order = NULL;
	k->ordering = NULL;
	if (k->asks)
		on_window(e, result, now);
	else if (result->chain)
		on_certificate(e, result, now);
	else
		on_failed(e, result, now);
	secret_string_free(TAKE_PTR(k->next_key));
	loop_timer_soon(k->timer);
}

/* begin() - An order for @e, or with @asks the question when to renew */
static void begin(struct entry *e, bool asks)
{
	struct keeper *k = e->keeper;
	const struct privsep_acme *policy = &k->services->serving->acme;
	char id[ACME_ID_MAX];
	struct order_setup setup = {
		.domain = e->domain,
		.dns_key = &k->dns_key,
		.external_secret = k->external.length > 0 ? &k->external : NULL,
		.show = show,
		.hide = hide,
	};
	struct error err = {0};
	EVP_PKEY *key = NULL;

	if (e->pair.x509 && acme_certificate_id(e->pair.text.certificate, id) == 0)
		setup.certificate_id = id;
	if (asks && !setup.certificate_id) {
		e->ask_at = DEADLINE_NEVER;
		return;
	}
	if (!asks) {
		if (policy->challenge == SERVE_CHALLENGE_DNS && k->dns_problem[0])
			error_set(&err, -EINVAL, "%s", k->dns_problem);
		else if (need_account(k, &err) == 0) {
			k->next_key = jose_key_new();
			key = k->next_key ? jose_key_parse(k->next_key) : NULL;
			if (!key)
				error_set(&err, -ENOMEM, "out of memory");
		}
		setup.account_key = k->account;
		setup.certificate_key = key;
	}
	k->asks = asks;
	k->ordering = e;
	if (!asks)
		e->source = PRIVSEP_CERT_ACME;
	if (err.code == 0)
		k->order = order_begin(k->services, &setup, on_order, k, &err);
	EVP_PKEY_free(key);
	if (!k->order) {
		const struct order_result failed = {.err = &err};

		on_order(k, &failed);
	}
}

static void on_signed(void *user, const struct control_asked_answer *answer)
{
	struct keeper *k = user;
	struct error err = {0};
	EVP_PKEY *key = jose_key_parse(k->next_key);
	struct order_result result = {
		.retry_after = (nanoseconds)answer->retry_after * NSEC_PER_SEC,
	};
	char *chain = NULL;

	k->signing = NULL;
	if (result.retry_after > ACME_RETRY_MAX)
		result.retry_after = ACME_RETRY_MAX;
	if (answer->result < 0)
		error_set(&err, answer->result, "the control server signs no certificate: %s",
			  *answer->text ? answer->text : strerror(-answer->result));
	else
		chain = acme_take_chain(answer->chain, answer->chain_length, key,
					k->ordering->domain, &err);
	result.chain = chain;
	result.err = chain ? NULL : &err;
	EVP_PKEY_free(key);
	k->ordering->source = PRIVSEP_CERT_CONTROL;
	on_order(k, &result);
	free(chain);
}

/* begin_signing() - Have control sign a certificate */
static void begin_signing(struct entry *e)
{
	struct keeper *k = e->keeper;
	_cleanup_free_ char *request = NULL;
	struct error err = {0};
	EVP_PKEY *key;

	k->next_key = jose_key_new();
	key = k->next_key ? jose_key_parse(k->next_key) : NULL;
	request = key ? acme_request_pem(key, e->domain) : NULL;
	EVP_PKEY_free(key);
	k->asks = false;
	k->ordering = e;
	if (request)
		k->signing = control_ask_sign(k->services->control_asks, request, strlen(request),
					      on_signed, k);
	if (!k->signing) {
		const struct order_result failed = {.err = &err};

		error_set(&err, -ENOMEM, "out of memory");
		on_order(k, &failed);
	}
}

/* next_of() - Do what is due for @e; when to look again */
static nanoseconds next_of(struct entry *e, nanoseconds now)
{
	struct keeper *k = e->keeper;
	nanoseconds next = now + LOOK_AGAIN;
	time_t wall = time(NULL);
	time_t renew_at;
	bool good;

	if (!e->loaded)
		load(e, now);
	if (e->unsaved && !e->saving && now >= e->save_at)
		save(e);
	else if (e->unsaved)
		next = deadline_min(next, e->save_at);
	good = is_good(e) && (!e->demand || certificate_end(&e->pair) >= e->demand);
	if (k->ordering || !(is_on(k) || by_control(k, e->domain)) || !(e->wanted || e->demand))
		return next;
	renew_at = e->renew_at > e->rest ? e->renew_at : e->rest;
	if (good && wall < renew_at) {
		if (now >= e->ask_at && is_on(k)) {
			begin(e, true);
			return next;
		}
		return deadline_min(is_on(k) ? deadline_min(next, e->ask_at) : next,
				    now + (renew_at - wall) * NSEC_PER_SEC);
	}
	if (now < e->order_at)
		return deadline_min(next, e->order_at);
	log_info("ordering a certificate for %s at %s", e->domain,
		 is_on(k) ? k->services->serving->acme.directory : "the control server");
	if (is_on(k))
		begin(e, false);
	else
		begin_signing(e);
	return next;
}

static void look(struct keeper *k)
{
	nanoseconds now = clock_boottime(), next = now + LOOK_AGAIN;
	struct entry *e;

	LIST_FOREACH(e, &k->entries, entry)
		next = deadline_min(next, next_of(e, now));
	loop_timer_at(k->timer, next);
}

static void on_timer(void *user)
{
	look(user);
}

/* --- For the rest of the room --- */

static struct entry *find(struct keeper *k, const char *domain)
{
	struct entry *e;

	LIST_FOREACH(e, &k->entries, entry)
		if (strcmp(e->domain, domain) == 0)
			return e;
	return NULL;
}

/* need() - The entry of @domain, made if there is room; or NULL */
static struct entry *need(struct keeper *k, const char *domain)
{
	struct entry *e = find(k, domain);
	unsigned int count = 0;

	if (e || !privsep_domain_fits(domain))
		return e;
	LIST_FOREACH(e, &k->entries, entry)
		count++;
	e = count < NAMES_MAX ? calloc(1, sizeof(*e)) : NULL;
	if (!e)
		return NULL;
	e->keeper = k;
	strcpy(e->domain, domain);
	LIST_INSERT_HEAD(&k->entries, e, entry);
	return e;
}

enum privsep_cert_source keeper_source(struct keeper *k, const char *domain)
{
	const struct entry *e = find(k, domain);

	/* A stored one is of the way that there is now. */
	return e && e->source          ? e->source
	       : by_control(k, domain) ? PRIVSEP_CERT_CONTROL
				       : PRIVSEP_CERT_ACME;
}

/* is_granted() - Whether control publishes challenges for @domain */
static bool is_granted(const struct serving *serving, const char *domain)
{
	const size_t length = strlen(domain);

	for (const char *at = serving->cert_domains; at && *at;) {
		size_t here = strcspn(at, " ");

		if (here == length && strncmp(at, domain, length) == 0)
			return true;
		at += here + strspn(at + here, " ");
	}
	return false;
}

bool keeper_can(const struct keeper *k, const char *domain)
{
	const struct serving *serving = k->services->serving;

	if (!is_on(k))
		return by_control(k, domain);
	if (serving->acme.challenge == SERVE_CHALLENGE_SET_DNS)
		return is_granted(serving, domain);
	return true;
}

int keeper_demand(struct keeper *k, const char *domain, time_t end, struct error *err)
{
	struct entry *e = need(k, domain);
	nanoseconds now = clock_boottime();

	if (!e)
		return error_set(err, -EAGAIN, "too many certificates");
	if (is_good(e) && end - time(NULL) > certificate_end(&e->pair) - begin_of(&e->pair))
		return error_set(err, -ERANGE,
				 "the authority's certificates are not valid for that long: ask "
				 "for less (--min-validity)");
	if (is_good(e) && time(NULL) < e->rest)
		return error_set(err, -EAGAIN,
				 "the certificate for %s is new, and ends before that time: ask "
				 "for less (--min-validity)",
				 domain);
	if (now < e->order_at)
		return error_set(err, -EAGAIN, "%s. The next try is in %lld s", e->problem,
				 (long long)(e->order_at - now) / NSEC_PER_SEC + 1);
	if (e->demand < end)
		e->demand = end;
	loop_timer_soon(k->timer);
	return 0;
}

const char *keeper_problem(struct keeper *k, const char *domain)
{
	const struct entry *e = find(k, domain);

	return e ? e->problem : "";
}

void keeper_update(struct keeper *k, bool wanted)
{
	const struct serving *serving = k->services->serving;
	struct entry *e;

	LIST_FOREACH(e, &k->entries, entry)
		e->wanted = false;
	if (wanted && serving->domain && keeper_can(k, serving->domain)) {
		e = need(k, serving->domain);
		if (e)
			e->wanted = true;
	}
	loop_timer_soon(k->timer);
}

const struct certificate *keeper_pair(struct keeper *k, const char *domain)
{
	struct entry *e = need(k, domain);

	if (!e)
		return NULL;
	if (!e->loaded)
		load(e, clock_boottime());
	return is_good(e) ? &e->pair : NULL;
}

void keeper_file(struct keeper *k, enum privsep_file_name name, int fd)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(SECRET_MAX);
	_cleanup_close_ int owned = fd;
	struct error err = {0};
	struct entry *e;
	int r = fd < 0 ? fd : file_read(fd, SECRET_MAX, &text);

	if (name == PRIVSEP_FILE_ACME_EAB) {
		buffer_free_secret(&k->external);
		if (r == 0 &&
		    base64_decode((char *)buffer_head(&text), text.length, &k->external) < 0)
			log_error("TS_ACME_EAB_HMAC is not base64url: the external account is "
				  "not used");
	} else {
		explicit_bzero(&k->dns_key, sizeof(k->dns_key));
		k->dns_problem[0] = 0;
		if (r == 0)
			r = dns_key_parse((char *)buffer_head(&text), text.length, &k->dns_key,
					  &err);
		if (r < 0)
			snprintf(k->dns_problem, sizeof(k->dns_problem), "%s",
				 err.code ? err.text : "the file of TS_ACME_DNS_KEY can't be read");
	}
	if (r < 0 && r != -ENOENT)
		log_error("%s", name == PRIVSEP_FILE_DNS_KEY
					? k->dns_problem
					: "the file of TS_ACME_EAB_HMAC can't be read");
	/* What failed by the secret before may go well now. */
	LIST_FOREACH(e, &k->entries, entry)
		e->order_at = 0;
	loop_timer_soon(k->timer);
}

const char *keeper_http_proof(const struct keeper *k, const char *path)
{
	const size_t length = strlen(HTTP_PROOFS);

	return k->shown.text && strncmp(path, HTTP_PROOFS, length) == 0 &&
			       strcmp(path + length, k->shown.token) == 0
		       ? k->shown.text
		       : NULL;
}

int keeper_new(struct services *services, struct keeper **ret, struct error *err)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k || loop_timer_create(services->loop, on_timer, k, &k->timer) < 0) {
		free(k);
		return error_set(err, -ENOMEM, "out of memory");
	}
	k->services = services;
	k->external = BUFFER_INIT(SECRET_MAX);
	LIST_INIT(&k->entries);
	*ret = k;
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	order_cancel(k->order);
	dns_calls_end(k->services);
	control_ask_cancel(k->signing);
	hide(k);
	while (!LIST_EMPTY(&k->entries)) {
		struct entry *e = LIST_FIRST(&k->entries);

		LIST_REMOVE(e, entry);
		certificate_clear(&e->pair);
		e->keeper = NULL;
		if (e->saving == 0)
			free(e);
	}
	loop_timer_free(k->timer);
	EVP_PKEY_free(k->account);
	secret_string_free(k->next_key);
	buffer_free_secret(&k->external);
	explicit_bzero(&k->dns_key, sizeof(k->dns_key));
	free(k);
}
