/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/state_file.c - tailscaled.state in the official layout
 *
 * Theory of operation. `entries` is the file as it was read, value by value. The
 * current profile is decoded beside it into prefs and persist; encoding puts their
 * new form, the machine key and the profile's row of _profiles into a copy of
 * `entries` and writes that. All other entries pass through as the base64 text that
 * they were.
 */
#include "node/state_file.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "wire/json.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ENTRY_MACHINE_KEY     "_machinekey"
#define ENTRY_PROFILES        "_profiles"
#define ENTRY_CURRENT_PROFILE "_current-profile"
#define ENTRY_LEGACY_PREFS    "_daemon"
#define ENTRY_SERVE           "_serve/" /* and the id of a profile */

/* A member of persist that only pillion knows; the official daemon ignores it. */
#define MEMBER_SPENT_KEY "PillionSpentKey"

#define LOCK_KEY_PREFIX "nlpriv:"
#define LOCK_KEY_HEX    (crypto_sign_SECRETKEYBYTES * 2)

#define REMEDY                                                                            \
	"pillion leaves the file as it is; restore it from a backup, or move it away to " \
	"start as a new node"

static const char *const persist_members[] = {
	"PrivateNodeKey", "OldPrivateNodeKey", "UserProfile", "NetworkLockKey", "NodeID",
};

/* bad_state() - Refuse the file: @what is wrong with @entry */
static int bad_state(struct error *err, const char *entry, const char *what)
{
	return error_set(err, -EBADMSG, "state: %s%s; " REMEDY, entry, what);
}

/* wipe_json() - Zero every string below @value and release it: it holds keys */
static void wipe_strings(json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_string(value))
		explicit_bzero((char *)json_string_value(value), json_string_length(value));
	json_object_foreach(value, key, member)
		wipe_strings(member);
	json_array_foreach(value, i, member)
		wipe_strings(member);
}

static void wipe_json_at(json_t **value)
{
	if (*value && (*value)->refcount == 1)
		wipe_strings(*value);
	json_decref(*value);
}

/* --- decoding --- */

/* entry_bytes() - The decoded value of an entry into @out (empty when there is none) */
static int entry_bytes(const json_t *entries, const char *key, struct buffer *out,
		       struct error *err)
{
	const json_t *value = json_object_get(entries, key);
	size_t length, bytes;
	const char *text;

	if (!value || json_is_null(value))
		return 0;
	text = json_string_value(value);
	length = json_string_length(value);
	if (!text)
		return bad_state(err, key, " is not a string");
	if (buffer_reserve(out, length + 1) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (sodium_base642bin(buffer_end(out), length + 1, text, length, "\r\n", &bytes, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0)
		return bad_state(err, key, " is not base64");
	out->length += bytes;
	return 0;
}

/* entry_object() - The JSON object in an entry; NULL and 0 when there is none */
static int entry_object(const json_t *entries, const char *key, json_t **ret, struct error *err)
{
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(LIMIT_STATE_FILE);
	json_error_t why;
	json_t *object;
	int r;

	r = entry_bytes(entries, key, &bytes, err);
	if (r < 0)
		return r;
	*ret = NULL;
	if (bytes.length == 0)
		return 0;
	object = json_loadb((char *)buffer_head(&bytes), bytes.length, 0, &why);
	if (!json_is_object(object)) {
		json_decref(object);
		return bad_state(err, key, " is not a JSON object");
	}
	*ret = object;
	return 0;
}

/* decode_key() - A "privkey:" text; absent or all zeros is no key */
static int decode_key(const json_t *persist, const char *name, struct secret_key *ret,
		      struct error *err)
{
	const json_t *value = json_object_get(persist, name);
	char zero[KEY_TEXT_MAX] = "privkey:";
	const char *text = json_string_value(value);

	if (!value || json_is_null(value))
		return 0;
	memset(zero + 8, '0', KEY_SIZE * 2);
	zero[8 + KEY_SIZE * 2] = 0;
	if (text && strcmp(text, zero) == 0)
		return 0;
	if (!text || secret_key_parse(text, json_string_length(value), ret) < 0)
		return bad_state(err, name, " is not a private key");
	return 0;
}

/* decode_lock_key() - "nlpriv:" and the Ed25519 secret key as hex: seed, then public key */
static int decode_lock_key(const json_t *persist, struct secret_key *ret, struct error *err)
{
	const json_t *value = json_object_get(persist, "NetworkLockKey");
	uint8_t secret[crypto_sign_SECRETKEYBYTES];
	const char *text = json_string_value(value);
	const size_t prefix = strlen(LOCK_KEY_PREFIX);
	size_t length;
	int r = 0;

	if (!value || json_is_null(value))
		return 0;
	if (!text || json_string_length(value) != prefix + LOCK_KEY_HEX ||
	    strncmp(text, LOCK_KEY_PREFIX, prefix) != 0 ||
	    sodium_hex2bin(secret, sizeof(secret), text + prefix, LOCK_KEY_HEX, NULL, &length,
			   NULL) != 0 ||
	    length != sizeof(secret))
		r = bad_state(err, "NetworkLockKey", " is not a key");
	else
		memcpy(ret->bytes, secret, sizeof(ret->bytes));
	sodium_memzero(secret, sizeof(secret));
	return r;
}

static int decode_persist(const json_t *object, struct persist *p, struct error *err)
{
	const json_t *profile, *node_id;
	int r;

	r = decode_key(object, "PrivateNodeKey", &p->node_key, err);
	if (r == 0)
		r = decode_key(object, "OldPrivateNodeKey", &p->old_node_key, err);
	if (r == 0)
		r = decode_lock_key(object, &p->network_lock_seed, err);
	if (r < 0)
		return r;
	node_id = json_object_get(object, "NodeID");
	if (node_id && !json_is_null(node_id)) {
		if (!json_is_string(node_id) || json_string_length(node_id) >= STATE_NODE_ID_MAX)
			return bad_state(err, "NodeID", " is not a node ID");
		memcpy(p->node_id, json_string_value(node_id), json_string_length(node_id) + 1);
	}
	profile = json_object_get(object, "UserProfile");
	if (json_is_object(profile)) {
		p->user_profile = json_deep_copy(profile);
		if (!p->user_profile)
			return error_set(err, -ENOMEM, "out of memory");
	}
	p->others = json_deep_copy(object);
	if (!p->others)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(persist_members); i++) {
		wipe_strings(json_object_get(p->others, persist_members[i]));
		(void)json_object_del(p->others, persist_members[i]);
	}
	return 0;
}

/* decode_profile() - Prefs and keys from one entry */
static int decode_profile(struct state_file *s, const char *entry, struct error *err)
{
	_cleanup_(wipe_json_at) json_t *object = NULL;
	json_t *config;
	int r;

	r = entry_object(s->entries, entry, &object, err);
	if (r < 0)
		return r;
	/* A listed profile is no new one. */
	if (!object)
		return bad_state(err, entry, ", the current profile, is empty");
	r = prefs_decode(object, &s->prefs, err);
	if (r < 0) {
		if (err)
			err->code = r == -ENOMEM ? r : -EBADMSG;
		error_wrap(err, "state: %s", entry);
		return r == -ENOMEM ? r : -EBADMSG;
	}
	config = json_object_get(object, "Config");
	if (!config || json_is_null(config))
		return 0;
	if (!json_is_object(config))
		return bad_state(err, entry, ".Config is not an object");
	return decode_persist(config, &s->persist, err);
}

static int decode_machine_key(struct state_file *s, struct error *err)
{
	_cleanup_(buffer_free_secret) struct buffer text = BUFFER_INIT(LIMIT_STATE_FILE);
	int r;

	r = entry_bytes(s->entries, ENTRY_MACHINE_KEY, &text, err);
	if (r < 0)
		return r;
	if (text.length == 0) {
		/* Control knows the node by both keys: a new machine key would lose the node. */
		if (!secret_key_is_zero(&s->persist.node_key))
			return bad_state(err, ENTRY_MACHINE_KEY,
					 " is missing, although the node has a key");
		secret_key_generate(&s->machine_key);
		return 0;
	}
	if (secret_key_parse((char *)buffer_head(&text), text.length, &s->machine_key) < 0)
		return bad_state(err, ENTRY_MACHINE_KEY, " is not a private key");
	return 0;
}

/*
 * current_entry() - Which entry holds the current profile: "profile-…" into @ret (and its id into
 * @s), or "" when there is none. A current profile that _profiles doesn't list is none, as for
 * the official daemon.
 */
static int current_entry(struct state_file *s, char *ret, size_t size, struct error *err)
{
	_cleanup_(buffer_free_secret) struct buffer name = BUFFER_INIT(LIMIT_STATE_FILE);
	const char *id, *key;
	json_t *profile;
	int r;

	ret[0] = 0;
	r = entry_bytes(s->entries, ENTRY_CURRENT_PROFILE, &name, err);
	if (r == 0)
		r = entry_object(s->entries, ENTRY_PROFILES, &s->profiles, err);
	if (r == 0 && !s->profiles && !(s->profiles = json_object()))
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	json_object_foreach(s->profiles, id, profile) {
		key = json_string_value(json_object_get(profile, "Key"));
		if (!key || strlen(key) != name.length || strlen(key) >= size ||
		    strlen(id) >= sizeof(s->profile_id) ||
		    memcmp(key, buffer_head(&name), name.length) != 0)
			continue;
		strcpy(ret, key);
		strcpy(s->profile_id, id);
		return 0;
	}
	if (json_object_size(s->profiles) == 0 && json_object_get(s->entries, ENTRY_LEGACY_PREFS))
		strcpy(ret, ENTRY_LEGACY_PREFS);
	return 0;
}

/* is_sealed() - A file sealed by a TPM has exactly the members key, nonce and data */
static bool is_sealed(const json_t *entries)
{
	return json_object_size(entries) == 3 && json_object_get(entries, "key") &&
	       json_object_get(entries, "nonce") && json_object_get(entries, "data");
}

static bool is_blank(const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!memchr(" \t\r\n", bytes[i], 4))
			return false;
	return true;
}

int state_file_init(struct state_file *ret, struct error *err)
{
	struct state_file s = {.entries = json_object(), .profiles = json_object()};

	if (!s.entries || !s.profiles || prefs_init(&s.prefs) < 0) {
		state_file_free(&s);
		return error_set(err, -ENOMEM, "out of memory");
	}
	secret_key_generate(&s.machine_key);
	randombytes_buf(s.persist.network_lock_seed.bytes, KEY_SIZE);
	*ret = s;
	sodium_memzero(&s, sizeof(s));
	return 0;
}

int state_file_decode(const void *bytes, size_t length, struct state_file *ret, struct error *err)
{
	_cleanup_(state_file_free) struct state_file s = {0};
	char entry[STATE_PROFILE_MAX + sizeof(STATE_PROFILE_KEY)];
	json_error_t why;
	int r;

	if (length > LIMIT_STATE_FILE)
		return error_set(err, -EBADMSG, "state: larger than %u bytes; " REMEDY,
				 LIMIT_STATE_FILE);
	if (is_blank(bytes, length))
		return state_file_init(ret, err);
	if (length >= 8 && memcmp(bytes, "tpmseal:", 8) == 0)
		goto sealed;
	s.entries = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(s.entries))
		return error_set(err, -EBADMSG, "state: not a JSON object (line %d); " REMEDY,
				 s.entries ? 1 : why.line);
	if (is_sealed(s.entries))
		goto sealed;
	r = current_entry(&s, entry, sizeof(entry), err);
	if (r == 0)
		r = *entry ? decode_profile(&s, entry, err) : prefs_init(&s.prefs);
	if (r == 0)
		r = decode_machine_key(&s, err);
	if (r < 0)
		return r;
	if (secret_key_is_zero(&s.persist.network_lock_seed))
		randombytes_buf(s.persist.network_lock_seed.bytes, KEY_SIZE);
	*ret = s;
	sodium_memzero(&s, sizeof(s));
	return 0;

sealed:
	return error_set(err, -ENOTSUP,
			 "state: sealed by a TPM (tpmseal), which only the official daemon can "
			 "open. Start it once with --encrypt-state=false on this volume, which "
			 "writes the plain form, or move the file away to start as a new node");
}

/* --- encoding --- */

/* set_entry() - Put @length bytes under @key, as base64 */
static int set_entry(json_t *entries, const char *key, const void *bytes, size_t length)
{
	size_t size = sodium_base64_encoded_len(length, sodium_base64_VARIANT_ORIGINAL);
	char *text = malloc(size);
	int r;

	if (!text)
		return -ENOMEM;
	sodium_bin2base64(text, size, bytes, length, sodium_base64_VARIANT_ORIGINAL);
	r = json_object_set_new(entries, key, json_string(text)) < 0 ? -ENOMEM : 0;
	sodium_memzero(text, size);
	free(text);
	return r;
}

static int set_object_entry(json_t *entries, const char *key, const json_t *object, size_t flags)
{
	char *text = json_dumps(object, flags);
	int r = -ENOMEM;

	if (text)
		r = set_entry(entries, key, text, strlen(text));
	secret_string_free(text);
	return r;
}

/* encode_key() - A key as text; NULL: zeros, never an empty string, which the official decoder refuses
 */
static json_t *encode_key(const struct secret_key *key)
{
	const struct secret_key none = {0};
	char text[KEY_TEXT_MAX];
	json_t *value;

	value = json_string(secret_key_format(key ? key : &none, text));
	sodium_memzero(text, sizeof(text));
	return value;
}

/* encode_lock_key() - The Ed25519 key of @seed; NULL: zeros */
static json_t *encode_lock_key(const struct secret_key *seed)
{
	char text[sizeof(LOCK_KEY_PREFIX) + LOCK_KEY_HEX] = LOCK_KEY_PREFIX;
	uint8_t secret[crypto_sign_SECRETKEYBYTES] = {0}, public[crypto_sign_PUBLICKEYBYTES];
	json_t *value;

	if (seed)
		crypto_sign_seed_keypair(public, secret, seed->bytes);
	sodium_bin2hex(text + strlen(LOCK_KEY_PREFIX), LOCK_KEY_HEX + 1, secret, sizeof(secret));
	value = json_string(text);
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(text, sizeof(text));
	return value;
}

static json_t *encode_user(const struct persist *p)
{
	return p->user_profile
		       ? json_deep_copy(p->user_profile)
		       : json_pack("{s:i,s:s,s:s}", "ID", 0, "LoginName", "", "DisplayName", "");
}

/* encode_persist() - The members that we know; @with_keys false: all keys are zero */
static json_t *encode_persist(const struct persist *p, bool with_keys)
{
	return json_pack("{s:o,s:o,s:o,s:o,s:s}", "PrivateNodeKey",
			 encode_key(with_keys ? &p->node_key : NULL), "OldPrivateNodeKey",
			 encode_key(with_keys ? &p->old_node_key : NULL), "UserProfile",
			 encode_user(p), "NetworkLockKey",
			 encode_lock_key(with_keys ? &p->network_lock_seed : NULL), "NodeID",
			 p->node_id);
}

json_t *state_file_public_config(const struct state_file *s)
{
	return encode_persist(&s->persist, false);
}

static void new_profile_id(const json_t *profiles, char ret[static STATE_PROFILE_MAX])
{
	do
		snprintf(ret, STATE_PROFILE_MAX, "%04x", (unsigned int)randombytes_uniform(65536));
	while (json_object_get(profiles, ret));
}

/* profile_row() - The row (ipn.LoginProfile) of the current profile, made if it isn't there; NULL
 * without memory */
static json_t *profile_row(struct state_file *s)
{
	char created[JSON_TIME_TEXT_MAX];
	json_t *row;

	if (!*s->profile_id)
		new_profile_id(s->profiles, s->profile_id);
	row = json_object_get(s->profiles, s->profile_id);
	if (json_is_object(row))
		return row;
	json_time_format(clock_realtime() / NSEC_PER_SEC * NSEC_PER_SEC, created);
	row = json_pack("{s:s}", "Created", created);
	return json_object_set_new(s->profiles, s->profile_id, row) < 0 ? NULL : row;
}

/* update_row() - The row of the current profile from prefs and persist */
static int update_row(const struct state_file *s, json_t *row, const char *entry)
{
	const char *name =
		*s->prefs.profile_name
			? s->prefs.profile_name
			: json_string_value(json_object_get(s->persist.user_profile, "LoginName"));
	json_t *fresh =
		json_pack("{s:s,s:s,s:s,s:o,s:s,s:s}", "ID", s->profile_id, "Name",
			  name ? name : "", "Key", entry, "UserProfile", encode_user(&s->persist),
			  "NodeID", s->persist.node_id, "ControlURL", s->prefs.control_url);
	json_t *defaults = json_pack("{s:{s:s,s:s,s:s},s:s}", "NetworkProfile", "MagicDNSName", "",
				     "DomainName", "", "DisplayName", "", "LocalUserID", "");
	int r = json_object_update_new(row, fresh) | json_object_update_missing_new(row, defaults);

	return r ? -ENOMEM : 0;
}

/* encode_profile() - _profiles, _current-profile and the profile's own entry */
static int encode_profile(struct state_file *s)
{
	_cleanup_(wipe_json_at) json_t *prefs = prefs_json(&s->prefs), *config = NULL;
	char entry[STATE_PROFILE_MAX + sizeof(STATE_PROFILE_KEY)];
	json_t *row = profile_row(s);
	const char *key;
	int r;

	config = encode_persist(&s->persist, true);
	if (!row || !prefs || !config ||
	    (s->persist.others &&
	     json_object_update_missing_new(config, json_deep_copy(s->persist.others)) < 0) ||
	    json_object_set(prefs, "Config", config) < 0)
		return -ENOMEM;
	key = json_string_value(json_object_get(row, "Key"));
	if (key && strlen(key) < sizeof(entry))
		strcpy(entry, key);
	else
		snprintf(entry, sizeof(entry), STATE_PROFILE_KEY "%s", s->profile_id);
	r = update_row(s, row, entry);
	if (r == 0)
		r = set_object_entry(s->entries, ENTRY_PROFILES, s->profiles, JSON_COMPACT);
	if (r == 0)
		r = set_entry(s->entries, ENTRY_CURRENT_PROFILE, entry, strlen(entry));
	if (r == 0)
		r = set_object_entry(s->entries, entry, prefs, JSON_INDENT(1));
	return r;
}

int state_file_encode(struct state_file *s, struct buffer *out)
{
	char machine[KEY_TEXT_MAX];
	char *text;
	int r;

	secret_key_format(&s->machine_key, machine);
	r = set_entry(s->entries, ENTRY_MACHINE_KEY, machine, strlen(machine));
	sodium_memzero(machine, sizeof(machine));
	if (r == 0)
		r = encode_profile(s);
	if (r < 0)
		return r;
	text = json_dumps(s->entries, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!text)
		return -ENOMEM;
	r = buffer_append(out, text, strlen(text));
	secret_string_free(text);
	return r;
}

/* --- changes --- */

/* replace() - Make @slot a copy of @json; 1: it was another, 0, -ENOMEM */
static int replace(json_t **slot, const json_t *json)
{
	json_t *copy;

	if (json_equal(*slot, json))
		return 0;
	copy = json_deep_copy(json);
	if (!copy)
		return -ENOMEM;
	json_decref(*slot);
	*slot = copy;
	return 1;
}

int state_file_set_identity(struct state_file *s, const char *node_id, const json_t *user_profile,
			    const json_t *network)
{
	json_t *row, *known;
	int changed = 0, r;

	if (strlen(node_id) >= sizeof(s->persist.node_id) || !json_is_object(user_profile))
		return -EINVAL;
	if (network) {
		row = profile_row(s);
		known = json_incref(json_object_get(row, "NetworkProfile"));
		changed = row ? replace(&known, network) : -ENOMEM;
		if (row && json_object_set_new(row, "NetworkProfile", known) < 0)
			changed = -ENOMEM;
	}
	if (changed < 0)
		return changed;
	r = replace(&s->persist.user_profile, user_profile);
	if (r < 0)
		return r;
	if (strcmp(s->persist.node_id, node_id) != 0) {
		strcpy(s->persist.node_id, node_id);
		changed = 1;
	}
	return changed | r;
}

void state_file_forget_identity(struct state_file *s)
{
	json_decref(TAKE_PTR(s->persist.user_profile));
	s->persist.node_id[0] = 0;
}

static void persist_free(struct persist *p)
{
	json_decref(p->user_profile);
	json_decref(p->others);
	sodium_memzero(p, sizeof(*p));
}

static void serve_entry(const struct state_file *s,
			char ret[static STATE_PROFILE_MAX + sizeof(ENTRY_SERVE)])
{
	snprintf(ret, STATE_PROFILE_MAX + sizeof(ENTRY_SERVE), ENTRY_SERVE "%s", s->profile_id);
}

int state_file_serve_config(const struct state_file *s, struct buffer *out)
{
	char entry[STATE_PROFILE_MAX + sizeof(ENTRY_SERVE)];
	struct error err = {0};

	if (!*s->profile_id)
		return 0;
	serve_entry(s, entry);
	return entry_bytes(s->entries, entry, out, &err);
}

int state_file_set_serve_config(struct state_file *s, const char *text)
{
	char entry[STATE_PROFILE_MAX + sizeof(ENTRY_SERVE)];

	if (!*s->profile_id)
		return -ENOENT;
	serve_entry(s, entry);
	return set_entry(s->entries, entry, text, strlen(text));
}

int state_file_forget(struct state_file *s)
{
	char serve[STATE_PROFILE_MAX + sizeof(ENTRY_SERVE)];
	const char *entry;
	struct prefs fresh;
	int r = prefs_init(&fresh);

	if (r < 0)
		return r;
	entry = json_string_value(
		json_object_get(json_object_get(s->profiles, s->profile_id), "Key"));
	if (entry) {
		wipe_strings(json_object_get(s->entries, entry));
		(void)json_object_del(s->entries, entry);
		(void)json_object_del(s->profiles, s->profile_id);
	}
	(void)json_object_del(s->entries, ENTRY_CURRENT_PROFILE);
	serve_entry(s, serve);
	(void)json_object_del(s->entries, serve);
	persist_free(&s->persist);
	randombytes_buf(s->persist.network_lock_seed.bytes, KEY_SIZE);
	prefs_free(&s->prefs);
	s->prefs = fresh;
	s->profile_id[0] = 0;
	return 0;
}

/* spent_digest() - What stands for @auth_key in the file; useless without the machine key */
static void spent_digest(const struct state_file *s, const char *auth_key, char ret[static 65])
{
	unsigned char digest[32];

	crypto_generichash(digest, sizeof(digest), (const unsigned char *)auth_key,
			   strlen(auth_key), s->machine_key.bytes, KEY_SIZE);
	sodium_bin2hex(ret, 65, digest, sizeof(digest));
}

void state_file_spend_key(struct state_file *s, const char *auth_key)
{
	char digest[65];

	spent_digest(s, auth_key, digest);
	if (!s->persist.others)
		s->persist.others = json_object();
	(void)json_object_set_new(s->persist.others, MEMBER_SPENT_KEY, json_string(digest));
}

bool state_file_spent_key(const struct state_file *s, const char *auth_key)
{
	const char *spent = json_string_value(json_object_get(s->persist.others, MEMBER_SPENT_KEY));
	char digest[65];

	spent_digest(s, auth_key, digest);
	return spent && strcmp(spent, digest) == 0;
}

void state_file_free(struct state_file *s)
{
	wipe_json_at(&s->entries);
	json_decref(s->profiles);
	persist_free(&s->persist);
	prefs_free(&s->prefs);
	sodium_memzero(s, sizeof(*s));
}
