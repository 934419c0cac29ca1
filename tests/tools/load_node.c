/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/tools/load_node.c - one simulated node's way into the tailnet */
#include "load_node.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "transport/tcp.h"
#include "transport/ts2021_stream.h"
#include "wire/tailcfg.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CAPABILITY_VERSION 138
#define HEAD_MAX           4096u
#define FRAME_MAX          (64u * 1024 * 1024)
#define MESSAGE_MAX        (256u * 1024 * 1024)

static void fail(struct load_node *n, const char *why)
{
	if (n->stage == LOAD_IDLE)
		return;
	n->stage = LOAD_IDLE;
	n->fd = -1;
	stream_close(TAKE_PTR(n->stream));
	http2_close(TAKE_PTR(n->http2));
	free(TAKE_PTR(n->noise));
	buffer_free(&n->frames);
	n->frames = BUFFER_INIT(FRAME_MAX);
	n->server->failed(n, why);
}

/* Requests */

static int put_hostinfo(const struct load_node *n, bool home, struct buffer *out)
{
	/* What a stock node on a server says of itself, less its services' details. */
	int r = buffer_printf(
		out,
		"\"Hostinfo\":{\"IPNVersion\":\"" TAILCFG_IPN_VERSION
		"\",\"OS\":\"linux\",\"OSVersion\":\"6.1.0-32-cloud-amd64\",\"Container\":false,"
		"\"Distro\":\"debian\",\"DistroVersion\":\"12.10\",\"DistroCodeName\":\"bookworm\","
		"\"Desktop\":false,\"Hostname\":\"n%05u\",\"Machine\":\"x86_64\",\"GoArch\":"
		"\"amd64\",\"GoArchVar\":\"v1\",\"GoVersion\":\"go1.26.3\",\"Services\":[{"
		"\"Proto\":\"peerapi4\",\"Port\":%u},{\"Proto\":\"peerapi6\",\"Port\":%u}],"
		"\"Userspace\":false,\"UserspaceRouter\":false",
		n->number, 32768 + n->number % 28000, 32769 + n->number % 28000);

	if (r == 0 && home)
		r = buffer_printf(
			out, ",\"NetInfo\":{\"MappingVariesByDestIP\":false,\"HairPinning\":false,"
			     "\"WorkingIPv6\":false,\"WorkingUDP\":true,\"PreferredDERP\":999,"
			     "\"FirewallMode\":\"nft-default\"}");
	return r == 0 ? buffer_printf(out, "}") : r;
}

static int put_map_request(const struct load_node *n, bool stream, struct buffer *out)
{
	char key[KEY_TEXT_MAX], disco[KEY_TEXT_MAX];
	int r = buffer_printf(out,
			      "{\"Version\":%d,\"Compress\":\"zstd\",\"KeepAlive\":true,"
			      "\"NodeKey\":\"%s\",\"DiscoKey\":\"%s\",\"Stream\":%s,%s",
			      CAPABILITY_VERSION, public_key_format(&n->key, KEY_NODE, key),
			      public_key_format(&n->disco, KEY_DISCO, disco),
			      stream ? "true" : "false", stream ? "" : "\"OmitPeers\":true,");

	if (r == 0 && !stream)
		r = buffer_printf(out,
				  "\"Endpoints\":[\"192.0.2.%u:41641\",\"10.%u.%u.7:41641\"],"
				  "\"EndpointTypes\":[2,1],",
				  1 + n->number % 250, n->number / 250 % 250, n->number % 250);
	if (r == 0)
		r = put_hostinfo(n, !stream, out);
	return r == 0 ? buffer_printf(out, "}") : r;
}

static int put_register_request(const struct load_node *n, struct buffer *out)
{
	char key[KEY_TEXT_MAX];
	int r = buffer_printf(
		out, "{\"Version\":%d,\"NodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"},",
		CAPABILITY_VERSION, public_key_format(&n->key, KEY_NODE, key), n->auth_key);

	if (r == 0)
		r = put_hostinfo(n, false, out);
	return r == 0 ? buffer_printf(out, "}") : r;
}

static void next_stage(struct load_node *n);

static void on_response(void *user, int status, int64_t retry_after)
{
	struct load_node *n = user;

	(void)retry_after;
	n->status = status;
}

/* on_answer() - A register answer; whether it says "no" is all that matters */
static void on_answer(void *user, const uint8_t *bytes, size_t length)
{
	struct load_node *n = user;
	static const char allowed[] = "\"MachineAuthorized\":true";

	if (n->stage == LOAD_REGISTERING && !memmem(bytes, length, allowed, sizeof(allowed) - 1)) {
		fprintf(stderr, "%.*s\n", (int)length, (const char *)bytes);
		n->status = 403;
	}
}

static void on_end(void *user)
{
	struct load_node *n = user;

	if (n->status != 200)
		fail(n, n->stage == LOAD_REGISTERING ? "refused to register" : "update refused");
	else
		next_stage(n);
}

static void on_failed(void *user, const struct error *err)
{
	fail(user, err->text);
}

static const struct http2_events answer_events = {
	.response = on_response,
	.data = on_answer,
	.end = on_end,
	.failed = on_failed,
};

/* take_message() - One frame of the map stream */
static bool take_message(struct load_node *n, const uint8_t *frame, size_t length)
{
	static const char keep_alive[] = "\"KeepAlive\":true", all[] = "\"Peers\":[";
	struct load_server *s = n->server;
	unsigned long long size = ZSTD_getFrameContentSize(frame, length);
	const char *text;
	size_t used;

	/* The length of a stream is not known. */
	if (size == ZSTD_CONTENTSIZE_UNKNOWN)
		size = length * 64 + 65536;
	s->text.length = s->text.start = 0;
	if (size > MESSAGE_MAX || buffer_reserve(&s->text, size + 1) < 0)
		return false;
	used = ZSTD_decompressDCtx(s->zstd, s->text.data, size, frame, length);
	if (ZSTD_isError(used))
		return false;
	s->text.data[used] = '\0';
	text = (char *)s->text.data;
	if (used < 512 && strstr(text, keep_alive)) {
		n->keep_alives++;
		return true;
	}
	n->messages++;
	n->full_maps += memmem(text, used, all, sizeof(all) - 1) != NULL;
	s->message(n, text, used);
	if (n->stage == LOAD_MAPPING) {
		n->mapped_at = clock_boottime();
		next_stage(n);
	}
	return true;
}

static void on_map(void *user, const uint8_t *bytes, size_t length)
{
	struct load_node *n = user;
	struct buffer kept = n->frames;
	struct cursor in;

	if (kept.length && buffer_append(&kept, bytes, length) < 0) {
		fail(n, "a map too long");
		return;
	}
	in = kept.length ? cursor_of(buffer_head(&kept), kept.length) : cursor_of(bytes, length);
	n->frames = BUFFER_INIT(FRAME_MAX);
	for (;;) {
		struct cursor at = in;
		uint32_t size = cursor_le32(&at);
		const uint8_t *frame = cursor_take(&at, size);

		if (!frame)
			break;
		in = at;
		if (!take_message(n, frame, size)) {
			buffer_free(&kept);
			fail(n, "a message that can't be inflated");
			return;
		}
		if (n->stage == LOAD_IDLE) {
			buffer_free(&kept);
			return;
		}
	}
	(void)buffer_append(&n->frames, in.at, in.left);
	buffer_free(&kept);
}

static void on_map_response(void *user, int status, int64_t retry_after)
{
	on_response(user, status, retry_after);
	if (status != 200)
		fail(user, "no map");
}

static void on_map_end(void *user)
{
	fail(user, "the map stream ended");
}

static const struct http2_events map_events = {
	.response = on_map_response,
	.data = on_map,
	.end = on_map_end,
	.failed = on_failed,
};

static void post(struct load_node *n, const char *path, struct buffer *body,
		 const struct http2_events *events)
{
	struct http2_message message = {
		.method = "POST",
		.path = path,
		.body = buffer_head(body),
		.body_length = body->length,
	};
	struct error err;

	if (http2_send(n->http2, &message, events, n, NULL, &err) < 0)
		fail(n, err.text);
}

/* next_stage() - The request that follows; the last one's answer is the end of it */
static void next_stage(struct load_node *n)
{
	struct buffer body = BUFFER_INIT(64u * 1024);

	n->stage++;
	switch (n->stage) {
	case LOAD_REGISTERING:
		n->registering_at = clock_boottime();
		(void)put_register_request(n, &body);
		post(n, "/machine/register", &body, &answer_events);
		break;
	case LOAD_MAPPING:
		(void)put_map_request(n, true, &body);
		post(n, "/machine/map", &body, &map_events);
		break;
	case LOAD_UPDATING:
		(void)put_map_request(n, false, &body);
		post(n, "/machine/map", &body, &answer_events);
		break;
	default:
		n->server->joined(n);
		break;
	}
	buffer_free(&body);
}

/* The way to HTTP/2 */

static void on_ended(void *user, const struct error *err)
{
	fail(user, err ? err->text : "the server closed the connection");
}

static void on_closed(void *user, const struct error *err)
{
	on_ended(user, err);
}

static void on_noise(void *user)
{
	struct load_node *n = user;
	struct error err;

	if (http2_open(n->server->loop, TAKE_PTR(n->stream), "load", on_ended, n, &n->http2, &err) <
	    0)
		fail(n, err.text);
	else
		next_stage(n);
}

static const struct stream_events noise_events = {.opened = on_noise, .closed = on_closed};

static void on_upgrade(void *user, const uint8_t *bytes, size_t length)
{
	struct load_node *n = user;
	struct stream *below;
	struct error err;
	uint8_t *end;
	size_t head;

	if (buffer_append(&n->frames, bytes, length) < 0) {
		fail(n, "the answer is too long");
		return;
	}
	end = memmem(buffer_head(&n->frames), n->frames.length, "\r\n\r\n", 4);
	if (!end)
		return;
	head = (size_t)(end + 4 - buffer_head(&n->frames));
	if (memcmp(buffer_head(&n->frames), "HTTP/1.1 101", 12) != 0) {
		fail(n, "no upgrade");
		return;
	}
	below = TAKE_PTR(n->stream);
	if (ts2021_client_stream(n->noise, below, buffer_head(&n->frames) + head,
				 n->frames.length - head, &n->stream, &err) < 0) {
		n->stream = NULL;
		fail(n, err.text);
		return;
	}
	free(TAKE_PTR(n->noise));
	buffer_free(&n->frames);
	n->frames = BUFFER_INIT(FRAME_MAX);
	stream_set_events(n->stream, &noise_events, n);
	stream_resume(n->stream);
}

static const struct stream_events upgrade_events = {.data = on_upgrade, .closed = on_closed};

static int ask_upgrade(struct load_node *n)
{
	uint8_t initiation[TS2021_INITIATION_SIZE];
	char encoded[sodium_base64_ENCODED_LEN(TS2021_INITIATION_SIZE,
					       sodium_base64_VARIANT_ORIGINAL)];
	char request[512];
	int length;

	n->noise = calloc(1, sizeof(*n->noise));
	if (!n->noise || ts2021_client_start(n->noise, &n->machine, &n->server->key,
					     CAPABILITY_VERSION, NULL, initiation) < 0)
		return -ENOMEM;
	sodium_bin2base64(encoded, sizeof(encoded), initiation, sizeof(initiation),
			  sodium_base64_VARIANT_ORIGINAL);
	length = snprintf(request, sizeof(request),
			  "POST /ts2021 HTTP/1.1\r\nHost: load\r\nUpgrade: " TS2021_PROTOCOL "\r\n"
			  "Connection: upgrade\r\nX-Tailscale-Handshake: %s\r\n\r\n",
			  encoded);
	return stream_write(n->stream, request, (size_t)length);
}

void load_node_start(struct load_node *n)
{
	struct load_server *s = n->server;
	const struct tls_options tls = {.host = "localhost", .insecure = true};
	struct stream *stream = NULL;
	struct error err = {0};
	int r;

	n->stage = LOAD_CONNECTING;
	n->frames = BUFFER_INIT(FRAME_MAX);
	n->fd = socket(s->at.address.family == ADDRESS_V6 ? AF_INET6 : AF_INET,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (n->fd < 0) {
		fail(n, "no socket is left");
		return;
	}
	r = tcp_connect(s->loop, n->fd, &s->at, &stream, &err);
	if (r == 0 && s->tls)
		r = tls_client(s->tls, &tls, stream, &stream, &err);
	if (r == 0) {
		n->stream = stream;
		stream_set_events(stream, &upgrade_events, n);
		r = ask_upgrade(n);
	}
	if (r < 0)
		fail(n, err.code ? err.text : "no upgrade request");
}

/* What <linux/tcp.h> has behind libc's struct, which can't be had beside it. */
struct tcp_info_more {
	struct tcp_info info;
	uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
};

uint64_t load_node_received(const struct load_node *n)
{
	struct tcp_info_more info = {0};
	socklen_t size = sizeof(info);

	if (n->fd < 0 || getsockopt(n->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return 0;
	return info.bytes_received;
}
