/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/certs/acme.c - one certificate from an authority that speaks ACME
 *
 * DOC: Theory of operation
 *
 * An order passes these steps, each of them one request, but for the waits:
 *
 *	directory, account, order, {authorization, [proof, response, wait…]}…, finalize, wait…, download
 *
 * An authorization that is valid already, from an order shortly before, needs no proof. A signed
 * request takes the nonce of the last answer; without one, a request for a nonce comes first. An
 * answer of "badNonce" repeats the request. Every other refusal ends the order; the caller begins
 * another one later.
 */
#include "services/certs/acme.h"

#include "base/cleanup.h"
#include "base/printable.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define AUTHORIZATIONS_MAX 8u
#define NONCE_TRIES        10u
#define POLL_FIRST         (NSEC_PER_SEC)
#define POLL_MAX           (15 * NSEC_PER_SEC)
#define REQUEST_MAX        ((size_t)64 * 1024)
#define DETAIL_MAX         300
#define ERROR_PREFIX       "urn:ietf:params:acme:error:"

enum step {
	DIRECTORY,
	ACCOUNT,
	ORDER,
	AUTHORIZATION, /* what it asks for */
	PROOF,         /* the caller publishes it */
	RESPOND,       /* "look now" */
	VERIFYING,     /* until the authority has looked */
	FINALIZE,
	ISSUING, /* until there is a certificate */
	DOWNLOAD,
	RENEWAL, /* the question when to renew */
	DONE,
	FAILED,
};

struct acme {
	struct acme_setup setup; /* its texts are owned */
	struct url origin;
	enum step step;
	bool waits, fetches_nonce, noted;
	unsigned int polls, tries;
	nanoseconds at; /* @waits: until then */
	nanoseconds ends;
	char nonce[ACME_TOKEN_MAX];

	/* Addresses, from the authority */
	char *new_nonce, *new_account, *new_order, *renewal;
	char *account, *order, *finalize, *download;
	char *authorizations[AUTHORIZATIONS_MAX];
	size_t authorization, authorization_count;
	char *response; /* of the challenge */

	char token[ACME_TOKEN_MAX];
	char proof_text[ACME_TOKEN_MAX + JOSE_DIGEST_TEXT];
	char proof_name[ACME_NAME_MAX];
	uint8_t digest[32];

	struct buffer request; /* that is under way */
	struct url request_url;
	char *chain;
	time_t window_start, window_end;
	struct error error;
	nanoseconds retry_after;
};

static void fail(struct acme *a, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void fail(struct acme *a, int code, const char *format, ...)
{
	va_list arguments;

	a->error.code = code;
	va_start(arguments, format);
	vsnprintf(a->error.text, sizeof(a->error.text), format, arguments);
	va_end(arguments);
	a->step = FAILED;
	a->waits = false;
}

/* --- What the authority says --- */

static const char *text_member(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

/* take_address() - A URL of the authority's, into @ret; false: it has failed */
static bool take_address(struct acme *a, const char *text, char **ret, const char *what)
{
	struct error why = {0};
	struct url url;
	char *copy;

	if (url_parse(text, &url, &why) < 0 || !url_same_origin(&url, &a->origin) ||
	    url.tls != a->origin.tls) {
		char shown[128];

		printable(shown, sizeof(shown), text, strlen(text));
		fail(a, -EPROTO,
		     *text ? "the authority's %s is at %s, which is another host than its "
			     "directory's"
			   : "the authority names no %s%s",
		     what, shown);
		return false;
	}
	copy = strdup(text);
	if (!copy) {
		fail(a, -ENOMEM, "out of memory");
		return false;
	}
	free(*ret);
	*ret = copy;
	return true;
}

/* parse() - The object in an answer; NULL: it has failed */
static json_t *parse(struct acme *a, const struct acme_answer *answer, const char *what)
{
	json_t *object = json_loadb(answer->body ?: "", answer->length, 0, NULL);

	if (json_is_object(object))
		return object;
	json_decref(object);
	fail(a, -EPROTO, "the authority's %s is no JSON object (HTTP %d)", what, answer->status);
	return NULL;
}

/* describe() - A problem document (RFC 7807), for people */
static void describe(const json_t *problem, char out[static DETAIL_MAX])
{
	const json_t *first = json_array_get(json_object_get(problem, "subproblems"), 0);
	const char *type = text_member(problem, "type"), *detail = text_member(problem, "detail");
	char text[DETAIL_MAX];

	if (strncmp(type, ERROR_PREFIX, strlen(ERROR_PREFIX)) == 0)
		type += strlen(ERROR_PREFIX);
	if (first && *text_member(first, "detail"))
		detail = text_member(first, "detail");
	snprintf(text, sizeof(text), "%s%s%s%s", *detail ? detail : "no reason given",
		 *type ? " (" : "", type, *type ? ")" : "");
	printable(out, DETAIL_MAX, text, strlen(text));
}

static bool is_problem(const json_t *problem, const char *type)
{
	const char *is = text_member(problem, "type");

	return strncmp(is, ERROR_PREFIX, strlen(ERROR_PREFIX)) == 0 &&
	       strcmp(is + strlen(ERROR_PREFIX), type) == 0;
}

static const char *remedy(const json_t *problem)
{
	if (is_problem(problem, "externalAccountRequired"))
		return ": set TS_ACME_EAB_KID and TS_ACME_EAB_HMAC to what the authority gave you";
	if (is_problem(problem, "invalidContact") || is_problem(problem, "unsupportedContact"))
		return ": correct TS_ACME_EMAIL";
	return "";
}

static void wait_a_little(struct acme *a, const struct acme_answer *answer, nanoseconds now,
			  time_t wall)
{
	nanoseconds pause = acme_after(answer->retry_after, wall);

	if (pause == 0)
		pause = POLL_FIRST << (a->polls < 4 ? a->polls : 4);
	a->polls++;
	a->at = now + (pause < POLL_MAX ? pause : POLL_MAX);
	a->waits = true;
}

/* refused() - An answer that is no success */
static void refused(struct acme *a, const struct acme_answer *answer, nanoseconds now, time_t wall)
{
	json_t *problem = json_loadb(answer->body ?: "", answer->length, 0, NULL);
	char detail[DETAIL_MAX] = "";

	if (is_problem(problem, "badNonce") && a->tries++ < NONCE_TRIES) {
		/* with the nonce of this answer */
	} else if (a->step == FINALIZE && is_problem(problem, "orderNotReady")) {
		wait_a_little(a, answer, now, wall);
	} else if (a->step == ORDER && a->setup.certificate_id && answer->status < 500 &&
		   answer->status != 429) {
		/* The authority does not know the old one, or it was replaced before. */
		free((char *)(uintptr_t)a->setup.certificate_id);
		a->setup.certificate_id = NULL;
	} else {
		if (json_is_object(problem))
			describe(problem, detail);
		a->retry_after = acme_after(answer->retry_after, wall);
		fail(a, answer->status == 429 || answer->status == 503 ? -EBUSY : -EACCES,
		     "the authority %s answered HTTP %d%s%s%s", a->origin.host, answer->status,
		     *detail ? ": " : "", detail, remedy(problem));
	}
	json_decref(problem);
}

/* --- Steps --- */

static void on_directory(struct acme *a, const struct acme_answer *answer)
{
	json_t *directory = parse(a, answer, "directory");
	bool asks = !a->setup.account_key;
	const char *renewal = text_member(directory, "renewalInfo");

	if (!directory)
		return;
	if (asks && !*renewal)
		a->step = DONE;
	else if (asks && take_address(a, renewal, &a->renewal, "renewal information"))
		a->step = RENEWAL;
	else if (!asks &&
		 take_address(a, text_member(directory, "newNonce"), &a->new_nonce,
			      "place for nonces") &&
		 take_address(a, text_member(directory, "newAccount"), &a->new_account,
			      "place for accounts") &&
		 take_address(a, text_member(directory, "newOrder"), &a->new_order,
			      "place for orders"))
		a->step = ACCOUNT;
	if (!asks && !*renewal) { /* it knows nothing of replacements */
		free((char *)(uintptr_t)a->setup.certificate_id);
		a->setup.certificate_id = NULL;
	}
	json_decref(directory);
}

static void on_account(struct acme *a, const struct acme_answer *answer)
{
	if (take_address(a, answer->location ?: "", &a->account, "account"))
		a->step = ORDER;
}

static void on_order(struct acme *a, const struct acme_answer *answer)
{
	json_t *order = parse(a, answer, "order"), *list, *item;
	size_t i;

	if (!order)
		return;
	list = json_object_get(order, "authorizations");
	if (json_array_size(list) > AUTHORIZATIONS_MAX)
		fail(a, -EPROTO, "the authority wants more than %u proofs for one name",
		     AUTHORIZATIONS_MAX);
	else if (take_address(a, answer->location ?: "", &a->order, "order") &&
		 take_address(a, text_member(order, "finalize"), &a->finalize,
			      "place to finish the order"))
		a->step = json_array_size(list) ? AUTHORIZATION : FINALIZE;
	json_array_foreach(list, i, item) {
		if (a->step != AUTHORIZATION ||
		    !take_address(a, json_string_value(item) ?: "", &a->authorizations[i],
				  "authorization"))
			break;
		a->authorization_count = i + 1;
	}
	json_decref(order);
}

static const char *challenge_name(enum acme_challenge challenge)
{
	static const char *const names[] = {
		[ACME_DNS_01] = "dns-01",
		[ACME_TLS_ALPN_01] = "tls-alpn-01",
		[ACME_HTTP_01] = "http-01",
	};

	return names[challenge];
}

static const json_t *find_challenge(const struct acme *a, const json_t *authorization)
{
	json_t *list = json_object_get(authorization, "challenges"), *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (strcmp(text_member(item, "type"), challenge_name(a->setup.challenge)) == 0)
			return item;
	return NULL;
}

static bool is_token(const char *text)
{
	return *text && strlen(text) < ACME_TOKEN_MAX &&
	       text[strspn(text,
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")] ==
		       0;
}

/* make_proof() - From the token and the account's key; 0 or negative errno */
static int make_proof(struct acme *a)
{
	const char *domain = a->setup.domain;
	char thumbprint[JOSE_DIGEST_TEXT], text[sizeof(a->proof_text)];
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(sizeof(a->digest) + 1);
	int r = jose_thumbprint(a->setup.account_key, thumbprint);

	snprintf(a->proof_name, sizeof(a->proof_name), "%s",
		 strncmp(domain, "*.", 2) == 0 ? domain + 2 : domain);
	snprintf(text, sizeof(text), "%s.%s", a->token, thumbprint);
	snprintf(a->proof_text, sizeof(a->proof_text), "%s", text);
	if (r < 0 || a->setup.challenge == ACME_HTTP_01)
		return r;
	r = base64url_digest(text, strlen(text), a->proof_text);
	if (r == 0)
		r = base64_decode(a->proof_text, strlen(a->proof_text), &bytes);
	if (r == 0)
		memcpy(a->digest, buffer_head(&bytes), sizeof(a->digest));
	return r;
}

static void next_authorization(struct acme *a)
{
	a->polls = 0;
	a->step = ++a->authorization < a->authorization_count ? AUTHORIZATION : FINALIZE;
}

static void not_proven(struct acme *a, const json_t *authorization)
{
	const json_t *challenge = find_challenge(a, authorization);
	const json_t *problem = json_object_get(challenge, "error");
	const char *status = text_member(authorization, "status");
	char detail[DETAIL_MAX] = "";

	if (problem)
		describe(problem, detail);
	else
		printable(detail, sizeof(detail), status, strlen(status));
	fail(a, -EACCES, "the authority %s could not verify %s by %s: %s", a->origin.host,
	     a->setup.domain, challenge_name(a->setup.challenge), detail);
}

static void on_authorization(struct acme *a, const struct acme_answer *answer, nanoseconds now,
			     time_t wall)
{
	json_t *authorization = parse(a, answer, "authorization");
	const char *status = text_member(authorization, "status");
	const json_t *challenge = find_challenge(a, authorization);

	if (!authorization)
		return;
	if (strcmp(status, "valid") == 0) {
		next_authorization(a);
	} else if (strcmp(status, "pending") != 0) {
		not_proven(a, authorization);
	} else if (a->step == VERIFYING) {
		if (strcmp(text_member(challenge, "status"), "invalid") == 0)
			not_proven(a, authorization);
		else
			wait_a_little(a, answer, now, wall);
	} else if (!challenge) {
		fail(a, -EOPNOTSUPP,
		     "the authority %s does not offer %s for %s: choose another "
		     "one by TS_ACME_CHALLENGE",
		     a->origin.host, challenge_name(a->setup.challenge), a->setup.domain);
	} else if (!is_token(text_member(challenge, "token"))) {
		fail(a, -EPROTO, "the authority sent an invalid token");
	} else if (take_address(a, text_member(challenge, "url"), &a->response, "challenge")) {
		snprintf(a->token, sizeof(a->token), "%s", text_member(challenge, "token"));
		if (make_proof(a) < 0)
			fail(a, -ENOMEM, "the proof can't be made");
		else
			a->step = PROOF;
	}
	json_decref(authorization);
}

/* on_progress() - Of the order, after it was to be finished */
static void on_progress(struct acme *a, const struct acme_answer *answer, nanoseconds now,
			time_t wall)
{
	json_t *order = parse(a, answer, "order");
	const char *status = text_member(order, "status");
	char detail[DETAIL_MAX];

	if (!order)
		return;
	if (strcmp(status, "valid") == 0) {
		if (take_address(a, text_member(order, "certificate"), &a->download, "certificate"))
			a->step = DOWNLOAD;
	} else if (strcmp(status, "invalid") == 0) {
		describe(json_object_get(order, "error"), detail);
		fail(a, -EACCES, "the authority %s made no certificate: %s", a->origin.host,
		     detail);
	} else {
		a->step = ISSUING;
		wait_a_little(a, answer, now, wall);
	}
	json_decref(order);
}

static void on_download(struct acme *a, const struct acme_answer *answer)
{
	struct error why = {0};

	a->chain = acme_take_chain(answer->body ?: "", answer->length, a->setup.certificate_key,
				   a->setup.domain, &why);
	if (a->chain)
		a->step = DONE;
	else
		fail(a, why.code, "%s", why.text);
}

static void on_renewal(struct acme *a, const struct acme_answer *answer, time_t wall)
{
	json_t *info = parse(a, answer, "renewal information");
	const json_t *window = json_object_get(info, "suggestedWindow");

	if (!info)
		return;
	a->window_start = acme_time(text_member(window, "start"));
	a->window_end = acme_time(text_member(window, "end"));
	json_decref(info);
	a->retry_after = acme_after(answer->retry_after, wall);
	if (a->window_start <= 0 || a->window_end <= a->window_start)
		fail(a, -EPROTO, "the authority's renewal information has no usable times");
	else
		a->step = DONE;
}

/* --- The machine --- */

void acme_answered(struct acme *a, const struct acme_answer *answer, nanoseconds now, time_t wall)
{
	if (acme_wants(a) != ACME_SENDS)
		return;
	a->nonce[0] = 0;
	if (answer->nonce && is_token(answer->nonce))
		snprintf(a->nonce, sizeof(a->nonce), "%s", answer->nonce);
	if (answer->status < 200 || answer->status > 299) {
		refused(a, answer, now, wall);
		return;
	}
	if (a->fetches_nonce) {
		if (!a->nonce[0])
			fail(a, -EPROTO, "the authority %s sent no nonce", a->origin.host);
		return;
	}
	a->tries = 0;
	switch (a->step) {
	case DIRECTORY:
		on_directory(a, answer);
		break;
	case ACCOUNT:
		on_account(a, answer);
		break;
	case ORDER:
		on_order(a, answer);
		break;
	case AUTHORIZATION:
	case VERIFYING:
		on_authorization(a, answer, now, wall);
		break;
	case RESPOND:
		a->step = VERIFYING;
		wait_a_little(a, answer, now, wall);
		break;
	case FINALIZE:
		a->polls = 0;
		on_progress(a, answer, now, wall);
		break;
	case ISSUING:
		on_progress(a, answer, now, wall);
		break;
	case DOWNLOAD:
		on_download(a, answer);
		break;
	case RENEWAL:
		on_renewal(a, answer, wall);
		break;
	case PROOF:
	case DONE:
	case FAILED:
		break;
	}
}

/* account_payload() - newAccount also finds the account that the key has already */
static json_t *account_payload(struct acme *a)
{
	const struct acme_setup *s = &a->setup;
	json_t *payload = json_pack("{s:b}", "termsOfServiceAgreed", 1);

	if (s->email)
		json_object_set_new(payload, "contact", json_pack("[s+]", "mailto:", s->email));
	if (s->key_id && s->key_secret) {
		_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(REQUEST_MAX);

		if (jose_bind(s->account_key, s->key_id, s->key_secret, s->key_secret_length,
			      a->new_account, &text) == 0)
			json_object_set_new(
				payload, "externalAccountBinding",
				json_loadb((char *)buffer_head(&text), text.length, 0, NULL));
	}
	return payload;
}

static json_t *order_payload(const struct acme *a)
{
	return json_pack("{s:[{s:s, s:s}], s:s*}", "identifiers", "type", "dns", "value",
			 a->setup.domain, "replaces", a->setup.certificate_id);
}

static json_t *finalize_payload(struct acme *a)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(REQUEST_MAX);

	return acme_request_text(a->setup.certificate_key, a->setup.domain, &text) < 0
		       ? NULL
		       : json_pack("{s:s%}", "csr", (char *)buffer_head(&text), text.length);
}

/* address_of() - Where the step's request goes, and what it says; NULL: an empty payload */
static const char *address_of(struct acme *a, json_t **ret_payload)
{
	switch (a->step) {
	case ACCOUNT:
		*ret_payload = account_payload(a);
		return a->new_account;
	case ORDER:
		*ret_payload = order_payload(a);
		return a->new_order;
	case RESPOND:
		*ret_payload = json_object();
		return a->response;
	case FINALIZE:
		*ret_payload = finalize_payload(a);
		return a->finalize;
	case AUTHORIZATION:
	case VERIFYING:
		return a->authorizations[a->authorization];
	case ISSUING:
		return a->order;
	default:
		return a->download;
	}
}

/* sign_request() - 0 or negative errno */
static int sign_request(struct acme *a, const char **ret_url)
{
	json_t *payload = NULL;
	const char *url = address_of(a, &payload);
	const struct jose_head head = {
		.url = url,
		.nonce = a->nonce,
		.kid = a->step == ACCOUNT ? NULL : a->account,
	};
	bool has_payload =
		a->step == ACCOUNT || a->step == ORDER || a->step == RESPOND || a->step == FINALIZE;
	_cleanup_free_ char *text = json_dumps(payload, JSON_COMPACT);

	json_decref(payload);
	*ret_url = url;
	if (has_payload && !text)
		return -ENOMEM;
	return jose_sign(a->setup.account_key, &head, has_payload ? text : "", &a->request);
}

int acme_request(struct acme *a, struct acme_request *ret)
{
	_cleanup_free_ char *renewal = NULL;
	const char *url = NULL;
	int r = 0;

	buffer_consume(&a->request, a->request.length);
	a->fetches_nonce = false;
	*ret = (struct acme_request){.method = "GET"};
	if (a->step == DIRECTORY) {
		url = a->setup.directory;
	} else if (a->step == RENEWAL) {
		if (asprintf(&renewal, "%s/%s", a->renewal, a->setup.certificate_id) < 0)
			r = -ENOMEM;
		url = renewal;
	} else if (!a->nonce[0]) {
		a->fetches_nonce = true;
		ret->method = "HEAD";
		url = a->new_nonce;
	} else {
		ret->method = "POST";
		ret->accept = a->step == DOWNLOAD ? ACME_CERTIFICATE : NULL;
		r = sign_request(a, &url);
		a->nonce[0] = 0; /* good for one request */
	}
	if (r == 0)
		r = url_parse(url, &a->request_url, NULL);
	if (r < 0) {
		fail(a, r, "a request to the authority can't be made: %s", strerror(-r));
		return r;
	}
	ret->target = a->request_url.path;
	ret->body = (const char *)buffer_head(&a->request);
	ret->length = a->request.length;
	return 0;
}

void acme_lost(struct acme *a, const struct error *err)
{
	fail(a, err->code, "%s", err->text);
}

void acme_noted(struct acme *a)
{
	a->noted = true;
}

void acme_proof(struct acme *a, struct acme_proof *ret)
{
	*ret = (struct acme_proof){
		.challenge = a->setup.challenge,
		.name = a->proof_name,
		.token = a->token,
		.text = a->proof_text,
		.digest = a->digest,
	};
}

void acme_presented(struct acme *a, nanoseconds now, const struct error *err)
{
	if (a->step != PROOF)
		return;
	(void)now;
	if (err)
		fail(a, err->code, "%s", err->text);
	else
		a->step = RESPOND;
}

enum acme_wants acme_wants(const struct acme *a)
{
	if (a->step == DONE)
		return ACME_DONE;
	if (a->step == FAILED)
		return ACME_FAILED;
	if (a->waits)
		return ACME_WAITS;
	if (a->step == ACCOUNT && !a->noted)
		return ACME_BEGINS;
	return a->step == PROOF ? ACME_PRESENTS : ACME_SENDS;
}

nanoseconds acme_deadline(const struct acme *a)
{
	return a->waits ? deadline_min(a->at, a->ends) : a->ends;
}

void acme_wake(struct acme *a, nanoseconds now)
{
	if (a->step == DONE || a->step == FAILED)
		return;
	if (now >= a->ends)
		fail(a, -ETIMEDOUT, "the authority %s did not finish the order in time",
		     a->origin.host);
	else if (a->waits && now >= a->at)
		a->waits = false;
}

const struct url *acme_origin(const struct acme *a)
{
	return &a->origin;
}

const char *acme_chain(const struct acme *a)
{
	return a->chain;
}

bool acme_window(const struct acme *a, time_t *ret_start, time_t *ret_end)
{
	*ret_start = a->window_start;
	*ret_end = a->window_end;
	return a->window_start > 0;
}

const struct error *acme_error(const struct acme *a)
{
	return &a->error;
}

nanoseconds acme_retry_after(const struct acme *a)
{
	return a->retry_after;
}

/* copy() - false without memory; NULL stays NULL */
static bool copy(const char **text)
{
	*text = *text ? strdup(*text) : NULL;
	return *text != NULL;
}

int acme_new(const struct acme_setup *setup, nanoseconds now, struct acme **ret, struct error *err)
{
	struct acme *a = calloc(1, sizeof(*a));
	struct acme_setup *s = a ? &a->setup : NULL;
	void *secret;
	bool copied;

	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	s->challenge = setup->challenge;
	s->directory = setup->directory;
	s->domain = setup->domain;
	s->email = setup->email;
	s->key_id = setup->key_id;
	s->certificate_id = setup->certificate_id;
	a->request = BUFFER_INIT(REQUEST_MAX);
	a->ends = now + ACME_ORDER_TIME;
	/* All at once: after a failure no text of the caller's is left in it. */
	copied = copy(&s->directory);
	copied = copy(&s->domain) && copied;
	copied = (copy(&s->email) || !setup->email) && copied;
	copied = (copy(&s->key_id) || !setup->key_id) && copied;
	copied = (copy(&s->certificate_id) || !setup->certificate_id) && copied;
	if (!copied) {
		acme_free(a);
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (setup->key_secret_length > 0) {
		secret = malloc(setup->key_secret_length);
		if (!secret) {
			acme_free(a);
			return error_set(err, -ENOMEM, "out of memory");
		}
		memcpy(secret, setup->key_secret, setup->key_secret_length);
		s->key_secret = secret;
		s->key_secret_length = setup->key_secret_length;
	}
	if (setup->account_key && EVP_PKEY_up_ref(setup->account_key) == 1)
		s->account_key = setup->account_key;
	if (setup->certificate_key && EVP_PKEY_up_ref(setup->certificate_key) == 1)
		s->certificate_key = setup->certificate_key;
	if (url_parse(s->directory, &a->origin, err) < 0 || !a->origin.tls ||
	    strlen(s->domain) >= ACME_NAME_MAX) {
		acme_free(a);
		return err && err->code ? error_wrap(err, "the ACME directory")
					: error_set(err, -EINVAL,
						    "the ACME directory must be an https:// URL");
	}
	*ret = a;
	return 0;
}

void acme_free(struct acme *a)
{
	char **texts[] = {&a->new_nonce, &a->new_account, &a->new_order, &a->renewal,  &a->account,
			  &a->order,     &a->finalize,    &a->download,  &a->response, &a->chain};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(*texts[i]);
	for (size_t i = 0; i < AUTHORIZATIONS_MAX; i++)
		free(a->authorizations[i]);
	free((char *)(uintptr_t)a->setup.directory);
	free((char *)(uintptr_t)a->setup.domain);
	free((char *)(uintptr_t)a->setup.email);
	free((char *)(uintptr_t)a->setup.key_id);
	free((char *)(uintptr_t)a->setup.certificate_id);
	if (a->setup.key_secret) {
		explicit_bzero((void *)(uintptr_t)a->setup.key_secret, a->setup.key_secret_length);
		free((void *)(uintptr_t)a->setup.key_secret);
	}
	EVP_PKEY_free(a->setup.account_key);
	EVP_PKEY_free(a->setup.certificate_key);
	buffer_free(&a->request);
	free(a);
}
