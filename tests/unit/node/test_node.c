/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/node/test_node.c - the node's own decisions, between fakes */
#include "base/limits.h"
#include "unit/node/fakes.h"

#include "tunnel/packet/tunnel_internal.h"
#include "tunnel/wireguard/wg_device.h"

/* --- What local programs are told --- */

static void whois_tells_what_the_policy_grants(void **state)
{
	struct endpoint who = {.address = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}}};
	struct world *w = *state;
	struct secret_key key = run(w);
	json_t *found, *map_of, *values;

	/* What control lets a node do is not what it may do to us. */
	map(w, &key,
	    "{\"PeersChangedPatch\":[{\"NodeID\":2,\"CapMap\":{\"https://cap/is-admin\":null}}],"
	    "\"PacketFilters\":{\"grants\":["
	    "{\"SrcIPs\":[\"100.64.0.2\"],\"CapGrant\":[{\"Dsts\":[\"100.64.0.1/32\"],"
	    "\"CapMap\":{\"example.com/cap/app\":[{\"role\":\"reader\"}]}}]},"
	    "{\"SrcIPs\":[\"*\"],\"CapGrant\":[{\"Dsts\":[\"100.64.0.1/32\"],"
	    "\"Caps\":[\"example.com/cap/plain\"],"
	    "\"CapMap\":{\"example.com/cap/app\":[{\"role\":\"writer\"}]}}]},"
	    "{\"SrcIPs\":[\"*\"],\"CapGrant\":[{\"Dsts\":[\"100.64.0.3/32\"],"
	    "\"Caps\":[\"example.com/cap/elsewhere\"]}]}]}}");
	found = whois_of(w, &who.address);
	map_of = json_object_get(found, "CapMap");
	assert_int_equal(json_object_size(map_of), 2);
	assert_true(json_is_null(json_object_get(map_of, "example.com/cap/plain")));
	values = json_object_get(map_of, "example.com/cap/app");
	assert_int_equal(json_array_size(values), 2);
	assert_string_equal(text_at(json_array_get(values, 0), "role"), "reader");
	assert_string_equal(text_at(json_array_get(values, 1), "role"), "writer");
	json_decref(found);

	/* A stranger to the first rule, and one who is jailed. */
	who.address.bytes[3] = 3;
	found = whois_of(w, &who.address);
	assert_int_equal(json_array_size(json_object_get(json_object_get(found, "CapMap"),
							 "example.com/cap/app")),
			 1);
	json_decref(found);
	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":3,\"Key\":\"PEER2\",\"IsJailed\":true,"
	    "\"Addresses\":[\"100.64.0.3/32\"]}]}");
	found = whois_of(w, &who.address);
	assert_int_equal(json_object_size(json_object_get(found, "CapMap")), 0);
	json_decref(found);
}

static void what_control_wants_shown_is_shown(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	json_t *log = json_array(), *status, *shown, *health;
	struct node_watch *watch = node_watch_new(w->node, 0, on_notify, log);

	map(w, &key,
	    "{\"DisplayMessages\":{\"quota\":{\"Title\":\"Quota\",\"Text\":\"All used\","
	    "\"Severity\":\"low\",\"PrimaryAction\":{\"URL\":\"https://one.example/q\","
	    "\"Label\":\"Mend\"}}},\"Health\":[\"plain line\"]}");
	assert_int_equal(messages_with(log, "Health"), 1);
	status = status_of(w, false);
	health = json_object_get(status, "Health");
	assert_int_equal(json_array_size(health),
			 2 + (w->node->warnings[NODE_WARN_CERTIFICATES] != NULL));
	assert_string_equal(json_string_value(json_array_get(health, json_array_size(health) - 1)),
			    "Quota: All used Mend: https://one.example/q");
	json_decref(status);
	health = health_of(w);
	shown = json_object_get(json_object_get(health, "Warnings"), "control-health.quota");
	assert_string_equal(text_at(shown, "Severity"), "low");
	assert_string_equal(text_at(json_object_get(shown, "PrimaryAction"), "Label"), "Mend");
	json_decref(health);

	map(w, &key, "{\"DisplayMessages\":{\"*\":null}}");
	health = health_of(w);
	assert_null(json_object_get(json_object_get(health, "Warnings"), "control-health.quota"));
	json_decref(health);
	node_watch_free(watch);
	json_decref(log);
}

static void metrics_name_all_that_was_counted(void **state)
{
	static const char *const lines[] = {
		"tailscaled_inbound_packets_total{path=\"direct_ipv4\"} 1\n",
		"tailscaled_inbound_packets_total{path=\"direct_ipv6\"} 2\n",
		"tailscaled_inbound_bytes_total{path=\"direct_ipv6\"} 10\n",
		"tailscaled_inbound_packets_total{path=\"derp\"} 0\n",
		"pillion_wireguard_datagrams_total{verdict=\"dropped_malformed\"} 3\n",
		"pillion_wireguard_events_total{event=\"staged_dropped\"} 0\n",
		"pillion_path_events_total{event=\"dropped_unexpected_pong\"} 0\n",
		"tailscaled_outbound_dropped_packets_total{reason=\"no_peer\"} 0\n",
		"tailscaled_home_derp_region_id 0\n",
		"pillion_state{state=\"Running\"} 1\n",
	};
	struct endpoint v4 = {.address = {.family = ADDRESS_V4, .bytes = {192, 0, 2, 1}},
			      .port = 1};
	struct endpoint v6 = {.address = {.family = ADDRESS_V6, .bytes = {0x20, 1}}, .port = 1};
	struct buffer text = BUFFER_INIT(LIMIT_RPC_BODY);
	struct world *w = *state;
	uint8_t junk[5] = {9};

	(void)run(w);
	tunnel_udp_handler.receive(w->node->tunnel, &v4, junk, sizeof(junk));
	tunnel_udp_handler.drained(w->node->tunnel);
	tunnel_udp_handler.receive(w->node->tunnel, &v6, junk, sizeof(junk));
	tunnel_udp_handler.drained(w->node->tunnel);
	tunnel_udp_handler.receive(w->node->tunnel, &v6, junk, sizeof(junk));
	tunnel_udp_handler.drained(w->node->tunnel);
	assert_int_equal(node_metrics(w->node, &text), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (!strstr((const char *)buffer_head(&text), lines[i]))
			fail_msg("no %sin\n%s", lines[i], (const char *)buffer_head(&text));
	buffer_free(&text);
	/* And without a tunnel. */
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	assert_int_equal(node_metrics(w->node, &text), 0);
	buffer_free(&text);
}

#define PASSWD "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"

static void the_operator_may_change_the_node(void **state)
{
	struct world *w = *state;
	struct error err = {0};
	json_t *unknown;

	w->privsep.passwd = PASSWD;
	(void)run(w);
	assert_true(node_may_write(w->node, 0));
	assert_false(node_may_write(w->node, 1000));
	edit(w, "{\"OperatorUser\":\"alice\",\"OperatorUserSet\":true}");
	assert_true(node_may_write(w->node, 1000));
	assert_false(node_may_write(w->node, 1001));
	/* Nobody has an unknown name, and the setting before it stays. */
	unknown = json_loads("{\"OperatorUser\":\"bob\",\"OperatorUserSet\":true}", 0, NULL);
	assert_int_equal(node_edit_prefs(w->node, unknown, &err), -EINVAL);
	json_decref(unknown);
	assert_string_equal(w->node->state.prefs.operator_user, "alice");
	assert_true(node_may_write(w->node, 1000));
	/* It outlives us, and follows /etc/passwd. */
	answer_all(w);
	end_node(w);
	start_node(w);
	assert_true(node_may_write(w->node, 1000));
	w->privsep.passwd = "alice:x:2000:2000::/home/alice:/bin/sh\n";
	node_file_changed(w->node, PRIVSEP_FILE_PASSWD, -ENOENT);
	node_settle(w->node);
	assert_false(node_may_write(w->node, 1000));
	assert_true(node_may_write(w->node, 2000));
	edit(w, "{\"OperatorUser\":\"\",\"OperatorUserSet\":true}");
	assert_false(node_may_write(w->node, 2000));
	assert_false(node_may_write(w->node, (uid_t)-1));
}

/* --- Settings without effect --- */

static void what_has_no_effect_is_refused_or_said(void **state)
{
	static const char *const masked[] = {
		"{\"RunSSH\":true,\"RunSSHSet\":true}",
		"{\"RunWebClient\":true,\"RunWebClientSet\":true}",
		"{\"ExitNodeID\":\"n1\",\"ExitNodeIDSet\":true}",
		"{\"ExitNodeIP\":\"100.64.0.2\",\"ExitNodeIPSet\":true}",
		"{\"AdvertiseRoutes\":[\"10.0.0.0/8\"],\"AdvertiseRoutesSet\":true}",
		"{\"AdvertiseServices\":[\"svc:a\"],\"AdvertiseServicesSet\":true}",
		"{\"AppConnector\":{\"Advertise\":true},\"AppConnectorSet\":true}",
		"{\"RelayServerPort\":0,\"RelayServerPortSet\":true}",
	};
	struct world *w = *state;
	json_t *json;

	(void)run(w);
	for (size_t i = 0; i < ARRAY_SIZE(masked); i++) {
		struct error err = {0};

		json = object(masked[i]);
		if (node_edit_prefs(w->node, json, &err) != -EOPNOTSUPP ||
		    !strstr(err.text, "leave this setting out"))
			fail_msg("row %zu: %s", i, err.text);
		json_decref(json);
	}
	assert_true(json_is_false(json_object_get(w->node->state.prefs.object, "RunSSH")));
	assert_null(w->node->warnings[NODE_WARN_SETTINGS]);
	edit(w, "{\"RunSSH\":false,\"RunSSHSet\":true}");
	answer_all(w);
	end_node(w);

	/* What a volume brings along is kept, and said; other settings may be changed. */
	free(w->start.config.prefs);
	w->start.config.prefs = strdup("{\"RunSSH\":true,\"RunSSHSet\":true,"
				       "\"ExitNodeIP\":\"100.64.0.2\",\"ExitNodeIPSet\":true}");
	start_node(w);
	assert_non_null(w->node->warnings[NODE_WARN_SETTINGS]);
	assert_non_null(
		strstr(w->node->warnings[NODE_WARN_SETTINGS], "exit nodes, the SSH server"));
	edit(w, "{\"Hostname\":\"other\",\"HostnameSet\":true}");
	assert_true(json_is_true(json_object_get(w->node->state.prefs.object, "RunSSH")));
	edit(w, "{\"RunSSH\":false,\"RunSSHSet\":true,\"ExitNodeIP\":\"\",\"ExitNodeIPSet\":true}");
	assert_null(w->node->warnings[NODE_WARN_SETTINGS]);
}

/* --- Served ports --- */

static int set_serve(struct world *w, const char *config, const char *etag, struct error *err)
{
	json_t *json = object(config);
	int r;

	*err = (struct error){0};
	r = node_set_serve_config(w->node, json, etag, true, err);
	json_decref(json);
	if (r == 0)
		answer_all(w);
	return r;
}

/* serve_is() - Whether @text is in force; its ETag in @etag */
static bool serve_is(struct world *w, const char *text, char etag[static NODE_ETAG_MAX])
{
	struct buffer now = BUFFER_INIT(1 << 20);
	bool same;

	assert_int_equal(node_serve_config(w->node, &now, etag), 0);
	same = now.length == strlen(text) && memcmp(buffer_head(&now), text, now.length) == 0;
	buffer_free(&now);
	return same;
}

#define SERVE_80  "{\"TCP\":{\"80\":{\"HTTP\":true}}}"
#define SERVE_TCP "{\"TCP\":{\"80\":{\"HTTP\":true},\"5432\":{\"TCPForward\":\"127.0.0.1:1\"}}}"

static void served_ports_are_stored_and_come_back(void **state)
{
	char etag[NODE_ETAG_MAX], other[NODE_ETAG_MAX];
	struct world *w = *state;
	struct error err;

	assert_int_equal(set_serve(w, SERVE_80, NULL, &err), -EBUSY);
	(void)run(w);
	assert_true(serve_is(w, "{}", etag));
	assert_int_equal(set_serve(w, SERVE_80, etag, &err), 0);
	assert_int_equal(w->privsep.serve_ports, 1);
	assert_true(serve_is(w, SERVE_80, other));
	/* Of the configuration that is no longer in force. */
	assert_int_equal(set_serve(w, SERVE_TCP, etag, &err), -ESTALE);
	assert_true(serve_is(w, SERVE_80, etag));
	assert_int_equal(set_serve(w, SERVE_TCP, etag, &err), 0);
	assert_int_equal(w->privsep.serve_ports, 2);

	/* A new engine serves them from the state; a crash after 'reset' serves none. */
	end_node(w);
	w->privsep.serve_ports = 0;
	start_node(w);
	assert_int_equal(w->privsep.serve_ports, 2);
	assert_int_equal(set_serve(w, "{}", "", &err), 0);
	assert_int_equal(w->privsep.serve_ports, 0);
	end_node(w);
	w->privsep.serve_ports = 7;
	start_node(w);
	assert_int_equal(w->privsep.serve_ports, 0);
}

static void what_cant_be_served_is_refused(void **state)
{
	static const struct {
		const char *config;
		int code;
		const char *says;
	} rows[] = {
		/* 1 */ {"{\"TCP\":{\"0\":{\"HTTP\":true}}}", -EINVAL, "not a valid port"},
		/* 2 */
		{"{\"TCP\":{\"80\":{\"HTTPS\":true}}}", -EINVAL,
		 "want to serve \"https\", but port 80 is already serving \"http\""},
		/* 3 */ {"{\"AllowFunnel\":{\"a.b:443\":true}}", -EPERM, "Funnel"},
		/* 4 */
		{"{\"Web\":{\"${TS_CERT_DOMAIN}:80\":{}}}", -EINVAL, "TS_SERVE_CONFIG"},
		/* 5 */
		{"{\"Web\":{\"a.b:80\":{\"Handlers\":{\"/\":{\"Path\":\"/srv\"}}}}}", -EPERM,
		 "/srv is outside of the folders that may be served (/data:/www)"},
		/* 6 */
		{"{\"TCP\":{\"22\":{\"TCPForward\":\"unix:/datax/a\"}}}", -EPERM,
		 "/datax/a is outside"},
		/* 7 */
		{"{\"TCP\":{\"22\":{\"TCPForward\":\"unix:a\"}}}", -EINVAL, "absolute path"},
	};
	char etag[NODE_ETAG_MAX];
	struct world *w = *state;
	struct error err;

	(void)run(w);
	w->start.config.serve_roots = strdup("/data:/www");
	assert_int_equal(set_serve(w, SERVE_80, NULL, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int r = set_serve(w, rows[i].config, NULL, &err);

		if (r != rows[i].code || !strstr(err.text, rows[i].says))
			fail_msg("row %zu: %d, %s", i + 1, r, err.text);
	}
	assert_true(serve_is(w, SERVE_80, etag));
	w->start.config.serve_config = strdup("/config/serve.json");
	assert_int_equal(set_serve(w, "{}", NULL, &err), -EEXIST);
	assert_non_null(strstr(err.text, "/config/serve.json"));
}

/* What a watch of the bus has seen. */
struct follower {
	struct node_watch *watch;
	char session[17];
	bool told_to_end;
};

static void on_follow(void *context, const void *line, size_t length)
{
	struct follower *f = context;
	json_t *json;

	if (!line) {
		f->told_to_end = true;
		return;
	}
	json = json_loadb(line, length, 0, NULL);
	if (json_object_get(json, "SessionID"))
		snprintf(f->session, sizeof(f->session), "%s",
			 json_string_value(json_object_get(json, "SessionID")));
	json_decref(json);
}

static void what_a_command_serves_ends_with_its_watch(void **state)
{
	static const char form[] = "{\"TCP\":{\"80\":{\"HTTP\":true}},\"Foreground\":{"
				   "\"%s\":{\"TCP\":{\"81\":{\"HTTP\":true}}},"
				   "\"%s\":{\"TCP\":{\"%s\":{\"HTTP\":true}}}}}";
	struct world *w = *state;
	struct follower one = {0}, two = {0};
	char text[512], etag[NODE_ETAG_MAX];
	struct error err;

	(void)run(w);
	one.watch = node_watch_new(w->node, 0, on_follow, &one);
	two.watch = node_watch_new(w->node, 0, on_follow, &two);
	assert_string_not_equal(one.session, two.session);
	assert_int_equal(set_serve(w, SERVE_80, NULL, &err), 0);
	snprintf(text, sizeof(text), form, one.session, two.session, "81");
	assert_int_equal(set_serve(w, text, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "listener already exists for port 81");
	snprintf(text, sizeof(text), form, one.session, two.session, "80");
	assert_int_equal(set_serve(w, text, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "listener already exists for port 80");
	snprintf(text, sizeof(text), form, one.session, two.session, "82");
	assert_int_equal(set_serve(w, text, NULL, &err), 0);
	assert_int_equal(w->privsep.serve_ports, 3);

	/* The end of one leaves the rest; a session that never was is dropped. */
	node_watch_free(two.watch);
	answer_all(w);
	assert_int_equal(w->privsep.serve_ports, 2);
	assert_false(one.told_to_end);
	snprintf(text, sizeof(text), form, one.session, two.session, "82");
	assert_int_equal(set_serve(w, text, NULL, &err), 0);
	assert_int_equal(w->privsep.serve_ports, 2);

	/* A configuration without the session ends its watch. */
	assert_int_equal(set_serve(w, SERVE_80, NULL, &err), 0);
	assert_true(one.told_to_end);
	assert_int_equal(w->privsep.serve_ports, 1);

	/* It is never stored. */
	snprintf(text, sizeof(text), form, one.session, two.session, "82");
	assert_int_equal(set_serve(w, text, NULL, &err), 0);
	end_node(w);
	start_node(w);
	assert_true(serve_is(w, SERVE_80, etag));
}

/* --- Another server, and the end --- */

static void on_logout(void *context, const struct error *err)
{
	*(int *)context = err ? err->code : 0;
}

static void another_server_is_another_tailnet(void **state)
{
	const struct address reached = {.family = ADDRESS_V4, .bytes = {192, 0, 2, 1}};
	struct world *w = *state;
	int logout = 1;

	(void)run(w);
	control_says(w, reached, &reached, 1);
	control_says(w, auth_url, RENEWAL_URL);
	assert_int_equal(node_logout(w->node, on_logout, &logout, NULL), 0);
	edit(w, "{\"ControlURL\":\"https://two.example\",\"ControlURLSet\":true}");
	/* Whoever waits for the old one is told so. */
	assert_int_equal(logout, -ECANCELED);
	assert_int_equal(fake_client_count, 1);
	assert_string_equal(client()->url, "https://two.example");
	assert_int_equal(client()->known_addresses, 0);
	assert_false(client()->had_netmap);
	assert_false(has_peer(w, 1)); /* it pointed into a netmap that is gone */
	assert_null(w->node->auth_url);
	assert_int_equal(node_state(w->node), NODE_STARTING);
	/* And another logout is possible. */
	assert_int_equal(node_logout(w->node, on_logout, &logout, NULL), 0);
	control_says(w, logged_out, NULL);
	assert_int_equal(logout, 0);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
}

static int start_elsewhere(struct world *w)
{
	json_t *json = object("{\"UpdatePrefs\":{\"ControlURL\":\"https://two.example\","
			      "\"WantRunning\":true},\"AuthKey\":\"other\"}");
	struct error err = {0};

	return node_start(w->node, json, &err);
}

/* A slip of the pen would cost the login that there is. */
static void a_login_is_not_left_by_mistake(void **state)
{
	struct world *w = *state;
	json_t *log = json_array(), *masked;
	struct node_watch *watch;
	struct error err = {0};
	uv_timer_t patience;

	/* Nobody has registered us: nothing is lost. */
	edit(w, "{\"ControlURL\":\"https://two.example\",\"ControlURLSet\":true}");
	(void)run(w);
	masked = object("{\"ControlURL\":\"https://two.example\",\"ControlURLSet\":true}");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(node_edit_prefs(w->node, masked, &err), -EXDEV);
		assert_non_null(strstr(err.text, "without --force-reauth"));
		edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	}
	json_decref(masked);
	edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	/* Another text for the same server is none. */
	edit(w, "{\"ControlURL\":\"https://ONE.example:443/\",\"ControlURLSet\":true}");
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	edit(w, "{\"ControlURL\":\"https://one.example\",\"ControlURLSet\":true}");

	/* A start alone changes nothing, and is told so. */
	watch = node_watch_new(w->node, 0, on_notify, log);
	assert_int_equal(start_elsewhere(w), 0);
	uv_timer_init(&w->loop, &patience);
	uv_timer_start(&patience, on_patience_over, 10000, 0);
	while (!messages_with(log, "ErrMessage") && uv_is_active((uv_handle_t *)&patience))
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&patience, NULL);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_int_equal(messages_with(log, "ErrMessage"), 1);
	assert_int_equal(messages_with(log, "State"), 0);
	assert_string_equal(client()->url, "https://one.example");
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	login(w); /* of another time */
	assert_string_equal(client()->url, "https://one.example");

	/* With a login it is meant. */
	assert_int_equal(start_elsewhere(w), 0);
	login(w);
	assert_string_equal(client()->url, "https://two.example");
	control_says(w, auth_key_wanted);
	assert_string_equal(client()->key, "other");
	node_watch_free(watch);
	json_decref(log);
}

static void another_server_at_the_start(void **state)
{
	struct world *w = *state;

	(void)run(w);
	end_node(w);
	free(w->start.config.prefs);
	w->start.config.prefs =
		strdup("{\"ControlURL\":\"https://One.example/\",\"ControlURLSet\":true}");
	start_node(w);
	assert_true(client()->had_netmap);
	end_node(w);
	free(w->start.config.prefs);
	w->start.config.prefs =
		strdup("{\"ControlURL\":\"https://two.example\",\"ControlURLSet\":true}");
	start_node(w);
	assert_string_equal(client()->url, "https://two.example");
	assert_false(client()->had_netmap);
	assert_false(has_peer(w, 1));
}

static void the_start_is_settled_once_stored(void **state)
{
	struct world *w = *state;

	(void)run(w);
	assert_true(w->privsep.settled); /* by the first start */
	end_node(w);
	free(w->start.config.prefs);
	w->start.config.prefs = strdup("{\"Hostname\":\"from-start\",\"HostnameSet\":true}");
	w->start.config.up = true;
	begin_node(w);
	assert_false(w->privsep.settled);
	answer(w, false, -ENOSPC);
	assert_false(w->privsep.settled); /* the next engine has to be told it again */
	node_store_state(w->node);
	answer_all(w);
	assert_true(w->privsep.settled);
	end_node(w);

	/* Nothing to store is stored. */
	begin_node(w);
	assert_true(w->privsep.settled);
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_RUNNING);

	/* An engine after that is not told again, and what a person changed is as it was. */
	edit(w, "{\"Hostname\":\"by-hand\",\"HostnameSet\":true,\"WantRunning\":false,"
		"\"WantRunningSet\":true}");
	answer_all(w);
	end_node(w);
	free(TAKE_PTR(w->start.config.prefs));
	w->start.config.up = false;
	start_node(w);
	assert_string_equal(w->node->state.prefs.hostname, "by-hand");
	assert_int_equal(node_state(w->node), NODE_STOPPED);
}

static void a_start_that_logs_in_outlives_its_engine(void **state)
{
	struct world *w = *state;
	int logout = 1;

	(void)run(w);
	assert_int_equal(node_logout(w->node, on_logout, &logout, NULL), 0);
	control_says(w, logged_out, NULL);
	answer_all(w);
	end_node(w);

	/* A container that starts wants to be in, whatever was before. */
	w->start.config.up = true;
	start_node(w);
	assert_true(w->privsep.settled);
	assert_int_equal(client()->starts, 1);
	end_node(w);

	/* Its engine died while the login waited for a person: the next one waits on. */
	w->start.config.up = false;
	start_node(w);
	assert_int_equal(client()->starts, 1);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);

	/* But not once somebody has logged out. */
	assert_int_equal(node_logout(w->node, on_logout, &logout, NULL), 0);
	control_says(w, logged_out, NULL);
	answer_all(w);
	end_node(w);
	start_node(w);
	assert_null(client());
}

static void the_end_answers_a_logout(void **state)
{
	struct world *w = *state;
	int logout = 1;

	(void)run(w);
	assert_int_equal(node_logout(w->node, on_logout, &logout, NULL), 0);
	end_node(w);
	assert_int_equal(logout, -ECANCELED);
	start_node(w);
}

/* --- What fails is tried again --- */

static void a_full_disk_loses_nothing(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	edit(w, "{\"Hostname\":\"renamed\",\"HostnameSet\":true}");
	(void)answer(w, true, 0);
	assert_int_equal(answer(w, false, -ENOSPC), 1);
	assert_non_null(w->node->warnings[NODE_WARN_STORE]);
	assert_false(is_waiting(w, false)); /* not at once */
	assert_true(wait_for_request(w, false, 5000));
	(void)answer(w, false, -ENOSPC);
	assert_true(wait_for_request(w, false, 8000));
	answer_all(w);
	assert_null(w->node->warnings[NODE_WARN_STORE]);
	assert_false(wait_for_request(w, false, 100));
	/* A new key waits, and is told what became of it. */
	(void)new_key(w, &key);
	assert_int_equal(answer(w, false, -ENOSPC), 1);
	assert_int_equal(client()->stored, -ENOSPC);
	end_node(w);
	start_node(w);
	assert_string_equal(w->node->state.prefs.hostname, "renamed");
}

static void what_is_small_is_cached_beside_a_large_map(void **state)
{
	const char head[] = "{\"SSHPolicy\":{\"rules\":\"", tail[] = "\"}}";
	struct world *w = *state;
	struct secret_key key = run(w), disco = w->node->disco_key;
	char *text = malloc(PRIVSEP_BLOB_MAX + sizeof(head) + sizeof(tail));

	memset(mempcpy(text, head, strlen(head)), 'x', PRIVSEP_BLOB_MAX);
	strcpy(text + strlen(head) + PRIVSEP_BLOB_MAX, tail);
	map(w, &key, text);
	free(text);
	w->node->home_derp = 7;
	node_store_cache_now(w->node);
	assert_true(w->privsep.cache.length > 0 && w->privsep.cache.length < 1000);
	assert_true(w->node->cache_cut);
	end_node(w);
	start_node(w);
	assert_memory_equal(disco.bytes, w->node->disco_key.bytes, KEY_SIZE);
	assert_int_equal(w->node->home_derp, 7);

	/* And no longer than it has to be. */
	map(w, &key, FULL_MAP);
	node_store_cache_now(w->node);
	assert_false(w->node->cache_cut);
}

static void a_change_behind_a_slow_store_is_not_lost(void **state)
{
	struct world *w = *state;

	(void)run(w);
	edit(w, "{\"Hostname\":\"one\",\"HostnameSet\":true}");
	edit(w, "{\"Hostname\":\"two\",\"HostnameSet\":true}");
	node_stop(w->node);
	w->privsep.count = 0; /* the supervisor goes on storing; nobody hears the answer */
	node_free(w->node);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	start_node(w);
	assert_string_equal(w->node->state.prefs.hostname, "two");
}

static void count_stored(struct node *node, void *context)
{
	(void)node;
	++*(int *)context;
}

static void who_waits_for_a_store_is_answered_after_it(void **state)
{
	struct world *w = *state;
	int stored = 0;

	(void)run(w);
	node_when_stored(w->node, count_stored, &stored);
	assert_int_equal(stored, 1); /* nothing was being stored */

	edit(w, "{\"Hostname\":\"one\",\"HostnameSet\":true}");
	node_when_stored(w->node, count_stored, &stored);
	edit(w, "{\"Hostname\":\"two\",\"HostnameSet\":true}");
	node_when_stored(w->node, count_stored, &stored);
	assert_int_equal(stored, 1);
	/* The second change is a store of its own. */
	answer(w, false, 0);
	assert_int_equal(stored, 1);
	answer(w, false, 0);
	assert_int_equal(stored, 3);

	edit(w, "{\"Hostname\":\"three\",\"HostnameSet\":true}");
	node_when_stored(w->node, count_stored, &stored);
	answer(w, false, -ENOSPC);
	assert_int_equal(stored, 4);
	answer_all(w);

	edit(w, "{\"Hostname\":\"four\",\"HostnameSet\":true}");
	node_when_stored(w->node, count_stored, &stored);
	node_stop(w->node);
	w->privsep.count = 0;
	node_free(w->node);
	assert_int_equal(stored, 5);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	start_node(w);
}

static void the_kernel_is_asked_again(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	answer_all(w);
	edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
	while (answer(w, true, -EBUSY) > 0)
		;
	registered(w, &key);
	assert_int_equal(node_state(w->node), NODE_STARTING);
	assert_true(wait_for_request(w, true, 5000));
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	assert_null(w->node->warnings[NODE_WARN_NETWORK]);
}

/* assert_refused_by_state() - In the words that scripts look for, and with @why in ours */
static void assert_refused_by_state(struct world *w, const char *why)
{
	const char *line = w->node->warnings[NODE_WARN_STATE];
	json_t *nothing = json_object();
	struct error err = {0};

	assert_ptr_equal(strstr(line, NODE_STATE_TROUBLE), line);
	assert_non_null(strstr(line, why));
	assert_true(node_start(w->node, nothing, &err) < 0);
	assert_ptr_equal(strstr(err.text, "cannot start backend when state store is unhealthy"),
			 err.text);
	assert_non_null(strstr(err.text, why));
	assert_true(node_login_interactive(w->node, &err) < 0);
	assert_ptr_equal(strstr(err.text, "cannot log in when state store is unhealthy"), err.text);
}

static void a_state_that_was_lost_is_no_first_start(void **state)
{
	struct world *w = *state;

	end_node(w);
	w->privsep.lost = "empty, but a copy is not";
	start_node(w);
	assert_int_equal(node_state(w->node), NODE_NO_STATE);
	assert_refused_by_state(w, w->privsep.lost);
	assert_null(client());
	w->privsep.lost = NULL;
	buffer_consume(&w->privsep.state, w->privsep.state.length);
	assert_true(wait_for_request(w, false, 5000));
	assert_null(w->node->warnings[NODE_WARN_STATE]);
}

/* It was moved away, or mended: nobody has to start us anew for that. */
static void a_state_that_could_not_be_read_is_read_again(void **state)
{
	struct world *w = *state;
	struct buffer *file = &w->privsep.state;

	end_node(w);
	buffer_consume(file, file->length);
	assert_int_equal(buffer_append(file, "{broken", 7), 0);
	start_node(w);
	assert_int_equal(node_state(w->node), NODE_NO_STATE);
	assert_non_null(w->node->warnings[NODE_WARN_STATE]);
	assert_refused_by_state(w, "not a JSON object");
	assert_false(wait_for_request(w, false, 1500));
	buffer_consume(file, file->length);
	assert_true(wait_for_request(w, false, 5000));
	answer_all(w);
	assert_int_equal(node_state(w->node), NODE_NEEDS_LOGIN);
	assert_null(w->node->warnings[NODE_WARN_STATE]);
}

/* --- The netmap --- */

static void peers_may_trade_their_keys(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	map(w, &key,
	    "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Key\":\"PEER2\"},"
	    "{\"NodeID\":3,\"Key\":\"PEER1\"}]}");
	assert_true(has_peer(w, 1));
	assert_true(has_peer(w, 2));
	map(w, &key, "{\"PeersRemoved\":[2]}");
	assert_true(has_peer(w, 1));
	assert_false(has_peer(w, 2));
}

static struct tunnel_peer *owner_of(struct world *w, const struct address *address);
static struct tunnel_peer *tunnel_peer(struct world *w, int number);

/* As --mtu or TS_DEBUG_MTU set it, or padding would be cut off at the default one. */
static void the_tunnel_knows_its_mtu(void **state)
{
	struct world *w = *state;

	(void)run(w);
	assert_int_equal(w->node->tunnel->wg->mtu, 1280);
	w->start.config.mtu = 1400;
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	answer_all(w);
	edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
	answer_all(w);
	assert_int_equal(w->node->tunnel->wg->mtu, 1400);
}

/* One key, two entries: the end of one is not the end of the other. */
static void a_twin_outlives_its_twin(void **state)
{
	const struct address old = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}};
	const struct address new = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 4}};
	static const char twin[] = "{\"PeersChanged\":[{\"ID\":4,\"Key\":\"PEER1\","
				   "\"Addresses\":[\"100.64.0.4/32\"]}]}";
	struct world *w = *state;
	struct secret_key key = run(w);

	map(w, &key, twin);
	assert_ptr_equal(owner_of(w, &new), tunnel_peer(w, 1));
	/* The newer one goes: the older is put back. */
	map(w, &key, "{\"PeersRemoved\":[4]}");
	assert_ptr_equal(owner_of(w, &old), tunnel_peer(w, 1));
	assert_null(owner_of(w, &new));
	/* The older one goes, by removal or another key, and the newer stays. */
	map(w, &key, twin);
	map(w, &key, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Key\":\"PEER3\"}]}");
	assert_ptr_equal(owner_of(w, &new), tunnel_peer(w, 1));
	map(w, &key, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Key\":\"PEER1\"}]}");
	map(w, &key, "{\"PeersRemoved\":[2]}");
	assert_ptr_equal(owner_of(w, &new), tunnel_peer(w, 1));
	/* One that has expired is no holder. */
	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":9,\"Key\":\"PEER1\",\"Expired\":true,"
	    "\"Addresses\":[\"100.64.0.9/32\"]}]}");
	assert_ptr_equal(owner_of(w, &new), tunnel_peer(w, 1));
	map(w, &key, "{\"PeersRemoved\":[4]}");
	assert_false(has_peer(w, 1));
}

static struct tunnel_peer *tunnel_peer(struct world *w, int number)
{
	const struct public_key key = peer_key(number);
	struct tunnel_peer *peer;

	HASH_FIND(hh, w->node->tunnel->peers, &key, sizeof(key), peer);
	return peer;
}

static bool is_v4(const struct address *a, uint8_t c, uint8_t d)
{
	const struct address expected = {.family = ADDRESS_V4, .bytes = {100, 64, c, d}};

	return address_equal(a, &expected);
}

/* What capability version 138 promises of single peers, from the map into the tunnel. */
static void the_map_says_how_a_peer_is_treated(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	struct tunnel_peer *peer;

	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":2,\"Key\":\"PEER1\",\"IsJailed\":true,"
	    "\"Addresses\":[\"100.64.0.2/32\"],"
	    "\"SelfNodeV4MasqAddrForThisPeer\":\"100.64.7.7\","
	    "\"SelfNodeV6MasqAddrForThisPeer\":\"fd7a:115c:a1e0::7\"}]}");
	peer = tunnel_peer(w, 1);
	assert_true(peer->filter.jailed);
	assert_true(is_v4(&peer->masquerade.shown_v4, 7, 7));
	assert_true(is_v4(&peer->masquerade.own_v4, 0, 1));
	assert_int_equal(peer->masquerade.shown_v6.family, ADDRESS_V6);
	/* Our own address changes: that is the one behind the mask from now on. */
	map(w, &key,
	    "{\"Node\":{\"ID\":1,\"Key\":\"SELF\",\"MachineAuthorized\":true,"
	    "\"Addresses\":[\"100.64.0.9/32\"]}}");
	assert_true(is_v4(&peer->masquerade.own_v4, 0, 9));
	assert_ptr_equal(tunnel_peer(w, 1), peer);
	assert_false(tunnel_peer(w, 2)->filter.jailed);

	/* Neither masked nor jailed any more; then expired, and prolonged. */
	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":2,\"Key\":\"PEER1\","
	    "\"Addresses\":[\"100.64.0.2/32\"]}]}");
	assert_false(peer->filter.jailed);
	assert_int_equal(peer->masquerade.shown_v4.family, ADDRESS_NONE);
	map(w, &key,
	    "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2024-01-01T00:00:00Z\"}]}");
	assert_false(has_peer(w, 1));
	assert_true(has_peer(w, 2));
	map(w, &key,
	    "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2199-01-01T00:00:00Z\"}]}");
	assert_true(has_peer(w, 1));
}

static void a_locked_tailnet_has_no_peers(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	map(w, &key,
	    "{\"TKAInfo\":{\"Head\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}");
	assert_false(has_peer(w, 1));
	assert_false(has_peer(w, 2));
	assert_non_null(strstr(w->node->warnings[NODE_WARN_LOCKED], "Tailnet Lock"));
	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":2,\"Key\":\"PEER1\","
	    "\"Addresses\":[\"100.64.0.2/32\"],\"Cap\":7}]}");
	assert_false(has_peer(w, 1));
	map(w, &key, "{\"TKAInfo\":{\"Disabled\":true}}");
	assert_true(has_peer(w, 1));
	assert_null(w->node->warnings[NODE_WARN_LOCKED]);
}

/* owner_of() - To whom a packet for @address goes; NULL: to nobody */
static struct tunnel_peer *owner_of(struct world *w, const struct address *address)
{
	struct wg_peer *wg = wg_device_lookup(w->node->tunnel->wg, address).peer;

	return wg ? wg_peer_user(wg) : NULL;
}

static void routes_of_others_are_chosen_not_taken(void **state)
{
	const struct address subnet = {.family = ADDRESS_V4, .bytes = {198, 51, 100, 1}};
	const struct address elsewhere = {.family = ADDRESS_V4, .bytes = {8, 8, 8, 8}};
	const struct address service = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 50}};
	struct world *w = *state;
	struct secret_key key = run(w);

	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":2,\"Key\":\"PEER1\",\"Addresses\":[\"100.64.0.2/32\"],"
	    "\"AllowedIPs\":[\"100.64.0.2/32\",\"100.64.0.50/32\",\"198.51.100.0/24\","
	    "\"0.0.0.0/0\"]}]}");
	assert_ptr_equal(owner_of(w, &service), tunnel_peer(w, 1));
	assert_null(owner_of(w, &subnet));
	edit(w, "{\"RouteAll\":true,\"RouteAllSet\":true}");
	assert_ptr_equal(owner_of(w, &subnet), tunnel_peer(w, 1));
	assert_null(owner_of(w, &elsewhere));
	edit(w, "{\"RouteAll\":false,\"RouteAllSet\":true}");
	assert_null(owner_of(w, &subnet));
}

/* Else packets of peers would reach the machine's other addresses, or be forwarded. */
static void own_addresses_are_the_tailnets(void **state)
{
	struct ip_view view = {
		.version = 4,
		.protocol = IP_PROTOCOL_UDP,
		.source = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}},
		.destination = {.family = ADDRESS_V4, .bytes = {10, 0, 3, 4}},
	};
	struct world *w = *state;
	struct secret_key key = run(w);

	map(w, &key,
	    "{\"Node\":{\"ID\":1,\"Key\":\"SELF\",\"MachineAuthorized\":true,\"Addresses\":["
	    "\"10.0.3.4/32\",\"0.0.0.0/0\",\"100.64.0.1/32\",\"100.64.0.0/10\"]}}");
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(filter_inbound(w->node->tunnel->filter, w->node->tunnel->flows,
						&view, NULL),
				 FILTER_DROP_NOT_LOCAL);
		view.destination.bytes[0] = 100;
		view.destination.bytes[1] = 65;
	}
	view.destination = (struct address){.family = ADDRESS_V4, .bytes = {100, 64, 0, 1}};
	assert_int_equal(
		filter_inbound(w->node->tunnel->filter, w->node->tunnel->flows, &view, NULL),
		FILTER_ACCEPT_RULE);
	assert_true(address_equal(&w->node->tunnel->own_v4, &view.destination));
	/* The supervisor judges them too, and says which it refuses. */
	assert_non_null(strstr(w->privsep.network, "10.0.3.4/32"));
}

/* What the kernel is asked for; see write_network() */
static void the_kernel_gets_our_addresses_and_their_routes(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	assert_string_equal(w->privsep.network,
			    "up, nft; 100.64.0.1/32; 100.64.0.2/32 100.64.0.3/32");
	/* IPv6 of the tailnet is one route, however many have it; a subnet only if it is wanted. */
	map(w, &key,
	    "{\"PeersChanged\":["
	    "{\"ID\":2,\"Key\":\"PEER1\",\"Addresses\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/"
	    "128\"],"
	    "\"AllowedIPs\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\",\"198.51.100.0/24\"]},"
	    "{\"ID\":3,\"Key\":\"PEER2\",\"Addresses\":[\"100.64.0.3/32\",\"fd7a:115c:a1e0::3/"
	    "128\"]}"
	    "]}");
	assert_string_equal(
		w->privsep.network,
		"up, nft; 100.64.0.1/32; 100.64.0.2/32 100.64.0.3/32 fd7a:115c:a1e0::/48");
	edit(w, "{\"RouteAll\":true,\"RouteAllSet\":true,"
		"\"NetfilterMode\":0,\"NetfilterModeSet\":true}");
	answer_all(w);
	assert_string_equal(w->privsep.network,
			    "up; 100.64.0.1/32; 100.64.0.2/32 100.64.0.3/32 198.51.100.0/24 "
			    "fd7a:115c:a1e0::/48");
	/* Who has expired is not routed to; nothing at all where the node is down. */
	map(w, &key,
	    "{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2024-01-01T00:00:00Z\"}]}");
	assert_string_equal(w->privsep.network,
			    "up; 100.64.0.1/32; 100.64.0.3/32 fd7a:115c:a1e0::/48");
	map(w, &key, "{\"PeersRemoved\":[3]}");
	assert_string_equal(w->privsep.network, "up; 100.64.0.1/32;");
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	answer_all(w);
	assert_string_equal(w->privsep.network, "down;;");
}

/* The supervisor takes one request a time, and may refuse one: then it gets all routes anew. */
static void a_refused_delta_is_followed_by_the_whole(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	unsigned int wholes = w->privsep.wholes;

	map(w, &key, "{\"PeersRemoved\":[3]}");
	assert_string_equal(w->privsep.network, "up, nft; 100.64.0.1/32; 100.64.0.2/32");
	assert_int_equal(w->privsep.wholes, wholes);
	hear_map(w, &key, "{\"PeersRemoved\":[2]}");
	assert_int_equal(answer(w, true, -ESTALE), 1);
	assert_int_equal(w->privsep.wholes, wholes + 1);
	assert_string_equal(w->privsep.network, "up, nft; 100.64.0.1/32;");
	answer_all(w);
	assert_true(w->node->network_applied);
}

#define REGION(id, flags) \
	"\"" #id "\":{\"RegionID\":" #id flags ",\"Nodes\":[{\"Name\":\"a\",\"HostName\":\"a\"}]}"

static void some_regions_never_become_home(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	map(w, &key,
	    "{\"DERPMap\":{\"Regions\":{" REGION(1, ",\"NoMeasureNoHome\":true") "," REGION(
		    2, ",\"Avoid\":true") "}}}");
	assert_int_equal(w->node->home_derp, 0);
	map(w, &key,
	    "{\"DERPMap\":{\"Regions\":{" REGION(1, ",\"NoMeasureNoHome\":true") "," REGION(
		    2, ",\"Avoid\":true") "," REGION(3, "") "}}}");
	assert_int_equal(w->node->home_derp, 3);
}

static void shields_up_holds_at_once(void **state)
{
	struct ip_view view = {
		.version = 4,
		.protocol = IP_PROTOCOL_UDP,
		.source = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}},
		.destination = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 1}},
	};
	struct world *w = *state;

	(void)run(w);
	assert_int_equal(
		filter_inbound(w->node->tunnel->filter, w->node->tunnel->flows, &view, NULL),
		FILTER_ACCEPT_RULE);
	edit(w, "{\"ShieldsUp\":true,\"ShieldsUpSet\":true}");
	assert_int_equal(
		filter_inbound(w->node->tunnel->filter, w->node->tunnel->flows, &view, NULL),
		FILTER_DROP_SHIELDS_UP);
}

static void odd_netmaps_do_no_harm(void **state)
{
	static const char *const rows[] = {
		/* 1: a peer with our own key, and one with our address */
		"{\"PeersChanged\":[{\"ID\":4,\"Key\":\"SELF\",\"AllowedIPs\":[\"100.64.0.4/32\"]},"
		"{\"ID\":5,\"Key\":\"PEER1\",\"AllowedIPs\":[\"100.64.0.1/32\",\"0.0.0.0/0\"]}]}",
		/* 2: nobody is removed */ "{\"PeersRemoved\":[77]}",
		/* 3: we have no address any more */
		"{\"Node\":{\"ID\":1,\"Key\":\"SELF\",\"MachineAuthorized\":true}}",
		/* 4: peers without a key */ "{\"PeersChanged\":[{\"ID\":2},{\"ID\":3}]}",
		/* 5: all of it again */ FULL_MAP,
	};
	struct world *w = *state;
	struct secret_key key = run(w);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		map(w, &key, rows[i]);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	assert_true(has_peer(w, 1) && has_peer(w, 2));
}

static void a_burst_of_peers_is_one_request(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	for (int id = 10; id < 1000; id++) {
		char text[300];

		snprintf(text, sizeof(text),
			 "{\"PeersChanged\":[{\"ID\":%d,\"Key\":\"nodekey:%064d\","
			 "\"Addresses\":[\"100.64.%d.%d/32\"]}]}",
			 id, id, id / 250, id % 250);
		hear_map(w, &key, text);
		assert_int_equal(node_state(w->node), NODE_RUNNING);
	}
	assert_int_equal(answer(w, true, 0), 1);
	assert_int_equal(answer(w, true, 0), 1); /* all of the rest */
	assert_int_equal(answer(w, true, 0), 0);
	/* Down overtakes nothing either, and is what stands in the end. */
	map(w, &key, "{\"PeersRemoved\":[10]}");
	hear_map(w, &key, "{\"PeersRemoved\":[11]}");
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	assert_false(w->node->network_applied);
	assert_int_equal(answer(w, true, 0), 1);
	assert_false(w->node->network_applied);
	assert_int_equal(answer(w, true, 0), 1);
	assert_int_equal(answer(w, true, 0), 0);
	assert_false(w->node->network_applied);
}

static const char *c2n(struct world *w, const char *body, struct control_c2n_reply *reply)
{
	const struct control_c2n_request request = {
		.method = body ? "POST" : "GET",
		.path = "/debug/netmap",
		.body = (const uint8_t *)body,
		.body_length = body ? strlen(body) : 0,
	};

	buffer_free(&reply->body);
	*reply = (struct control_c2n_reply){.body = BUFFER_INIT(1 << 20)};
	node_answer_c2n(w->node, &request, reply);
	if (buffer_append(&reply->body, "", 1) < 0)
		return "";
	return (const char *)buffer_head(&reply->body);
}

/* As the official daemon: what is, and what a message of control would make. */
static void control_asks_for_the_netmap(void **state)
{
	struct world *w = *state;
	struct control_c2n_reply reply = {0};
	const char *text;

	(void)run(w);
	text = c2n(w, NULL, &reply);
	assert_int_equal(reply.status, 200);
	assert_int_equal(strncmp(text, "{\"current\":{\"SelfNode\":", 23), 0);
	assert_null(strstr(text, "candidate"));
	assert_null(strstr(text, "privkey"));
	text = c2n(w,
		   "{\"omitFields\":[\"Peers\",\"Domain\"],\"candidate\":{\"Node\":{\"ID\":77}}}",
		   &reply);
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(text, "{\"candidate\":{\"SelfNode\":{\"ID\":77"));
	assert_non_null(strstr(text, "\"current\":"));
	assert_null(strstr(text, "\"Peers\""));
	(void)c2n(w, "{\"candidate\":{}}", &reply);
	assert_int_not_equal(reply.status, 200);
	(void)c2n(w, "[", &reply);
	assert_int_not_equal(reply.status, 200);
	buffer_free(&reply.body);
}

static void debug_actions_and_names(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	struct error err = {0};
	struct address address;
	json_t *json;

	map(w, &key,
	    "{\"Node\":{\"ID\":1,\"Key\":\"SELF\",\"Name\":\"me.example.ts.net.\","
	    "\"MachineAuthorized\":true,\"CapMap\":{\"silent-disco\":null},"
	    "\"Addresses\":[\"100.64.0.1/32\"]},\"PeersChanged\":[{\"ID\":2,\"Key\":\"PEER1\","
	    "\"Name\":\"App.example.ts.net.\",\"Addresses\":[\"100.64.0.2/32\"]}]}");
	assert_int_equal(debug_of(w, "control-knobs", &json, &err), 0);
	assert_true(json_is_true(json_object_get(json, "SilentDisco")));
	assert_true(json_is_false(json_object_get(json, "DisableUPnP")));
	json_decref(json);
	assert_int_equal(debug_of(w, "current-netmap", &json, &err), 0);
	assert_int_equal(json_array_size(json_object_get(json, "Peers")), 2);
	json_decref(json);
	assert_int_equal(debug_of(w, "rebind", &json, &err), 0);
	assert_null(json);
	assert_int_equal(debug_of(w, "", &json, &err), -EINVAL);
	assert_string_equal(err.text, "missing parameter 'action'");
	assert_true(node_address_of(w->node, "app", &address) && is_v4(&address, 0, 2));
	assert_true(node_address_of(w->node, "app.example.ts.net", &address));
	assert_true(node_address_of(w->node, "ME.example.ts.net.", &address) &&
		    is_v4(&address, 0, 1));
	assert_false(node_address_of(w->node, "app.example", &address));
	assert_false(node_address_of(w->node, "ap", &address));
	assert_false(node_address_of(w->node, ".", &address));
}

static void nothing_is_done(void *context, const struct tailcfg_ping_result *result)
{
	(void)context;
	(void)result;
}

/* By its routes too, as far as packets are sent there; not every peer of the map is a way. */
static void a_peer_is_pinged_by_what_is_behind_it(void **state)
{
	const struct address subnet = {.family = ADDRESS_V4, .bytes = {198, 51, 100, 7}};
	const struct address nearer = {.family = ADDRESS_V4, .bytes = {198, 51, 100, 130}};
	struct world *w = *state;
	struct secret_key key = run(w);
	const struct netmap_peer *found;

	map(w, &key,
	    "{\"PeersChanged\":[{\"ID\":2,\"Key\":\"PEER1\",\"Addresses\":[\"100.64.0.2/32\"],"
	    "\"AllowedIPs\":[\"100.64.0.2/32\",\"198.51.100.0/24\"]},"
	    "{\"ID\":3,\"Key\":\"PEER2\",\"Addresses\":[\"100.64.0.3/32\"],"
	    "\"AllowedIPs\":[\"100.64.0.3/32\",\"198.51.100.128/25\"]}]}");
	assert_int_equal(node_ping(w->node, &subnet, "disco", nothing_is_done, NULL), -ENOENT);
	edit(w, "{\"RouteAll\":true,\"RouteAllSet\":true}");
	answer_all(w);
	found = node_peer_by_route(w->node, &subnet);
	assert_true(found && found->node.id == 2);
	found = node_peer_by_route(w->node, &nearer);
	assert_true(found && found->node.id == 3);
	assert_int_not_equal(node_ping(w->node, &subnet, "disco", nothing_is_done, NULL), -ENOENT);
}

/* While it is down, and after a restart, from what is stored soon after the first map. */
static void addresses_are_known_while_stopped(void **state)
{
	struct world *w = *state;

	node_store_cache_later(w->node);
	node_store_cache_now(w->node);
	(void)run(w);
	assert_in_range(uv_timer_get_due_in(&w->node->cache_timer), 1, 2000);
	edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
	answer_all(w);
	for (int restart = 0; restart < 2; restart++) {
		json_t *status = status_of(w, true);

		assert_int_equal(node_state(w->node), NODE_STOPPED);
		assert_string_equal(json_string_value(json_array_get(
					    json_object_get(status, "TailscaleIPs"), 0)),
				    "100.64.0.1");
		assert_int_equal(json_object_size(json_object_get(status, "Peer")), 2);
		assert_int_equal(json_integer_value(json_object_get(json_object_get(status, "Self"),
								    "NodeID")),
				 1);
		json_decref(status);
		node_store_cache_now(w->node);
		end_node(w);
		start_node(w);
	}
}

static void control_may_ping_but_not_for_ever(void **state)
{
	const struct address address = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}};
	const struct control_ping ping = {
		.types = "TSMP,ICMP", .ip = address, .url = "https://one.example/ping"};
	struct world *w = *state;
	struct secret_key key = run(w);

	for (int round = 0; round < 2; round++) {
		client()->replies = 0;
		for (int i = 0; i < 1000; i++)
			control_says(w, ping, &ping);
		/* A peer that goes takes none of them along: they end with the tunnel. */
		map(w, &key, "{\"PeersRemoved\":[2]}");
		edit(w, "{\"WantRunning\":false,\"WantRunningSet\":true}");
		assert_int_equal(client()->replies, LIMIT_CONTROL_PINGS);
		assert_string_equal(client()->ping_url, ping.url);
		assert_string_equal(client()->ping_type, "TSMP");
		assert_true(address_equal(&client()->ping_ip, &address));
		edit(w, "{\"WantRunning\":true,\"WantRunningSet\":true}");
		map(w, &key, FULL_MAP);
	}
}

/* The peer of the map announces no PeerAPI: control learns that at once. */
static void control_pings_by_the_peerapi(void **state)
{
	const struct control_ping ping = {
		.types = "peerapi",
		.ip = {.family = ADDRESS_V4, .bytes = {100, 64, 0, 2}},
		.url = "https://one.example/ping",
	};
	struct world *w = *state;

	(void)run(w);
	client()->replies = 0;
	control_says(w, ping, &ping);
	assert_int_equal(client()->replies, 1);
	assert_string_equal(client()->ping_type, "peerapi");
	assert_true(address_equal(&client()->ping_ip, &ping.ip));
	assert_int_equal(w->node->control_pings, 0);
}

static void an_unsigned_peer_closes_the_filter(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);

	assert_null(w->node->warnings[NODE_WARN_FILTER]);
	map(w, &key, UNSIGNED_PEER);
	assert_non_null(w->node->warnings[NODE_WARN_FILTER]);
	map(w, &key, "{\"PeersRemoved\":[4]}");
	assert_null(w->node->warnings[NODE_WARN_FILTER]);
}

static void only_other_networks_move_us(void **state)
{
	struct interface_address addresses[] = {
		{.name = "eth0", .flags = INTERFACE_UP},
		{.name = "tailscale0", .flags = INTERFACE_UP},
		{.name = "eth1", .flags = INTERFACE_UP},
	};
	struct interfaces seen = {.list = addresses, .count = 1};
	struct world *w = *state;

	(void)run(w);
	assert_int_equal(prefix_parse("192.0.2.1/24", 12, &addresses[0].prefix), 0);
	assert_int_equal(prefix_parse("100.64.0.1/32", 13, &addresses[1].prefix), 0);
	assert_int_equal(prefix_parse("198.51.100.1/24", 15, &addresses[2].prefix), 0);
	node_interfaces(w->node, &seen);
	node_settle(w->node);
	assert_int_equal(client()->retries, 0); /* the first is where we are */
	seen.count = 2;
	node_interfaces(w->node, &seen);
	node_settle(w->node);
	assert_int_equal(client()->retries, 0); /* our own link */
	seen.count = 3;
	node_interfaces(w->node, &seen);
	node_settle(w->node);
	assert_int_equal(client()->retries, 1);
	seen.count = 0;
	node_interfaces(w->node, &seen);
	node_settle(w->node);
	assert_int_equal(client()->retries, 2);
}

/* --- The cost of a delta --- */

/* Peers that were walked, peers that the tunnel was given, and filters that were compiled. */
static size_t walked, given, compiled;

struct netmap_peer *__real_netmap_peer_next(const struct netmap *map,
					    const struct netmap_peer *peer);
int __real_tunnel_peer_set(struct tunnel *tunnel, const struct tunnel_peer_config *config);
int __real_filter_compile(const struct filter_config *config, struct filter **ret);

struct netmap_peer *__wrap_netmap_peer_next(const struct netmap *map,
					    const struct netmap_peer *peer)
{
	walked++;
	return __real_netmap_peer_next(map, peer);
}

int __wrap_tunnel_peer_set(struct tunnel *tunnel, const struct tunnel_peer_config *config)
{
	given++;
	return __real_tunnel_peer_set(tunnel, config);
}

int __wrap_filter_compile(const struct filter_config *config, struct filter **ret)
{
	compiled++;
	return __real_filter_compile(config, ret);
}

/* map_of() - A whole map with @count peers; the caller frees it */
static char *map_of(unsigned int count)
{
	struct buffer text = BUFFER_INIT(64 << 20);

	assert_int_equal(buffer_printf(&text, "{" SELF_NODE ",\"PacketFilter\":[],\"Peers\":["), 0);
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(
			buffer_printf(&text,
				      "%s{\"ID\":%u,\"Key\":\"nodekey:%064x\",\"Addresses\":["
				      "\"100.%u.%u.%u/32\"],\"AllowedIPs\":[\"100.%u.%u.%u/32\"]}",
				      i ? "," : "", i + 10, i + 1, 65 + (i >> 16), (i >> 8) & 255,
				      i & 255, 65 + (i >> 16), (i >> 8) & 255, i & 255),
			0);
	assert_int_equal(buffer_printf(&text, "]}"), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	return (char *)buffer_head(&text);
}

static void a_delta_of_one_peer_costs_the_same_among_ten_thousand(void **state)
{
	static const char *const deltas[] = {
		"{\"PeersChangedPatch\":[{\"NodeID\":12,\"DERPRegion\":3,"
		"\"Endpoints\":[\"192.0.2.9:41641\"]}]}",
		"{\"PeersChangedPatch\":[{\"NodeID\":12,\"Online\":true}]}",
		"{\"PeersChanged\":[{\"ID\":13,\"Key\":\"nodekey:"
		"0000000000000000000000000000000000000000000000000000000000000004\","
		"\"Addresses\":[\"100.65.0.3/32\"],\"AllowedIPs\":[\"100.65.0.3/32\"],"
		"\"Tags\":[\"tag:new\"]}]}",
	};
	static const unsigned int sizes[] = {10, 10000};
	struct world *w = *state;
	struct secret_key key = run(w);

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		char *text = map_of(sizes[s]);

		map(w, &key, text);
		free(text);
		for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
			walked = given = compiled = 0;
			map(w, &key, deltas[i]);
			if (walked != 0 || given > 1 || compiled != 0)
				fail_msg("delta %zu of %u peers: %zu walked, %zu set, %zu filters",
					 i, sizes[s], walked, given, compiled);
		}
	}
}

static size_t compared; /* prefixes, by the tables of the routes */

int __real_prefix_compare(const void *left, const void *right);
int __wrap_prefix_compare(const void *left, const void *right);

int __wrap_prefix_compare(const void *left, const void *right)
{
	compared++;
	return __real_prefix_compare(left, right);
}

/* A peer that goes and comes: nothing walks the peers, and the supervisor gets its route alone. */
static void a_route_of_one_peer_costs_the_same_among_ten_thousand(void **state)
{
	static const unsigned int sizes[] = {10, 10000};
	struct world *w = *state;
	struct secret_key key = run(w);

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		char *text = map_of(sizes[s]);

		map(w, &key, text);
		free(text);
		walked = compared = w->privsep.routes_sent = w->privsep.wholes = 0;
		for (unsigned int round = 0; round < 10; round++) {
			map(w, &key, "{\"PeersRemoved\":[13]}");
			assert_int_equal(w->privsep.routes.count, sizes[s] - 1);
			map(w, &key,
			    "{\"PeersChanged\":[{\"ID\":13,\"Key\":\"nodekey:"
			    "0000000000000000000000000000000000000000000000000000000000000004\","
			    "\"Addresses\":[\"100.65.0.3/32\"],"
			    "\"AllowedIPs\":[\"100.65.0.3/32\"]}]}");
		}
		assert_int_equal(w->privsep.routes.count, sizes[s]);
		assert_int_equal(w->privsep.wholes, 0);
		assert_int_equal(w->privsep.routes_sent, 20);
		assert_int_equal(walked, 0);
		/* Places of the trees that are looked at: a few times their height. */
		assert_in_range(compared, 0, 20 * 100);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(whois_tells_what_the_policy_grants),
		TEST(what_control_wants_shown_is_shown),
		TEST(metrics_name_all_that_was_counted),
		TEST(what_has_no_effect_is_refused_or_said),
		TEST(the_operator_may_change_the_node),
		TEST(served_ports_are_stored_and_come_back),
		TEST(what_cant_be_served_is_refused),
		TEST(what_a_command_serves_ends_with_its_watch),
		TEST(another_server_is_another_tailnet),
		TEST(a_login_is_not_left_by_mistake),
		TEST(another_server_at_the_start),
		TEST(the_start_is_settled_once_stored),
		TEST(a_start_that_logs_in_outlives_its_engine),
		TEST(the_end_answers_a_logout),
		TEST(a_full_disk_loses_nothing),
		TEST(what_is_small_is_cached_beside_a_large_map),
		TEST(a_change_behind_a_slow_store_is_not_lost),
		TEST(who_waits_for_a_store_is_answered_after_it),
		TEST(the_kernel_is_asked_again),
		TEST(a_state_that_was_lost_is_no_first_start),
		TEST(a_state_that_could_not_be_read_is_read_again),
		TEST(peers_may_trade_their_keys),
		TEST(the_tunnel_knows_its_mtu),
		TEST(a_twin_outlives_its_twin),
		TEST(the_map_says_how_a_peer_is_treated),
		TEST(a_locked_tailnet_has_no_peers),
		TEST(routes_of_others_are_chosen_not_taken),
		TEST(own_addresses_are_the_tailnets),
		TEST(the_kernel_gets_our_addresses_and_their_routes),
		TEST(some_regions_never_become_home),
		TEST(shields_up_holds_at_once),
		TEST(odd_netmaps_do_no_harm),
		TEST(a_burst_of_peers_is_one_request),
		TEST(control_asks_for_the_netmap),
		TEST(debug_actions_and_names),
		TEST(a_peer_is_pinged_by_what_is_behind_it),
		TEST(addresses_are_known_while_stopped),
		TEST(control_may_ping_but_not_for_ever),
		TEST(control_pings_by_the_peerapi),
		TEST(an_unsigned_peer_closes_the_filter),
		TEST(a_refused_delta_is_followed_by_the_whole),
		TEST(only_other_networks_move_us),
		TEST(a_delta_of_one_peer_costs_the_same_among_ten_thousand),
		TEST(a_route_of_one_peer_costs_the_same_among_ten_thousand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
