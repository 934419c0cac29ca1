/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/authority.h - a private certificate authority, made at the first start
 *
 * In the state folder: ca.pem (to be handed to nodes as TS_CA_FILE), ca.key, server.pem,
 * server.key. The server's certificate is made anew when its names change or its end is
 * near; the authority stays, so nodes never need another file.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

/**
 * authority_ensure() - The server's certificate and key, and the authority if there is none yet
 * @folder: where they are
 * @names:  host names and addresses that the certificate is for
 * @ret_certificate, @ret_key: PEM text; the caller frees them, the key by buffer_free_secret()
 * @ret_new: an authority was made
 */
int authority_ensure(const char *folder, const char *const *names, size_t count,
		     struct buffer *ret_certificate, struct buffer *ret_key, bool *ret_new,
		     struct error *err);
