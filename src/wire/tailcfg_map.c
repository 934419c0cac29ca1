/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tailcfg_map.c - MapRequest to bytes, and MapResponse from them
 *
 * The members of a message are walked over the bytes. The long ones (peers, filters)
 * are kept as ranges or decoded item by item; what is left is small, goes into one
 * jansson object and is read from there.
 */
#include "wire/tailcfg.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* The entry of a map of changes that stands for all entries. */
#define WILDCARD "*"

#define PING(...)      MEMBER(struct tailcfg_ping_request, __VA_ARGS__)
#define MESSAGE(...)   MEMBER(struct tailcfg_display_message, __VA_ARGS__)
#define CANDIDATE(...) MEMBER(struct tailcfg_dial_candidate, __VA_ARGS__)
#define VERSION(...)   MEMBER(struct tailcfg_client_version, __VA_ARGS__)
#define RESPONSE(...)  MEMBER(struct tailcfg_map_response, __VA_ARGS__)

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

/* --- Filters --- */

static void clear_filters(struct tailcfg_map_response *response)
{
	for (uint32_t i = 0; i < response->filter_count; i++) {
		free((char *)response->filters[i].name);
		tailcfg_filter_clear(&response->filters[i].filter);
	}
	free(response->filters);
	response->filters = NULL;
	response->filter_count = 0;
	response->filters_clear = false;
}

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

/* --- PingRequest --- */

static void decode_payload(struct json_reader *r, const char *name, void *at)
{
	struct tailcfg_payload *payload = at;
	const char *text = json_get_text(r, name);
	size_t length = strlen(text);

	if (!length)
		return;
	payload->bytes = malloc(length);
	if (!payload->bytes)
		json_reader_fail(r, name, -ENOMEM);
	else if (sodium_base642bin(payload->bytes, length, text, length, NULL, &payload->length,
				   NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
		json_reader_fail(r, name, -EINVAL);
}

static void clear_payload(void *at)
{
	free(((struct tailcfg_payload *)at)->bytes);
}

static const struct json_member_functions payload = {.clear = clear_payload,
						     .decode = decode_payload};

static const struct json_member ping_members[] = {
	PING(TEXT, "URL", url),
	PING(BOOL, "URLIsNoise", url_is_noise),
	PING(BOOL, "Log", log),
	PING(TEXT, "Types", types),
	PING(ADDRESS, "IP", ip),
	MEMBER_BY(struct tailcfg_ping_request, "Payload", payload, &payload),
};

static const struct json_members ping_request =
	MEMBERS("PingRequest", struct tailcfg_ping_request, ping_members);

void tailcfg_ping_request_clear(struct tailcfg_ping_request *request)
{
	members_clear(&ping_request, request);
}

/* --- DisplayMessages --- */

static const struct json_member action_members[] = {
	MESSAGE(TEXT, "URL", action_url, .always = true),
	MESSAGE(TEXT, "Label", action_label, .always = true),
};

static const struct json_members action =
	MEMBERS("PrimaryAction", struct tailcfg_display_message, action_members, .lenient = true);

static const struct json_member message_members[] = {
	MESSAGE(TEXT, "Title", title, .always = true),
	MESSAGE(TEXT, "Text", text, .always = true),
	MESSAGE(TEXT, "Severity", severity, .always = true),
	MESSAGE(BOOL, "ImpactsConnectivity", impacts_connectivity),
	MEMBER_WITHIN("PrimaryAction", &action),
};

static const struct json_members display_message =
	MEMBERS("DisplayMessage", struct tailcfg_display_message, message_members);

void tailcfg_display_message_clear(struct tailcfg_display_message *message)
{
	free((char *)message->id);
	members_clear(&display_message, message);
}

void tailcfg_display_message_encode(struct json_writer *w,
				    const struct tailcfg_display_message *message)
{
	members_encode(&display_message, w, message->id, message);
}

static void decode_display_messages(struct json_reader *r, const char *name, void *at)
{
	json_t *map = json_get_object(r, name), *value;
	struct tailcfg_display_changes *changes = at;
	const char *id;

	if (!json_object_size(map))
		return;
	changes->items = json_items(r, name, json_object_size(map), sizeof(*changes->items));
	if (!changes->items)
		return;
	json_object_foreach(map, id, value) {
		struct tailcfg_display_message *m;
		int result = 0;

		if (strcmp(id, WILDCARD) == 0) {
			changes->clear |= json_is_null(value);
			continue;
		}
		m = &changes->items[changes->count++];
		if (!json_is_null(value))
			result = members_decode(&display_message, value, m, NULL);
		m->removed = json_is_null(value);
		m->id = strdup(id);
		if (result < 0 || !m->id)
			json_reader_fail(r, name, m->id ? result : -ENOMEM);
	}
}

static void clear_display_messages(void *at)
{
	struct tailcfg_display_changes *changes = at;

	for (uint32_t i = 0; i < changes->count; i++)
		tailcfg_display_message_clear(&changes->items[i]);
	free(changes->items);
}

static const struct json_member_functions display_messages = {.clear = clear_display_messages,
							      .decode = decode_display_messages};

/* --- Other small members --- */

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

static void decode_flags(struct json_reader *r, const char *name, void *at)
{
	json_t *map = json_get_object(r, name), *value;
	struct tailcfg_id_flags *flags = at;
	const char *id;

	if (!json_object_size(map))
		return;
	flags->items = json_items(r, name, json_object_size(map), sizeof(*flags->items));
	if (!flags->items)
		return;
	json_object_foreach(map, id, value) {
		if (!json_is_boolean(value) || !parse_id(id, &flags->items[flags->count].id))
			json_reader_fail(r, name, -EINVAL);
		else
			flags->items[flags->count++].value = json_is_true(value);
	}
}

static void clear_flags(void *at)
{
	free(((struct tailcfg_id_flags *)at)->items);
}

static void decode_ids(struct json_reader *r, const char *name, void *at)
{
	json_t *array = json_get_array(r, name), *item;
	struct tailcfg_ids *ids = at;
	size_t i;

	if (!json_array_size(array))
		return;
	ids->items = json_items(r, name, json_array_size(array), sizeof(*ids->items));
	if (!ids->items)
		return;
	json_array_foreach(array, i, item) {
		if (json_is_integer(item))
			ids->items[ids->count++] = json_integer_value(item);
		else
			json_reader_fail(r, name, -EINVAL);
	}
}

static void clear_ids(void *at)
{
	free(((struct tailcfg_ids *)at)->items);
}

/* decode_presence() - Only whether the member is there */
static void decode_presence(struct json_reader *r, const char *name, void *at)
{
	*(bool *)at = json_get(r, name) != NULL;
}

static const struct json_member_functions flags = {.clear = clear_flags, .decode = decode_flags};
static const struct json_member_functions ids = {.clear = clear_ids, .decode = decode_ids};
static const struct json_member_functions presence = {.decode = decode_presence};

static const struct json_member candidate_members[] = {
	CANDIDATE(ADDRESS, "IP", ip),
	CANDIDATE(INT, "Priority", priority),
};

static const struct json_members candidate =
	MEMBERS("candidate", struct tailcfg_dial_candidate, candidate_members, .lenient = true);

static const struct json_member dial_plan_members[] = {
	MEMBER_ITEMS(struct tailcfg_map_response, "Candidates", dial_candidates,
		     dial_candidate_count, &candidate),
};

static const struct json_members dial_plan =
	MEMBERS("dial plan", struct tailcfg_map_response, dial_plan_members);

static const struct json_member tka_members[] = {
	RESPONSE(TEXT, "Head", tka_head),
	RESPONSE(BOOL, "Disabled", tka_disabled),
};

static const struct json_members tka_info =
	MEMBERS("TKAInfo", struct tailcfg_map_response, tka_members);

static const struct json_member debug_members[] = {
	RESPONSE(NUMBER, "SleepSeconds", debug_sleep_seconds),
	MEMBER_BY(struct tailcfg_map_response, "Exit", debug_has_exit, &presence),
};

static const struct json_members debug =
	MEMBERS("Debug", struct tailcfg_map_response, debug_members);

static const struct json_member version_members[] = {
	VERSION(BOOL, "RunningLatest", running_latest),
	VERSION(BOOL, "UrgentSecurityUpdate", urgent_security_update),
	VERSION(BOOL, "Notify", notify),
	VERSION(TEXT, "LatestVersion", latest_version),
	VERSION(TEXT, "NotifyURL", notify_url),
	VERSION(TEXT, "NotifyText", notify_text),
};

static const struct json_members client_version =
	MEMBERS("ClientVersion", struct tailcfg_client_version, version_members);

void tailcfg_client_version_clear(struct tailcfg_client_version *version)
{
	members_clear(&client_version, version);
}

void tailcfg_client_version_encode(struct json_writer *w, const char *name,
				   const struct tailcfg_client_version *version)
{
	members_encode(&client_version, w, name, version);
}

#define PRESENT(member) .present = offsetof(struct tailcfg_map_response, member)

static const struct json_member response_members[] = {
	RESPONSE(BOOL, "KeepAlive", keep_alive),
	MEMBER_STRUCT(struct tailcfg_map_response, "PingRequest", ping_request, &ping_request),
	RESPONSE(TEXT, "PopBrowserURL", pop_browser_url),
	RESPONSE(TEXT, "Domain", domain),
	RESPONSE(TIME, "ControlTime", control_time),
	RESPONSE(STRINGS, "Health", health, PRESENT(has_health)),
	MEMBER_BY(struct tailcfg_map_response, "PeerSeenChange", peer_seen_change, &flags),
	MEMBER_BY(struct tailcfg_map_response, "OnlineChange", online_change, &flags),
	MEMBER_BY(struct tailcfg_map_response, "PeersRemoved", peers_removed, &ids),
	MEMBER_ITEMS(struct tailcfg_map_response, "UserProfiles", user_profiles, user_profile_count,
		     &tailcfg_user_profile_members),
	MEMBER_BY(struct tailcfg_map_response, "DisplayMessages", display_messages,
		  &display_messages),
	MEMBER_WITHIN("TKAInfo", &tka_info, PRESENT(has_tka_info)),
	MEMBER_WITHIN("Debug", &debug, PRESENT(has_debug)),
	MEMBER_WITHIN("ControlDialPlan", &dial_plan, PRESENT(has_dial_plan)),
	MEMBER_STRUCT(struct tailcfg_map_response, "ClientVersion", client_version,
		      &client_version),
};

static const struct json_members map_response =
	MEMBERS("map", struct tailcfg_map_response, response_members);

/* --- Node, DERPMap and DNSConfig: their decoders report what is wrong --- */

static int decode_node(const json_t *json, void *ret, struct error *err)
{
	int r = tailcfg_node_decode(json, ret, err);

	if (r < 0)
		error_wrap(err, "own node");
	return r;
}

static int decode_derp_map(const json_t *json, void *ret, struct error *err)
{
	return tailcfg_derp_map_decode(json, ret, err);
}

static int decode_dns_config(const json_t *json, void *ret, struct error *err)
{
	return tailcfg_dns_config_decode(json, ret, err);
}

static const struct {
	const char *name;
	size_t offset, size;
	int (*decode)(const json_t *json, void *ret, struct error *err);
} parts[] = {
	{"Node", offsetof(struct tailcfg_map_response, node), sizeof(struct tailcfg_node),
	 decode_node},
	{"DERPMap", offsetof(struct tailcfg_map_response, derp_map),
	 sizeof(struct tailcfg_derp_map), decode_derp_map},
	{"DNSConfig", offsetof(struct tailcfg_map_response, dns_config),
	 sizeof(struct tailcfg_dns_config), decode_dns_config},
};

static int decode_rest(const json_t *json, struct tailcfg_map_response *response, struct error *err)
{
	struct json_reader r = json_reader_of(json);

	members_read(&map_response, &r, response);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		json_t *part = json_get(&r, parts[i].name);
		void **at = (void **)((char *)response + parts[i].offset);
		int result;

		if (!part)
			continue;
		*at = calloc(1, parts[i].size);
		if (!*at)
			return error_set(err, -ENOMEM, "map: out of memory");
		result = parts[i].decode(part, *at, err);
		if (result < 0)
			return result;
	}
	return json_reader_result(&r, err, map_response.what);
}

void tailcfg_map_response_clear(struct tailcfg_map_response *response)
{
	if (response->node)
		tailcfg_node_clear(response->node);
	free(response->node);
	if (response->derp_map)
		tailcfg_derp_map_clear(response->derp_map);
	free(response->derp_map);
	if (response->dns_config)
		tailcfg_dns_config_clear(response->dns_config);
	free(response->dns_config);
	clear_filters(response);
	free((char *)response->ssh_policy);
	members_clear(&map_response, response);
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
	for (size_t i = 0; i < map_response.count; i++)
		if (json_range_is(key, map_response.list[i].name))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (json_range_is(key, parts[i].name))
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
			free((char *)response->ssh_policy);
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
