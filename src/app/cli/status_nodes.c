/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/status_nodes.c - nodes in an ipnstate.Status */
#include "app/cli/status_nodes.h"

#include "app/cli/output.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool has_address(const json_t *node, const char *host)
{
	const json_t *addresses = json_object_get(node, "TailscaleIPs"), *address;
	size_t i;

	json_array_foreach(addresses, i, address)
		if (strcmp(json_string_value(address) ?: "", host) == 0)
			return true;
	return false;
}

static bool is_called(const json_t *node, const char *host)
{
	const char *name = text_of(node, "DNSName");
	size_t length = strlen(host);

	if (length > 0 && host[length - 1] == '.')
		length--;
	if (length == 0 || strncasecmp(name, host, length) != 0)
		return has_address(node, host);
	return name[length] == '.' || !name[length];
}

static bool runs_on(const json_t *node, const char *host)
{
	return *host && strcasecmp(text_of(node, "HostName"), host) == 0;
}

static const json_t *find_by(const json_t *status, const char *host,
			     bool (*matches)(const json_t *node, const char *host))
{
	const json_t *self = json_object_get(status, "Self");
	json_t *peers = json_object_get(status, "Peer"), *peer;
	const char *key;

	if (matches(self, host))
		return self;
	json_object_foreach(peers, key, peer)
		if (matches(peer, host))
			return peer;
	return NULL;
}

const json_t *peer_find(const json_t *status, const char *host, struct error *err)
{
	const json_t *node = find_by(status, host, is_called);

	if (!node)
		node = find_by(status, host, runs_on);
	if (!node)
		error_set(err, -ENOENT,
			  "no node of the tailnet is called '%.64s'; 'pillion status' lists them",
			  host);
	return node;
}

const char *peer_address(const json_t *peer)
{
	const char *text =
		json_string_value(json_array_get(json_object_get(peer, "TailscaleIPs"), 0));

	return text ? text : "-";
}

const char *peer_name(const json_t *peer, char ret[static PEER_NAME_MAX])
{
	size_t length;

	snprintf(ret, PEER_NAME_MAX, "%s", text_of(peer, "DNSName"));
	length = strlen(ret);
	if (length > 0 && ret[length - 1] == '.')
		ret[length - 1] = 0;
	return ret;
}
