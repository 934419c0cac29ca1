/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/coordinator_tls.c - the certificate of the coordination server */
#define LOG_ROOM "control"
#include "app/server/coordinator_tls.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "server/web/certificate_maker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY     86400L
#define WARNING (400 * DAY) /* before the authority's end; certificates last 397 days */

/* show_authority() - What an operator hands to nodes */
static void show_authority(const char *state)
{
	char line[128];
	_cleanup_free_ char *path = NULL;
	FILE *file;

	log_info("made a private certificate authority; nodes need %s/ca.pem as TS_CA_FILE "
		 "(pillion) or SSL_CERT_FILE (tailscale)",
		 state);
	if (asprintf(&path, "%s/ca.pem", state) < 0)
		return;
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		fputs(line, stderr);
	if (file)
		fclose(file);
}

/* prove() - By the authority's certificate, made (again) where it has to be */
static int prove(struct coordinator_tls *t, struct error *err)
{
	const char *names[4] = {t->host, "localhost", "127.0.0.1", "::1"};
	_cleanup_(certificate_pair_clear) struct certificate_pair pair = {0};
	struct authority_made made;
	int r = certificate_by_authority(t->state, names, ARRAY_SIZE(names), &pair, &made, err);

	if (r == 0 && t->context)
		r = tls_server_context_renew(t->context, pair.certificate, strlen(pair.certificate),
					     pair.key, strlen(pair.key), err);
	else if (r == 0)
		r = tls_server_context_create(pair.certificate, strlen(pair.certificate), pair.key,
					      strlen(pair.key), &t->context, err);
	if (r < 0)
		return r;
	if (made.authority)
		show_authority(t->state);
	else if (made.server)
		log_info("made a new certificate, by the authority that nodes know");
	if (made.ends < time(NULL) + WARNING)
		log_warn("the private certificate authority ends soon: move %s/ca.pem and ca.key "
			 "away, restart, and hand the new ca.pem to all nodes",
			 t->state);
	return 0;
}

static void on_daily(void *user)
{
	struct coordinator_tls *t = user;

	coordinator_tls_look(t);
	loop_timer_at(t->daily, clock_boottime() + DAY * NSEC_PER_SEC);
}

int coordinator_tls_open_files(struct coordinator_tls *t, uv_loop_t *loop,
			       const struct coordinator_config *config, struct error *err)
{
	int r;

	if (!config->certificate)
		return 0;
	r = certificate_files_open(loop, config->certificate, config->key, &t->files, err);
	if (r == 0)
		t->context = tls_context_hold(certificate_files_context(t->files));
	return r;
}

int coordinator_tls_open_authority(struct coordinator_tls *t, uv_loop_t *loop, const char *state,
				   const char *host, struct error *err)
{
	t->state = state;
	t->host = host;
	if (loop_timer_create(loop, on_daily, t, &t->daily) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	loop_timer_at(t->daily, clock_boottime() + DAY * NSEC_PER_SEC);
	return prove(t, err);
}

void coordinator_tls_look(struct coordinator_tls *t)
{
	struct error err;

	if (t->files)
		certificate_files_check(t->files);
	else if (t->context && prove(t, &err) < 0)
		log_error("the certificate can't be renewed: %s", err.text);
}

void coordinator_tls_close(struct coordinator_tls *t)
{
	certificate_files_free(t->files);
	tls_context_release(t->context);
	loop_timer_free(t->daily);
	*t = (struct coordinator_tls){0};
}
