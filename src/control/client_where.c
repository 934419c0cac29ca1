/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/client_where.c - where control is when its name can't be resolved
 *
 * Theory of operation
 *   Guesses, best first: where it was reached, its dial plan, a relay of the netmap that
 *   has its name (Headscale's own is the same host), and hearsay. For hearsay a relay of
 *   the netmap that has addresses is asked by bootstrap DNS, another one each time.
 *   No guess is trusted: a server that answers there has to prove control's name by
 *   TLS, or control's key by Noise.
 */
#include "control/client_internal.h"

#include "base/cleanup.h"

#include <string.h>
#include <strings.h>

/* Guesses before hearsay, which would otherwise never have its turn. */
#define OWN_GUESSES (NAMES_ADDRESSES_MAX - CLIENT_HEARSAY_MAX)

/* add() - To a list of at most @most, unless it's there; returns how many there are then */
static size_t add(struct address *list, size_t count, size_t most, const struct address *address)
{
	if (address->family == ADDRESS_NONE || count >= most)
		return count;
	for (size_t i = 0; i < count; i++)
		if (address_equal(&list[i], address))
			return count;
	list[count] = *address;
	return count + 1;
}

static bool behind_proxy(const struct control_client *client)
{
	return client->url.tls &&
	       proxy_for(client->dialer.proxy, client->url.host, client->url.port) != NULL;
}

void client_reached(struct control_client *client, const struct endpoint *at)
{
	struct address *list = client->addresses, address;
	size_t i;

	if (!at || behind_proxy(client))
		return;
	address = at->address;
	for (i = 0; i < client->address_count; i++)
		if (address_equal(&list[i], &address))
			break;
	if (i == client->address_count && i == CLIENT_ADDRESSES_MAX)
		i--;
	else if (i == client->address_count)
		client->address_count++;
	memmove(&list[1], &list[0], i * sizeof(address));
	list[0] = address;
	client->bootstrap_used = false;
}

size_t client_guesses(const struct control_client *client, struct address *ret)
{
	const struct tailcfg_derp_map *map = &client->core.netmap->derp_map;
	size_t count = 0;

	for (size_t i = 0; i < client->address_count; i++)
		count = add(ret, count, OWN_GUESSES, &client->addresses[i]);
	for (size_t i = 0; i < client->core.dial_plan_count; i++)
		count = add(ret, count, OWN_GUESSES, &client->core.dial_plan[i]);
	for (uint32_t i = 0; i < map->region_count; i++)
		for (uint32_t k = 0; k < map->regions[i].node_count; k++) {
			const struct tailcfg_derp_node *node = &map->regions[i].nodes[k];

			if (!node->host_name || strcasecmp(node->host_name, client->url.host) != 0)
				continue;
			count = add(ret, count, OWN_GUESSES, &node->ipv4);
			count = add(ret, count, OWN_GUESSES, &node->ipv6);
		}
	for (size_t i = 0; i < client->hearsay_count; i++)
		count = add(ret, count, NAMES_ADDRESSES_MAX, &client->hearsay[i]);
	return count;
}

void client_tell_addresses(struct control_client *client)
{
	struct address list[CONTROL_KNOWN_MAX];
	size_t count = 0;

	for (size_t i = 0; i < client->address_count; i++)
		count = add(list, count, CONTROL_KNOWN_MAX, &client->addresses[i]);
	for (size_t i = 0; i < client->core.dial_plan_count; i++)
		count = add(list, count, CONTROL_KNOWN_MAX, &client->core.dial_plan[i]);
	if (count == client->told_count && memcmp(list, client->told, count * sizeof(*list)) == 0)
		return;
	memcpy(client->told, list, count * sizeof(*list));
	client->told_count = count;
	client->handler->reached(client->user, list, count);
}

/* --- Bootstrap DNS --- */

/* may_be_control() - Not this machine, not its link, not everybody: nothing is to be sent there */
static bool may_be_control(const struct address *a)
{
	return !address_is_loopback(a) && !address_is_link_local(a) && !address_is_multicast(a) &&
	       !address_is_unspecified(a) && !address_is_tailnet(a);
}

static void on_bootstrap(void *user, const struct address *addresses, size_t count,
			 const struct error *err)
{
	struct control_client *client = user;
	struct address list[CLIENT_HEARSAY_MAX];
	size_t kept = 0;

	(void)err;
	client->bootstrap = NULL;
	for (size_t i = 0; i < count; i++)
		if (may_be_control(&addresses[i]))
			kept = add(list, kept, CLIENT_HEARSAY_MAX, &addresses[i]);
	if (!kept)
		return;
	memcpy(client->hearsay, list, kept * sizeof(*list));
	client->hearsay_count = kept;
	client->bootstrap_used = true;
	client_dial_now(client);
}

/* The next relay, in turn, of those that have an address. */
static const struct tailcfg_derp_node *bootstrap_relay(struct control_client *client)
{
	const struct tailcfg_derp_map *map = &client->core.netmap->derp_map;
	const struct tailcfg_derp_node *first = NULL;
	unsigned int turn = 0;

	for (uint32_t i = 0; i < map->region_count; i++) {
		for (uint32_t k = 0; k < map->regions[i].node_count; k++) {
			const struct tailcfg_derp_node *node = &map->regions[i].nodes[k];

			if (node->stun_only || !node->host_name ||
			    (node->ipv4.family == ADDRESS_NONE &&
			     node->ipv6.family == ADDRESS_NONE))
				continue;
			if (!first)
				first = node;
			if (turn++ == client->bootstrap_turn) {
				client->bootstrap_turn++;
				return node;
			}
		}
	}
	client->bootstrap_turn = 1;
	return first;
}

void client_bootstrap(struct control_client *client, const struct error *err)
{
	const struct tailcfg_derp_node *relay;
	struct dial_options to = {0};
	struct tls_options tls = {0};
	struct address addresses[2], literal;

	if (client->bootstrap || err->code != DIAL_UNRESOLVED || !client->url.tls ||
	    address_parse(client->url.host, strlen(client->url.host), &literal) == 0)
		return;
	if (client->bootstrap_used) {
		client->bootstrap_used = false;
		return;
	}
	relay = bootstrap_relay(client);
	if (!relay)
		return;
	tls = (struct tls_options){.host = relay->host_name,
				   .cert_name = relay->cert_name,
				   .insecure = relay->insecure_for_tests};
	if (relay->ipv4.family != ADDRESS_NONE)
		addresses[to.address_count++] = relay->ipv4;
	if (relay->ipv6.family != ADDRESS_NONE)
		addresses[to.address_count++] = relay->ipv6;
	to.host = relay->host_name;
	to.port = relay->derp_port;
	to.tls = &tls;
	to.addresses = addresses;
	(void)bootstrap_dns_start(&client->dialer, &to, client->url.host, on_bootstrap, client,
				  &client->bootstrap, NULL);
}
