/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tailcfg_map.c - MapRequest to bytes, and MapResponse from them
 *
 * The members of a message are walked over the bytes. The long ones (peers, filters)
 * are kept as ranges or decoded item by item; what is left is small, goes into one
 * jansson object and is read from there.
 */
#include "wire/tailcfg.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The entry of a map of changes that stands for all entries. */
#define WILDCARD "*"

/* --- Request --- */

int tailcfg_map_request_encode(const struct tailcfg_map_request *request, struct buffer *out)
{
	struct json_writer w = json_writer_to(out);
	char text[ENDPOINT_TEXT_MAX];

	json_begin_object(&w, NULL);
	json_put_int(&w, "Version", TAILCFG_CAPABILITY_VERSION);
	json_put_string(&w, "Compress", request->compress ? "zstd" : "");
	json_put_bool(&w, "KeepAlive", true);
	json_put_key(&w, "NodeKey", &request->node_key, KEY_NODE);
	json_put_key(&w, "DiscoKey", &request->disco_key, KEY_DISCO);
	json_put_bool_if(&w, "Stream", request->stream);
	tailcfg_hostinfo_encode(&w, "Hostinfo", request->hostinfo);
	json_put_string_if(&w, "MapSessionHandle", request->map_session_handle);
	json_put_int_if(&w, "MapSessionSeq", request->map_session_seq);
	/* The two lists go together: without types the endpoints may be dropped. */
	if (request->endpoint_count) {
		json_begin_array(&w, "Endpoints");
		for (size_t i = 0; i < request->endpoint_count; i++)
			json_put_string(&w, NULL,
					endpoint_format(&request->endpoints[i].endpoint, text));
		json_end_array(&w);
		json_begin_array(&w, "EndpointTypes");
		for (size_t i = 0; i < request->endpoint_count; i++)
			json_put_int(&w, NULL, request->endpoints[i].type);
		json_end_array(&w);
	}
	json_put_bool_if(&w, "OmitPeers", !request->stream);
	json_end_object(&w);
	return json_writer_result(&w);
}

/* --- Release --- */

void tailcfg_ping_request_clear(struct tailcfg_ping_request *request)
{
	free(request->url);
	free(request->types);
	free(request->payload);
	*request = (struct tailcfg_ping_request){0};
}

void tailcfg_display_message_clear(struct tailcfg_display_message *message)
{
	free(message->id);
	free(message->title);
	free(message->text);
	free(message->severity);
	free(message->action_url);
	free(message->action_label);
	*message = (struct tailcfg_display_message){0};
}

void tailcfg_client_version_clear(struct tailcfg_client_version *version)
{
	free(version->latest_version);
	free(version->notify_url);
	free(version->notify_text);
	*version = (struct tailcfg_client_version){0};
}

static void clear_filters(struct tailcfg_map_response *response)
{
	for (uint32_t i = 0; i < response->filter_count; i++) {
		free(response->filters[i].name);
		tailcfg_filter_clear(&response->filters[i].filter);
	}
	free(response->filters);
	response->filters = NULL;
	response->filter_count = 0;
	response->filters_clear = false;
}

void tailcfg_map_response_clear(struct tailcfg_map_response *response)
{
	free(response->map_session_handle);
	if (response->ping_request)
		tailcfg_ping_request_clear(response->ping_request);
	free(response->ping_request);
	free(response->pop_browser_url);
	if (response->node)
		tailcfg_node_clear(response->node);
	free(response->node);
	if (response->derp_map)
		tailcfg_derp_map_clear(response->derp_map);
	free(response->derp_map);
	free(response->peers_removed);
	free(response->peer_seen_change);
	free(response->online_change);
	if (response->dns_config)
		tailcfg_dns_config_clear(response->dns_config);
	free(response->dns_config);
	free(response->domain);
	clear_filters(response);
	for (uint32_t i = 0; i < response->user_profile_count; i++)
		tailcfg_user_profile_clear(&response->user_profiles[i]);
	free(response->user_profiles);
	string_list_clear(&response->health);
	for (uint32_t i = 0; i < response->display_message_count; i++)
		tailcfg_display_message_clear(&response->display_messages[i]);
	free(response->display_messages);
	free(response->ssh_policy);
	free(response->tka_head);
	free(response->dial_candidates);
	if (response->client_version)
		tailcfg_client_version_clear(response->client_version);
	free(response->client_version);
	*response = (struct tailcfg_map_response){0};
}

/* --- Filters --- */

/* A new, empty entry at the end of the filters; NULL without memory. */
static struct tailcfg_named_filter *add_filter(struct tailcfg_map_response *response, char *name)
{
	struct tailcfg_named_filter *filters;

	filters =
		name ? reallocarray(response->filters, response->filter_count + 1, sizeof(*filters))
		     : NULL;
	if (!filters) {
		free(name);
		return NULL;
	}
	response->filters = filters;
	filters[response->filter_count] = (struct tailcfg_named_filter){.name = name};
	return &filters[response->filter_count++];
}

static int parse_filter(struct tailcfg_map_response *response, char *name, struct json_range rules,
			struct error *err)
{
	struct tailcfg_named_filter *filter = add_filter(response, name);

	if (!filter)
		return error_set(err, -ENOMEM, "filter: out of memory");
	if (json_range_is_null(rules)) {
		filter->removed = true;
		return 0;
	}
	return tailcfg_filter_parse(rules, &filter->filter, err);
}

/* The text of a member's name, as it is meant: escapes resolved. */
static char *key_text(struct json_range key)
{
	struct json_range quoted = {.at = key.at - 1, .length = key.length + 2};
	json_t *json = json_parse(quoted, NULL);
	char *text = json ? strdup(json_string_value(json)) : NULL;

	json_decref(json);
	return text;
}

static int parse_named_filters(struct tailcfg_map_response *response, struct json_range map,
			       struct error *err)
{
	struct json_range key, rules;
	struct json_scan scan;
	int r;

	if (json_scan_open(map, '{', &scan) < 0)
		return error_set(err, -EINVAL, "PacketFilters: not an object");
	while ((r = json_scan_member(&scan, &key, &rules)) == 1) {
		if (json_range_is(key, WILDCARD)) {
			response->filters_clear |= json_range_is_null(rules);
			continue;
		}
		r = parse_filter(response, key_text(key), rules, err);
		if (r < 0) {
			error_wrap(err, "PacketFilters");
			return r;
		}
	}
	return r;
}

/* Whatever is wrong with it, the filter alone is lost: the one before stays. */
static int parse_filters(struct tailcfg_map_response *response, struct json_range legacy,
			 struct json_range named)
{
	int r = 0;

	if (!json_range_is_null(legacy))
		r = parse_filter(response, strdup("base"), legacy, &response->filter_error);
	if (r == 0 && !json_range_is_null(named))
		r = parse_named_filters(response, named, &response->filter_error);
	if (r < 0)
		clear_filters(response);
	return r == -ENOMEM ? r : 0;
}

/* --- The small members --- */

/* A zeroed struct, or NULL with the reader marked. */
static void *new_part(struct json_reader *r, const char *name, size_t count, size_t size)
{
	void *part = calloc(count ? count : 1, size);

	if (!part)
		json_reader_fail(r, name, -ENOMEM);
	return part;
}

static struct tailcfg_ping_request *decode_ping_request(struct json_reader *outer)
{
	json_t *json = json_get_object(outer, "PingRequest");
	struct tailcfg_ping_request *ping;
	struct json_reader r;
	const char *payload;
	size_t length;

	if (!json || !(ping = new_part(outer, "PingRequest", 1, sizeof(*ping))))
		return NULL;
	r = json_reader_of(json);
	ping->url = json_get_string(&r, "URL");
	ping->url_is_noise = json_get_bool(&r, "URLIsNoise");
	ping->log = json_get_bool(&r, "Log");
	ping->types = json_get_string(&r, "Types");
	ping->ip = json_get_address(&r, "IP");
	payload = json_get_text(&r, "Payload");
	length = strlen(payload);
	if (length) {
		ping->payload = new_part(&r, "Payload", length, 1);
		if (ping->payload && sodium_base642bin(ping->payload, length, payload, length, NULL,
						       &ping->payload_length, NULL,
						       sodium_base64_VARIANT_ORIGINAL) != 0)
			json_reader_fail(&r, "Payload", -EINVAL);
	}
	if (r.error < 0)
		json_reader_fail(outer, "PingRequest", r.error);
	return ping;
}

static bool parse_id(const char *text, int64_t *ret)
{
	long long id;
	char *end;

	errno = 0;
	id = strtoll(text, &end, 10);
	if (errno || end == text || *end || id <= 0)
		return false;
	*ret = id;
	return true;
}

static struct tailcfg_id_flag *decode_flags(struct json_reader *r, const char *name,
					    uint32_t *ret_count)
{
	json_t *map = json_get_object(r, name), *value;
	struct tailcfg_id_flag *flags;
	const char *id;

	if (!json_object_size(map) ||
	    !(flags = new_part(r, name, json_object_size(map), sizeof(*flags))))
		return NULL;
	json_object_foreach(map, id, value) {
		if (!json_is_boolean(value) || !parse_id(id, &flags[*ret_count].id))
			json_reader_fail(r, name, -EINVAL);
		else
			flags[(*ret_count)++].value = json_is_true(value);
	}
	return flags;
}

static void decode_removed(struct json_reader *r, struct tailcfg_map_response *response)
{
	json_t *array = json_get_array(r, "PeersRemoved"), *item;
	size_t i;

	if (!json_array_size(array))
		return;
	response->peers_removed =
		new_part(r, "PeersRemoved", json_array_size(array), sizeof(int64_t));
	if (!response->peers_removed)
		return;
	json_array_foreach(array, i, item) {
		if (json_is_integer(item))
			response->peers_removed[response->peers_removed_count++] =
				json_integer_value(item);
		else
			json_reader_fail(r, "PeersRemoved", -EINVAL);
	}
}

static void decode_user_profiles(struct json_reader *r, struct tailcfg_map_response *response)
{
	json_t *array = json_get_array(r, "UserProfiles"), *item;
	size_t i;

	if (!json_array_size(array))
		return;
	response->user_profiles = new_part(r, "UserProfiles", json_array_size(array),
					   sizeof(*response->user_profiles));
	if (!response->user_profiles)
		return;
	json_array_foreach(array, i, item) {
		struct tailcfg_user_profile *p =
			&response->user_profiles[response->user_profile_count];
		int result = tailcfg_user_profile_decode(item, p, NULL);

		if (result < 0)
			json_reader_fail(r, "UserProfiles", result);
		else
			response->user_profile_count++;
	}
}

static void decode_display_message(struct json_reader *outer, const json_t *json,
				   struct tailcfg_display_message *message)
{
	struct json_reader r = json_reader_of(json), action;
	json_t *primary;

	message->title = json_get_string(&r, "Title");
	message->text = json_get_string(&r, "Text");
	message->severity = json_get_string(&r, "Severity");
	message->impacts_connectivity = json_get_bool(&r, "ImpactsConnectivity");
	primary = json_get_object(&r, "PrimaryAction");
	if (primary) {
		action = json_reader_of(primary);
		message->action_url = json_get_string(&action, "URL");
		message->action_label = json_get_string(&action, "Label");
	}
	if (r.error < 0)
		json_reader_fail(outer, "DisplayMessages", r.error);
}

static void decode_display_messages(struct json_reader *r, struct tailcfg_map_response *response)
{
	json_t *map = json_get_object(r, "DisplayMessages"), *value;
	const char *id;

	if (!json_object_size(map))
		return;
	response->display_messages = new_part(r, "DisplayMessages", json_object_size(map),
					      sizeof(*response->display_messages));
	if (!response->display_messages)
		return;
	json_object_foreach(map, id, value) {
		struct tailcfg_display_message *m;

		if (strcmp(id, WILDCARD) == 0) {
			response->display_messages_clear |= json_is_null(value);
			continue;
		}
		m = &response->display_messages[response->display_message_count++];
		m->id = strdup(id);
		if (!m->id)
			json_reader_fail(r, "DisplayMessages", -ENOMEM);
		m->removed = json_is_null(value);
		if (!m->removed)
			decode_display_message(r, value, m);
	}
}

static void decode_dial_plan(struct json_reader *r, struct tailcfg_map_response *response)
{
	json_t *plan = json_get_object(r, "ControlDialPlan"), *candidates, *item;
	struct json_reader inner;
	size_t i;

	response->has_dial_plan = plan != NULL;
	if (!plan)
		return;
	inner = json_reader_of(plan);
	candidates = json_get_array(&inner, "Candidates");
	if (inner.error < 0)
		json_reader_fail(r, "ControlDialPlan", inner.error);
	if (!json_array_size(candidates))
		return;
	response->dial_candidates = new_part(r, "ControlDialPlan", json_array_size(candidates),
					     sizeof(*response->dial_candidates));
	if (!response->dial_candidates)
		return;
	json_array_foreach(candidates, i, item) {
		struct json_reader c = json_reader_of(item);

		response->dial_candidates[response->dial_candidate_count++] =
			(struct tailcfg_dial_candidate){
				.ip = json_get_address(&c, "IP"),
				.start_delay_seconds = json_get_number(&c, "DialStartDelaySec"),
				.timeout_seconds = json_get_number(&c, "DialTimeoutSec"),
				.priority = json_get_int(&c, "Priority"),
			};
	}
}

static void decode_tka_info(struct json_reader *r, struct tailcfg_map_response *response)
{
	json_t *info = json_get_object(r, "TKAInfo");
	struct json_reader inner;

	response->has_tka_info = info != NULL;
	if (!info)
		return;
	inner = json_reader_of(info);
	response->tka_head = json_get_string(&inner, "Head");
	response->tka_disabled = json_get_bool(&inner, "Disabled");
	if (inner.error < 0)
		json_reader_fail(r, "TKAInfo", inner.error);
}

static void decode_debug(struct json_reader *r, struct tailcfg_map_response *response)
{
	json_t *debug = json_get_object(r, "Debug");
	struct json_reader inner;

	response->has_debug = debug != NULL;
	if (!debug)
		return;
	inner = json_reader_of(debug);
	response->debug_sleep_seconds = json_get_number(&inner, "SleepSeconds");
	response->debug_has_exit = json_get(&inner, "Exit") != NULL;
	if (inner.error < 0)
		json_reader_fail(r, "Debug", inner.error);
}

static struct tailcfg_client_version *decode_client_version(struct json_reader *outer)
{
	json_t *json = json_get_object(outer, "ClientVersion");
	struct tailcfg_client_version *version;
	struct json_reader r;

	if (!json || !(version = new_part(outer, "ClientVersion", 1, sizeof(*version))))
		return NULL;
	r = json_reader_of(json);
	version->running_latest = json_get_bool(&r, "RunningLatest");
	version->urgent_security_update = json_get_bool(&r, "UrgentSecurityUpdate");
	version->notify = json_get_bool(&r, "Notify");
	version->latest_version = json_get_string(&r, "LatestVersion");
	version->notify_url = json_get_string(&r, "NotifyURL");
	version->notify_text = json_get_string(&r, "NotifyText");
	if (r.error < 0)
		json_reader_fail(outer, "ClientVersion", r.error);
	return version;
}

/* Node, DERPMap and DNSConfig have decoders of their own that say what is wrong. */
static int decode_big_parts(struct json_reader *r, struct tailcfg_map_response *response,
			    struct error *err)
{
	json_t *json;
	int result = 0;

	json = json_get(r, "Node");
	if (json) {
		response->node = new_part(r, "Node", 1, sizeof(*response->node));
		if (response->node)
			result = tailcfg_node_decode(json, response->node, err);
		if (result < 0) {
			error_wrap(err, "own node");
			return result;
		}
	}
	json = json_get(r, "DERPMap");
	if (json) {
		response->derp_map = new_part(r, "DERPMap", 1, sizeof(*response->derp_map));
		if (response->derp_map)
			result = tailcfg_derp_map_decode(json, response->derp_map, err);
		if (result < 0)
			return result;
	}
	json = json_get(r, "DNSConfig");
	if (json) {
		response->dns_config = new_part(r, "DNSConfig", 1, sizeof(*response->dns_config));
		if (response->dns_config)
			result = tailcfg_dns_config_decode(json, response->dns_config, err);
	}
	return result;
}

static int decode_rest(const json_t *json, struct tailcfg_map_response *response, struct error *err)
{
	struct json_reader reader = json_reader_of(json), *r = &reader;
	int result;

	response->map_session_handle = json_get_string(r, "MapSessionHandle");
	response->seq = json_get_int(r, "Seq");
	response->keep_alive = json_get_bool(r, "KeepAlive");
	response->ping_request = decode_ping_request(r);
	response->pop_browser_url = json_get_string(r, "PopBrowserURL");
	response->domain = json_get_string(r, "Domain");
	response->collect_services = json_get_optional_bool(r, "CollectServices");
	response->control_time = json_get_time(r, "ControlTime");
	response->has_health = json_get(r, "Health") != NULL;
	json_get_strings(r, "Health", &response->health);
	response->peer_seen_change =
		decode_flags(r, "PeerSeenChange", &response->peer_seen_change_count);
	response->online_change = decode_flags(r, "OnlineChange", &response->online_change_count);
	decode_removed(r, response);
	decode_user_profiles(r, response);
	decode_display_messages(r, response);
	decode_tka_info(r, response);
	decode_debug(r, response);
	decode_dial_plan(r, response);
	response->client_version = decode_client_version(r);
	result = decode_big_parts(r, response, err);
	return result < 0 ? result : json_reader_result(r, err, "map");
}

/* --- The whole --- */

/* Put one of the small members into @rest. */
static int keep_member(json_t *rest, struct json_range key, struct json_range value,
		       struct error *err)
{
	json_t *json = json_parse(value, err);
	int r;

	if (!json) {
		error_wrap(err, "map: %.*s", (int)(key.length < 64 ? key.length : 64), key.at);
		return -EINVAL;
	}
	r = json_object_setn_new(rest, key.at, key.length, json);
	return r == 0 ? 0 : error_set(err, -ENOMEM, "map: out of memory");
}

/* Members that we don't read are not worth a tree. */
static bool is_small_member(struct json_range key)
{
	static const char *const names[] = {
		"MapSessionHandle", "Seq",          "KeepAlive", "PingRequest",
		"PopBrowserURL",    "Node",         "DERPMap",   "PeersRemoved",
		"PeerSeenChange",   "OnlineChange", "DNSConfig", "Domain",
		"CollectServices",  "UserProfiles", "Health",    "DisplayMessages",
		"ControlTime",      "TKAInfo",      "Debug",     "ControlDialPlan",
		"ClientVersion",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (json_range_is(key, names[i]))
			return true;
	return false;
}

/* An array, or absent; null is absent. */
static int take_array(struct json_range value, struct json_range *ret, struct error *err,
		      struct json_range key)
{
	if (json_range_is_null(value))
		return 0;
	if (value.at[0] != '[')
		return error_set(err, -EINVAL, "map: %.*s is not a list", (int)key.length, key.at);
	*ret = value;
	return 0;
}

static int walk_members(struct json_range text, struct tailcfg_map_response *response, json_t *rest,
			struct error *err)
{
	struct json_range key, value, legacy = {0}, named = {0};
	struct json_scan scan;
	int r;

	if (json_scan_open(text, '{', &scan) < 0)
		return error_set(err, -EINVAL, "map: not an object");
	while ((r = json_scan_member(&scan, &key, &value)) == 1) {
		if (json_range_is(key, "Peers"))
			r = take_array(value, &response->peers, err, key);
		else if (json_range_is(key, "PeersChanged"))
			r = take_array(value, &response->peers_changed, err, key);
		else if (json_range_is(key, "PeersChangedPatch"))
			r = take_array(value, &response->peers_changed_patch, err, key);
		else if (json_range_is(key, "PacketFilter"))
			legacy = value;
		else if (json_range_is(key, "PacketFilters"))
			named = value;
		else if (json_range_is(key, "SSHPolicy") && !json_range_is_null(value)) {
			free(response->ssh_policy);
			response->ssh_policy = strndup(value.at, value.length);
			r = response->ssh_policy ? 0 : -ENOMEM;
		} else if (is_small_member(key)) {
			r = keep_member(rest, key, value, err);
		}
		if (r < 0)
			return r;
	}
	if (r < 0)
		return error_set(err, r, "map: not JSON");
	return parse_filters(response, legacy, named);
}

int tailcfg_map_response_parse(const char *text, size_t length, struct tailcfg_map_response *ret,
			       struct error *err)
{
	struct tailcfg_map_response response = {0};
	struct json_range range;
	json_t *rest;
	int r;

	r = json_scan_value(text, length, &range);
	if (r < 0)
		return error_set(err, r, r == -ENOMEM ? "map: out of memory" : "map: not JSON");
	rest = json_object();
	if (!rest)
		return error_set(err, -ENOMEM, "map: out of memory");
	r = walk_members(range, &response, rest, err);
	if (r == 0)
		r = decode_rest(rest, &response, err);
	json_decref(rest);
	if (r < 0) {
		tailcfg_map_response_clear(&response);
		return r;
	}
	*ret = response;
	return 0;
}

void tailcfg_display_message_encode(struct json_writer *w,
				    const struct tailcfg_display_message *message)
{
	json_begin_object(w, message->id);
	json_put_string(w, "Title", message->title);
	json_put_string(w, "Text", message->text);
	json_put_string(w, "Severity", message->severity);
	json_put_bool_if(w, "ImpactsConnectivity", message->impacts_connectivity);
	if (message->action_url) {
		json_begin_object(w, "PrimaryAction");
		json_put_string(w, "URL", message->action_url);
		json_put_string(w, "Label", message->action_label);
		json_end_object(w);
	}
	json_end_object(w);
}
