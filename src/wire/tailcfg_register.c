/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_register.c - the bodies of /key and /machine/register */
#include "wire/tailcfg.h"

#include <errno.h>

#define RESPONSE(...) MEMBER(struct tailcfg_register_response, __VA_ARGS__)

/* A whole body as one jansson value, nested no deeper than we allow. */
static json_t *parse_body(const void *body, size_t length, const char *what, struct error *err)
{
	struct json_range range;
	json_t *json;
	int r;

	r = json_scan_value(body, length, &range);
	if (r < 0) {
		error_set(err, r, "%s: the answer is not JSON", what);
		return NULL;
	}
	json = json_parse(range, err);
	if (!json)
		error_wrap(err, "%s", what);
	return json;
}

int tailcfg_server_keys_parse(const void *body, size_t length, struct tailcfg_server_keys *ret,
			      struct error *err)
{
	json_t *json = parse_body(body, length, "server key", err);
	struct tailcfg_server_keys keys;
	struct json_reader r;
	int result;

	if (!json)
		return -EINVAL;
	r = json_reader_of(json);
	keys.public_key = json_get_key(&r, "publicKey", KEY_MACHINE);
	if (public_key_is_zero(&keys.public_key))
		json_reader_fail(&r, "publicKey", -EINVAL);
	result = json_reader_result(&r, err, "server key");
	if (result == 0)
		*ret = keys;
	json_decref(json);
	return result;
}

int tailcfg_register_request_encode(const struct tailcfg_register_request *request,
				    struct buffer *out)
{
	struct json_writer w = json_writer_to(out);

	json_begin_object(&w, NULL);
	json_put_int(&w, "Version", TAILCFG_CAPABILITY_VERSION);
	/* Keys that aren't known are sent in their zero form: "" is refused. */
	json_put_key(&w, "NodeKey", &request->node_key, KEY_NODE);
	json_put_key(&w, "OldNodeKey", &request->old_node_key, KEY_NODE);
	json_put_key(&w, "NLKey", &request->nl_key, KEY_NETWORK_LOCK);
	if (request->auth_key) {
		json_begin_object(&w, "Auth");
		json_put_string(&w, "AuthKey", request->auth_key);
		json_end_object(&w);
	}
	json_put_time(&w, "Expiry", request->expiry);
	json_put_string(&w, "Followup", request->followup);
	tailcfg_hostinfo_encode(&w, "Hostinfo", request->hostinfo);
	json_put_bool_if(&w, "Ephemeral", request->ephemeral);
	json_put_string_if(&w, "NodeKeySignature", request->node_key_signature);
	json_put_string_if(&w, "Tailnet", request->tailnet);
	json_end_object(&w);
	return json_writer_result(&w);
}

static const struct json_member user_members[] = {
	RESPONSE(INT, "ID", user_id),
};

static const struct json_members user =
	MEMBERS("User", struct tailcfg_register_response, user_members);

static const struct json_member login_members[] = {
	RESPONSE(TEXT, "LoginName", login_name),
};

static const struct json_members login =
	MEMBERS("Login", struct tailcfg_register_response, login_members);

static const struct json_member response_members[] = {
	MEMBER_WITHIN("User", &user),
	MEMBER_WITHIN("Login", &login),
	RESPONSE(BOOL, "NodeKeyExpired", node_key_expired),
	RESPONSE(BOOL, "MachineAuthorized", machine_authorized),
	RESPONSE(TEXT, "AuthURL", auth_url),
	RESPONSE(TEXT, "NodeKeySignature", node_key_signature),
	RESPONSE(TEXT, "Error", error),
};

static const struct json_members response =
	MEMBERS("register", struct tailcfg_register_response, response_members);

void tailcfg_register_response_clear(struct tailcfg_register_response *r)
{
	members_clear(&response, r);
}

int tailcfg_register_response_parse(const void *body, size_t length,
				    struct tailcfg_register_response *ret, struct error *err)
{
	json_t *json = parse_body(body, length, "register", err);
	int r = json ? members_decode(&response, json, ret, err) : -EINVAL;

	json_decref(json);
	return r;
}
