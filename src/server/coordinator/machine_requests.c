/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/machine_requests.c - what nodes ask of the coordination server, from JSON */
#include "server/coordinator/machine_requests.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void machine_register_request_clear(struct machine_register_request *request)
{
	secret_string_free(request->auth_key);
	free(request->followup);
	tailcfg_hostinfo_clear(&request->hostinfo);
	*request = (struct machine_register_request){0};
}

void machine_map_request_clear(struct machine_map_request *request)
{
	endpoint_list_clear(&request->endpoints);
	if (request->hostinfo)
		tailcfg_hostinfo_clear(request->hostinfo);
	free(request->hostinfo);
	*request = (struct machine_map_request){0};
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

void machine_routes_tidy(struct prefix_list *routes)
{
	struct prefix_list kept = {.items = routes->items};

	for (uint32_t i = 0; i < routes->count && kept.count < MACHINE_ROUTES_MAX; i++)
		if (!prefix_list_contains(&kept, &routes->items[i]))
			kept.items[kept.count++] = routes->items[i];
	*routes = kept;
}

/* shrink() - What a list no longer holds takes no memory either */
static void shrink(void *items_at, uint32_t count, size_t size)
{
	void **items = items_at, *less;

	if (count == 0) {
		free(TAKE_PTR(*items));
		return;
	}
	less = reallocarray(*items, count, size);
	if (less)
		*items = less;
}

/* clip() - Keep what a node may have of each list */
static void clip(struct tailcfg_hostinfo *info)
{
	machine_routes_tidy(&info->routable_ips);
	while (info->request_tags.count > MACHINE_TAGS_MAX)
		free(info->request_tags.items[--info->request_tags.count]);
	while (info->ssh_host_keys.count > MACHINE_TAGS_MAX)
		free(info->ssh_host_keys.items[--info->ssh_host_keys.count]);
	while (info->service_count > MACHINE_ROUTES_MAX)
		free(info->services[--info->service_count].description);
	shrink(&info->routable_ips.items, info->routable_ips.count, sizeof(struct prefix));
	shrink(&info->request_tags.items, info->request_tags.count, sizeof(char *));
	shrink(&info->ssh_host_keys.items, info->ssh_host_keys.count, sizeof(char *));
	shrink(&info->services, info->service_count, sizeof(*info->services));
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

int machine_register_request_parse(const void *body, size_t length,
				   struct machine_register_request *ret, struct error *err)
{
	struct machine_register_request q = {0};
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
	/* Its maps say that again, once it is in. */
	while (q.hostinfo.service_count > 0)
		free(q.hostinfo.services[--q.hostinfo.service_count].description);
	clip(&q.hostinfo);
	if ((q.followup && strlen(q.followup) > MACHINE_SECRET_MAX) ||
	    (q.auth_key && strlen(q.auth_key) > MACHINE_SECRET_MAX))
		json_reader_fail(&r, "Auth", -EINVAL);
	if (!fits(&q.hostinfo))
		json_reader_fail(&r, "Hostinfo", -EINVAL);
	if (public_key_is_zero(&q.node_key))
		json_reader_fail(&r, "NodeKey", -EINVAL);
	result = json_reader_result(&r, err, "register");
	json_decref(json);
	if (result < 0)
		machine_register_request_clear(&q);
	else
		*ret = q;
	return result;
}

int machine_map_request_parse(const void *body, size_t length, struct machine_map_request *ret,
			      struct error *err)
{
	struct machine_map_request q = {0};
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
	if (q.endpoints.count > MACHINE_ENDPOINTS_MAX)
		q.endpoints.count = MACHINE_ENDPOINTS_MAX;
	shrink(&q.endpoints.items, q.endpoints.count, sizeof(struct endpoint));
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
		machine_map_request_clear(&q);
	else
		*ret = q;
	return result;
}

/* take_text() - The member @name, whole and of printable ASCII, or the reader fails */
static void take_text(struct json_reader *r, const char *name, char *out, size_t size)
{
	const char *text = json_get_text(r, name);
	size_t length = strlen(text), printable = 0;

	while (text[printable] > ' ' && text[printable] < 0x7f)
		printable++;
	if (length == 0 || length >= size || printable != length)
		json_reader_fail(r, name, -EINVAL);
	else
		memcpy(out, text, length + 1);
}

int machine_set_dns_request_parse(const void *body, size_t length,
				  struct machine_set_dns_request *ret, struct error *err)
{
	struct machine_set_dns_request q = {0};
	struct json_reader r;
	int result = 0;
	json_t *json = parse_body(body, length, &result, err);

	if (!json)
		return result;
	r = json_reader_of(json);
	q.version = json_get_int(&r, "Version");
	q.node_key = json_get_key(&r, "NodeKey", KEY_NODE);
	take_text(&r, "Name", q.name, sizeof(q.name));
	take_text(&r, "Type", q.type, sizeof(q.type));
	take_text(&r, "Value", q.value, sizeof(q.value));
	for (char *c = q.name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (*q.name && q.name[strlen(q.name) - 1] == '.')
		q.name[strlen(q.name) - 1] = '\0';
	if (public_key_is_zero(&q.node_key))
		json_reader_fail(&r, "NodeKey", -EINVAL);
	result = json_reader_result(&r, err, "set-dns");
	json_decref(json);
	if (result == 0)
		*ret = q;
	return result;
}

int machine_verify_request_parse(const void *body, size_t length, struct public_key *ret,
				 struct error *err)
{
	struct json_reader r;
	int result = 0;
	json_t *json = parse_body(body, length, &result, err);

	if (!json)
		return result;
	r = json_reader_of(json);
	*ret = json_get_key(&r, "NodePublic", KEY_NODE);
	if (public_key_is_zero(ret))
		json_reader_fail(&r, "NodePublic", -EINVAL);
	result = json_reader_result(&r, err, "verify");
	json_decref(json);
	return result;
}

/* take_id() - A node's id in decimal, up to @end */
static const char *take_id(const char *text, char end, int64_t *ret)
{
	int64_t id = 0;
	size_t digits = 0;

	for (; isdigit((unsigned char)text[digits]) && digits < 18; digits++)
		id = 10 * id + (text[digits] - '0');
	*ret = id;
	return digits && id > 0 && text[digits] == end ? text + digits : NULL;
}

int machine_ssh_request_parse(const char *path, struct machine_ssh_request *ret)
{
	struct machine_ssh_request q = {0};
	int r;

	path = take_id(path, '/', &q.from);
	if (!path || strncmp(path, "/to/", 4) != 0)
		return -EINVAL;
	path = take_id(path + 4, '?', &q.to);
	if (!path)
		return -EINVAL;
	path++;
	r = form_field(path, strlen(path), "ssh_user", q.user, sizeof(q.user));
	if (r < 0 || !*q.user)
		return -EINVAL;
	r = form_field(path, strlen(path), "check", q.check, sizeof(q.check));
	if (r < 0 && r != -ENOENT)
		return -EINVAL;
	*ret = q;
	return 0;
}
