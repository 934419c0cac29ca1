/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/machine_asks.c - the requests of nodes over TS2021, but for maps
 *
 *	POST /machine/register		held until the operator decides, or for HOLD_MAX
 *	GET  /machine/ssh/action/...	may this session over SSH begin? held as above
 *	POST /machine/set-dns		a TXT record for ACME, by the operator's DNS hook
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACME_LABEL "_acme-challenge."
#define DNS_PAUSE  (5 * NSEC_PER_SEC) /* between two changes by one node */
#define HOLD_MAX   (300 * NSEC_PER_SEC)
#define LOGGED_MAX 64 /* bytes of a stranger's text */

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

/* log_stranger() - Log a pending or refused registration, within the limit for its source */
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

void machine_refuse_old(struct coordinator *c, unsigned int source, const struct address *from,
			int64_t version)
{
	char text[ADDRESS_TEXT_MAX];

	if (source_log_may(c->strangers, source, from, clock_boottime()))
		log_warn("refused a client that is too old capability=%lld from=%s: at least %d "
			 "(Tailscale " TAILNET_VERSION_MIN_IPN ") is needed",
			 (long long)version, address_format(from, text), TAILNET_VERSION_MIN);
}

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
	*ret = "the value is not an ACME challenge";
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
	struct machine_exchange *e;
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);

	LIST_FOREACH(e, &c->exchanges[EXCHANGE_DNS], next)
		if (e->hook_id == id)
			break;
	if (!e)
		return; /* the node disconnected */
	/* The output of the program is for the operator's log alone. */
	(void)buffer_printf(&body, "%s",
			    result == 0            ? "{}"
			    : result == -ETIMEDOUT ? "the DNS hook took too long"
						   : "the DNS hook failed");
	machine_answer_exchange(e, result == 0 ? 200 : 502, &body);
}

/*
 * ask() - Let the tailnet answer a request
 * @ssh: NULL: @q is a registration
 *
 * Return: the status of the answer in @body, or 0: the request is held
 */
static int ask(struct coordinator *c, const struct public_key *machine,
	       const struct machine_register_request *q, const struct machine_ssh_request *ssh,
	       bool patient, struct buffer *body, struct error *err)
{
	struct tailnet_time now = tailnet_now();
	int r = ssh ? tailnet_ssh_action(&c->tailnet, machine, ssh, patient, now, body, err)
		    : tailnet_register(&c->tailnet, machine, q, patient, now, body, err);

	if (r == REGISTER_HOLD || r == REGISTER_ANSWER)
		return r == REGISTER_HOLD ? 0 : 200;
	body->length = 0;
	(void)buffer_printf(body, "%s", r == REGISTER_REFUSED ? err->text : "out of memory");
	return r == REGISTER_REFUSED ? 404 : 503;
}

/* begin() - Ask, and answer or hold; the status. @q or @ssh is NULL; a held request takes all of @q */
static int begin(struct machine_connection *n, struct http2_exchange *x,
		 struct machine_register_request *q, const struct machine_ssh_request *ssh,
		 struct error *err)
{
	struct coordinator *c = n->control;
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	int status = ask(c, &n->machine, q, ssh, true, &body, err);
	struct machine_exchange *e =
		machine_exchange_new(c, x, status == 200 ? EXCHANGE_ANSWER : EXCHANGE_HELD);

	if (e && ssh && !status)
		e->ssh = malloc(sizeof(*e->ssh));
	if (!e || (ssh && !status && !e->ssh)) {
		if (e)
			machine_exchange_free(e);
		machine_reply_text(x, 503, "out of memory");
	} else if (status) {
		machine_answer_exchange(e, status, &body);
	} else {
		e->machine = n->machine;
		e->until = clock_boottime() + HOLD_MAX;
		if (ssh) {
			*e->ssh = *ssh;
		} else {
			e->request = *q;
			*q = (struct machine_register_request){0};
		}
	}
	buffer_free(&body);
	return status;
}

void machine_register(struct machine_connection *n, struct http2_exchange *x)
{
	struct machine_register_request q = {0};
	const struct registry *registry = &n->control->tailnet.registry;
	struct error err = {0};
	bool known;
	int r = machine_register_request_parse(buffer_head(&x->body), x->body.length, &q, &err);

	if (r < 0) {
		machine_reply_text(x, r == -ENOMEM ? 503 : 400, err.text);
		return;
	}
	q.source = n->source;
	known = registry_node_of_key(registry, &q.node_key) != NULL;
	if (begin(n, x, &q, NULL, &err) == 200 && (!known || err.code))
		log_registration(n, &q, &err);
	machine_register_request_clear(&q);
}

void machine_ssh_action(struct machine_connection *n, struct http2_exchange *x)
{
	struct machine_ssh_request q;
	struct error err = {0};

	if (machine_ssh_request_parse(x->path + strlen(POLICY_SSH_ACTION), &q) < 0)
		machine_reply_text(x, 400, "the path is SRC_ID/to/DST_ID?ssh_user=USER");
	else
		(void)begin(n, x, NULL, &q, &err);
}

/* decide() - Answer a held request if it is decided. A client whose stream is reset asks again */
static void decide(struct machine_exchange *e, bool patient)
{
	struct buffer body = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};
	int status = ask(e->control, &e->machine, &e->request, e->ssh, patient, &body, &err);

	if (status)
		machine_answer_exchange(e, status == 503 && !e->ssh ? MACHINE_ANSWER_RESET : status,
					&body);
	buffer_free(&body);
}

void machine_decided(struct coordinator *c)
{
	struct machine_exchange *next;

	for (struct machine_exchange *e = LIST_FIRST(&c->exchanges[EXCHANGE_HELD]); e; e = next) {
		next = LIST_NEXT(e, next);
		decide(e, true);
	}
}

void machine_asks_tick(struct coordinator *c, nanoseconds now)
{
	struct machine_exchange *next;

	for (struct machine_exchange *e = LIST_FIRST(&c->exchanges[EXCHANGE_HELD]); e; e = next) {
		next = LIST_NEXT(e, next);
		if (e->until <= now)
			decide(e, false);
	}
}
