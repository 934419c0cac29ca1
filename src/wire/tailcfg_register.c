/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_register.c - the bodies of /key and /machine/register */
#include "wire/tailcfg.h"

#include <errno.h>

#define RESPONSE(...) MEMBER(struct tailcfg_register_response, __VA_ARGS__)

static void finish_keys(struct json_reader *r, void *object)
{
	if (public_key_is_zero(&((struct tailcfg_server_keys *)object)->public_key))
		json_reader_fail(r, "publicKey", -EINVAL);
}

static const struct json_member key_members[] = {
	MEMBER(struct tailcfg_server_keys, MACHINE_KEY, "publicKey", public_key),
};

static const struct json_members server_keys =
	MEMBERS("server key", struct tailcfg_server_keys, key_members, .finish = finish_keys);

int tailcfg_server_keys_parse(const void *body, size_t length, struct tailcfg_server_keys *ret,
			      struct error *err)
{
	return members_parse(&server_keys, (struct json_range){body, length}, ret, err);
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

const struct json_members tailcfg_register_response_members =
	MEMBERS("register", struct tailcfg_register_response, response_members);

int tailcfg_register_response_parse(const void *body, size_t length,
				    struct tailcfg_register_response *ret, struct error *err)
{
	return members_parse(&tailcfg_register_response_members, (struct json_range){body, length},
			     ret, err);
}
