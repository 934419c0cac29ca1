/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_tailcfg.c - the traps of the coordination protocol's JSON */
#include "unit/unit.h"
#include "wire/tailcfg.h"

#include <time.h>

#define ZERO_HEX "0000000000000000000000000000000000000000000000000000000000000000"
#define ONE_HEX  "1111111111111111111111111111111111111111111111111111111111111111"

static struct json_range range_of(const char *text)
{
	return (struct json_range){.at = text, .length = strlen(text)};
}

static struct tailcfg_node node_of(const char *text)
{
	struct tailcfg_node node;
	struct error err = {0};

	if (members_parse(&tailcfg_node_members, range_of(text), &node, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return node;
}

static char *text_of(struct buffer *b)
{
	assert_int_equal(buffer_append(b, "", 1), 0);
	return (char *)buffer_head(b);
}

static void node_is_normalised(void **state)
{
	static const struct {
		const char *json;
		int result;
		uint16_t home;
		uint32_t allowed;
		uint32_t capabilities;
	} rows[] = {
		/* 1: legacy home */ {"{\"ID\":1,\"DERP\":\"127.3.3.40:9\"}", 0, 9, 0, 0},
		/* 2: only that address */ {"{\"ID\":1,\"DERP\":\"127.3.3.41:9\"}", 0, 0, 0, 0},
		/* 3: the int wins */
		{"{\"ID\":1,\"DERP\":\"127.3.3.40:9\",\"HomeDERP\":7}", 0, 7, 0, 0},
		/* 4: beyond 16 bits */ {"{\"ID\":1,\"HomeDERP\":65536}", 0, 0, 0, 0},
		/* 5: AllowedIPs absent */
		{"{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"]}", 0, 0, 1, 0},
		/* 6: null */
		{"{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"],\"AllowedIPs\":null}", 0, 0, 1, 0},
		/* 7: [] stays empty */
		{"{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"],\"AllowedIPs\":[]}", 0, 0, 0, 0},
		/* 8: routes too */
		{"{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"],\"AllowedIPs\":[\"100.64.0.1/32\","
		 "\"10.0.0.0/8\",\"::/0\"]}",
		 0, 0, 3, 0},
		/* 9: unsigned: its addresses only */
		{"{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"],\"AllowedIPs\":[\"0.0.0.0/0\","
		 "\"::/0\"],\"UnsignedPeerAPIOnly\":true}",
		 0, 0, 1, 0},
		/* 10: capabilities, null and listed twice */
		{"{\"ID\":1,\"CapMap\":{\"ssh\":null,\"x\":[1]},\"Capabilities\":[\"ssh\",\"y\"]}",
		 0, 0, 0, 3},
		/* 11: empty key strings */
		{"{\"ID\":1,\"Key\":\"\",\"DiscoKey\":\"\",\"Machine\":null}", 0, 0, 0, 0},
		/* 12: no ID */ {"{\"Name\":\"x\"}", -EINVAL, 0, 0, 0},
		/* 13: bad prefix */
		{"{\"ID\":1,\"Addresses\":[\"100.64.0.1/33\"]}", -EINVAL, 0, 0, 0},
		/* 14: bad key */ {"{\"ID\":1,\"Key\":\"nodekey:12\"}", -EINVAL, 0, 0, 0},
		/* 15: a peer can't spoil the map by its Hostinfo */
		{"{\"ID\":1,\"Hostinfo\":{\"OS\":7,\"Services\":[null,{\"Port\":99999}],"
		 "\"RoutableIPs\":[\"x\"],\"Hostname\":\"a\\u0000b\",\"NetInfo\":[]}}",
		 0, 0, 0, 0},
		/* 16: Hostinfo of another type */ {"{\"ID\":1,\"Hostinfo\":[]}", 0, 0, 0, 0},
		/* 17: wrong type */ {"{\"ID\":\"1\"}", -EINVAL, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tailcfg_node node;
		int r = members_parse(&tailcfg_node_members, range_of(rows[i].json), &node, NULL);

		if (r != rows[i].result)
			fail_msg("row %zu: result %d", i + 1, r);
		if (r < 0)
			continue;
		if (node.home_derp != rows[i].home || node.allowed_ips.count != rows[i].allowed ||
		    node.cap_map.count != rows[i].capabilities)
			fail_msg("row %zu: home %u allowed %u capabilities %u", i + 1,
				 node.home_derp, node.allowed_ips.count, node.cap_map.count);
		tailcfg_node_clear(&node);
	}
}

static const char full_node[] =
	"{\"ID\":42,\"StableID\":\"nABC\",\"Name\":\"host.tail.example.\",\"User\":5,\"Sharer\":6,"
	"\"Key\":\"nodekey:" ONE_HEX "\",\"KeyExpiry\":\"2030-01-01T00:00:00Z\","
	"\"KeySignature\":\"AAAA\",\"Machine\":\"mkey:" ONE_HEX
	"\",\"DiscoKey\":\"discokey:" ONE_HEX
	"\",\"Addresses\":[\"100.64.0.9/32\",\"fd7a:115c:a1e0::9/128\"],"
	"\"AllowedIPs\":[\"100.64.0.9/32\",\"10.0.0.0/8\"],\"Endpoints\":[\"1.2.3.4:5\","
	"\"[2001:db8::1]:41641\"],\"HomeDERP\":3,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":"
	"\"host\","
	"\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":80}],\"RoutableIPs\":[\"10.0.0.0/8\"],"
	"\"NetInfo\":{\"WorkingUDP\":true,\"PreferredDERP\":3}},"
	"\"Created\":\"2024-01-01T00:00:00Z\",\"Cap\":133,\"Tags\":[\"tag:x\"],"
	"\"PrimaryRoutes\":[\"10.0.0.0/8\"],\"LastSeen\":\"2024-05-01T00:00:00Z\",\"Online\":false,"
	"\"MachineAuthorized\":true,\"CapMap\":{\"a\":[{\"x\":1},\"y\"],\"b\":null},"
	"\"UnsignedPeerAPIOnly\":false,\"ComputedName\":\"host\",\"Expired\":true,"
	"\"SelfNodeV4MasqAddrForThisPeer\":\"100.64.1.1\",\"IsWireGuardOnly\":true,\"IsJailed\":"
	"true}";

/* Sorted once, not once for each: a minute otherwise. */
static void many_old_capabilities_are_joined(void **state)
{
	const uint32_t count = 30000;
	json_t *json = json_pack("{s:i,s:{s:n}}", "ID", 1, "CapMap", "c7"), *names = json_array();
	clock_t before = clock();
	struct tailcfg_node node;
	struct error err;

	(void)state;
	for (uint32_t i = 0; i < 2 * count; i++)
		json_array_append_new(names, json_sprintf("c%u", i % count));
	json_object_set_new(json, "Capabilities", names);
	assert_int_equal(tailcfg_node_decode(json, &node, &err), 0);
	assert_int_equal(node.cap_map.count, count);
	assert_non_null(tailcfg_capability_find(&node.cap_map, "c7"));
	assert_true(clock() - before < 5 * CLOCKS_PER_SEC);
	tailcfg_node_clear(&node);
	json_decref(json);
}

static void node_survives_both_ways(void **state)
{
	struct buffer first = BUFFER_INIT(10000), second = BUFFER_INIT(10000);
	struct tailcfg_node node = node_of(full_node), again;
	struct json_writer w = json_writer_to(&first);
	char name[64];

	(void)state;
	assert_int_equal(node.id, 42);
	assert_int_equal(node.home_derp, 3);
	assert_int_equal(node.online, OPTIONAL_FALSE);
	assert_string_equal(tailcfg_capability_find(&node.cap_map, "a")->values,
			    "[{\"x\":1},\"y\"]");
	assert_non_null(tailcfg_capability_find(&node.cap_map, "b"));
	assert_null(tailcfg_capability_find(&node.cap_map, "c"));
	assert_int_equal(node.hostinfo->service_count, 1);
	assert_string_equal(tailcfg_node_display_name(&node, name), "host");
	tailcfg_node_encode(&w, NULL, &node);
	again = node_of(text_of(&first));
	w = json_writer_to(&second);
	tailcfg_node_encode(&w, NULL, &again);
	assert_string_equal((char *)buffer_head(&first), text_of(&second));
	tailcfg_node_clear(&node);
	tailcfg_node_clear(&again);
	buffer_free(&first);
	buffer_free(&second);
}

static void filter_rules_are_typed_or_refused(void **state)
{
	static const struct {
		const char *json;
		int result;
		uint32_t sources, capabilities, destinations, protocols;
		bool default_protocols;
	} rows[] = {
		/* 1 */ {"[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,"
			 "\"Last\":65535}}]}]",
			 0, 1, 0, 1, 0, true},
		/* 2 */
		{"[{\"SrcIPs\":[\"100.64.0.1\",\"10.0.0.0/8\",\"10.1.0.0-10.2.0.5\","
		 "\"cap:x\",\"fd7a::/16\"],\"DstPorts\":[{\"IP\":\"100.64.0.2/32\",\"Ports\":{"
		 "\"First\":80,\"Last\":80}}],\"IPProto\":[6,17]}]",
		 0, 4, 1, 1, 2, false},
		/* 3: no protocol at all is not "default" */
		{"[{\"SrcIPs\":[\"*\"],\"IPProto\":[300]}]", 0, 1, 0, 0, 0, false},
		/* 4: null lists */
		{"[{\"SrcIPs\":null,\"DstPorts\":null,\"IPProto\":null}]", 0, 0, 0, 0, 0, true},
		/* 5: host bits */ {"[{\"SrcIPs\":[\"10.0.0.1/8\"]}]", -EINVAL, 0, 0, 0, 0, false},
		/* 6: backwards */
		{"[{\"SrcIPs\":[\"10.0.0.2-10.0.0.1\"]}]", -EINVAL, 0, 0, 0, 0, false},
		/* 7: families */ {"[{\"SrcIPs\":[\"10.0.0.2-::1\"]}]", -EINVAL, 0, 0, 0, 0, false},
		/* 8: SrcBits */
		{"[{\"SrcIPs\":[\"10.0.0.0\"],\"SrcBits\":[8]}]", -EINVAL, 0, 0, 0, 0, false},
		/* 9: no ports */
		{"[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\"}]}]", -EINVAL, 0, 0, 0, 0,
		 false},
		/* 10: cap: is no destination */
		{"[{\"DstPorts\":[{\"IP\":\"cap:x\",\"Ports\":{\"First\":0,\"Last\":1}}]}]",
		 -EINVAL, 0, 0, 0, 0, false},
		/* 11: port too high */
		{"[{\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65536}}]}]",
		 -EINVAL, 0, 0, 0, 0, false},
		/* 12 */ {"[{\"SrcIPs\":[\"a name\"]}]", -EINVAL, 0, 0, 0, 0, false},
		/* 13 */ {"{}", -EINVAL, 0, 0, 0, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tailcfg_filter filter;
		struct tailcfg_filter_rule *rule;
		int r = tailcfg_filter_parse(range_of(rows[i].json), &filter, NULL);

		if (r != rows[i].result)
			fail_msg("row %zu: result %d", i + 1, r);
		if (r < 0)
			continue;
		assert_int_equal(filter.count, 1);
		rule = filter.rules;
		if (rule->source_count != rows[i].sources ||
		    rule->source_capabilities.count != rows[i].capabilities ||
		    rule->destination_count != rows[i].destinations ||
		    rule->protocol_count != rows[i].protocols ||
		    rule->default_protocols != rows[i].default_protocols)
			fail_msg("row %zu", i + 1);
		tailcfg_filter_clear(&filter);
	}
}

static void filter_survives_both_ways(void **state)
{
	const char *text =
		"[{\"SrcIPs\":[\"*\",\"10.0.0.0/8\",\"10.1.0.0-10.2.0.5\",\"cap:x\"],"
		"\"DstPorts\":[{\"IP\":\"100.64.0.2/32\",\"Ports\":{\"First\":80,\"Last\":81}}],"
		"\"IPProto\":[6]},{\"SrcIPs\":[\"*\"],\"DstPorts\":[],\"CapGrant\":[{\"Dsts\":["
		"\"100.64.0.2/32\"],\"Caps\":[\"c\"],\"CapMap\":{\"d\":[{\"e\":1}]}}]},"
		"{\"SrcIPs\":[],\"DstPorts\":[],\"IPProto\":[-1]}]";
	struct buffer out = BUFFER_INIT(10000);
	struct json_writer w = json_writer_to(&out);
	struct tailcfg_filter filter;

	(void)state;
	assert_int_equal(tailcfg_filter_parse(range_of(text), &filter, NULL), 0);
	assert_int_equal(filter.rules[1].grant_count, 1);
	tailcfg_filter_encode(&w, NULL, &filter);
	assert_string_equal(text_of(&out), text);
	tailcfg_filter_clear(&filter);
	buffer_free(&out);
}

static struct tailcfg_derp_map derp_of(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	struct tailcfg_derp_map map;

	assert_int_equal(tailcfg_derp_map_decode(json, &map, NULL), 0);
	json_decref(json);
	return map;
}

static void derp_map_defaults_and_updates(void **state)
{
	struct tailcfg_derp_map map = derp_of(
		"{\"Regions\":{\"7\":{\"RegionID\":7,\"RegionCode\":\"b\",\"Nodes\":[{\"Name\":"
		"\"7a\","
		"\"HostName\":\"h\",\"IPv4\":\"1.2.3.4\",\"IPv6\":\"none\",\"STUNPort\":-1}]},"
		"\"3\":{"
		"\"RegionID\":3,\"Nodes\":[{\"Name\":\"3a\",\"DERPPort\":8443,\"STUNPort\":99}]},"
		"\"9\":null,\"65536\":{\"RegionID\":65536}}}");
	struct tailcfg_derp_map update;
	const struct tailcfg_derp_node *node;

	(void)state;
	assert_int_equal(map.region_count, 2);
	assert_int_equal(map.regions[0].id, 3); /* sorted; null and too high left out */
	node = &tailcfg_derp_map_region(&map, 7)->nodes[0];
	assert_int_equal(node->derp_port, TAILCFG_DERP_PORT);
	assert_int_equal(node->stun_port, 0);
	assert_true(node->ipv6_disabled);
	assert_false(node->ipv4_disabled);
	node = &tailcfg_derp_map_region(&map, 3)->nodes[0];
	assert_int_equal(node->derp_port, 8443);
	assert_int_equal(node->stun_port, 99);

	update = derp_of("{\"HomeParams\":{\"RegionScore\":{\"3\":0.5}},\"Regions\":null}");
	tailcfg_derp_map_merge(&map, &update);
	assert_int_equal(map.region_count, 2); /* null keeps */
	update = derp_of("{\"Regions\":{\"5\":{\"RegionID\":5}}}");
	tailcfg_derp_map_merge(&map, &update);
	assert_int_equal(map.region_count, 1); /* replaced */
	tailcfg_derp_map_clear(&map);
}

static void register_request_has_what_go_wants(void **state)
{
	struct tailcfg_hostinfo info = {.ipn_version = TAILCFG_IPN_VERSION, .os = "linux"};
	struct tailcfg_register_request request = {.hostinfo = &info, .auth_key = "k\"ey"};
	struct buffer out = BUFFER_INIT(10000);

	(void)state;
	memset(request.node_key.bytes, 0x11, 32);
	assert_int_equal(tailcfg_register_request_encode(&request, &out), 0);
	assert_string_equal(
		text_of(&out),
		"{\"Version\":138,\"NodeKey\":\"nodekey:" ONE_HEX "\","
		"\"OldNodeKey\":\"nodekey:" ZERO_HEX "\",\"NLKey\":\"nlpub:" ZERO_HEX
		"\",\"Auth\":{\"AuthKey\":\"k\\\"ey\"},\"Expiry\":\"0001-01-01T00:00:00Z\","
		"\"Followup\":\"\",\"Hostinfo\":{\"IPNVersion\":\"1.98.0\",\"OS\":\"linux\"}}");
	buffer_free_secret(&out);
	request.auth_key = NULL;
	request.expiry = TAILCFG_EXPIRY_LOGOUT;
	request.ephemeral = true;
	assert_int_equal(tailcfg_register_request_encode(&request, &out), 0);
	assert_non_null(strstr(text_of(&out), "\"Expiry\":\"1970-01-01T00:02:03Z\""));
	assert_non_null(strstr((char *)buffer_head(&out), "\"Ephemeral\":true"));
	assert_null(strstr((char *)buffer_head(&out), "Auth\""));
	buffer_free(&out);
}

static void register_response_is_read(void **state)
{
	static const struct {
		const char *json;
		int result;
	} rows[] = {
		/* 1 */ {"{}", 0},
		/* 2 */
		{"{\"User\":{\"ID\":1,\"DisplayName\":\"a\"},\"Login\":{\"LoginName\":\"a@b\"},"
		 "\"MachineAuthorized\":true,\"AuthURL\":\"\",\"NodeKeySignature\":null,"
		 "\"Later\":[1]}",
		 0},
		/* 3 */ {"{\"AuthURL\":5}", -EINVAL},
		/* 4 */ {"[]", -EINVAL},
		/* 5 */ {"", -EINVAL},
		/* 6 */ {"not authorised", -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tailcfg_register_response response;
		struct error err = {0};
		int r = tailcfg_register_response_parse(rows[i].json, strlen(rows[i].json),
							&response, &err);

		if (r != rows[i].result)
			fail_msg("row %zu: %d", i + 1, r);
		if (r == 0) {
			assert_null(response.auth_url);
			tailcfg_register_response_clear(&response);
		} else {
			assert_int_not_equal(err.code, 0);
		}
	}
}

static void server_keys_are_read(void **state)
{
	const char *good =
		"{\"legacyPublicKey\":\"mkey:" ZERO_HEX "\",\"publicKey\":\"mkey:" ONE_HEX "\"}";
	const char *zero = "{\"publicKey\":\"mkey:" ZERO_HEX "\"}";
	struct tailcfg_server_keys keys;

	(void)state;
	assert_int_equal(tailcfg_server_keys_parse(good, strlen(good), &keys, NULL), 0);
	assert_int_equal(keys.public_key.bytes[0], 0x11);
	assert_int_equal(tailcfg_server_keys_parse(zero, strlen(zero), &keys, NULL), -EINVAL);
	assert_int_equal(tailcfg_server_keys_parse("mkey:", 5, &keys, NULL), -EINVAL);
}

static void map_request_sends_all_each_time(void **state)
{
	struct tailcfg_net_info net = {.working_udp = OPTIONAL_TRUE, .preferred_derp = 2};
	struct tailcfg_hostinfo info = {.hostname = "h", .net_info = &net};
	struct tailcfg_endpoint endpoints[2] = {
		{.type = TAILCFG_ENDPOINT_LOCAL},
		{.type = TAILCFG_ENDPOINT_STUN},
	};
	struct tailcfg_map_request request = {.hostinfo = &info, .compress = true, .stream = true};
	struct buffer out = BUFFER_INIT(10000);

	(void)state;
	assert_int_equal(endpoint_parse("10.0.0.1:1", 10, &endpoints[0].endpoint), 0);
	assert_int_equal(endpoint_parse("[::2]:2", 7, &endpoints[1].endpoint), 0);
	request.endpoints = endpoints;
	request.endpoint_count = 2;
	assert_int_equal(tailcfg_map_request_encode(&request, &out), 0);
	assert_string_equal(
		text_of(&out),
		"{\"Version\":138,\"Compress\":\"zstd\",\"KeepAlive\":true,"
		"\"NodeKey\":\"nodekey:" ZERO_HEX "\",\"DiscoKey\":\"discokey:" ZERO_HEX
		"\",\"Stream\":true,\"Hostinfo\":{\"Hostname\":\"h\",\"NetInfo\":{"
		"\"WorkingUDP\":true,\"PreferredDERP\":2}},\"Endpoints\":[\"10.0.0.1:1\","
		"\"[::2]:2\"],\"EndpointTypes\":[1,2]}");
	buffer_free(&out);
	request.stream = false;
	request.endpoint_count = 0;
	assert_int_equal(tailcfg_map_request_encode(&request, &out), 0);
	assert_non_null(strstr(text_of(&out), "\"OmitPeers\":true"));
	assert_null(strstr((char *)buffer_head(&out), "Stream"));
	assert_null(strstr((char *)buffer_head(&out), "Endpoint"));
	buffer_free(&out);
}

static void map_response_traps(void **state)
{
	static const struct {
		const char *json;
		int result;
		bool filter_error;
	} rows[] = {
		/* 1 */ {"{}", 0, false},
		/* 2: null is unchanged everywhere */
		{"{\"Node\":null,\"DERPMap\":null,\"Peers\":null,\"PeersChanged\":null,"
		 "\"PacketFilter\":null,\"PacketFilters\":null,\"Health\":null,\"DNSConfig\":null,"
		 "\"UserProfiles\":null,\"PeerSeenChange\":null,\"SSHPolicy\":null,\"Debug\":null}",
		 0, false},
		/* 3: unknown members, deep inside too */
		{"{\"New\":{\"x\":[{}]},\"Node\":{\"ID\":1,\"New\":1},\"Debug\":{\"New\":[]}}", 0,
		 false},
		/* 4: a bad filter is no bad map */
		{"{\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"x\"]}]}}", 0, true},
		/* 5 */ {"{\"PacketFilter\":5}", 0, true},
		/* 6 */ {"{\"PacketFilters\":[]}", 0, true},
		/* 7 */ {"{\"Peers\":{}}", -EINVAL, false},
		/* 8 */ {"[]", -EINVAL, false},
		/* 9 */ {"{\"Peers\":[}", -EBADMSG, false},
		/* 10 */ {"", -EBADMSG, false},
		/* 11 */ {"{\"PeersRemoved\":[\"1\"]}", -EINVAL, false},
		/* 12 */ {"{\"OnlineChange\":{\"x\":true}}", -EINVAL, false},
		/* 13 */ {"{\"KeepAlive\":1}", -EINVAL, false},
		/* 14 */ {"{\"Node\":{\"ID\":0}}", -EINVAL, false},
		/* 15: payload is base64 */
		{"{\"PingRequest\":{\"Payload\":\"!\"}}", -EINVAL, false},
		/* 16: lone surrogate */ {"{\"Domain\":\"\\ud800\"}", -EINVAL, false},
		/* 17: overlong number */ {"{\"KeepAlive\":99999999999999999999}", -EINVAL, false},
		/* 18: the same where we don't look */
		{"{\"Other\":99999999999999999999}", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tailcfg_map_response m;
		int r = tailcfg_map_response_parse(rows[i].json, strlen(rows[i].json), &m, NULL);

		if (r != rows[i].result)
			fail_msg("row %zu: %d", i + 1, r);
		if (r < 0)
			continue;
		if ((m.filter_error.code < 0) != rows[i].filter_error)
			fail_msg("row %zu: filter", i + 1);
		assert_int_equal(m.filter_count, 0);
		assert_null(m.dns_config);
		assert_false(m.has_health);
		tailcfg_map_response_clear(&m);
	}
}

static void map_response_is_read(void **state)
{
	const char *text =
		"{\"Seq\":3,\"KeepAlive\":false,\"ControlTime\":\"2024-01-01T00:00:00Z\","
		"\"PacketFilter\":[],\"PacketFilters\":{\"*\":null,\"b\":null,\"a\\u0062\":[]},"
		"\"Health\":[],\"DisplayMessages\":{\"*\":null,\"x\":{\"Title\":\"t\","
		"\"PrimaryAction\":{"
		"\"URL\":\"u\"}},\"y\":null},\"TKAInfo\":{\"Head\":\"h\"},\"Debug\":{"
		"\"SleepSeconds\":1.5,"
		"\"Exit\":0},\"PeersRemoved\":[1,2],\"PeerSeenChange\":{\"5\":true},"
		"\"PingRequest\":{\"URL\":\"http://x\",\"Types\":\"c2n\",\"Payload\":\"R0VU\"},"
		"\"ControlDialPlan\":{\"Candidates\":[{\"IP\":\"1.2.3.4\",\"Priority\":2}]},"
		"\"SSHPolicy\":{\"rules\":[]},\"Peers\":[{\"ID\":9}],\"UserProfiles\":[{\"ID\":1}]"
		"}";
	struct tailcfg_map_response m;

	(void)state;
	assert_int_equal(tailcfg_map_response_parse(text, strlen(text), &m, NULL), 0);
	assert_true(m.filters_clear);
	assert_int_equal(m.filter_count, 3);
	assert_string_equal(m.filters[0].name, "base");
	assert_true(m.filters[1].removed);
	assert_string_equal(m.filters[2].name, "ab");
	assert_true(m.has_health);
	assert_true(m.display_messages.clear);
	assert_int_equal(m.display_messages.count, 2);
	assert_true(m.has_tka_info);
	assert_true(m.debug_has_exit);
	assert_int_equal(m.peers_removed.count, 2);
	assert_int_equal(m.ping_request->payload.length, 3);
	assert_memory_equal(m.ping_request->payload.bytes, "GET", 3);
	assert_int_equal(m.dial_candidates[0].priority, 2);
	assert_string_equal(m.ssh_policy, "{\"rules\":[]}");
	assert_true(json_range_is(m.peers, "[{\"ID\":9}]"));
	tailcfg_map_response_clear(&m);
}

static void net_info_differs_by_what_matters(void **state)
{
	struct tailcfg_net_info a = {.working_udp = OPTIONAL_TRUE, .preferred_derp = 1}, b = a;

	(void)state;
	b.firewall_mode = "nft-default";
	assert_true(tailcfg_net_info_basically_equal(&a, &b));
	b.preferred_derp = 2;
	assert_false(tailcfg_net_info_basically_equal(&a, &b));
	b.preferred_derp = 1;
	b.upnp = OPTIONAL_FALSE;
	assert_false(tailcfg_net_info_basically_equal(&a, &b));
	assert_false(tailcfg_net_info_basically_equal(&a, NULL));
	assert_true(tailcfg_net_info_basically_equal(NULL, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(node_is_normalised),
		cmocka_unit_test(many_old_capabilities_are_joined),
		cmocka_unit_test(node_survives_both_ways),
		cmocka_unit_test(filter_rules_are_typed_or_refused),
		cmocka_unit_test(filter_survives_both_ways),
		cmocka_unit_test(derp_map_defaults_and_updates),
		cmocka_unit_test(register_request_has_what_go_wants),
		cmocka_unit_test(register_response_is_read),
		cmocka_unit_test(server_keys_are_read),
		cmocka_unit_test(map_request_sends_all_each_time),
		cmocka_unit_test(map_response_traps),
		cmocka_unit_test(map_response_is_read),
		cmocka_unit_test(net_info_differs_by_what_matters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
