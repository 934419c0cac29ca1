/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/control/test_netmap.c - what each kind of message does to the netmap */
#include "netmap_text.h"

#define KEY_A "nodekey:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "nodekey:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define KEY_C "nodekey:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define DISCO "discokey:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
#define RULE \
	"[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":1,\"Last\":2}}]}]"

#define SELF "\"Node\":{\"ID\":1,\"Addresses\":[\"100.64.0.1/32\"]}"
#define PEER_2 \
	"{\"ID\":2,\"Key\":\"" KEY_A "\",\"Addresses\":[\"100.64.0.2/32\"],\"Name\":\"two.\"}"
#define PEER_3 "{\"ID\":3,\"Key\":\"" KEY_B "\",\"Addresses\":[\"100.64.0.3/32\"]}"

struct fixture {
	struct netmap *map;
	struct netmap_change change;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->map = netmap_new();
	assert_int_equal(feed(f->map,
			      "{" SELF ",\"Peers\":[" PEER_2 "," PEER_3 "],\"PacketFilters\":{"
			      "\"base\":" RULE "},\"Domain\":\"d\"}",
			      &f->change),
			 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	netmap_change_clear(&f->change);
	netmap_free(f->map);
	free(f);
	return 0;
}

static void first_message_is_everything(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(netmap_peer_count(f->map), 2);
	assert_int_equal(f->change.update_count, 2);
	assert_int_equal(f->change.updates[0].what, NETMAP_NODE_ALL);
	assert_int_equal(f->change.parts,
			 NETMAP_SELF | NETMAP_PEERS | NETMAP_FILTER | NETMAP_DOMAIN);
	assert_true(f->map->has_filter);
	assert_false(f->map->locked);
}

static void first_message_needs_a_node(void **state)
{
	struct netmap *map = netmap_new();
	struct netmap_change change = {0};

	(void)state;
	assert_int_equal(feed(map, "{\"KeepAlive\":true}", &change), 0);
	assert_int_equal(feed(map, "{\"Peers\":[" PEER_2 "]}", &change), -EPROTO);
	assert_int_equal(netmap_peer_count(map), 0);
	assert_int_equal(feed(map, "{" SELF "}", &change), 0);
	assert_false(map->has_filter); /* none yet: nothing may come in */
	netmap_change_clear(&change);
	netmap_free(map);
}

static void an_empty_list_of_peers_is_not_no_peers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(feed(f->map, "{\"Peers\":[]}", &f->change), 0);
	assert_int_equal(netmap_peer_count(f->map), 2);
	assert_int_equal(f->change.parts, 0);
	/* Deltas beside it count. */
	assert_int_equal(feed(f->map, "{\"Peers\":null,\"PeersRemoved\":[2]}", &f->change), 0);
	assert_int_equal(netmap_peer_count(f->map), 1);
	assert_int_equal(f->change.removal_count, 1);
	assert_int_equal(f->change.removals[0].id, 2);
	assert_int_equal(f->change.removals[0].key.bytes[0], 0xaa);
}

static void a_full_list_is_authoritative(void **state)
{
	struct fixture *f = *state;

	/* Deltas beside a full list are ignored. */
	assert_int_equal(
		feed(f->map, "{\"Peers\":[" PEER_2 "],\"PeersChanged\":[" PEER_3 "]}", &f->change),
		0);
	assert_int_equal(netmap_peer_count(f->map), 1);
	assert_int_equal(f->change.removal_count, 1);
	assert_int_equal(f->change.removals[0].id, 3);
	assert_int_equal(f->change.update_count, 0); /* peer 2 is as it was */
}

static void a_new_session_reports_only_differences(void **state)
{
	struct fixture *f = *state;

	netmap_begin_session(f->map);
	assert_int_equal(netmap_peer_count(f->map), 2);
	assert_int_equal(feed(f->map,
			      "{" SELF ",\"Peers\":[" PEER_2 "," PEER_3
			      "],\"PacketFilters\":{\"base\":" RULE "},\"Domain\":\"d\"}",
			      &f->change),
			 0);
	assert_int_equal(f->change.parts, 0);
	assert_int_equal(f->change.update_count, 0);
	/* The only node: no Peers at all. And what isn't said isn't so. */
	netmap_begin_session(f->map);
	assert_int_equal(feed(f->map, "{" SELF "}", &f->change), 0);
	assert_int_equal(f->change.removal_count, 2);
	assert_int_equal(f->change.parts, NETMAP_PEERS | NETMAP_FILTER | NETMAP_DOMAIN);
	assert_false(f->map->has_filter);
}

static void deltas_to_the_unknown_are_ignored(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		feed(f->map,
		     "{\"PeersRemoved\":[77],\"OnlineChange\":{\"78\":true},"
		     "\"PeerSeenChange\":{\"79\":true},\"PeersChangedPatch\":[null,{\"NodeID\":"
		     "80,\"DERPRegion\":1}]}",
		     &f->change),
		0);
	assert_int_equal(f->change.parts, 0);
}

static void a_patch_changes_what_it_names(void **state)
{
	struct fixture *f = *state;
	struct netmap_update *u;
	struct netmap_peer *peer;

	assert_int_equal(
		feed(f->map,
		     "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":7,\"Endpoints\":["
		     "\"1.2.3.4:5\"],\"DiscoKey\":\"" DISCO "\"},{\"NodeID\":2,\"Key\":\"" KEY_C
		     "\",\"Online\":true,\"Cap\":0}]}",
		     &f->change),
		0);
	assert_int_equal(f->change.update_count, 1); /* two patches, one entry */
	u = &f->change.updates[0];
	assert_int_equal(u->what, NETMAP_NODE_KEY | NETMAP_NODE_DISCO_KEY | NETMAP_NODE_ENDPOINTS |
					  NETMAP_NODE_HOME_DERP | NETMAP_NODE_ONLINE);
	assert_int_equal(u->old_key.bytes[0], 0xaa);
	peer = netmap_peer_by_id(f->map, 2);
	assert_ptr_equal(peer, u->peer);
	assert_ptr_equal(netmap_peer_by_key(f->map, &peer->node.key), peer);
	assert_null(netmap_peer_by_key(f->map, &u->old_key));
	assert_string_equal(peer->node.name, "two.");
	assert_int_equal(peer->node.home_derp, 7);
	assert_int_equal(feed(f->map,
			      "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeySignature\":\"c2ln\"}]}",
			      &f->change),
			 0);
	assert_int_equal(f->change.updates[0].what, NETMAP_NODE_OTHER);
	assert_string_equal(peer->node.key_signature, "c2ln");
	/* A non-null empty list replaces. The same again is no change. */
	assert_int_equal(feed(f->map, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Endpoints\":[]}]}",
			      &f->change),
			 0);
	assert_int_equal(f->change.updates[0].what, NETMAP_NODE_ENDPOINTS);
	assert_int_equal(peer->node.endpoints.count, 0);
	assert_int_equal(feed(f->map, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":7}]}",
			      &f->change),
			 0);
	assert_int_equal(f->change.update_count, 0);
}

static void seen_is_not_online(void **state)
{
	struct fixture *f = *state;
	struct netmap_peer *peer = netmap_peer_by_id(f->map, 2);

	assert_int_equal(feed(f->map, "{\"PeerSeenChange\":{\"2\":true}}", &f->change), 0);
	assert_int_equal(peer->node.online, OPTIONAL_UNSET);
	assert_int_equal(peer->node.last_seen, NOW);
	assert_int_equal(feed(f->map,
			      "{\"PeerSeenChange\":{\"2\":false},\"OnlineChange\":{\"2\":false}}",
			      &f->change),
			 0);
	assert_int_equal(peer->node.online, OPTIONAL_FALSE);
	assert_int_equal(peer->node.last_seen, JSON_TIME_NONE);
}

static void removed_and_changed_in_one_message(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		feed(f->map, "{\"PeersRemoved\":[2],\"PeersChanged\":[" PEER_2 "]}", &f->change),
		0);
	assert_int_equal(netmap_peer_count(f->map), 2);
	assert_int_equal(f->change.removal_count, 1);
	assert_int_equal(f->change.update_count, 1);
	assert_int_equal(f->change.updates[0].what, NETMAP_NODE_ALL);
}

static void filters_by_name(void **state)
{
	static const struct {
		const char *json;
		const char *names; /* what there is afterwards, sorted */
		bool changed;
		bool trouble;
	} rows[] = {
		/* 1 */ {"{\"PacketFilters\":{\"zoo\":" RULE ",\"any\":[]}}", "any base zoo ", true,
			 false},
		/* 2: null deletes one */
		{"{\"PacketFilters\":{\"base\":null}}", "any zoo ", true, false},
		/* 3: legacy is "base" */ {"{\"PacketFilter\":[]}", "any base zoo ", true, false},
		/* 4: unparsable: all of it stays */
		{"{\"PacketFilters\":{\"*\":null,\"base\":[{\"SrcIPs\":[\"?\"]}]}}",
		 "any base zoo ", false, true},
		/* 5: the same once more is no change */
		{"{\"PacketFilter\":[]}", "any base zoo ", false, false},
		/* 6: null is unchanged */
		{"{\"PacketFilter\":null,\"PacketFilters\":null}", "any base zoo ", false, false},
		/* 7: clear, then the others */
		{"{\"PacketFilters\":{\"new\":" RULE ",\"*\":null}}", "new ", true, false},
		/* 8: nothing may come in */ {"{\"PacketFilters\":{\"*\":null}}", "", true, false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char names[100] = "";

		assert_int_equal(feed(f->map, rows[i].json, &f->change), 0);
		for (uint32_t k = 0; k < f->map->filter_count; k++)
			strcat(strcat(names, f->map->filters[k].name), " ");
		if (strcmp(names, rows[i].names) != 0 ||
		    !!(f->change.parts & NETMAP_FILTER) != rows[i].changed ||
		    (f->change.trouble.code < 0) != rows[i].trouble)
			fail_msg("row %zu: %s parts %x %s", i + 1, names, f->change.parts,
				 f->change.trouble.text);
	}
	assert_true(f->map->has_filter);
}

static void a_peer_that_cannot_be_read_is_not_trusted(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		feed(f->map,
		     "{\"PeersChanged\":[{\"ID\":2,\"Addresses\":[\"nonsense\"]},{\"ID\":4}]}",
		     &f->change),
		0);
	assert_int_equal(f->change.skipped, 1);
	assert_int_equal(f->change.removal_count, 1);
	assert_null(netmap_peer_by_id(f->map, 2));
	assert_non_null(netmap_peer_by_id(f->map, 3));
	assert_non_null(netmap_peer_by_id(f->map, 4));
	assert_non_null(strstr(f->change.trouble.text, "Addresses"));
}

static void added_and_gone_within_one_message_is_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		feed(f->map,
		     "{\"PeersChanged\":[{\"ID\":5},{\"ID\":6},{\"ID\":5,\"Key\":\"bad\"}]}",
		     &f->change),
		0);
	assert_int_equal(f->change.removal_count, 0);
	assert_int_equal(f->change.update_count, 1);
	assert_int_equal(f->change.updates[0].peer->node.id, 6);
}

static void keep_alive_changes_nothing_but_the_clock(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(feed(f->map,
			      "{\"KeepAlive\":true,\"PeersRemoved\":[2],\"Node\":{\"ID\":9},"
			      "\"ControlTime\":\"2027-01-15T08:01:00Z\"}",
			      &f->change),
			 0);
	assert_int_equal(netmap_peer_count(f->map), 2);
	assert_int_equal(f->map->self->id, 1);
	assert_int_equal(f->map->control_offset, 60 * NSEC_PER_SEC);
}

static void keys_expire_by_the_clock_of_control(void **state)
{
	struct fixture *f = *state;
	struct netmap_peer *peer;
	nanoseconds next;

	/* NOW is 2027-01-15T08:00:00Z; control is an hour ahead. */
	assert_int_equal(
		feed(f->map,
		     "{\"ControlTime\":\"2027-01-15T09:00:00Z\",\"Node\":{\"ID\":1,\"KeyExpiry\":"
		     "\"2027-01-15T10:00:00Z\"},\"PeersChanged\":[{\"ID\":2,\"KeyExpiry\":"
		     "\"2027-01-15T08:30:00Z\"},{\"ID\":3,\"KeyExpiry\":\"2027-01-15T09:30:00Z\"}]"
		     "}",
		     &f->change),
		0);
	assert_true(netmap_peer_by_id(f->map, 2)->expired); /* already, by control's clock */
	peer = netmap_peer_by_id(f->map, 3);
	assert_false(peer->expired);
	/* Our own by our own clock. */
	assert_false(netmap_self_expired(f->map, NOW + 3600 * NSEC_PER_SEC));
	assert_true(netmap_self_expired(f->map, NOW + 7200 * NSEC_PER_SEC));

	netmap_change_clear(&f->change);
	assert_int_equal(netmap_expire(f->map, NOW, &f->change, &next), 0);
	assert_int_equal(f->change.update_count, 0);
	assert_int_equal(next, NOW + 1800 * NSEC_PER_SEC);
	assert_int_equal(netmap_expire(f->map, next, &f->change, &next), 0);
	assert_int_equal(f->change.update_count, 1);
	assert_int_equal(f->change.updates[0].what, NETMAP_NODE_EXPIRY);
	assert_true(peer->expired);
	assert_int_equal(next, DEADLINE_NEVER);
	/* Extended. */
	assert_int_equal(feed(f->map,
			      "{\"PeersChangedPatch\":[{\"NodeID\":3,\"KeyExpiry\":"
			      "\"0001-01-01T00:00:00Z\"}]}",
			      &f->change),
			 0);
	assert_false(peer->expired);
}

/* What the clock showed is no fact about the peer: it is looked at again when the clock goes back.
 */
static void a_clock_that_goes_back_revives(void **state)
{
	const nanoseconds year = 365 * 86400 * NSEC_PER_SEC;
	struct fixture *f = *state;
	nanoseconds next;

	assert_int_equal(feed(f->map,
			      "{\"PeersChanged\":["
			      "{\"ID\":2,\"KeyExpiry\":\"2027-02-01T00:00:00Z\"},"
			      "{\"ID\":3,\"Expired\":true},"
			      "{\"ID\":4,\"KeyExpiry\":\"2026-12-01T00:00:00Z\"}]}",
			      &f->change),
			 0);
	for (int round = 0; round < 2; round++) {
		netmap_change_clear(&f->change);
		assert_int_equal(netmap_expire(f->map, NOW + year, &f->change, &next), 0);
		assert_int_equal(f->change.update_count, 1);
		assert_true(netmap_peer_by_id(f->map, 2)->expired);
		netmap_change_clear(&f->change);
		assert_int_equal(netmap_expire(f->map, NOW, &f->change, &next), 0);
		assert_int_equal(f->change.update_count, 1);
		assert_int_equal(f->change.updates[0].peer->node.id, 2);
		assert_int_equal(f->change.updates[0].what, NETMAP_NODE_EXPIRY);
		assert_false(netmap_peer_by_id(f->map, 2)->expired);
		assert_true(netmap_peer_by_id(f->map, 3)->expired);
		assert_true(netmap_peer_by_id(f->map, 4)->expired);
	}
	/* What is stored is what control said. */
	assert_false(netmap_peer_by_id(f->map, 4)->node.expired);
}

static void an_absurd_clock_is_not_believed(void **state)
{
	static const char *const absurd[] = {"9999-01-01T00:00:00Z", "1930-01-01T00:00:00Z",
					     "1970-01-02T00:00:00Z", "2020-01-01T00:00:00Z"};
	struct fixture *f = *state;
	char text[100];

	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		snprintf(text, sizeof(text), "{\"ControlTime\":\"%s\"}", absurd[i]);
		assert_int_equal(feed(f->map, text, &f->change), 0);
		assert_int_equal(f->map->control_offset, 0);
	}
}

static void a_clock_never_set_expires_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(feed(f->map,
			      "{\"Node\":{\"ID\":1,\"KeyExpiry\":\"1970-01-01T00:00:01Z\"}}",
			      &f->change),
			 0);
	assert_false(netmap_self_expired(f->map, 100 * NSEC_PER_SEC));
	assert_true(netmap_self_expired(f->map, NOW));
}

static void tailnet_lock_is_noticed(void **state)
{
	static const char head[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRST";
	struct fixture *f = *state;
	char text[200];

	snprintf(text, sizeof(text), "{\"TKAInfo\":{\"Head\":\"%s\"}}", head);
	assert_int_equal(feed(f->map, text, &f->change), 0);
	assert_true(f->map->locked);
	assert_int_equal(f->change.parts, NETMAP_LOCKED);
	assert_int_equal(feed(f->map, "{}", &f->change), 0);
	assert_true(f->map->locked);
	snprintf(text, sizeof(text), "{\"TKAInfo\":{\"Head\":\"%s\",\"Disabled\":true}}", head);
	assert_int_equal(feed(f->map, text, &f->change), 0);
	assert_false(f->map->locked);
	assert_int_equal(f->change.parts, NETMAP_LOCKED);
	assert_int_equal(feed(f->map, "{\"TKAInfo\":{\"Head\":\"\"}}", &f->change), 0);
	assert_false(f->map->locked);
}

static void health_and_messages(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		feed(f->map,
		     "{\"Health\":[\"h\"],\"DisplayMessages\":{\"b\":{\"Title\":\"B\"},\"a\":{"
		     "\"Title\":\"A\"}}}",
		     &f->change),
		0);
	assert_int_equal(f->change.parts, NETMAP_HEALTH);
	assert_string_equal(f->map->display_messages[0].id, "a");
	assert_int_equal(
		feed(f->map, "{\"Health\":null,\"DisplayMessages\":{\"a\":null}}", &f->change), 0);
	assert_int_equal(f->map->health.count, 1);
	assert_int_equal(f->map->display_message_count, 1);
	assert_int_equal(feed(f->map, "{\"Health\":[],\"DisplayMessages\":{\"*\":null,\"c\":{}}}",
			      &f->change),
			 0);
	assert_int_equal(f->map->health.count, 0);
	assert_int_equal(f->map->display_message_count, 1);
	assert_string_equal(f->map->display_messages[0].id, "c");
}

static void users_merge_by_id(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		feed(f->map,
		     "{\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"a\"},{\"ID\":2,\"LoginName\":"
		     "\"b\"}]}",
		     &f->change),
		0);
	assert_int_equal(f->change.parts, NETMAP_USERS);
	assert_int_equal(
		feed(f->map, "{\"UserProfiles\":[{\"ID\":2,\"LoginName\":\"b\"}]}", &f->change), 0);
	assert_int_equal(f->change.parts, 0);
	assert_int_equal(
		feed(f->map, "{\"UserProfiles\":[{\"ID\":2,\"LoginName\":\"c\"}]}", &f->change), 0);
	assert_int_equal(f->change.parts, NETMAP_USERS);
	assert_string_equal(netmap_user(f->map, 1)->login_name, "a");
	assert_string_equal(netmap_user(f->map, 2)->login_name, "c");
	assert_null(netmap_user(f->map, 3));
}

static void a_delta_costs_what_it_changes(void **state)
{
	struct buffer text = BUFFER_INIT(64 << 20);
	struct fixture *f = *state;
	unsigned long before;

	assert_int_equal(buffer_printf(&text, "{\"Peers\":["), 0);
	for (int i = 2; i < 5002; i++)
		assert_int_equal(buffer_printf(&text, "%s{\"ID\":%d,\"Key\":\"nodekey:%064x\"}",
					       i == 2 ? "" : ",", i, i),
				 0);
	assert_int_equal(buffer_append(&text, "]}", 3), 0);
	assert_int_equal(feed(f->map, (char *)buffer_head(&text), &f->change), 0);
	assert_int_equal(netmap_peer_count(f->map), 5000);
	before = f->map->visits;
	assert_int_equal(
		feed(f->map,
		     "{\"PeersChangedPatch\":[{\"NodeID\":2500,\"DERPRegion\":1}],"
		     "\"PeersRemoved\":[17],\"OnlineChange\":{\"2501\":true},\"PeersChanged\":["
		     "{\"ID\":9000}]}",
		     &f->change),
		0);
	assert_true(f->map->visits - before <= 4);
	assert_int_equal(f->change.update_count, 3);
	buffer_free(&text);
}

static void the_cache_gives_the_same_map(void **state)
{
	struct buffer first = BUFFER_INIT(1 << 20), second = BUFFER_INIT(1 << 20);
	struct fixture *f = *state;
	struct netmap *again;
	struct error err = {0};

	assert_int_equal(feed(f->map,
			      "{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1,\"Nodes\":[{"
			      "\"Name\":\"1a\"}]}}},"
			      "\"DNSConfig\":{\"Proxied\":true,\"Domains\":[\"d\"],\"Routes\":{\"x."
			      "\":null,\"y.\":["
			      "{\"Addr\":\"1.1.1.1\"}]},\"ExtraRecords\":[{\"Name\":\"n\","
			      "\"Value\":\"1.2.3.4\"}]},"
			      "\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"a\"}],\"SSHPolicy\":{"
			      "\"rules\":[]},"
			      "\"Health\":[\"h\"],\"DisplayMessages\":{\"m\":{\"Title\":\"T\"}},"
			      "\"ClientVersion\":{"
			      "\"LatestVersion\":\"2\"},\"TKAInfo\":{\"Head\":"
			      "\"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRST\"}}",
			      &f->change),
			 0);
	assert_int_equal(netmap_encode(f->map, NULL, NULL, &first), 0);
	if (netmap_decode(buffer_head(&first), first.length, NOW, &again, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(netmap_encode(again, NULL, NULL, &second), 0);
	assert_int_equal(first.length, second.length);
	assert_memory_equal(buffer_head(&first), buffer_head(&second), first.length);
	assert_int_equal(netmap_peer_count(again), 2);
	assert_true(again->locked);
	assert_int_equal(again->dns_config.routes.count, 2);
	netmap_free(again);
	buffer_free(&first);
	buffer_free(&second);
}

/* rank_odd() - Peers with an odd ID first, then the ID that @context points to */
static unsigned int rank_odd(void *context, const struct netmap_peer *peer)
{
	return peer->node.id % 2 ? 0 : peer->node.id == *(int64_t *)context ? 1 : 2;
}

static void the_cache_holds_the_peers_that_fit(void **state)
{
	enum {
		PEERS = 200,
	};
	struct fixture *f = *state;
	struct buffer text = BUFFER_INIT(1 << 20), whole = BUFFER_INIT(1 << 20);
	int64_t second = 100;
	int least = PEERS + 1;
	int64_t id;

	buffer_printf(&text, "{\"Peers\":[");
	for (id = 2; id < 2 + PEERS; id++)
		buffer_printf(&text,
			      "%s{\"ID\":%d,\"Key\":\"nodekey:%064x\",\"User\":%d,\"Addresses\":["
			      "\"100.64.1.%d/32\"]}",
			      id == 2 ? "" : ",", (int)id, (unsigned int)id, (int)id, (int)id);
	buffer_printf(&text, "],\"UserProfiles\":[");
	for (id = 2; id < 2 + PEERS; id++)
		buffer_printf(&text, "%s{\"ID\":%d,\"LoginName\":\"user\"}", id == 2 ? "" : ",",
			      (int)id);
	buffer_printf(&text, "]}");
	buffer_append(&text, "", 1);
	assert_int_equal(feed(f->map, (char *)buffer_head(&text), &f->change), 0);
	assert_int_equal(netmap_encode(f->map, rank_odd, &second, &whole), 0);

	for (size_t limit = 0; limit < whole.length + 400; limit += 397) {
		struct buffer cut = BUFFER_INIT(limit);
		int left = netmap_encode(f->map, rank_odd, &second, &cut);
		struct netmap *again = NULL;
		struct error err = {0};

		if (left == -EMSGSIZE) {
			assert_int_equal(least, PEERS + 1); /* only below the first that fits */
			buffer_free(&cut);
			continue;
		}
		assert_true(left >= 0 && left <= least);
		least = left;
		if (netmap_decode(buffer_head(&cut), cut.length, NOW, &again, &err) < 0)
			fail_msg("limit %zu: %s", limit, err.text);
		assert_int_equal(netmap_peer_count(again), PEERS - left);
		assert_int_equal(again->has_filter, true);
		/* In their order: no even one while an odd one is missing. */
		for (id = 2; id < 2 + PEERS; id++)
			if (left >= PEERS / 2 && id % 2 == 0)
				assert_null(netmap_peer_by_id(again, id));
		assert_int_equal(netmap_peer_by_id(again, second) != NULL, left < PEERS / 2);
		netmap_free(again);
		buffer_free(&cut);
	}
	assert_int_equal(least, 0);
	buffer_free(&text);
	buffer_free(&whole);
}

static void a_spoilt_cache_is_an_error(void **state)
{
	static const char *const rows[] = {"", "{}", "{\"Node\":{}}", "[]", "{\"Node\":{\"ID\":1}"};
	struct netmap *map = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = {0};

		assert_true(netmap_decode(rows[i], strlen(rows[i]), NOW, &map, &err) < 0);
		assert_null(map);
		assert_int_not_equal(err.code, 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(first_message_is_everything),
		cmocka_unit_test(first_message_needs_a_node),
		TEST(an_empty_list_of_peers_is_not_no_peers),
		TEST(a_full_list_is_authoritative),
		TEST(a_new_session_reports_only_differences),
		TEST(deltas_to_the_unknown_are_ignored),
		TEST(a_patch_changes_what_it_names),
		TEST(seen_is_not_online),
		TEST(removed_and_changed_in_one_message),
		TEST(filters_by_name),
		TEST(a_peer_that_cannot_be_read_is_not_trusted),
		TEST(added_and_gone_within_one_message_is_nothing),
		TEST(keep_alive_changes_nothing_but_the_clock),
		TEST(keys_expire_by_the_clock_of_control),
		TEST(an_absurd_clock_is_not_believed),
		TEST(a_clock_never_set_expires_nothing),
		TEST(a_clock_that_goes_back_revives),
		TEST(tailnet_lock_is_noticed),
		TEST(health_and_messages),
		TEST(users_merge_by_id),
		TEST(a_delta_costs_what_it_changes),
		TEST(the_cache_gives_the_same_map),
		TEST(the_cache_holds_the_peers_that_fit),
		cmocka_unit_test(a_spoilt_cache_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
