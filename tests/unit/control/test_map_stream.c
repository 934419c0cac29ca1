/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/control/test_map_stream.c - frames, zstd and their limits */
#include "base/cursor.h"
#include "base/limits.h"
#include "control/map_session.h"
#include "unit/unit.h"

#include <zstd.h>

/* A frame of @text, compressed with or without its size. */
static size_t frame_of(const char *text, size_t length, bool sized, uint8_t *out, size_t room)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t size;

	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, sized);
	size = ZSTD_compress2(context, out + 4, room - 4, text, length);
	assert_false(ZSTD_isError(size));
	ZSTD_freeCCtx(context);
	put_le32(out, (uint32_t)size);
	return size + 4;
}

static void expect(struct map_stream *s, const char *text)
{
	struct error err = {0};
	struct buffer message;

	if (map_stream_next(s, &message, &err) != 1)
		fail_msg("%s: %s", text, err.text);
	assert_int_equal(message.length, strlen(text));
	if (message.length)
		assert_memory_equal(buffer_head(&message), text, message.length);
	buffer_free(&message);
}

static void messages_come_in_any_pieces(void **state)
{
	struct map_stream s;
	struct buffer message;
	uint8_t bytes[1000];
	size_t length = 0;

	(void)state;
	length += frame_of("{\"a\":1}", 7, true, bytes + length, 300);
	length += frame_of("{\"b\":2}", 7, false, bytes + length, 300);
	put_le32(bytes + length, 0); /* a keep-alive of another server */
	length += 4;
	length += frame_of("{\"c\":3}", 7, true, bytes + length, 300);
	for (size_t piece = 1; piece <= length; piece++) {
		static const char *const texts[] = {"{\"a\":1}", "{\"b\":2}", "", "{\"c\":3}"};
		size_t found = 0;

		map_stream_init(&s, true);
		for (size_t at = 0; at < length; at += piece) {
			size_t left = length - at;

			assert_int_equal(
				map_stream_feed(&s, bytes + at, left < piece ? left : piece), 0);
			while (map_stream_next(&s, &message, NULL) == 1) {
				assert_int_equal(message.length, strlen(texts[found]));
				if (message.length)
					assert_memory_equal(buffer_head(&message), texts[found],
							    message.length);
				buffer_free(&message);
				found++;
			}
		}
		assert_int_equal(found, 4);
		map_stream_clear(&s);
	}
}

static void uncompressed_works_too(void **state)
{
	struct map_stream s;

	(void)state;
	map_stream_init(&s, false);
	assert_int_equal(map_stream_feed(&s, (const uint8_t *)"\2\0\0\0{}", 6), 0);
	expect(&s, "{}");
	map_stream_clear(&s);
}

static void limits_hold(void **state)
{
	static const struct {
		const char *name;
		const uint8_t bytes[16];
		size_t length;
		int result;
	} rows[] = {
		/* 1 */ {"a big frame", {0, 0, 0, 2}, 4, -EMSGSIZE},
		/* 2 */ {"big-endian", {0, 0, 0, 10, '{'}, 5, -EMSGSIZE},
		/* 3 */ {"not zstd", {2, 0, 0, 0, '{', '}'}, 6, -EBADMSG},
		/* 4 */
		{"says 4 GB inside",
		 {9, 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0xff},
		 13,
		 -EMSGSIZE},
		/* 5 */ {"incomplete", {9, 0, 0, 0, 0x28, 0xb5}, 6, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = {0};
		struct buffer message;
		struct map_stream s;
		int r;

		map_stream_init(&s, true);
		assert_int_equal(map_stream_feed(&s, rows[i].bytes, rows[i].length), 0);
		r = map_stream_next(&s, &message, &err);
		if (r != rows[i].result)
			fail_msg("row %zu: %s: %d", i + 1, rows[i].name, r);
		assert_int_equal(err.code, r);
		map_stream_clear(&s);
	}
}

/* Megabytes of zeros in a few bytes, with and without saying so. */
static void bombs_are_refused(void **state)
{
	size_t size = (size_t)LIMIT_MAP_OBJECT + (16u << 20), room = ZSTD_compressBound(size) + 4;
	char *zeros = calloc(1, size);
	uint8_t *frame = malloc(room);

	(void)state;
	for (int sized = 0; sized < 2; sized++) {
		size_t length = frame_of(zeros, size, sized, frame, room);
		struct buffer message;
		struct map_stream s;

		map_stream_init(&s, true);
		assert_int_equal(map_stream_feed(&s, frame, length), 0);
		assert_int_equal(map_stream_next(&s, &message, NULL), -EMSGSIZE);
		map_stream_clear(&s);
	}
	free(frame);
	free(zeros);
}

static void a_flood_is_refused(void **state)
{
	static uint8_t piece[1 << 20];
	struct map_stream s;
	int r = 0;

	(void)state;
	map_stream_init(&s, true);
	put_le32(piece, LIMIT_MAP_FRAME);
	for (int i = 0; i < 32 && r == 0; i++)
		r = map_stream_feed(&s, piece, sizeof(piece));
	assert_int_equal(r, -EMSGSIZE);
	map_stream_clear(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_come_in_any_pieces),
		cmocka_unit_test(uncompressed_works_too),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(bombs_are_refused),
		cmocka_unit_test(a_flood_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
