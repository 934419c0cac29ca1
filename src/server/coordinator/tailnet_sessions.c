/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/tailnet_sessions.c - notes at sessions, and messages made from them */
#include "base/array.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/coordinator/tailnet.h"

#include <errno.h>
#include <string.h>

/* Notes of one session; more become one full map. */
#define NOTES_MAX 4096u

#define OFFLINE_GRACE (10 * NSEC_PER_SEC)

/* position() - Where @id is or would be among ascending ids with the given stride */
static uint32_t position(const void *items, size_t stride, uint32_t count, uint32_t id)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2, at;

		memcpy(&at, (const char *)items + middle * stride, sizeof(at));
		if (at < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool knows(const struct map_session *s, uint32_t id)
{
	uint32_t at = position(s->known_peers, sizeof(*s->known_peers), s->known_count, id);

	return at < s->known_count && s->known_peers[at] == id;
}

static void forget_notes(struct map_session *s)
{
	free(TAKE_PTR(s->notes));
	s->note_count = s->note_room = 0;
}

void session_wake(struct map_session *s)
{
	if (!s->is_ready)
		TAILQ_INSERT_TAIL(&s->tailnet->ready, s, next_ready);
	s->is_ready = true;
}

static void not_ready(struct map_session *s)
{
	if (s->is_ready)
		TAILQ_REMOVE(&s->tailnet->ready, s, next_ready);
	s->is_ready = false;
}

static void want(struct map_session *s, unsigned int wants)
{
	s->wants |= wants;
	if (wants & WANTS_FULL)
		forget_notes(s);
	session_wake(s);
}

/* note() - The next message of the session has to mention that node, or that it is gone */
static void note(struct map_session *s, uint32_t id, unsigned int change)
{
	uint32_t at = position(s->notes, sizeof(*s->notes), s->note_count, id);

	session_wake(s);
	if (s->wants & WANTS_FULL)
		return;
	s->tailnet->statistics.notes++;
	if (at < s->note_count && s->notes[at].id == id) {
		s->notes[at].change |= (uint8_t)change;
		return;
	}
	if (s->note_count >= NOTES_MAX || ARRAY_GROW(s->notes, s->note_count, s->note_room) < 0) {
		s->tailnet->statistics.overflows++;
		want(s, WANTS_FULL);
		return;
	}
	memmove(&s->notes[at + 1], &s->notes[at], (s->note_count - at) * sizeof(*s->notes));
	s->notes[at] = (struct session_note){.id = id, .change = (uint8_t)change};
	s->note_count++;
}

/* note_viewer() - Note @id at each session of the node @viewer */
static void note_viewer(struct tailnet *t, int64_t viewer, int64_t id, unsigned int change)
{
	struct registry_node *node = registry_node(&t->registry, viewer);

	for (struct map_session *s = node ? node->sessions : NULL; s; s = s->node_next)
		note(s, (uint32_t)id, change);
}

/* spread() - Note at other sessions the effects of a change of the node @id; frees @affected */
static void spread(struct tailnet *t, int64_t id, struct policy_affected *affected)
{
	const struct policy_ids *pairs[] = {&affected->gained, &affected->lost};

	for (size_t k = 0; k < ARRAY_SIZE(pairs); k++)
		for (size_t i = 0; i < pairs[k]->count; i++) {
			note_viewer(t, pairs[k]->items[i], id, CHANGE_NODE);
			note_viewer(t, id, pairs[k]->items[i], CHANGE_NODE);
		}
	for (size_t i = 0; i < affected->rules.count; i++) {
		struct registry_node *node = registry_node(&t->registry, affected->rules.items[i]);

		for (struct map_session *s = node ? node->sessions : NULL; s; s = s->node_next)
			want(s, WANTS_FILTER);
	}
	policy_affected_clear(affected);
}

/* note_routers() - Note each router that the session knows: the granted routes may have changed */
static void note_routers(struct map_session *s)
{
	struct registry_node *n;

	LIST_FOREACH(n, &s->tailnet->registry.routers, next_router)
		if (n != s->node && knows(s, (uint32_t)n->record.id))
			note(s, (uint32_t)n->record.id, CHANGE_NODE);
}

/* note_viewers() - Note a change at the sessions that see @node; a session that lost sight of it has a
 * note already */
static void note_viewers(struct tailnet *t, struct registry_node *node, unsigned int what)
{
	uint32_t id = (uint32_t)node->record.id;
	struct policy_ids viewers = {0};

	if (applied_policy_peers(t->policy, id, &viewers) == -ENOMEM)
		tailnet_changed_all(t, WANTS_FULL);
	for (size_t i = 0; i < viewers.count; i++)
		note_viewer(t, viewers.items[i], id, what);
	policy_ids_clear(&viewers);
}

void tailnet_changed(struct tailnet *t, struct registry_node *node, unsigned int what)
{
	struct policy_affected affected = {0};
	struct prefix routes[MACHINE_ROUTES_MAX];

	registry_node_stale(node);
	if (node->fresh)
		return;
	if (what & CHANGE_NODE) {
		struct policy_node subject = tailnet_describe(t, node, routes);

		if (applied_policy_put(t->policy, &subject, &affected) < 0)
			tailnet_changed_all(t, WANTS_FULL);
		if (affected.rules.count)
			for (struct map_session *s = node->sessions; s; s = s->node_next)
				note_routers(s);
		spread(t, node->record.id, &affected);
	}
	for (struct map_session *s = node->sessions; s; s = s->node_next)
		if (what & CHANGE_NODE)
			want(s, WANTS_SELF | (t->settings.certificates ? WANTS_DNS : 0));
	note_viewers(t, node, what);
}

void tailnet_changed_all(struct tailnet *t, unsigned int wants)
{
	struct map_session *s;

	LIST_FOREACH(s, &t->sessions, next)
		want(s, wants);
}

bool tailnet_sees(const struct tailnet *t, const struct registry_node *viewer,
		  const struct registry_node *peer)
{
	if (viewer == peer || !peer->authorized || !viewer->authorized || peer->fresh)
		return false;
	return applied_policy_sees(t->policy, viewer->record.id, peer->record.id);
}

struct map_session *tailnet_next_ready(struct tailnet *t)
{
	struct map_session *s = TAILQ_FIRST(&t->ready);

	if (s)
		not_ready(s);
	return s;
}

/* Life */

struct map_session *map_session_open(struct tailnet *t, struct registry_node *node, void *owner,
				     struct tailnet_time now)
{
	struct map_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->tailnet = t;
	s->node = node;
	s->owner = owner;
	LIST_INSERT_HEAD(&t->sessions, s, next);
	t->session_count++;
	s->node_next = node->sessions;
	node->sessions = s;
	node->offline_at = node->remove_at = DEADLINE_NEVER;
	tailnet_schedule(t, node, now);
	if (node->last_seen != JSON_TIME_NONE) {
		node->last_seen = JSON_TIME_NONE;
		registry_touch(&t->registry, &node->record);
	}
	if (!node->online) {
		bool fresh = node->fresh;

		node->online = true;
		node->fresh = false;
		tailnet_changed(t, node, fresh ? CHANGE_NODE : CHANGE_ONLINE);
		if (node->is_router)
			tailnet_elect_routes(t);
	}
	want(s, WANTS_FULL);
	return s;
}

static void leave_node(struct map_session *s)
{
	struct map_session **link = &s->node->sessions;

	while (*link != s)
		link = &(*link)->node_next;
	*link = s->node_next;
	s->node = NULL;
}

void map_session_close(struct map_session *s, struct tailnet_time now)
{
	struct tailnet *t = s->tailnet;
	struct registry_node *node = s->node;

	if (node) {
		leave_node(s);
		if (!node->sessions) {
			node->offline_at = now.boot + OFFLINE_GRACE;
			tailnet_schedule(t, node, now);
		}
	}
	not_ready(s);
	LIST_REMOVE(s, next);
	t->session_count--;
	free(s->known_peers);
	free(s->notes);
	free(s);
}

void tailnet_remove(struct tailnet *t, struct registry_node *node)
{
	struct policy_affected affected = {0};
	bool router = node->is_router;

	while (node->sessions) {
		session_wake(node->sessions);
		leave_node(node->sessions);
	}
	if (applied_policy_remove(t->policy, node->record.id, &affected) == -ENOMEM)
		tailnet_changed_all(t, WANTS_FULL);
	spread(t, node->record.id, &affected);
	tailnet_key_gone(t, node);
	registry_remove_node(&t->registry, node);
	if (router)
		tailnet_elect_routes(t);
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* find_peers() - `known_peers` becomes the peers that the node sees, ascending; false without memory */
static bool find_peers(struct map_session *s)
{
	struct tailnet *t = s->tailnet;
	struct policy_ids ids = {0};
	bool good = applied_policy_peers(t->policy, s->node->record.id, &ids) != -ENOMEM;

	s->known_count = 0;
	for (size_t i = 0; i < ids.count && good; i++) {
		const struct registry_node *peer = registry_node(&t->registry, ids.items[i]);

		if (!peer || !peer->authorized || !s->node->authorized)
			continue;
		good = ARRAY_GROW(s->known_peers, s->known_count, s->known_room) == 0;
		if (good)
			s->known_peers[s->known_count++] = (uint32_t)peer->record.id;
	}
	if (s->known_count)
		qsort(s->known_peers, s->known_count, sizeof(*s->known_peers), by_id);
	policy_ids_clear(&ids);
	return good;
}

void tailnet_policy_replaced(struct tailnet *t)
{
	struct map_session *s;

	LIST_FOREACH(s, &t->sessions, next) {
		struct map_session now = {.tailnet = t, .node = s->node};
		uint32_t i = 0, k = 0;

		if (!s->node)
			continue;
		want(s, WANTS_SELF | WANTS_FILTER);
		if (!find_peers(&now)) {
			want(s, WANTS_FULL);
			now.known_count = 0;
		}
		while (i < s->known_count || k < now.known_count) {
			uint32_t old = i < s->known_count ? s->known_peers[i] : UINT32_MAX;
			uint32_t new = k < now.known_count ? now.known_peers[k] : UINT32_MAX;

			if (old != new)
				note(s, old < new ? old : new, CHANGE_NODE);
			i += old <= new;
			k += new <= old;
		}
		free(now.known_peers);
		note_routers(s);
	}
}

/* Messages */

/* name_profile() - The profile of @node's owner, once in each list */
static void name_profile(struct map_session *s, const struct registry_node *node,
			 struct json_writer *w)
{
	struct tailnet *t = s->tailnet;
	struct registry_user *user = registry_user(&t->registry, node->user);
	uint64_t *mark = node->tags.count ? &t->tagged_mark : user ? &user->mark : NULL;

	if (mark && *mark == t->profile_mark)
		return;
	if (mark)
		*mark = t->profile_mark;
	tailnet_encode_profile(t, node, w);
}

/* put_full() - A full map. Without peers it lists the removed ones: clients ignore an empty list */
static bool put_full(struct map_session *s, struct tailnet_time now, struct json_writer *w)
{
	struct tailnet *t = s->tailnet;
	_cleanup_free_ uint32_t *known = TAKE_PTR(s->known_peers);
	uint32_t known_count = s->known_count;

	s->known_room = 0;
	if (!find_peers(s)) {
		w->error = -ENOMEM;
		return true;
	}
	tailnet_encode_self(t, s->node, now, w, "Node");
	tailnet_encode_common(t, s->node, ~0u, w);
	json_begin_array(w, "UserProfiles");
	t->profile_mark++;
	name_profile(s, s->node, w);
	for (uint32_t i = 0; i < s->known_count; i++)
		name_profile(s, registry_node(&t->registry, s->known_peers[i]), w);
	json_end_array(w);
	if (s->known_count) {
		json_begin_array(w, "Peers");
		for (uint32_t i = 0; i < s->known_count; i++)
			tailnet_encode_peer(t, s->node,
					    registry_node(&t->registry, s->known_peers[i]), w);
		json_end_array(w);
	} else if (known_count) {
		json_begin_array(w, "PeersRemoved");
		for (uint32_t i = 0; i < known_count; i++)
			json_put_int(w, NULL, known[i]);
		json_end_array(w);
	}
	t->statistics.full_maps++;
	return true;
}

/* What becomes of a note. */
enum outcome {
	OUTCOME_NOTHING,
	OUTCOME_NODE,
	OUTCOME_PATCH,
	OUTCOME_REMOVED,
};

static enum outcome outcome_of(struct map_session *s, const struct session_note *n)
{
	struct registry_node *peer = registry_node(&s->tailnet->registry, n->id);
	bool sees = peer && tailnet_sees(s->tailnet, s->node, peer), known = knows(s, n->id);

	if (!sees)
		return known ? OUTCOME_REMOVED : OUTCOME_NOTHING;
	return !known || n->change & CHANGE_NODE ? OUTCOME_NODE : OUTCOME_PATCH;
}

/* put_notes() - The list of one outcome, if it has any; whether it had */
static bool put_notes(struct map_session *s, enum outcome which, const char *name,
		      struct json_writer *w)
{
	struct tailnet *t = s->tailnet;
	bool any = false;

	for (uint32_t i = 0; i < s->note_count; i++) {
		const struct session_note *n = &s->notes[i];

		if (n->outcome != which)
			continue;
		if (!any)
			json_begin_array(w, name);
		any = true;
		if (which == OUTCOME_NODE)
			tailnet_encode_peer(t, s->node, registry_node(&t->registry, n->id), w);
		else if (which == OUTCOME_PATCH)
			tailnet_encode_change(registry_node(&t->registry, n->id), n->change, w);
		else
			json_put_int(w, NULL, n->id);
	}
	if (any)
		json_end_array(w);
	return any;
}

/* put_new_profiles() - The owners of the nodes in this message. The session knows its own owner */
static void put_new_profiles(struct map_session *s, struct json_writer *w)
{
	struct tailnet *t = s->tailnet;

	t->profile_mark++;
	json_begin_array(w, "UserProfiles");
	if (s->wants & WANTS_SELF)
		name_profile(s, s->node, w);
	for (uint32_t i = 0; i < s->note_count; i++) {
		const struct registry_node *peer;

		if (s->notes[i].outcome != OUTCOME_NODE)
			continue;
		peer = registry_node(&t->registry, s->notes[i].id);
		if (tailnet_profile_id(peer) != tailnet_profile_id(s->node))
			name_profile(s, peer, w);
	}
	json_end_array(w);
}

/* settle() - The notes were sent: update `known_peers` */
static bool settle(struct map_session *s)
{
	for (uint32_t i = 0; i < s->note_count; i++) {
		uint32_t id = s->notes[i].id;
		uint32_t at = position(s->known_peers, sizeof(*s->known_peers), s->known_count, id);
		enum outcome outcome = s->notes[i].outcome;

		if (outcome == OUTCOME_REMOVED) {
			s->known_count--;
			memmove(&s->known_peers[at], &s->known_peers[at + 1],
				(s->known_count - at) * sizeof(*s->known_peers));
		} else if (outcome == OUTCOME_NODE && !knows(s, id)) {
			if (ARRAY_GROW(s->known_peers, s->known_count, s->known_room) < 0)
				return false;
			memmove(&s->known_peers[at + 1], &s->known_peers[at],
				(s->known_count - at) * sizeof(*s->known_peers));
			s->known_peers[at] = id;
			s->known_count++;
		}
	}
	forget_notes(s);
	return true;
}

static bool put_delta(struct map_session *s, struct tailnet_time now, struct json_writer *w)
{
	bool any = s->wants != 0, nodes;

	for (uint32_t i = 0; i < s->note_count; i++)
		s->notes[i].outcome = (uint8_t)outcome_of(s, &s->notes[i]);
	if (s->wants & WANTS_SELF)
		tailnet_encode_self(s->tailnet, s->node, now, w, "Node");
	tailnet_encode_common(s->tailnet, s->node, s->wants, w);
	nodes = put_notes(s, OUTCOME_NODE, "PeersChanged", w);
	if (nodes || s->wants & WANTS_SELF)
		put_new_profiles(s, w);
	any |= nodes;
	any |= put_notes(s, OUTCOME_REMOVED, "PeersRemoved", w);
	any |= put_notes(s, OUTCOME_PATCH, "PeersChangedPatch", w);
	if (!settle(s))
		w->error = -ENOMEM;
	s->tailnet->statistics.deltas += any;
	return any;
}

int map_session_take(struct map_session *s, struct tailnet_time now, struct buffer *out)
{
	struct json_writer w = json_writer_to(out);
	size_t before = out->length;
	bool any;

	if (!s->node || (!s->wants && !s->note_count))
		return 0;
	json_begin_object(&w, NULL);
	any = s->wants & WANTS_FULL ? put_full(s, now, &w) : put_delta(s, now, &w);
	json_put_time(&w, "ControlTime", now.wall);
	json_end_object(&w);
	if (json_writer_result(&w) < 0) {
		out->length = before;
		want(s, WANTS_FULL);
		return json_writer_result(&w);
	}
	s->wants = 0;
	if (!any)
		out->length = before;
	return any;
}

int tailnet_full_map(struct tailnet *t, struct registry_node *node, struct tailnet_time now,
		     struct buffer *out)
{
	struct map_session s = {.tailnet = t, .node = node, .wants = WANTS_FULL};
	int r = map_session_take(&s, now, out);

	not_ready(&s);
	free(s.known_peers);
	return r < 0 ? r : 0;
}
