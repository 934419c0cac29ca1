/* SPDX-License-Identifier: BSD-3-Clause */
/* services/certs/cert_asks.c - the engine's questions: a certificate for a local program, the state */
#include "services/certs/keeper.h"

#include "base/cleanup.h"
#include "base/secret.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define ASKS_MAX 64u

struct cert_ask {
	LIST_ENTRY(cert_ask) entry;
	struct privsep_cert question;
};

static void send_answer(struct services *services, const struct privsep_cert *q, int result,
			const char *text, const struct certificate_pair *pair)
{
	_cleanup_(buffer_free_secret) struct buffer pem = BUFFER_INIT(PRIVSEP_CERT_MAX);
	union privsep_message m = {
		.answer = {.header = {PRIVSEP_CERT_ANSWER, q->header.id}, .result = result},
	};
	_cleanup_close_ int fd = -1;

	if (pair && buffer_printf(&pem, "%s%s", pair->key ?: "", pair->certificate) == 0)
		fd = privsep_memfd_seal(PRIVSEP_CERT_ANSWER, buffer_head(&pem), pem.length);
	if (pair && fd < 0)
		m.answer.result = fd;
	snprintf(m.answer.text, sizeof(m.answer.text), "%s", text);
	/* A channel that is full or gone loses it; the engine's patience ends. */
	(void)engine_link_send(services->engine, &m, fd);
}

/* answer() - With what there is; false: a certificate is to be ordered first */
static bool answer(struct services *services, const struct privsep_cert *q, struct error *err)
{
	const time_t end = time(NULL) + (time_t)q->min_validity;
	struct certificate_pair pair = {0};
	int r = q->kind == PRIVSEP_CERT_AUTHORITY
			? certificates_authority(services, &pair, err)
			: certificates_pair(services, q->domain, end, &pair, err);

	if (r == -EINPROGRESS)
		return false;
	send_answer(services, q, r, err->text, r == 0 ? &pair : NULL);
	certificate_pair_clear(&pair);
	return true;
}

static void on_question(struct services *services, const struct privsep_cert *q)
{
	struct cert_ask *ask, *other;
	struct error err = {0};
	unsigned int count = 0;

	if (!services->serving) {
		send_answer(services, q, -EAGAIN, "the node is just starting: try again", NULL);
		return;
	}
	if (answer(services, q, &err))
		return;
	LIST_FOREACH(other, &services->cert_asks, entry)
		count++;
	ask = count < ASKS_MAX ? calloc(1, sizeof(*ask)) : NULL;
	if (ask) {
		ask->question = *q;
		LIST_INSERT_HEAD(&services->cert_asks, ask, entry);
		if (keeper_demand(services->keeper, q->domain, time(NULL) + (time_t)q->min_validity,
				  &err) == 0)
			return;
		LIST_REMOVE(ask, entry);
		free(ask);
	}
	send_answer(services, q, -EAGAIN, ask ? err.text : "too many are asked for", NULL);
}

void cert_asks_settled(struct services *services, const char *domain, const char *problem)
{
	struct cert_ask *ask, *next;

	for (ask = LIST_FIRST(&services->cert_asks); ask; ask = next) {
		struct error err = {0};

		next = LIST_NEXT(ask, entry);
		if (strcmp(ask->question.domain, domain) != 0)
			continue;
		LIST_REMOVE(ask, entry);
		if (problem)
			send_answer(services, &ask->question, -EIO, problem, NULL);
		else if (!answer(services, &ask->question, &err))
			send_answer(services, &ask->question, -ERANGE,
				    "the authority's certificates are not valid for that long",
				    NULL);
		free(ask);
	}
}

void cert_asks_free(struct services *services)
{
	while (!LIST_EMPTY(&services->cert_asks)) {
		struct cert_ask *ask = LIST_FIRST(&services->cert_asks);

		LIST_REMOVE(ask, entry);
		free(ask);
	}
}

/* is_same_state() - By members: without a type before the first one is sent */
static bool is_same_state(const struct privsep_cert_state *a, const struct privsep_cert_state *b)
{
	return a->header.type == b->header.type && a->end == b->end && a->source == b->source &&
	       a->pending == b->pending && strcmp(a->domain, b->domain) == 0 &&
	       strcmp(a->digest, b->digest) == 0 && strcmp(a->authority, b->authority) == 0 &&
	       strcmp(a->problem, b->problem) == 0;
}

void cert_asks_state(struct services *services)
{
	union privsep_message m = {.cert_state = {.header.type = PRIVSEP_CERT_STATE}};

	certificates_state(services, &m.cert_state);
	if (is_same_state(&m.cert_state, &services->cert_state) ||
	    engine_link_send(services->engine, &m, -1) < 0)
		return;
	services->cert_state = m.cert_state;
}

static void on_linked(struct services *services)
{
	cert_asks_free(services); /* the engine asks again */
	services->cert_state = (struct privsep_cert_state){0};
	cert_asks_state(services);
}

const struct cert_events cert_asks_events = {
	.question = on_question,
	.linked = on_linked,
};
