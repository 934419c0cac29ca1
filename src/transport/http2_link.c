/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/http2_link.c - nghttp2 on a stream; what client and server share */
#include "transport/http2_link.h"

#include <errno.h>
#include <string.h>

int http2_link_flush(struct http2_link *link)
{
	while (!link->over && stream_pending(link->below) < HTTP2_QUEUE_HIGH) {
		const uint8_t *bytes;
		ssize_t length = nghttp2_session_mem_send(link->session, &bytes);

		if (length <= 0)
			return (int)length;
		if (stream_write(link->below, bytes, (size_t)length) < 0)
			return 0; /* it ended, and says so by an event */
	}
	return 0;
}

int http2_link_judge(struct http2_link *link, int r, const char *peer, struct error *err)
{
	if (r < 0)
		return error_set(err, -EPROTO, "HTTP/2: %s", nghttp2_strerror(r));
	if (!link->closed && !nghttp2_session_want_read(link->session) &&
	    !nghttp2_session_want_write(link->session))
		return error_set(err, -EPROTO, "the %s does not speak proper HTTP/2", peer);
	return 0;
}

static void below_data(void *user, const uint8_t *bytes, size_t length)
{
	struct http2_link *link = user;
	ssize_t r;

	http2_link_enter(link);
	r = nghttp2_session_mem_recv(link->session, bytes, length);
	link->ops->leave(link, r < 0 ? (int)r : 0);
}

static void below_drained(void *user)
{
	struct http2_link *link = user;

	http2_link_enter(link);
	link->ops->leave(link, 0);
}

static void below_closed(void *user, const struct error *err)
{
	struct http2_link *link = user;

	http2_link_enter(link);
	link->ops->end(link, err);
	link->ops->leave(link, 0);
}

void http2_link_start(struct http2_link *link)
{
	static const struct stream_events events = {
		.data = below_data,
		.drained = below_drained,
		.closed = below_closed,
	};

	stream_set_events(link->below, &events, link);
	/* A failure shows with the first request. */
	(void)http2_link_flush(link);
}

nghttp2_option *http2_option(void)
{
	nghttp2_option *option = NULL;

	if (nghttp2_option_new(&option) != 0)
		return NULL;
	nghttp2_option_set_max_settings(option, 32);
	nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
	return option;
}

nghttp2_nv http2_nv(const char *name, const char *value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.value = (uint8_t *)(uintptr_t)value,
		.namelen = strlen(name),
		.valuelen = strlen(value),
	};
}
