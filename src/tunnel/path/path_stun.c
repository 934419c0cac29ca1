/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tunnel/path/path_stun.c - asking relays for our mapped endpoints
 *
 * Theory of operation
 *   A round asks all servers, each up to four times 0.2 s apart, and ends when all
 *   have answered or after 3 s. An answer takes effect at once, for calls to peers.
 *   A round starts when the servers are set, when the link changes, and every 20-26 s
 *   while some peer is active. A round without any answer is repeated after 2, 4, 8
 *   … s, five times; then only activity or a change starts one.
 *
 *   A mapped endpoint stays advertised for 310 s after it was last seen, at most six
 *   of one address: a NAT may keep the older mapping of a flow that peers still use.
 */
#include "tunnel/path/path_internal.h"

#include <errno.h>
#include <sodium.h>

#define RESULTS_PER_ADDRESS 6u
#define FAILURES_MAX        5u

static void plan(struct path_engine *e, nanoseconds at)
{
	e->stun.next_round = at;
	path_arm(e, at);
}

static nanoseconds restun_interval(void)
{
	uint32_t spread = (uint32_t)((PATH_RESTUN_MAX - PATH_RESTUN_MIN) / NSEC_PER_MSEC);

	return PATH_RESTUN_MIN + randombytes_uniform(spread + 1) * NSEC_PER_MSEC;
}

static void ask(struct path_engine *e, struct stun_server *s, nanoseconds now)
{
	uint8_t request[STUN_REQUEST_SIZE];

	s->tries++;
	s->next_at = s->tries < PATH_STUN_TRIES ? now + PATH_STUN_SPACING : DEADLINE_NEVER;
	path_arm(e, s->next_at);
	stun_request_write(request, &s->txid);
	e->statistics.stun_sent++;
	e->callbacks->send_udp(e->ctx, &s->endpoint, request, sizeof(request));
}

static void start(struct path_engine *e, nanoseconds now)
{
	struct stun_state *s = &e->stun;

	if (s->running || s->server_count == 0)
		return;
	s->running = true;
	s->next_round = DEADLINE_NEVER;
	s->round_ends = now + PATH_STUN_PHASE;
	path_arm(e, s->round_ends);
	for (size_t i = 0; i < s->server_count; i++) {
		randombytes_buf(s->servers[i].txid.bytes, sizeof(s->servers[i].txid.bytes));
		s->servers[i].tries = 0;
		s->servers[i].answered = false;
		ask(e, &s->servers[i], now);
	}
}

int path_set_stun_servers(struct path_engine *e, const struct endpoint *servers, size_t count,
			  nanoseconds now)
{
	struct stun_state *s = &e->stun;
	bool same;

	if (count > PATH_STUN_SERVERS)
		count = PATH_STUN_SERVERS;
	same = count == s->server_count;
	for (size_t i = 0; same && i < count; i++)
		same = endpoint_equal(&servers[i], &s->servers[i].endpoint);
	if (same)
		return 0;
	for (size_t i = 0; i < count; i++)
		s->servers[i] = (struct stun_server){.endpoint = servers[i]};
	s->server_count = count;
	s->running = false;
	s->failures = 0;
	start(e, now);
	return 0;
}

void path_stun_active(struct path_engine *e, nanoseconds now)
{
	struct stun_state *s = &e->stun;

	if (s->running || s->server_count == 0)
		return;
	if (!s->last_answer || now - s->last_answer > PATH_ENDPOINTS_FRESH)
		start(e, now);
	else if (s->next_round == DEADLINE_NEVER)
		plan(e, s->last_answer + restun_interval());
}

void path_stun_link_changed(struct path_engine *e, nanoseconds now)
{
	e->stun.forget_before = now;
	e->stun.failures = 0;
	e->stun.running = false;
	start(e, now);
}

/* Results */

static void drop_result(struct stun_state *s, size_t index)
{
	memmove(&s->results[index], &s->results[index + 1],
		(s->result_count - index - 1) * sizeof(s->results[0]));
	s->result_count--;
}

/* Ordered by the time of the last answer, the newest first. */
static void add_result(struct stun_state *s, const struct endpoint *mapped, nanoseconds now)
{
	size_t same_address = 0;

	for (size_t i = 0; i < s->result_count; i++) {
		if (endpoint_equal(&s->results[i].mapped, mapped)) {
			drop_result(s, i);
			break;
		}
	}
	if (s->result_count == PATH_STUN_RESULTS)
		drop_result(s, s->result_count - 1);
	memmove(&s->results[1], &s->results[0], s->result_count * sizeof(s->results[0]));
	s->results[0] = (struct stun_result){*mapped, now};
	s->result_count++;
	for (size_t i = 0; i < s->result_count;) {
		if (address_equal(&s->results[i].mapped.address, &mapped->address) &&
		    ++same_address > RESULTS_PER_ADDRESS)
			drop_result(s, i);
		else
			i++;
	}
}

static void expire_results(struct stun_state *s, nanoseconds now)
{
	while (s->result_count > 0 &&
	       now - s->results[s->result_count - 1].seen_at > PATH_ENDPOINT_RETAIN)
		s->result_count--;
}

static bool any_active(const struct path_engine *e, nanoseconds now)
{
	const struct path_peer *p;

	LIST_FOREACH(p, &e->live, live_entry)
		if (path_is_active(p, now))
			return true;
	return false;
}

static void end_round(struct path_engine *e, nanoseconds now)
{
	struct stun_state *s = &e->stun;
	bool answered = false;

	s->running = false;
	for (size_t i = 0; i < s->server_count; i++)
		answered = answered || s->servers[i].answered;
	expire_results(s, now);
	if (answered) {
		s->failures = 0;
		/* From an earlier network, without an answer in this one. */
		while (s->result_count > 0 &&
		       s->results[s->result_count - 1].seen_at < s->forget_before)
			s->result_count--;
		plan(e, now + restun_interval());
	} else {
		if (!e->udp_heard_at || now - e->udp_heard_at > PATH_ACTIVE)
			e->working_udp = false;
		s->next_round = DEADLINE_NEVER;
		if (++s->failures <= FAILURES_MAX)
			plan(e, now + (NSEC_PER_SEC << s->failures));
		else if (any_active(e, now))
			plan(e, now + restun_interval());
	}
	path_tell_endpoints(e, now);
}

void path_stun_receive(struct path_engine *e, const uint8_t *data, size_t length, nanoseconds now)
{
	struct stun_state *s = &e->stun;
	struct endpoint mapped;
	struct stun_txid txid;
	bool all = true, found = false;

	/* The transaction id authenticates it: a server may answer from another address. */
	if (stun_response_parse(data, length, &txid, &mapped) < 0)
		goto unexpected;
	for (size_t i = 0; i < s->server_count; i++) {
		struct stun_server *server = &s->servers[i];

		if (s->running && !server->answered &&
		    memcmp(&server->txid, &txid, sizeof(txid)) == 0) {
			server->answered = true;
			server->next_at = DEADLINE_NEVER;
			found = true;
		}
		all = all && server->answered;
	}
	if (!found)
		goto unexpected;
	e->statistics.stun_received++;
	s->last_answer = now;
	e->udp_heard_at = now;
	e->working_udp = true;
	if (mapped.port != 0 && !address_is_unspecified(&mapped.address) &&
	    !address_is_multicast(&mapped.address))
		add_result(s, &mapped, now);
	if (all)
		end_round(e, now);
	else
		path_tell_endpoints(e, now);
	return;

unexpected:
	e->statistics.stun_unexpected++;
}

void path_stun_timeout(struct path_engine *e, nanoseconds now)
{
	struct stun_state *s = &e->stun;

	if (s->running) {
		for (size_t i = 0; i < s->server_count; i++)
			if (!s->servers[i].answered && now >= s->servers[i].next_at)
				ask(e, &s->servers[i], now);
		if (now >= s->round_ends)
			end_round(e, now);
		return;
	}
	if (now < s->next_round)
		return;
	s->next_round = DEADLINE_NEVER;
	/* Retries after a failure need no activity; periodic rounds do. */
	if (s->failures > 0 || any_active(e, now))
		start(e, now);
}

nanoseconds path_stun_deadline(const struct path_engine *e)
{
	const struct stun_state *s = &e->stun;
	nanoseconds at;

	if (!s->running)
		return s->next_round;
	at = s->round_ends;
	for (size_t i = 0; i < s->server_count; i++)
		if (!s->servers[i].answered)
			at = deadline_min(at, s->servers[i].next_at);
	return at;
}
