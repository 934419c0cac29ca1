/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/state_file.h - tailscaled.state in the official layout
 *
 * The file is a JSON object of base64 values: _machinekey (text "privkey:…"),
 * _profiles (map of login profiles), _current-profile ("profile-1a2b"), one
 * profile-1a2b a profile (ipn.Prefs whose Config holds the keys of the node),
 * _serve/1a2b (ipn.ServeConfig) where a profile serves ports by command,
 * and entries that we don't know. A volume of the official image is adopted, and
 * can be handed back: whatever we don't know, in the file, in a profile or in
 * Config, is kept verbatim.
 *
 * One profile is current. Encoding writes it back under its id; a node that never
 * had one gets a new id then, so that its key is stored before control learns it.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/secret.h"
#include "node/prefs.h"
#include "wire/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define STATE_NODE_ID_MAX 64
#define STATE_PROFILE_KEY "profile-"
#define STATE_PROFILE_MAX 64
#define STATE_LOGIN_MAX   256

/* The keys and the identity of one profile (persist.Persist, "Config" of the prefs). */
struct persist {
	struct secret_key node_key;          /* zero: none yet */
	struct secret_key old_node_key;      /* zero: none */
	struct secret_key network_lock_seed; /* Ed25519 seed; zero: none (see state_file_decode) */
	char node_id[STATE_NODE_ID_MAX];     /* stable id, "" before the first login */
	json_t *user_profile;                /* tailcfg.UserProfile, owned; NULL before */
	json_t *others;                      /* members that we don't know, owned; or NULL */
};

struct state_file {
	json_t *entries;                    /* key → base64, as read; owned */
	json_t *profiles;                   /* _profiles: id → ipn.LoginProfile; owned */
	struct secret_key machine_key;      /* always set after init or decode */
	char profile_id[STATE_PROFILE_MAX]; /* "1a2b", "" until encoded the first time */
	struct prefs prefs;
	struct persist persist;
};

/** state_file_init() - A new node: machine key and network-lock key made, default prefs */
int state_file_init(struct state_file *ret, struct error *err);

/**
 * state_file_decode() - Adopt the bytes of a state file
 * @length: 0 (or only white space) is a new node, as state_file_init()
 *
 * A machine key or network-lock key that is missing is made. Without a current profile the node
 * starts with the default prefs and the other profiles are kept; the old single-profile layout
 * (_daemon) is read too.
 * Return: 0; -EBADMSG when the bytes are no such state and -ENOTSUP when a TPM sealed them. Then
 * the file must stay as it is, and @err has the remedy. -ENOMEM
 */
int state_file_decode(const void *bytes, size_t length, struct state_file *ret, struct error *err);

/**
 * state_file_encode() - The bytes to store
 * @out: appended to; holds keys, so release it by buffer_free_secret(). Its limit should be
 *       LIMIT_STATE_FILE
 *
 * Gives the current profile an id if it has none.
 * Return: 0, -ENOMEM, -EMSGSIZE
 */
int state_file_encode(struct state_file *state, struct buffer *out);

/**
 * state_file_public_config() - The Config of ipn.Prefs for the LocalAPI: the user, with all keys
 * zero
 *
 * The official command line takes a node for logged in only when it finds its user here.
 * Return: a new object, NULL without memory
 */
json_t *state_file_public_config(const struct state_file *state);

/**
 * state_file_set_identity() - Record the identity that control gave this node
 * @user_profile: tailcfg.UserProfile, borrowed
 * @network:      ipn.NetworkProfile {MagicDNSName, DomainName, DisplayName}, borrowed; or NULL to
 *                leave what is there
 *
 * Return: 1 if anything changed and the file should be stored, 0, -EINVAL, -ENOMEM
 */
int state_file_set_identity(struct state_file *state, const char *node_id,
			    const json_t *user_profile, const json_t *network);

/** state_file_forget_identity() - Forget the node ID and the user; the keys stay */
void state_file_forget_identity(struct state_file *state);

/**
 * state_file_forget() - Drop the current profile with its keys (logout)
 *
 * The machine key and other profiles stay; the next encode starts a new profile.
 */
int state_file_forget(struct state_file *state);

/**
 * state_file_spend_key() - Record that this profile was registered by an auth key
 *
 * Only a digest is kept, with the profile; a logout drops it.
 */
void state_file_spend_key(struct state_file *state, const char *auth_key);

/** state_file_spent_key() - Whether it is the key that state_file_spend_key() recorded last */
bool state_file_spent_key(const struct state_file *state, const char *auth_key);

/**
 * state_file_serve_config() - The stored ipn.ServeConfig of the current profile
 * @out: appended to; nothing if none is stored
 *
 * Return: 0, -EBADMSG, -EMSGSIZE, -ENOMEM
 */
int state_file_serve_config(const struct state_file *state, struct buffer *out);

/** state_file_set_serve_config() - Replace it by the JSON @text; 0, -ENOMEM, -ENOENT: no profile yet */
int state_file_set_serve_config(struct state_file *state, const char *text);

/** state_file_free() - Wipe and release. A zeroed struct is fine */
void state_file_free(struct state_file *state);
