/* SPDX-License-Identifier: BSD-3-Clause */
/* services/services_parts.c - what all services share: the configuration in force, connections */
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
	privsep_acme_clear(&serving->acme);
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

void services_add(struct services *services, struct services_part *part,
		  void (*close)(struct services_part *part))
{
	part->services = services;
	part->close = close;
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
