/* SPDX-License-Identifier: BSD-3-Clause */
/* server/control/requests.c - what nodes ask of the coordination server, from JSON */
#include "server/control/requests.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void control_register_request_clear(struct control_register_request *request)
{
	secret_string_free(request->auth_key);
	free(request->followup);
	tailcfg_hostinfo_clear(&request->hostinfo);
	*request = (struct control_register_request){0};
}

void control_map_request_clear(struct control_map_request *request)
{
	endpoint_list_clear(&request->endpoints);
	if (request->hostinfo)
		tailcfg_hostinfo_clear(request->hostinfo);
	free(request->hostinfo);
	*request = (struct control_map_request){0};
}

static json_t *parse_body(const void *body, size_t length, int *ret, struct error *err)
{
	struct json_range range;
	json_t *json;

	*ret = json_scan_value(body, length, &range);
	if (*ret < 0) {
		error_set(err, *ret, "the request is not JSON");
		return NULL;
	}
	json = json_parse(range, err);
	if (!json)
		*ret = -EBADMSG;
	return json;
}

/* clip() - Keep what a node may have of each list */
static void clip(struct tailcfg_hostinfo *info)
{
	while (info->routable_ips.count > CONTROL_ROUTES_MAX)
		info->routable_ips.count--;
	while (info->request_tags.count > CONTROL_TAGS_MAX)
		free(info->request_tags.items[--info->request_tags.count]);
	while (info->ssh_host_keys.count > CONTROL_TAGS_MAX)
		free(info->ssh_host_keys.items[--info->ssh_host_keys.count]);
	while (info->service_count > CONTROL_ROUTES_MAX)
		free(info->services[--info->service_count].description);
}

/* fits() - Whether the node's row will hold it: nobody may write what can't be stored */
static bool fits(const struct tailcfg_hostinfo *info)
{
	struct buffer text = BUFFER_INIT(LIMIT_HOSTINFO);
	struct json_writer w = json_writer_to(&text);

	tailcfg_hostinfo_encode(&w, NULL, info);
	buffer_free(&text);
	return json_writer_result(&w) == 0;
}

int control_register_request_parse(const void *body, size_t length,
				   struct control_register_request *ret, struct error *err)
{
	struct control_register_request q = {0};
	struct json_reader r, inner;
	int result = 0;
	json_t *json = parse_body(body, length, &result, err), *member;

	if (!json)
		return result;
	r = json_reader_of(json);
	q.version = json_get_int(&r, "Version");
	q.node_key = json_get_key(&r, "NodeKey", KEY_NODE);
	q.old_node_key = json_get_key(&r, "OldNodeKey", KEY_NODE);
	q.followup = json_get_string(&r, "Followup");
	q.expiry = json_get_time(&r, "Expiry");
	q.ephemeral = json_get_bool(&r, "Ephemeral");
	member = json_get_object(&r, "Auth");
	if (member) {
		inner = json_reader_of(member);
		q.auth_key = json_get_string(&inner, "AuthKey");
		if (inner.error < 0)
			json_reader_fail(&r, "Auth", inner.error);
	}
	member = json_get_object(&r, "Hostinfo");
	if (member && tailcfg_hostinfo_decode(member, &q.hostinfo) < 0)
		json_reader_fail(&r, "Hostinfo", -ENOMEM);
	clip(&q.hostinfo);
	if (!fits(&q.hostinfo))
		json_reader_fail(&r, "Hostinfo", -EINVAL);
	if (public_key_is_zero(&q.node_key))
		json_reader_fail(&r, "NodeKey", -EINVAL);
	result = json_reader_result(&r, err, "register");
	json_decref(json);
	if (result < 0)
		control_register_request_clear(&q);
	else
		*ret = q;
	return result;
}

int control_map_request_parse(const void *body, size_t length, struct control_map_request *ret,
			      struct error *err)
{
	struct control_map_request q = {0};
	struct json_reader r;
	int result = 0;
	json_t *json = parse_body(body, length, &result, err), *member;

	if (!json)
		return result;
	r = json_reader_of(json);
	q.version = json_get_int(&r, "Version");
	q.node_key = json_get_key(&r, "NodeKey", KEY_NODE);
	q.disco_key = json_get_key(&r, "DiscoKey", KEY_DISCO);
	q.compress = strcmp(json_get_text(&r, "Compress"), "zstd") == 0;
	q.stream = json_get_bool(&r, "Stream");
	q.read_only = json_get_bool(&r, "ReadOnly");
	q.has_endpoints = json_get_array(&r, "Endpoints") != NULL;
	json_get_endpoints(&r, "Endpoints", &q.endpoints);
	if (q.endpoints.count > CONTROL_ENDPOINTS_MAX)
		q.endpoints.count = CONTROL_ENDPOINTS_MAX;
	member = json_get_object(&r, "Hostinfo");
	if (member) {
		q.hostinfo = calloc(1, sizeof(*q.hostinfo));
		if (!q.hostinfo || tailcfg_hostinfo_decode(member, q.hostinfo) < 0)
			json_reader_fail(&r, "Hostinfo", -ENOMEM);
		else
			clip(q.hostinfo);
		if (q.hostinfo && !fits(q.hostinfo))
			json_reader_fail(&r, "Hostinfo", -EINVAL);
	}
	if (public_key_is_zero(&q.node_key))
		json_reader_fail(&r, "NodeKey", -EINVAL);
	result = json_reader_result(&r, err, "map");
	json_decref(json);
	if (result < 0)
		control_map_request_clear(&q);
	else
		*ret = q;
	return result;
}
