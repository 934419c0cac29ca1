/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clients/headscale.h - accounts and devices at a Headscale, by its API (0.28 and later)
 *
 * An account is a user of Headscale, named so that every device of the account finds the same
 * one; a device has a reusable pre-authentication key of its own. Headscale shows a key's
 * secret once and keeps its hash, so the key is kept in a file here, and is good as long as
 * Headscale lists it.
 *
 * The decisions (headscale.c) ask through struct headscale_api and hold no socket.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/* "ss-" and 64 hexadecimal digits */
#define HEADSCALE_USER_SIZE (3 + 64 + 1)

struct headscale_api {
	/**
	 * @call: one request to the API
	 * @target: "/api/v1/user"
	 * @body:   JSON, or NULL
	 * @ret:    the answer of a 2xx; owned by the caller
	 *
	 * Return: 0; -EACCES (the API key is refused), -EREMOTEIO (any other status), or why there
	 * was no answer; with @err set
	 */
	int (*call)(void *user, const char *method, const char *target, const char *body,
		    json_t **ret, struct error *err);
	void *user;
};

struct headscale_request {
	const char *url;      /* of the Headscale, as devices are to use it */
	const char *account;  /* any text that names the account */
	const char *device;   /* any text that names the device within the account */
	const char *folder;   /* where keys are kept */
	nanoseconds now;      /* of the wall clock */
	nanoseconds lifetime; /* of a new key; one with less than a quarter left is replaced */
};

/** headscale_user_name() - "ss-" and the SHA-256 of @account: the same from every device */
void headscale_user_name(const char *account, char out[static HEADSCALE_USER_SIZE]);

/**
 * headscale_provision() - See to it that the account has its user and the device its key
 * @ret_key: the key; free by secret_string_free()
 * @warning: set (code below 0) where something went wrong and the key is good nevertheless: the
 *           Headscale can't be reached and the kept key isn't over yet; the key could not be
 *           kept; the one before could not be expired, which is tried again the next time
 *
 * A second call changes nothing, unless the kept key is lost, has expired, or soon will.
 *
 * Return: 0; or negative errno with @err set; kept keys are never lost
 */
int headscale_provision(const struct headscale_api *api, const struct headscale_request *q,
			char **ret_key, struct error *warning, struct error *err);

/* --- The API over HTTP (headscale_http.c): blocks, for command lines --- */

struct headscale_http;

/**
 * headscale_http_new() - Ask the Headscale at @url with @api_key
 * @ca_file: PEM of the roots to trust; NULL: the system's
 */
int headscale_http_new(const char *url, const char *api_key, const char *ca_file,
		       struct headscale_http **ret, struct error *err);
void headscale_http_free(struct headscale_http *http);

/** headscale_http_api() - Valid as long as @http */
struct headscale_api headscale_http_api(struct headscale_http *http);
