/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/order.c - one order, from its first request to the certificate
 *
 * What proves the name is taken back at the end, whatever the end is; nobody waits for that.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "services/certs/certs.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define RECORD_PREFIX "_acme-challenge."
#define DNS_SETTLES   (2 * NSEC_PER_SEC) /* until all servers of the zone have the record */

struct order {
	struct services *services;
	struct acme *acme;
	struct acme_call *call;
	struct dns_call *dns;
	struct control_ask *ask; /* for set-dns */
	struct loop_timer *timer;
	struct serving *serving; /* whose policy it follows */
	struct dns_key dns_key;
	bool settles; /* the record is there */
	bool shown;
	bool begun;
	char record[DNS_NAME_TEXT], value[UINT8_MAX + 1]; /* the record that is to be removed */
	void (*begins)(struct keeper *keeper);
	int (*show)(struct keeper *keeper, const struct acme_proof *proof, struct error *err);
	void (*hide)(struct keeper *keeper);
	order_done *done;
	void *user;
};

static void step(struct order *o);

/* --- The proof --- */

static void on_removed(void *user, const struct error *err)
{
	(void)user;
	if (err)
		log_warn("the TXT record of an ACME challenge stays in the zone: %s", err->text);
}

/* hide() - Take the proof back */
static void hide(struct order *o)
{
	const struct dns_change change = {NULL, o->record, o->value, true};

	if (o->record[0] && o->serving->acme.challenge == SERVE_CHALLENGE_DNS)
		(void)dns_call_begin(o->services, o->serving->acme.zone, &change, &o->dns_key,
				     on_removed, NULL);
	o->record[0] = 0;
	if (o->shown)
		o->hide(o->services->keeper);
	o->shown = false;
}

static void on_added(void *user, const struct error *err)
{
	struct order *o = user;

	o->dns = NULL;
	if (err) {
		o->record[0] = 0;
		acme_presented(o->acme, clock_boottime(), err);
		step(o);
		return;
	}
	o->settles = true;
	loop_timer_at(o->timer, clock_boottime() + DNS_SETTLES);
}

static void on_asked(void *user, const struct control_asked_answer *answer)
{
	struct order *o = user;
	struct error err = {0};

	o->ask = NULL;
	if (answer->result < 0)
		error_set(&err, answer->result,
			  "the control server did not publish the challenge (set-dns): %s",
			  *answer->text ? answer->text : strerror(-answer->result));
	on_added(o, err.code ? &err : NULL);
}

/* add_record() - By the way of the policy; false: without memory */
static bool add_record(struct order *o)
{
	const struct dns_change change = {NULL, o->record, o->value, false};

	if (o->serving->acme.challenge == SERVE_CHALLENGE_SET_DNS) {
		o->ask = control_ask_txt(o->services->control_asks, o->record, o->value, on_asked,
					 o);
		return o->ask;
	}
	o->dns = dns_call_begin(o->services, o->serving->acme.zone, &change, &o->dns_key, on_added,
				o);
	return o->dns;
}

/* present() - Publish the proof */
static void present(struct order *o)
{
	struct acme_proof proof;
	struct error err = {0};

	acme_proof(o->acme, &proof);
	if (proof.challenge == ACME_DNS_01) {
		hide(o);
		snprintf(o->record, sizeof(o->record), RECORD_PREFIX "%s", proof.name);
		snprintf(o->value, sizeof(o->value), "%s", proof.text);
		if (add_record(o))
			return;
		error_set(&err, -ENOMEM, "out of memory");
	} else {
		o->shown = o->show(o->services->keeper, &proof, &err) == 0;
	}
	acme_presented(o->acme, clock_boottime(), err.code ? &err : NULL);
	step(o);
}

/* --- The machine --- */

static void order_free(struct order *o)
{
	hide(o);
	acme_call_cancel(o->call);
	dns_call_cancel(o->dns);
	control_ask_cancel(o->ask);
	loop_timer_free(o->timer);
	if (o->acme)
		acme_free(o->acme);
	serving_release(o->serving);
	explicit_bzero(&o->dns_key, sizeof(o->dns_key));
	free(o);
}

static void finish(struct order *o)
{
	bool failed = acme_wants(o->acme) == ACME_FAILED;
	struct order_result result = {
		.chain = failed ? NULL : acme_chain(o->acme),
		.retry_after = acme_retry_after(o->acme),
		.err = failed ? acme_error(o->acme) : NULL,
		.begun = o->begun,
	};

	(void)acme_window(o->acme, &result.window_start, &result.window_end);
	loop_timer_at(o->timer, DEADLINE_NEVER);
	o->done(o->user, &result);
	order_free(o);
}

static void on_answer(void *user, const struct acme_answer *answer, const struct error *err)
{
	struct order *o = user;

	o->call = NULL;
	if (err)
		acme_lost(o->acme, err);
	else
		acme_answered(o->acme, answer, clock_boottime(), time(NULL));
	step(o);
}

static void send_request(struct order *o)
{
	const struct error lost = {.code = -ENOMEM, .text = "out of memory"};
	struct acme_request request;

	if (acme_request(o->acme, &request) == 0)
		o->call = acme_call_begin(o->services, o->serving, acme_origin(o->acme), &request,
					  on_answer, o);
	if (!o->call) {
		if (acme_wants(o->acme) != ACME_FAILED)
			acme_lost(o->acme, &lost);
		loop_timer_soon(o->timer);
	}
}

/* step() - What the machine wants; the order may be gone then */
static void step(struct order *o)
{
	switch (acme_wants(o->acme)) {
	case ACME_SENDS:
		loop_timer_at(o->timer, acme_deadline(o->acme));
		send_request(o);
		break;
	case ACME_BEGINS:
		loop_timer_at(o->timer, acme_deadline(o->acme));
		o->begins(o->services->keeper);
		break;
	case ACME_PRESENTS:
		present(o);
		break;
	case ACME_WAITS:
		loop_timer_at(o->timer, acme_deadline(o->acme));
		break;
	case ACME_DONE:
	case ACME_FAILED:
		finish(o);
		break;
	}
}

void order_noted(struct order *o)
{
	o->begun = true;
	acme_noted(o->acme);
	loop_timer_soon(o->timer);
}

static void on_timer(void *user)
{
	struct order *o = user;

	if (o->settles) {
		o->settles = false;
		acme_presented(o->acme, clock_boottime(), NULL);
	} else {
		acme_wake(o->acme, clock_boottime());
	}
	if ((o->call && acme_wants(o->acme) == ACME_SENDS) || acme_wants(o->acme) == ACME_BEGINS)
		return;
	step(o);
}

static enum acme_challenge challenge_of(uint32_t challenge)
{
	return challenge == SERVE_CHALLENGE_TLS_ALPN ? ACME_TLS_ALPN_01
	       : challenge == SERVE_CHALLENGE_HTTP   ? ACME_HTTP_01
						     : ACME_DNS_01;
}

struct order *order_begin(struct services *services, const struct order_setup *setup,
			  order_done *done, void *user, struct error *err)
{
	const struct privsep_acme *policy = &services->serving->acme;
	const struct buffer *secret = setup->external_secret;
	const struct acme_setup acme = {
		.directory = policy->directory,
		.domain = setup->domain,
		.email = policy->email,
		.key_id = policy->key_id,
		.key_secret = secret ? secret->data + secret->start : NULL,
		.key_secret_length = secret ? secret->length : 0,
		.account_key = setup->account_key,
		.certificate_key = setup->certificate_key,
		.challenge = challenge_of(policy->challenge),
		.certificate_id = setup->certificate_id,
	};
	struct order *o = calloc(1, sizeof(*o));

	if (!o) {
		error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	o->services = services;
	o->serving = serving_hold(services->serving);
	o->begins = setup->begins;
	o->show = setup->show;
	o->hide = setup->hide;
	o->done = done;
	o->user = user;
	if (setup->dns_key)
		o->dns_key = *setup->dns_key;
	if (acme_new(&acme, clock_boottime(), &o->acme, err) < 0 ||
	    loop_timer_create(services->loop, on_timer, o, &o->timer) < 0) {
		if (err->code == 0)
			error_set(err, -ENOMEM, "out of memory");
		order_free(o);
		return NULL;
	}
	loop_timer_soon(o->timer);
	return o;
}

bool order_follows(const struct order *o, const struct serving *now)
{
	const struct privsep_acme *a = &o->serving->acme, *b = &now->acme;

	return a->challenge == b->challenge && text_equal(a->directory, b->directory) &&
	       text_equal(a->email, b->email) && text_equal(a->key_id, b->key_id) &&
	       text_equal(a->zone, b->zone) && text_equal(a->dns_server, b->dns_server);
}

void order_cancel(struct order *order)
{
	if (order)
		order_free(order);
}
