/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/prefs.h - the settings of this node (ipn.Prefs)
 *
 * Underneath is the JSON object in the official names, with every member that came
 * in, also those that we don't know, so that an official daemon finds its own
 * settings again. The other members of struct prefs are a decoded view of that
 * object: read them, and change them by prefs_edit() only.
 */
#pragma once

#include "base/address.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The server that an empty ControlURL means. */
#define PREFS_DEFAULT_CONTROL_URL "https://controlplane.tailscale.com"

enum netfilter_mode {
	NETFILTER_OFF = 0,
	NETFILTER_NO_DIVERT = 1,
	NETFILTER_ON = 2,
};

struct prefs {
	json_t *object; /* owned; without Config */

	/* The view. Strings and lists belong to this struct and change with each edit. */
	const char *control_url; /* "" means the default, see prefs_control_url() */
	const char *hostname;    /* "" means the machine's */
	const char *operator_user;
	const char *profile_name;
	bool route_all;
	bool corp_dns;
	bool want_running;
	bool logged_out;
	bool shields_up;
	int netfilter_mode; /* enum netfilter_mode */
	const char **advertise_tags;
	size_t advertise_tag_count;
	struct prefix *advertise_routes;
	size_t advertise_route_count;
};

/** prefs_init() - The defaults of a new profile; 0 or -ENOMEM */
int prefs_init(struct prefs *ret);

/**
 * prefs_decode() - From an ipn.Prefs; members that are missing get their default
 * @object: borrowed; its Config is left out
 *
 * Return: 0; -EINVAL for a member of the wrong type (its name is in @err); -ENOMEM
 */
int prefs_decode(const json_t *object, struct prefs *ret, struct error *err);

/** prefs_json() - A new ipn.Prefs object that the caller may change; NULL without memory */
json_t *prefs_json(const struct prefs *prefs);

/**
 * prefs_edit() - Apply an ipn.MaskedPrefs: each member whose <Name>Set is true
 *
 * All or nothing. AutoUpdateSet is an object of its own ({"ApplySet": true}). A mask for a member
 * that we don't know sets it verbatim. The result is checked by prefs_check().
 * Return: 0, -EINVAL with the cause, -EPERM for a member that only the daemon sets, -ENOMEM
 */
int prefs_edit(struct prefs *prefs, const json_t *masked, struct error *err);

/**
 * prefs_check() - Whether we could run with these prefs
 *
 * Refused: a ControlURL that is no http(s) URL, a hostname or tag that control would refuse,
 * routes with host bits, a netfilter mode that doesn't exist.
 */
int prefs_check(const struct prefs *prefs, struct error *err);

/**
 * prefs_unsupported() - The settings that are on and have no effect here yet
 * @before: settings that are on there as well don't count; or NULL
 * @out:    gets their names, separated by commas
 *
 * They stay in the state file, for a volume that goes back to the official daemon.
 * Return: whether there is one
 */
bool prefs_unsupported(const struct prefs *prefs, const struct prefs *before, char *out,
		       size_t size);

/** prefs_set_bool() - Set a boolean that has a place in the view; 0 or -ENOMEM */
int prefs_set_bool(struct prefs *prefs, const char *name, bool value);

/** prefs_copy() - A deep copy; 0 or -ENOMEM */
int prefs_copy(const struct prefs *prefs, struct prefs *ret);

/** prefs_equal() - Whether all members, known or not, are the same */
bool prefs_equal(const struct prefs *a, const struct prefs *b);

/** prefs_control_url() - The login server, with the default and its old synonyms resolved */
const char *prefs_control_url(const struct prefs *prefs);

/** prefs_same_server() - Whether two URLs name one login server: "https://a" and "https://A:443/"
 */
bool prefs_same_server(const char *one, const char *other);

/** prefs_free() - Release what a decoded struct holds. A zeroed one is fine */
void prefs_free(struct prefs *prefs);

/**
 * prefs_masked_set() - Put a member and its mask into an ipn.MaskedPrefs under construction
 * @value: stolen, also on failure
 *
 * Return: 0, -ENOMEM
 */
int prefs_masked_set(json_t *masked, const char *name, json_t *value);
