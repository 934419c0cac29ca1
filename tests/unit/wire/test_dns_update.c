/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/wire/test_dns_update.c - updates of a zone, and the answers of servers */
#include "unit/unit.h"

#include "base/cursor.h"
#include "wire/dns_update.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define WALL 1796100000u
#define ID   0x1234

static const struct dns_key key = {.name = "pillion", .secret = "0123456789abcdef", 16};
static const struct dns_change change = {
	.zone = "example.com.",
	.name = "_acme-challenge.App.example.com",
	.value = "abc",
};

static void hmac(const uint8_t *bytes, size_t length, uint8_t ret[static 32])
{
	unsigned int size = 32;

	assert_non_null(HMAC(EVP_sha256(), key.secret, 16, bytes, length, ret, &size));
}

static void add(struct buffer *b, const void *bytes, size_t length)
{
	assert_int_equal(buffer_append(b, bytes, length), 0);
}

#define ADD(buffer, text) add(buffer, text, sizeof(text) - 1)

/* What is signed behind the message: name, class, TTL, algorithm, time, fudge, error, other. */
static void variables(struct buffer *b, uint64_t wall, uint16_t error)
{
	uint8_t numbers[12] = {0};

	ADD(b, "\7pillion\0\0\xff\0\0\0\0\x0bhmac-sha256\0");
	put_be32(numbers + 2, (uint32_t)wall);
	put_be16(numbers + 6, 300);
	put_be16(numbers + 8, error);
	add(b, numbers, sizeof(numbers));
}

static void test_an_update(void **state)
{
	static const char wanted[] = "\x12\x34\x28\0\0\1\0\0\0\1\0\0"
				     "\7example\3com\0\0\6\0\1"
				     "\x0f_acme-challenge\3app\7example\3com\0"
				     "\0\x10\0\1\0\0\0\x3c\0\4\3abc";
	struct buffer out = BUFFER_INIT(4096), input = BUFFER_INIT(4096);
	struct dns_sent sent;
	uint8_t mac[32];

	(void)state;
	assert_int_equal(dns_update_write(&out, ID, &change, &key, WALL, &sent), 0);
	assert_int_equal(out.data[11], 1); /* the TSIG, which is not there when it is signed */
	out.data[11] = 0;
	assert_memory_equal(buffer_head(&out), wanted, sizeof(wanted) - 1);
	ADD(&input, wanted);
	variables(&input, WALL, 0);
	hmac(buffer_head(&input), input.length, mac);
	assert_memory_equal(sent.mac, mac, sizeof(mac));
	buffer_free(&out);
	buffer_free(&input);
}

static void test_names_that_can_not_be(void **state)
{
	static const char *const names[] = {
		"a..b",
		".",
		"a234567890123456789012345678901234567890123456789012345678901234.b",
	};
	struct buffer out = BUFFER_INIT(4096);
	struct dns_change bad = change;
	struct dns_sent sent;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		bad.name = names[i];
		if (i != 1)
			assert_int_equal(dns_update_write(&out, ID, &bad, &key, WALL, &sent),
					 -EINVAL);
	}
	buffer_free(&out);
}

/* answer() - Of a server: its codes, signed at @wall unless @unsigned_ */
static void answer(struct buffer *out, const struct dns_sent *sent, unsigned int rcode,
		   uint16_t error, uint64_t wall, bool has_mac)
{
	uint8_t head[12] = {0x12, 0x34, 0xa8, (uint8_t)rcode, 0, 0, 0, 0, 0, 0, 0, 0};
	struct buffer input = BUFFER_INIT(4096);
	uint8_t numbers[10] = {0}, end[6] = {0}, mac[32], length[2] = {0, 32};

	add(&input, "\0\x20", 2);
	add(&input, sent->mac, 32);
	add(&input, head, sizeof(head));
	variables(&input, wall, error);
	hmac(buffer_head(&input), input.length, mac);
	head[11] = 1;
	out->length = 0;
	out->start = 0;
	add(out, head, sizeof(head));
	ADD(out, "\7pillion\0\0\xfa\0\xff\0\0\0\0");
	put_be16(length, (uint16_t)(13 + 10 + (has_mac ? 32 : 0) + 6));
	add(out, length, 2);
	ADD(out, "\x0bhmac-sha256\0");
	put_be32(numbers + 2, (uint32_t)wall);
	put_be16(numbers + 6, 300);
	put_be16(numbers + 8, has_mac ? 32 : 0);
	add(out, numbers, sizeof(numbers));
	if (has_mac)
		add(out, mac, sizeof(mac));
	put_be16(end, ID);
	put_be16(end + 2, error);
	add(out, end, sizeof(end));
	buffer_free(&input);
}

static void test_answers(void **state)
{
	static const struct {
		unsigned int rcode;
		uint16_t error;
		int64_t late;
		bool has_mac;
		int result;
		const char *text;
	} rows[] = {
		{0, 0, 0, true, 0, ""},
		{0, 0, 299, true, 0, ""},
		{0, 0, 400, true, -EBADMSG, "an old answer"},
		{5, 0, 0, true, -EACCES, "it refused"},
		{9, 16, 0, false, -EACCES, "the key's secret is wrong"},
		{9, 17, 0, false, -EACCES, "does not know the key's name"},
		{9, 18, 0, true, -EACCES, "five minutes"},
		{0, 0, 0, false, -EBADMSG, "wrong signature"},
	};
	struct buffer out = BUFFER_INIT(4096);
	struct dns_sent sent = {.id = ID, .mac = {1, 2, 3}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = {0};
		int r;

		answer(&out, &sent, rows[i].rcode, rows[i].error, WALL, rows[i].has_mac);
		r = dns_update_read(buffer_head(&out), out.length, &key, &sent,
				    WALL + (uint64_t)rows[i].late, &err);
		if (r != rows[i].result || !strstr(err.text, rows[i].text))
			fail_msg("row %zu: %d %s", i, r, err.text);
	}
	/* Each changed byte, and each cut, is noticed. */
	answer(&out, &sent, 0, 0, WALL, true);
	for (size_t i = 0; i < out.length; i++) {
		/* Some bytes are not of the meaning: flags of the head, the name's case. */
		out.data[i] ^= 0x80;
		if (dns_update_read(out.data, out.length, &key, &sent, WALL, NULL) == 0)
			fail_msg("byte %zu", i);
		out.data[i] ^= 0x80;
		assert_true(dns_update_read(out.data, i, &key, &sent, WALL, NULL) < 0);
	}
	buffer_free(&out);
}

static void test_the_zone(void **state)
{
	static const char good[] = "\x12\x34\x84\0\0\1\0\0\0\1\0\0"
				   "\x0f_acme-challenge\3app\7example\3com\0\0\6\0\1"
				   "\xc0\x20\0\6\0\1\0\0\0\x3c\0\2\0\0";
	static const char circle[] = "\x12\x34\x84\0\0\1\0\0\0\1\0\0"
				     "\x0f_acme-challenge\3app\7example\3com\0\0\6\0\1"
				     "\xc0\x37\0\6\0\1\0\0\0\x3c\0\2\0\0";
	static const char other[] = "\x12\x34\x84\0\0\0\0\0\0\1\0\0"
				    "\3org\0\0\6\0\1\0\0\0\x3c\0\2\0\0";
	struct buffer out = BUFFER_INIT(512);
	char zone[DNS_NAME_TEXT];
	struct error err = {0};

	(void)state;
	assert_int_equal(dns_zone_write(&out, ID, change.name), 0);
	assert_memory_equal(buffer_head(&out) + 12, good + 12, out.length - 12);
	assert_int_equal(
		dns_zone_read((const uint8_t *)good, sizeof(good) - 1, ID, change.name, zone, &err),
		0);
	assert_string_equal(zone, "example.com");
	assert_int_equal(dns_zone_read((const uint8_t *)good, sizeof(good) - 1, ID + 1, change.name,
				       zone, &err),
			 -EBADMSG);
	assert_int_equal(dns_zone_read((const uint8_t *)circle, sizeof(circle) - 1, ID, change.name,
				       zone, &err),
			 -EBADMSG);
	assert_int_equal(dns_zone_read((const uint8_t *)other, sizeof(other) - 1, ID, change.name,
				       zone, &err),
			 -ENOENT);
	buffer_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_update),
		cmocka_unit_test(test_names_that_can_not_be),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_the_zone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
