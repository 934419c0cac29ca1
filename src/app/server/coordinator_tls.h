/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_tls.h - the certificate of the coordination server */
#pragma once

#include "app/server/coordinator_command.h"
#include "server/web/certificate_files.h"
#include "transport/loop_timer.h"

struct coordinator_tls {
	struct tls_context *context;     /* NULL: plain HTTP */
	struct certificate_files *files; /* the operator's; NULL: the private authority's */
	struct loop_timer *daily;
	const char *state, *host;
};

/** coordinator_tls_open_files() - By the operator's files, if there are any. All zero before */
int coordinator_tls_open_files(struct coordinator_tls *t, uv_loop_t *loop,
			       const struct coordinator_config *config, struct error *err);

/**
 * coordinator_tls_open_authority() - By the private authority in @state; both strings stay the caller's
 *
 * Its certificate is renewed before it ends, also while the server runs.
 */
int coordinator_tls_open_authority(struct coordinator_tls *t, uv_loop_t *loop, const char *state,
				   const char *host, struct error *err);

/** coordinator_tls_look() - Is it still good, or is there a new one? */
void coordinator_tls_look(struct coordinator_tls *t);

/** coordinator_tls_close() - All zero again */
void coordinator_tls_close(struct coordinator_tls *t);
