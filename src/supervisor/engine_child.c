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

/* reply_fd() - Answer with @fd, which is closed here, or with its negative errno */
static void reply_fd(struct supervisor *s, uint32_t id, int fd)
{
	child_reply(&s->engine, id, fd < 0 ? fd : 0, "", fd);
	if (fd >= 0)
		close(fd);
}

static void on_socket(struct supervisor *s, const struct privsep_socket *m)
{
	if (!quota_take(&s->engine.quotas.sockets, clock_boottime())) {
		reply_fd(s, m->header.id, -EDQUOT);
		return;
	}
	reply_fd(s, m->header.id,
		 socket_marked((enum socket_kind)m->kind, (enum address_family)m->family,
			       netlink_mark(s->network.netlink)));
}

static void on_file(struct supervisor *s, const struct privsep_file *m)
{
	if (!quota_take(&s->engine.quotas.files, clock_boottime())) {
		reply_fd(s, m->header.id, -EDQUOT);
		return;
	}
	reply_fd(s, m->header.id, files_get(&s->files, (enum privsep_file_name)m->name));
}

static void on_load(struct supervisor *s, const struct privsep_blob *m)
{
	_cleanup_close_ int fd = -1;
	struct error err = {0};

	if (!quota_take(&s->engine.quotas.loads, clock_boottime())) {
		reply_fd(s, m->header.id, -EDQUOT);
		return;
	}
	fd = blobs_load(&s->blobs, (enum privsep_blob_name)m->name, &err);
	child_reply(&s->engine, m->header.id, fd < 0 ? fd : 0, err.text, fd);
}

static void on_store(struct supervisor *s, const struct privsep_blob *m, int memfd)
{
	struct blob_job job = {
		.name = (enum privsep_blob_name)m->name,
		.memfd = memfd,
		.id = m->header.id,
		.engine = s->engine.number,
	};
	int r = blobs_store(&s->blobs, &job);

	if (r < 0)
		child_reply(&s->engine, m->header.id, r, strerror(-r), -1);
}

static const char *remedy(int result)
{
	if (result == -ENOSPC || result == -EDQUOT)
		return " (free some space)";
	return result == -EROFS || result == -EACCES ? " (make it writable)" : "";
}

void engine_stored(void *userdata, const struct blob_job *job)
{
	struct supervisor *s = userdata;
	char text[PRIVSEP_TEXT_MAX] = "";

	if (job->result < 0)
		snprintf(text, sizeof(text), "write the state directory %s: %s%s",
			 s->options->state_dir, strerror(-job->result), remedy(job->result));
	/* The engine of the request reports it; if it has ended, the supervisor does. */
	if (s->engine.process.pid != 0 && job->engine == s->engine.number)
		child_reply(&s->engine, job->id, job->result, text, -1);
	else if (job->result < 0 && job->result != -ECANCELED) /* overtaken by a newer one */
		log_error("%s", text);
}

void engine_file_changed(void *userdata, enum privsep_file_name name, int fd)
{
	struct supervisor *s = userdata;
	union privsep_message changed = {
		.changed =
			{
				.header.type = PRIVSEP_CHANGED,
				.name = name,
				.result = fd < 0 ? fd : 0,
			},
	};

	child_send(&s->engine, &changed, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
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
		on_file(s, &m->file);
		break;
	case PRIVSEP_LOAD:
		on_load(s, &m->blob);
		break;
	case PRIVSEP_STORE:
		on_store(s, &m->blob, TAKE_FD(fds->fd[0]));
		break;
	case PRIVSEP_NETWORK:
		network_request(s, m->header.id, TAKE_FD(fds->fd[0]));
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
	start.udp_port = s->udp.port;
	start.packet_threads = s->network.tun.queue_count;
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
	return 0;
}

const struct child_kind engine_kind = {
	.name = "the engine",
	.program = "pillion-engine",
	.sender = PRIVSEP_FROM_ENGINE,
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
