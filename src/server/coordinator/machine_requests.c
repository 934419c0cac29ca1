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

static void drop_services(struct tailcfg_hostinfo *info, uint32_t most)
{
	while (info->service_count > most) {
		struct tailcfg_service *last = &info->services[--info->service_count];

		free((char *)last->protocol);
		free((char *)last->description);
	}
}

/* clip() - Keep what a node may have of each list */
static void clip(struct tailcfg_hostinfo *info)
{
	machine_routes_tidy(&info->routable_ips);
	while (info->request_tags.count > MACHINE_TAGS_MAX)
		free(info->request_tags.items[--info->request_tags.count]);
	while (info->ssh_host_keys.count > MACHINE_TAGS_MAX)
		free(info->ssh_host_keys.items[--info->ssh_host_keys.count]);
	drop_services(info, MACHINE_ROUTES_MAX);
	shrink(&info->routable_ips.items, info->routable_ips.count, sizeof(struct prefix));
	shrink(&info->request_tags.items, info->request_tags.count, sizeof(char *));
	shrink(&info->ssh_host_keys.items, info->ssh_host_keys.count, sizeof(char *));
	shrink(&info->services, info->service_count, sizeof(*info->services));
}

/* take_hostinfo() - The member, cut to what the node's row in the database can hold */
static void take_hostinfo(struct json_reader *r, struct tailcfg_hostinfo *info, bool services)
{
	json_t *member = json_get_object(r, "Hostinfo");
	struct buffer text = BUFFER_INIT(LIMIT_HOSTINFO);
	struct json_writer w = json_writer_to(&text);

	if (member && tailcfg_hostinfo_decode(member, info, NULL) < 0)
		json_reader_fail(r, "Hostinfo", -ENOMEM);
	if (!services)
		drop_services(info, 0);
	clip(info);
	tailcfg_hostinfo_encode(&w, NULL, info);
	buffer_free(&text);
	if (json_writer_result(&w) < 0)
		json_reader_fail(r, "Hostinfo", -EINVAL);
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

/* take_key() - The node key, which each request has */
static struct public_key take_key(struct json_reader *r, const char *name)
{
	struct public_key key = json_get_key(r, name, KEY_NODE);

	if (public_key_is_zero(&key))
		json_reader_fail(r, name, -EINVAL);
	return key;
}

/* parse() - Fill @request from the JSON of a body */
static int parse(const void *body, size_t length, const char *what,
		 void (*fill)(struct json_reader *r, void *request), void *request,
		 struct error *err)
{
	struct json_range range;
	struct json_reader r;
	json_t *json;
	int result = json_scan_value(body, length, &range);

	if (result < 0)
		return error_set(err, result, "the request is not JSON");
	json = json_parse(range, err);
	if (!json)
		return -EBADMSG;
	r = json_reader_of(json);
	fill(&r, request);
	result = json_reader_result(&r, err, what);
	json_decref(json);
	return result;
}

static void fill_register(struct json_reader *r, void *request)
{
	struct machine_register_request *q = request;
	json_t *member = json_get_object(r, "Auth");

	q->version = json_get_int(r, "Version");
	q->node_key = take_key(r, "NodeKey");
	q->old_node_key = json_get_key(r, "OldNodeKey", KEY_NODE);
	q->followup = json_get_string(r, "Followup");
	q->expiry = json_get_time(r, "Expiry");
	q->ephemeral = json_get_bool(r, "Ephemeral");
	if (member) {
		struct json_reader inner = json_reader_of(member);

		q->auth_key = json_get_string(&inner, "AuthKey");
		if (inner.error < 0)
			json_reader_fail(r, "Auth", inner.error);
	}
	/* The node's map requests repeat the services. */
	take_hostinfo(r, &q->hostinfo, false);
	if ((q->followup && strlen(q->followup) > MACHINE_SECRET_MAX) ||
	    (q->auth_key && strlen(q->auth_key) > MACHINE_SECRET_MAX))
		json_reader_fail(r, "Auth", -EINVAL);
}

int machine_register_request_parse(const void *body, size_t length,
				   struct machine_register_request *ret, struct error *err)
{
	struct machine_register_request q = {0};
	int r = parse(body, length, "register", fill_register, &q, err);

	if (r < 0)
		machine_register_request_clear(&q);
	else
		*ret = q;
	return r;
}

static void fill_map(struct json_reader *r, void *request)
{
	struct machine_map_request *q = request;

	q->version = json_get_int(r, "Version");
	q->node_key = take_key(r, "NodeKey");
	q->disco_key = json_get_key(r, "DiscoKey", KEY_DISCO);
	q->compress = strcmp(json_get_text(r, "Compress"), "zstd") == 0;
	q->stream = json_get_bool(r, "Stream");
	q->read_only = json_get_bool(r, "ReadOnly");
	q->has_endpoints = json_get_array(r, "Endpoints") != NULL;
	json_get_endpoints(r, "Endpoints", &q->endpoints);
	if (q->endpoints.count > MACHINE_ENDPOINTS_MAX)
		q->endpoints.count = MACHINE_ENDPOINTS_MAX;
	shrink(&q->endpoints.items, q->endpoints.count, sizeof(struct endpoint));
	if (!json_get_object(r, "Hostinfo"))
		return;
	q->hostinfo = calloc(1, sizeof(*q->hostinfo));
	if (q->hostinfo)
		take_hostinfo(r, q->hostinfo, true);
	else
		json_reader_fail(r, "Hostinfo", -ENOMEM);
}

int machine_map_request_parse(const void *body, size_t length, struct machine_map_request *ret,
			      struct error *err)
{
	struct machine_map_request q = {0};
	int r = parse(body, length, "map", fill_map, &q, err);

	if (r < 0)
		machine_map_request_clear(&q);
	else
		*ret = q;
	return r;
}

static void fill_set_dns(struct json_reader *r, void *request)
{
	struct machine_set_dns_request *q = request;

	q->version = json_get_int(r, "Version");
	q->node_key = take_key(r, "NodeKey");
	take_text(r, "Name", q->name, sizeof(q->name));
	take_text(r, "Type", q->type, sizeof(q->type));
	take_text(r, "Value", q->value, sizeof(q->value));
	for (char *c = q->name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (*q->name && q->name[strlen(q->name) - 1] == '.')
		q->name[strlen(q->name) - 1] = '\0';
}

int machine_set_dns_request_parse(const void *body, size_t length,
				  struct machine_set_dns_request *ret, struct error *err)
{
	*ret = (struct machine_set_dns_request){0};
	return parse(body, length, "set-dns", fill_set_dns, ret, err);
}

static void fill_sign(struct json_reader *r, void *request)
{
	struct machine_sign_request *q = request;

	q->version = json_get_int(r, "Version");
	q->node_key = take_key(r, "NodeKey");
	q->csr = json_get_string(r, "CSR");
	if (!q->csr || strlen(q->csr) > MACHINE_CSR_MAX)
		json_reader_fail(r, "CSR", -EINVAL);
}

int machine_sign_request_parse(const void *body, size_t length, struct machine_sign_request *ret,
			       struct error *err)
{
	struct machine_sign_request q = {0};
	int r = parse(body, length, "certificate", fill_sign, &q, err);

	if (r < 0)
		free(q.csr);
	else
		*ret = q;
	return r;
}

static void fill_verify(struct json_reader *r, void *request)
{
	*(struct public_key *)request = take_key(r, "NodePublic");
}

int machine_verify_request_parse(const void *body, size_t length, struct public_key *ret,
				 struct error *err)
{
	return parse(body, length, "verify", fill_verify, ret, err);
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
