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
#include "base/text.h"
#include "privsep/records.h"
#include "services/certs/keeper_internal.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define LOOK_AGAIN    (3600 * NSEC_PER_SEC) /* clocks are corrected, machines sleep */
#define ASK_AGAIN     (6 * 3600 * NSEC_PER_SEC)
#define ASK_AGAIN_MIN (600 * NSEC_PER_SEC)
#define NAMES_MAX     16u
#define SECRET_MAX    ((size_t)4096)

/* After orders that failed; an authority allows five of them an hour for a name. */
static const nanoseconds pauses[] = {60 * NSEC_PER_SEC, 300 * NSEC_PER_SEC, 900 * NSEC_PER_SEC,
				     3600 * NSEC_PER_SEC, 4 * 3600 * NSEC_PER_SEC};

/* While something can't be reached, which costs nobody anything. */
static const nanoseconds short_pauses[] = {5 * NSEC_PER_SEC, 15 * NSEC_PER_SEC, 60 * NSEC_PER_SEC,
					   300 * NSEC_PER_SEC, 900 * NSEC_PER_SEC};
_Static_assert(ARRAY_SIZE(pauses) == ARRAY_SIZE(short_pauses), "one index");

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

static nanoseconds pause_after(const nanoseconds table[static ARRAY_SIZE(pauses)],
			       unsigned int failures)
{
	const size_t most = ARRAY_SIZE(pauses) - 1;
	nanoseconds pause = table[failures < most ? failures : most];

	return pause + pause / 10 * spread(0, 100) / 100;
}

/* on_begins() - From here on the order counts as failed, until it has gone well */
static void on_begins(struct keeper *k)
{
	keeper_note_begin(k, pause_after(pauses, k->ordering->failures));
}

static void on_failed(struct entry *e, const struct order_result *result, nanoseconds now)
{
	const int code = result->err->code;
	const bool busy = result->retry_after > 0 || code == -EBUSY;
	const bool counts = result->begun || busy || code == -EACCES || code == -EPROTO;
	nanoseconds pause = pause_after(counts ? pauses : short_pauses, e->failures);

	e->failures++;
	if (result->retry_after > pause)
		pause = result->retry_after + pause / 10 * spread(0, 100) / 100;
	e->order_at = now + pause;
	e->local = !counts;
	if (strcmp(e->problem, result->err->text) != 0)
		log_warn("no %scertificate for %s yet: %s. The next try is in %lld s",
			 keeper_is_good(e) ? "new " : "", e->domain, result->err->text,
			 (long long)(pause / NSEC_PER_SEC));
	snprintf(e->problem, sizeof(e->problem), "%s", result->err->text);
	if (counts && is_on(e->keeper))
		keeper_note_pause(e, pause, busy);
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
	keeper_forget_pause(e);
	keeper_take_pair(e, now);
	(void)certificate_digest(&e->pair, digest);
	log_info("a new certificate for %s (SHA-256 %.16s…)", e->domain, digest);
	keeper_save(e);
	cert_asks_settled(e->keeper->services, e->domain, NULL);
	e->demand = 0;
	certificates_update(e->keeper->services); /* @e may be gone then */
}

static void on_order(void *user, const struct order_result *result)
{
	struct keeper *k = user;
	struct entry *e = k->ordering;
	nanoseconds now = clock_boottime();

	k->order = NULL;
	k->ordering = NULL;
	k->beginning = NULL;
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
		.begins = on_begins,
		.show = proofs_show,
		.hide = proofs_hide,
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
		else if (proofs_can(k, e->domain, &err) == 0 && keeper_need_account(k, &err) == 0) {
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
		keeper_load(e, now);
	if (e->unsaved && !e->saving && now >= e->save_at)
		keeper_save(e);
	else if (e->unsaved)
		next = deadline_min(next, e->save_at);
	good = keeper_is_good(e) && (!e->demand || certificate_end(&e->pair) >= e->demand);
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

static void drop(struct entry *e)
{
	LIST_REMOVE(e, entry);
	certificate_clear(&e->pair);
	e->keeper = NULL;
	if (e->saving == 0)
		free(e);
}

/* has_room() - For one more name, in place of one that nobody asks for */
static bool has_room(struct keeper *k)
{
	struct entry *e, *found = NULL;
	unsigned int count = 0;

	LIST_FOREACH(e, &k->entries, entry) {
		count++;
		if (!e->wanted && !e->demand && e != k->ordering && (!found || !e->unsaved))
			found = e;
	}
	if (count < NAMES_MAX)
		return true;
	if (found)
		drop(found);
	return found;
}

/* need() - The entry of @domain, made if there is room; or NULL */
static struct entry *need(struct keeper *k, const char *domain)
{
	struct entry *e = find(k, domain);

	if (e || !privsep_domain_fits(domain))
		return e;
	e = has_room(k) ? calloc(1, sizeof(*e)) : NULL;
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
	if (keeper_is_good(e) &&
	    end - time(NULL) > certificate_end(&e->pair) - keeper_begin_of(&e->pair))
		return error_set(err, -ERANGE,
				 "the authority's certificates are not valid for that long: ask "
				 "for less (--min-validity)");
	if (keeper_is_good(e) && time(NULL) < e->rest)
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

/* abandon() - End what is under way; the pause that was noted for it stays */
static void abandon(struct keeper *k)
{
	struct entry *e = k->ordering;
	bool asks = k->asks;

	order_cancel(TAKE_PTR(k->order));
	control_ask_cancel(TAKE_PTR(k->signing));
	k->ordering = NULL;
	k->beginning = NULL;
	secret_string_free(TAKE_PTR(k->next_key));
	if (!asks)
		keeper_take_pause(e, clock_boottime());
}

/* drop_unwanted() - Names that nobody asks for; what is stored of them stays */
static void drop_unwanted(struct keeper *k)
{
	struct entry *e, *next;

	for (e = LIST_FIRST(&k->entries); e; e = next) {
		next = LIST_NEXT(e, entry);
		if (!e->wanted && !e->demand && !e->unsaved && !e->saving && e != k->ordering &&
		    !text_equal(e->domain, k->services->serving->domain))
			drop(e);
	}
}

void keeper_update(struct keeper *k, bool wanted)
{
	const struct serving *serving = k->services->serving;
	struct entry *e;

	LIST_FOREACH(e, &k->entries, entry) {
		e->wanted = false;
		if (e->local) /* it may be well now */
			e->order_at = 0;
	}
	if (wanted && serving->domain && keeper_can(k, serving->domain)) {
		e = need(k, serving->domain);
		if (e)
			e->wanted = true;
	}
	if (k->ordering && ((k->order && !order_follows(k->order, serving)) ||
			    !(k->ordering->wanted || k->ordering->demand)))
		abandon(k);
	drop_unwanted(k);
	loop_timer_soon(k->timer);
}

const struct certificate *keeper_pair(struct keeper *k, const char *domain)
{
	struct entry *e = need(k, domain);

	if (!e)
		return NULL;
	if (!e->loaded)
		keeper_load(e, clock_boottime());
	return keeper_is_good(e) ? &e->pair : NULL;
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
	/* What failed by the secret before may go well now; a pause that the authority wants stays. */
	LIST_FOREACH(e, &k->entries, entry)
		if (e->loaded && e != k->ordering)
			keeper_take_pause(e, clock_boottime());
	loop_timer_soon(k->timer);
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
	proofs_hide(k);
	while (!LIST_EMPTY(&k->entries))
		drop(LIST_FIRST(&k->entries));
	if (k->beginning)
		k->beginning->keeper = NULL;
	pauses_free(k->pauses);
	loop_timer_free(k->timer);
	EVP_PKEY_free(k->account);
	secret_string_free(k->next_key);
	buffer_free_secret(&k->external);
	explicit_bzero(&k->dns_key, sizeof(k->dns_key));
	free(k);
}
