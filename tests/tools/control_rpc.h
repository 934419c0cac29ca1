/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/tools/control_rpc.h - one request over TS2021, as a node makes it */
#pragma once

#include "base/secret.h"
#include "transport/dial.h"

#include <stddef.h>

/** control_rpc_done - @status: negative errno when there was no answer, and @body says why */
typedef void control_rpc_done(void *user, int number, int status, const char *body, size_t length);

struct control_rpc_options {
	struct dialer dialer;
	const char *server_url;
	struct secret_key machine;
	const char *method, *path;
	const char *body; /* copied */
	int number;       /* for @done */
	control_rpc_done *done;
	void *user;
};

/** control_rpc() - Fetch /key, connect, ask, close; @done is called once, now or later */
void control_rpc(const struct control_rpc_options *options);
