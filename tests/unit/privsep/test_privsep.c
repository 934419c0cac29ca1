/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/privsep/test_privsep.c - messages, records, configuration, hand-over */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "privsep/cache_head.h"
#include "privsep/handover_record.h"
#include "privsep/privsep_messages.h"
#include "privsep/records.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* clang-format off */
#define E PRIVSEP_FROM_ENGINE
#define S PRIVSEP_FROM_SUPERVISOR

/* A kind of child that the table does not name. */
#define OTHER ((enum privsep_sender)(1u << 7))

/* What one end may say. The message is zeros but for type, id and one word. */
static const struct {
	enum privsep_sender sender;
	uint32_t type, id;
	size_t at;      /* offset of the word, 0: none */
	uint32_t word;
	int grow;       /* added to the right size */
	size_t fds;
	int expect;
} rows[] = {
	/*  0 */ {E, PRIVSEP_SOCKET, 1, 12, ADDRESS_V4, 0, 0, 0},
	/*  1 */ {E, PRIVSEP_SOCKET, 1, 12, ADDRESS_V6, 0, 0, 0},
	/*  2 */ {E, PRIVSEP_SOCKET, 1, 12, ADDRESS_NONE, 0, 0, -EBADMSG},
	/*  3 */ {E, PRIVSEP_SOCKET, 1, 12, 5, 0, 0, -EBADMSG},
	/*  4 */ {E, PRIVSEP_SOCKET, 0, 12, ADDRESS_V4, 0, 0, -EBADMSG},
	/*  5 */ {E, PRIVSEP_SOCKET, 1, 12, ADDRESS_V4, -1, 0, -EBADMSG},
	/*  6 */ {E, PRIVSEP_SOCKET, 1, 12, ADDRESS_V4, 1, 0, -EBADMSG},
	/*  7 */ {E, PRIVSEP_SOCKET, 1, 12, ADDRESS_V4, 0, 1, -EBADMSG},
	/*  8 */ {S, PRIVSEP_SOCKET, 1, 12, ADDRESS_V4, 0, 0, -EBADMSG},
	/*  9 */ {E, PRIVSEP_FILE, 7, 8, PRIVSEP_FILE_COUNT - 1, 0, 0, 0},
	/* 10 */ {E, PRIVSEP_FILE, 7, 8, PRIVSEP_FILE_COUNT, 0, 0, -EBADMSG},
	/* 11 */ {E, PRIVSEP_FILE, 7, 8, UINT32_MAX, 0, 0, -EBADMSG},
	/* 12 */ {E, PRIVSEP_LOAD, 7, 8, PRIVSEP_BLOB_CACHE, 0, 0, 0},
	/* 13 */ {E, PRIVSEP_LOAD, 7, 8, PRIVSEP_BLOB_COUNT, 0, 0, -EBADMSG},
	/* 14 */ {E, PRIVSEP_STORE, 7, 8, PRIVSEP_BLOB_STATE, 0, 1, 0},
	/* 15 */ {E, PRIVSEP_STORE, 7, 8, PRIVSEP_BLOB_STATE, 0, 0, -EBADMSG},
	/* 16 */ {E, PRIVSEP_STORE, 7, 8, PRIVSEP_BLOB_STATE, 0, 2, -EBADMSG},
	/* 17 */ {E, PRIVSEP_NETWORK, 9, 0, 0, 0, 1, 0},
	/* 18 */ {E, PRIVSEP_NETWORK, 9, 0, 0, 0, 0, -EBADMSG},
	/* 19 */ {E, PRIVSEP_STATUS, 0, 8, PRIVSEP_STATE_RUNNING, 0, 0, 0},
	/* 20 */ {E, PRIVSEP_STATUS, 0, 8, PRIVSEP_STATE_COUNT, 0, 0, -EBADMSG},
	/* 21 */ {E, PRIVSEP_STATUS, 1, 8, PRIVSEP_STATE_RUNNING, 0, 0, -EBADMSG},
	/* 22 */ {S, PRIVSEP_REPLY, 3, 8, (uint32_t)-ENOENT, 0, 0, 0},
	/* 23 */ {S, PRIVSEP_REPLY, 3, 8, (uint32_t)-ENOENT, 0, 1, -EBADMSG},
	/* 24 */ {S, PRIVSEP_REPLY, 3, 8, 1, 0, 0, -EBADMSG},
	/* 25 */ {S, PRIVSEP_REPLY, 3, 8, (uint32_t)-5000, 0, 0, -EBADMSG},
	/* 26 */ {S, PRIVSEP_REPLY, 3, 12, 1, 0, 0, -EBADMSG},
	/* 27 */ {S, PRIVSEP_REPLY, 3, 0, 0, 0, 1, 0},
	/* 28 */ {S, PRIVSEP_REPLY, 3, 0, 0, 0, 2, -EBADMSG},
	/* 29 */ {E, PRIVSEP_REPLY, 3, 0, 0, 0, 0, -EBADMSG},
	/* 30 */ {S, PRIVSEP_INTERFACES, 0, 0, 0, 0, 1, 0},
	/* 31 */ {S, PRIVSEP_INTERFACES, 0, 0, 0, 0, 0, -EBADMSG},
	/* 32 */ {S, PRIVSEP_CHANGED, 0, 8, PRIVSEP_FILE_HOSTS, 0, 1, 0},
	/* 33 */ {S, PRIVSEP_CHANGED, 0, 8, PRIVSEP_FILE_HOSTS, 0, 0, -EBADMSG},
	/* 34 */ {S, PRIVSEP_CHANGED, 0, 12, (uint32_t)-ENOENT, 0, 0, 0},
	/* 35 */ {S, PRIVSEP_CHANGED, 0, 12, (uint32_t)-ENOENT, 0, 1, -EBADMSG},
	/* 36 */ {S, PRIVSEP_CHANGED, 0, 8, PRIVSEP_FILE_COUNT, 0, 1, -EBADMSG},
	/* 37 */ {S, PRIVSEP_STOP, 0, 0, 0, 0, 0, 0},
	/* 38 */ {S, PRIVSEP_STOP, 1, 0, 0, 0, 0, -EBADMSG},
	/* 39 */ {S, PRIVSEP_PING, 0, 0, 0, 0, 0, 0},
	/* 40 */ {S, PRIVSEP_START, 0, 24, 1, 0, 3, 0},
	/* 41 */ {S, PRIVSEP_START, 0, 24, 0, 0, 3, -EBADMSG},
	/* 42 */ {S, PRIVSEP_START, 0, 24, 1, 0, 4, -EBADMSG},
	/* 43 */ {S, PRIVSEP_START, 0, 24, PRIVSEP_TUN_MAX, 0, 2 + PRIVSEP_TUN_MAX, 0},
	/* 44 */ {S, PRIVSEP_START, 0, 24, PRIVSEP_TUN_MAX + 1, 0, 3 + PRIVSEP_TUN_MAX, -EBADMSG},
	/* 45 */ {S, PRIVSEP_START, 0, 8, 2, 0, 4, -EBADMSG},
	/* 46 */ {E, 0, 0, 0, 0, 0, 0, -EBADMSG},
	/* 47 */ {S, PRIVSEP_TYPE_END, 0, 0, 0, 0, 0, -EBADMSG},
	/* 48 */ {E, UINT32_MAX, 1, 0, 0, 0, 0, -EBADMSG},
	/* 49 */ {S, PRIVSEP_PING, 0, 0, 0, 0, 0, 0},
	/* 50 */ {E, PRIVSEP_PING, 0, 0, 0, 0, 0, -EBADMSG},
	/* 51 */ {E, PRIVSEP_ALIVE, 0, 0, 0, 0, 0, 0},
	/* 52 */ {E, PRIVSEP_ALIVE, 1, 0, 0, 0, 0, -EBADMSG},
	/* 53 */ {S, PRIVSEP_ALIVE, 0, 0, 0, 0, 0, -EBADMSG},
	/* 54 */ {E, PRIVSEP_SETTLED, 0, 0, 0, 0, 0, 0},
	/* 55 */ {S, PRIVSEP_SETTLED, 0, 0, 0, 0, 0, -EBADMSG},
	/* 56 */ {OTHER, PRIVSEP_ALIVE, 0, 0, 0, 0, 0, 0},
};
/* clang-format on */

static void test_check_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t bytes[sizeof(union privsep_message) + 8] = {0};
		size_t size = privsep_size(rows[i].sender, rows[i].type);
		union privsep_message got;
		int r;

		if (size == 0)
			size = sizeof(struct privsep_plain);
		memcpy(bytes, &rows[i].type, 4);
		memcpy(bytes + 4, &rows[i].id, 4);
		if (rows[i].at)
			memcpy(bytes + rows[i].at, &rows[i].word, 4);
		r = privsep_check(rows[i].sender, bytes, size + (size_t)rows[i].grow, rows[i].fds,
				  &got);
		if (r != rows[i].expect)
			fail_msg("row %zu: %d instead of %d", i, r, rows[i].expect);
	}
}

/* Every length but the right one is refused, for every type and both ends. */
static void test_check_lengths(void **state)
{
	(void)state;
	for (uint32_t type = 0; type <= PRIVSEP_TYPE_END; type++)
		for (size_t length = 0; length < sizeof(union privsep_message) + 8; length++)
			for (int sender = S; sender <= E; sender++) {
				uint8_t bytes[sizeof(union privsep_message) + 8] = {0};
				union privsep_message got;
				int r = -EBADMSG;

				memcpy(bytes, &type, 4);
				for (size_t fds = 0; fds <= PRIVSEP_FDS_MAX && r < 0; fds++)
					r = privsep_check((enum privsep_sender)sender, bytes,
							  length, fds, &got);
				if (r == 0)
					assert_int_equal(length, privsep_size(sender, type));
			}
}

/* A child of a kind that no row names may send what every child may send, and nothing else. */
static void test_check_other_kinds(void **state)
{
	(void)state;
	for (uint32_t type = 0; type <= PRIVSEP_TYPE_END; type++)
		assert_int_equal(privsep_size(OTHER, type) > 0, type == PRIVSEP_ALIVE);
}

/* A blob of a domain is a file's name: no path, no other blob, no end missing. */
static void test_check_domains(void **state)
{
	static const char *const good[] = {"a", "a.b", "*.a.b", "a-b.c_d", "1.2.3.4"};
	static const char *const bad[] = {
		"",       ".",      "..",    "../x", "a/b",      "/a",    "a/../b", "a..b",
		".a",     "a.",     "-a",    "A.b",  "a b",      "a\nb",  "a\\b",   "*",
		"*.",     "*..",    "*.*.a", "a.*",  "\xc3\xa4", "a\x7f", "a%00",   "*./a",
		"*.../a", "acme/x", "a\tb",  "~a",   "a:b",      "a;b",   "$a",     "a\x80",
	};
	union privsep_message m, got;
	const size_t size = privsep_size(PRIVSEP_FROM_SERVICES, PRIVSEP_LOAD);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good) + ARRAY_SIZE(bad); i++) {
		bool fits = i < ARRAY_SIZE(good);
		const char *domain = fits ? good[i] : bad[i - ARRAY_SIZE(good)];

		m = (union privsep_message){
			.blob = {{PRIVSEP_LOAD, 1}, PRIVSEP_BLOB_DOMAIN_KEY, ""},
		};
		snprintf(m.blob.domain, sizeof(m.blob.domain), "%s", domain);
		if (privsep_check(PRIVSEP_FROM_SERVICES, &m, size, 0, &got) !=
		    (fits ? 0 : -EBADMSG))
			fail_msg("\"%s\"", domain);
		/* Other blobs have no domain. */
		m.blob.name = PRIVSEP_BLOB_ACME_ACCOUNT;
		assert_int_equal(privsep_check(PRIVSEP_FROM_SERVICES, &m, size, 0, &got),
				 *domain ? -EBADMSG : 0);
	}
	m.blob.name = PRIVSEP_BLOB_DOMAIN_KEY;
	memset(m.blob.domain, 'a', sizeof(m.blob.domain));
	assert_int_equal(privsep_check(PRIVSEP_FROM_SERVICES, &m, size, 0, &got), -EBADMSG);
	m.blob.domain[sizeof(m.blob.domain) - 1] = 0; /* with ".crt" it is no file's name */
	assert_int_equal(privsep_check(PRIVSEP_FROM_SERVICES, &m, size, 0, &got), -EBADMSG);
}

static void test_check_text(void **state)
{
	union privsep_message m = {.status = {.header.type = PRIVSEP_STATUS}}, got;

	(void)state;
	memset(m.status.text, 'x', sizeof(m.status.text));
	assert_int_equal(privsep_check(E, &m, sizeof(m.status), 0, &got), -EBADMSG);
	m.status.text[PRIVSEP_TEXT_MAX - 1] = 0;
	assert_int_equal(privsep_check(E, &m, sizeof(m.status), 0, &got), 0);
}

static void test_check_url(void **state)
{
	static const struct {
		const char *url;
		int expect;
	} urls[] = {
		/* 0 */ {"https://vpn.example/register/abc", 0},
		/* 1 */ {"", -EBADMSG},
		/* 2 */ {"https://vpn.example/\x1b[2J", -EBADMSG},
		/* 3 */ {"https://vpn.example/a b", -EBADMSG},
		/* 4 */ {"https://vpn.example/\xc3\xa9", -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		union privsep_message m = {.login = {.header.type = PRIVSEP_LOGIN}}, got;

		snprintf(m.login.url, sizeof(m.login.url), "%s", urls[i].url);
		if (privsep_check(E, &m, sizeof(m.login), 0, &got) != urls[i].expect)
			fail_msg("row %zu", i);
	}
}

static int open_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void pair(int channel[2])
{
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel), 0);
}

static void test_channel(void **state)
{
	union privsep_message m = {.plain = {.header = {PRIVSEP_NETWORK, 4}}}, got;
	struct privsep_fds fds;
	int channel[2], before = open_fds();

	(void)state;
	pair(channel);
	assert_int_equal(privsep_receive(channel[1], E, &got, &fds), -EAGAIN);
	assert_int_equal(privsep_send(channel[0], E, &m, &(int){channel[0]}, 1), 0);
	assert_int_equal(privsep_receive(channel[1], E, &got, &fds), 0);
	assert_int_equal(got.header.id, 4);
	assert_int_equal(fds.count, 1);
	assert_true(fcntl(fds.fd[0], F_GETFD) & FD_CLOEXEC);
	privsep_fds_close(&fds);

	/* A type that the sender may not send never leaves, and is refused when it does. */
	assert_int_equal(privsep_send(channel[0], S, &m, NULL, 0), -EINVAL);
	assert_int_equal(privsep_send(channel[0], E, &m, &(int){channel[0]}, 1), 0);
	assert_int_equal(privsep_receive(channel[1], S, &got, &fds), -EBADMSG);
	assert_int_equal(fds.count, 0);

	/* Truncated, too long, empty. */
	assert_int_equal(send(channel[0], &m, 5, 0), 5);
	assert_int_equal(privsep_receive(channel[1], E, &got, &fds), -EBADMSG);
	{
		uint8_t bytes[8192] = {0};

		memcpy(bytes, &m, sizeof(m));
		assert_int_equal(send(channel[0], bytes, sizeof(bytes), 0), sizeof(bytes));
		assert_int_equal(privsep_receive(channel[1], E, &got, &fds), -EBADMSG);
	}
	close(channel[0]);
	assert_int_equal(privsep_receive(channel[1], E, &got, &fds), -EPIPE);
	assert_int_equal(privsep_send(channel[1], E, &m, &(int){channel[1]}, 1), -EPIPE);
	close(channel[1]);
	assert_int_equal(open_fds(), before);
}

/* More descriptors than any message has: none of them stays open. */
static void test_channel_too_many_fds(void **state)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(40 * sizeof(int))];
	} control = {0};
	union privsep_message m = {.plain = {.header = {PRIVSEP_NETWORK, 4}}}, got;
	struct iovec iov = {&m, sizeof(m.plain)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int channel[2], list[40], before = open_fds();
	struct privsep_fds fds;

	(void)state;
	pair(channel);
	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		list[i] = channel[0];
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(list));
	memcpy(CMSG_DATA(cmsg), list, sizeof(list));
	assert_int_equal(sendmsg(channel[0], &msg, 0), sizeof(m.plain));
	assert_int_equal(privsep_receive(channel[1], E, &got, &fds), -EBADMSG);
	close(channel[0]);
	close(channel[1]);
	assert_int_equal(open_fds(), before);
}

static void test_memfd(void **state)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(64);
	_cleanup_close_ int sealed = memfd_seal("test", "hello", 5);
	_cleanup_close_ int loose = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	_cleanup_close_ int empty = memfd_seal("test", NULL, 0);
	int pipes[2];

	(void)state;
	assert_true(sealed >= 0 && empty >= 0);
	assert_int_equal(memfd_read(sealed, 5, &out), 0);
	assert_int_equal(out.length, 5);
	assert_memory_equal(out.data, "hello", 5);
	assert_int_equal(memfd_read(sealed, 4, &out), -EMSGSIZE);
	assert_int_equal(write(sealed, "x", 1), -1);
	assert_int_equal(ftruncate(sealed, 1), -1);
	assert_int_equal(memfd_read(empty, 4, &out), 0);
	assert_int_equal(out.length, 5);

	/* Not sealed, half sealed, not a memfd at all. */
	assert_int_equal(write(loose, "x", 1), 1);
	assert_int_equal(memfd_read(loose, 5, &out), -EPERM);
	assert_int_equal(fcntl(loose, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(memfd_read(loose, 5, &out), -EPERM);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(memfd_read(pipes[0], 5, &out), -EPERM);
	assert_int_equal(file_read(pipes[0], 5, &out), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
}

static void fill(struct privsep_start *start)
{
	privsep_start_init(start);
	start->tun_name = strdup("tailscale0");
	start->prefs = strdup("{\"Hostname\":\"app\"}");
	start->disable = strdup("udp-gso,tun-uso");
	start->socket_path = strdup("/tmp/tailscaled.sock");
	start->https_proxy = strdup("http://user:password@proxy:3128");
	start->no_proxy = strdup("localhost,.lan");
	start->health_check = true;
	start->allow_exit_node = true;
	start->allow_routes = strdup("");
	start->tailnet_ranges = strdup("10.99.0.0/16");
	start->udp_port = 41641;
	start->last_crash = strdup("killed by SIGSEGV");
	start->crash_count = 3;
}

static void test_start(void **state)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_START_MAX);
	struct privsep_start start, got = {0};

	(void)state;
	fill(&start);
	assert_int_equal(privsep_start_encode(&start, &bytes), 0);
	assert_int_equal(privsep_start_decode(bytes.data, bytes.length, &got), 0);
	assert_string_equal(got.tun_name, "tailscale0");
	assert_string_equal(got.prefs, start.prefs);
	assert_string_equal(got.disable, start.disable);
	assert_string_equal(got.last_crash, start.last_crash);
	assert_null(got.warnings);
	assert_true(got.health_check && got.allow_exit_node);
	assert_string_equal(got.allow_routes, ""); /* none, where NULL is any */
	assert_string_equal(got.tailnet_ranges, "10.99.0.0/16");
	assert_false(got.metrics || got.auth_key_present || got.up);
	assert_int_equal(got.table, 52);
	assert_int_equal(got.mtu, 1280);
	assert_int_equal(got.udp_port, 41641);
	assert_int_equal(got.crash_count, 3);
	privsep_start_clear(&got);

	/* Every truncation is refused: a whole field is missing, or a part of one. */
	for (size_t length = 0; length < bytes.length; length++) {
		int r = privsep_start_decode(bytes.data, length, &got);

		if (r == 0)
			privsep_start_clear(&got);
		/* Only the trailing strings are optional. */
		if (r != -EBADMSG && length + 8 + strlen(start.last_crash) != bytes.length)
			fail_msg("%zu of %zu bytes: %d", length, bytes.length, r);
	}
	/* Twice the same. */
	{
		size_t whole = bytes.length;
		uint8_t copy[4096];

		memcpy(copy, bytes.data, whole);
		assert_int_equal(buffer_append(&bytes, copy, whole), 0);
		assert_int_equal(privsep_start_decode(bytes.data, bytes.length, &got), -EBADMSG);
	}
	privsep_start_clear(&start);
}

/* Single damaged bytes never crash, and what is accepted holds its bounds. */
static void test_start_flips(void **state)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_START_MAX);
	struct privsep_start start, got;

	(void)state;
	fill(&start);
	assert_int_equal(privsep_start_encode(&start, &bytes), 0);
	for (size_t i = 0; i < bytes.length; i++)
		for (int value = 0; value < 256; value += 5) {
			uint8_t old = bytes.data[i];

			bytes.data[i] = (uint8_t)value;
			if (privsep_start_decode(bytes.data, bytes.length, &got) == 0) {
				assert_true(got.log_level < LOG_LEVEL_COUNT);
				assert_true(got.state_mode < START_STATE_MODE_COUNT);
				privsep_start_clear(&got);
			}
			bytes.data[i] = old;
		}
	free(start.tun_name);
	start.tun_name = strdup("a-name-that-is-too-long");
	assert_int_equal(privsep_start_encode(&start, &bytes), -EMSGSIZE);
	privsep_start_clear(&start);
}

static struct prefix prefix_from(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, strlen(text), &p), 0);
	return p;
}

static void test_network(void **state)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_NETWORK_MAX);
	struct prefix addresses[2] = {prefix_from("100.64.0.1/32"), prefix_from("fd7a::1/128")};
	struct prefix routes[3] = {prefix_from("100.64.0.2/32"), prefix_from("10.0.0.0/8"),
				   prefix_from("::/0")};
	struct privsep_network wanted = {
		.up = true,
		.share_ranges = true,
		.mtu = 1280,
		.addresses = {addresses, 2, 2},
		.routes = {routes, 3, 3},
	};
	struct privsep_network got;

	(void)state;
	assert_int_equal(privsep_network_encode(&wanted, &bytes), 0);
	assert_int_equal(privsep_network_decode(bytes.data, bytes.length, &got), 0);
	assert_true(got.up && !got.netfilter && got.share_ranges);
	assert_int_equal(got.addresses.count, 2);
	assert_int_equal(got.routes.count, 3);
	assert_true(prefix_equal(&got.routes.list[2], &routes[2]));
	assert_true(prefix_equal(&got.addresses.list[1], &addresses[1]));
	privsep_network_free(&got);

	for (size_t length = 0; length < bytes.length; length++)
		if (privsep_network_decode(bytes.data, length, &got) == 0)
			privsep_network_free(&got);

	/* Host bits in a route, a family that there isn't, bits past the address. */
	for (int i = 0; i < 3; i++) {
		_cleanup_(buffer_free) struct buffer bad = BUFFER_INIT(PRIVSEP_NETWORK_MAX);
		struct prefix p = prefix_from("10.0.0.0/8");

		if (i == 0)
			p.address.bytes[3] = 1;
		else if (i == 1)
			p.address.family = 7;
		else
			p.bits = 33;
		wanted.routes = (struct prefixes){&p, 1, 1};
		assert_int_equal(privsep_network_encode(&wanted, &bad), 0);
		assert_int_equal(privsep_network_decode(bad.data, bad.length, &got), -EBADMSG);
	}

	/* An MTU below what IPv6 takes, or above what a link can have; 0 is "as configured". */
	for (uint32_t mtu = 0; mtu < 3; mtu++) {
		static const uint32_t mtus[] = {0, 1279, 65536};
		_cleanup_(buffer_free) struct buffer odd = BUFFER_INIT(PRIVSEP_NETWORK_MAX);

		wanted.routes.count = 0;
		wanted.mtu = mtus[mtu];
		assert_int_equal(privsep_network_encode(&wanted, &odd), 0);
		assert_int_equal(privsep_network_decode(odd.data, odd.length, &got),
				 mtu == 0 ? 0 : -EBADMSG);
		if (mtu == 0)
			privsep_network_free(&got);
	}

	/* The cap, on both ends. */
	{
		_cleanup_(buffer_free) struct buffer bad = BUFFER_INIT(PRIVSEP_NETWORK_MAX);

		wanted.addresses.count = NETWORK_ADDRESSES_MAX + 1;
		assert_int_equal(privsep_network_encode(&wanted, &bad), -EMSGSIZE);
		wanted.addresses.count = 2;
		wanted.mtu = 1280;
		assert_int_equal(privsep_network_encode(&wanted, &bad), 0);
		for (unsigned int i = 0; i < NETWORK_ADDRESSES_MAX; i++)
			assert_int_equal(record_put(&bad, 1, &addresses[0], sizeof(addresses[0])),
					 0);
		assert_int_equal(privsep_network_decode(bad.data, bad.length, &got), -EMSGSIZE);
	}
}

static void test_interfaces(void **state)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	struct interface_address address = {
		.name = "eth0",
		.index = 2,
		.flags = INTERFACE_UP,
		.prefix = prefix_from("192.168.1.7/24"),
	};
	struct interfaces got,
		seen = {
			.list = &address,
			.count = 1,
			.routes = {{.name = "eth0", .index = 2, .family = ADDRESS_V4}},
			.route_count = 1,
		};

	(void)state;
	assert_int_equal(privsep_interfaces_encode(&seen, 0, &bytes), 0);
	assert_int_equal(privsep_interfaces_decode(bytes.data, bytes.length, &got), 0);
	assert_string_equal(got.list[0].name, "eth0");
	assert_true(prefix_equal(&got.list[0].prefix, &address.prefix));
	assert_int_equal(got.routes[0].gateway.family, ADDRESS_NONE);
	interfaces_free(&got);
	for (size_t length = 1; length < bytes.length; length++)
		if (privsep_interfaces_decode(bytes.data, length, &got) == 0)
			interfaces_free(&got);

	memset(address.name, 'x', sizeof(address.name));
	buffer_consume(&bytes, bytes.length);
	assert_int_equal(privsep_interfaces_encode(&seen, 0, &bytes), 0);
	assert_int_equal(privsep_interfaces_decode(buffer_head(&bytes), bytes.length, &got),
			 -EBADMSG);
}

static void expect_record(int fd, const char *text)
{
	_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);

	if (!text) {
		assert_int_equal(handover_read(fd, &got), -ENOENT);
		return;
	}
	assert_int_equal(handover_read(fd, &got), 0);
	assert_int_equal(got.length, strlen(text));
	assert_memory_equal(buffer_head(&got), text, strlen(text));
}

/* test_serve() - Wanted services come back as they were; odd records are refused */
static void test_serve(void **state)
{
	struct privsep_serve wish = {
		.peerapi = 41000,
		.ports = {80, 443},
		.port_count = 2,
		.config = (char[]){"{}"},
		.domain = (char[]){"a.b"},
	};
	static const uint16_t none = 0;
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_SERVE_MAX);
	_cleanup_(buffer_free) struct buffer odd = BUFFER_INIT(PRIVSEP_SERVE_MAX);
	struct privsep_serve back;

	(void)state;
	assert_int_equal(privsep_serve_encode(&wish, &bytes), 0);
	assert_int_equal(privsep_serve_decode(buffer_head(&bytes), bytes.length, &back), 0);
	assert_int_equal(back.peerapi, 41000);
	assert_int_equal(back.port_count, 2);
	assert_int_equal(back.ports[1], 443);
	assert_string_equal(back.config, "{}");
	assert_string_equal(back.domain, "a.b");
	assert_null(back.suffix);
	privsep_serve_clear(&back);
	for (size_t cut = 1; cut < bytes.length; cut++)
		if (privsep_serve_decode(buffer_head(&bytes), cut, &back) == 0)
			privsep_serve_clear(&back); /* between two records */
	for (uint16_t kind = 0; kind < 8; kind++) {
		buffer_free(&odd);
		odd = BUFFER_INIT(PRIVSEP_SERVE_MAX);
		assert_int_equal(record_put(&odd, kind, &none, sizeof(none)), 0);
		assert_int_equal(privsep_serve_decode(buffer_head(&odd), odd.length, &back),
				 -EBADMSG);
	}
}

static void test_handover(void **state)
{
	_cleanup_close_ int fd = handover_create();
	_cleanup_free_ uint8_t *big = calloc(1, HANDOVER_PAYLOAD_MAX + 1);

	(void)state;
	assert_true(fd >= 0);
	expect_record(fd, NULL);
	assert_int_equal(handover_write(fd, "one", 3), 0);
	expect_record(fd, "one");
	assert_int_equal(handover_write(fd, "second", 6), 0);
	expect_record(fd, "second");
	assert_int_equal(handover_write(fd, "", 0), 0);
	expect_record(fd, "");
	assert_int_equal(handover_write(fd, "third", 5), 0);
	expect_record(fd, "third");
	assert_int_equal(handover_write(fd, big, HANDOVER_PAYLOAD_MAX + 1), -EMSGSIZE);
	expect_record(fd, "third");
	/* Its size is fixed. */
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
}

/* An engine that dies at any byte of a write leaves the record before it, or its own. */
static void test_handover_torn(void **state)
{
	uint8_t before[2][64], after[2][64];

	(void)state;
	for (size_t torn = 0; torn <= 2 * sizeof(after[0]); torn++) {
		_cleanup_close_ int fd = handover_create();
		_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(1024);

		assert_int_equal(handover_write(fd, "first", 5), 0);
		for (size_t slot = 0; slot < 2; slot++)
			assert_int_equal(
				pread(fd, before[slot], 64, (off_t)(slot * HANDOVER_SLOT_SIZE)),
				64);
		assert_int_equal(handover_write(fd, "other", 5), 0);
		for (size_t slot = 0; slot < 2; slot++)
			assert_int_equal(
				pread(fd, after[slot], 64, (off_t)(slot * HANDOVER_SLOT_SIZE)), 64);
		/* As if the first @torn bytes of both slots' change had not come through. */
		for (size_t slot = 0; slot < 2; slot++)
			for (size_t i = 0; i < 64; i++)
				if (slot * 64 + i < torn)
					assert_int_equal(
						pwrite(fd, &before[slot][i], 1,
						       (off_t)(slot * HANDOVER_SLOT_SIZE + i)),
						1);
		assert_int_equal(handover_read(fd, &got), 0);
		assert_int_equal(got.length, 5);
		assert_true(memcmp(buffer_head(&got), "first", 5) == 0 ||
			    memcmp(buffer_head(&got), "other", 5) == 0);
	}
}

/* What a captured engine may leave: it is read without harm, and a new one can write. */
static void test_handover_hostile(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 500; round++) {
		_cleanup_close_ int fd = handover_create();
		_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);

		assert_int_equal(handover_write(fd, "good", 4), 0);
		assert_int_equal(handover_write(fd, "better", 6), 0);
		for (int i = 0; i < 1 + round % 40; i++) {
			uint8_t byte;
			size_t at;

			seed = seed * 1664525 + 1013904223;
			byte = (uint8_t)(seed >> 24);
			at = (seed >> 8) % 48 + (seed & 1) * HANDOVER_SLOT_SIZE;
			assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
		}
		(void)handover_read(fd, &got);
		assert_int_equal(handover_write(fd, "new", 3), 0);
		expect_record(fd, "new");
	}
}

/* What the supervisor reads of the cache: one number that it may use, or nothing. */
static void test_cache_head(void **state)
{
	static const struct {
		size_t at; /* changed byte; past the end: none */
		uint8_t to;
		size_t length;
		uint16_t port, read;
	} heads[] = {
		/* 1 */ {99, 0, 100, 41641, 41641},
		/* 2: exactly the head */ {99, 0, 22, 50000, 50000},
		/* 3 */ {99, 0, 21, 50000, 0},
		/* 4 */ {99, 0, 0, 50000, 0},
		/* 5: a port that is somebody's */ {99, 0, 100, 1023, 0},
		/* 6 */ {99, 0, 100, 0, 0},
		/* 7: another version */ {8, 9, 100, 50000, 0},
		/* 8: no version record */ {0, 2, 100, 50000, 0},
		/* 9: a longer version */ {4, 8, 100, 50000, 0},
		/* 10: another record */ {12, 2, 100, 50000, 0},
		/* 11: endless */ {19, 0xff, 100, 50000, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(200);
		_cleanup_close_ int fd = -1;

		assert_int_equal(cache_head_put(&bytes, heads[i].port), 0);
		assert_int_equal(bytes.length, 22);
		assert_int_equal(record_put(&bytes, 2, (uint8_t[70]){1}, 70), 0);
		if (heads[i].at < 22)
			bytes.data[bytes.start + heads[i].at] = heads[i].to;
		fd = memfd_seal("x", buffer_head(&bytes), heads[i].length);
		assert_true(fd >= 0);
		if (cache_head_port(fd) != heads[i].read)
			fail_msg("row %zu: %u", i + 1, cache_head_port(fd));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_table),
		cmocka_unit_test(test_check_lengths),
		cmocka_unit_test(test_check_other_kinds),
		cmocka_unit_test(test_check_text),
		cmocka_unit_test(test_check_domains),
		cmocka_unit_test(test_check_url),
		cmocka_unit_test(test_cache_head),
		cmocka_unit_test(test_channel),
		cmocka_unit_test(test_channel_too_many_fds),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_start_flips),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_serve),
		cmocka_unit_test(test_handover),
		cmocka_unit_test(test_handover_torn),
		cmocka_unit_test(test_handover_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
