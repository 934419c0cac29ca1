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
#define RESOLVER(...)  MEMBER(struct tailcfg_resolver, __VA_ARGS__)
#define RECORD(...)    MEMBER(struct tailcfg_dns_record, __VA_ARGS__)
#define DNS(...)       MEMBER(struct tailcfg_dns_config, __VA_ARGS__)
#define DNS_LIST(...)  MEMBER_LIST(struct tailcfg_dns_config, __VA_ARGS__)
#define RESPONSE(...)  MEMBER(struct tailcfg_map_response, __VA_ARGS__)
#define LIST(...)      MEMBER_LIST(struct tailcfg_map_response, __VA_ARGS__)
#define PART(...)      MEMBER_STRUCT(struct tailcfg_map_response, __VA_ARGS__)

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

void tailcfg_named_filter_clear(struct tailcfg_named_filter *filter)
{
	free((char *)filter->name);
	tailcfg_filter_clear(&filter->filter);
}

static void clear_filters(struct tailcfg_map_response *response)
{
	for (uint32_t i = 0; i < response->filter_count; i++)
		tailcfg_named_filter_clear(&response->filters[i]);
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

/* --- DNSConfig --- */

static const struct json_member resolver_members[] = {
	RESOLVER(TEXT, "Addr", addr),
	RESOLVER(STRINGS, "BootstrapResolution", bootstrap_resolution),
	RESOLVER(BOOL, "UseWithExitNode", use_with_exit_node),
};

static const struct json_members resolver =
	MEMBERS("resolver", struct tailcfg_resolver, resolver_members);

static const struct json_member route_members[] = {
	MEMBER_LIST(struct tailcfg_dns_route, ITEMS, NULL, resolvers.items, resolvers.count,
		    &resolver, .always = true),
};

static const struct json_members route =
	MEMBERS("DNS route", struct tailcfg_dns_route, route_members);

static const struct json_member record_members[] = {
	RECORD(TEXT, "Name", name, .always = true),
	RECORD(TEXT, "Type", type),
	RECORD(TEXT, "Value", value, .always = true),
};

static const struct json_members record =
	MEMBERS("DNS record", struct tailcfg_dns_record, record_members);

static const struct json_member config_members[] = {
	DNS_LIST(ITEMS, "Resolvers", resolvers.items, resolvers.count, &resolver),
	DNS_LIST(MAP, "Routes", routes.items, routes.count, &route),
	DNS_LIST(ITEMS, "FallbackResolvers", fallback_resolvers.items, fallback_resolvers.count,
		 &resolver),
	DNS(STRINGS, "Domains", domains),
	DNS(BOOL, "Proxied", proxied),
	DNS(STRINGS, "CertDomains", cert_domains),
	DNS_LIST(ITEMS, "ExtraRecords", extra_records, extra_record_count, &record),
	DNS(STRINGS, "ExitNodeFilteredSet", exit_node_filtered_set),
};

const struct json_members tailcfg_dns_config_members =
	MEMBERS("DNS config", struct tailcfg_dns_config, config_members);

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

const struct json_members tailcfg_ping_request_members =
	MEMBERS("PingRequest", struct tailcfg_ping_request, ping_members);

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

const struct json_members tailcfg_display_message_members =
	MEMBERS("DisplayMessage", struct tailcfg_display_message, message_members);

static const struct json_member change_members[] = {
	MEMBER_WITHIN(NULL, &tailcfg_display_message_members,
		      .present = offsetof(struct tailcfg_display_message, present)),
};

static const struct json_members display_change =
	MEMBERS("DisplayMessages", struct tailcfg_display_message, change_members);

void tailcfg_display_message_clear(struct tailcfg_display_message *message)
{
	free((char *)message->id);
	members_clear(&tailcfg_display_message_members, message);
}

/* take_wildcard() - Remove the entry for all from the changes, which are sorted */
static void take_wildcard(struct tailcfg_display_changes *changes)
{
	for (uint32_t i = 0; i < changes->count; i++) {
		struct tailcfg_display_message *m = &changes->items[i];

		if (strcmp(m->id, WILDCARD) != 0)
			continue;
		changes->clear = !m->present;
		tailcfg_display_message_clear(m);
		memmove(m, m + 1, (--changes->count - i) * sizeof(*m));
		return;
	}
}

/* --- Other small members --- */

/* decode_presence() - Only whether the member is there */
static void decode_presence(struct json_reader *r, const char *name, void *at)
{
	*(bool *)at = json_get(r, name) != NULL;
}

static const struct json_member_functions presence = {.decode = decode_presence};

static const struct json_member flag_members[] = {
	MEMBER(struct tailcfg_id_flag, BOOL, NULL, value),
};

static const struct json_members flag = MEMBERS("flag", struct tailcfg_id_flag, flag_members);

static const struct json_member candidate_members[] = {
	CANDIDATE(ADDRESS, "IP", ip),
	CANDIDATE(INT, "Priority", priority),
};

static const struct json_members candidate =
	MEMBERS("candidate", struct tailcfg_dial_candidate, candidate_members, .lenient = true);

static const struct json_member dial_plan_members[] = {
	LIST(ITEMS, "Candidates", dial_candidates, dial_candidate_count, &candidate),
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

const struct json_members tailcfg_client_version_members =
	MEMBERS("ClientVersion", struct tailcfg_client_version, version_members);

#define PRESENT(member) .present = offsetof(struct tailcfg_map_response, member)

static const struct json_member response_members[] = {
	RESPONSE(BOOL, "KeepAlive", keep_alive),
	PART("PingRequest", ping_request, &tailcfg_ping_request_members),
	RESPONSE(TEXT, "PopBrowserURL", pop_browser_url),
	PART("Node", node, &tailcfg_node_members),
	PART("DERPMap", derp_map, &tailcfg_derp_map_members),
	PART("DNSConfig", dns_config, &tailcfg_dns_config_members),
	RESPONSE(TEXT, "Domain", domain),
	RESPONSE(TIME, "ControlTime", control_time),
	RESPONSE(STRINGS, "Health", health, PRESENT(has_health)),
	LIST(MAP, "PeerSeenChange", peer_seen_change.items, peer_seen_change.count, &flag,
	     .by_id = true),
	LIST(MAP, "OnlineChange", online_change.items, online_change.count, &flag, .by_id = true),
	RESPONSE(INTS, "PeersRemoved", peers_removed),
	LIST(ITEMS, "UserProfiles", user_profiles, user_profile_count,
	     &tailcfg_user_profile_members),
	LIST(MAP, "DisplayMessages", display_messages.items, display_messages.count,
	     &display_change),
	MEMBER_WITHIN("TKAInfo", &tka_info, PRESENT(has_tka_info)),
	MEMBER_WITHIN("Debug", &debug, PRESENT(has_debug)),
	MEMBER_WITHIN("ControlDialPlan", &dial_plan, PRESENT(has_dial_plan)),
	PART("ClientVersion", client_version, &tailcfg_client_version_members),
};

static void finish_response(struct json_reader *r, void *object)
{
	(void)r;
	take_wildcard(&((struct tailcfg_map_response *)object)->display_messages);
}

static const struct json_members map_response =
	MEMBERS("map", struct tailcfg_map_response, response_members, .finish = finish_response);

void tailcfg_map_response_clear(struct tailcfg_map_response *response)
{
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
	struct json_reader reader = {0};
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
	if (r == 0) {
		members_read(&map_response, &reader, NULL, rest, &response);
		r = json_reader_result(&reader, err, map_response.what);
	}
	json_decref(rest);
	if (r < 0) {
		tailcfg_map_response_clear(&response);
		return r;
	}
	*ret = response;
	return 0;
}
