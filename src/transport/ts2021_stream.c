/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/ts2021_stream.c - TS2021 over a stream
 *
 * Theory of operation
 *	HANDSHAKE --answer--> OPEN --error or end below--> ENDED
 *
 *   What comes from below is worked on where it lies; only an incomplete message, or
 *   what a pause left, is kept in `rest`. What is written before OPEN waits in `early`.
 */
#include "transport/ts2021_stream.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ts2021 {
	struct stream stream;
	struct stream *below;
	struct ts2021_client client; /* until OPEN */
	struct ts2021_session session;
	struct ts2021_early early_payload;
	struct cursor input;
	struct buffer rest;
	struct buffer early;
	bool open, strip, paused, pumping;
};

static struct ts2021 *ts2021_of(const struct stream *s)
{
	return container_of(s, struct ts2021, stream);
}

static bool alive(const struct ts2021 *t)
{
	return !t->stream.closed && !t->stream.ended;
}

/* write_records() - Seal and pass down */
static int write_records(struct ts2021 *t, const void *bytes, size_t length)
{
	struct buffer records = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	int r = ts2021_seal(&t->session, bytes, length, &records);

	if (r == 0)
		r = stream_write(t->below, buffer_head(&records), records.length);
	if (r < 0) /* sealed records that were not sent leave a gap: it's over */
		ts2021_session_wipe(&t->session);
	buffer_free(&records);
	return r;
}

/* step_handshake() - The server's answer, if it is complete; as ts2021_client_finish() */
static int step_handshake(struct ts2021 *t, struct error *err)
{
	size_t used;
	int r = ts2021_client_finish(&t->client, t->input.at, t->input.left, &used, &t->session,
				     err);

	if (r < 0)
		return r;
	cursor_take(&t->input, used);
	t->open = true;
	if (t->early.length) {
		r = write_records(t, buffer_head(&t->early), t->early.length);
		if (r < 0)
			return error_set_errno(err, r, "write to the control server");
	}
	buffer_free_secret(&t->early);
	stream_emit_opened(&t->stream);
	return 0;
}

/* step_record() - One record, if it is complete */
static int step_record(struct ts2021 *t, struct error *err)
{
	uint8_t plain[TS2021_PLAINTEXT_MAX];
	size_t used, length, head_length = 0;
	const uint8_t *head = NULL;
	int skip = 0, r;

	r = ts2021_open_record(&t->session, t->input.at, t->input.left, &used, plain, &length);
	if (r == -EAGAIN)
		return r;
	if (r < 0)
		return error_set(err, r, "the control connection is broken: %s",
				 r == -EOVERFLOW ? "its counter is used up"
						 : "a record that isn't authentic");
	cursor_take(&t->input, used);
	if (t->strip)
		skip = ts2021_early_strip(&t->early_payload, plain, length, &head, &head_length);
	if (skip < 0)
		return error_set(err, skip, "the control server's early payload is too long");
	stream_hold(&t->stream);
	stream_emit_data(&t->stream, head, head_length);
	stream_emit_data(&t->stream, plain + skip, length - (size_t)skip);
	stream_release(&t->stream);
	return 0;
}

/* pump() - Work on the input until it is incomplete, or the owner paused or closed */
static void pump(struct ts2021 *t)
{
	struct error err = {0};
	int r = 0;

	t->pumping = true;
	while (r == 0 && alive(t) && !t->paused)
		r = t->open ? step_record(t, &err) : step_handshake(t, &err);
	t->pumping = false;
	if (r < 0 && r != -EAGAIN)
		stream_emit_closed(&t->stream, &err);
}

/* take() - New input behind what was kept; keeps again what is left over */
static void take(struct ts2021 *t, const uint8_t *bytes, size_t length)
{
	struct buffer kept = t->rest;
	struct error err = {0};
	int r = 0;

	stream_hold(&t->stream);
	t->rest = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	if (kept.length) {
		r = buffer_append(&kept, bytes, length);
		bytes = buffer_head(&kept);
		length = kept.length;
	}
	t->input = cursor_of(bytes, length);
	if (r == 0)
		pump(t);
	if (r == 0 && alive(t))
		r = buffer_append(&t->rest, t->input.at, t->input.left);
	t->input = cursor_of(NULL, 0);
	buffer_free(&kept);
	if (r < 0) {
		error_set_errno(&err, r, "read from the control server");
		stream_emit_closed(&t->stream, &err);
	}
	stream_release(&t->stream);
}

static void below_data(void *user, const uint8_t *bytes, size_t length)
{
	take(user, bytes, length);
}

static void below_drained(void *user)
{
	struct ts2021 *t = user;

	if (t->open)
		stream_emit_drained(&t->stream);
}

static void below_closed(void *user, const struct error *cause)
{
	struct ts2021 *t = user;
	struct error err;

	if (cause)
		err = *cause;
	else if (!t->open)
		error_set(&err, -ECONNABORTED, "the control server closed during the handshake");
	else if (t->rest.length)
		error_set(&err, -ECONNABORTED, "the control connection ended inside a record");
	stream_emit_closed(&t->stream, cause || !t->open || t->rest.length ? &err : NULL);
}

static const struct stream_events below_events = {
	.data = below_data,
	.drained = below_drained,
	.closed = below_closed,
};

static size_t ts2021_pending(const struct stream *s)
{
	const struct ts2021 *t = ts2021_of(s);

	return t->early.length + stream_pending(t->below);
}

static int ts2021_write(struct stream *s, const void *bytes, size_t length)
{
	size_t records = length / TS2021_PLAINTEXT_MAX + 1;
	struct ts2021 *t = ts2021_of(s);

	/* Room for the records and what TLS below makes of them: a seal can't be taken back. */
	if (length > LIMIT_STREAM_QUEUE / 2 ||
	    ts2021_pending(s) + length + records * 64 + 4096 > LIMIT_STREAM_QUEUE - length / 64)
		return -ENOBUFS;
	return t->open ? write_records(t, bytes, length) : buffer_append(&t->early, bytes, length);
}

static void ts2021_pause(struct stream *s)
{
	struct ts2021 *t = ts2021_of(s);

	t->paused = true;
	stream_pause(t->below);
}

static void ts2021_resume(struct stream *s)
{
	struct ts2021 *t = ts2021_of(s);

	if (!t->paused)
		return;
	t->paused = false;
	stream_hold(s);
	if (!t->pumping)
		take(t, NULL, 0);
	if (alive(t) && !t->paused)
		stream_resume(t->below);
	stream_release(s);
}

static void ts2021_close(struct stream *s)
{
	stream_close(TAKE_PTR(ts2021_of(s)->below));
}

static void ts2021_free(struct stream *s)
{
	struct ts2021 *t = ts2021_of(s);

	ts2021_client_wipe(&t->client);
	ts2021_session_wipe(&t->session);
	buffer_free_secret(&t->early);
	buffer_free(&t->rest);
	free(t);
}

static const struct stream_operations ts2021_operations = {
	.write = ts2021_write,
	.pending = ts2021_pending,
	.pause = ts2021_pause,
	.resume = ts2021_resume,
	.close = ts2021_close,
	.release = ts2021_free,
};

static int create(struct stream *below, const uint8_t *head, size_t head_length,
		  struct ts2021 **ret, struct error *err)
{
	struct ts2021 *t = calloc(1, sizeof(*t));

	if (!t) {
		stream_close(below);
		return error_set(err, -ENOMEM, "out of memory");
	}
	stream_init(&t->stream, &ts2021_operations);
	t->below = below;
	t->paused = true;
	t->rest = t->early = BUFFER_INIT(LIMIT_STREAM_QUEUE);
	if (buffer_append(&t->rest, head, head_length) < 0) {
		stream_close(&t->stream);
		return error_set(err, -ENOMEM, "out of memory");
	}
	stream_pause(below);
	stream_set_events(below, &below_events, t);
	*ret = t;
	return 0;
}

int ts2021_client_stream(struct ts2021_client *client, struct stream *below, const uint8_t *head,
			 size_t head_length, struct stream **ret, struct error *err)
{
	struct ts2021 *t = NULL;
	int r = create(below, head, head_length, &t, err);

	if (r == 0) {
		t->client = *client;
		t->strip = true;
		*ret = &t->stream;
	}
	ts2021_client_wipe(client);
	return r;
}

int ts2021_session_stream(struct ts2021_session *session, struct stream *below, const uint8_t *head,
			  size_t head_length, struct stream **ret, struct error *err)
{
	struct ts2021 *t = NULL;
	int r = create(below, head, head_length, &t, err);

	if (r == 0) {
		t->session = *session;
		t->open = true;
		*ret = &t->stream;
	}
	ts2021_session_wipe(session);
	return r;
}
