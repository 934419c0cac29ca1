/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_certify.c - what control does for this node's certificates
 *
 * DOC: Theory of operation
 *
 * The services process holds the TLS keys and speaks to no control server, so it asks here: for the
 * TXT record of an ACME challenge (control's set-dns), and for a certificate by the authority of
 * `pillion control`. It may be captured, so a challenge passes only for a name that control gave
 * this node; control checks the request again. At most CONTROL_CALLS_MAX are under way, and an
 * answer goes to the process that asked, or nowhere.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "control/control_calls.h"
#include "node/node_internal.h"
#include "privsep/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHALLENGE_LABEL "_acme-challenge."

/* The authority of `pillion control` is a capability of the node. */
#define SIGNS_CAPABILITY "pillion/cap/certificate"

struct node_certify_ask {
	LIST_ENTRY(node_certify_ask) entry;
	int channel; /* to the process that asked */
	uint32_t id;
	struct control_call *call;
};

/* self() - This node as control describes it; NULL: not known yet */
static const struct tailcfg_node *self(const struct node *node)
{
	const struct netmap *map = node_netmap(node);

	return map ? map->self : NULL;
}

char *node_certify_domains(const struct node *node)
{
	const struct netmap *map = node_netmap(node);
	const struct string_list *list = map ? &map->dns_config.cert_domains : NULL;
	struct buffer text = BUFFER_INIT(SERVE_TEXT_MAX);
	char *domains = NULL;

	for (uint32_t i = 0; list && i < list->count; i++)
		if (buffer_printf(&text, "%s%s", i ? " " : "", list->items[i]) < 0)
			break;
	if (text.length > 0)
		domains = strndup((const char *)buffer_head(&text), text.length);
	buffer_free(&text);
	return domains;
}

bool node_certify_signs(const struct node *node)
{
	return self(node) && tailcfg_capability_find(&self(node)->cap_map, SIGNS_CAPABILITY);
}

/* is_own() - Whether @name is the challenge of a name that control gave this node for certificates */
static bool is_own(const struct node *node, const char *name)
{
	const struct netmap *map = node_netmap(node);

	return map && strncmp(name, CHALLENGE_LABEL, strlen(CHALLENGE_LABEL)) == 0 &&
	       string_list_contains(&map->dns_config.cert_domains, name + strlen(CHALLENGE_LABEL));
}

static bool is_base64url(const char *text)
{
	return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				 "-_")] == 0;
}

static int refuse(int channel, uint32_t id, int result, const char *text)
{
	union privsep_message m = {
		.answer = {.header = {PRIVSEP_ANSWER, id}, .result = result},
	};

	snprintf(m.answer.text, sizeof(m.answer.text), "%s", text);
	return privsep_send(channel, PRIVSEP_FROM_ENGINE, &m, NULL, 0);
}

static void on_called(void *user, const struct control_answer *answer)
{
	struct node_certify_ask *ask = user;
	union privsep_message m = {
		.answer = {.header = {PRIVSEP_ANSWER, ask->id},
			   .result = answer->result,
			   .retry_after = answer->retry_after},
	};
	_cleanup_close_ int chain = -1;

	snprintf(m.answer.text, sizeof(m.answer.text), "%s", answer->text);
	if (answer->result == 0 && answer->chain) {
		chain = privsep_memfd_seal(PRIVSEP_ANSWER, answer->chain, answer->chain_length);
		if (chain < 0)
			m.answer.result = chain;
	}
	/* A full channel loses it: the process that asked gives up after a while, and asks again. */
	(void)privsep_send(ask->channel, PRIVSEP_FROM_ENGINE, &m, &chain, chain >= 0 ? 1 : 0);
	LIST_REMOVE(ask, entry);
	free(ask);
}

/* begin() - Pass a question on to control, which answers by on_called() */
static int begin(struct node *node, int channel, const union privsep_message *q, const char *csr)
{
	struct node_certify_ask *ask;
	struct error err = {0};
	int r;

	if (!node->control)
		return refuse(channel, q->header.id, -ENOTCONN, "the node is not logged in");
	ask = calloc(1, sizeof(*ask));
	if (!ask)
		return refuse(channel, q->header.id, -ENOMEM, "out of memory");
	ask->channel = channel;
	ask->id = q->header.id;
	r = csr ? control_client_sign(node->control, csr, on_called, ask, &ask->call, &err)
		: control_client_set_dns(node->control, q->txt.name, q->txt.value, on_called, ask,
					 &ask->call, &err);
	if (r < 0) {
		free(ask);
		return refuse(channel, q->header.id, r, err.text);
	}
	LIST_INSERT_HEAD(&node->certify_asks, ask, entry);
	return 0;
}

static int sign(struct node *node, int channel, const union privsep_message *q, int fd)
{
	_cleanup_(buffer_free) struct buffer csr = BUFFER_INIT(PRIVSEP_CSR_MAX + 1);

	if (privsep_memfd_read(PRIVSEP_SIGN, fd, &csr) < 0 || csr.length == 0 ||
	    memchr(buffer_head(&csr), 0, csr.length) || buffer_append(&csr, "", 1) < 0)
		return -EBADMSG;
	if (!node_certify_signs(node))
		return refuse(channel, q->header.id, -EOPNOTSUPP,
			      "the control server has no authority for certificates");
	return begin(node, channel, q, (const char *)buffer_head(&csr));
}

int node_certify_ask(struct node *node, int channel, const union privsep_message *question, int fd)
{
	if (question->header.type == PRIVSEP_SIGN)
		return sign(node, channel, question, fd);
	if (question->header.type != PRIVSEP_TXT)
		return -EBADMSG;
	if (!is_own(node, question->txt.name) || !is_base64url(question->txt.value))
		return refuse(channel, question->header.id, -EACCES,
			      "the control server publishes no challenge for this name");
	return begin(node, channel, question, NULL);
}

void node_certify_forget(struct node *node)
{
	while (!LIST_EMPTY(&node->certify_asks)) {
		struct node_certify_ask *ask = LIST_FIRST(&node->certify_asks);

		control_call_cancel(ask->call);
		LIST_REMOVE(ask, entry);
		free(ask);
	}
}

void node_certify_disconnect(struct node *node)
{
	while (!LIST_EMPTY(&node->certify_asks)) {
		struct node_certify_ask *ask = LIST_FIRST(&node->certify_asks);

		control_call_cancel(ask->call);
		on_called(ask,
			  &(struct control_answer){.result = -ENOTCONN,
						   .text = "the login server is another one now"});
	}
}
