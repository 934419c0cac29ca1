/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/control/core_world.h - the control client against a scripted transport
 *
 * The test plays the transport: it takes each output, checks that it's the expected
 * one, and says what happened. Time is a variable.
 */
#pragma once

#include "base/cursor.h"
#include "control/core.h"
#include "unit/unit.h"

#include <zstd.h>

#define SECOND NSEC_PER_SEC
#define WALL   (INT64_C(1800000000) * SECOND)
#define SELF   "{\"Node\":{\"ID\":1,\"Key\":\"%s\"},\"Peers\":[{\"ID\":2}]}"

struct fixture {
	struct control_core c;
	struct control_output out;
	nanoseconds now;
	nanoseconds wall_step; /* by which the wall clock was set */
	struct buffer body;    /* of the last request */
	struct public_key server_key;
};

static const char *const kinds[] = {
	"NOTHING",
	"FETCH_KEY",
	"CONNECT",
	"DISCONNECT",
	"SEND",
	"CANCEL",
	"TELL_STORE_KEY",
	"TELL_ASK_AUTH_KEY",
	"TELL_URL",
	"TELL_REGISTERED",
	"TELL_REFUSED",
	"TELL_NETMAP",
	"TELL_HEALTHY",
	"TELL_TROUBLE",
	"TELL_KEY_EXPIRED",
	"TELL_KEY_EXTENDED",
	"TELL_LOGGED_OUT",
	"TELL_PING",
	"TELL_BROWSER",
};

static inline uint32_t no_random(void)
{
	return 0;
}

static inline int setup(void **state)
{
	struct tailcfg_hostinfo info = {.hostname = "h"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct secret_key key;

	assert_int_equal(control_core_init(&f->c, NULL), 0);
	f->c.random = no_random;
	f->now = 1000 * SECOND;
	f->body = BUFFER_INIT(1 << 20);
	memset(&key, 7, sizeof(key));
	control_core_set_keys(&f->c, &key, NULL);
	memset(&f->c.disco_key, 9, sizeof(f->c.disco_key));
	memset(&f->server_key, 1, sizeof(f->server_key));
	assert_int_equal(control_core_set_hostinfo(&f->c, &info), 0);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	control_core_clear(&f->c);
	buffer_free_secret(&f->body);
	free(f);
	return 0;
}

static inline enum control_output_kind next(struct fixture *f)
{
	enum control_output_kind kind = control_core_next(
		&f->c, f->now, WALL + f->wall_step + (f->now - 1000 * SECOND), &f->out);

	if (kind == CONTROL_SEND) {
		buffer_free_secret(&f->body);
		assert_int_equal(
			buffer_append(&f->body, buffer_head(f->out.body), f->out.body->length), 0);
		assert_int_equal(buffer_append(&f->body, "", 1), 0);
	}
	return kind;
}

#define EXPECT(f, wanted)                                                                 \
	do {                                                                              \
		enum control_output_kind got_ = next(f);                                  \
		if (got_ != (wanted))                                                     \
			fail_msg("line %d: %s instead of %s (%s)", __LINE__, kinds[got_], \
				 kinds[wanted], (f)->c.trouble.text);                     \
	} while (0)

/* Let time pass until the deadline of the last NOTHING. */
static inline void sleep_until_deadline(struct fixture *f)
{
	assert_int_equal(f->out.kind, CONTROL_NOTHING);
	assert_true(f->out.deadline > f->now && f->out.deadline != DEADLINE_NEVER);
	f->now = f->out.deadline;
}

static inline bool body_has(struct fixture *f, const char *text)
{
	return strstr((char *)buffer_head(&f->body), text) != NULL;
}

static inline void answer(struct fixture *f, enum control_slot slot, int status, const char *body)
{
	control_core_response(&f->c, slot, status, -1);
	if (*body)
		control_core_data(&f->c, slot, (const uint8_t *)body, strlen(body), f->now);
	control_core_end(&f->c, slot, f->now);
}

static inline void map_message(struct fixture *f, const char *text)
{
	uint8_t frame[8192];
	size_t length = ZSTD_compress(frame + 4, sizeof(frame) - 4, text, strlen(text), 3);

	assert_false(ZSTD_isError(length));
	put_le32(frame, (uint32_t)length);
	control_core_data(&f->c, CONTROL_SLOT_MAP, frame, length + 4, f->now);
}

static inline void first_message(struct fixture *f)
{
	char text[300], key[KEY_TEXT_MAX];

	snprintf(text, sizeof(text), SELF, public_key_format(&f->c.node_public, KEY_NODE, key));
	control_core_response(&f->c, CONTROL_SLOT_MAP, 200, -1);
	map_message(f, text);
}

static inline void link_up(struct fixture *f)
{
	EXPECT(f, CONTROL_CONNECT);
	EXPECT(f, CONTROL_NOTHING);
	control_core_connected(&f->c, NULL, f->now);
}

/* From the start to a request that registers. */
static inline void to_registering(struct fixture *f)
{
	control_core_start(&f->c, REGISTRATION_ASKED, false);
	EXPECT(f, CONTROL_FETCH_KEY);
	EXPECT(f, CONTROL_NOTHING);
	control_core_key(&f->c, &f->server_key, NULL, f->now);
	link_up(f);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_REGISTER);
	EXPECT(f, CONTROL_NOTHING);
}

static inline void to_map_request(struct fixture *f)
{
	to_registering(f);
	answer(f, CONTROL_SLOT_REGISTER, 200, "{\"MachineAuthorized\":true}");
	EXPECT(f, CONTROL_TELL_REGISTERED);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_MAP);
	assert_true(body_has(f, "\"Stream\":true"));
	EXPECT(f, CONTROL_NOTHING);
}

/* To a live session whose first update is acknowledged. */
static inline void to_live(struct fixture *f)
{
	to_map_request(f);
	first_message(f);
	EXPECT(f, CONTROL_TELL_NETMAP);
	EXPECT(f, CONTROL_TELL_HEALTHY);
	EXPECT(f, CONTROL_SEND);
	assert_int_equal(f->out.slot, CONTROL_SLOT_UPDATE);
	assert_true(body_has(f, "\"OmitPeers\":true"));
	EXPECT(f, CONTROL_NOTHING);
	answer(f, CONTROL_SLOT_UPDATE, 200, "");
	EXPECT(f, CONTROL_NOTHING);
}
