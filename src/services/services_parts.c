/* SPDX-License-Identifier: BSD-3-Clause */
/* services/services_parts.c - what all services share: the configuration in force, connections */
#include "base/text.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <stdlib.h>

struct serving *serving_hold(struct serving *serving)
{
	serving->holds++;
	return serving;
}

void serving_release(struct serving *serving)
{
	if (!serving || --serving->holds > 0)
		return;
	serve_config_free(&serving->config);
	free(serving->domain);
	free(serving->suffix);
	free(serving->cert_domains);
	free(serving->places);
	privsep_acme_clear(&serving->acme);
	proxy_free(serving->proxy);
	for (size_t i = 0; i < SERVING_BEYOND; i++) {
		free(serving->beyond[i].text);
		free(serving->beyond[i].host);
	}
	free(serving);
}

const struct serve_target *serving_target(const struct serving *serving, size_t number)
{
	const struct serve_config *config = &serving->config;

	if (number < config->target_count)
		return &config->targets[number];
	number -= config->target_count;
	return number < SERVING_BEYOND && serving->beyond[number].text ? &serving->beyond[number]
								       : NULL;
}

int serving_target_now(const struct services *services, const struct serving *then,
		       unsigned int number)
{
	const struct serve_target *wanted = serving_target(then, number);
	const struct serving *now = services->serving;

	if (then == now || !wanted || !now)
		return wanted && now ? (int)number : -1;
	for (size_t i = 0; i < now->config.target_count + SERVING_BEYOND; i++) {
		const struct serve_target *target = serving_target(now, i);

		if (target && text_equal(wanted->host, target->host) &&
		    text_equal(wanted->path, target->path) && wanted->port == target->port &&
		    wanted->security == target->security)
			return (int)i;
	}
	return -1;
}

static bool same_place(const struct privsep_serve_target *a, const struct privsep_serve_target *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; i < a->count && same; i++)
		same = endpoint_equal(&a->addresses[i], &b->addresses[i]);
	return same;
}

int serving_place_now(const struct services *services, const struct serving *then,
		      unsigned int number)
{
	const struct serving *now = services->serving;
	int found = serving_target_now(services, then, number);

	return found < 0 || then == now ||
			       (number < then->place_count && (size_t)found < now->place_count &&
				same_place(&then->places[number], &now->places[found]))
		       ? found
		       : -1;
}

void services_add(struct services *services, struct services_part *part, uint16_t port,
		  void (*close)(struct services_part *part))
{
	part->services = services;
	part->close = close;
	part->port = port;
	LIST_INSERT_HEAD(&services->parts, part, entry);
	services->connections++;
}

void services_add_funnel(struct services_part *part)
{
	part->funnel = true;
	part->services->funnels++;
}

void services_remove(struct services_part *part)
{
	services_set_idle(part, false);
	services_unset_peer(part);
	if (part->flush)
		LIST_REMOVE(part, flush_entry);
	LIST_REMOVE(part, entry);
	part->services->connections--;
	part->services->funnels -= part->funnel;
}

void services_set_idle(struct services_part *part, bool idle)
{
	if (part->idle) {
		TAILQ_REMOVE(&part->services->idle_parts, part, idle_entry);
		services_peer_idle(part, false);
	}
	part->idle = idle;
	if (idle) {
		TAILQ_INSERT_TAIL(&part->services->idle_parts, part, idle_entry);
		services_peer_idle(part, true);
	}
}

bool services_close_idle(struct services *services)
{
	struct services_part *part = TAILQ_FIRST(&services->idle_parts);

	if (part)
		part->close(part);
	return part != NULL;
}

void services_flush_soon(struct services_part *part, void (*flush)(struct services_part *part))
{
	struct services *services = part->services;

	if (part->flush)
		return;
	if (LIST_EMPTY(&services->flush_parts))
		loop_timer_soon(services->flush_timer);
	part->flush = flush;
	LIST_INSERT_HEAD(&services->flush_parts, part, flush_entry);
}

void services_flush(struct services *services)
{
	struct services_part *part;

	while ((part = LIST_FIRST(&services->flush_parts))) {
		void (*flush)(struct services_part *) = part->flush;

		LIST_REMOVE(part, flush_entry);
		part->flush = NULL;
		flush(part);
	}
}

size_t services_queue_limit(const struct services *services)
{
	size_t share = QUEUED_ALL / (services->connections + services->streams + 1);

	return share > QUEUED_MAX ? QUEUED_MAX : share < QUEUED_MIN ? QUEUED_MIN : share;
}
