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

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ENTRY_MACHINE_KEY     "_machinekey"
#define ENTRY_PROFILES        "_profiles"
#define ENTRY_CURRENT_PROFILE "_current-profile"
#define ENTRY_LEGACY_PREFS    "_daemon"

/* A member of persist that only we know; the official daemon passes it over. */
#define MEMBER_SPENT_KEY "PillionSpentKey"

#define LOCK_KEY_PREFIX "nlpriv:"
#define LOCK_KEY_HEX    (crypto_sign_SECRETKEYBYTES * 2)

#define REMEDY                                                                           \
	"the file is left as it is; restore it from a backup, or move it away to start " \
	"as a new node"

static const char *const persist_members[] = {
	"PrivateNodeKey", "OldPrivateNodeKey", "UserProfile", "NetworkLockKey", "NodeID",
};

static void wipe_buffer(struct buffer *b)
{
	buffer_free_secret(b);
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
		return error_set(err, -EBADMSG, "state: %s is not a string; " REMEDY, key);
	if (buffer_reserve(out, length + 1) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (sodium_base642bin(buffer_end(out), length + 1, text, length, "\r\n", &bytes, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0)
		return error_set(err, -EBADMSG, "state: %s is not base64; " REMEDY, key);
	out->length += bytes;
	return 0;
}

/* entry_object() - The JSON object in an entry; NULL and 0 when there is none */
static int entry_object(const json_t *entries, const char *key, json_t **ret, struct error *err)
{
	_cleanup_(wipe_buffer) struct buffer bytes = BUFFER_INIT(LIMIT_STATE_FILE);
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
		return error_set(err, -EBADMSG, "state: %s is not a JSON object; " REMEDY, key);
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
		return error_set(err, -EBADMSG, "state: %s is not a private key; " REMEDY, name);
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
		r = error_set(err, -EBADMSG, "state: NetworkLockKey is not a key; " REMEDY);
	else
		memcpy(ret->bytes, secret, sizeof(ret->bytes));
	sodium_memzero(secret, sizeof(secret));
	return r;
}

static void make_lock_key(struct secret_key *ret)
{
	randombytes_buf(ret->bytes, sizeof(ret->bytes));
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
			return error_set(err, -EBADMSG, "state: NodeID is not one; " REMEDY);
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
	/* What is listed was there: this is no new profile. */
	if (!object)
		return error_set(err, -EBADMSG, "state: %s, the current profile, is empty; " REMEDY,
				 entry);
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
		return error_set(err, -EBADMSG, "state: Config of %s is not an object; " REMEDY,
				 entry);
	return decode_persist(config, &s->persist, err);
}

static int decode_machine_key(struct state_file *s, struct error *err)
{
	_cleanup_(wipe_buffer) struct buffer text = BUFFER_INIT(LIMIT_STATE_FILE);
	int r;

	r = entry_bytes(s->entries, ENTRY_MACHINE_KEY, &text, err);
	if (r < 0)
		return r;
	if (text.length == 0) {
		/* Control knows the node by both: with another one it would be nobody. */
		if (!secret_key_is_zero(&s->persist.node_key))
			return error_set(err, -EBADMSG,
					 "state: the node's key is there, but " ENTRY_MACHINE_KEY
					 " is not; " REMEDY);
		secret_key_generate(&s->machine_key);
		return 0;
	}
	if (secret_key_parse((char *)buffer_head(&text), text.length, &s->machine_key) < 0)
		return error_set(err, -EBADMSG,
				 "state: " ENTRY_MACHINE_KEY " is not a private key; " REMEDY);
	return 0;
}

/*
 * current_entry() - Which entry holds the current profile: "profile-…" into @ret (and its id into
 * @s), or "" when there is none. A current profile that _profiles doesn't list is none, as for
 * the official daemon.
 */
static int current_entry(struct state_file *s, char *ret, size_t size, struct error *err)
{
	_cleanup_(wipe_buffer) struct buffer name = BUFFER_INIT(LIMIT_STATE_FILE);
	_cleanup_(wipe_json_at) json_t *profiles = NULL;
	const char *id, *key;
	json_t *profile;
	int r;

	ret[0] = 0;
	r = entry_bytes(s->entries, ENTRY_CURRENT_PROFILE, &name, err);
	if (r == 0)
		r = entry_object(s->entries, ENTRY_PROFILES, &profiles, err);
	if (r < 0)
		return r;
	json_object_foreach(profiles, id, profile) {
		key = json_string_value(json_object_get(profile, "Key"));
		if (!key || strlen(key) != name.length || strlen(key) >= size ||
		    strlen(id) >= sizeof(s->profile_id) ||
		    memcmp(key, buffer_head(&name), name.length) != 0)
			continue;
		strcpy(ret, key);
		strcpy(s->profile_id, id);
		return 0;
	}
	if (json_object_size(profiles) == 0 && json_object_get(s->entries, ENTRY_LEGACY_PREFS))
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
	struct state_file s = {.entries = json_object()};

	if (!s.entries || prefs_init(&s.prefs) < 0) {
		state_file_free(&s);
		return error_set(err, -ENOMEM, "out of memory");
	}
	secret_key_generate(&s.machine_key);
	make_lock_key(&s.persist.network_lock_seed);
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
		return error_set(err, -EBADMSG,
				 "state: not the JSON object that it should be (line %d); " REMEDY,
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
		make_lock_key(&s.persist.network_lock_seed);
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

static json_t *encode_key(const struct secret_key *key)
{
	char text[KEY_TEXT_MAX];
	json_t *value;

	/* The zero form, never an empty string, which the official decoder refuses. */
	value = json_string(secret_key_format(key, text));
	sodium_memzero(text, sizeof(text));
	return value;
}

static json_t *encode_lock_key(const struct secret_key *seed)
{
	char text[sizeof(LOCK_KEY_PREFIX) + LOCK_KEY_HEX] = LOCK_KEY_PREFIX;
	uint8_t secret[crypto_sign_SECRETKEYBYTES], public[crypto_sign_PUBLICKEYBYTES];
	json_t *value;

	crypto_sign_seed_keypair(public, secret, seed->bytes);
	sodium_bin2hex(text + strlen(LOCK_KEY_PREFIX), LOCK_KEY_HEX + 1, secret, sizeof(secret));
	value = json_string(text);
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(text, sizeof(text));
	return value;
}

static json_t *empty_user_profile(void)
{
	return json_pack("{s:i,s:s,s:s}", "ID", 0, "LoginName", "", "DisplayName", "");
}

static json_t *encode_persist(const struct persist *p)
{
	json_t *object = json_object(), *value;
	const char *key;

	if (!object)
		return NULL;
	if (json_object_set_new(object, "PrivateNodeKey", encode_key(&p->node_key)) < 0 ||
	    json_object_set_new(object, "OldPrivateNodeKey", encode_key(&p->old_node_key)) < 0 ||
	    json_object_set_new(object, "UserProfile",
				p->user_profile ? json_deep_copy(p->user_profile)
						: empty_user_profile()) < 0 ||
	    json_object_set_new(object, "NetworkLockKey", encode_lock_key(&p->network_lock_seed)) <
		    0 ||
	    json_object_set_new(object, "NodeID", json_string(p->node_id)) < 0)
		goto no_memory;
	json_object_foreach(p->others, key, value)
		if (json_object_set_new(object, key, json_deep_copy(value)) < 0)
			goto no_memory;
	return object;

no_memory:
	wipe_json_at(&object);
	return NULL;
}

json_t *state_file_public_config(const struct state_file *s)
{
	char lock_key[sizeof(LOCK_KEY_PREFIX) + LOCK_KEY_HEX] = LOCK_KEY_PREFIX;
	const struct secret_key none = {0};
	json_t *object = json_object();
	int r = 0;

	memset(lock_key + strlen(LOCK_KEY_PREFIX), '0', LOCK_KEY_HEX);
	r |= json_object_set_new(object, "PrivateNodeKey", encode_key(&none));
	r |= json_object_set_new(object, "OldPrivateNodeKey", encode_key(&none));
	r |= json_object_set_new(object, "UserProfile",
				 s->persist.user_profile ? json_deep_copy(s->persist.user_profile)
							 : empty_user_profile());
	r |= json_object_set_new(object, "NetworkLockKey", json_string(lock_key));
	r |= json_object_set_new(object, "NodeID", json_string(s->persist.node_id));
	if (r == 0)
		return object;
	json_decref(object);
	return NULL;
}

static void new_profile_id(const json_t *profiles, char ret[static STATE_PROFILE_MAX])
{
	do
		snprintf(ret, STATE_PROFILE_MAX, "%04x", (unsigned int)randombytes_uniform(65536));
	while (json_object_get(profiles, ret));
}

static json_t *timestamp(void)
{
	time_t now = (time_t)(clock_realtime() / NSEC_PER_SEC);
	char text[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

/* update_profile() - The current profile's row (ipn.LoginProfile) from prefs and persist */
static int update_profile(const struct state_file *s, json_t *row, const char *entry, bool created)
{
	json_t *user = s->persist.user_profile;
	const char *name = *s->prefs.profile_name
				   ? s->prefs.profile_name
				   : json_string_value(json_object_get(user, "LoginName"));
	int r = 0;

	r |= json_object_set_new(row, "ID", json_string(s->profile_id));
	r |= json_object_set_new(row, "Name", json_string(name ? name : ""));
	if (!json_object_get(row, "NetworkProfile"))
		r |= json_object_set_new(row, "NetworkProfile",
					 json_pack("{s:s,s:s,s:s}", "MagicDNSName", "",
						   "DomainName", "", "DisplayName", ""));
	r |= json_object_set_new(row, "Key", json_string(entry));
	r |= json_object_set_new(row, "UserProfile",
				 user ? json_deep_copy(user) : empty_user_profile());
	r |= json_object_set_new(row, "NodeID", json_string(s->persist.node_id));
	if (!json_object_get(row, "LocalUserID"))
		r |= json_object_set_new(row, "LocalUserID", json_string(""));
	r |= json_object_set_new(row, "ControlURL", json_string(s->prefs.control_url));
	if (created)
		r |= json_object_set_new(row, "Created", timestamp());
	return r ? -ENOMEM : 0;
}

/* profile_row() - The row of the current profile in @profiles, made if it isn't there */
static json_t *profile_row(json_t *profiles, const char *id, bool *ret_created)
{
	json_t *row = json_object_get(profiles, id);

	*ret_created = !json_is_object(row);
	if (*ret_created) {
		row = json_object();
		if (json_object_set_new(profiles, id, row) < 0)
			return NULL;
	}
	return row;
}

static int load_profiles(const json_t *entries, json_t **ret)
{
	int r = entry_object(entries, ENTRY_PROFILES, ret, NULL);

	if (r == 0 && !*ret)
		*ret = json_object();
	return r < 0 ? r : *ret ? 0 : -ENOMEM;
}

/* encode_profile() - _profiles, _current-profile and the profile's own entry */
static int encode_profile(struct state_file *s)
{
	_cleanup_(wipe_json_at) json_t *profiles = NULL, *prefs = NULL;
	char entry[STATE_PROFILE_MAX + sizeof(STATE_PROFILE_KEY)];
	const char *key;
	bool created;
	json_t *row;
	int r;

	r = load_profiles(s->entries, &profiles);
	if (r < 0)
		return r;
	if (!*s->profile_id)
		new_profile_id(profiles, s->profile_id);
	row = profile_row(profiles, s->profile_id, &created);
	prefs = prefs_json(&s->prefs);
	if (!row || !prefs)
		return -ENOMEM;
	key = json_string_value(json_object_get(row, "Key"));
	if (key && strlen(key) < sizeof(entry))
		strcpy(entry, key);
	else
		snprintf(entry, sizeof(entry), STATE_PROFILE_KEY "%s", s->profile_id);
	if (json_object_set_new(prefs, "Config", encode_persist(&s->persist)) < 0)
		return -ENOMEM;
	r = update_profile(s, row, entry, created);
	if (r == 0)
		r = set_object_entry(s->entries, ENTRY_PROFILES, profiles, JSON_COMPACT);
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

static int set_network(struct state_file *s, const json_t *network)
{
	_cleanup_(wipe_json_at) json_t *profiles = NULL;
	json_t *row, *copy;
	bool created;
	int r;

	r = load_profiles(s->entries, &profiles);
	if (r < 0)
		return r;
	if (!*s->profile_id)
		new_profile_id(profiles, s->profile_id);
	row = profile_row(profiles, s->profile_id, &created);
	if (!row)
		return -ENOMEM;
	if (json_equal(json_object_get(row, "NetworkProfile"), network))
		return 0;
	copy = json_deep_copy(network);
	if (json_object_set_new(row, "NetworkProfile", copy) < 0)
		return -ENOMEM;
	r = set_object_entry(s->entries, ENTRY_PROFILES, profiles, JSON_COMPACT);
	return r < 0 ? r : 1;
}

int state_file_set_identity(struct state_file *s, const char *node_id, const json_t *user_profile,
			    const json_t *network)
{
	bool changed = false;
	json_t *copy;
	int r = 0;

	if (strlen(node_id) >= sizeof(s->persist.node_id) || !json_is_object(user_profile))
		return -EINVAL;
	if (network) {
		r = set_network(s, network);
		if (r < 0)
			return r;
	}
	if (!json_equal(s->persist.user_profile, user_profile)) {
		copy = json_deep_copy(user_profile);
		if (!copy)
			return -ENOMEM;
		json_decref(s->persist.user_profile);
		s->persist.user_profile = copy;
		changed = true;
	}
	if (strcmp(s->persist.node_id, node_id) != 0) {
		strcpy(s->persist.node_id, node_id);
		changed = true;
	}
	return changed || r > 0;
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

int state_file_forget(struct state_file *s)
{
	_cleanup_(wipe_json_at) json_t *profiles = NULL;
	const char *entry;
	struct prefs fresh;
	int r;

	r = load_profiles(s->entries, &profiles);
	if (r == 0)
		r = prefs_init(&fresh);
	if (r < 0)
		return r;
	entry = json_string_value(json_object_get(json_object_get(profiles, s->profile_id), "Key"));
	if (entry) {
		wipe_strings(json_object_get(s->entries, entry));
		(void)json_object_del(s->entries, entry);
		(void)json_object_del(profiles, s->profile_id);
	}
	(void)json_object_del(s->entries, ENTRY_CURRENT_PROFILE);
	r = set_object_entry(s->entries, ENTRY_PROFILES, profiles, JSON_COMPACT);
	persist_free(&s->persist);
	make_lock_key(&s->persist.network_lock_seed);
	prefs_free(&s->prefs);
	s->prefs = fresh;
	s->profile_id[0] = 0;
	return r;
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
	persist_free(&s->persist);
	prefs_free(&s->prefs);
	sodium_memzero(s, sizeof(*s));
}
