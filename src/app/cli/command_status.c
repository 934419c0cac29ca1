/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_status.c - status, ip, whois, version */
#include "app/cli/client.h"
#include "app/cli/command.h"
#include "app/cli/output.h"
#include "base/address.h"
#include "base/cleanup.h"
#include "wire/tailcfg.h"

#include <errno.h>
#include <string.h>

#define TARGET_MAX 512

/* user_of() - The login name of a node's owner; tagged nodes have none */
static const char *user_of(const json_t *status, const json_t *peer)
{
	char id[24];

	if (json_array_size(json_object_get(peer, "Tags")) > 0)
		return "tagged-devices";
	snprintf(id, sizeof(id), "%lld",
		 (long long)json_integer_value(json_object_get(peer, "UserID")));
	return text_of(json_object_get(json_object_get(status, "User"), id), "LoginName");
}

/* short_name() - The first label of the name in the tailnet, else the machine's own name */
static void short_name(const json_t *peer, char *ret, size_t size)
{
	const char *name = text_of(peer, "DNSName");

	if (*name)
		printable(ret, size, name, strcspn(name, "."));
	else
		printable(ret, size, text_of(peer, "HostName"), strlen(text_of(peer, "HostName")));
}

/* print_path() - "direct 192.0.2.1:41641, tx 120 rx 96", "relay fra", "offline", … */
static void print_path(const json_t *peer)
{
	long long tx = json_integer_value(json_object_get(peer, "TxBytes"));
	long long rx = json_integer_value(json_object_get(peer, "RxBytes"));
	const char *address = text_of(peer, "CurAddr"), *relay = text_of(peer, "Relay");
	bool online = json_is_true(json_object_get(peer, "Online"));
	bool active = json_is_true(json_object_get(peer, "Active"));

	if (json_is_true(json_object_get(peer, "Expired"))) {
		printf("%skey expired%s\n", style(stdout, STYLE_BAD), style(stdout, STYLE_PLAIN));
		return;
	}
	if (!online && !active) {
		printf("%soffline%s\n", style(stdout, STYLE_FAINT), style(stdout, STYLE_PLAIN));
		return;
	}
	if (!active && tx == 0 && rx == 0) {
		printf("-\n");
		return;
	}
	print_line(stdout, "%s; %s%s, tx %lld rx %lld", active ? "active" : "idle",
		   *address ? "direct "
		   : *relay ? "relay "
			    : "no path yet",
		   *address ? address : relay, tx, rx);
}

static void print_node(const json_t *status, const json_t *peer, bool self)
{
	char name[64];
	const struct {
		const char *text;
		int width;
	} columns[] = {
		{peer_address(peer), 15},
		{name, 20},
		{user_of(status, peer), 20},
		{text_of(peer, "OS"), 7},
	};

	short_name(peer, name, sizeof(name));
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		printable_put(stdout, columns[i].text, columns[i].width);
		putchar(' ');
	}
	if (self)
		printf("-\n");
	else
		print_path(peer);
}

/* by_name() - Order of peers in the list */
static int by_name(const void *a, const void *b)
{
	const json_t *const *left = a, *const *right = b;

	return strcmp(text_of(*left, "DNSName"), text_of(*right, "DNSName"));
}

static void print_peers(const json_t *status, bool active_only)
{
	json_t *peers = json_object_get(status, "Peer"), *peer;
	size_t size = json_object_size(peers), count = 0;
	_cleanup_free_ json_t **sorted = calloc(size + 1, sizeof(*sorted));
	const char *key;

	if (!sorted)
		return;
	json_object_foreach(peers, key, peer)
		if (!active_only || json_is_true(json_object_get(peer, "Active")))
			sorted[count++] = peer;
	qsort(sorted, count, sizeof(*sorted), by_name);
	for (size_t i = 0; i < count; i++)
		print_node(status, sorted[i], false);
}

static void print_health(const json_t *status)
{
	const json_t *health = json_object_get(status, "Health"), *line;
	size_t i;

	if (json_array_size(health) == 0)
		return;
	printf("\n%sHealth:%s\n", style(stdout, STYLE_BAD), style(stdout, STYLE_PLAIN));
	json_array_foreach(health, i, line)
		print_line(stdout, "  - %s", json_string_value(line) ?: "");
}

/* explain() - A state other than Running in a sentence, with the next step */
static void explain(const json_t *status)
{
	const char *state = text_of(status, "BackendState"), *url = text_of(status, "AuthURL");

	if (strcmp(state, "NeedsLogin") == 0) {
		printf("Not logged in. Log in with 'pillion up' (as root).\n");
		if (*url) {
			print_line(stdout, "Log in at: %s", url);
			printf("Its key, to compare: %s\n",
			       text_of(json_object_get(status, "Self"), "PublicKey"));
		}
	} else if (strcmp(state, "Stopped") == 0) {
		printf("The node is down. Bring it up with 'pillion up' (as root).\n");
	} else if (strcmp(state, "NeedsMachineAuth") == 0) {
		printf("The node waits for an administrator of the tailnet to approve it.\n");
	} else if (strcmp(state, "Starting") == 0 || strcmp(state, "NoState") == 0) {
		printf("The node is starting.\n");
	}
}

/* keep_active() - Take those without traffic out of the peers */
static void keep_active(json_t *peers)
{
	const char *key;
	json_t *peer;
	void *next;

	json_object_foreach_safe(peers, next, key, peer)
		if (!json_is_true(json_object_get(peer, "Active")))
			json_object_del(peers, key);
}

int run_status(struct command_line *line)
{
	bool peers = !line->own[STATUS_PEERS].given || line->own[STATUS_PEERS].on;
	_cleanup_json_ json_t *status = NULL;
	struct error err = {0};
	bool running;

	if (line->own[STATUS_WEB].on)
		return complain(EXIT_FAILS, "--web is not supported");
	if (localapi_status(localapi_socket_path(line->socket), peers, &status, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	running = strcmp(text_of(status, "BackendState"), "Running") == 0;
	if (line->own[STATUS_JSON].on) {
		if (line->own[STATUS_ACTIVE].on)
			keep_active(json_object_get(status, "Peer"));
		print_json(status);
		/* As the official client: a program reads the state in the JSON. */
		return EXIT_OK;
	}
	explain(status);
	if (running || strcmp(text_of(status, "BackendState"), "Starting") == 0) {
		if (line->own[STATUS_HEADER].on)
			printf("%-15s %-20s %-20s %-7s %s\n", "IP", "HOSTNAME", "OWNER", "OS",
			       "STATUS");
		if (!line->own[STATUS_SELF].given || line->own[STATUS_SELF].on)
			print_node(status, json_object_get(status, "Self"), true);
		if (peers)
			print_peers(status, line->own[STATUS_ACTIVE].on);
	}
	if (running && *text_of(status, "AEAD"))
		print_line(stdout, "\nEncryption of packets: %s", text_of(status, "AEAD"));
	print_health(status);
	return running ? EXIT_OK : EXIT_FAILS;
}

/* assert_address() - --assert: whether this node has the address */
static int assert_address(const json_t *status, const struct address *asked)
{
	const json_t *addresses = json_object_get(status, "TailscaleIPs"), *text;
	char wanted[ADDRESS_TEXT_MAX];
	struct address own;
	size_t i;

	json_array_foreach(addresses, i, text)
		if (json_is_string(text) &&
		    address_parse(json_string_value(text), json_string_length(text), &own) == 0 &&
		    address_equal(&own, asked))
			return EXIT_OK;
	return complain(EXIT_FAILS, "%s is not an address of this node; its state is %s",
			address_format(asked, wanted), text_of(status, "BackendState"));
}

int run_ip(struct command_line *line)
{
	_cleanup_json_ json_t *status = NULL;
	const json_t *node, *addresses, *address;
	const struct flag_value *wanted = &line->own[IP_ASSERT];
	bool v4 = line->own[IP_V4].on, v6 = line->own[IP_V6].on, found = false;
	struct error err = {0};
	size_t i;

	if (v4 && v6)
		return complain(EXIT_USAGE, "-4 and -6 exclude each other");
	if (line->rest_count > 1)
		return complain(EXIT_USAGE, "name one host at most");
	if (localapi_status(localapi_socket_path(line->socket), line->rest_count == 1, &status,
			    &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	if (wanted->given)
		return assert_address(status, &wanted->endpoint.address);
	node = line->rest_count ? peer_find(status, line->rest[0], &err)
				: json_object_get(status, "Self");
	if (!node)
		return complain(EXIT_FAILS, "%s", err.text);
	addresses = line->rest_count ? json_object_get(node, "TailscaleIPs")
				     : json_object_get(status, "TailscaleIPs");
	json_array_foreach(addresses, i, address) {
		const char *text = json_string_value(address) ?: "";
		bool is_v6 = strchr(text, ':') != NULL;

		if ((v4 && is_v6) || (v6 && !is_v6) || (line->own[IP_FIRST].on && found))
			continue;
		print_line(stdout, "%s", text);
		found = true;
	}
	if (!found)
		return complain(EXIT_FAILS, "no such address (the node's state is %s)",
				text_of(status, "BackendState"));
	return EXIT_OK;
}

int run_whois(struct command_line *line)
{
	const struct flag_value *proto = &line->own[WHOIS_PROTO];
	const json_t *node, *user, *tags;
	_cleanup_json_ json_t *found = NULL;
	char target[TARGET_MAX];
	struct error err = {0};
	struct endpoint endpoint;
	struct address bare;
	const char *about;
	int r;

	if (line->rest_count != 1)
		return complain(EXIT_USAGE, "name an address: pillion whois IP[:PORT]");
	about = line->rest[0];
	if (address_parse(about, strlen(about), &bare) < 0 &&
	    endpoint_parse(about, strlen(about), &endpoint) < 0)
		return complain(
			EXIT_USAGE,
			"'%.64s' is not a valid address; write 100.64.0.2, 100.64.0.2:80 or "
			"[fd7a::2]:80",
			about);
	snprintf(target, sizeof(target), "/localapi/v0/whois?addr=%s&proto=%s", about,
		 proto->given ? proto->text : "");
	r = daemon_ask(line, "GET", target, NULL, &found, &err);
	if (r == -ESRCH)
		return complain(EXIT_FAILS, "no node of the tailnet has the address %s", about);
	if (r < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	if (line->own[WHOIS_JSON].on) {
		print_json(found);
		return EXIT_OK;
	}
	node = json_object_get(found, "Node");
	user = json_object_get(found, "UserProfile");
	printf("Machine:\n");
	print_line(stdout, "  Name:          %s", text_of(node, "Name"));
	print_line(stdout, "  ID:            %s", text_of(node, "StableID"));
	printf("  Addresses:     ");
	print_list(stdout, json_object_get(node, "Addresses"));
	putchar('\n');
	tags = json_object_get(node, "Tags");
	if (json_array_size(tags) > 0) {
		printf("  Tags:          ");
		print_list(stdout, tags);
	} else {
		printf("User:\n");
		print_line(stdout, "  Name:          %s", text_of(user, "LoginName"));
		printf("  ID:            %lld",
		       (long long)json_integer_value(json_object_get(user, "ID")));
	}
	putchar('\n');
	return EXIT_OK;
}

void print_version(void)
{
	printf("%s\n  to the network: %s, capability version %d\n", PILLION_VERSION,
	       TAILCFG_IPN_VERSION, TAILCFG_CAPABILITY_VERSION);
}

int run_version(struct command_line *line)
{
	_cleanup_json_ json_t *status = NULL, *value = NULL;
	struct error err = {0};

	if (line->own[VERSION_UPSTREAM].on)
		return complain(EXIT_FAILS, "--upstream is not supported");
	if (line->own[VERSION_DAEMON].on &&
	    localapi_status(localapi_socket_path(line->socket), false, &status, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	if (line->own[VERSION_JSON].on) {
		value = json_pack("{s:s,s:s,s:i}", "short", PILLION_VERSION, "network",
				  TAILCFG_IPN_VERSION, "cap", TAILCFG_CAPABILITY_VERSION);
		if (status)
			(void)json_object_set_new(value, "daemonLong",
						  json_string(text_of(status, "Version")));
		print_json(value);
		return EXIT_OK;
	}
	print_version();
	if (status)
		print_line(stdout, "  daemon: %s", text_of(status, "Version"));
	return EXIT_OK;
}
