/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/engine_link.c - the channel to the engine
 *
 * The supervisor makes it, and another one when either end is replaced. Questions that were under
 * way are then asked again, by those who asked them.
 */
#include "base/cleanup.h"
#include "services/services_internal.h"

#include <errno.h>
#include <unistd.h>

#define ANSWERS_A_TURN 32

/* One channel; its memory goes when libuv has let go of it. */
struct channel {
	uv_poll_t poll;
	struct engine_link *link;
	int fd;
};

struct engine_link {
	struct services *services;
	struct channel *channel; /* NULL: none now */
};

struct engine_link *engine_link_new(struct services *services)
{
	struct engine_link *link = calloc(1, sizeof(*link));

	if (link)
		link->services = services;
	return link;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void close_channel(struct engine_link *link)
{
	struct channel *channel = link->channel;

	if (!channel)
		return;
	link->channel = NULL;
	uv_poll_stop(&channel->poll);
	close(channel->fd);
	uv_close((uv_handle_t *)&channel->poll, on_closed);
}

void engine_link_free(struct engine_link *link)
{
	if (!link)
		return;
	close_channel(link);
	free(link);
}

static int take_answer(struct engine_link *link)
{
	struct services *services = link->services;
	union privsep_message m;
	struct privsep_fds fds;
	int r = privsep_receive(link->channel->fd, PRIVSEP_FROM_ENGINE, &m, &fds);

	if (r < 0)
		return r;
	if (m.header.type == PRIVSEP_PERSON)
		people_answer(services->people, m.header.id, &m.person.person);
	else if (m.header.type == PRIVSEP_PEOPLE)
		people_forget(services->people);
	else if (m.header.type == PRIVSEP_ANSWER)
		control_asks_answer(services->control_asks, &m.answer,
				    fds.count > 0 ? fds.fd[0] : -1);
	else if (m.header.type == PRIVSEP_CERT)
		services->cert_events->question(services, &m.cert);
	else
		r = -EBADMSG;
	privsep_fds_close(&fds);
	return r;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct channel *channel = poll->data;
	struct engine_link *link = channel->link;
	int r = 0;

	(void)status;
	(void)events;
	for (int left = ANSWERS_A_TURN; left > 0 && r == 0 && link->channel == channel; left--)
		r = take_answer(link);
	if (r < 0 && r != -EAGAIN && link->channel == channel)
		close_channel(link); /* the next engine comes with another */
}

void engine_link_open(struct engine_link *link, int fd)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	close_channel(link);
	if (!channel || uv_poll_init(link->services->loop, &channel->poll, fd) < 0) {
		free(channel);
		close(fd);
		return;
	}
	channel->link = link;
	channel->fd = fd;
	channel->poll.data = channel;
	link->channel = channel;
	uv_poll_start(&channel->poll, UV_READABLE, on_readable);
	people_linked(link->services->people);
	control_asks_linked(link->services->control_asks);
	link->services->cert_events->linked(link->services);
}

int engine_link_send(struct engine_link *link, const union privsep_message *message, int fd)
{
	return link->channel ? privsep_send(link->channel->fd, PRIVSEP_FROM_SERVICES, message, &fd,
					    fd >= 0 ? 1 : 0)
			     : -ENOTCONN;
}
