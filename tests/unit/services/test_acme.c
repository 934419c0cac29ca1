/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/services/test_acme.c - an ACME order step by step, in virtual time */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "services/certs/acme.h"
#include "transport/certificate.h"

#include <jansson.h>
#include <openssl/ec.h>

#define S       NSEC_PER_SEC
#define WALL    1796100000
#define BASE    "https://ca.example"
#define DOMAIN  "app.tail.example.com"
#define PROBLEM "\"type\":\"urn:ietf:params:acme:error:"

static const char directory[] =
	"{\"newNonce\":\"" BASE "/nonce\",\"newAccount\":\"" BASE "/account\",\"newOrder\":\"" BASE
	"/order\",\"renewalInfo\":\"" BASE "/renewal\"}";
static const char order[] = "{\"status\":\"pending\",\"authorizations\":[\"" BASE
			    "/authz/1\"],\"finalize\":\"" BASE "/finalize/1\"}";
static const char pending[] =
	"{\"status\":\"pending\",\"challenges\":[{\"type\":\"dns-01\",\"status\":\"pending\","
	"\"url\":\"" BASE "/challenge/1\",\"token\":\"dG9rZW4\"},{\"type\":\"http-01\","
	"\"url\":\"" BASE "/challenge/2\",\"token\":\"dG9rZW4\"}]}";
static const char proven[] = "{\"status\":\"valid\"}";
static const char issued[] = "{\"status\":\"valid\",\"certificate\":\"" BASE "/certificate/1\"}";

struct fixture {
	EVP_PKEY *account, *key;
	struct acme *acme;
	nanoseconds now;
	unsigned int nonces;
	char *last; /* payload of the last signed request, as JSON */
	char nonce[64];
};

static EVP_PKEY *new_key(void)
{
	_cleanup_free_ char *text = jose_key_new();

	assert_non_null(text);
	assert_non_null(strstr(text, "BEGIN EC PRIVATE KEY")); /* the official form */
	return jose_key_parse(text);
}

static struct acme_setup setup_of(const struct fixture *f)
{
	return (struct acme_setup){
		.directory = BASE "/directory",
		.domain = DOMAIN,
		.account_key = f->account,
		.certificate_key = f->key,
	};
}

static void begin(struct fixture *f, const struct acme_setup *setup)
{
	struct error err = {0};

	if (f->acme)
		acme_free(f->acme);
	f->acme = NULL;
	assert_int_equal(acme_new(setup, f->now, &f->acme, &err), 0);
}

/* decode() - A member of a JWS as text */
static char *decode(const json_t *jws, const char *member)
{
	const char *text = json_string_value(json_object_get(jws, member));
	struct buffer bytes = BUFFER_INIT(65536);
	char *copy;

	assert_non_null(text);
	assert_int_equal(base64_decode(text, strlen(text), &bytes), 0);
	copy = strndup(bytes.length ? (char *)buffer_head(&bytes) : "", bytes.length);
	buffer_free(&bytes);
	return copy;
}

/* check_signature() - By the account's key, over what the JWS says */
static void check_signature(const struct fixture *f, const json_t *jws)
{
	const char *head = json_string_value(json_object_get(jws, "protected"));
	const char *payload = json_string_value(json_object_get(jws, "payload"));
	const char *signature = json_string_value(json_object_get(jws, "signature"));
	struct buffer raw = BUFFER_INIT(64);
	_cleanup_free_ char *input = NULL;
	ECDSA_SIG *pair = ECDSA_SIG_new();
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char *der = NULL;
	int length;

	assert_int_equal(base64_decode(signature, strlen(signature), &raw), 0);
	assert_int_equal(raw.length, 64);
	assert_int_equal(ECDSA_SIG_set0(pair, BN_bin2bn(raw.data, 32, NULL),
					BN_bin2bn(raw.data + 32, 32, NULL)),
			 1);
	length = i2d_ECDSA_SIG(pair, &der);
	assert_true(asprintf(&input, "%s.%s", head, payload) > 0);
	assert_int_equal(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, f->account), 1);
	assert_int_equal(
		EVP_DigestVerify(context, der, (size_t)length, (uint8_t *)input, strlen(input)), 1);
	OPENSSL_free(der);
	ECDSA_SIG_free(pair);
	EVP_MD_CTX_free(context);
	buffer_free(&raw);
}

/* expect() - The next request; its payload is kept */
static void expect(struct fixture *f, const char *method, const char *target)
{
	struct acme_request q;
	json_t *jws, *head;
	_cleanup_free_ char *text = NULL;

	if (acme_wants(f->acme) == ACME_BEGINS)
		acme_noted(f->acme);
	if (acme_wants(f->acme) != ACME_SENDS)
		fail_msg("%s %s: %s", method, target, acme_error(f->acme)->text);
	assert_int_equal(acme_request(f->acme, &q), 0);
	if (strcmp(q.method, method) != 0 || strcmp(q.target, target) != 0)
		fail_msg("%s %s, not %s %s", q.method, q.target, method, target);
	free(f->last);
	f->last = NULL;
	if (strcmp(method, "POST") != 0)
		return;
	jws = json_loadb(q.body, q.length, 0, NULL);
	check_signature(f, jws);
	text = decode(jws, "protected");
	head = json_loads(text, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(head, "alg")), "ES256");
	assert_string_equal(json_string_value(json_object_get(head, "url")) + strlen(BASE), target);
	assert_string_equal(json_string_value(json_object_get(head, "nonce")), f->nonce);
	assert_true(!json_object_get(head, "kid") == (strcmp(target, "/account") == 0));
	json_decref(head);
	f->last = decode(jws, "payload");
	json_decref(jws);
}

static void reply(struct fixture *f, int status, const char *location, const char *after,
		  const char *body)
{
	const struct acme_answer answer = {
		.status = status,
		.nonce = f->nonce,
		.location = location,
		.retry_after = after,
		.body = body,
		.length = strlen(body),
	};

	snprintf(f->nonce, sizeof(f->nonce), "nonce-%u", f->nonces++);
	acme_answered(f->acme, &answer, f->now, WALL);
}

/* to_order() - Up to the answer to newOrder */
static void to_order(struct fixture *f)
{
	expect(f, "GET", "/directory");
	reply(f, 200, NULL, NULL, directory);
	expect(f, "POST", "/account");
	reply(f, 201, BASE "/account/7", NULL, "{}");
	expect(f, "POST", "/order");
	reply(f, 201, BASE "/order/1", NULL, order);
}

/* chain_for() - A certificate that the authority might send */
static char *chain_for(EVP_PKEY *key, const char *domain, long days)
{
	struct certificate c = {0};
	struct error err = {0};
	char *text;

	EVP_PKEY_up_ref(key);
	c.key = key;
	assert_int_equal(certificate_make_server(&c, &c, domain, days, &domain, 1, &err), 0);
	text = strdup(c.text.certificate);
	certificate_clear(&c);
	return text;
}

static void wait_until_ready(struct fixture *f)
{
	assert_int_equal(acme_wants(f->acme), ACME_WAITS);
	acme_wake(f->acme, f->now);
	assert_int_equal(acme_wants(f->acme), ACME_WAITS);
	f->now = acme_deadline(f->acme);
	acme_wake(f->acme, f->now);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->account = new_key();
	f->key = new_key();
	f->now = 1000 * S;
	strcpy(f->nonce, "first");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	if (f->acme)
		acme_free(f->acme);
	EVP_PKEY_free(f->account);
	EVP_PKEY_free(f->key);
	free(f->last);
	free(f);
	return 0;
}

static void test_an_order(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	_cleanup_free_ char *chain = chain_for(f->key, DOMAIN, 90);
	struct acme_proof proof;
	char thumbprint[JOSE_DIGEST_TEXT], value[JOSE_DIGEST_TEXT], text[128];

	setup.email = "ann@example.com";
	begin(f, &setup);
	to_order(f);
	expect(f, "POST", "/authz/1");
	assert_string_equal(f->last, ""); /* POST-as-GET */
	reply(f, 200, NULL, NULL, pending);
	assert_int_equal(acme_wants(f->acme), ACME_PRESENTS);
	acme_proof(f->acme, &proof);
	assert_string_equal(proof.name, DOMAIN);
	assert_int_equal(jose_thumbprint(f->account, thumbprint), 0);
	snprintf(text, sizeof(text), "dG9rZW4.%s", thumbprint);
	assert_int_equal(base64url_digest(text, strlen(text), value), 0);
	assert_string_equal(proof.text, value);
	acme_presented(f->acme, f->now, NULL);
	expect(f, "POST", "/challenge/1");
	assert_string_equal(f->last, "{}");
	reply(f, 200, NULL, NULL, "{}");
	wait_until_ready(f);
	expect(f, "POST", "/authz/1");
	reply(f, 200, NULL, "3", pending);
	assert_int_equal(acme_deadline(f->acme), f->now + 3 * S);
	wait_until_ready(f);
	expect(f, "POST", "/authz/1");
	reply(f, 200, NULL, NULL, proven);
	expect(f, "POST", "/finalize/1");
	assert_non_null(strstr(f->last, "\"csr\":\"MI"));
	reply(f, 200, NULL, NULL, "{\"status\":\"processing\"}");
	wait_until_ready(f);
	expect(f, "POST", "/order/1");
	reply(f, 200, NULL, NULL, issued);
	expect(f, "POST", "/certificate/1");
	reply(f, 200, NULL, NULL, chain);
	assert_int_equal(acme_wants(f->acme), ACME_DONE);
	assert_string_equal(acme_chain(f->acme), chain);
}

static void test_a_name_that_was_proven_shortly_before(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);

	begin(f, &setup);
	to_order(f);
	expect(f, "POST", "/authz/1");
	reply(f, 200, NULL, NULL, proven);
	expect(f, "POST", "/finalize/1");
}

static void test_the_account(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	json_t *payload, *binding;
	_cleanup_free_ char *head = NULL;

	setup.email = "ann@example.com";
	setup.key_id = "kid-1";
	setup.key_secret = "secret";
	setup.key_secret_length = 6;
	begin(f, &setup);
	expect(f, "GET", "/directory");
	reply(f, 200, NULL, NULL, directory);
	expect(f, "POST", "/account");
	payload = json_loads(f->last, 0, NULL);
	assert_true(json_is_true(json_object_get(payload, "termsOfServiceAgreed")));
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(payload, "contact"), 0)),
		"mailto:ann@example.com");
	binding = json_object_get(payload, "externalAccountBinding");
	head = decode(binding, "protected");
	assert_string_equal(head,
			    "{\"alg\":\"HS256\",\"kid\":\"kid-1\",\"url\":\"" BASE "/account\"}");
	json_decref(payload);
	reply(f, 403, NULL, NULL, "{" PROBLEM "externalAccountRequired\",\"detail\":\"who?\"}");
	assert_int_equal(acme_wants(f->acme), ACME_FAILED);
	assert_non_null(strstr(acme_error(f->acme)->text, "who? (externalAccountRequired)"));
	assert_non_null(strstr(acme_error(f->acme)->text, "TS_ACME_EAB_KID"));
}

static void test_nonces(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	const struct acme_answer no_nonce = {
		.status = 200, .body = directory, .length = strlen(directory)};

	begin(f, &setup);
	expect(f, "GET", "/directory");
	acme_answered(f->acme, &no_nonce, f->now, WALL);
	expect(f, "HEAD", "/nonce");
	reply(f, 200, NULL, NULL, "");
	expect(f, "POST", "/account");
	/* Another one comes with each refusal; after many of them it gives up. */
	for (int i = 0; i < 10; i++) {
		snprintf(f->nonce, sizeof(f->nonce), "again-%d", i);
		acme_answered(f->acme,
			      &(struct acme_answer){.status = 400,
						    .nonce = f->nonce,
						    .body = "{" PROBLEM "badNonce\"}",
						    .length = strlen("{" PROBLEM "badNonce\"}")},
			      f->now, WALL);
		expect(f, "POST", "/account");
	}
	reply(f, 400, NULL, NULL, "{" PROBLEM "badNonce\"}");
	assert_int_equal(acme_wants(f->acme), ACME_FAILED);
}

static void test_refusals(void **state)
{
	static const struct {
		int status;
		const char *after, *body;
		nanoseconds wait;
		const char *text;
	} rows[] = {
		{429, "120", "{" PROBLEM "rateLimited\",\"detail\":\"too many\"}", 120 * S,
		 "too many (rateLimited)"},
		{503, "Tue, 01 Dec 2026 05:00:00 GMT", "", 0, "HTTP 503"},
		{500, "99999999999999999999", "<html>", 24 * 3600 * S, "HTTP 500"},
		{403, "soon", "{\"detail\":\"a\\u001b[31mb\\n\"}", 0, "a\\x1b[31mb"},
		{403, NULL,
		 "{" PROBLEM "rejectedIdentifier\",\"subproblems\":[{\"detail\":\"not yours\"}]}",
		 0, "not yours"},
		{201, NULL, "[]", 0, "no JSON object"},
		{201, NULL, "{\"finalize\":\"" BASE "/f\"}", 0, "names no order"},
	};
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(f, &setup);
		expect(f, "GET", "/directory");
		reply(f, 200, NULL, NULL, directory);
		expect(f, "POST", "/account");
		reply(f, 200, BASE "/account/7", NULL, "{}");
		expect(f, "POST", "/order");
		reply(f, rows[i].status, NULL, rows[i].after, rows[i].body);
		assert_int_equal(acme_wants(f->acme), ACME_FAILED);
		if (!strstr(acme_error(f->acme)->text, rows[i].text))
			fail_msg("%s: %s", rows[i].text, acme_error(f->acme)->text);
		if (rows[i].wait)
			assert_int_equal(acme_retry_after(f->acme), rows[i].wait);
	}
}

/* Connections go only to the directory's host. */
static void test_other_hosts(void **state)
{
	static const char *const orders[] = {
		"{\"authorizations\":[\"https://evil.example/a\"],\"finalize\":\"" BASE "/f\"}",
		"{\"authorizations\":[\"" BASE ":8443/a\"],\"finalize\":\"" BASE "/f\"}",
		"{\"authorizations\":[\"http://ca.example:443/a\"],\"finalize\":\"" BASE "/f\"}",
		"{\"authorizations\":[\"" BASE "/a\"],\"finalize\":\"https://evil.example/f\"}",
		"{\"authorizations\":[7],\"finalize\":\"" BASE "/f\"}",
		"{\"authorizations\":[1,2,3,4,5,6,7,8,9],\"finalize\":\"" BASE "/f\"}",
	};
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		begin(f, &setup);
		expect(f, "GET", "/directory");
		reply(f, 200, NULL, NULL, directory);
		expect(f, "POST", "/account");
		reply(f, 200, BASE "/account/7", NULL, "{}");
		expect(f, "POST", "/order");
		reply(f, 201, BASE "/order/1", NULL, orders[i]);
		assert_int_equal(acme_wants(f->acme), ACME_FAILED);
	}
}

static void test_failed_proofs(void **state)
{
	static const struct {
		const char *authorization, *text;
	} rows[] = {
		{"{\"status\":\"invalid\",\"challenges\":[{\"type\":\"dns-01\",\"error\":{" PROBLEM
		 "dns\",\"detail\":\"NXDOMAIN\"}}]}",
		 "by dns-01: NXDOMAIN (dns)"},
		{"{\"status\":\"expired\"}", "expired"},
		{"{}", "could not verify"},
		{"{\"status\":\"pending\",\"challenges\":[{\"type\":\"other-01\"}]}",
		 "does not offer dns-01"},
		{"{\"status\":\"pending\",\"challenges\":[{\"type\":\"dns-01\",\"token\":\"a/../"
		 "b\"}]}",
		 "invalid token"},
		{"{\"status\":\"pending\",\"challenges\":[{\"type\":\"dns-01\",\"token\":\"a\","
		 "\"url\":\"https://evil.example/\"}]}",
		 "another host"},
	};
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	struct error err = {.code = -EACCES, .text = "the zone is closed"};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(f, &setup);
		to_order(f);
		expect(f, "POST", "/authz/1");
		reply(f, 200, NULL, NULL, rows[i].authorization);
		assert_int_equal(acme_wants(f->acme), ACME_FAILED);
		if (!strstr(acme_error(f->acme)->text, rows[i].text))
			fail_msg("%s: %s", rows[i].text, acme_error(f->acme)->text);
	}
	begin(f, &setup);
	to_order(f);
	expect(f, "POST", "/authz/1");
	reply(f, 200, NULL, NULL, pending);
	acme_presented(f->acme, f->now, &err);
	assert_int_equal(acme_wants(f->acme), ACME_FAILED);
	assert_string_equal(acme_error(f->acme)->text, "the zone is closed");
}

static void test_wrong_certificates(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	EVP_PKEY *other = new_key();
	char *chains[] = {chain_for(other, DOMAIN, 90), chain_for(f->key, "other.example.com", 90),
			  chain_for(f->key, DOMAIN, 0),
			  strdup("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"),
			  strdup("")};
	static const char *const texts[] = {"another key", "is not for app", "correct the clock",
					    "no certificate", "no certificate"};

	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		begin(f, &setup);
		to_order(f);
		expect(f, "POST", "/authz/1");
		reply(f, 200, NULL, NULL, proven);
		expect(f, "POST", "/finalize/1");
		reply(f, 200, NULL, NULL, issued);
		expect(f, "POST", "/certificate/1");
		reply(f, 200, NULL, NULL, chains[i]);
		assert_int_equal(acme_wants(f->acme), ACME_FAILED);
		assert_non_null(strstr(acme_error(f->acme)->text, texts[i]));
		free(chains[i]);
	}
	EVP_PKEY_free(other);
}

/* A label has 63 characters at most, and a name more than a common name may have. */
static void test_a_long_name(void **state)
{
	static const char name[] =
		"a-host-name-of-sixty-three-characters-is-as-long-as-they-can-be.tail.example.com";
	const char *domain = name;
	struct fixture *f = *state;
	_cleanup_free_ char *chain = chain_for(f->key, domain, 90), *csr = NULL, *taken = NULL;
	_cleanup_free_ char *signed_chain = NULL;
	_cleanup_(certificate_clear) struct certificate authority = {0};
	struct error err = {0};

	taken = acme_take_chain(chain, strlen(chain), f->key, domain, &err);
	assert_non_null(taken);
	csr = acme_request_pem(f->key, domain);
	assert_non_null(csr);
	assert_int_equal(certificate_make_authority(&authority, "test", 90, "example.com", &err),
			 0);
	assert_int_equal(certificate_sign_request(&authority, csr, domain, 30, &signed_chain, &err),
			 0);
	free(taken);
	taken = acme_take_chain(signed_chain, strlen(signed_chain), f->key, domain, &err);
	assert_non_null(taken);
}

/* A certificate of 90 days, of a day, and one that could be ordered over and over again. */
static void test_a_rest_after_each_certificate(void **state)
{
	const time_t hour = 3600, begin = 1000000;

	(void)state;
	assert_int_equal(acme_rest(begin, begin + 90 * 24 * hour), begin + 36 * hour);
	assert_int_equal(acme_rest(begin, begin + 24 * hour), begin + 8 * hour);
	assert_int_equal(acme_rest(begin, begin), begin);
}

static void test_no_end(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	nanoseconds began = f->now;

	begin(f, &setup);
	to_order(f);
	expect(f, "POST", "/authz/1");
	reply(f, 200, NULL, NULL, pending);
	acme_presented(f->acme, f->now, NULL);
	expect(f, "POST", "/challenge/1");
	reply(f, 200, NULL, NULL, "{}");
	while (acme_wants(f->acme) != ACME_FAILED) {
		wait_until_ready(f);
		if (acme_wants(f->acme) == ACME_BEGINS)
			acme_noted(f->acme);
		if (acme_wants(f->acme) != ACME_SENDS)
			continue;
		expect(f, "POST", "/authz/1");
		reply(f, 200, NULL, "9999", pending);
	}
	assert_true(f->now - began <= ACME_ORDER_TIME);
	assert_non_null(strstr(acme_error(f->acme)->text, "in time"));
}

static void test_renewal(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);
	time_t start, end;

	setup.account_key = setup.certificate_key = NULL;
	setup.certificate_id = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
	begin(f, &setup);
	expect(f, "GET", "/directory");
	reply(f, 200, NULL, NULL, directory);
	expect(f, "GET", "/renewal/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
	reply(f, 200, NULL, "21600",
	      "{\"suggestedWindow\":{\"start\":\"2026-12-01T04:00:00Z\",\"end\":"
	      "\"2026-12-03T06:00:00.5+02:00\"}}");
	assert_int_equal(acme_wants(f->acme), ACME_DONE);
	assert_true(acme_window(f->acme, &start, &end));
	assert_int_equal(start, 1796097600);
	assert_int_equal(end, 1796270400);
	assert_int_equal(acme_retry_after(f->acme), 21600 * S);
	begin(f, &setup);
	expect(f, "GET", "/directory");
	reply(f, 200, NULL, NULL, "{\"newNonce\":\"\"}"); /* an authority without ARI */
	assert_int_equal(acme_wants(f->acme), ACME_DONE);
	assert_false(acme_window(f->acme, &start, &end));
	begin(f, &setup);
	expect(f, "GET", "/directory");
	reply(f, 200, NULL, NULL, directory);
	expect(f, "GET", "/renewal/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
	reply(f, 200, NULL, NULL, "{\"suggestedWindow\":{\"start\":\"2026-13-01T04:00:00Z\"}}");
	assert_int_equal(acme_wants(f->acme), ACME_FAILED);
}

static void test_a_replacement_that_is_refused(void **state)
{
	struct fixture *f = *state;
	struct acme_setup setup = setup_of(f);

	setup.certificate_id = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
	begin(f, &setup);
	expect(f, "GET", "/directory");
	reply(f, 200, NULL, NULL, directory);
	expect(f, "POST", "/account");
	reply(f, 201, BASE "/account/7", NULL, "{}");
	expect(f, "POST", "/order");
	assert_non_null(strstr(f->last, "\"replaces\""));
	reply(f, 409, NULL, NULL, "{" PROBLEM "alreadyReplaced\"}");
	expect(f, "POST", "/order");
	assert_null(strstr(f->last, "\"replaces\""));
	reply(f, 201, BASE "/order/1", NULL, order);
	expect(f, "POST", "/authz/1");
}

static void test_texts(void **state)
{
	(void)state;
	assert_int_equal(acme_after("0", WALL), 0);
	assert_int_equal(acme_after("7", WALL), 7 * S);
	assert_int_equal(acme_after("-7", WALL), 0);
	assert_int_equal(acme_after("7 seconds", WALL), 0);
	assert_int_equal(acme_after("99999999999999999999999", WALL), ACME_RETRY_MAX);
	assert_int_equal(acme_after("Tue, 01 Dec 2026 04:41:00 GMT", WALL), 60 * S);
	assert_int_equal(acme_after("Tue, 01 Dec 2026 04:39:00 GMT", WALL), 0);
	assert_int_equal(acme_after("Tue, 01 Foo 2026 04:41:00 GMT", WALL), 0);
	assert_int_equal(acme_after(NULL, WALL), 0);
	assert_int_equal(acme_time("2026-12-01T04:40:00Z"), WALL);
	assert_int_equal(acme_time("2026-12-01T05:40:00+01:00"), WALL);
	assert_int_equal(acme_time("2026-12-01 04:40:00Z"), 0);
	assert_int_equal(acme_time("2026-12-01T04:40:00"), 0);
	assert_int_equal(acme_time(""), 0);
}

/* RFC 9773 §4.1 has this certificate's identifier. */
static void test_the_identifier_of_a_certificate(void **state)
{
	static const char pem[] =
		"-----BEGIN CERTIFICATE-----\n"
		"MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt\n"
		"cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS\n"
		"BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu\n"
		"7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf\n"
		"qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B\n"
		"yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb\n"
		"+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK\n"
		"-----END CERTIFICATE-----\n";
	char id[ACME_ID_MAX];

	(void)state;
	assert_int_equal(acme_certificate_id(pem, id), 0);
	assert_string_equal(id, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
	assert_int_equal(acme_certificate_id("", id), -EINVAL);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_an_order),
		WITH(test_a_name_that_was_proven_shortly_before),
		WITH(test_the_account),
		WITH(test_nonces),
		WITH(test_refusals),
		WITH(test_other_hosts),
		WITH(test_failed_proofs),
		WITH(test_wrong_certificates),
		WITH(test_a_long_name),
		cmocka_unit_test(test_a_rest_after_each_certificate),
		WITH(test_no_end),
		WITH(test_renewal),
		WITH(test_a_replacement_that_is_refused),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_the_identifier_of_a_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
