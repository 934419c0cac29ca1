/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/privsep/test_client.c - the engine's end against a scripted supervisor */
#include "unit/unit.h"

#include "base/cleanup.h"
#include "privsep/privsep_client.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	struct privsep_client *client;
	int peer;
	int stops, files, interfaces;
	int file_result;
	int done_result;
	char done_text[PRIVSEP_TEXT_MAX];
} t;

static void on_stop(void *userdata)
{
	assert_ptr_equal(userdata, &t);
	t.stops++;
}

static void on_file(void *userdata, enum privsep_file_name name, int fd)
{
	(void)userdata;
	assert_int_equal(name, PRIVSEP_FILE_HOSTS);
	t.files++;
	t.file_result = fd < 0 ? fd : 0;
	if (fd >= 0)
		close(fd);
}

static void on_interfaces(void *userdata, const struct interfaces *interfaces)
{
	(void)userdata;
	t.interfaces += (int)interfaces->count;
}

static void on_done(void *userdata, int result, const char *text)
{
	assert_ptr_equal(userdata, &t);
	t.done_result = result;
	snprintf(t.done_text, sizeof(t.done_text), "%s", text);
}

static int setup(void **state)
{
	static const struct privsep_client_handlers handlers = {
		.stop = on_stop,
		.file_changed = on_file,
		.interfaces = on_interfaces,
	};
	int channel[2];

	(void)state;
	memset(&t, 0, sizeof(t));
	t.done_result = 1;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel), 0);
	t.peer = channel[1];
	return privsep_client_new(channel[0], PRIVSEP_FROM_ENGINE, &handlers, &t, &t.client);
}

static int teardown(void **state)
{
	(void)state;
	privsep_client_free(t.client);
	if (t.peer >= 0)
		close(t.peer);
	return 0;
}

/* on_stop() of an engine that takes everything down at once. */
static void on_stop_free(void *userdata)
{
	(void)userdata;
	t.stops++;
	privsep_client_free(t.client);
	t.client = NULL;
}

static bool readable(void)
{
	struct pollfd p = {.fd = privsep_client_fd(t.client), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void peer_send(uint32_t type, uint32_t id, int result, const char *text, int fd)
{
	union privsep_message m = {.header = {type, id}};

	if (type == PRIVSEP_REPLY) {
		m.reply.result = result;
		snprintf(m.reply.text, sizeof(m.reply.text), "%s", text);
	} else if (type == PRIVSEP_CHANGED) {
		m.changed.name = PRIVSEP_FILE_HOSTS;
		m.changed.result = result;
	}
	assert_int_equal(privsep_send(t.peer, PRIVSEP_FROM_SUPERVISOR, &m, &fd, fd >= 0), 0);
}

/* A supervisor that answers one request, saying other things before. */
static void *answer_one(void *argument)
{
	struct pollfd p = {.fd = t.peer, .events = POLLIN};
	union privsep_message m;
	struct privsep_fds fds;
	int memfd = memfd_seal("x", "contents", 8);

	assert_int_equal(poll(&p, 1, 2000), 1);
	assert_int_equal(privsep_receive(t.peer, PRIVSEP_FROM_ENGINE, &m, &fds), 0);
	peer_send(PRIVSEP_STOP, 0, 0, "", -1);
	peer_send(PRIVSEP_CHANGED, 0, -ENOENT, "", -1);
	peer_send(PRIVSEP_REPLY, m.header.id, *(int *)argument, "",
		  *(int *)argument == 0 ? memfd : -1);
	close(memfd);
	return NULL;
}

/* What the supervisor would end the engine for is not sent: control chose the text. */
static void test_login_url_of_control(void **state)
{
	char bytes[4096];

	(void)state;
	assert_int_equal(privsep_client_login(t.client, "https://vpn.example/\xc3\xbc"), -EINVAL);
	assert_int_equal(privsep_client_login(t.client, "https://vpn.example/a b"), -EINVAL);
	assert_true(recv(t.peer, bytes, sizeof(bytes), 0) < 0);
	assert_int_equal(privsep_client_login(t.client, "https://vpn.example/register/1"), 0);
	assert_true(recv(t.peer, bytes, sizeof(bytes), 0) > 0);
}

static void test_sync_queues_events(void **state)
{
	_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(64);
	int result = 0;
	pthread_t thread;

	(void)state;
	pthread_create(&thread, NULL, answer_one, &result);
	assert_int_equal(privsep_client_load(t.client, PRIVSEP_BLOB_STATE, 64, &got, NULL), 0);
	pthread_join(thread, NULL);
	assert_memory_equal(got.data, "contents", 8);
	assert_int_equal(t.stops, 0);
	/* The channel is empty, and yet the client asks to be dispatched. */
	assert_true(readable());
	assert_int_equal(privsep_client_dispatch(t.client), 0);
	assert_int_equal(t.stops, 1);
	assert_int_equal(t.files, 1);
	assert_int_equal(t.file_result, -ENOENT);
	assert_false(readable());
}

static void test_sync_refused(void **state)
{
	struct socket_source *sockets = privsep_client_sockets(t.client);
	int result = -EACCES;
	pthread_t thread;

	(void)state;
	pthread_create(&thread, NULL, answer_one, &result);
	assert_int_equal(sockets->open(sockets, SOCKET_ICMP, ADDRESS_V4), -EACCES);
	pthread_join(thread, NULL);
}

static void test_sync_deadline(void **state)
{
	nanoseconds before = clock_boottime();

	(void)state;
	assert_int_equal(privsep_client_open_file(t.client, PRIVSEP_FILE_HOSTS), -ETIMEDOUT);
	assert_true(clock_boottime() - before >= PRIVSEP_CLIENT_DEADLINE);
	/* The late answer is dropped, its descriptor closed, and the next call works. */
	peer_send(PRIVSEP_REPLY, 1, 0, "", t.peer);
	assert_int_equal(privsep_client_dispatch(t.client), 0);
}

static void test_async(void **state)
{
	union privsep_message m;
	struct privsep_fds fds;

	(void)state;
	assert_int_equal(privsep_client_store(t.client, PRIVSEP_BLOB_CACHE, "abc", 3, on_done, &t),
			 0);
	assert_int_equal(privsep_receive(t.peer, PRIVSEP_FROM_ENGINE, &m, &fds), 0);
	assert_int_equal(m.header.type, PRIVSEP_STORE);
	assert_int_equal(fds.count, 1);
	privsep_fds_close(&fds);
	peer_send(PRIVSEP_REPLY, m.header.id + 1, 0, "not this one", -1);
	peer_send(PRIVSEP_REPLY, m.header.id, -ENOSPC, "disk full", -1);
	assert_true(readable());
	assert_int_equal(privsep_client_dispatch(t.client), 0);
	assert_int_equal(t.done_result, -ENOSPC);
	assert_string_equal(t.done_text, "disk full");
}

static void test_async_ends_with_the_client(void **state)
{
	struct privsep_network network = {.up = false};

	(void)state;
	assert_int_equal(privsep_client_network(t.client, &network, on_done, &t), 0);
	privsep_client_free(t.client);
	t.client = NULL;
	assert_int_equal(t.done_result, -EPIPE);
}

static void test_pending_is_bounded(void **state)
{
	struct privsep_network network = {.up = false};
	unsigned int sent = 0;

	(void)state;
	while (privsep_client_network(t.client, &network, NULL, NULL) == 0 && sent < 1000) {
		union privsep_message m;
		struct privsep_fds fds;

		sent++;
		assert_int_equal(privsep_receive(t.peer, PRIVSEP_FROM_ENGINE, &m, &fds), 0);
		privsep_fds_close(&fds);
	}
	assert_int_equal(sent, PRIVSEP_CLIENT_PENDING_MAX);
}

static void test_gone_and_bad(void **state)
{
	(void)state;
	assert_int_equal(send(t.peer, "nonsense", 8, 0), 8);
	assert_int_equal(privsep_client_dispatch(t.client), -EBADMSG);
	/* From then on nothing is believed any more. */
	assert_int_equal(privsep_client_open_file(t.client, PRIVSEP_FILE_HOSTS), -EBADMSG);
	assert_int_equal(privsep_client_status(t.client, PRIVSEP_STATE_RUNNING, ""), -EBADMSG);
	privsep_client_free(t.client);
	close(t.peer);
	setup(NULL);
	close(t.peer);
	t.peer = -1;
	assert_true(readable());
	assert_int_equal(privsep_client_dispatch(t.client), -EPIPE);
}

static void test_freed_by_a_handler(void **state)
{
	static const struct privsep_client_handlers handlers = {
		.stop = on_stop_free,
	};
	struct privsep_network network = {.up = false};
	int channel[2];

	(void)state;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel), 0);
	privsep_client_free(t.client);
	close(t.peer);
	t.peer = channel[1];
	assert_int_equal(
		privsep_client_new(channel[0], PRIVSEP_FROM_ENGINE, &handlers, &t, &t.client), 0);
	assert_int_equal(privsep_client_network(t.client, &network, on_done, &t), 0);
	peer_send(PRIVSEP_STOP, 0, 0, "", -1);
	peer_send(PRIVSEP_STOP, 0, 0, "", -1);
	assert_int_equal(privsep_client_dispatch(t.client), 0);
	assert_int_equal(t.stops, 1);
	assert_int_equal(t.done_result, -EPIPE);
	assert_null(t.client);
}

static void test_sign_of_life(void **state)
{
	union privsep_message m;
	struct privsep_fds fds;

	(void)state;
	peer_send(PRIVSEP_PING, 0, 0, "", -1);
	assert_int_equal(privsep_receive(t.peer, PRIVSEP_FROM_ENGINE, &m, &fds), -EAGAIN);
	assert_int_equal(privsep_client_dispatch(t.client), 0);
	assert_int_equal(privsep_receive(t.peer, PRIVSEP_FROM_ENGINE, &m, &fds), 0);
	assert_int_equal(m.header.type, PRIVSEP_ALIVE);
	assert_int_equal(privsep_receive(t.peer, PRIVSEP_FROM_ENGINE, &m, &fds), -EAGAIN);
}

static void test_interfaces(void **state)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_INTERFACES_MAX);
	struct interface_address address = {.name = "eth0"};
	struct interfaces seen = {.list = &address, .count = 1};
	union privsep_message m = {.header = {PRIVSEP_INTERFACES, 0}};
	_cleanup_close_ int memfd = -1;

	(void)state;
	address.prefix.address.family = ADDRESS_V4;
	assert_int_equal(privsep_interfaces_encode(&seen, 0, &bytes), 0);
	memfd = memfd_seal("x", bytes.data, bytes.length);
	assert_int_equal(privsep_send(t.peer, PRIVSEP_FROM_SUPERVISOR, &m, &memfd, 1), 0);
	assert_int_equal(privsep_client_dispatch(t.client), 0);
	assert_int_equal(t.interfaces, 1);
	/* An unsealed one could change under our hands. */
	assert_int_equal(privsep_send(t.peer, PRIVSEP_FROM_SUPERVISOR, &m, &t.peer, 1), 0);
	assert_int_equal(privsep_client_dispatch(t.client), -EPERM);
}

static void test_start(void **state)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_START_MAX);
	union privsep_message m = {
		.begin = {.header = {PRIVSEP_START, 0}, .localapi = 1, .udp_v6 = 1, .tun = 2},
	};
	struct privsep_start_message got;
	struct privsep_start start;
	struct error err = {0};
	int fds[6];

	(void)state;
	privsep_start_init(&start);
	assert_int_equal(privsep_start_encode(&start, &bytes), 0);
	fds[0] = memfd_seal("x", bytes.data, bytes.length);
	for (int i = 1; i < 6; i++)
		fds[i] = t.peer;
	assert_int_equal(privsep_send(t.peer, PRIVSEP_FROM_SUPERVISOR, &m, fds, 6), 0);
	close(fds[0]);
	assert_int_equal(privsep_client_start(t.client, &got, &err), 0);
	assert_true(got.localapi >= 0 && got.udp_v6 >= 0 && got.handover >= 0);
	assert_int_equal(got.health, -1);
	assert_int_equal(got.udp_v4, -1);
	assert_int_equal(got.tun_count, 2);
	assert_true(got.tun[1] >= 0 && got.tun[2] == -1);
	assert_int_equal(got.config.mtu, 1280);
	privsep_start_message_clear(&got);
	/* Only once. */
	peer_send(PRIVSEP_STOP, 0, 0, "", -1);
	assert_int_equal(privsep_client_dispatch(t.client), 0);
	assert_int_equal(t.stops, 1);
}

int main(void)
{
#define CLIENT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CLIENT_TEST(test_sync_queues_events),
		CLIENT_TEST(test_sync_refused),
		CLIENT_TEST(test_sync_deadline),
		CLIENT_TEST(test_async),
		CLIENT_TEST(test_sign_of_life),
		CLIENT_TEST(test_async_ends_with_the_client),
		CLIENT_TEST(test_pending_is_bounded),
		CLIENT_TEST(test_gone_and_bad),
		CLIENT_TEST(test_freed_by_a_handler),
		CLIENT_TEST(test_interfaces),
		CLIENT_TEST(test_login_url_of_control),
		CLIENT_TEST(test_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
