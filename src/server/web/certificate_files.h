/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/web/certificate_files.h - a certificate and its key in files that somebody renews
 *
 * Theory of operation
 *   Every few seconds both files are looked at (their inodes, sizes, times; links are followed).
 *   What changed is read and becomes the context's certificate, for who connects from then on.
 *   What can't be read, or doesn't fit together, leaves the old one in use: it is said once, when
 *   the files have stood still for a while, since they are not replaced in the same instant.
 */
#pragma once

#include "base/error.h"
#include "transport/tls.h"

#include <uv.h>

struct certificate_files;

/**
 * certificate_files_open() - Read them, and look at them from here on
 * @certificate: path; PEM, the leaf first
 * @key:         path; PEM
 *
 * Both strings are copied. Return: 0, or negative errno with @err set
 */
int certificate_files_open(uv_loop_t *loop, const char *certificate, const char *key,
			   struct certificate_files **ret, struct error *err);

/** certificate_files_free() - The context stays with who holds it. NULL is fine */
void certificate_files_free(struct certificate_files *files);

/** certificate_files_context() - Borrowed; what serves by it holds it */
struct tls_context *certificate_files_context(const struct certificate_files *files);

/** certificate_files_check() - Now, and say what came of it */
void certificate_files_check(struct certificate_files *files);
