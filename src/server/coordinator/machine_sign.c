/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_sign.c - certificates of nodes, by the authority of this server
 *
 *	POST /machine/pillion/certificate	{Version, NodeKey, CSR: PEM} → {Chain: PEM}
 *
 * The authority may sign names below the base domain alone (a name constraint in its certificate),
 * and signs a node's own name alone: nothing but the key is taken from the request. Nodes with the
 * capability pillion/cap/certificate may ask. They renew a certificate long before it ends.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NODE_DAYS  30
#define SIGN_PAUSE (5 * NSEC_PER_SEC) /* between two certificates of one node */

/* refuse_sign() - What speaks against it: the status of the answer, and the text; 0: nothing */
static int refuse_sign(const struct machine_connection *n, const struct registry_node *node,
		       nanoseconds now, const char **ret)
{
	*ret = "node not found";
	if (!node || !public_key_equal(&node->machine, &n->machine))
		return 404;
	*ret = "this node's key has expired, or it waits for approval";
	if (!node->authorized || registry_node_is_expired(node, clock_realtime()))
		return 403;
	*ret = "one certificate in five seconds";
	if (now < node->sign_at)
		return 429;
	return 0;
}

static void answer(struct machine_connection *n, struct http2_exchange *x, const char *chain)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct json_writer w = json_writer_to(&body);
	struct machine_exchange *e;

	json_begin_object(&w, NULL);
	json_put_string(&w, "Chain", chain);
	json_end_object(&w);
	e = json_writer_result(&w) == 0 ? machine_exchange_new(n->control, x, EXCHANGE_ANSWER)
					: NULL;
	if (e)
		machine_answer_exchange(e, 200, &body);
	else
		machine_reply_text(x, 503, "out of memory");
	buffer_free(&body);
}

void machine_sign(struct machine_connection *n, struct http2_exchange *x)
{
	struct coordinator *c = n->control;
	struct machine_sign_request q = {0};
	nanoseconds now = clock_boottime();
	char name[REGISTRY_NAME_MAX + 260];
	_cleanup_free_ char *chain = NULL;
	struct registry_node *node;
	struct error err = {0};
	const char *why;
	int r;

	if (!c->authority) {
		machine_reply_text(x, 501, "this server signs no certificates");
		return;
	}
	r = machine_sign_request_parse(buffer_head(&x->body), x->body.length, &q, &err);
	if (r < 0) {
		machine_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	node = registry_node_of_key(&c->tailnet.registry, &q.node_key);
	r = refuse_sign(n, node, now, &why);
	if (r == 0) {
		snprintf(name, sizeof(name), "%s.%s", node->name, c->tailnet.settings.base_domain);
		if (certificate_sign_request(c->authority, q.csr, name, NODE_DAYS, &chain, &err) <
		    0) {
			r = 400;
			why = err.text;
		}
	}
	free(q.csr);
	if (r) {
		machine_reply_text(x, r, why);
		return;
	}
	node->sign_at = now + SIGN_PAUSE;
	log_info("signed a certificate node=%lld name=%s", (long long)node->record.id, name);
	answer(n, x, chain);
}
