/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/tailnet_ssh_check.c - sessions over SSH that a person has to confirm
 *
 * Theory of operation
 *	policy says	request names	answer
 *	refuse		anything	reject
 *	accept		anything	accept
 *	check		a check: waits	held until it is decided
 *			     confirmed	accept
 *			     refused	reject
 *			none, or one	accept, where the same was confirmed within the period
 *			that is over	else a new check: its page, and a URL to wait at
 *
 *   The node that the session goes to asks, and it alone. What holds is read from the policy
 *   each time, never from the request. A decided check stays for a minute, since the
 *   answer may be lost on the way and the request come again.
 */
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/tailnet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CHECK_LIFE     (30 * 60 * NSEC_PER_SEC) /* as long as the stock client waits */
#define DECIDED_LIFE   (60 * NSEC_PER_SEC)
/* The longest period that policy knows. */
#define CONFIRMED_LIFE (168 * 3600 * NSEC_PER_SEC)

static void drop_check(struct tailnet *t, struct ssh_check **link)
{
	struct ssh_check *check = *link;

	*link = check->next;
	t->ssh_check_count--;
	free(check);
}

static void drop_confirmation(struct tailnet *t, struct ssh_confirmation **link)
{
	struct ssh_confirmation *gone = *link;

	*link = gone->next;
	t->ssh_confirmation_count--;
	free(gone);
}

void tailnet_ssh_clear(struct tailnet *t)
{
	while (t->ssh_checks)
		drop_check(t, &t->ssh_checks);
	while (t->ssh_confirmations)
		drop_confirmation(t, &t->ssh_confirmations);
}

void tailnet_ssh_tick(struct tailnet *t, nanoseconds now)
{
	for (struct ssh_check **link = &t->ssh_checks; *link;) {
		if ((*link)->until <= now)
			drop_check(t, link);
		else
			link = &(*link)->next;
	}
	for (struct ssh_confirmation **link = &t->ssh_confirmations; *link;) {
		if ((*link)->at + CONFIRMED_LIFE <= now)
			drop_confirmation(t, link);
		else
			link = &(*link)->next;
	}
}

struct ssh_check *tailnet_ssh_check(const struct tailnet *t, const char *id)
{
	struct ssh_check *check = t->ssh_checks;

	id = tailnet_id(id);
	while (check && strcmp(check->id, id) != 0)
		check = check->next;
	return check;
}

static struct ssh_confirmation **find_confirmation(struct tailnet *t,
						   const struct registry_node *from,
						   const struct registry_node *to, const char *user)
{
	struct ssh_confirmation **link = &t->ssh_confirmations;

	while (*link &&
	       (!public_key_equal(&(*link)->from, &from->key) ||
		!public_key_equal(&(*link)->to, &to->key) || strcmp((*link)->user, user) != 0))
		link = &(*link)->next;
	return link;
}

int tailnet_ssh_decide(struct tailnet *t, struct ssh_check *check, bool confirmed,
		       struct tailnet_time now)
{
	const struct registry_node *from = registry_node(&t->registry, check->from);
	const struct registry_node *to = registry_node(&t->registry, check->to);
	struct ssh_confirmation **link, *made;

	if (confirmed && from && to) {
		made = calloc(1, sizeof(*made));
		if (!made)
			return -ENOMEM;
		link = find_confirmation(t, from, to, check->user);
		if (*link)
			drop_confirmation(t, link);
		*made = (struct ssh_confirmation){
			.from = from->key,
			.to = to->key,
			.at = now.boot,
			.next = t->ssh_confirmations,
		};
		strcpy(made->user, check->user);
		t->ssh_confirmations = made;
		/* The oldest goes: its session will have to be confirmed again. */
		if (++t->ssh_confirmation_count > LIMIT_CONTROL_CONFIRMED) {
			for (link = &t->ssh_confirmations; (*link)->next; link = &(*link)->next)
				;
			drop_confirmation(t, link);
		}
	}
	check->verdict = confirmed ? SSH_CONFIRMED : SSH_REFUSED;
	check->until = now.boot + DECIDED_LIFE;
	return 0;
}

/* waiting_check() - The one that waits for the same already; NULL: none */
static struct ssh_check *waiting_check(const struct tailnet *t, const struct machine_ssh_request *q)
{
	struct ssh_check *check = t->ssh_checks;

	while (check && (check->verdict != SSH_WAITS || check->from != q->from ||
			 check->to != q->to || strcmp(check->user, q->user) != 0))
		check = check->next;
	return check;
}

/* make_room() - One node can't push out the checks of others, nor all together fill memory */
static void make_room(struct tailnet *t, int64_t to)
{
	struct ssh_check **oldest = NULL, **last = NULL;
	size_t own = 0;

	for (struct ssh_check **link = &t->ssh_checks; *link; link = &(*link)->next) {
		last = link;
		if ((*link)->to == to) {
			oldest = link;
			own++;
		}
	}
	if (own >= LIMIT_CONTROL_CHECKS)
		drop_check(t, oldest);
	else if (t->ssh_check_count >= LIMIT_CONTROL_PENDING)
		drop_check(t, last);
}

static struct ssh_check *add_check(struct tailnet *t, const struct machine_ssh_request *q,
				   nanoseconds now)
{
	struct ssh_check *check = calloc(1, sizeof(*check));

	if (!check)
		return NULL;
	make_room(t, q->to);
	registry_random_hex(check->id, (MACHINE_SSH_ID_SIZE - 1) / 2);
	check->from = q->from;
	check->to = q->to;
	strcpy(check->user, q->user);
	check->until = now + CHECK_LIFE;
	check->next = t->ssh_checks;
	t->ssh_checks = check;
	t->ssh_check_count++;
	return check;
}

static int put_accept(struct buffer *out)
{
	static const char text[] = "{\"accept\":true,\"allowAgentForwarding\":true,"
				   "\"allowLocalPortForwarding\":true,"
				   "\"allowRemotePortForwarding\":true}";

	return buffer_append(out, text, sizeof(text) - 1);
}

static int put_reject(const char *message, struct buffer *out)
{
	struct json_writer w = json_writer_to(out);

	json_begin_object(&w, NULL);
	json_put_bool(&w, "reject", true);
	json_put_string(&w, "message", message);
	json_end_object(&w);
	return json_writer_result(&w);
}

/* put_hold() - The URL to wait at; @say: with the instruction for the person */
static int put_hold(const struct tailnet *t, const struct ssh_check *check, bool say,
		    struct buffer *out)
{
	char url[sizeof(POLICY_SSH_ACTION_URL) + MACHINE_SSH_ID_SIZE + 8], message[1024];
	struct json_writer w = json_writer_to(out);

	snprintf(url, sizeof(url), "%s&check=%s", POLICY_SSH_ACTION_URL, check->id);
	snprintf(message, sizeof(message),
		 "# This session has to be confirmed. Open %s/ssh/%s\r\n"
		 "# or run on the coordination server: pillion control ssh approve %s\r\n",
		 t->settings.server_url, check->id, check->id);
	json_begin_object(&w, NULL);
	if (say)
		json_put_string(&w, "message", message);
	json_put_string(&w, "holdAndDelegate", url);
	json_end_object(&w);
	return json_writer_result(&w);
}

/* ask_person() - Policy wants a confirmation that is at most @period old */
static int ask_person(struct tailnet *t, const struct registry_node *from,
		      const struct registry_node *to, const struct machine_ssh_request *q,
		      nanoseconds period, bool patient, nanoseconds now, struct buffer *out)
{
	struct ssh_check *check = *q->check ? tailnet_ssh_check(t, q->check) : NULL;
	const struct ssh_confirmation *confirmed;

	/* An id is valid only for the session that it was made for. */
	if (check &&
	    (check->from != q->from || check->to != q->to || strcmp(check->user, q->user) != 0))
		check = NULL;
	if (check && check->verdict == SSH_CONFIRMED)
		return put_accept(out);
	if (check && check->verdict == SSH_REFUSED)
		return put_reject("This session was refused.\r\n", out);
	if (check)
		return patient ? REGISTER_HOLD : put_hold(t, check, false, out);
	confirmed = *find_confirmation(t, from, to, q->user);
	if (confirmed && now < confirmed->at + period)
		return put_accept(out);
	check = waiting_check(t, q);
	if (!check)
		check = add_check(t, q, now);
	return check ? put_hold(t, check, true, out) : -ENOMEM;
}

int tailnet_ssh_action(struct tailnet *t, const struct public_key *machine,
		       const struct machine_ssh_request *q, bool patient, struct tailnet_time now,
		       struct buffer *out, struct error *err)
{
	const struct registry_node *from = registry_node(&t->registry, q->from);
	const struct registry_node *to = registry_node(&t->registry, q->to);
	enum policy_ssh_action action = POLICY_SSH_REFUSE;
	nanoseconds period = 0;

	if (!to || !public_key_equal(&to->machine, machine)) {
		error_set(err, -ENOENT, "only the destination node of a session may ask about it");
		return REGISTER_REFUSED;
	}
	if (from && !registry_node_is_expired(from, now.wall))
		action = applied_policy_ssh_action(t->policy, q->from, q->to, q->user, &period);
	switch (action) {
	case POLICY_SSH_ACCEPT:
		return put_accept(out);
	case POLICY_SSH_CHECK:
		return ask_person(t, from, to, q, period, patient, now.boot, out);
	case POLICY_SSH_REFUSE:
		break;
	}
	return put_reject("The tailnet's policy does not allow this session.\r\n", out);
}
