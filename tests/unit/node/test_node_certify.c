/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/node/test_node_certify.c - what the services process asks of control, through the node */
#include "unit/node/fakes.h"

#include "privsep/records.h"

#include <sys/socket.h>

#define NAME      "app.t.test"
#define CHALLENGE "_acme-challenge." NAME
#define SIGNED                                                                                   \
	"{\"Node\":{\"ID\":1,\"StableID\":\"self\",\"Key\":\"SELF\",\"MachineAuthorized\":true," \
	"\"Name\":\"app.t.test.\",\"Addresses\":[\"100.64.0.1/32\"],\"CapMap\":"                 \
	"{\"pillion/cap/certificate\":null}},\"DNSConfig\":{\"CertDomains\":[\"app.t.test\"]}}"

/* link_to() - The services process's end of a channel to the node */
static int link_to(struct world *w)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	node_serve_link(w->node, ends[1]);
	return ends[0];
}

static void ask_txt(struct world *w, int channel, uint32_t id, const char *name, const char *value)
{
	union privsep_message m = {.txt = {.header = {PRIVSEP_TXT, id}}};

	snprintf(m.txt.name, sizeof(m.txt.name), "%s", name);
	snprintf(m.txt.value, sizeof(m.txt.value), "%s", value);
	assert_int_equal(privsep_send(channel, PRIVSEP_FROM_SERVICES, &m, NULL, 0), 0);
	uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void ask_sign(struct world *w, int channel, uint32_t id, const char *csr)
{
	union privsep_message m = {.header = {PRIVSEP_SIGN, id}};
	int fd = privsep_memfd_seal(PRIVSEP_SIGN, csr, strlen(csr));

	assert_true(fd >= 0);
	assert_int_equal(privsep_send(channel, PRIVSEP_FROM_SERVICES, &m, &fd, 1), 0);
	close(fd);
	uv_run(&w->loop, UV_RUN_NOWAIT);
}

/* receive() - The next message of the engine but the news that the netmap has changed */
static int receive(int channel, union privsep_message *m, struct privsep_fds *fds)
{
	int r;

	do
		r = privsep_receive(channel, PRIVSEP_FROM_ENGINE, m, fds);
	while (r == 0 && m->header.type == PRIVSEP_PEOPLE);
	return r;
}

/* answered() - The result of the answer to @id; the chain, if there is one, in @chain */
static int answered(int channel, uint32_t id, char *chain, size_t size)
{
	struct buffer text = BUFFER_INIT(PRIVSEP_CHAIN_MAX);
	union privsep_message m;
	struct privsep_fds fds;

	assert_int_equal(receive(channel, &m, &fds), 0);
	assert_int_equal(m.header.type, PRIVSEP_ANSWER);
	assert_int_equal(m.header.id, id);
	assert_int_equal(m.answer.result == 0, m.answer.text[0] == 0);
	if (fds.count > 0) {
		assert_int_equal(privsep_memfd_read(PRIVSEP_ANSWER, fds.fd[0], &text), 0);
		snprintf(chain, size, "%.*s", (int)text.length, (char *)buffer_head(&text));
		buffer_free(&text);
	}
	privsep_fds_close(&fds);
	return m.answer.result;
}

/* control_answers() - The call under way ends */
static void control_answers(const struct control_answer *answer)
{
	struct control_call *call = TAKE_PTR(client()->call);

	assert_non_null(call);
	call->called(call->user, answer);
	free(call);
}

static void services_hear_what_control_does(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	struct error err;
	json_t *json = json_loads("{\"TCP\":{\"80\":{\"HTTP\":true}}}", 0, NULL);

	assert_int_equal(node_set_serve_config(w->node, json, NULL, true, &err), 0);
	json_decref(json);
	answer_all(w);
	assert_string_equal(w->privsep.cert_domains, "");
	assert_false(w->privsep.signs);
	map(w, &key, SIGNED);
	answer_all(w);
	assert_string_equal(w->privsep.cert_domains, NAME);
	assert_true(w->privsep.signs);
	/* DNS alone changes. */
	map(w, &key, "{\"DNSConfig\":{\"CertDomains\":null}}");
	answer_all(w);
	assert_string_equal(w->privsep.cert_domains, "");
	assert_true(w->privsep.signs);
}

static void a_challenge_goes_to_control(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	int channel = link_to(w);

	map(w, &key, SIGNED);
	ask_txt(w, channel, 7, CHALLENGE, "-aB_9");
	assert_string_equal(client()->call_name, CHALLENGE);
	assert_string_equal(client()->call_value, "-aB_9");
	control_answers(&(struct control_answer){.status = 200, .text = ""});
	assert_int_equal(answered(channel, 7, NULL, 0), 0);
	ask_txt(w, channel, 8, CHALLENGE, "x");
	control_answers(&(struct control_answer){.result = -EAGAIN, .status = 429, .text = "wait"});
	assert_int_equal(answered(channel, 8, NULL, 0), -EAGAIN);
	close(channel);
}

static void other_names_are_refused(void **state)
{
	static const char *const names[] = {NAME,
					    "_acme-challenge.other.t.test",
					    "_acme-challenge.",
					    "_acme-challenge." NAME ".",
					    "_ACME-challenge." NAME,
					    "x" CHALLENGE};
	struct world *w = *state;
	struct secret_key key = run(w);
	int channel = link_to(w);

	ask_txt(w, channel, 1, CHALLENGE, "x");
	assert_int_equal(answered(channel, 1, NULL, 0), -EACCES); /* control gave no name */
	map(w, &key, SIGNED);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ask_txt(w, channel, 2, names[i], "x");
		assert_int_equal(answered(channel, 2, NULL, 0), -EACCES);
	}
	ask_txt(w, channel, 3, CHALLENGE, "x y");
	assert_int_equal(answered(channel, 3, NULL, 0), -EACCES);
	assert_int_equal(client()->calls, 0);
	close(channel);
}

static void a_request_is_signed(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	int channel = link_to(w);
	char chain[32] = "";

	ask_sign(w, channel, 1, "CSR");
	assert_int_equal(answered(channel, 1, NULL, 0), -EOPNOTSUPP);
	map(w, &key, SIGNED);
	ask_sign(w, channel, 2, "CSR");
	assert_string_equal(client()->call_csr, "CSR");
	control_answers(&(struct control_answer){
		.status = 200, .text = "", .chain = "CHAIN", .chain_length = 5});
	assert_int_equal(answered(channel, 2, chain, sizeof(chain)), 0);
	assert_string_equal(chain, "CHAIN");
	close(channel);
}

/* A services process that is replaced gets no answers of the one before; a client that goes away
 * leaves no question open. */
static void no_question_stays_open(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	int channel = link_to(w), next;
	union privsep_message m;
	struct privsep_fds fds;

	map(w, &key, SIGNED);
	ask_txt(w, channel, 1, CHALLENGE, "x");
	assert_non_null(client()->call);
	next = link_to(w);
	assert_null(client()->call);
	assert_int_equal(receive(channel, &m, &fds), -EPIPE);
	ask_txt(w, next, 1, CHALLENGE, "y");
	node_certify_disconnect(w->node);
	assert_null(client()->call);
	assert_int_equal(answered(next, 1, NULL, 0), -ENOTCONN);
	close(channel);
	close(next);
}

static void a_bad_question_ends_the_channel(void **state)
{
	struct world *w = *state;
	struct secret_key key = run(w);
	int channel = link_to(w);
	union privsep_message m;
	struct privsep_fds fds;

	map(w, &key, SIGNED);
	ask_sign(w, channel, 1, "");
	assert_int_equal(receive(channel, &m, &fds), -EPIPE);
	close(channel);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(services_hear_what_control_does), TEST(a_challenge_goes_to_control),
		TEST(other_names_are_refused),         TEST(a_request_is_signed),
		TEST(no_question_stays_open),          TEST(a_bad_question_ends_the_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
