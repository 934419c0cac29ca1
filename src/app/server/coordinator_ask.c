/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_ask.c - one request over the operator's socket, and its answer */
#include "app/server/coordinator_command.h"

#include "base/cleanup.h"
#include "transport/unix_http.h"

#include <errno.h>
#include <string.h>

#define TIMEOUT (30 * NSEC_PER_SEC) /* between two pieces of the answer */

static int ask(struct unix_http *h, const char *socket, const char *method, const char *path,
	       const void *body, size_t length, struct error *err)
{
	int r = unix_http_connect(h, socket, true, err);

	if (r == -EPERM || r == -EINVAL)
		return r;
	if (r < 0)
		return error_set(err, r,
				 "no server answers at %s (%s): start one with 'pillion control "
				 "serve', or name its socket by --socket",
				 socket, strerror(-r));
	r = unix_http_send(h, "control", method, path, body, length);
	while (r >= 0 && !h->ended) {
		r = unix_http_receive(h, clock_boottime() + TIMEOUT);
		r = r == 0 ? -ETIMEDOUT : r;
	}
	return r < 0 ? error_set_errno(err, r, "the server at %s did not answer", socket) : 0;
}

int coordinator_ask(const char *socket, const char *method, const char *path, const void *body,
		    size_t length, json_t **ret_json, struct error *err)
{
	_cleanup_(unix_http_close) struct unix_http h = {.fd = -1};
	int r = ask(&h, socket, method, path, body, length, err);
	const char *text;

	*ret_json = NULL;
	if (r < 0)
		return r;
	if (h.body.length)
		*ret_json = json_loadb((char *)buffer_head(&h.body), h.body.length, 0, NULL);
	if (h.status < 300)
		return 0;
	text = json_string_value(json_object_get(*ret_json, "error"));
	return error_set(err, h.status == 404 ? -ENOENT : -EINVAL, "%s",
			 text ? text : "the server refused");
}
