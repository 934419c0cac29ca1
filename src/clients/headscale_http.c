/* SPDX-License-Identifier: BSD-3-Clause */
/* clients/headscale_http.c - Headscale's API over HTTP, one request at a time */
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/secret.h"
#include "clients/headscale.h"
#include "transport/http_client.h"
#include "wire/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT (15 * NSEC_PER_SEC)

/* Rounds of the loop that closing handles may take. */
#define CLOSING_ROUNDS 16

struct headscale_http {
	uv_loop_t loop;
	struct system_dialer system;
	struct url url;
	char *authorization; /* "Bearer …" */
};

/* The outcome of the request that is under way. */
struct answer {
	const struct url *from;
	bool done;
	int result;
	json_t *json;
	struct error *err;
};

int headscale_http_new(const char *url, const char *api_key, const char *ca_file,
		       struct headscale_http **ret, struct error *err)
{
	struct headscale_http *h = calloc(1, sizeof(*h));
	int r;

	if (!h || uv_loop_init(&h->loop) < 0) {
		free(h);
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = url_parse(url, &h->url, err);
	if (r == 0 && asprintf(&h->authorization, "Bearer %s", api_key) < 0) {
		h->authorization = NULL;
		r = error_set(err, -ENOMEM, "out of memory");
	}
	if (r == 0)
		r = system_dialer_open(&h->system, &h->loop, h->url.tls, ca_file, err);
	if (r < 0) {
		headscale_http_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

void headscale_http_free(struct headscale_http *h)
{
	if (!h)
		return;
	system_dialer_close(&h->system);
	secret_string_free(h->authorization);
	for (int i = 0; i < CLOSING_ROUNDS && uv_loop_alive(&h->loop); i++)
		uv_run(&h->loop, UV_RUN_NOWAIT);
	(void)uv_loop_close(&h->loop);
	free(h);
}

/* judge() - By the status; Headscale gives the reason as {"message"} */
static int judge(const struct http_response *response, struct answer *a)
{
	int status = response->head->status;
	char origin[URL_ORIGIN_MAX];
	const char *message;
	struct url to;
	int r = http_redirect(a->from, response->head, &to, a->err);

	if (r < 0)
		return r;
	if (r > 0)
		return error_set(a->err, -EREMOTEIO,
				 "the server redirects to %s://%s: use that as --url",
				 to.tls ? "https" : "http", url_authority(&to, origin));
	a->json = json_loadb((const char *)response->body, response->body_length, 0, NULL);
	if (status >= 200 && status < 300)
		return a->json ? 0
			       : error_set(a->err, -EREMOTEIO,
					   "Headscale's answer is not valid JSON");
	if (status == 401 || status == 403)
		return error_set(a->err, -EACCES,
				 "Headscale refuses the API key (status %d): make one with "
				 "'headscale apikeys create'",
				 status);
	message = json_string_value(json_object_get(a->json, "message"));
	return error_set(a->err, -EREMOTEIO, "Headscale answers %d: %s", status,
			 message ? message : "no reason given");
}

static void done(void *user, const struct http_response *response, const struct error *err)
{
	struct answer *a = user;

	a->done = true;
	if (response && !err) {
		a->result = judge(response, a);
		return;
	}
	a->result = err ? err->code : -EIO;
	if (err)
		*a->err = *err;
	else
		error_set(a->err, -EIO, "no answer came");
}

static int call(void *user, const char *method, const char *target, const char *body, json_t **ret,
		struct error *err)
{
	struct headscale_http *h = user;
	const struct http1_header headers[] = {{"Authorization", h->authorization},
					       {"Content-Type", "application/json"}};
	struct answer a = {.from = &h->url, .err = err};
	struct http_exchange *exchange;
	int r = http_start(&h->system.dialer,
			   &(struct http_request){
				   .to = {.host = h->url.host,
					  .port = h->url.port,
					  .tls = h->url.tls ? &(struct tls_options){0} : NULL,
					  .timeout = TIMEOUT},
				   .method = method,
				   .target = target,
				   .headers = headers,
				   .header_count = ARRAY_SIZE(headers),
				   .body = body,
				   .body_length = body ? strlen(body) : 0,
				   .body_limit = LIMIT_MAP_FRAME,
			   },
			   done, &a, &exchange, err);

	if (r < 0)
		return r;
	while (!a.done)
		uv_run(&h->loop, UV_RUN_ONCE);
	if (a.result < 0) {
		json_decref(a.json);
		return a.result;
	}
	*ret = a.json;
	return 0;
}

struct headscale_api headscale_http_api(struct headscale_http *http)
{
	return (struct headscale_api){.call = call, .user = http};
}
