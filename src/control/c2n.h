/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/c2n.h - requests of control to this node (sans-I/O)
 *
 * The payload of a PingRequest of type "c2n" is one HTTP/1 request; the answer is the
 * bytes of an HTTP/1 response, which are posted back.
 */
#pragma once

#include "control/control_client.h"

/** c2n_handler - control_handler.c2n */
typedef void c2n_handler(void *user, const struct control_c2n_request *request,
			 struct control_c2n_reply *reply);

/**
 * c2n_respond() - Answer one request
 * @request: untrusted bytes, one whole HTTP/1 request and nothing behind it
 * @handler: asked for all but /echo; what it leaves unanswered gets 400, as does what
 *           is no request
 * @out:     the response is appended
 *
 * Return: 0, -EMSGSIZE, -ENOMEM
 */
int c2n_respond(const uint8_t *request, size_t length, c2n_handler *handler, void *user,
		struct buffer *out);
