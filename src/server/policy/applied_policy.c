/* SPDX-License-Identifier: BSD-3-Clause */
/* server/policy/applied_policy.c - the peers of each node, and the nodes that a change affects */
#include "server/policy/applied_policy_internal.h"

#include "base/array.h"

#include <errno.h>
#include <string.h>

void policy_ids_clear(struct policy_ids *ids)
{
	free(ids->items);
	*ids = (struct policy_ids){0};
}

void policy_affected_clear(struct policy_affected *affected)
{
	policy_ids_clear(&affected->gained);
	policy_ids_clear(&affected->lost);
	policy_ids_clear(&affected->rules);
}

static int add_id(struct policy_ids *ids, int64_t id)
{
	if (ARRAY_GROW(ids->items, ids->count, ids->capacity) < 0)
		return -ENOMEM;
	ids->items[ids->count++] = id;
	return 0;
}

struct applied_node *applied_find(const struct applied_policy *t, int64_t id)
{
	struct applied_node *node;

	HASH_FIND(hh, t->nodes, &id, sizeof(id), node);
	return node;
}

bool applied_matches(const struct applied_node *node, uint32_t selector)
{
	return indexes_contain(&node->matched, selector);
}

static void add_uses(const struct selector *s, struct indexes *ret)
{
	for (uint32_t u = 0; u < s->uses.count; u++)
		indexes_add(ret, s->uses.items[u]);
}

int applied_uses(const struct applied_policy *t, const struct applied_node *node,
		 enum policy_part part, struct indexes *ret)
{
	uint32_t self = t->policy->special[part][SELECT_SELF];

	if (node->owner && self != NONE)
		add_uses(applied_selector(t, self), ret);
	for (uint32_t i = 0; i < node->matched.count; i++) {
		const struct selector *s = applied_selector(t, node->matched.items[i]);

		if (s->key.part == part)
			add_uses(s, ret);
	}
	return indexes_sort(ret);
}

bool applied_matches_any(const struct applied_node *node, const struct indexes *selectors)
{
	for (uint32_t i = 0; i < selectors->count; i++)
		if (applied_matches(node, selectors->items[i]))
			return true;
	return false;
}

/* --- Membership --- */

static int owner_of(struct applied_policy *t, const char *login, struct owner **ret)
{
	size_t length = strlen(login);
	struct owner *owner;

	HASH_FIND(hh, t->owners, login, length, owner);
	if (!owner) {
		owner = calloc(1, sizeof(*owner) + length + 1);
		if (!owner)
			return -ENOMEM;
		memcpy(owner->login, login, length);
		HASH_ADD_KEYPTR(hh, t->owners, owner->login, length, owner);
		if (!owner->hh.tbl) {
			free(owner);
			return -ENOMEM;
		}
	}
	*ret = owner;
	return 0;
}

/* owner_release() - Free a user without nodes */
static void owner_release(struct applied_policy *t, struct owner *owner)
{
	if (!owner || owner->nodes.count)
		return;
	HASH_DEL(t->owners, owner);
	free(owner->nodes.items);
	free(owner);
}

static void node_free(struct applied_node *node)
{
	if (!node)
		return;
	free(node->user);
	string_list_clear(&node->tags);
	prefix_list_clear(&node->routes);
	indexes_clear(&node->matched);
	free(node->memberships);
	free(node);
}

static bool is_router(const struct applied_node *node)
{
	for (uint32_t i = 0; i < node->routes.count; i++)
		if (!is_default_route(&node->routes.items[i]))
			return true;
	return false;
}

static int copy_node(const struct policy_node *from, struct applied_node *node)
{
	node->id = from->id;
	node->v4 = from->v4;
	node->v6 = from->v6;
	for (uint32_t i = 0; i < from->tags.count; i++)
		if (string_list_add(&node->tags, from->tags.items[i]) < 0)
			return -ENOMEM;
	if (from->user && !from->tags.count) {
		node->user = strndup(from->user, login_length(from->user));
		if (!node->user)
			return -ENOMEM;
	}
	if (prefix_list_copy(&from->routes, &node->routes) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < node->routes.count; i++)
		node->routes.items[i] = prefix_mask(&node->routes.items[i]);
	return 0;
}

/* node_new() - Reserves a place in each list of the node, so that linking can't fail */
static int node_new(struct applied_policy *t, const struct policy_node *from,
		    struct applied_node **ret)
{
	struct applied_node *node = calloc(1, sizeof(*node));
	uint32_t count;
	int r = node ? copy_node(from, node) : -ENOMEM;

	if (r == 0)
		r = policy_match(t->policy, from, &node->matched);
	if (r == 0 && node->user)
		r = owner_of(t, node->user, &node->owner);
	if (r < 0)
		goto failed;
	count = node->matched.count + (node->owner != NULL) + is_router(node);
	node->memberships = calloc(count ? count : 1, sizeof(*node->memberships));
	if (!node->memberships) {
		r = -ENOMEM;
		goto failed;
	}
	for (uint32_t i = 0; i < node->matched.count; i++)
		node->memberships[node->membership_count++].list =
			&t->members[node->matched.items[i]];
	if (node->owner)
		node->memberships[node->membership_count++].list = &node->owner->nodes;
	if (is_router(node))
		node->memberships[node->membership_count++].list = &t->routers;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		struct member_list *list = node->memberships[i].list;

		r = ARRAY_GROW(list->items, list->count, list->capacity);
	}
	if (r < 0)
		goto failed;
	*ret = node;
	return 0;

failed:
	if (node)
		owner_release(t, node->owner);
	node_free(node);
	return r;
}

static void link_node(struct applied_policy *t, struct applied_node *node)
{
	t->slots[node->slot] = node;
	for (uint32_t i = 0; i < node->membership_count; i++) {
		struct membership *m = &node->memberships[i];

		m->position = m->list->count;
		m->list->items[m->list->count++] = (struct member){.slot = node->slot, .place = i};
	}
}

static void unlink_node(struct applied_policy *t, struct applied_node *node)
{
	for (uint32_t i = 0; i < node->membership_count; i++) {
		struct membership *m = &node->memberships[i];
		struct member last = m->list->items[--m->list->count];

		/* The last member moves to the free place. */
		m->list->items[m->position] = last;
		t->slots[last.slot]->memberships[last.place].position = m->position;
	}
	t->slots[node->slot] = NULL;
}

static int take_slot(struct applied_policy *t, uint32_t *ret)
{
	if (t->free_slots.count) {
		*ret = t->free_slots.items[--t->free_slots.count];
		return 0;
	}
	if (!ARRAY_ADD(t->slots, t->slot_count, t->slot_capacity))
		return -ENOMEM;
	*ret = t->slot_count - 1;
	return 0;
}

/* --- Peers --- */

/* struct walk - Gathers nodes, each once */
struct walk {
	struct applied_policy *t;
	const struct applied_node *self; /* not gathered */
	struct policy_ids *out;
	bool filters; /* gather nodes with the rules in their filter, not nodes that the rules reach */
	bool failed; /* a node is missing for lack of memory */
};

static struct walk walk_begin(struct applied_policy *t, const struct applied_node *self,
			      struct policy_ids *out)
{
	t->mark++;
	return (struct walk){.t = t, .self = self, .out = out};
}

static void visit_node(struct walk *w, struct applied_node *node)
{
	w->t->steps++;
	if (node->mark == w->t->mark || node == w->self)
		return;
	node->mark = w->t->mark;
	w->failed |= add_id(w->out, node->id) < 0;
}

static void visit_list(struct walk *w, const struct member_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		visit_node(w, w->t->slots[list->items[i].slot]);
}

bool applied_is_reached(const struct applied_policy *t, const struct applied_node *node,
			uint32_t selector)
{
	const struct selector_key *key = &applied_selector(t, selector)->key;

	return key->part != PART_DESTINATION || key->kind != SELECT_PREFIX ||
	       !policy_is_internet(&key->prefix) ||
	       policy_in_prefix(key, &node->v4, &node->v6, &node->routes);
}

static void visit_selector(struct walk *w, uint32_t selector)
{
	const struct member_list *list = &w->t->members[selector];

	if (w->t->selector_marks[selector] == w->t->mark)
		return;
	w->t->selector_marks[selector] = w->t->mark;
	for (uint32_t i = 0; i < list->count; i++) {
		struct applied_node *node = w->t->slots[list->items[i].slot];

		if (w->filters || applied_is_reached(w->t, node, selector))
			visit_node(w, node);
	}
}

/* visit_destinations() - The nodes that a rule lets its sources reach; for autogroup:self those of @owner */
static void visit_destinations(struct walk *w, uint32_t rule, const struct owner *owner)
{
	const struct policy *p = w->t->policy;
	const struct indexes *destinations = &p->rules[rule].destinations;

	if (w->t->rule_marks[rule] == w->t->mark)
		return;
	w->t->rule_marks[rule] = w->t->mark;
	for (uint32_t i = 0; i < destinations->count; i++) {
		uint32_t selector = p->destinations[destinations->items[i]].selector;

		if (p->selectors[selector]->key.kind != SELECT_SELF)
			visit_selector(w, selector);
		else if (owner)
			visit_list(w, &owner->nodes);
	}
}

static void visit_selectors(struct walk *w, const struct indexes *selectors)
{
	for (uint32_t i = 0; i < selectors->count; i++)
		visit_selector(w, selectors->items[i]);
}

/* visit_own_sources() - The user's nodes that autogroup:self lets reach the others */
static void visit_own_sources(struct walk *w, const struct owner *owner)
{
	struct applied_policy *t = w->t;

	for (uint32_t i = 0; i < owner->nodes.count; i++) {
		struct applied_node *node = t->slots[owner->nodes.items[i].slot];
		bool matches = false;

		for (uint32_t s = 0; s < t->self_rules.count && !matches; s++)
			matches = applied_matches_any(
				node, &t->policy->rules[t->self_rules.items[s]].sources);
		if (matches)
			visit_node(w, node);
	}
}

static int gather_peers(struct applied_policy *t, const struct applied_node *node,
			struct policy_ids *out)
{
	struct walk w = walk_begin(t, node, out);
	const struct policy *p = t->policy;

	for (uint32_t i = 0; i < node->matched.count; i++) {
		const struct selector *s = applied_selector(t, node->matched.items[i]);

		for (uint32_t u = 0; u < s->uses.count; u++) {
			uint32_t use = s->uses.items[u];

			if (s->key.part == PART_SOURCE)
				visit_destinations(&w, use, node->owner);
			else if (s->key.part == PART_DESTINATION &&
				 applied_is_reached(t, node, s->index))
				visit_selectors(&w, &p->rules[p->destinations[use].rule].sources);
		}
	}
	if (node->owner && t->self_rules.count)
		visit_own_sources(&w, node->owner);
	return w.failed ? -ENOMEM : 0;
}

int applied_policy_peers(struct applied_policy *t, int64_t id, struct policy_ids *ret)
{
	const struct applied_node *node = applied_find(t, id);
	struct policy_ids ids = {0};
	int r;

	if (!node)
		return -ENOENT;
	r = gather_peers(t, node, &ids);
	if (r < 0)
		policy_ids_clear(&ids);
	else
		*ret = ids;
	return r;
}

static bool reaches(const struct applied_policy *t, const struct applied_node *from,
		    const struct applied_node *to)
{
	const struct policy *p = t->policy;

	for (uint32_t i = 0; i < from->matched.count; i++) {
		const struct selector *s = applied_selector(t, from->matched.items[i]);

		for (uint32_t u = 0; s->key.part == PART_SOURCE && u < s->uses.count; u++) {
			const struct policy_rule *rule = &p->rules[s->uses.items[u]];

			if (rule->has_self && from->owner && from->owner == to->owner)
				return true;
			for (uint32_t d = 0; d < rule->destinations.count; d++) {
				uint32_t selector =
					p->destinations[rule->destinations.items[d]].selector;

				if (applied_matches(to, selector) &&
				    applied_is_reached(t, to, selector))
					return true;
			}
		}
	}
	return false;
}

bool applied_policy_sees(struct applied_policy *t, int64_t a, int64_t b)
{
	const struct applied_node *one = applied_find(t, a), *other = applied_find(t, b);

	return one && other && one != other && (reaches(t, one, other) || reaches(t, other, one));
}

/* --- Changes --- */

static bool same_addresses(const struct applied_node *a, const struct applied_node *b)
{
	return address_equal(&a->v4, &b->v4) && address_equal(&a->v6, &b->v6);
}

/* same_identity() - @a and @b, which may be NULL, are the same source in every rule */
static bool same_identity(const struct applied_node *a, const struct applied_node *b)
{
	return a && b && same_addresses(a, b) && string_list_equal(&a->tags, &b->tags) &&
	       a->owner == b->owner;
}

/* same_subnets() - Compares subnets without default routes, which are never a source */
static bool same_subnets(const struct applied_node *a, const struct applied_node *b)
{
	uint32_t i = 0, k = 0;

	for (;;) {
		while (a && i < a->routes.count && is_default_route(&a->routes.items[i]))
			i++;
		while (b && k < b->routes.count && is_default_route(&b->routes.items[k]))
			k++;
		if (!a || i == a->routes.count || !b || k == b->routes.count)
			return (!a || i == a->routes.count) && (!b || k == b->routes.count);
		if (!prefix_equal(&a->routes.items[i++], &b->routes.items[k++]))
			return false;
	}
}

/* source_changed() - Whether the selector's addresses with @new differ from those with @old */
static bool source_changed(const struct selector *s, const struct applied_node *old,
			   const struct applied_node *new)
{
	switch (s->key.kind) {
	case SELECT_PREFIX:
	case SELECT_DANGER_ALL:
		return false;
	case SELECT_ANY:
		return !same_subnets(old, new);
	default:
		if (!old || !new || !applied_matches(old, s->index) ||
		    !applied_matches(new, s->index))
			return true;
		/* localpart:… in an SSH rule depends on the login too. */
		return !same_addresses(old, new) ||
		       (s->key.part == PART_SSH_SOURCE && old->owner != new->owner);
	}
}

/* spread() - Invalidate the cached sources of the rules from @selector, and (with a list) gather
 * their destinations */
static void spread(struct walk *w, const struct selector *s)
{
	struct applied_policy *t = w->t;

	for (uint32_t u = 0; u < s->uses.count; u++) {
		uint32_t use = s->uses.items[u];

		if (s->key.part == PART_SOURCE) {
			free(TAKE_PTR(t->sources[use]));
			if (w->out)
				visit_destinations(w, use, NULL);
		} else if (w->out && t->ssh_marks[use] != t->mark) {
			t->ssh_marks[use] = t->mark;
			visit_selectors(w, &t->policy->ssh[use].destinations);
		}
	}
}

static void spread_all(struct walk *w, const struct applied_node *node,
		       const struct applied_node *old, const struct applied_node *new)
{
	for (uint32_t i = 0; node && i < node->matched.count; i++) {
		const struct selector *s = applied_selector(w->t, node->matched.items[i]);

		if ((s->key.part == PART_SOURCE || s->key.part == PART_SSH_SOURCE) &&
		    source_changed(s, old, new))
			spread(w, s);
	}
}

/* gather_rules() - The nodes whose filter or SSH policy changes when @old becomes @new (one may be
 * NULL). Also invalidates the cached sources of rules; @out may be NULL */
static int gather_rules(struct applied_policy *t, const struct applied_node *old,
			const struct applied_node *new, struct policy_ids *out)
{
	struct walk w = walk_begin(t, NULL, out);

	w.filters = true;
	/* @new is linked, so rules find it; it is listed first in any case. */
	if (out && new)
		visit_node(&w, t->slots[new->slot]);
	spread_all(&w, old, old, new);
	spread_all(&w, new, old, new);
	if (out && t->has_self && !same_identity(old, new)) {
		if (old && old->owner)
			visit_list(&w, &old->owner->nodes);
		if (new &&new->owner)
			visit_list(&w, &new->owner->nodes);
	}
	return w.failed ? -ENOMEM : 0;
}

static int compare_ids(const void *left, const void *right)
{
	const int64_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

/* subtract() - The members of @from that are not in @what, both sorted */
static int subtract(const struct policy_ids *from, const struct policy_ids *what,
		    struct policy_ids *ret)
{
	size_t k = 0;
	int r = 0;

	for (size_t i = 0; i < from->count && r == 0; i++) {
		while (k < what->count && what->items[k] < from->items[i])
			k++;
		if (k == what->count || what->items[k] != from->items[i])
			r = add_id(ret, from->items[i]);
	}
	return r;
}

static int compare_peers(struct policy_ids *before, struct policy_ids *after,
			 struct policy_affected *ret)
{
	int r;

	if (before->count)
		qsort(before->items, before->count, sizeof(*before->items), compare_ids);
	if (after->count)
		qsort(after->items, after->count, sizeof(*after->items), compare_ids);
	r = subtract(after, before, &ret->gained);
	return r < 0 ? r : subtract(before, after, &ret->lost);
}

/* exchange() - Replace @old (or nothing) by @new (or nothing), and report the effect.
 * On failure the tailnet is unchanged, and the caller still owns both */
static int exchange(struct applied_policy *t, struct applied_node *old, struct applied_node *new,
		    struct policy_affected *ret)
{
	struct policy_ids before = {0}, after = {0};
	struct policy_affected affected = {0};
	int r = ret && old ? gather_peers(t, old, &before) : 0;

	if (r < 0)
		goto out;
	if (old)
		unlink_node(t, old);
	if (new)
		link_node(t, new);
	r = gather_rules(t, old, new, ret ? &affected.rules : NULL);
	if (r == 0 && ret && new)
		r = gather_peers(t, new, &after);
	if (r == 0 && ret)
		r = compare_peers(&before, &after, &affected);
	if (r < 0) {
		/* The old node's place is free: it was just removed. */
		if (new)
			unlink_node(t, new);
		if (old)
			link_node(t, old);
		gather_rules(t, new, old, NULL);
	} else if (ret) {
		*ret = affected;
		affected = (struct policy_affected){0};
	}

out:
	policy_affected_clear(&affected);
	policy_ids_clear(&before);
	policy_ids_clear(&after);
	return r;
}

int applied_policy_put(struct applied_policy *t, const struct policy_node *node,
		       struct policy_affected *ret)
{
	struct applied_node *old = applied_find(t, node->id), *new = NULL;
	int r = node_new(t, node, &new);

	if (r < 0)
		return r;
	if (same_identity(old, new) && prefix_list_equal(&old->routes, &new->routes)) {
		node_free(new);
		if (ret)
			*ret = (struct policy_affected){0};
		return 0;
	}
	if (old)
		new->slot = old->slot;
	else
		r = take_slot(t, &new->slot);
	if (r < 0)
		goto no_slot;
	/* Until the end of this function both are found by the id. */
	HASH_ADD(hh, t->nodes, id, sizeof(new->id), new);
	r = new->hh.tbl ? exchange(t, old, new, ret) : -ENOMEM;
	if (r < 0)
		goto no_exchange;
	if (old) {
		HASH_DEL(t->nodes, old);
		owner_release(t, old->owner);
		node_free(old);
	}
	return 0;

no_exchange:
	if (new->hh.tbl)
		HASH_DEL(t->nodes, new);
	/* On failure the slot stays unused. */
	if (!old)
		(void)!indexes_add(&t->free_slots, new->slot);
no_slot:
	owner_release(t, new->owner);
	node_free(new);
	return r;
}

int applied_policy_remove(struct applied_policy *t, int64_t id, struct policy_affected *ret)
{
	struct applied_node *old = applied_find(t, id);
	int r;

	if (!old)
		return -ENOENT;
	r = indexes_add(&t->free_slots, old->slot);
	if (r < 0)
		return r;
	r = exchange(t, old, NULL, ret);
	if (r < 0) {
		t->free_slots.count--;
		return r;
	}
	HASH_DEL(t->nodes, old);
	owner_release(t, old->owner);
	node_free(old);
	return 0;
}

/* --- The tailnet itself --- */

static int find_self_rules(struct applied_policy *t)
{
	const struct policy *p = t->policy;

	for (uint32_t i = 0; i < p->rule_count; i++) {
		if (!p->rules[i].has_self)
			continue;
		t->has_self = true;
		if (indexes_add(&t->self_rules, i) < 0)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < p->ssh_count; i++)
		t->has_self |= p->ssh[i].has_self;
	return 0;
}

static void *array_of(uint32_t count, size_t size)
{
	return calloc(count ? count : 1, size);
}

/* release() - Everything but the policy, which gives the lengths of the lists */
static void release(struct applied_policy *t)
{
	struct owner *owner, *next;

	HASH_CLEAR(hh, t->nodes);
	for (uint32_t i = 0; i < t->slot_count; i++)
		node_free(t->slots[i]);
	HASH_ITER(hh, t->owners, owner, next) {
		owner->nodes.count = 0;
		owner_release(t, owner);
	}
	for (uint32_t i = 0; t->members && i < t->policy->selector_count; i++)
		free(t->members[i].items);
	for (uint32_t i = 0; t->sources && i < t->policy->rule_count; i++)
		free(t->sources[i]);
	free(t->members);
	free(t->sources);
	free(t->selector_marks);
	free(t->rule_marks);
	free(t->ssh_marks);
	free(t->slots);
	free(t->routers.items);
	indexes_clear(&t->free_slots);
	indexes_clear(&t->self_rules);
	free(t);
}

void applied_policy_free(struct applied_policy *t)
{
	struct policy *policy;

	if (!t)
		return;
	policy = t->policy;
	release(t);
	policy_free(policy);
}

int applied_policy_create(struct policy *policy, struct applied_policy **ret)
{
	struct applied_policy *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->policy = policy;
	t->members = array_of(policy->selector_count, sizeof(*t->members));
	t->selector_marks = array_of(policy->selector_count, sizeof(*t->selector_marks));
	t->rule_marks = array_of(policy->rule_count, sizeof(*t->rule_marks));
	t->ssh_marks = array_of(policy->ssh_count, sizeof(*t->ssh_marks));
	t->sources = array_of(policy->rule_count, sizeof(*t->sources));
	if (!t->members || !t->selector_marks || !t->rule_marks || !t->ssh_marks || !t->sources ||
	    find_self_rules(t) < 0) {
		release(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

int applied_policy_replace(struct applied_policy **t, struct policy *policy)
{
	struct applied_policy *fresh;
	struct applied_node *node, *next;
	int r = applied_policy_create(policy, &fresh);

	if (r < 0)
		return r;
	HASH_ITER(hh, (*t)->nodes, node, next) {
		struct policy_node copy = {
			.id = node->id,
			.user = node->user,
			.tags = node->tags,
			.v4 = node->v4,
			.v6 = node->v6,
			.routes = node->routes,
		};

		r = applied_policy_put(fresh, &copy, NULL);
		if (r < 0) {
			release(fresh);
			return r;
		}
	}
	applied_policy_free(*t);
	*t = fresh;
	return 0;
}

const struct policy *applied_policy_source(const struct applied_policy *t)
{
	return t->policy;
}
