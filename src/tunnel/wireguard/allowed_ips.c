/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/wireguard/allowed_ips.c - find the owner of an address, by longest prefix */
#include "tunnel/wireguard/allowed_ips.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct allowed_ip {
	struct allowed_ip *parent;
	struct allowed_ip *children[2];
	struct allowed_ips_owner *owner;          /* NULL: a fork with two children */
	struct allowed_ip *next, **previous_next; /* in the owner's list */
	struct prefix prefix;                     /* host bits clear */
};

static struct allowed_ip **root_of(struct allowed_ips *ips, const struct address *address)
{
	return &ips->roots[address->family == ADDRESS_V6];
}

static unsigned int bit_at(const struct address *address, unsigned int bit)
{
	return (unsigned int)address->bytes[bit / 8] >> (7 - bit % 8) & 1u;
}

/* The number of leading bits that @a and @b share, at most @limit. */
static unsigned int common_bits(const struct address *a, const struct address *b,
				unsigned int limit)
{
	unsigned int bits = 0;

	for (unsigned int i = 0; bits < limit; i++, bits += 8) {
		unsigned int differ = (unsigned int)(a->bytes[i] ^ b->bytes[i]);

		if (differ) {
			bits += (unsigned int)__builtin_clz(differ) - 24;
			break;
		}
	}
	return bits < limit ? bits : limit;
}

static bool holds(const struct allowed_ip *node, const struct address *address)
{
	return common_bits(&node->prefix.address, address, node->prefix.bits) == node->prefix.bits;
}

static void disown(struct allowed_ip *node)
{
	if (!node->owner)
		return;
	*node->previous_next = node->next;
	if (node->next)
		node->next->previous_next = node->previous_next;
	node->owner = NULL;
}

static void own(struct allowed_ip *node, struct allowed_ips_owner *owner)
{
	disown(node);
	node->owner = owner;
	node->next = owner->first;
	node->previous_next = &owner->first;
	if (node->next)
		node->next->previous_next = &node->next;
	owner->first = node;
}

static void adopt(struct allowed_ip *parent, struct allowed_ip *child)
{
	parent->children[bit_at(&child->prefix.address, parent->prefix.bits)] = child;
	child->parent = parent;
}

int allowed_ips_insert(struct allowed_ips *ips, const struct prefix *prefix,
		       struct allowed_ips_owner *owner)
{
	struct allowed_ip **at, *parent = NULL, *node, *fork, *below;
	unsigned int shared;
	struct prefix masked;

	if (!address_length(&prefix->address) || prefix->bits > address_bits(&prefix->address))
		return -EINVAL;
	masked = prefix_mask(prefix);
	at = root_of(ips, &masked.address);
	while (*at && (*at)->prefix.bits <= masked.bits && holds(*at, &masked.address)) {
		if ((*at)->prefix.bits == masked.bits) {
			const struct allowed_ips_owner *before = (*at)->owner;

			if (!before || before->target != ALLOWED_IPS_LOCAL ||
			    owner->target == ALLOWED_IPS_LOCAL)
				own(*at, owner);
			return 0;
		}
		parent = *at;
		at = &parent->children[bit_at(&masked.address, parent->prefix.bits)];
	}

	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->prefix = masked;
	below = *at;
	shared = below ? common_bits(&masked.address, &below->prefix.address,
				     below->prefix.bits < masked.bits ? below->prefix.bits
								      : masked.bits)
		       : masked.bits;
	if (shared == masked.bits) {
		/* The new node goes above the existing one. */
		*at = node;
		node->parent = parent;
		if (below)
			adopt(node, below);
	} else {
		fork = calloc(1, sizeof(*fork));
		if (!fork)
			goto no_memory;
		fork->prefix = prefix_mask(
			&(struct prefix){.address = masked.address, .bits = (uint8_t)shared});
		*at = fork;
		fork->parent = parent;
		adopt(fork, node);
		adopt(fork, below);
	}
	own(node, owner);
	return 0;

no_memory:
	free(node);
	return -ENOMEM;
}

/* Remove @node if it has no owner and is no fork; then check its parent. */
static void prune(struct allowed_ips *ips, struct allowed_ip *node)
{
	while (node && !node->owner && !(node->children[0] && node->children[1])) {
		struct allowed_ip *parent = node->parent;
		struct allowed_ip *child = node->children[node->children[1] != NULL];
		struct allowed_ip **at = parent ? &parent->children[parent->children[1] == node]
						: root_of(ips, &node->prefix.address);

		*at = child;
		if (child)
			child->parent = parent;
		free(node);
		node = parent;
	}
}

void allowed_ips_remove_owner(struct allowed_ips *ips, struct allowed_ips_owner *owner)
{
	while (owner->first) {
		struct allowed_ip *node = owner->first;

		disown(node);
		prune(ips, node);
	}
}

struct allowed_ips_owner *allowed_ips_lookup(const struct allowed_ips *ips,
					     const struct address *address)
{
	const struct allowed_ip *node = ips->roots[address->family == ADDRESS_V6];
	struct allowed_ips_owner *found = NULL;
	unsigned int bits = address_bits(address);

	while (bits && node && holds(node, address)) {
		if (node->owner)
			found = node->owner;
		if (node->prefix.bits == bits)
			break;
		node = node->children[bit_at(address, node->prefix.bits)];
	}
	return found;
}
