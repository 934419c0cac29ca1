/* SPDX-License-Identifier: BSD-3-Clause */
/* base/prefixes.c - many prefixes: a list that grows, and a table that finds one at once */
#include "base/prefixes.h"

#include "base/array.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

int prefixes_add(struct prefixes *p, const struct prefix *prefix)
{
	int r = ARRAY_GROW(p->list, p->count, p->capacity);

	if (r == 0)
		p->list[p->count++] = *prefix;
	return r;
}

void prefixes_free(struct prefixes *p)
{
	free(p->list);
	*p = (struct prefixes){0};
}

void prefixes_unite(struct prefixes *p)
{
	size_t kept = 0;

	if (p->count == 0)
		return;
	qsort(p->list, p->count, sizeof(*p->list), prefix_compare);
	for (size_t i = 1; i < p->count; i++)
		if (prefix_compare(&p->list[kept], &p->list[i]) != 0)
			p->list[++kept] = p->list[i];
	p->count = kept + 1;
}

struct prefix_entry *prefix_table_find(const struct prefix_table *t, const struct prefix *prefix)
{
	struct prefix_entry **found = tfind(prefix, &t->tree, prefix_compare);

	return found ? *found : NULL;
}

struct prefix_entry *prefix_table_add(struct prefix_table *t, const struct prefix *prefix)
{
	struct prefix_entry *entry = calloc(1, sizeof(*entry)), **found;

	if (!entry)
		return NULL;
	entry->prefix = *prefix;
	found = tsearch(entry, &t->tree, prefix_compare);
	if (!found || *found != entry) {
		free(entry);
		return found ? *found : NULL;
	}
	LIST_INSERT_HEAD(&t->entries, entry, entry);
	t->count++;
	return entry;
}

void prefix_table_remove(struct prefix_table *t, struct prefix_entry *entry)
{
	tdelete(entry, &t->tree, prefix_compare);
	LIST_FIRST(&t->entries)->entry.le_prev = &LIST_FIRST(&t->entries); /* @t may have moved */
	LIST_REMOVE(entry, entry);
	t->count--;
	free(entry);
}

void prefix_table_free(struct prefix_table *t)
{
	tdestroy(t->tree, free);
	*t = (struct prefix_table){0};
}
