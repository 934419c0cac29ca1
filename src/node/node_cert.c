/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_cert.c - certificates for local programs, and what is known about the one in use
 *
 * DOC: Theory of operation
 *
 * The services process has the keys. A local program that may change the node (root, the operator)
 * can ask for one: the question goes to that process, which is started for it if nothing is served,
 * and the answer goes to the program. Nothing of it is kept here. A services process that is
 * replaced meanwhile is asked again.
 */
#include "base/cleanup.h"
#include "node/node_internal.h"
#include "privsep/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASKS_MAX     32u
#define PATIENCE     (20 * 60 * 1000) /* an order's time, and a little more; ms */
#define KEEP_AFTER   (5 * 60 * 1000)  /* how long services run after a question; ms */
#define WARN_DAYS    7
#define HOUR         3600
#define DAY          (24 * HOUR)
#define VALIDITY_MAX (400 * DAY)

struct node_cert_ask {
	LIST_ENTRY(node_cert_ask) entry;
	union privsep_message question;
	node_cert_done *done;
	void *user;
};

struct node_certs {
	struct node *node;
	LIST_HEAD(, node_cert_ask) asks;
	unsigned int count;
	uint32_t last_id;
	uv_timer_t timer; /* after the last question */
	uv_timer_t look;  /* whether it ends soon */
};

static void end(struct node_certs *certs, struct node_cert_ask *ask, const char *pem, size_t length,
		const struct error *err)
{
	LIST_REMOVE(ask, entry);
	certs->count--;
	ask->done(ask->user, pem, length, err);
	free(ask);
}

static void end_all(struct node_certs *certs, const char *why)
{
	struct error err = {0};

	error_set(&err, -ETIMEDOUT, "%s", why);
	while (!LIST_EMPTY(&certs->asks))
		end(certs, LIST_FIRST(&certs->asks), NULL, 0, &err);
}

static void on_timer(uv_timer_t *timer)
{
	struct node_certs *certs = timer->data;

	end_all(certs, "no certificate came in time: health says why");
	node_serve_keep(certs->node, false);
}

/* is_ours() - Whether a certificate for @domain may be asked for */
static bool is_ours(const struct node *node, const char *domain)
{
	const struct netmap *map = node_netmap(node);
	const char *own = node_serve_domain(node);

	return (own && strcmp(own, domain) == 0) ||
	       (map && string_list_contains(&map->dns_config.cert_domains, domain));
}

int node_cert(struct node *node, const char *domain, int64_t min_validity, node_cert_done *done,
	      void *user, struct error *err)
{
	struct node_certs *certs = node->certs;
	const nanoseconds seconds = min_validity / NSEC_PER_SEC;
	const char *own = node_serve_domain(node);
	struct node_cert_ask *ask;
	struct privsep_cert *q;

	if (!own)
		return error_set(err, -EAGAIN, "the node has no name in a tailnet yet");
	if (domain && (!is_ours(node, domain) || !privsep_domain_fits(domain)))
		return error_set(err, -EINVAL, "invalid domain \"%.128s\"; must be one of [\"%s\"]",
				 domain, own);
	ask = certs->count < ASKS_MAX ? calloc(1, sizeof(*ask)) : NULL;
	if (!ask)
		return error_set(err, -EBUSY, "too many certificates are asked for at once");
	if (++certs->last_id == 0)
		certs->last_id = 1;
	q = &ask->question.cert;
	q->header = (struct privsep_header){PRIVSEP_CERT, certs->last_id};
	q->kind = domain ? PRIVSEP_CERT_PAIR : PRIVSEP_CERT_AUTHORITY;
	q->min_validity = (uint32_t)(seconds > VALIDITY_MAX ? VALIDITY_MAX
				     : seconds < 0          ? 0
							    : seconds);
	snprintf(q->domain, sizeof(q->domain), "%s", domain ?: "");
	ask->done = done;
	ask->user = user;
	LIST_INSERT_HEAD(&certs->asks, ask, entry);
	certs->count++;
	uv_timer_start(&certs->timer, on_timer, PATIENCE, 0);
	node_serve_keep(node, true);
	(void)node_serve_send(node, &ask->question); /* or when there is a channel */
	return 0;
}

static void on_linked(struct node *node)
{
	struct node_cert_ask *ask;

	LIST_FOREACH(ask, &node->certs->asks, entry)
		(void)node_serve_send(node, &ask->question);
}

/* --- What services say --- */

static void on_answer(struct node_certs *certs, const struct privsep_answer *answer, int fd)
{
	_cleanup_(buffer_free_secret) struct buffer pem = BUFFER_INIT(PRIVSEP_CERT_MAX + 1);
	struct node_cert_ask *ask;
	struct error err = {0};
	int r = answer->result;

	LIST_FOREACH(ask, &certs->asks, entry)
		if (ask->question.header.id == answer->header.id)
			break;
	if (!ask)
		return;
	if (r == 0)
		r = fd >= 0 ? privsep_memfd_read(PRIVSEP_CERT_ANSWER, fd, &pem) : -EBADMSG;
	if (r < 0)
		error_set(&err, r, "%s", *answer->text ? answer->text : strerror(-r));
	end(certs, ask, (const char *)buffer_head(&pem), pem.length, r < 0 ? &err : NULL);
	if (LIST_EMPTY(&certs->asks))
		uv_timer_start(&certs->timer, on_timer, KEEP_AFTER, 0);
}

/* ends_soon() - Whether to warn of the end: not of one that is renewed, however short its life is */
static bool ends_soon(const struct privsep_cert_state *state, int64_t left)
{
	return state->end && left < WARN_DAYS * DAY &&
	       (state->source == PRIVSEP_CERT_FILES ||
		((state->source == PRIVSEP_CERT_ACME || state->source == PRIVSEP_CERT_CONTROL) &&
		 *state->problem));
}

static void describe_left(int64_t left, char *out, size_t size)
{
	if (left <= 0)
		snprintf(out, size, "has ended");
	else if (left < 2 * HOUR)
		snprintf(out, size, "ends in %lld minutes", (long long)left / 60);
	else if (left < 2 * DAY)
		snprintf(out, size, "ends in %lld hours", (long long)left / HOUR);
	else
		snprintf(out, size, "ends in %lld days", (long long)left / DAY);
}

static void check(struct node_certs *certs)
{
	const struct privsep_cert_state *state = &certs->node->cert_state;
	int64_t left = state->end - (int64_t)time(NULL);
	char text[PRIVSEP_TEXT_MAX + 512] = "", ends[64];

	describe_left(left, ends, sizeof(ends));
	if (ends_soon(state, left))
		snprintf(text, sizeof(text), "the certificate for %s %s%s%s%s", state->domain, ends,
			 state->source == PRIVSEP_CERT_FILES
				 ? ": replace the file of TS_CERT_FILE (--cert)"
				 : "",
			 *state->problem ? ", and can't be renewed: " : "", state->problem);
	else if (*state->problem)
		snprintf(text, sizeof(text), "no %scertificate by ACME for %s yet: %s. %s",
			 state->source == PRIVSEP_CERT_ACME ? "new " : "", state->domain,
			 state->problem,
			 state->source == PRIVSEP_CERT_ACME
				 ? "The one before serves"
				 : "The node's own authority serves, which browsers don't trust");
	node_warn(certs->node, NODE_WARN_CERT, *text ? text : NULL);
}

static void on_look(uv_timer_t *timer)
{
	check(timer->data);
}

static int on_received(struct node *node, const union privsep_message *m, int fd)
{
	struct node_certs *certs = node->certs;

	if (m->header.type == PRIVSEP_CERT_ANSWER) {
		on_answer(certs, &m->answer, fd);
		return 0;
	}
	if (m->header.type != PRIVSEP_CERT_STATE)
		return -EBADMSG;
	node->cert_state = m->cert_state;
	uv_timer_start(&certs->look, on_look, (uint64_t)DAY * 1000, (uint64_t)DAY * 1000);
	check(certs);
	return 0;
}

static const struct node_cert_events events = {.receive = on_received, .linked = on_linked};

int node_cert_open(struct node *node)
{
	struct node_certs *certs = calloc(1, sizeof(*certs));

	if (!certs)
		return -ENOMEM;
	certs->node = node;
	LIST_INIT(&certs->asks);
	uv_timer_init(node->loop, &certs->timer);
	certs->timer.data = certs;
	uv_timer_init(node->loop, &certs->look);
	certs->look.data = certs;
	node->certs = certs;
	node->cert_events = &events;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct node_certs *certs = handle->data;

	uv_close((uv_handle_t *)&certs->look, on_closed);
}

void node_cert_close(struct node *node)
{
	struct node_certs *certs = node->certs;

	if (!certs)
		return;
	end_all(certs, "the node ends");
	node->certs = NULL;
	uv_close((uv_handle_t *)&certs->timer, on_timer_closed);
}
