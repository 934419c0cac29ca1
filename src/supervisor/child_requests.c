/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/child_requests.c - requests that several kinds of children may send: files and blobs
 *
 * A kind lists the names that it may use; another name ends the child, like an invalid message.
 */
#include "supervisor/supervisor_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_ROOM "supervisor"
#include "base/log.h"

void child_reply_fd(struct child *child, uint32_t id, int fd)
{
	child_reply(child, id, fd < 0 ? fd : 0, "", fd);
	if (fd >= 0)
		close(fd);
}

static void on_file(struct child *child, const struct privsep_file *m)
{
	if (!quota_take(&child->quotas.files, clock_boottime()))
		child_reply_fd(child, m->header.id, -EDQUOT);
	else
		child_reply_fd(
			child, m->header.id,
			files_get(&child->supervisor->files, (enum privsep_file_name)m->name));
}

static void on_load(struct child *child, const struct privsep_blob *m)
{
	_cleanup_close_ int fd = -1;
	struct error err = {0};

	if (!quota_take(&child->quotas.loads, clock_boottime())) {
		child_reply_fd(child, m->header.id, -EDQUOT);
		return;
	}
	fd = blobs_load(&child->supervisor->blobs, (enum privsep_blob_name)m->name, m->domain,
			&err);
	child_reply(child, m->header.id, fd < 0 ? fd : 0, err.text, fd);
}

static void on_store(struct child *child, const struct privsep_blob *m, int memfd)
{
	struct blob_job job = {
		.name = (enum privsep_blob_name)m->name,
		.memfd = memfd,
		.child = child,
		.process = child->number,
		.id = m->header.id,
	};
	int r;

	memcpy(job.domain, m->domain, sizeof(job.domain));
	r = blobs_store(&child->supervisor->blobs, &job);
	if (r < 0)
		child_reply(child, m->header.id, r, strerror(-r), -1);
}

int child_request(struct child *child, const union privsep_message *m, struct privsep_fds *fds)
{
	unsigned int allowed, name;

	if (m->header.type == PRIVSEP_FILE) {
		allowed = child->kind->files;
		name = m->file.name;
	} else {
		allowed = child->kind->blobs;
		name = m->blob.name;
	}
	if ((allowed & 1u << name) == 0)
		return -EBADMSG;
	switch (m->header.type) {
	case PRIVSEP_FILE:
		on_file(child, &m->file);
		return 0;
	case PRIVSEP_LOAD:
		on_load(child, &m->blob);
		return 0;
	case PRIVSEP_STORE:
		on_store(child, &m->blob, TAKE_FD(fds->fd[0]));
		return 0;
	default:
		return -EBADMSG;
	}
}

static const char *remedy(int result)
{
	if (result == -ENOSPC || result == -EDQUOT)
		return " (free some space)";
	return result == -EROFS || result == -EACCES ? " (make it writable)" : "";
}

void child_stored(void *userdata, const struct blob_job *job)
{
	struct supervisor *s = userdata;
	char text[PRIVSEP_TEXT_MAX] = "";

	if (job->result < 0)
		snprintf(text, sizeof(text), "write the state directory %s: %s%s",
			 s->options->state_dir, strerror(-job->result), remedy(job->result));
	/* The process of the request reports it; if it has ended, the supervisor does. */
	if (job->child->process.pid != 0 && job->process == job->child->number)
		child_reply(job->child, job->id, job->result, text, -1);
	else if (job->result < 0 && job->result != -ECANCELED) /* overtaken by a newer one */
		log_error("%s", text);
}

void child_file_changed(void *userdata, enum privsep_file_name name, int fd)
{
	struct supervisor *s = userdata;
	struct child *const children[] = {&s->engine, &s->services.child};
	union privsep_message changed = {
		.changed =
			{
				.header.type = PRIVSEP_CHANGED,
				.name = name,
				.result = fd < 0 ? fd : 0,
			},
	};

	for (size_t i = 0; i < ARRAY_SIZE(children); i++)
		if ((children[i]->kind->files & 1u << name) != 0)
			child_send(children[i], &changed, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
}
