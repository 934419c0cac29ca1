/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/derp_info.c - ClientInfo and ServerInfo: JSON in a NaCl crypto_box */
#include "wire/derp.h"
#include "wire/json.h"

#include <errno.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

_Static_assert(DERP_NONCE_SIZE == crypto_box_NONCEBYTES, "");
_Static_assert(DERP_BOX_TAG == crypto_box_MACBYTES, "");

/* A stranger's client sends its info before the relay trusts it. */
#define INFO_JSON_MAX 4096

/* seal_frame() - Header, @node if any, nonce, box(@json); steals @json */
static ssize_t seal_frame(uint8_t *out, size_t capacity, enum derp_frame_type type,
			  const struct public_key *node, const struct key_box *box,
			  const uint8_t *nonce, json_t *json)
{
	uint8_t payload[DERP_INFO_MAX], *sealed = payload + DERP_NONCE_SIZE;
	struct derp_message m = {.type = type, .data = payload};
	char text[DERP_INFO_MAX - DERP_BOX_OVERHEAD];
	size_t length = json ? json_dumpb(json, text, sizeof(text), JSON_COMPACT) : 0;
	ssize_t r;

	json_decref(json);
	if (length == 0 || length > sizeof(text)) {
		explicit_bzero(text, sizeof(text));
		return length == 0 ? -ENOMEM : -EMSGSIZE;
	}
	memcpy(payload, nonce, DERP_NONCE_SIZE);
	crypto_box_easy_afternm(sealed, (const uint8_t *)text, length, nonce, box->key);
	explicit_bzero(text, sizeof(text)); /* it may hold a mesh key */
	if (node)
		m.key = *node;
	m.length = DERP_BOX_OVERHEAD + length;
	r = derp_message_write(out, capacity, &m);
	return r;
}

/* open_sealed() - The JSON object in the sealed data of @m */
static int open_sealed(const struct derp_message *m, const struct key_box *box, json_t **ret)
{
	struct cursor c = cursor_of(m->data, m->length);
	const uint8_t *nonce = cursor_take(&c, DERP_NONCE_SIZE);
	char text[INFO_JSON_MAX];
	json_t *json;

	if (!nonce || c.left < DERP_BOX_TAG || c.left - DERP_BOX_TAG > sizeof(text))
		return -EBADMSG;
	if (crypto_box_open_easy_afternm((uint8_t *)text, c.at, c.left, nonce, box->key) != 0)
		return -EBADMSG;
	json = json_parse((struct json_range){text, c.left - DERP_BOX_TAG}, NULL);
	explicit_bzero(text, sizeof(text));
	if (!json_is_object(json)) {
		json_decref(json);
		return -EBADMSG;
	}
	*ret = json;
	return 0;
}

ssize_t derp_client_info_write(uint8_t *out, size_t capacity, const struct public_key *node,
			       const struct key_box *box,
			       const uint8_t nonce[static DERP_NONCE_SIZE],
			       const struct derp_client_info *info)
{
	json_t *json = json_pack("{s:i, s:b}", "version", info->version, "CanAckPings",
				 (int)info->can_ack_pings);
	char hex[2 * sizeof(info->mesh_key) + 1];

	if (info->is_prober)
		json_object_set_new(json, "IsProber", json_true());
	if (info->app_name[0])
		json_object_set_new(json, "AppName", json_string(info->app_name));
	/* An empty mesh key is an error to the relay: without one the field is left out. */
	if (info->has_mesh_key) {
		sodium_bin2hex(hex, sizeof(hex), info->mesh_key, sizeof(info->mesh_key));
		json_object_set_new(json, "meshKey", json_string(hex));
		explicit_bzero(hex, sizeof(hex));
	}
	return seal_frame(out, capacity, DERP_CLIENT_INFO, node, box, nonce, json);
}

static int read_mesh_key(const json_t *value, struct derp_client_info *info)
{
	const char *hex = json_string_value(value);
	size_t bytes;

	if (!value)
		return 0;
	if (!hex || strlen(hex) != 2 * sizeof(info->mesh_key) ||
	    sodium_hex2bin(info->mesh_key, sizeof(info->mesh_key), hex, strlen(hex), NULL, &bytes,
			   NULL) != 0 ||
	    bytes != sizeof(info->mesh_key))
		return -EBADMSG;
	info->has_mesh_key = true;
	return 0;
}

static int read_app_name(const json_t *value, struct derp_client_info *info)
{
	const char *name = json_string_value(value);

	if (!value)
		return 0;
	if (!name || json_string_length(value) > DERP_APP_NAME_MAX)
		return -EBADMSG;
	for (const char *at = name; *at; at++)
		if (*at < ' ' || *at > '~')
			return -EBADMSG;
	memcpy(info->app_name, name, json_string_length(value) + 1);
	return 0;
}

int derp_client_info_open(const struct derp_message *m, const struct key_box *box,
			  struct derp_client_info *ret)
{
	struct derp_client_info info = {0};
	json_t *json;
	int r = open_sealed(m, box, &json);

	if (r < 0)
		return r;
	info.version = (int)json_integer_value(json_object_get(json, "version"));
	info.can_ack_pings = json_is_true(json_object_get(json, "CanAckPings"));
	info.is_prober = json_is_true(json_object_get(json, "IsProber"));
	r = read_mesh_key(json_object_get(json, "meshKey"), &info);
	if (r == 0)
		r = read_app_name(json_object_get(json, "AppName"), &info);
	if (r == 0)
		*ret = info;
	explicit_bzero(info.mesh_key, sizeof(info.mesh_key));
	json_decref(json);
	return r;
}

ssize_t derp_server_info_write(uint8_t *out, size_t capacity, const struct key_box *box,
			       const uint8_t nonce[static DERP_NONCE_SIZE],
			       const struct derp_server_info *info)
{
	json_t *json = json_pack("{s:i}", "version", info->version);

	if (info->bytes_per_second)
		json_object_set_new(json, "TokenBucketBytesPerSecond",
				    json_integer(info->bytes_per_second));
	if (info->bytes_burst)
		json_object_set_new(json, "TokenBucketBytesBurst", json_integer(info->bytes_burst));
	return seal_frame(out, capacity, DERP_SERVER_INFO, NULL, box, nonce, json);
}

static uint32_t read_count(const json_t *value)
{
	json_int_t n = json_integer_value(value);

	return n <= 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

int derp_server_info_open(const struct derp_message *m, const struct key_box *box,
			  struct derp_server_info *ret)
{
	json_t *json;
	int r = open_sealed(m, box, &json);

	if (r < 0)
		return r;
	ret->version = (int)json_integer_value(json_object_get(json, "version"));
	ret->bytes_per_second = read_count(json_object_get(json, "TokenBucketBytesPerSecond"));
	ret->bytes_burst = read_count(json_object_get(json, "TokenBucketBytesBurst"));
	json_decref(json);
	return 0;
}
