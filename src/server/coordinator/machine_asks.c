/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_asks.c - what nodes ask over TS2021 beside registering and maps
 *
 *	POST /machine/set-dns		a TXT record for ACME, by the operator's DNS hook
 *	GET  /machine/ssh/action/...	may this session over SSH begin?
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ACME_LABEL "_acme-challenge."
#define DNS_PAUSE  (5 * NSEC_PER_SEC) /* between two changes by one node */
#define HOLD_MAX   (300 * NSEC_PER_SEC)

/* is_own_name() - Whether @name is the challenge of @node's own name */
static bool is_own_name(const struct coordinator *c, const struct registry_node *node,
			const char *name)
{
	char own[sizeof(ACME_LABEL) + REGISTRY_NAME_MAX + 260];

	snprintf(own, sizeof(own), ACME_LABEL "%s.%s", node->name, c->tailnet.settings.base_domain);
	return strcmp(own, name) == 0;
}

/* refuse_dns() - What speaks against it: the status of the answer, and the text; 0: nothing */
static int refuse_dns(const struct machine_connection *n, const struct machine_set_dns_request *q,
		      const struct registry_node *node, nanoseconds now, const char **ret)
{
	const struct coordinator *c = n->control;

	*ret = "node not found";
	if (!node || !public_key_equal(&node->machine, &n->machine))
		return 404;
	*ret = "this node's key has expired, or it waits for approval";
	if (!node->authorized || registry_node_is_expired(node, clock_realtime()))
		return 403;
	*ret = "only the TXT record _acme-challenge of the node's own name can be set";
	if (strcmp(q->type, "TXT") != 0 || !is_own_name(c, node, q->name))
		return 403;
	*ret = "the value is no ACME challenge";
	if (!dns_hook_value_is_valid(q->value))
		return 400;
	*ret = "one change in five seconds";
	if (now < node->dns_at)
		return 429;
	return 0;
}

void machine_set_dns(struct machine_connection *n, struct http2_exchange *x)
{
	struct coordinator *c = n->control;
	struct machine_set_dns_request q;
	nanoseconds now = clock_boottime();
	struct registry_node *node;
	struct machine_exchange *e;
	struct error err = {0};
	const char *why;
	int r;

	if (!c->dns_hook) {
		machine_reply_text(x, 501, "this server has no DNS hook");
		return;
	}
	r = strcmp(x->method, "POST") == 0 ? 0 : error_set(&err, -EINVAL, "POST is wanted");
	if (r == 0)
		r = machine_set_dns_request_parse(buffer_head(&x->body), x->body.length, &q, &err);
	if (r < 0) {
		machine_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	node = registry_node_of_key(&c->tailnet.registry, &q.node_key);
	r = refuse_dns(n, &q, node, now, &why);
	if (r) {
		machine_reply_text(x, r, why);
		return;
	}
	e = machine_exchange_new(c, x, EXCHANGE_DNS);
	r = e ? dns_hook_ask(c->dns_hook, q.name, q.value, &e->hook_id) : -ENOMEM;
	if (r < 0) {
		if (e)
			machine_exchange_free(e);
		machine_reply_text(x, 503, "the DNS hook is busy or gone: try again later");
		return;
	}
	node->dns_at = now + DNS_PAUSE;
	log_info("dns node=%lld name=%s", (long long)node->record.id, q.name);
}

void machine_dns_done(void *user, uint32_t id, int result)
{
	struct coordinator *c = user;
	struct machine_exchange *e = c->exchanges[EXCHANGE_DNS];
	struct http2_exchange *x;

	while (e && e->hook_id != id)
		e = e->next;
	if (!e)
		return; /* the node went */
	x = e->x;
	machine_exchange_free(e);
	/* What the program wrote is for the operator's log alone. */
	if (result < 0)
		machine_reply_text(x, 502,
				   result == -ETIMEDOUT ? "the DNS hook took too long"
							: "the DNS hook failed");
	else
		(void)http2_reply(x, 200, "application/json", "{}", 2);
}

/* hold_ssh() - Keep the request until a person decides: REGISTER_HOLD, or -ENOMEM */
static int hold_ssh(struct coordinator *c, struct http2_exchange *x,
		    const struct public_key *machine, const struct machine_ssh_request *q)
{
	struct machine_exchange *e = machine_exchange_new(c, x, EXCHANGE_SSH);

	if (!e)
		return -ENOMEM;
	e->ssh = malloc(sizeof(*e->ssh));
	if (!e->ssh) {
		machine_exchange_free(e);
		return -ENOMEM;
	}
	e->machine = *machine;
	*e->ssh = *q;
	e->until = clock_boottime() + HOLD_MAX;
	return REGISTER_HOLD;
}

/* answer_ssh() - @e is NULL: not held before */
static void answer_ssh(struct coordinator *c, struct http2_exchange *x, struct machine_exchange *e,
		       const struct public_key *machine, const struct machine_ssh_request *q,
		       bool patient)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {.text = "out of memory"};
	int r = tailnet_ssh_action(&c->tailnet, machine, q, patient, tailnet_now(), &body, &err);
	int status;

	if (r == REGISTER_HOLD && !e)
		r = hold_ssh(c, x, machine, q);
	if (r == REGISTER_HOLD)
		return;
	status = r == REGISTER_ANSWER ? 200 : r == REGISTER_REFUSED ? 404 : 503;
	if (status != 200) {
		body.length = 0;
		(void)buffer_append(&body, err.text, strlen(err.text));
	}
	if (e)
		machine_answer_exchange(e, status, &body);
	else if (status == 200)
		machine_answer_later(c, x, &body);
	else
		machine_reply_text(x, status, err.text);
	buffer_free(&body);
}

void machine_ssh_action(struct machine_connection *n, struct http2_exchange *x)
{
	struct machine_ssh_request q;

	if (strcmp(x->method, "GET") != 0)
		machine_reply_text(x, 405, "GET is wanted");
	else if (machine_ssh_request_parse(x->path + strlen(POLICY_SSH_ACTION), &q) < 0)
		machine_reply_text(x, 400, "the path is SRC_ID/to/DST_ID?ssh_user=USER");
	else
		answer_ssh(n->control, x, NULL, &n->machine, &q, true);
}

void machine_ssh_decided(struct coordinator *c)
{
	struct machine_exchange *next;

	for (struct machine_exchange *e = c->exchanges[EXCHANGE_SSH]; e; e = next) {
		next = e->next;
		answer_ssh(c, e->x, e, &e->machine, e->ssh, true);
	}
}

void machine_ssh_tick(struct coordinator *c, nanoseconds now)
{
	struct machine_exchange *next;

	for (struct machine_exchange *e = c->exchanges[EXCHANGE_SSH]; e; e = next) {
		next = e->next;
		if (e->until <= now)
			answer_ssh(c, e->x, e, &e->machine, e->ssh, false);
	}
}
