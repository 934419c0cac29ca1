/* SPDX-License-Identifier: BSD-3-Clause */
/* server/relay/relay_bootstrap.c - names that clients may need while their DNS is broken */
#define LOG_ROOM "relay"
#include "server/relay/relay_bootstrap.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "transport/loop_timer.h"
#include "transport/names.h"
#include "wire/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN        (600 * NSEC_PER_SEC)
#define AFTER_FAILED (30 * NSEC_PER_SEC)

struct entry {
	struct relay_bootstrap *bootstrap;
	char *name;
	struct address addresses[NAMES_ADDRESSES_MAX];
	size_t count;
	bool given; /* not to be resolved */
	bool failed;
	struct names_query *query;
};

struct relay_bootstrap {
	uv_loop_t *loop;
	struct names *names;
	struct loop_timer *timer;
	struct entry entries[LIMIT_BOOTSTRAP_NAMES];
	size_t count;
};

static void on_answer(void *user, const struct address *addresses, size_t count,
		      const struct error *err)
{
	struct entry *e = user;

	e->query = NULL;
	if (count > 0) {
		e->count = count < ARRAY_SIZE(e->addresses) ? count : ARRAY_SIZE(e->addresses);
		memcpy(e->addresses, addresses, e->count * sizeof(*addresses));
		e->failed = false;
		return;
	}
	if (!e->failed)
		log_warn("bootstrap DNS: %s has no address: %s", e->name, err ? err->text : "none");
	e->failed = true;
	loop_timer_at(e->bootstrap->timer, clock_boottime() + AFTER_FAILED);
}

static void resolve(void *user)
{
	struct relay_bootstrap *b = user;
	struct error err;

	for (size_t i = 0; i < b->count; i++) {
		struct entry *e = &b->entries[i];

		if (!e->given && !e->query &&
		    names_resolve(b->names, e->name, on_answer, e, &e->query, &err) < 0)
			log_warn("bootstrap DNS: %s: %s", e->name, err.text);
	}
	loop_timer_at(b->timer, clock_boottime() + AGAIN);
}

int relay_bootstrap_new(uv_loop_t *loop, struct relay_bootstrap **ret)
{
	struct relay_bootstrap *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->loop = loop;
	if (loop_timer_create(loop, resolve, b, &b->timer) < 0) {
		free(b);
		return -ENOMEM;
	}
	*ret = b;
	return 0;
}

void relay_bootstrap_free(struct relay_bootstrap *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->count; i++) {
		names_cancel(b->entries[i].query);
		free(b->entries[i].name);
	}
	names_free(b->names);
	loop_timer_free(b->timer);
	free(b);
}

/* entry_for() - The entry called @name, or a new one; 0, -E2BIG or -ENOMEM */
static int entry_for(struct relay_bootstrap *b, const char *name, struct entry **ret)
{
	struct entry *e = b->entries;

	while (e < b->entries + b->count && strcasecmp(e->name, name) != 0)
		e++;
	if (e == b->entries + LIMIT_BOOTSTRAP_NAMES)
		return -E2BIG;
	if (e == b->entries + b->count) {
		e->bootstrap = b;
		e->name = strdup(name);
		if (!e->name)
			return -ENOMEM;
		b->count++;
	}
	*ret = e;
	return 0;
}

int relay_bootstrap_add(struct relay_bootstrap *b, const char *name,
			const struct address *addresses, size_t count)
{
	struct address literal;
	struct entry *e;
	int r;

	if (!host_is_valid(name))
		return -EINVAL;
	if (address_parse(name, strlen(name), &literal) == 0 || strcasecmp(name, "localhost") == 0)
		return 0;
	r = entry_for(b, name, &e);
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (addresses[i].family == ADDRESS_NONE || e->count == ARRAY_SIZE(e->addresses))
			continue;
		e->addresses[e->count++] = addresses[i];
		e->given = true;
	}
	return r;
}

int relay_bootstrap_start(struct relay_bootstrap *b, struct error *err)
{
	bool all_given = true;
	int r;

	for (size_t i = 0; i < b->count; i++)
		all_given &= b->entries[i].given;
	if (all_given)
		return 0;
	r = names_open_system(b->loop, &b->names, err);
	if (r == 0)
		loop_timer_soon(b->timer);
	return r;
}

int relay_bootstrap_write(const struct relay_bootstrap *b, struct buffer *out)
{
	struct json_writer w = json_writer_to(out);

	json_begin_object(&w, NULL);
	for (size_t i = 0; i < b->count; i++) {
		const struct entry *e = &b->entries[i];

		if (e->count == 0)
			continue;
		json_begin_array(&w, e->name);
		for (size_t a = 0; a < e->count; a++) {
			char text[ADDRESS_TEXT_MAX];

			json_put_string(&w, NULL, address_format(&e->addresses[a], text));
		}
		json_end_array(&w);
	}
	json_end_object(&w);
	return json_writer_result(&w);
}
