/* SPDX-License-Identifier: BSD-3-Clause */
/* tunnel/packet/tun_io.c - a TUN queue on the loop */
#include "tunnel/packet/tun_io.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Packets read in one wake-up, so that a busy host can't starve the timers. */
#define TUN_BURST  64u
#define TUN_PACKET 65536u

struct tun_queue {
	uv_poll_t poll;
	int fd;
	bool headers;
	bool paused;
	const struct tun_handler *handler;
	void *ctx;
};

static uint8_t buffer[TUN_PACKET];

/* read_packet() - Its length, without the header; 0: none. #syscalls: readv */
static size_t read_packet(const struct tun_queue *queue, struct virtio_net_hdr *header)
{
	struct iovec parts[] = {{header, sizeof(*header)}, {buffer, sizeof(buffer)}};
	size_t skipped = queue->headers ? 0 : 1, least = queue->headers ? sizeof(*header) : 0;
	ssize_t length;

	do {
		length = readv(queue->fd, parts + skipped, (int)(ARRAY_SIZE(parts) - skipped));
	} while (length < 0 && errno == EINTR);
	return length > (ssize_t)least ? (size_t)length - least : 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct tun_queue *queue = container_of(poll, struct tun_queue, poll);

	(void)status;
	(void)events;
	for (unsigned int i = 0; i < TUN_BURST && !queue->paused; i++) {
		struct virtio_net_hdr header = {0};
		size_t length = read_packet(queue, &header);

		if (length == 0)
			break;
		queue->handler->receive(queue->ctx, &header, buffer, length);
	}
	queue->handler->drained(queue->ctx);
}

int tun_queue_new(uv_loop_t *loop, int fd, bool headers, const struct tun_handler *handler,
		  void *ctx, struct tun_queue **ret)
{
	struct tun_queue *queue = calloc(1, sizeof(*queue));
	int r;

	if (!queue)
		return -ENOMEM;
	queue->fd = fd;
	queue->headers = headers;
	queue->handler = handler;
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

void tun_queue_pause(struct tun_queue *queue, bool paused)
{
	queue->paused = paused;
	if (paused)
		uv_poll_stop(&queue->poll);
	else
		uv_poll_start(&queue->poll, UV_READABLE, on_readable);
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

/* #syscalls: writev */
int tun_queue_write(struct tun_queue *queue, const struct virtio_net_hdr *header,
		    const struct iovec *parts, size_t count)
{
	struct iovec all[1 + TUN_PARTS_MAX] = {{(void *)(uintptr_t)header, sizeof(*header)}};
	size_t skipped = queue->headers ? 0 : 1;
	ssize_t written;

	memcpy(all + 1, parts, count * sizeof(*parts));
	do {
		written = writev(queue->fd, all + skipped, (int)(count + 1 - skipped));
	} while (written < 0 && errno == EINTR);
	return written < 0 ? -errno : 0;
}
