/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_register.c - POST /machine/register, and what the log says of it
 *
 * Theory of operation
 *   The exchange is an ANSWER, or HELD until an operator decides or it has waited for HOLD_MAX.
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/limits.h"
#include "base/log.h"

#include <string.h>

#define HOLD_MAX   (300 * NSEC_PER_SEC)
#define LOGGED_MAX 64 /* bytes of a stranger's text */

static void hold(struct coordinator *c, struct http2_exchange *x, const struct public_key *machine,
		 struct machine_register_request *request)
{
	struct machine_exchange *e = machine_exchange_new(c, x, EXCHANGE_HELD);

	if (!e) {
		machine_reply_text(x, 503, "out of memory");
		return;
	}
	e->machine = *machine;
	e->request = *request;
	*request = (struct machine_register_request){0};
	e->until = clock_boottime() + HOLD_MAX;
}

/* shown_key() - What may be logged of an auth key */
static const char *shown_key(const char *key, char out[static REGISTRY_KEY_PREFIX_SIZE + 1])
{
	if (!key)
		return "none";
	return registry_key_prefix(key, out) ? out : "foreign";
}

/* shown_length() - How much of a stranger's text is logged: whole characters */
static int shown_length(const char *text)
{
	size_t length = strnlen(text, LOGGED_MAX);

	if (length == LOGGED_MAX)
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	return (int)length;
}

/* log_stranger() - Who waits or was refused, as far as strangers may have that logged */
static void log_stranger(const struct machine_connection *n,
			 const struct machine_register_request *q, const struct error *refused)
{
	char from[ADDRESS_TEXT_MAX], key[REGISTRY_KEY_PREFIX_SIZE + 1];
	const char *hostname = q->hostinfo.hostname ? q->hostinfo.hostname : "";
	const char *version = q->hostinfo.ipn_version ? q->hostinfo.ipn_version : "";
	int hostname_length = shown_length(hostname), version_length = shown_length(version);

	if (!source_log_may(n->control->strangers, n->source, &n->from, clock_boottime()))
		return;
	address_format(&n->from, from);
	if (refused)
		log_warn("refused a node hostname=%.*s key=%s version=%.*s capability=%lld "
			 "from=%s: %s",
			 hostname_length, hostname, shown_key(q->auth_key, key), version_length,
			 version, (long long)q->version, from, refused->text);
	else
		log_info("a node waits for approval hostname=%.*s from=%s: see 'pillion control "
			 "nodes list'",
			 hostname_length, hostname, from);
}

static void log_registration(const struct machine_connection *n,
			     const struct machine_register_request *q, const struct error *err)
{
	const struct registry_node *node =
		registry_node_of_key(&n->control->tailnet.registry, &q->node_key);
	char v4[ADDRESS_TEXT_MAX];

	if (err->code || !node)
		log_stranger(n, q, err->code ? err : NULL);
	else
		log_info("registered node=%lld name=%s address=%s", (long long)node->record.id,
			 node->name, address_format(&node->v4, v4));
}

void machine_register(struct machine_connection *n, struct http2_exchange *x)
{
	struct machine_register_request request = {0};
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct coordinator *c = n->control;
	struct error err = {0};
	bool known;
	int r = machine_register_request_parse(buffer_head(&x->body), x->body.length, &request,
					       &err);

	if (r < 0) {
		machine_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	request.source = n->source;
	known = registry_node_of_key(&c->tailnet.registry, &request.node_key) != NULL;
	r = tailnet_register(&c->tailnet, &n->machine, &request, true, tailnet_now(), &body, &err);
	switch (r) {
	case REGISTER_ANSWER:
		if (!known || err.code)
			log_registration(n, &request, &err);
		machine_answer_later(c, x, &body);
		break;
	case REGISTER_HOLD:
		hold(c, x, &n->machine, &request);
		break;
	default:
		machine_reply_text(x, 503, "out of memory");
		break;
	}
	buffer_free(&body);
	machine_register_request_clear(&request);
}

/* decide() - A held login: is it over now? */
static void decide(struct machine_exchange *e, bool patient)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct coordinator *c = e->control;
	struct error err = {0};
	int r = tailnet_register(&c->tailnet, &e->machine, &e->request, patient, tailnet_now(),
				 &body, &err);

	if (r == REGISTER_HOLD)
		return;
	if (r != REGISTER_ANSWER)
		buffer_free(&body);
	machine_answer_exchange(e, r == REGISTER_ANSWER ? 200 : MACHINE_ANSWER_RESET, &body);
}

void machine_logins_decided(struct coordinator *c)
{
	struct machine_exchange *next;

	for (struct machine_exchange *e = c->exchanges[EXCHANGE_HELD]; e; e = next) {
		next = e->next;
		decide(e, true);
	}
}

void machine_register_tick(struct coordinator *c, nanoseconds now)
{
	struct machine_exchange *next;

	for (struct machine_exchange *e = c->exchanges[EXCHANGE_HELD]; e; e = next) {
		next = e->next;
		if (e->until <= now)
			decide(e, false);
	}
}

void machine_refuse_old(struct coordinator *c, unsigned int source, const struct address *from,
			int64_t version)
{
	char text[ADDRESS_TEXT_MAX];

	if (source_log_may(c->strangers, source, from, clock_boottime()))
		log_warn("refused a client that is too old capability=%lld from=%s: at least %d "
			 "(Tailscale " TAILNET_VERSION_MIN_IPN ") is needed",
			 (long long)version, address_format(from, text), TAILNET_VERSION_MIN);
}
