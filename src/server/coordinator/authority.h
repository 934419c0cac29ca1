/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/authority.h - a private certificate authority, made at the first start
 *
 * In the state folder: ca.pem (to be handed to nodes as TS_CA_FILE), ca.key, server.pem,
 * server.key. The server's certificate is made anew when its names change or its end is
 * near; the authority stays, so nodes never need another file.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <time.h>

struct authority_made {
	bool authority; /* nodes need its ca.pem */
	bool server; /* a certificate, since there was none, or its names or its end made it so */
	time_t ends; /* when the authority does, and every node needs another */
};

/**
 * authority_ensure() - The server's certificate and key, and the authority if there is none yet
 * @folder: where they are
 * @names:  host names and addresses that the certificate is for
 * @ret_certificate, @ret_key: PEM text; the caller frees them, the key by buffer_free_secret()
 * @ret: what was made
 *
 * Return: 0 or negative errno with @err set
 */
int authority_ensure(const char *folder, const char *const *names, size_t count,
		     struct buffer *ret_certificate, struct buffer *ret_key,
		     struct authority_made *ret, struct error *err);
