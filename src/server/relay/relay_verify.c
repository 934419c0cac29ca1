/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_verify.c - ask a URL whether a node may use the relay */
#define LOG_ROOM "relay"
#include "server/relay/relay_verify.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "transport/http_client.h"
#include "wire/json.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#define ANSWER_MAX (4u * 1024)
#define TIMEOUT    (5 * NSEC_PER_SEC)
#define QUIET      (60 * NSEC_PER_SEC) /* between two log lines about the same trouble */

struct relay_question {
	struct relay_verifier *verifier;
	LIST_ENTRY(relay_question) questions;
	struct http_exchange *exchange;
	relay_verdict_fn *told;
	void *user;
};

struct relay_verifier {
	struct url url;
	struct system_dialer system;
	LIST_HEAD(, relay_question) questions;
	size_t asking;
	nanoseconds quiet_until;
};

enum relay_verdict relay_verdict_parse(const void *body, size_t length)
{
	json_t *json = json_parse((struct json_range){.at = body, .length = length}, NULL);
	struct json_reader r = json_reader_of(json);
	bool allow = json_get_bool(&r, "Allow");
	enum relay_verdict verdict = allow ? RELAY_VERDICT_ALLOW : RELAY_VERDICT_DENY;

	if (!json || json_reader_result(&r, NULL, "verdict") < 0)
		verdict = RELAY_VERDICT_NONE;
	json_decref(json);
	return verdict;
}

int relay_verifier_new(uv_loop_t *loop, const char *url, const char *ca_file,
		       struct relay_verifier **ret, struct error *err)
{
	struct relay_verifier *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return error_set(err, -ENOMEM, "out of memory");
	r = url_parse(url, &v->url, err);
	if (r == 0)
		r = system_dialer_open(&v->system, loop, v->url.tls, ca_file, err);
	if (r < 0) {
		error_wrap(err, "verification by %s", url);
		relay_verifier_free(v);
		return r;
	}
	*ret = v;
	return 0;
}

void relay_verifier_free(struct relay_verifier *v)
{
	if (!v)
		return;
	while (!LIST_EMPTY(&v->questions))
		relay_question_cancel(LIST_FIRST(&v->questions));
	system_dialer_close(&v->system);
	explicit_bzero(&v->url, sizeof(v->url));
	free(v);
}

static void question_free(struct relay_question *q)
{
	LIST_REMOVE(q, questions);
	q->verifier->asking--;
	free(q);
}

void relay_question_cancel(struct relay_question *q)
{
	if (!q)
		return;
	http_cancel(q->exchange);
	question_free(q);
}

static void answered(void *user, const struct http_response *response, const struct error *err)
{
	struct relay_question *q = user;
	relay_verdict_fn *told = q->told;
	void *user_of_told = q->user;
	enum relay_verdict verdict = RELAY_VERDICT_NONE;
	nanoseconds now = clock_boottime();

	if (response && !err && response->head->status == 200)
		verdict = relay_verdict_parse(response->body, response->body_length);
	if (verdict == RELAY_VERDICT_NONE && now >= q->verifier->quiet_until) {
		q->verifier->quiet_until = now + QUIET;
		if (err)
			log_warn("the verification server can't be asked whether a node may "
				 "connect: %s",
				 err->text);
		else
			log_warn("the verification server sent no verdict: status=%d",
				 response ? response->head->status : 0);
	}
	question_free(q);
	told(user_of_told, verdict);
}

int relay_verifier_ask(struct relay_verifier *v, const struct public_key *node,
		       const struct address *source, relay_verdict_fn *told, void *user,
		       struct relay_question **ret)
{
	static const struct http1_header headers[] = {{"Content-Type", "application/json"}};
	struct buffer body = BUFFER_INIT(ANSWER_MAX);
	struct json_writer w = json_writer_to(&body);
	char text[ADDRESS_TEXT_MAX];
	struct relay_question *q;
	struct error err;
	int r;

	if (v->asking >= LIMIT_RELAY_VERDICTS)
		return -EBUSY;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	json_begin_object(&w, NULL);
	json_put_key(&w, "NodePublic", node, KEY_NODE);
	json_put_string(&w, "Source", address_format(source, text));
	json_end_object(&w);
	r = json_writer_result(&w);
	if (r == 0)
		r = http_start(&v->system.dialer,
			       &(struct http_request){
				       .to = {.host = v->url.host,
					      .port = v->url.port,
					      .tls = v->url.tls ? &(struct tls_options){0} : NULL,
					      .timeout = TIMEOUT},
				       .method = "POST",
				       .target = v->url.path,
				       .headers = headers,
				       .header_count = ARRAY_SIZE(headers),
				       .body = buffer_head(&body),
				       .body_length = body.length,
				       .body_limit = ANSWER_MAX,
			       },
			       answered, q, &q->exchange, &err);
	buffer_free(&body);
	if (r < 0) {
		free(q);
		return r;
	}
	q->verifier = v;
	q->told = told;
	q->user = user;
	LIST_INSERT_HEAD(&v->questions, q, questions);
	v->asking++;
	*ret = q;
	return 0;
}
