/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/tun_io.c - a TUN queue on the loop */
#include "tunnel/packet/tun_io.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Packets read in one wake-up, so that a busy host can't starve the timers. */
#define TUN_BURST  128u
#define TUN_PACKET 65536u

struct tun_queue {
	uv_poll_t poll;
	int fd;
	tun_receive_fn receive;
	void *ctx;
};

static uint8_t buffer[TUN_HEADROOM + TUN_PACKET + TUN_TAILROOM];

/* #syscalls: read */
static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct tun_queue *queue = container_of(poll, struct tun_queue, poll);

	(void)status;
	(void)events;
	for (unsigned int i = 0; i < TUN_BURST; i++) {
		ssize_t length = read(queue->fd, buffer + TUN_HEADROOM, TUN_PACKET);

		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			return;
		queue->receive(queue->ctx, buffer + TUN_HEADROOM, (size_t)length);
	}
}

int tun_queue_new(uv_loop_t *loop, int fd, tun_receive_fn receive, void *ctx,
		  struct tun_queue **ret)
{
	struct tun_queue *queue = calloc(1, sizeof(*queue));
	int r;

	if (!queue)
		return -ENOMEM;
	queue->fd = fd;
	queue->receive = receive;
	queue->ctx = ctx;
	r = uv_poll_init(loop, &queue->poll, fd);
	if (r < 0) {
		free(queue);
		return r;
	}
	uv_poll_start(&queue->poll, UV_READABLE, on_readable);
	*ret = queue;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct tun_queue, poll));
}

void tun_queue_free(struct tun_queue *queue)
{
	if (!queue)
		return;
	uv_poll_stop(&queue->poll);
	uv_close((uv_handle_t *)&queue->poll, on_closed);
}

/* #syscalls: write */
int tun_queue_write(struct tun_queue *queue, const uint8_t *packet, size_t length)
{
	ssize_t written;

	do {
		written = write(queue->fd, packet, length);
	} while (written < 0 && errno == EINTR);
	return written < 0 ? -errno : 0;
}
