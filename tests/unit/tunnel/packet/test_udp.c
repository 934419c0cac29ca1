/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/packet/test_udp.c - many datagrams in one call, and what a kernel may refuse
 *
 * Real sockets on loopback. sendmsg() can be made to fail, and the control data of recvmmsg() to lie.
 */
#include "base/array.h"
#include "base/cleanup.h"
#include "tunnel/packet/udp.h"
#include "unit/unit.h"

#include <arpa/inet.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAMS 200u
#define LONGEST   1400u

static int refusal;             /* errno of sendmsg(); 0: none */
static unsigned int full_after; /* calls that succeed before the socket is full; 0: no limit */
static unsigned int refused, calls;
static const struct lie {
	int type, value;
	socklen_t length;
	int flags;
	unsigned int datagrams; /* that 1,000 bytes become */
} * lie;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	calls++;
	if (full_after && --full_after == 0)
		refusal = EAGAIN;
	if (!refusal)
		return __real_sendmsg(fd, message, flags);
	refused++;
	errno = refusal;
	return -1;
}

int __real_recvmmsg(int fd, struct mmsghdr *m, unsigned int count, int flags, struct timespec *t);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned int count, int flags, struct timespec *t)
{
	int got = __real_recvmmsg(fd, m, count, flags, t);

	for (int i = 0; lie && i < got; i++) {
		struct cmsghdr *c = m[i].msg_hdr.msg_control;

		c->cmsg_level = SOL_UDP;
		c->cmsg_type = lie->type;
		c->cmsg_len = lie->length;
		memcpy(CMSG_DATA(c), &lie->value, sizeof(lie->value));
		m[i].msg_hdr.msg_controllen = CMSG_SPACE(sizeof(int));
		m[i].msg_hdr.msg_flags |= lie->flags;
	}
	return got;
}

struct world {
	uv_loop_t loop;
	uv_timer_t alarm;
	struct udp_socket *from, *to;
	int fds[2];
	struct endpoint endpoint;
	uint8_t bytes[DATAGRAMS][LONGEST];
	struct iovec sent[DATAGRAMS];
	unsigned int got, drained, full, writable;
	size_t got_bytes;
	bool expired;
};

static void on_receive(void *ctx, const struct endpoint *from, uint8_t *data, size_t length)
{
	struct world *w = ctx;

	(void)from;
	if (!lie) {
		assert_in_range(w->got, 0, DATAGRAMS - 1);
		assert_int_equal(length, w->sent[w->got].iov_len);
		assert_memory_equal(data, w->sent[w->got].iov_base, length);
	}
	w->got++;
	w->got_bytes += length;
}

static void on_drained(void *ctx)
{
	((struct world *)ctx)->drained++;
}

static void on_full(void *ctx)
{
	((struct world *)ctx)->full++;
}

static void on_writable(void *ctx)
{
	((struct world *)ctx)->writable++;
}

static const struct udp_handler handler = {
	.receive = on_receive,
	.drained = on_drained,
	.full = on_full,
	.writable = on_writable,
};

static void on_alarm(uv_timer_t *alarm)
{
	((struct world *)alarm->data)->expired = true;
}

static void wait_got(struct world *w, unsigned int count)
{
	w->expired = false;
	uv_timer_start(&w->alarm, on_alarm, 10000, 0);
	while (w->got < count && !w->expired)
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_timer_stop(&w->alarm);
	/* And nothing is doubled. */
	for (int i = 0; i < 3; i++)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_int_equal(w->got, count);
}

static struct world *open_world(bool segment, bool merge)
{
	const struct udp_offloads offloads = {.segment = segment, .merge = merge};
	struct world *w = calloc(1, sizeof(*w));
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	assert_non_null(w);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	uv_timer_init(&w->loop, &w->alarm);
	w->alarm.data = w;
	for (int i = 0; i < 2; i++) {
		w->fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(w->fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
		(void)setsockopt(w->fds[i], SOL_SOCKET, SO_RCVBUF, &(int){4 << 20}, sizeof(int));
	}
	assert_int_equal(getsockname(w->fds[1], (struct sockaddr *)&address, &size), 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&address, &w->endpoint), 0);
	assert_int_equal(udp_socket_new(&w->loop, w->fds[0], &offloads, &handler, w, &w->from), 0);
	assert_int_equal(udp_socket_new(&w->loop, w->fds[1], &offloads, &handler, w, &w->to), 0);
	for (unsigned int i = 0; i < DATAGRAMS; i++) {
		/* Runs of one length, shorter and longer ones among them. */
		size_t length = i % 70 == 69 ? 100 : i % 31 == 0 ? LONGEST : 500 + i / 90;

		memset(w->bytes[i], (int)i, LONGEST);
		w->sent[i] = (struct iovec){w->bytes[i], length};
	}
	return w;
}

static void close_world(struct world *w)
{
	udp_socket_free(w->from);
	udp_socket_free(w->to);
	uv_close((uv_handle_t *)&w->alarm, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	close(w->fds[0]);
	close(w->fds[1]);
	free(w);
}

static int send_some(struct world *w, unsigned int first, unsigned int count)
{
	return udp_socket_send_all(w->from, &w->endpoint, w->sent + first, count);
}

static void test_all_arrive(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct world *w = open_world(i & 1, i & 2);

		calls = 0;
		for (unsigned int at = 0; at < DATAGRAMS; at += 50) {
			assert_int_equal(send_some(w, at, 50), 0);
			wait_got(w, at + 50);
		}
		assert_true(w->drained > 0);
		if (i & 1)
			assert_in_range(calls, 1, DATAGRAMS / 4);
		else
			assert_int_equal(calls, 0);
		close_world(w);
	}
}

/* test_refusals() - Each datagram leaves once; after EIO the kernel is not asked again */
static void test_refusals(void **state)
{
	static const struct {
		int error;
		bool for_good;
	} cases[] = {{EIO, true}, {EINVAL, false}, {EMSGSIZE, false}, {EOPNOTSUPP, false}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world *w = open_world(true, true);

		refused = 0;
		refusal = cases[i].error;
		assert_int_equal(send_some(w, 0, 60), 0);
		wait_got(w, 60);
		assert_true(cases[i].for_good ? refused == 1 : refused > 1);
		refusal = 0;
		calls = 0;
		assert_int_equal(send_some(w, 60, 60), 0);
		wait_got(w, 120);
		assert_true(cases[i].for_good ? calls == 0 : calls > 0);
		close_world(w);
	}
}

/* test_full_socket() - What does not fit waits, in its order, and each datagram leaves once */
static void test_full_socket(void **state)
{
	(void)state;
	for (unsigned int first = 1; first < 4; first++) {
		struct world *w = open_world(true, first & 1);

		refusal = 0;
		full_after = first;
		refused = 0;
		for (unsigned int at = 0; at < DATAGRAMS; at += 50)
			assert_int_equal(send_some(w, at, 50), 0);
		/* It is not asked again for each batch, nor are datagrams sent singly. */
		assert_int_equal(refused, 1);
		assert_int_equal(w->full, 1);
		assert_int_equal(w->writable, 0);
		for (int i = 0; i < 5; i++)
			uv_run(&w->loop, UV_RUN_NOWAIT);
		assert_true(w->got < DATAGRAMS);
		refusal = 0;
		wait_got(w, DATAGRAMS);
		assert_int_equal(w->full, 1);
		assert_int_equal(w->writable, 1);
		/* It is full once more before all have left. */
		w->got = 0;
		refusal = EAGAIN;
		for (unsigned int at = 0; at < DATAGRAMS; at += 50)
			assert_int_equal(send_some(w, at, 50), 0);
		refusal = 0;
		full_after = 1 + first;
		uv_run(&w->loop, UV_RUN_ONCE);
		refusal = 0;
		full_after = 0;
		wait_got(w, DATAGRAMS);
		assert_int_equal(w->full, 2);
		assert_int_equal(w->writable, 2);
		close_world(w);
	}
}

/* test_waiting_is_bounded() - More than UDP_WAITING_BYTES are never kept, and the end frees them */
static void test_waiting_is_bounded(void **state)
{
	struct world *w = open_world(true, true);
	unsigned int kept = 0;
	size_t bytes = 0;

	(void)state;
	refusal = EAGAIN;
	while (send_some(w, kept % DATAGRAMS, 2) == 0) {
		bytes += w->sent[kept % DATAGRAMS].iov_len + w->sent[kept % DATAGRAMS + 1].iov_len;
		kept = (kept + 2) % (DATAGRAMS - 1);
		assert_true(bytes <= UDP_WAITING_BYTES);
	}
	assert_true(bytes > UDP_WAITING_BYTES - 2 * LONGEST);
	refusal = 0;
	close_world(w);
}

static void test_lies(void **state)
{
	static const struct lie lies[] = {
		{UDP_GRO, 300, CMSG_LEN(sizeof(int)), 0, 4},
		{UDP_GRO, 1000, CMSG_LEN(sizeof(int)), 0, 1},
		{UDP_GRO, 1001, CMSG_LEN(sizeof(int)), 0, 1},
		{UDP_GRO, 0, CMSG_LEN(sizeof(int)), 0, 1},
		{UDP_GRO, -5, CMSG_LEN(sizeof(int)), 0, 1},
		{UDP_GRO, 300, CMSG_LEN(1), 0, 1},
		{UDP_GRO, 300, 0, 0, 1},
		{UDP_SEGMENT, 300, CMSG_LEN(sizeof(int)), 0, 1},
		{UDP_GRO, 300, CMSG_LEN(sizeof(int)), MSG_CTRUNC, 0},
		{UDP_GRO, 300, CMSG_LEN(sizeof(int)), MSG_TRUNC, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct world *w = open_world(true, false);

		lie = &lies[i];
		w->sent[0].iov_len = 1000;
		assert_int_equal(send_some(w, 0, 1), 0);
		while (w->drained == 0)
			uv_run(&w->loop, UV_RUN_ONCE);
		assert_int_equal(w->got, lies[i].datagrams);
		lie = NULL;
		close_world(w);
	}
}

/* test_random_control() - Whatever the control data says, a message is cut into its own bytes, or dropped */
static void test_random_control(void **state)
{
	struct world *w = open_world(true, false);
	static const int types[] = {UDP_GRO, UDP_SEGMENT, 0, -1};

	(void)state;
	srandom(1);
	w->sent[0].iov_len = 1000;
	for (unsigned int i = 0; i < 2000; i++) {
		const struct lie random_lie = {
			.type = types[random() % 4],
			.value = (int)(random() % 3 ? random() % 1200 : random() - random()),
			.length = random() % 3 ? CMSG_LEN(sizeof(int)) : (socklen_t)(random() % 64),
			.flags = random() % 8 ? 0 : MSG_CTRUNC,
		};

		lie = &random_lie;
		w->drained = 0;
		w->got_bytes = 0;
		assert_int_equal(send_some(w, 0, 1), 0);
		while (w->drained == 0)
			uv_run(&w->loop, UV_RUN_ONCE);
		assert_int_equal(w->got_bytes, random_lie.flags ? 0 : 1000);
		lie = NULL;
	}
	close_world(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_arrive),  cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_full_socket), cmocka_unit_test(test_waiting_is_bounded),
		cmocka_unit_test(test_lies),        cmocka_unit_test(test_random_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
