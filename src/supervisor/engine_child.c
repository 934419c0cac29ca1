/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/engine_child.c - the engine as a kind of child: its requests and its first message
 *
 * privsep_receive() has checked the messages. This file decides whether the engine may have what
 * it requests. Nothing waits: blobs and the network are answered later.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"
#include "privsep/records.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

static void on_socket(struct supervisor *s, const struct privsep_socket *m)
{
	if (!quota_take(&s->engine.quotas.sockets, clock_boottime())) {
		child_reply_fd(&s->engine, m->header.id, -EDQUOT);
		return;
	}
	child_reply_fd(&s->engine, m->header.id,
		       m->kind == SOCKET_PEER
			       ? socket_on_link((enum address_family)m->family, s->network.tun.name)
			       : socket_marked((enum socket_kind)m->kind,
					       (enum address_family)m->family,
					       netlink_mark(s->network.netlink)));
}

/* By then the state is stored, and the pages are not used again. */
#define GIVE_BACK_DELAY (2 * NSEC_PER_SEC)

static void on_status(struct supervisor *s, const struct privsep_status *m)
{
	memcpy(s->last_text, m->text, sizeof(s->last_text));
	switch (life_status(&s->life, (enum privsep_state)m->state,
			    s->options->exit_on_failure && !s->ending)) {
	case LIFE_ANNOUNCE:
		timer_cancel(&s->loop, &s->boot);
		timer_arm(&s->loop, &s->give_back, clock_boottime() + GIVE_BACK_DELAY);
		if (s->options->mode == SUPERVISOR_RUN)
			log_info("Startup complete, waiting for shutdown signal");
		break;
	case LIFE_ENDS:
		log_error("not Running any more, and --exit-on-failure is set: %s", m->text);
		supervisor_end(s, SUPERVISOR_EXIT_MACHINE);
		break;
	case LIFE_GOES_ON:
		break;
	}
}

static int receive(struct child *child, const union privsep_message *m, struct privsep_fds *fds)
{
	struct supervisor *s = child->supervisor;

	switch (m->header.type) {
	case PRIVSEP_SOCKET:
		on_socket(s, &m->socket);
		break;
	case PRIVSEP_FILE:
	case PRIVSEP_LOAD:
	case PRIVSEP_STORE:
		return child_request(child, m, fds);
	case PRIVSEP_NETWORK:
		network_request(s, m->header.id, TAKE_FD(fds->fd[0]));
		break;
	case PRIVSEP_SERVE:
		services_request(s, m->header.id, fds->fd[0]);
		break;
	case PRIVSEP_STATUS:
		on_status(s, &m->status);
		break;
	case PRIVSEP_LOGIN:
		if (s->options->show_login && quota_take(&child->quotas.said, clock_boottime()))
			s->options->show_login(m->login.url);
		break;
	case PRIVSEP_SETTLED:
		s->settled = true;
		break;
	default:
		return -EBADMSG;
	}
	return 0;
}

/* prepare() - Whether one can start: without our link it waits for the link that replaces it */
static bool prepare(struct child *child)
{
	struct supervisor *s = child->supervisor;

	if (s->network.tun.queue_count == 0)
		return false;
	if (crashes_want_fresh_sockets(&child->process.crashes)) {
		uint32_t mark = netlink_mark(s->network.netlink);
		uint16_t port = s->udp.port;
		struct error err = {0};

		/* A socket that was shut down stays deaf, and nothing shows it. */
		udp_pair_close(&s->udp);
		if (udp_pair_open(port, mark, &s->udp, &err) < 0 &&
		    udp_pair_open(0, mark, &s->udp, &err) < 0)
			log_error("%s", err.text);
	}
	life_new_engine(&s->life);
	return true;
}

static void gone(struct child *child)
{
	network_engine_gone(child->supervisor);
}

/* add_fd() - Append @fd, if there is one; its count for the message */
static uint32_t add_fd(int *fds, size_t *count, int fd)
{
	if (fd < 0)
		return 0;
	fds[(*count)++] = fd;
	return 1;
}

/* greet() - The start configuration and the descriptors that outlive engines */
static int greet(struct child *child)
{
	struct supervisor *s = child->supervisor;
	_cleanup_(buffer_free_secret) struct buffer bytes = BUFFER_INIT(PRIVSEP_START_MAX);
	union privsep_message m = {.begin.header.type = PRIVSEP_START};
	struct privsep_start start = s->options->start;
	_cleanup_close_ int memfd = -1;
	int fds[PRIVSEP_FDS_MAX];
	size_t count = 0;
	int r;

	/* A crash must not undo changes that a person made since then. */
	if (s->settled) {
		start.prefs = NULL;
		start.up = false;
	}
	start.auth_key_present = s->auth_key || s->options->auth_key_file;
	start.tun_name = s->network.tun.name;
	start.tun_offloads = s->network.tun.offloads;
	start.udp_port = s->udp.port;
	start.crash_count = s->engine.process.crashes.total;
	start.last_crash = s->engine.last_crash;
	start.warnings = s->warnings;
	r = privsep_start_encode(&start, &bytes);
	if (r < 0)
		return r;
	memfd = privsep_memfd_seal(PRIVSEP_START, buffer_head(&bytes), bytes.length);
	if (memfd < 0)
		return memfd;
	(void)add_fd(fds, &count, memfd);
	(void)add_fd(fds, &count, s->handover);
	m.begin.localapi = add_fd(fds, &count, s->localapi);
	m.begin.health = add_fd(fds, &count, s->health);
	m.begin.udp_v4 = add_fd(fds, &count, s->udp.v4);
	m.begin.udp_v6 = add_fd(fds, &count, s->udp.v6);
	for (unsigned int i = 0; i < s->network.tun.queue_count; i++)
		m.begin.tun += add_fd(fds, &count, s->network.tun.queues[i]);
	child_send(&s->engine, &m, fds, count);
	network_send_interfaces(s);
	services_new_engine(s);
	return 0;
}

const struct child_kind engine_kind = {
	.name = "the engine",
	.program = "pillion-engine",
	.sender = PRIVSEP_FROM_ENGINE,
	.files = ~(1u << PRIVSEP_FILE_CERTIFICATE | 1u << PRIVSEP_FILE_CERTIFICATE_KEY),
	.blobs = 1u << PRIVSEP_BLOB_STATE | 1u << PRIVSEP_BLOB_CACHE,
	.quotas =
		{
			.sockets = {.burst = 64, .interval = NSEC_PER_SEC / 32},
			.files = {.burst = 64, .interval = NSEC_PER_SEC / 8},
			.loads = {.burst = 16, .interval = NSEC_PER_SEC},
			.networks = {.burst = 16, .interval = NSEC_PER_SEC / 4},
			.said = {.burst = 64, .interval = 2 * NSEC_PER_SEC},
		},
	.prepare = prepare,
	.greet = greet,
	.receive = receive,
	.gone = gone,
};
