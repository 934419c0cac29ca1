/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/netlink/test_channel.c - what a kernel may answer, from a script
 *
 * mnl_socket_sendto() and recvmsg() are replaced at link time: the first notes the
 * request, the second hands out the next datagram of the script.
 */
#include "netlink/channel.h"
#include "unit/unit.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <sys/socket.h>

enum step_kind {
	STEP_RECORD,   /* an answer with this sequence number relative to the request's */
	STEP_DONE,     /* the end of a dump; @code in it */
	STEP_ERROR,    /* an error or, with 0, an acknowledgement */
	STEP_FAILURE,  /* recvmsg() fails with @code */
	STEP_ROUTE,    /* a whole route; without @code, one that libnl rejects */
	STEP_CUT,      /* a message longer than its datagram */
	STEP_TRUNCATED /* MSG_TRUNC */
};

struct step {
	enum step_kind kind;
	int code;
	int sequence;
	uint16_t flags;
	uint32_t sender;
};

static const struct step *script;
static uint32_t asked, sent;

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t length);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t length)
{
	(void)socket;
	asked = ((const struct nlmsghdr *)data)->nlmsg_seq;
	sent++;
	return (ssize_t)length;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	const struct step *step = script++;
	struct {
		struct nlmsghdr header;
		int32_t code;
		struct nlmsghdr request;
	} bytes = {
		.header =
			{
				.nlmsg_len = sizeof(bytes.header) + sizeof(bytes.code),
				.nlmsg_type = RTM_NEWROUTE,
				.nlmsg_flags = step->flags,
				.nlmsg_seq = asked + (uint32_t)step->sequence,
			},
		.code = step->code,
	};

	(void)fd;
	(void)flags;
	if (step->kind == STEP_ROUTE) {
		struct {
			struct nlmsghdr header;
			struct rtmsg body;
			struct nlattr attribute;
			uint32_t priority;
		} route = {
			.header = {.nlmsg_len = sizeof(route) - (step->code ? 0 : 3),
				   .nlmsg_type = RTM_NEWROUTE,
				   .nlmsg_flags = step->flags,
				   .nlmsg_seq = asked},
			.body = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN},
			.attribute = {.nla_type = RTA_PRIORITY,
				      .nla_len = step->code ? NLA_HDRLEN + 4 : NLA_HDRLEN + 1},
		};

		memcpy(message->msg_iov->iov_base, &route, sizeof(route));
		((struct sockaddr_nl *)message->msg_name)->nl_pid = 0;
		message->msg_flags = 0;
		return route.header.nlmsg_len;
	}
	if (step->kind == STEP_FAILURE) {
		errno = -step->code;
		return -1;
	}
	if (step->kind == STEP_DONE)
		bytes.header.nlmsg_type = NLMSG_DONE;
	if (step->kind == STEP_ERROR) {
		bytes.header.nlmsg_type = NLMSG_ERROR;
		bytes.header.nlmsg_len = sizeof(bytes);
	}
	memcpy(message->msg_iov->iov_base, &bytes, bytes.header.nlmsg_len);
	((struct sockaddr_nl *)message->msg_name)->nl_pid = step->sender;
	message->msg_flags = step->kind == STEP_TRUNCATED ? MSG_TRUNC : 0;
	return (ssize_t)bytes.header.nlmsg_len - (step->kind == STEP_CUT);
}

static int count(struct nlmsghdr *message, void *context)
{
	(void)message;
	return ++*(int *)context == 99 ? -ENOMEM : 0;
}

static void answers_end_as_they_should(void **state)
{
	static const struct {
		struct step steps[6];
		int result;
		int records;
		bool closed; /* the socket is given up: answers may be lost or late */
	} rows[] = {
		/* 0 */ {{{.kind = STEP_RECORD}, {.kind = STEP_DONE}}, 0, 1, false},
		/* 1 */ {{{.kind = STEP_DONE}}, 0, 0, false},
		/* 2: interrupted, said by any part */
		{{{.kind = STEP_RECORD, .flags = NLM_F_DUMP_INTR},
		  {.kind = STEP_RECORD},
		  {.kind = STEP_DONE}},
		 -EINTR,
		 2,
		 false},
		/* 3: interrupted, said at the end */
		{{{.kind = STEP_RECORD}, {.kind = STEP_DONE, .flags = NLM_F_DUMP_INTR}},
		 -EINTR,
		 1,
		 false},
		/* 4: answers lost */
		{{{.kind = STEP_RECORD}, {.kind = STEP_FAILURE, .code = -ENOBUFS}},
		 -ENOBUFS,
		 1,
		 true},
		/* 5: no answer in time */
		{{{.kind = STEP_FAILURE, .code = -EAGAIN}}, -ETIMEDOUT, 0, true},
		/* 6: a signal is no failure */
		{{{.kind = STEP_FAILURE, .code = -EINTR}, {.kind = STEP_DONE}}, 0, 0, false},
		/* 7: the end of an earlier request */
		{{{.kind = STEP_DONE, .sequence = -1},
		  {.kind = STEP_RECORD, .sequence = -1},
		  {.kind = STEP_RECORD},
		  {.kind = STEP_DONE}},
		 0,
		 1,
		 false},
		/* 8: another process says what only the kernel may */
		{{{.kind = STEP_RECORD, .sender = 4711},
		  {.kind = STEP_DONE, .sender = 4711},
		  {.kind = STEP_RECORD},
		  {.kind = STEP_DONE}},
		 0,
		 1,
		 false},
		/* 9 */ {{{.kind = STEP_ERROR, .code = -EPERM}}, -EPERM, 0, false},
		/* 10: an error at the end of a dump */
		{{{.kind = STEP_RECORD}, {.kind = STEP_DONE, .code = -EMSGSIZE}},
		 -EMSGSIZE,
		 1,
		 false},
		/* 11 */ {{{.kind = STEP_CUT}}, -EBADMSG, 0, true},
		/* 12 */ {{{.kind = STEP_TRUNCATED}}, -EMSGSIZE, 0, true},
		/* 13 */ {{{.kind = STEP_ERROR, .code = 5}}, -EBADMSG, 0, true},
		/* 14 */ {{{.kind = STEP_DONE, .code = 5}}, -EBADMSG, 0, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nlmsghdr request = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_GETROUTE,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		};
		struct net_channel channel = {.bus = NETLINK_ROUTE};
		struct error err = {0};
		int records = 0, r;

		script = rows[i].steps;
		r = net_channel_ask(&channel, &request, count, &records, &err);
		if (r != rows[i].result || records != rows[i].records ||
		    (channel.socket == NULL) != rows[i].closed ||
		    (r < 0 && (err.code != r || err.text[0] == 0)))
			fail_msg("row %zu: %d, %d records, %s", i, r, records, err.text);
		net_channel_close(&channel);
	}
}

static void a_walk_that_fails_still_empties_the_socket(void **state)
{
	static const struct step steps[] = {
		{.kind = STEP_RECORD}, {.kind = STEP_RECORD}, {.kind = STEP_DONE}};
	struct nlmsghdr request = {.nlmsg_len = sizeof(request), .nlmsg_flags = NLM_F_DUMP};
	struct net_channel channel = {.bus = NETLINK_ROUTE};
	struct error err = {0};
	int records = 98;

	(void)state;
	script = steps;
	assert_int_equal(net_channel_ask(&channel, &request, count, &records, &err), -ENOMEM);
	assert_int_equal(records, 99);
	assert_ptr_equal(script, steps + 3);
	net_channel_close(&channel);
}

static int count_object(const struct net_object *object, void *context)
{
	assert_int_equal(object->kind, NET_ROUTE);
	++*(int *)context;
	return 0;
}

static void an_object_that_libnl_rejects_does_not_end_a_dump(void **state)
{
	static const struct step steps[] = {
		{.kind = STEP_ROUTE, .flags = NLM_F_MULTI},
		{.kind = STEP_ROUTE, .flags = NLM_F_MULTI, .code = 1},
		{.kind = STEP_DONE, .flags = NLM_F_MULTI},
		{.kind = STEP_DONE, .flags = NLM_F_MULTI},
	};
	struct net_channel channel = {.bus = NETLINK_ROUTE};
	struct error err = {0};
	int routes = 0;

	(void)state;
	script = steps;
	assert_int_equal(net_dump(&channel, NET_ROUTE, 0, RT_TABLE_MAIN, 0, count_object, &routes,
				  NULL, &err),
			 0);
	assert_int_equal(routes, 1);
	assert_ptr_equal(script, steps + 4);
	net_channel_close(&channel);
}

struct acks {
	int count;
	int codes[3 * NET_BATCH_MESSAGES];
};

static void on_ack(void *context, uint32_t tag, const struct net_ack *ack)
{
	struct acks *acks = context;

	assert_int_equal(tag, 1000 + acks->count);
	acks->codes[acks->count++] = ack->code;
}

static void each_request_of_a_batch_gets_its_own_answer(void **state)
{
	struct step steps[2 * NET_BATCH_MESSAGES] = {0};
	struct net_channel channel = {.bus = NETLINK_ROUTE};
	struct acks acks = {0};
	struct net_batch batch = {.channel = &channel, .on_ack = on_ack, .context = &acks};
	const unsigned int requests = NET_BATCH_MESSAGES + 5;

	(void)state;
	for (unsigned int i = 0; i < requests; i++) {
		/* asked is the first of a batch; each third fails */
		steps[i].kind = STEP_ERROR;
		steps[i].sequence = (int)(i % NET_BATCH_MESSAGES);
		steps[i].code = i % 3 == 2 ? -EEXIST : 0;
	}
	script = steps;
	sent = 0;
	for (unsigned int i = 0; i < requests; i++) {
		struct nl_msg *request = nlmsg_alloc_simple(RTM_NEWROUTE, NLM_F_REQUEST);

		assert_int_equal(net_batch_add(&batch, request, 1000 + i), 0);
	}
	assert_int_equal(sent, 1);
	assert_int_equal(net_batch_flush(&batch), 0);
	assert_int_equal(sent, 2);
	assert_int_equal(acks.count, requests);
	for (unsigned int i = 0; i < requests; i++)
		assert_int_equal(acks.codes[i], i % 3 == 2 ? -EEXIST : 0);
	assert_int_equal(net_batch_flush(&batch), 0);
	assert_int_equal(sent, 2);
	net_channel_close(&channel);
}

static void a_batch_whose_answers_are_lost_says_so(void **state)
{
	static const struct step steps[] = {{.kind = STEP_ERROR},
					    {.kind = STEP_FAILURE, .code = -ENOBUFS}};
	struct net_channel channel = {.bus = NETLINK_ROUTE};
	struct acks acks = {0};
	struct net_batch batch = {.channel = &channel, .on_ack = on_ack, .context = &acks};

	(void)state;
	script = steps;
	for (unsigned int i = 0; i < 2; i++) {
		struct nl_msg *request = nlmsg_alloc_simple(RTM_NEWROUTE, NLM_F_REQUEST);

		assert_int_equal(net_batch_add(&batch, request, 1000 + i), 0);
	}
	assert_int_equal(net_batch_flush(&batch), -ENOBUFS);
	assert_int_equal(acks.count, 1);
	assert_null(channel.socket);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_end_as_they_should),
		cmocka_unit_test(a_walk_that_fails_still_empties_the_socket),
		cmocka_unit_test(an_object_that_libnl_rejects_does_not_end_a_dump),
		cmocka_unit_test(each_request_of_a_batch_gets_its_own_answer),
		cmocka_unit_test(a_batch_whose_answers_are_lost_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
