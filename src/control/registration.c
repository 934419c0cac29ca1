/* SPDX-License-Identifier: BSD-3-Clause */
/* control/registration.c - getting a node key known to control (sans-I/O) */
#include "control/registration.h"

#include "base/cleanup.h"
#include "base/printable.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* A server's words in an error: not all of a long page. */
#define SERVER_TEXT_MAX 200

static void forget_auth_key(struct registration *r)
{
	secret_string_free(r->auth_key);
	r->auth_key = NULL;
}

static void forget_url(struct registration *r)
{
	free(r->auth_url);
	r->auth_url = NULL;
	r->following = false;
}

void registration_clear(struct registration *r)
{
	forget_auth_key(r);
	free(r->auth_url);
	tailcfg_register_response_clear(&r->response);
	explicit_bzero(r, sizeof(*r));
}

/* end_logout() - With @r->error */
static void end_logout(struct registration *r)
{
	r->step = REGISTRATION_DONE;
	r->news = REGISTRATION_NEWS_LOGGED_OUT;
}

/* --- Beginning --- */

static void new_candidate(struct registration *r)
{
	/* One that was never registered is not worth remembering as the previous one. */
	if (!secret_key_is_zero(&r->node_key))
		r->previous = r->node_key;
	secret_key_generate(&r->candidate);
	r->fresh = true;
	r->stored = false;
	r->step = REGISTRATION_STORE_KEY;
}

/* Next: send, unless it has to be found out first whether there is an auth key. */
static void ask_or_send(struct registration *r)
{
	bool needed = r->fresh && r->cause != REGISTRATION_INTERACTIVE && !r->asked && !r->auth_key;

	r->step = needed ? REGISTRATION_ASK_AUTH_KEY : REGISTRATION_SEND;
}

void registration_begin(struct registration *r, enum registration_cause cause)
{
	bool first = secret_key_is_zero(&r->node_key), new_key = cause == REGISTRATION_INTERACTIVE;

	registration_stop(r);
	forget_auth_key(r);
	r->cause = cause;
	if (first && !new_key && r->stored) {
		/* It was perhaps sent, and an auth key with it: another pair would need another. */
		ask_or_send(r);
		return;
	}
	r->candidate = r->node_key;
	r->previous = r->old_key;
	r->fresh = false;
	if (new_key || first)
		new_candidate(r);
	else
		r->step = REGISTRATION_SEND;
}

void registration_begin_logout(struct registration *r)
{
	registration_stop(r);
	forget_auth_key(r);
	r->logout = true;
	r->stored = false;
	r->candidate = r->node_key;
	r->previous = r->old_key;
	r->step = REGISTRATION_SEND;
	if (secret_key_is_zero(&r->node_key))
		end_logout(r);
}

void registration_stop(struct registration *r)
{
	forget_url(r);
	r->step = REGISTRATION_IDLE;
	r->news = REGISTRATION_NEWS_NONE;
	r->logout = false;
	r->asked = false;
	r->unknown = false;
	r->going_back = false;
	r->may_hurry = false;
	r->backoff = (struct backoff){0};
	r->slow = (struct backoff){0};
	r->error = (struct error){0};
}

/* --- What it asks for --- */

void registration_told(struct registration *r)
{
	if (r->step == REGISTRATION_STORE_KEY)
		r->step = REGISTRATION_STORING;
	else if (r->step == REGISTRATION_ASK_AUTH_KEY)
		r->step = REGISTRATION_ASKING;
}

static void wait_for(struct registration *r, enum registration_step after, nanoseconds until)
{
	r->step = REGISTRATION_WAIT;
	r->may_hurry = false;
	r->after_wait = after;
	r->wait_until = until;
}

void registration_key_stored(struct registration *r, int error, nanoseconds now, uint32_t random)
{
	if (r->step != REGISTRATION_STORING)
		return;
	if (error < 0) {
		error_set_errno(&r->error, error, "the new node key can't be stored");
		r->news = REGISTRATION_NEWS_TROUBLE;
		wait_for(r, REGISTRATION_STORE_KEY,
			 now + backoff_next(&r->backoff, BACKOFF_FIRST, BACKOFF_MOST, random));
		return;
	}
	r->stored = true;
	ask_or_send(r);
}

void registration_auth_key(struct registration *r, char *auth_key)
{
	forget_auth_key(r);
	r->auth_key = auth_key;
	if (r->step == REGISTRATION_ASKING || r->step == REGISTRATION_ASK_AUTH_KEY) {
		r->asked = true;
		r->step = REGISTRATION_SEND;
	}
}

/*
 * A key that was signed beforehand for Tailnet Lock carries what the server must not
 * see: "KEY--TLsignature-privatekey", both base64 without padding.
 */
static char *without_wrapping(const char *auth_key)
{
	const char *mark = strstr(auth_key, "--TL"), *dash;
	uint8_t bytes[512];

	if (!mark || !(dash = strchr(mark + 4, '-')) ||
	    sodium_base642bin(bytes, sizeof(bytes), mark + 4, (size_t)(dash - mark - 4), NULL, NULL,
			      NULL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0 ||
	    sodium_base642bin(bytes, sizeof(bytes), dash + 1, strlen(dash + 1), NULL, NULL, NULL,
			      sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0)
		mark = auth_key + strlen(auth_key);
	explicit_bzero(bytes, sizeof(bytes));
	return strndup(auth_key, (size_t)(mark - auth_key));
}

int registration_request(struct registration *r, const struct tailcfg_hostinfo *hostinfo,
			 struct buffer *out)
{
	_cleanup_(secret_string_free_at) char *auth_key = NULL;
	struct tailcfg_register_request request = {
		.nl_key = r->nl_key,
		.followup = r->following ? r->auth_url : NULL,
		.hostinfo = hostinfo,
		.ephemeral = r->ephemeral,
		.expiry = r->logout ? TAILCFG_EXPIRY_LOGOUT : JSON_TIME_NONE,
	};
	int result;

	if (r->auth_key && !r->logout && (r->fresh || r->unknown)) {
		auth_key = without_wrapping(r->auth_key);
		if (!auth_key)
			return -ENOMEM;
		request.auth_key = auth_key;
	}
	secret_key_public(&r->candidate, &request.node_key);
	if (!secret_key_is_zero(&r->previous))
		secret_key_public(&r->previous, &request.old_node_key);
	result = tailcfg_register_request_encode(&request, out);
	if (result < 0)
		return result;
	r->auth_key_was_sent = request.auth_key != NULL;
	r->step = REGISTRATION_SENT;
	return 0;
}

/* --- Answers --- */

static void retry(struct registration *r, nanoseconds now, uint32_t random)
{
	wait_for(r, REGISTRATION_SEND,
		 now + backoff_next(&r->backoff, BACKOFF_FIRST, BACKOFF_MOST, random));
	r->may_hurry = true;
}

static void swap_pairs(struct registration *r)
{
	struct secret_key held = r->candidate;

	r->candidate = r->previous;
	r->previous = held;
	secret_key_wipe(&held);
}

/* go_forth() - The pair before isn't known either, or not good any more */
static void go_forth(struct registration *r)
{
	if (!r->going_back)
		return;
	r->going_back = false;
	r->unknown = true;
	swap_pairs(r);
}

/* go_back() - Control doesn't know the stored pair: whether the one before it is to be tried */
static bool go_back(struct registration *r)
{
	if (r->going_back || r->fresh || r->unknown || r->following ||
	    secret_key_is_zero(&r->previous))
		return false;
	r->going_back = true;
	swap_pairs(r);
	r->step = REGISTRATION_SEND;
	return true;
}

/* The server said no. It may be healed from outside, and is tried again, but slowly. */
static void refused(struct registration *r, nanoseconds now, uint32_t random)
{
	forget_url(r);
	go_forth(r);
	if (r->logout) {
		end_logout(r);
		return;
	}
	r->news = REGISTRATION_NEWS_REFUSED;
	wait_for(r,
		 r->cause == REGISTRATION_INTERACTIVE || r->error.code == -EKEYEXPIRED
			 ? REGISTRATION_SEND
			 : REGISTRATION_ASK_AUTH_KEY,
		 now + backoff_next(&r->slow, BACKOFF_SLOW_FIRST, BACKOFF_SLOW_MOST, random));
}

static void answer_url(struct registration *r, char *auth_url, nanoseconds now, uint32_t random)
{
	bool same = r->auth_url && strcmp(r->auth_url, auth_url) == 0;
	bool may_ask = r->cause != REGISTRATION_INTERACTIVE && !r->asked && !r->auth_key;

	if (go_back(r)) {
		free(auth_url);
		return;
	}
	go_forth(r);
	/* Control doesn't know our key: an auth key, if there is one, saves a person's work. */
	if (may_ask || (r->auth_key && !r->auth_key_was_sent)) {
		free(auth_url);
		r->unknown = true;
		r->step = may_ask ? REGISTRATION_ASK_AUTH_KEY : REGISTRATION_SEND;
		return;
	}
	forget_url(r);
	r->auth_url = auth_url;
	r->following = true;
	if (same) {
		retry(r, now, random);
		return;
	}
	r->news = REGISTRATION_NEWS_URL;
	r->step = REGISTRATION_SEND;
}

static void answer_done(struct registration *r)
{
	forget_url(r);
	forget_auth_key(r);
	if (r->logout) {
		r->error = (struct error){0};
		end_logout(r);
		return;
	}
	r->step = REGISTRATION_DONE;
	if (r->going_back)
		secret_key_wipe(&r->previous); /* it was never known */
	r->old_key = r->previous;
	r->node_key = r->candidate;
	r->fresh = false;
	r->stored = false;
	r->going_back = false;
	r->news = REGISTRATION_NEWS_DONE;
}

/* trouble() - No answer that we can use: again later, but a logout ends here, with the error */
static void trouble(struct registration *r, nanoseconds now, uint32_t random)
{
	if (r->logout) {
		end_logout(r);
		return;
	}
	r->news = REGISTRATION_NEWS_TROUBLE;
	retry(r, now, random);
}

/* shown_length() - How much of control's text a message quotes */
static int shown_length(const char *text, size_t length)
{
	return (int)utf8_whole(text, length < SERVER_TEXT_MAX ? length : SERVER_TEXT_MAX);
}

/* answer_expired() - Control knows the key, which is not good any more */
static void answer_expired(struct registration *r, nanoseconds now, uint32_t random)
{
	if (r->fresh) {
		error_set(&r->error, -EKEYREJECTED, "control calls the new node key expired");
		refused(r, now, random);
	} else if (r->going_back) {
		go_forth(r);
		r->step = REGISTRATION_ASK_AUTH_KEY;
	} else if (r->cause == REGISTRATION_UNASKED) {
		error_set(&r->error, -EKEYEXPIRED, "control calls the node key expired");
		refused(r, now, random);
	} else {
		new_candidate(r);
	}
}

static void answer_ok(struct registration *r, const void *body, size_t length, nanoseconds now,
		      uint32_t random)
{
	struct tailcfg_register_response *response = &r->response;

	tailcfg_register_response_clear(response);
	if (tailcfg_register_response_parse(body, length, response, &r->error) < 0) {
		trouble(r, now, random);
	} else if (response->error) {
		error_set(&r->error, -EACCES, "control refused%s: %.*s",
			  r->auth_key_was_sent ? " the auth key" : "",
			  shown_length(response->error, strlen(response->error)), response->error);
		refused(r, now, random);
	} else if (response->node_key_signature) {
		error_set(&r->error, -ENOTSUP,
			  "control asks for a Tailnet Lock signature, which is not supported yet");
		refused(r, now, random);
	} else if (r->logout) {
		answer_done(r);
	} else if (response->node_key_expired) {
		answer_expired(r, now, random);
	} else if (response->auth_url) {
		char *auth_url = (char *)response->auth_url;

		response->auth_url = NULL;
		answer_url(r, auth_url, now, random);
	} else {
		answer_done(r);
	}
}

void registration_answer(struct registration *r, int status, int64_t retry_after, const void *body,
			 size_t length, nanoseconds now, uint32_t random)
{
	int shown = shown_length(body, length);

	if (r->step != REGISTRATION_SENT)
		return;
	if (status == 200) {
		answer_ok(r, body, length, now, random);
		return;
	}
	while (shown > 0 && ((const uint8_t *)body)[shown - 1] <= ' ')
		shown--;
	error_set(&r->error, -EPROTO, "register: HTTP %d%s%.*s", status, shown ? ": " : "", shown,
		  (const char *)body);
	if (r->logout) {
		trouble(r, now, random);
		return;
	}
	r->news = REGISTRATION_NEWS_TROUBLE;
	if (status == 429 || (status == 503 && retry_after >= 0)) {
		wait_for(r, REGISTRATION_SEND, now + retry_after_wait(retry_after, random));
		return;
	}
	/* A followup that has lapsed begins anew. */
	if (r->following && status >= 400 && status < 500)
		forget_url(r);
	retry(r, now, random);
}

void registration_failed(struct registration *r, const struct error *error, nanoseconds now,
			 uint32_t random)
{
	if (r->step != REGISTRATION_SENT)
		return;
	if (r->logout) {
		registration_unreachable(r, error);
		return;
	}
	r->error = *error;
	/* The connection of a person's long wait may break; there is nothing to say about it. */
	if (!r->following)
		r->news = REGISTRATION_NEWS_TROUBLE;
	retry(r, now, random);
}

void registration_unreachable(struct registration *r, const struct error *error)
{
	if (!r->logout || r->step == REGISTRATION_DONE)
		return;
	r->error = *error;
	end_logout(r);
}

bool registration_waits_for_person(const struct registration *r)
{
	return r->following ||
	       (r->step == REGISTRATION_WAIT && r->after_wait == REGISTRATION_ASK_AUTH_KEY);
}

void registration_tick(struct registration *r, nanoseconds now)
{
	if (r->step != REGISTRATION_WAIT || now < r->wait_until)
		return;
	r->step = r->after_wait;
	/* The key that was refused is looked for again: it may have been replaced. */
	if (r->step == REGISTRATION_ASK_AUTH_KEY)
		forget_auth_key(r);
}

void registration_hurry(struct registration *r)
{
	if (r->step == REGISTRATION_WAIT && r->may_hurry)
		r->wait_until = 0;
}

enum registration_news registration_take_news(struct registration *r)
{
	enum registration_news news = r->news;

	r->news = REGISTRATION_NEWS_NONE;
	return news;
}
