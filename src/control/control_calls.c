/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/control_calls.c - requests to the control server beside registering and maps
 *
 *	POST /machine/set-dns			the TXT record of an ACME challenge
 *	POST /machine/pillion/certificate	a certificate by the authority of `pillion control`
 *	POST /machine/feature/query		what a person has to do for a feature
 */
#include "control/control_calls.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "control/client_internal.h"
#include "wire/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SET_DNS_PATH "/machine/set-dns"
#define SIGN_PATH    "/machine/pillion/certificate"

#define FEATURE_PATH "/machine/feature/query"

/* What the body of a success is. */
enum answer_kind {
	ANSWER_EMPTY,
	ANSWER_CHAIN,
	ANSWER_JSON,
};

/* The server's DNS hook has a minute, and a provider may take that long. */
#define CALL_TIMEOUT (90 * NSEC_PER_SEC)

struct control_call {
	LIST_ENTRY(control_call) entry;
	struct control_client *client;
	struct http2_request *request;
	control_called *called;
	void *user;
	int status;
	int64_t retry_after;
	enum answer_kind kind;
	struct buffer body;
};

static void forget(struct control_call *call)
{
	LIST_REMOVE(call, entry);
	call->client->call_count--;
	buffer_free(&call->body);
	free(call);
}

/* finish() - Forget the call, and tell its result */
static void finish(struct control_call *call, struct control_answer *answer)
{
	control_called *called = call->called;
	void *user = call->user;

	answer->status = call->status;
	if (call->retry_after > 0)
		answer->retry_after =
			call->retry_after < UINT32_MAX ? (uint32_t)call->retry_after : UINT32_MAX;
	LIST_REMOVE(call, entry);
	call->client->call_count--;
	called(user, answer);
	buffer_free(&call->body);
	free(call);
}

static void fail(struct control_call *call, int result, const char *text)
{
	finish(call, &(struct control_answer){.result = result, .text = text});
}

/* result_of() - What the status of a refusal means to the caller */
static int result_of(int status)
{
	switch (status) {
	case 404:
	case 405:
	case 501:
		return -EOPNOTSUPP;
	case 400:
	case 401:
	case 403:
		return -EACCES;
	case 429:
	case 503:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

/* tell_refusal() - The body is a line of text for people */
static void tell_refusal(struct control_call *call)
{
	char text[256];
	size_t length = 0;

	for (size_t i = 0; i < call->body.length && length + 1 < sizeof(text); i++) {
		char c = (char)buffer_head(&call->body)[i];

		if (c == '\n' || c == '\r')
			break;
		text[length++] = c >= ' ' && c <= '~' ? c : '?';
	}
	text[length] = 0;
	if (length == 0)
		snprintf(text, sizeof(text), "HTTP %d", call->status);
	fail(call, result_of(call->status), text);
}

/* tell_chain() - The body is {"Chain":"PEM"} */
static void tell_chain(struct control_call *call)
{
	json_t *json = json_loadb((const char *)buffer_head(&call->body), call->body.length,
				  JSON_REJECT_DUPLICATES, NULL);
	const char *chain = json_string_value(json_object_get(json, "Chain"));

	if (!chain || !*chain)
		fail(call, -EBADMSG, "the control server sent no certificate");
	else
		finish(call, &(struct control_answer){
				     .text = "", .chain = chain, .chain_length = strlen(chain)});
	json_decref(json);
}

/* tell_body() - The body is a JSON object for another program */
static void tell_body(struct control_call *call)
{
	json_t *json = json_loadb((const char *)buffer_head(&call->body), call->body.length,
				  JSON_REJECT_DUPLICATES, NULL);
	_cleanup_free_ char *text =
		json_is_object(json) ? json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

	json_decref(json);
	if (text)
		finish(call, &(struct control_answer){.text = "", .body = text});
	else
		fail(call, -EBADMSG, "the control server sent no JSON object");
}

static void on_response(void *user, int status, int64_t retry_after)
{
	struct control_call *call = user;

	call->status = status;
	call->retry_after = retry_after;
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct control_call *call = user;

	(void)buffer_append(&call->body, bytes, length); /* the request has the same limit */
}

static void on_end(void *user)
{
	struct control_call *call = user;

	call->request = NULL;
	if (call->status != 200)
		tell_refusal(call);
	else if (call->kind == ANSWER_CHAIN)
		tell_chain(call);
	else if (call->kind == ANSWER_JSON)
		tell_body(call);
	else
		finish(call, &(struct control_answer){.text = ""});
}

static void on_failed(void *user, const struct error *err)
{
	struct control_call *call = user;

	call->request = NULL;
	fail(call, err->code, err->text);
}

static const struct http2_events call_events = {
	.response = on_response,
	.data = on_data,
	.end = on_end,
	.failed = on_failed,
};

static int begin(struct control_client *client, const char *path, struct buffer *body,
		 enum answer_kind kind, control_called *called, void *user,
		 struct control_call **ret, struct error *err)
{
	const struct http1_header headers[] = {{"content-type", "application/json"}};
	const struct http2_message message = {
		.method = "POST",
		.path = path,
		.headers = headers,
		.header_count = ARRAY_SIZE(headers),
		.body = buffer_head(body),
		.body_length = body->length,
		.timeout = CALL_TIMEOUT,
		.body_limit = CONTROL_CHAIN_MAX,
	};
	struct control_call *call;
	int r;

	if (!client->http2 || public_key_is_zero(&client->core.node_public))
		return error_set(err, -ENOTCONN, "the control server is not connected");
	if (client->call_count >= CONTROL_CALLS_MAX)
		return error_set(err, -EBUSY, "too many requests to the control server");
	call = calloc(1, sizeof(*call));
	if (!call)
		return error_set(err, -ENOMEM, "out of memory");
	call->client = client;
	call->called = called;
	call->user = user;
	call->kind = kind;
	call->retry_after = -1;
	call->body = BUFFER_INIT(CONTROL_CHAIN_MAX);
	LIST_INSERT_HEAD(&client->calls, call, entry);
	client->call_count++;
	r = http2_send(client->http2, &message, &call_events, call, &call->request, err);
	if (r < 0)
		forget(call);
	else
		*ret = call;
	return r;
}

/* begin_body() - What every such request begins with */
static void begin_body(struct control_client *client, struct json_writer *w)
{
	json_begin_object(w, NULL);
	json_put_int(w, "Version", TAILCFG_CAPABILITY_VERSION);
	json_put_key(w, "NodeKey", &client->core.node_public, KEY_NODE);
}

int control_client_set_dns(struct control_client *client, const char *name, const char *value,
			   control_called *called, void *user, struct control_call **ret,
			   struct error *err)
{
	_cleanup_(buffer_free) struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct json_writer w = json_writer_to(&body);
	int r;

	begin_body(client, &w);
	json_put_string(&w, "Name", name);
	json_put_string(&w, "Type", "TXT");
	json_put_string(&w, "Value", value);
	json_end_object(&w);
	r = json_writer_result(&w);
	return r < 0 ? error_set_errno(err, r, "write the request")
		     : begin(client, SET_DNS_PATH, &body, ANSWER_EMPTY, called, user, ret, err);
}

int control_client_sign(struct control_client *client, const char *csr, control_called *called,
			void *user, struct control_call **ret, struct error *err)
{
	_cleanup_(buffer_free) struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct json_writer w = json_writer_to(&body);
	int r;

	if (strlen(csr) > CONTROL_CSR_MAX)
		return error_set(err, -EINVAL, "the certificate request is too long");
	begin_body(client, &w);
	json_put_string(&w, "CSR", csr);
	json_end_object(&w);
	r = json_writer_result(&w);
	return r < 0 ? error_set_errno(err, r, "write the request")
		     : begin(client, SIGN_PATH, &body, ANSWER_CHAIN, called, user, ret, err);
}

int control_client_query_feature(struct control_client *client, const char *feature,
				 control_called *called, void *user, struct control_call **ret,
				 struct error *err)
{
	_cleanup_(buffer_free) struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct json_writer w = json_writer_to(&body);
	int r;

	begin_body(client, &w);
	json_put_string(&w, "Feature", feature);
	json_end_object(&w);
	r = json_writer_result(&w);
	return r < 0 ? error_set_errno(err, r, "write the request")
		     : begin(client, FEATURE_PATH, &body, ANSWER_JSON, called, user, ret, err);
}

void control_call_cancel(struct control_call *call)
{
	if (!call)
		return;
	http2_cancel(call->request);
	forget(call);
}

void client_calls_end(struct control_client *client, const char *why)
{
	struct control_call *call;

	while ((call = LIST_FIRST(&client->calls)) != NULL) {
		http2_cancel(call->request);
		call->request = NULL;
		if (why)
			fail(call, -ENOTCONN, why);
		else
			forget(call);
	}
}
