/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/stream_layer.h - what streams over another stream share. For TLS and TS2021 only
 *
 * Theory of operation
 *	HANDSHAKE --stream_layer_opened()--> OPEN --error or end below--> ENDED
 *
 *   Bytes from below are `input` while step() works on them. Only what is left over, an incomplete
 *   message or the remainder of a pause, is kept in `rest`. Bytes written before OPEN wait in
 *   `early`.
 */
#pragma once

#include "base/buffer.h"
#include "base/cursor.h"
#include "transport/stream.h"

struct stream_layer;

struct stream_layer_operations {
	/**
	 * @step: the handshake, or one message of @input
	 * Return: 0 there may be more; -EAGAIN more bytes are needed; 1 the peer ended it in order;
	 * other negative errno with @err set
	 */
	int (*step)(struct stream_layer *layer, struct error *err);
	/** @seal: write @length bytes to the stream below; 0 or negative errno */
	int (*seal)(struct stream_layer *layer, const void *bytes, size_t length);
	/** @cut: the stream below has ended; set @err unless that is an end in order */
	void (*cut)(struct stream_layer *layer, struct error *err);
};

/* The head of an implementation. */
struct stream_layer {
	struct stream stream;
	struct stream *below;
	const struct stream_layer_operations *operations;
	struct cursor input;
	struct buffer rest, early;
	bool open, paused, pumping;
};

/** stream_layer_init() - Stand on @below, which is owned from here on; its events are not taken yet */
void stream_layer_init(struct stream_layer *layer, const struct stream_operations *stream,
		       const struct stream_layer_operations *operations, struct stream *below);

/** stream_layer_start() - Take the events of the stream below */
void stream_layer_start(struct stream_layer *layer);

/** stream_layer_opened() - The handshake is done: write what waited; 0 or negative errno of seal() */
int stream_layer_opened(struct stream_layer *layer);

/** stream_layer_write() - Seal, or keep until OPEN; -ENOBUFS if the limit leaves no @room for it */
int stream_layer_write(struct stream_layer *layer, const void *bytes, size_t length, size_t room);

/** stream_layer_free() - Release what the head holds */
void stream_layer_free(struct stream_layer *layer);

/* For struct stream_operations. */
size_t stream_layer_pending(const struct stream *s);
void stream_layer_pause(struct stream *s);
void stream_layer_resume(struct stream *s);
void stream_layer_close(struct stream *s);
