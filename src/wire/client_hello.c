/* SPDX-License-Identifier: BSD-3-Clause */
/* wire/client_hello.c - the server name of a TLS ClientHello */
#include "wire/client_hello.h"

#include "base/cursor.h"

#include <errno.h>
#include <stdbool.h>

#define CONTENT_ALERT          21
#define CONTENT_HANDSHAKE      22
#define HANDSHAKE_CLIENT_HELLO 1
#define VERSION_MAJOR          3
#define RECORD_MAX             16384
#define EXTENSION_SERVER_NAME  0
#define NAME_HOST              0
#define ALERT_FATAL            2
#define RANDOM_SIZE            32
#define LABEL_MAX              63

static size_t message_length(const struct client_hello *hello)
{
	return 4 + ((size_t)hello->head[1] << 16 | (size_t)hello->head[2] << 8 | hello->head[3]);
}

/* take_record() - The header of a record is complete */
static int take_record(struct client_hello *hello)
{
	hello->left = (uint16_t)(hello->record[3] << 8 | hello->record[4]);
	hello->record_have = 0;
	/* A fragment of a handshake message is never empty (RFC 8446 §5.1). */
	return hello->record[0] == CONTENT_HANDSHAKE && hello->record[1] == VERSION_MAJOR &&
			       hello->left > 0 && hello->left <= RECORD_MAX
		       ? 0
		       : -EBADMSG;
}

/* take_content() - Bytes of a record; 1: the message is whole */
static int take_content(struct client_hello *hello, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; hello->collected + i < sizeof(hello->head) && i < length; i++)
		hello->head[hello->collected + i] = bytes[i];
	hello->collected += length;
	hello->left = (uint16_t)(hello->left - length);
	if (hello->head[0] != HANDSHAKE_CLIENT_HELLO)
		return -EBADMSG;
	if (hello->collected < sizeof(hello->head))
		return 0;
	if (message_length(hello) > CLIENT_HELLO_MAX)
		return -EMSGSIZE;
	return hello->collected >= message_length(hello);
}

int client_hello_feed(struct client_hello *hello, const uint8_t *bytes, size_t length)
{
	int r = 0;

	while (r == 0 && length > 0) {
		size_t step = 1;

		if (++hello->seen > CLIENT_HELLO_MAX)
			return -EMSGSIZE;
		if (hello->left == 0) {
			hello->record[hello->record_have++] = *bytes;
			/* The first byte of anything but TLS is refused at once. */
			if (hello->record[0] != CONTENT_HANDSHAKE)
				r = -EBADMSG;
			else if (hello->record_have == sizeof(hello->record))
				r = take_record(hello);
		} else {
			step = length < hello->left ? length : hello->left;
			hello->seen += step - 1;
			r = hello->seen > CLIENT_HELLO_MAX ? -EMSGSIZE
							   : take_content(hello, bytes, step);
		}
		bytes += step;
		length -= step;
	}
	return r;
}

/* join() - The content of all records; the length of the message, or -EBADMSG */
static int join(const uint8_t *bytes, size_t length, uint8_t out[static CLIENT_HELLO_MAX])
{
	struct cursor c = cursor_of(bytes, length);
	size_t have = 0;

	while (cursor_ok(&c) && c.left > 0) {
		size_t part;

		(void)cursor_take(&c, 3);
		part = cursor_be16(&c);
		if (part > c.left)
			part = c.left; /* the message ends before the record does */
		if (part > CLIENT_HELLO_MAX - have || !cursor_copy(&c, out + have, part))
			return -EBADMSG;
		have += part;
	}
	return cursor_ok(&c) ? (int)have : -EBADMSG;
}

/* sub() - A cursor over the next @length bytes, and past them in @c */
static struct cursor sub(struct cursor *c, size_t length)
{
	const uint8_t *taken = cursor_take(c, length);

	return taken ? cursor_of(taken, length) : (struct cursor){.bad = true};
}

static bool is_host_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* take_host() - In lower case, without the dot that some clients send at the end; 0 or -EBADMSG */
static int take_host(struct cursor *host, char ret[static CLIENT_HELLO_NAME_MAX])
{
	size_t length = host->left, label = 0;
	char name[CLIENT_HELLO_NAME_MAX];

	if (length == 0 || length >= sizeof(name) || !cursor_copy(host, name, length))
		return -EBADMSG;
	if (name[length - 1] == '.')
		length--;
	for (size_t i = 0; i < length; i++) {
		if (name[i] >= 'A' && name[i] <= 'Z')
			name[i] = (char)(name[i] - 'A' + 'a');
		if (name[i] == '.' ? label == 0 : !is_host_byte(name[i]) || label == LABEL_MAX)
			return -EBADMSG;
		label = name[i] == '.' ? 0 : label + 1;
	}
	if (label == 0)
		return -EBADMSG;
	memcpy(ret, name, length);
	ret[length] = 0;
	return 0;
}

/* take_names() - The content of the extension: a list with one host name at most */
static int take_names(struct cursor *extension, char ret[static CLIENT_HELLO_NAME_MAX])
{
	struct cursor list = sub(extension, cursor_be16(extension));
	bool found = false;

	if (!cursor_ok(extension) || extension->left > 0 || list.left == 0)
		return -EBADMSG;
	while (list.left > 0) {
		uint8_t type = cursor_u8(&list);
		struct cursor name = sub(&list, cursor_be16(&list));

		if (!cursor_ok(&list) || type != NAME_HOST || found || take_host(&name, ret) < 0)
			return -EBADMSG;
		found = true;
	}
	return 0;
}

int client_hello_name(const uint8_t *bytes, size_t length, char ret[static CLIENT_HELLO_NAME_MAX])
{
	uint8_t message[CLIENT_HELLO_MAX];
	int joined = length <= CLIENT_HELLO_MAX ? join(bytes, length, message) : -EBADMSG;
	struct cursor c, body, extensions;
	char name[CLIENT_HELLO_NAME_MAX];
	bool found = false;
	uint32_t high;

	if (joined < 0)
		return joined;
	c = cursor_of(message, (size_t)joined);
	if (cursor_u8(&c) != HANDSHAKE_CLIENT_HELLO)
		return -EBADMSG;
	high = cursor_u8(&c);
	body = sub(&c, high << 16 | cursor_be16(&c));
	(void)cursor_take(&body, 2 + RANDOM_SIZE);
	(void)cursor_take(&body, cursor_u8(&body));   /* session id */
	(void)cursor_take(&body, cursor_be16(&body)); /* cipher suites */
	(void)cursor_take(&body, cursor_u8(&body));   /* compression methods */
	if (cursor_ok(&body) && body.left == 0)
		return -ENOENT; /* before TLS 1.2 there need be no extensions */
	extensions = sub(&body, cursor_be16(&body));
	if (!cursor_ok(&body) || body.left > 0)
		return -EBADMSG;
	while (extensions.left > 0) {
		uint16_t type = cursor_be16(&extensions);
		struct cursor content = sub(&extensions, cursor_be16(&extensions));

		if (!cursor_ok(&extensions))
			return -EBADMSG;
		if (type != EXTENSION_SERVER_NAME)
			continue;
		if (found || take_names(&content, name) < 0)
			return -EBADMSG;
		found = true;
	}
	if (found)
		memcpy(ret, name, sizeof(name));
	return found ? 0 : -ENOENT;
}

void tls_alert_write(enum tls_alert alert, uint8_t out[static TLS_ALERT_SIZE])
{
	const uint8_t bytes[TLS_ALERT_SIZE] = {CONTENT_ALERT, VERSION_MAJOR, 3, 0, 2,
					       ALERT_FATAL,   (uint8_t)alert};

	memcpy(out, bytes, sizeof(bytes));
}
