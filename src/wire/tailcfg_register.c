/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/tailcfg_register.c - the bodies of /key and /machine/register */
#include "wire/tailcfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	keys.legacy_public_key = json_get_key(&r, "legacyPublicKey", KEY_MACHINE);
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

void tailcfg_register_response_clear(struct tailcfg_register_response *response)
{
	free(response->user_display_name);
	free(response->login_name);
	free(response->login_display_name);
	free(response->login_provider);
	free(response->auth_url);
	free(response->node_key_signature);
	free(response->error);
	*response = (struct tailcfg_register_response){0};
}

int tailcfg_register_response_parse(const void *body, size_t length,
				    struct tailcfg_register_response *ret, struct error *err)
{
	json_t *json = parse_body(body, length, "register", err), *user, *login;
	struct tailcfg_register_response response;
	struct json_reader r, inner;
	int result;

	if (!json)
		return -EINVAL;
	r = json_reader_of(json);
	response = (struct tailcfg_register_response){
		.node_key_expired = json_get_bool(&r, "NodeKeyExpired"),
		.machine_authorized = json_get_bool(&r, "MachineAuthorized"),
		.auth_url = json_get_string(&r, "AuthURL"),
		.node_key_signature = json_get_string(&r, "NodeKeySignature"),
		.error = json_get_string(&r, "Error"),
	};
	user = json_get_object(&r, "User");
	if (user) {
		inner = json_reader_of(user);
		response.user_id = json_get_int(&inner, "ID");
		response.user_display_name = json_get_string(&inner, "DisplayName");
		if (inner.error < 0)
			json_reader_fail(&r, "User", inner.error);
	}
	login = json_get_object(&r, "Login");
	if (login) {
		inner = json_reader_of(login);
		response.login_id = json_get_int(&inner, "ID");
		response.login_name = json_get_string(&inner, "LoginName");
		response.login_display_name = json_get_string(&inner, "DisplayName");
		response.login_provider = json_get_string(&inner, "Provider");
		if (inner.error < 0)
			json_reader_fail(&r, "Login", inner.error);
	}
	result = json_reader_result(&r, err, "register");
	if (result < 0)
		tailcfg_register_response_clear(&response);
	else
		*ret = response;
	json_decref(json);
	return result;
}
