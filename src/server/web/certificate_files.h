/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/certificate_files.h - a certificate and its key in files that are renewed
 *
 * Theory of operation
 *   Every few seconds the inodes, sizes and times of both files are compared (links are followed).
 *   Changed files are read, and become the certificate for new connections. Files that can't be
 *   read, or don't match, leave the old certificate in use. That is logged once, when the files
 *   have not changed for a while, since the two are not replaced in the same instant.
 */
#pragma once

#include "base/error.h"
#include "transport/tls.h"

#include <uv.h>

struct certificate_files;

/**
 * certificate_files_open() - Read them, and follow their changes
 * @certificate: path; PEM, the leaf first
 * @key:         path; PEM
 *
 * Both strings are copied. Return: 0, or negative errno with @err set
 */
int certificate_files_open(uv_loop_t *loop, const char *certificate, const char *key,
			   struct certificate_files **ret, struct error *err);

/** certificate_files_free() - Its context lives on where it is held. NULL is fine */
void certificate_files_free(struct certificate_files *files);

/** certificate_files_context() - Borrowed; a server that uses it holds it */
struct tls_context *certificate_files_context(const struct certificate_files *files);

/** certificate_files_check() - Look now, and log the result */
void certificate_files_check(struct certificate_files *files);
