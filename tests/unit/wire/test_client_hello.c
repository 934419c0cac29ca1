/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_client_hello.c - server names of ClientHellos, and the PROXY protocol */
#include "wire/client_hello.h"
#include "wire/proxy_protocol.h"

#include "unit/unit.h"

#include <stdio.h>
#include <string.h>

#define ROOM 8192

struct bytes {
	uint8_t data[ROOM];
	size_t length;
};

static void put(struct bytes *b, const void *bytes, size_t length)
{
	assert_true(b->length + length <= sizeof(b->data));
	memcpy(b->data + b->length, bytes, length);
	b->length += length;
}

static void put_number(struct bytes *b, size_t value, size_t size)
{
	for (size_t i = size; i-- > 0;)
		put(b, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

/* message() - A ClientHello with these extensions, as a handshake message */
static struct bytes message(const void *extensions, size_t length)
{
	static const uint8_t random[32];
	struct bytes body = {0}, m = {0};

	put_number(&body, 0x0303, 2);
	put(&body, random, sizeof(random));
	put_number(&body, 4, 1);
	put(&body, "sess", 4);
	put_number(&body, 2, 2);
	put_number(&body, 0x1301, 2);
	put_number(&body, 1, 1);
	put_number(&body, 0, 1);
	if (extensions) {
		put_number(&body, length, 2);
		put(&body, extensions, length);
	}
	put_number(&m, 1, 1);
	put_number(&m, body.length, 3);
	put(&m, body.data, body.length);
	return m;
}

/* records() - @m over records of @piece bytes */
static struct bytes records(const struct bytes *m, size_t piece)
{
	struct bytes out = {0};

	for (size_t at = 0; at < m->length; at += piece) {
		size_t length = m->length - at < piece ? m->length - at : piece;

		put_number(&out, 0x160301, 3);
		put_number(&out, length, 2);
		put(&out, m->data + at, length);
	}
	return out;
}

static void put_extension(struct bytes *b, size_t type, const void *content, size_t length)
{
	put_number(b, type, 2);
	put_number(b, length, 2);
	put(b, content, length);
}

/* put_name() - The extension server_name, of one name of @type */
static void put_name(struct bytes *b, const char *name, uint8_t type)
{
	struct bytes content = {0};

	put_number(&content, strlen(name) + 3, 2);
	put_number(&content, type, 1);
	put_number(&content, strlen(name), 2);
	put(&content, name, strlen(name));
	put_extension(b, 0, content.data, content.length);
}

/* name_of() - What is read of a hello with @extensions, in records of @piece bytes */
static int name_of(const struct bytes *extensions, size_t piece, char *ret)
{
	struct bytes m = message(extensions->data, extensions->length);
	struct bytes all = records(&m, piece);
	struct client_hello hello = {0};

	assert_int_equal(client_hello_feed(&hello, all.data, all.length), 1);
	assert_int_equal(hello.seen, all.length);
	return client_hello_name(all.data, all.length, ret);
}

static void names_are_read(void **state)
{
	static const struct {
		const char *sent, *read; /* NULL: refused */
	} rows[] = {
		{"app.t.test", "app.t.test"},
		{"APP.t.Test.", "app.t.test"},
		{"x", "x"},
		{"_a-b.c", "_a-b.c"},
		{"", NULL},
		{".", NULL},
		{".a", NULL},
		{"a..b", NULL},
		{"a..", NULL},
		{"a b", NULL},
		{"a/b", NULL},
		{"a\xc3\xa4", NULL},
		{"[::1]", NULL},
		{"0123456789012345678901234567890123456789012345678901234567890123", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bytes extensions = {0};
		char name[CLIENT_HELLO_NAME_MAX] = "";

		put_extension(&extensions, 10, "\0\2\0\x1d", 4);
		put_name(&extensions, rows[i].sent, 0);
		put_extension(&extensions, 0xfe0d, "outer", 5); /* Encrypted ClientHello */
		for (size_t piece = 1; piece < 300; piece += 37) {
			int r = name_of(&extensions, piece, name);

			assert_int_equal(r, rows[i].read ? 0 : -EBADMSG);
			if (rows[i].read)
				assert_string_equal(name, rows[i].read);
		}
	}
}

static void hellos_without_a_name(void **state)
{
	struct bytes extensions = {0}, m = message(NULL, 0), all = records(&m, ROOM);
	char name[CLIENT_HELLO_NAME_MAX];
	struct client_hello hello = {0};

	(void)state;
	put_extension(&extensions, 10, "\0\2\0\x1d", 4);
	assert_int_equal(name_of(&extensions, 100, name), -ENOENT);
	assert_int_equal(client_hello_feed(&hello, all.data, all.length), 1);
	assert_int_equal(client_hello_name(all.data, all.length, name), -ENOENT);
	/* Another type than a host's, the extension twice, a list that ends early. */
	extensions.length = 0;
	put_name(&extensions, "a", 1);
	assert_int_equal(name_of(&extensions, 100, name), -EBADMSG);
	extensions.length = 0;
	put_name(&extensions, "a", 0);
	put_name(&extensions, "b", 0);
	assert_int_equal(name_of(&extensions, 100, name), -EBADMSG);
	extensions.length = 0;
	put_extension(&extensions, 0, "\0\5\0\0\2a", 6);
	assert_int_equal(name_of(&extensions, 100, name), -EBADMSG);
	extensions.length = 0;
	put_extension(&extensions, 0, "", 0);
	assert_int_equal(name_of(&extensions, 100, name), -EBADMSG);
}

/* Every truncation waits for more, or has no name; every flipped bit is safe. */
static void damage_is_survived(void **state)
{
	struct bytes extensions = {0}, m, all;
	char name[CLIENT_HELLO_NAME_MAX];

	(void)state;
	put_name(&extensions, "app.t.test", 0);
	m = message(extensions.data, extensions.length);
	all = records(&m, 20);
	for (size_t length = 0; length < all.length; length++) {
		struct client_hello hello = {0};

		assert_int_equal(client_hello_feed(&hello, all.data, length), 0);
		assert_true(client_hello_name(all.data, length, name) < 0);
	}
	for (size_t bit = 0; bit < all.length * 8; bit++) {
		struct client_hello hello = {0};

		all.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (client_hello_feed(&hello, all.data, all.length) == 1)
			(void)client_hello_name(all.data, hello.seen, name);
		all.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void the_size_is_bounded(void **state)
{
	static const uint8_t one[] = {0x16, 3, 1, 0, 1, 0};
	struct client_hello hello = {0};
	uint8_t start[] = {0x16, 3, 1, 0, 4, 1, 0, 0x3f, 0xf0};
	int r = client_hello_feed(&hello, start, sizeof(start));

	(void)state;
	assert_int_equal(r, 0);
	for (size_t i = 0; i < CLIENT_HELLO_MAX && r == 0; i++)
		r = client_hello_feed(&hello, one, sizeof(one));
	assert_int_equal(r, -EMSGSIZE);
	hello = (struct client_hello){0};
	start[7] = 0x40; /* the message alone is too long */
	assert_int_equal(client_hello_feed(&hello, start, sizeof(start)), -EMSGSIZE);
}

static void proxy_heads(void **state)
{
	static const struct {
		const char *head;
		size_t length;
		int result;
		const char *from; /* NULL: none is named */
	} rows[] = {
#define V2             "\r\n\r\n\0\r\nQUIT\n"
#define ROW(head, ...) {head, sizeof(head) - 1, __VA_ARGS__}
		ROW("PROXY TCP4 1.2.3.4 5.6.7.8 9 443\r\n", 1, "1.2.3.4:9"),
		ROW("PROXY TCP6 2001:db8::1 ::1 65535 443\r\n", 1, "[2001:db8::1]:65535"),
		ROW("PROXY UNKNOWN\r\n", 1, NULL),
		ROW("PROXY UNKNOWN ffff::1 ::1 1 2\r\n", 1, NULL),
		ROW("PROXY TCP4 1.2.3.4 5.6.7.8 9 443\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 1.2.3.4 5.6.7.8 9 65536\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 1.2.3.4 5.6.7.8 09 443\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 1.2.3.4 5.6.7.8 9 443 x\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP6 1.2.3.4 5.6.7.8 9 443\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 1.2.3 5.6.7.8 9 443\r\n", -EBADMSG, NULL),
		ROW("PROXY\r\n", -EBADMSG, NULL),
		ROW("GET / HTTP/1.1\r\n", -EBADMSG, NULL),
		ROW(V2 "\x21\x11\0\x0c\1\2\3\4\5\6\7\x8\0\x9\1\xbb", 1, "1.2.3.4:9"),
		ROW(V2 "\x21\x11\0\x0f\1\2\3\4\5\6\7\x8\0\x9\1\xbb\4\0\0", 1, "1.2.3.4:9"),
		ROW(V2 "\x20\0\0\0", 1, NULL),
		ROW(V2 "\x21\x31\0\2ab", 1, NULL), /* a Unix socket */
		ROW(V2 "\x21\x11\0\x0b\1\2\3\4\5\6\7\x8\0\x9\1", -EBADMSG, NULL),
		ROW(V2 "\x22\x11\0\0", -EBADMSG, NULL),
		ROW(V2 "\x11\x11\0\0", -EBADMSG, NULL),
		ROW(V2 "\x21\x11\xff\xff", -EMSGSIZE, NULL),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint8_t *bytes = (const uint8_t *)rows[i].head;
		struct endpoint from = {0};
		char text[ENDPOINT_TEXT_MAX];
		size_t used = 0;

		assert_int_equal(proxy_protocol_parse(bytes, rows[i].length, &from, &used),
				 rows[i].result);
		if (rows[i].result != 1)
			continue;
		assert_int_equal(used, rows[i].length);
		if (rows[i].from)
			assert_string_equal(endpoint_format(&from, text), rows[i].from);
		else
			assert_int_equal(from.address.family, ADDRESS_NONE);
		for (size_t length = 0; length < rows[i].length; length++)
			assert_int_equal(proxy_protocol_parse(bytes, length, &from, &used), 0);
	}
}

static void a_line_that_never_ends(void **state)
{
	uint8_t line[200] = "PROXY TCP4 ";
	struct endpoint from;
	size_t used;

	(void)state;
	memset(line + 11, '1', sizeof(line) - 11);
	assert_int_equal(proxy_protocol_parse(line, 106, &from, &used), 0);
	assert_int_equal(proxy_protocol_parse(line, 107, &from, &used), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_read),     cmocka_unit_test(hellos_without_a_name),
		cmocka_unit_test(damage_is_survived), cmocka_unit_test(the_size_is_bounded),
		cmocka_unit_test(proxy_heads),        cmocka_unit_test(a_line_that_never_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
