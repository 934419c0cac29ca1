/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/loops.c - requests and connections that come back to this node
 *
 * DOC: Theory of operation
 *
 * The supervisor refuses a target that is a served port of this node itself. A loop by way of other nodes, or of an
 * ingress, is not seen there: each node would pass it on for ever. A request for a target on another machine
 * carries CDN-Loop (RFC 8586) with a name that this process drew by lot; one that has it LOOP_VISITS times is
 * refused. A target on this machine ends a chain, so it is always allowed. TCP has no place for a mark: of
 * connections that lead back to the address that called, there are HAIRPINS at most, which ends a loop of two nodes. The
 * next one is refused before it connects: else the other node has one more connection, which comes back too.
 */
#define LOG_ROOM "services"
#include "base/log.h"

#include "base/quota.h"
#include "services/services_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>

#define LOOP_VISITS 3u
#define HAIRPINS    32u

void loops_init(struct services *services)
{
	uint64_t lot = 0;

	/* Without the random number two nodes may take each other for one, and refuse a long chain. */
	(void)!getrandom(&lot, sizeof(lot), GRND_NONBLOCK);
	snprintf(services->loop_name, sizeof(services->loop_name), "pillion-%016llx",
		 (unsigned long long)lot);
}

bool loops_is_far(const struct serve_target *target)
{
	struct address address;

	if (!target->host || strcasecmp(target->host, "localhost") == 0)
		return false;
	return address_parse(target->host, strlen(target->host), &address) < 0 ||
	       !address_is_loopback(&address);
}

bool loops_may_pass(const struct services *services, const struct http1_head *head)
{
	unsigned int visits = 0;

	for (size_t i = 0; i < head->header_count; i++) {
		const char *at = head->headers[i].value;

		if (strcasecmp(head->headers[i].name, LOOP_HEADER) != 0)
			continue;
		while ((at = strstr(at, services->loop_name))) {
			at += strlen(services->loop_name);
			visits++;
		}
	}
	return visits < LOOP_VISITS;
}

bool loops_add_hairpin(struct services *services, int fd, unsigned int target,
		       const struct address *peer)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct endpoint to;

	/* #syscalls: getpeername */
	if (getpeername(fd, (struct sockaddr *)&address, &length) < 0 ||
	    endpoint_from_sockaddr((struct sockaddr *)&address, &to) < 0 ||
	    !address_equal(&to.address, peer))
		return false;
	services->hairpins++;
	services->hairpin_peer = *peer;
	services->hairpin_target = target;
	return true;
}

bool loops_refuse(const struct services *services, int fd, unsigned int target,
		  const struct address *peer)
{
	static struct quota lines = {.burst = 3, .interval = 60 * NSEC_PER_SEC};
	const struct linger linger = {.l_onoff = 1};
	char text[ADDRESS_TEXT_MAX];

	if (services->hairpins < HAIRPINS || services->hairpin_target != target ||
	    !address_equal(&services->hairpin_peer, peer))
		return false;
	if (quota_take(&lines, clock_boottime()))
		log_warn("TCP from %s leads back to it, %u times at once: is the target of its "
			 "port a port of this node? A connection was reset",
			 address_format(peer, text), HAIRPINS);
	/* A reset, since an end of one direction would leave the other one open along the whole chain. */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return true;
}
