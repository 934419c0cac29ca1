/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/headscale/headscale_config.h - make a configuration for Headscale
 *
 * In the folder, beside it: Headscale's database, keys and socket; with a private authority
 * its files (server/web/certificate_maker.h); derp.yaml if relays were named. An existing
 * configuration belongs to the operator and is never written again.
 */
#pragma once

#include "base/error.h"
#include "wire/tailcfg_derp.h"

#include <stdbool.h>

struct headscale_settings {
	const char *folder;      /* absolute */
	const char *url;         /* by which nodes reach it */
	const char *listen;      /* "ADDRESS:PORT" or ":PORT" */
	const char *stun;        /* as `listen`; of the relay inside */
	const char *certificate; /* file; NULL: a private authority's, if the URL is https:// */
	const char *key;         /* file */
	const char *base_domain;
	const struct tailcfg_derp_map *derp_map; /* relays; NULL: the one inside of Headscale */
};

/** headscale_config_write() - Make @path; 0 or negative errno with @err set */
int headscale_config_write(const char *path, const struct headscale_settings *settings,
			   struct error *err);

/**
 * headscale_config_renew() - Renew the certificate of a private authority before it expires
 *
 * For the current server_url of a configuration that uses such a certificate; otherwise nothing.
 * @ret_new: an authority was made
 */
int headscale_config_renew(const char *path, const char *folder, bool *ret_new, struct error *err);
