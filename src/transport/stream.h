/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/stream.h - a two-way byte stream, whatever it is made of
 *
 * TCP, TLS and TS2021 are each a stream; the latter two stand on another one. A stream has one
 * owner, and the layer on top owns the layer below.
 *
 * Theory of operation
 *   A stream lives until stream_close(). Before that it may end by itself: `closed`
 *   is its last event, writes then fail with -EPIPE, and stream_close() is still
 *   due. stream_close() may be called inside of any event; no event follows it. The
 *   memory is freed when the last function that works on the stream has returned; each
 *   implementation ensures that by stream_hold() and stream_release().
 *
 *   Back-pressure: writes are queued whole up to a limit; -ENOBUFS means that nothing was taken,
 *   `drained` that the queue is empty. Reading stops between stream_pause() and stream_resume().
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream;

/* Each may be NULL. @user is what stream_set_events() was given. */
struct stream_events {
	/** @opened: handshakes are done, writes reach the peer. Not for streams born open */
	void (*opened)(void *user);
	/** @data: received bytes, valid during the call */
	void (*data)(void *user, const uint8_t *bytes, size_t length);
	/** @drained: all queued bytes were passed on */
	void (*drained)(void *user);
	/** @finished: the peer sends no more, and still reads. Where it is NULL, that is `closed` */
	void (*finished)(void *user);
	/** @closed: it ended; @err is NULL when the peer ended it in order */
	void (*closed)(void *user, const struct error *err);
};

struct stream_operations {
	int (*write)(struct stream *self, const void *bytes, size_t length);
	size_t (*pending)(const struct stream *self);
	void (*pause)(struct stream *self);
	void (*resume)(struct stream *self);
	void (*end)(struct stream *self);   /* the peer learns it behind what is queued; or NULL */
	void (*close)(struct stream *self); /* close the stream below; no events */
	void (*release)(struct stream *self); /* free the memory */
};

/* The head of every implementation; the fields belong to stream.c. */
struct stream {
	const struct stream_operations *operations;
	const struct stream_events *events;
	void *user;
	unsigned int holds;
	bool shut;     /* by stream_end() */
	bool finished; /* the owner got `finished` */
	bool closed;   /* by its owner */
	bool ended;    /* the owner got `closed` */
};

/** stream_set_events() - Send the events of @s to @events, which must stay valid, and @user */
void stream_set_events(struct stream *s, const struct stream_events *events, void *user);

/**
 * stream_write() - Queue @length bytes, which are copied
 *
 * A stream that has not opened yet queues too.
 * Return: 0; -ENOBUFS when the queue would pass LIMIT_STREAM_QUEUE (nothing was
 * taken; wait for `drained`); -EPIPE after it ended, or stream_end(); -ENOMEM
 */
int stream_write(struct stream *s, const void *bytes, size_t length);

/**
 * stream_end() - Send no more; the peer learns it behind all queued bytes, and reading goes on
 *
 * For TCP, Unix sockets and TLS; over TLS it is close_notify and then the end of TCP.
 */
void stream_end(struct stream *s);

/** stream_pending() - Bytes queued and not yet passed to the kernel */
size_t stream_pending(const struct stream *s);

/** stream_pause() - No `data` until stream_resume(), which may deliver before it returns */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/**
 * stream_close() - End it and give it up: @s is not the caller's any more
 *
 * Queued bytes are lost; see stream_finish(). NULL is fine.
 */
void stream_close(struct stream *s);

/** stream_finish() - Give it up now; it closes once all queued bytes were passed on */
void stream_finish(struct stream *s);

/* For implementations */

/** stream_init() - Set up the head, with the one hold that stream_close() drops */
void stream_init(struct stream *s, const struct stream_operations *operations);

/** stream_hold(), stream_release() - Keep the memory of @s while a frame works on it */
void stream_hold(struct stream *s);
void stream_release(struct stream *s);

/** stream_emit_…() - Send an event, unless the owner has closed the stream; `finished` and `closed` only once */
void stream_emit_opened(struct stream *s);
void stream_emit_data(struct stream *s, const uint8_t *bytes, size_t length);
void stream_emit_drained(struct stream *s);
void stream_emit_finished(struct stream *s);
void stream_emit_closed(struct stream *s, const struct error *err);
