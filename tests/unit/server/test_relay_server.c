/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/server/test_relay_server.c - the relay on sockets: floods, the deaf, the slow */
#include "unit/server/relay_socket.h"

#include <pthread.h>

/* 100 times what a quiet relay takes on loopback, and an eighth of what a queue behind a flood
 * would: the machine that runs the tests is busy with others. */
#define SOON (250 * NSEC_PER_MSEC)

static struct relay_socket *join(const struct relay_process *p)
{
	struct relay_socket *s = malloc(sizeof(*s));

	assert_non_null(s);
	assert_true(relay_join(p, s, 0));
	return s;
}

static void leave(struct relay_socket *s)
{
	close(s->fd);
	free(s);
}

static int compare(const void *a, const void *b)
{
	nanoseconds x = *(const nanoseconds *)a, y = *(const nanoseconds *)b;

	return x < y ? -1 : x > y;
}

/* The time that all but one of a hundred trips between two clients stay under. */
static nanoseconds trips(struct relay_socket *a, struct relay_socket *b)
{
	nanoseconds times[100];

	for (int i = 0; i < 100; i++)
		times[i] = i % 2 ? relay_trip(a, b) : relay_trip(b, a);
	qsort(times, 100, sizeof(times[0]), compare);
	return times[98];
}

/* 1. Two clients, both ways; a third, once in, is told who left. */
static void test_exchange(void **state)
{
	struct relay_process p;
	struct relay_socket *a, *b;
	struct derp_message m;

	(void)state;
	relay_start(&p, &(struct relay_server_config){0});
	a = join(&p);
	b = join(&p);
	relay_trip(a, b);
	relay_trip(b, a);
	leave(b);
	assert_int_equal(relay_read(a, &m), 1);
	assert_int_equal(m.type, DERP_PEER_GONE);
	leave(a);
	relay_stop(&p);
}

struct flood {
	struct relay_socket *from;
	struct public_key to;
	bool stop;
	pthread_t thread;
};

static void *flood_main(void *argument)
{
	static uint8_t packet[1400];
	struct flood *f = argument;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		if (!relay_send(f->from, &f->to, packet, sizeof(packet)))
			break;
	return NULL;
}

static void flood_start(struct flood *f, struct relay_socket *from, const struct public_key *to)
{
	*f = (struct flood){.from = from, .to = *to};
	assert_int_equal(pthread_create(&f->thread, NULL, flood_main, f), 0);
}

static void flood_stop(struct flood *f)
{
	__atomic_store_n(&f->stop, true, __ATOMIC_RELAXED);
	shutdown(f->from->fd, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	leave(f->from);
}

/* 2. Floods to nobody do not slow two who talk. */
static void test_flood(void **state)
{
	static const struct public_key nobody = {{0x66}};
	struct relay_process p;
	struct flood floods[4];
	struct relay_socket *a, *b;
	nanoseconds quiet, under;

	(void)state;
	relay_start(&p, &(struct relay_server_config){0});
	a = join(&p);
	b = join(&p);
	quiet = trips(a, b);
	for (int i = 0; i < 4; i++)
		flood_start(&floods[i], join(&p), &nobody);
	under = trips(a, b);
	print_message("p98 of a trip: quiet %.2f ms, under four floods %.2f ms\n",
		      (double)quiet / 1e6, (double)under / 1e6);
	assert_true(under < SOON);
	for (int i = 0; i < 4; i++)
		flood_stop(&floods[i]);
	leave(a);
	leave(b);
	relay_stop(&p);
}

/* 3. A client that does not read is cut after two seconds, and slows nobody until then. */
static void test_deaf(void **state)
{
	struct relay_socket *a, *b, *deaf = malloc(sizeof(*deaf));
	struct relay_process p;
	nanoseconds begin, worst = 0;
	struct derp_message m = {0};
	struct flood flood;

	(void)state;
	relay_start(&p, &(struct relay_server_config){0});
	a = join(&p);
	b = join(&p);
	assert_true(relay_join(&p, deaf, 4096));
	begin = clock_boottime();
	flood_start(&flood, join(&p), &deaf->key);
	/* The sender is told when it is gone. */
	while (m.type != DERP_PEER_GONE || m.reason != DERP_GONE_DISCONNECTED) {
		nanoseconds slow = trips(a, b);

		worst = slow > worst ? slow : worst;
		assert_true(clock_boottime() - begin < 15 * NSEC_PER_SEC);
		if (recv(flood.from->fd, &(uint8_t){0}, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
			assert_int_equal(relay_read(flood.from, &m), 1);
	}
	print_message("cut after %.1f s; p98 of a trip until then %.2f ms\n",
		      (double)(clock_boottime() - begin) / 1e9, (double)worst / 1e6);
	assert_true(clock_boottime() - begin > 2 * NSEC_PER_SEC);
	assert_true(worst < SOON);
	flood_stop(&flood);
	leave(deaf);
	leave(a);
	leave(b);
	relay_stop(&p);
}

/* 4. Half-open, slow and senseless connections keep nobody out. */
static void test_hostile_connections(void **state)
{
	enum { CONNECTIONS = 300 };
	struct relay_process p;
	struct relay_socket *a, *b;
	int fds[CONNECTIONS];
	nanoseconds begin;
	char byte;

	(void)state;
	relay_start(&p, &(struct relay_server_config){0});
	begin = clock_boottime();
	for (int i = 0; i < CONNECTIONS; i++) {
		static const char *const texts[] = {"", "G", "GET /derp HTTP/1.1\r\nHost: x\r\n",
						    "\r\r\r\r\r\n\n\n\n", "\x16\x03\x01\x02"};
		const char *text = texts[i % 5];

		fds[i] = relay_tcp(&p, 0);
		if (*text)
			relay_write(fds[i], text, strlen(text));
	}
	a = join(&p);
	b = join(&p);
	assert_true(clock_boottime() - begin < 5 * NSEC_PER_SEC);
	assert_true(trips(a, b) < SOON);
	/* All of them are ended by the relay. */
	for (int i = 0; i < CONNECTIONS; i++) {
		while (recv(fds[i], &byte, 1, 0) > 0)
			;
		close(fds[i]);
	}
	assert_in_range((clock_boottime() - begin) / NSEC_PER_SEC, LIMIT_SERVER_PATIENCE - 1,
			LIMIT_SERVER_PATIENCE + 8);
	relay_trip(a, b);
	leave(a);
	leave(b);
	relay_stop(&p);
}

/* 5. Who comes and goes a thousand times leaves nothing behind. */
static void test_connects(void **state)
{
	struct relay_process p;
	struct relay_socket *a, *b, *once = malloc(sizeof(*once));

	(void)state;
	relay_start(&p, &(struct relay_server_config){0});
	a = join(&p);
	b = join(&p);
	for (int i = 0; i < 1000; i++) {
		if (i % 4 == 0) {
			assert_true(relay_join(&p, once, 0));
			close(once->fd);
		} else {
			close(relay_tcp(&p, 0));
		}
	}
	free(once);
	assert_true(trips(a, b) < SOON);
	leave(a);
	leave(b);
	relay_stop(&p);
}

static bool refuse(void *user, const struct public_key *node, const struct address *source)
{
	(void)node;
	(void)source;
	return user != NULL;
}

/* 6. The owner's verdict; and a bound for each address. */
static void test_refused(void **state)
{
	struct relay_socket *s = malloc(sizeof(*s)), *others[3];
	struct relay_process p;

	(void)state;
	relay_start(&p, &(struct relay_server_config){.verify = refuse});
	assert_false(relay_join(&p, s, 0));
	close(s->fd);
	relay_stop(&p);

	relay_start(&p, &(struct relay_server_config){
				.verify = refuse, .user = &p, .source_clients = 3});
	for (int i = 0; i < 3; i++)
		others[i] = join(&p);
	assert_false(relay_join(&p, s, 0));
	assert_non_null(memmem(s->in, s->length, " 429 ", 5));
	close(s->fd);
	leave(others[0]);
	while (!relay_join(&p, s, 0)) /* its end is noticed a little later */
		close(s->fd);
	close(s->fd);
	free(s);
	leave(others[1]);
	leave(others[2]);
	relay_stop(&p);
}

/* A verification server: one answer to everything. */
struct verifier {
	int listener;
	uint16_t port;
	const char *answer;
	pthread_t thread;
	char request[2048];
};

static void *verifier_main(void *argument)
{
	struct verifier *v = argument;
	int fd;

	while ((fd = accept(v->listener, NULL, NULL)) >= 0) {
		size_t length = 0;
		ssize_t n;

		while (!memmem(v->request, length, "}", 1)) {
			n = recv(fd, v->request + length, sizeof(v->request) - 1 - length, 0);
			if (n <= 0)
				break;
			length += (size_t)n;
		}
		v->request[length] = 0;
		relay_write(fd, v->answer, strlen(v->answer));
		close(fd);
	}
	return NULL;
}

static void verifier_start(struct verifier *v, const char *answer)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(at);

	*v = (struct verifier){.answer = answer};
	v->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(v->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(v->listener, 8), 0);
	assert_int_equal(getsockname(v->listener, (struct sockaddr *)&at, &size), 0);
	v->port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&v->thread, NULL, verifier_main, v), 0);
}

static void verifier_stop(struct verifier *v)
{
	shutdown(v->listener, SHUT_RDWR);
	pthread_join(v->thread, NULL);
	close(v->listener);
}

/* 7. A URL is asked, and its answer understood. */
static void test_verify_url(void **state)
{
#define ANSWER(body, length) \
	"HTTP/1.1 200 OK\r\nContent-Length: " length "\r\nConnection: close\r\n\r\n" body
	static const struct {
		const char *answer;
		bool open, in;
	} table[] = {
		{ANSWER("{\"Allow\":true}", "14"), false, true},
		{ANSWER("{\"Allow\":false}", "15"), true, false},
		{ANSWER("{\"Allow\":1}", "11"), false, false},
		{ANSWER("true", "4"), false, false},
		{ANSWER("{}", "2"), true, false},
		{"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false, false},
		{"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", true, true},
		{"", false, false},
		{"", true, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct relay_socket *s = malloc(sizeof(*s));
		char url[64], key[KEY_TEXT_MAX];
		struct relay_process p;
		struct verifier v;

		verifier_start(&v, table[i].answer);
		snprintf(url, sizeof(url), "http://127.0.0.1:%u/verify", v.port);
		relay_start(&p, &(struct relay_server_config){.verify_url = url,
							      .verify_fail_open = table[i].open});
		assert_int_equal(relay_join(&p, s, 0), table[i].in);
		assert_non_null(strstr(v.request, "POST /verify HTTP/1.1"));
		assert_non_null(strstr(v.request, public_key_format(&s->key, KEY_NODE, key)));
		assert_non_null(strstr(v.request, "\"Source\":\"127.0.0.1\""));
		close(s->fd);
		free(s);
		relay_stop(&p);
		verifier_stop(&v);
	}
}

/* 8. A rate holds, and only for the one who is over it. */
static void test_rate(void **state)
{
	struct relay_process p;
	struct relay_socket *a, *b, *sink;
	struct flood flood;
	nanoseconds begin;
	size_t got = 0;

	(void)state;
	relay_start(&p, &(struct relay_server_config){.client_bytes_per_second = 200000});
	a = join(&p);
	b = join(&p);
	sink = join(&p);
	begin = clock_boottime();
	flood_start(&flood, join(&p), &sink->key);
	while (clock_boottime() - begin < 3 * NSEC_PER_SEC) {
		struct derp_message m;

		assert_int_equal(relay_read(sink, &m), 1);
		got += m.length;
	}
	assert_in_range(got, 350000, 950000); /* three seconds of it, and one of burst at most */
	assert_true(trips(a, b) < SOON);
	flood_stop(&flood);
	leave(sink);
	leave(a);
	leave(b);
	relay_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange),   cmocka_unit_test(test_flood),
		cmocka_unit_test(test_deaf),       cmocka_unit_test(test_hostile_connections),
		cmocka_unit_test(test_connects),   cmocka_unit_test(test_refused),
		cmocka_unit_test(test_verify_url), cmocka_unit_test(test_rate),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
