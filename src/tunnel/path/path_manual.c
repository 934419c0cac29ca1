/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_manual.c - pings of users
 *
 * An unanswered ping is sent again each second, until PATH_PING_TIMEOUT: a peer can't answer
 * before its netmap contains this node.
 */
#include "tunnel/path/path_internal.h"

#include <errno.h>
#include <stdlib.h>

#define SEND_AGAIN NSEC_PER_SEC

/* send_manual() - Ping the trusted endpoint, else the relay and all candidates */
static void send_manual(struct path_peer *p, struct manual_ping *m, nanoseconds now)
{
	m->again = now + SEND_AGAIN;
	if (path_is_trusted(p, now)) {
		path_send_ping(p, &p->best, PING_MANUAL, m->id, now);
		return;
	}
	if (p->home_region != 0)
		path_send_ping(p, NULL, PING_MANUAL, m->id, now);
	for (size_t i = 0; i < p->candidate_count; i++) {
		p->candidates[i].pinged_at = now;
		path_send_ping(p, &p->candidates[i].endpoint, PING_MANUAL, m->id, now);
	}
	/* Also call the peer, so that a repeated ping shows how the path becomes direct. */
	if (!p->last_call || now - p->last_call >= PATH_PING_INTERVAL)
		path_send_call(p, now);
}

int path_ping(struct path_peer *p, nanoseconds now, path_ping_callback callback, void *ctx)
{
	struct manual_ping *m;

	if (!path_active_key(p) || (p->home_region == 0 && p->candidate_count == 0))
		return -EHOSTUNREACH;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->id = ++p->engine->next_manual;
	m->callback = callback;
	m->ctx = ctx;
	m->deadline = now + PATH_PING_TIMEOUT;
	m->next = p->manuals;
	p->manuals = m;
	path_live(p, m->deadline);
	send_manual(p, m, now);
	return 0;
}

/* finish() - Remove it from the list, then call: the callback may ping again */
static void finish(struct path_peer *p, struct manual_ping *m,
		   const struct path_ping_result *result)
{
	struct manual_ping **at = &p->manuals;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	m->callback(m->ctx, result);
	free(m);
}

void path_manual_answer(struct path_peer *p, const struct sent_ping *ping, nanoseconds latency)
{
	struct path_ping_result result = {
		.direct = ping->to.address.family != ADDRESS_NONE,
		.endpoint = ping->to,
		.region = ping->region,
		.latency = latency,
	};

	for (struct manual_ping *m = p->manuals; m; m = m->next) {
		if (m->id == ping->manual) {
			finish(p, m, &result);
			return;
		}
	}
}

void path_manual_timeout(struct path_peer *p, nanoseconds now)
{
	struct path_ping_result result = {.error = -ETIMEDOUT};
	struct manual_ping *m = p->manuals, *next;

	for (; m; m = next) {
		next = m->next;
		if (now >= m->deadline)
			finish(p, m, &result);
		else if (now >= m->again)
			send_manual(p, m, now);
	}
}

void path_manual_cancel(struct path_peer *p)
{
	struct path_ping_result result = {.error = -ECANCELED};

	while (p->manuals)
		finish(p, p->manuals, &result);
}
