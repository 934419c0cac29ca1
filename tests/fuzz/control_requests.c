/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/control_requests.c - what nodes send to the coordination server, taken over by it
 *
 * One text is read as a registration, a map request, a change of DNS, a question about an SSH
 * session or about a node key, and a form; what could be read is acted on, and the tailnet's
 * messages must be readable by the client's own parser afterwards.
 */
#include "base/limits.h"
#include "base/text.h"
#include "server/coordinator/dns_hook.h"
#include "server/coordinator/tailnet.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_users_key(struct tailnet *t)
{
	struct registry_user *user = NULL;
	struct error err;

	if (registry_add_user(&t->registry, "u", 1, &user, &err) < 0)
		abort();
}

/* read_map() - A message of ours, with the client's eyes */
static void read_map(struct tailnet *t, struct registry_node *node, struct tailnet_time now)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct tailcfg_map_response response;
	struct error err = {0};

	if (tailnet_full_map(t, node, now, &text) < 0 ||
	    tailcfg_map_response_parse((char *)buffer_head(&text), text.length, &response, &err) <
		    0)
		abort();
	tailcfg_map_response_clear(&response);
	buffer_free(&text);
}

static bool is_printable(const char *text, size_t size)
{
	size_t length = strnlen(text, size);

	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	return length < size;
}

/* read_others() - Requests other than registrations and map requests */
static void read_others(const char *text, size_t size)
{
	struct machine_set_dns_request dns;
	struct machine_ssh_request ssh;
	struct public_key key;
	struct error err = {0};
	char *path = strndup(text, size), field[64];

	if (machine_set_dns_request_parse(text, size, &dns, &err) == 0 &&
	    (!is_printable(dns.name, sizeof(dns.name)) ||
	     !is_printable(dns.type, sizeof(dns.type)) ||
	     !is_printable(dns.value, sizeof(dns.value)) || public_key_is_zero(&dns.node_key) ||
	     (dns_hook_name_is_valid(dns.name) && strpbrk(dns.name, "/;$ "))))
		abort();
	if (machine_verify_request_parse(text, size, &key, &err) == 0 && public_key_is_zero(&key))
		abort();
	if (path && machine_ssh_request_parse(path, &ssh) == 0 &&
	    (ssh.from <= 0 || ssh.to <= 0 || !ssh.user[0] ||
	     !is_printable(ssh.user, sizeof(ssh.user)) ||
	     !is_printable(ssh.check, sizeof(ssh.check))))
		abort();
	if (form_field(text, size, "key", field, sizeof(field)) < 0 && field[0])
		abort();
	if (!is_printable(field, sizeof(field)))
		abort();
	free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct string_list no_tags;
	struct tailnet_settings settings = {.server_url = "https://c", .base_domain = "b"};
	struct tailnet_time now = {.boot = NSEC_PER_SEC, .wall = 1700000000 * NSEC_PER_SEC};
	struct machine_register_request registration = {0};
	struct machine_map_request map = {0};
	struct public_key machine = {{1}}, other = {{2}};
	struct registry_node *node = NULL, *peer = NULL;
	struct buffer out = BUFFER_INIT(LIMIT_RPC_BODY);
	struct error err = {0};
	struct tailnet t;

	read_others((const char *)data, size);
	if (tailnet_init(&t, &settings) < 0)
		abort();
	add_users_key(&t);
	if (machine_register_request_parse(data, size, &registration, &err) == 0) {
		if (public_key_is_zero(&registration.node_key) ||
		    registration.hostinfo.routable_ips.count > MACHINE_ROUTES_MAX)
			abort();
		tailnet_register(&t, &machine, &registration, true, now, &out, &err);
		if (t.logins && (tailnet_approve(&t, t.logins->id, t.registry.users, &no_tags, now,
						 &node, &err) < 0 ||
				 strlen(node->name) > REGISTRY_NAME_MAX || !node->name[0]))
			abort();
	}
	if (machine_map_request_parse(data, size, &map, &err) == 0) {
		if (map.endpoints.count > MACHINE_ENDPOINTS_MAX)
			abort();
		if (!node && registry_add_node(&t.registry, &machine, &map.node_key, "n", now.wall,
					       &node, &err) < 0)
			abort();
		tailnet_update(&t, node, &map);
	}
	if (node &&
	    registry_add_node(&t.registry, &other, &other, "other", now.wall, &peer, &err) == 0) {
		read_map(&t, node, now);
		read_map(&t, peer, now);
	}
	machine_register_request_clear(&registration);
	machine_map_request_clear(&map);
	buffer_free(&out);
	tailnet_clear(&t);
	return 0;
}
