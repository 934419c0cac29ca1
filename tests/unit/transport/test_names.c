/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/transport/test_names.c - names by text, and by DNS from a small server in a thread */
#include "transport/bootstrap_dns.h"
#include "transport/names.h"
#include "transport/names_text.h"
#include "unit/transport/peer.h"

static void resolv_conf_by_table(void **state)
{
	static const struct {
		const char *text;
		size_t servers, search;
		int ndots, timeout, tries;
		const char *first_server, *first_search;
	} rows[] = {
		/* 1 */ {"nameserver 10.0.0.1\n", 1, 0, 1, 0, 0, "10.0.0.1:53", NULL},
		/* 2 */
		{"# c\nnameserver 10.0.0.1 # c\nnameserver fd00::1\n;x\nsearch a.b c.d\n", 2, 2, 1,
		 0, 0, "10.0.0.1:53", "a.b"},
		/* 3 */ {"search x.y\nsearch a.b\ndomain c.d", 0, 1, 1, 0, 0, NULL, "c.d"},
		/* 4 */
		{"options ndots:5 timeout:3 attempts:1 rotate edns0\n", 0, 0, 5, 3, 1, NULL, NULL},
		/* 5 */ {"options ndots:99 timeout:99 attempts:99", 0, 0, 15, 30, 5, NULL, NULL},
		/* 6 */ {"options ndots:x timeout: attempts:0", 0, 0, 1, 0, 0, NULL, NULL},
		/* 7 */
		{"nameserver hello\nnameserver fe80::1%eth0\nnameserver [127.0.0.1]:5300", 1, 0, 1,
		 0, 0, "127.0.0.1:5300", NULL},
		/* 8 */ {"\tnameserver\t1.2.3.4\t\r\n", 1, 0, 1, 0, 0, "1.2.3.4:53", NULL},
		/* 9 */ {"search . -bad- ok.example", 0, 1, 1, 0, 0, NULL, "ok.example"},
		/* 10 */ {"", 0, 0, 1, 0, 0, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[ENDPOINT_TEXT_MAX];
		struct resolv_conf c;

		assert_int_equal(resolv_conf_parse(rows[i].text, strlen(rows[i].text), &c), 0);
		if (c.server_count != rows[i].servers || c.search_count != rows[i].search ||
		    c.ndots != rows[i].ndots || c.timeout != rows[i].timeout ||
		    c.tries != rows[i].tries)
			fail_msg("row %zu: %zu %zu %d %d %d", i + 1, c.server_count, c.search_count,
				 c.ndots, c.timeout, c.tries);
		if (rows[i].first_server) {
			struct endpoint e = c.servers[0];

			if (e.port != 53)
				assert_int_equal(e.port, 5300);
			assert_string_equal(endpoint_format(&e, text), rows[i].first_server);
		}
		if (rows[i].first_search)
			assert_string_equal(c.search[0], rows[i].first_search);
	}
	assert_int_equal(resolv_conf_parse(NULL, 0, &(struct resolv_conf){0}), 0);
}

static void hosts_by_table(void **state)
{
	static const char text[] =
		"127.0.0.1 localhost\n# 9.9.9.9 comment\n10.1.2.3\thead.example head # x\n"
		"fd00::3 head.example\nnonsense head.example\n10.1.2.4 other HEAD";
	static const struct {
		const char *name;
		size_t count;
		const char *first;
	} rows[] = {
		/* 1 */ {"head.example", 2, "10.1.2.3"},
		/* 2 */ {"HEAD", 2, "10.1.2.3"},
		/* 3 */ {"head.example.", 2, "10.1.2.3"},
		/* 4 */ {"comment", 0, NULL},
		/* 5 */ {"10.1.2.3", 0, NULL},
		/* 6 */ {"head.exampl", 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[ADDRESS_TEXT_MAX];
		struct address a[4];

		assert_int_equal(hosts_find(text, strlen(text), rows[i].name, a, 4), rows[i].count);
		if (rows[i].count)
			assert_string_equal(address_format(&a[0], out), rows[i].first);
	}
}

static void host_names_by_table(void **state)
{
	static const struct {
		const char *host;
		bool valid;
	} rows[] = {
		/* 1 */ {"a", true},           /* 2 */ {"a.b-c.example", true},
		/* 3 */ {"_dmarc.a", true},    /* 4 */ {"1.2.3.4", true},
		/* 5 */ {"fd00::1", true},     /* 6 */ {"a.example.", true},
		/* 7 */ {"1a.2b", true},       /* 8 */ {"", false},
		/* 9 */ {".", false},          /* 10 */ {"a..b", false},
		/* 11 */ {"-a", false},        /* 12 */ {"a-", false},
		/* 13 */ {"a-.b", false},      /* 14 */ {"a b", false},
		/* 15 */ {"a\r\nb", false},    /* 16 */ {"1.2.3", false},
		/* 17 */ {"1.2.3.256", false}, /* 18 */ {"[::1]", false},
		/* 19 */ {"a:80", false},      /* 20 */ {"\xc3\xa4", false},
	};
	char label[70];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (host_is_valid(rows[i].host) != rows[i].valid)
			fail_msg("row %zu", i + 1);
	memset(label, 'a', 64);
	label[64] = 0;
	assert_false(host_is_valid(label));
	label[63] = 0;
	assert_true(host_is_valid(label));
}

static void bootstrap_answers_by_table(void **state)
{
	static const struct {
		const char *json;
		int result;
	} rows[] = {
		/* 1 */ {"{\"a.example\":[\"1.2.3.4\",\"fd00::1\"]}", 2},
		/* 2 */ {"{\"a.example\":[\"1.2.3.4\",7,\"x\"],\"b\":[\"9.9.9.9\"]}", 1},
		/* 3 */ {"{\"b.example\":[\"1.2.3.4\"]}", -ENOENT},
		/* 4 */ {"{\"a.example\":null}", -ENOENT},
		/* 5 */ {"[]", -EBADMSG},
		/* 6 */ {"{", -EBADMSG},
		/* 7 */ {"", -EBADMSG},
	};
	struct address a[NAMES_ADDRESSES_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(
			bootstrap_dns_parse(rows[i].json, strlen(rows[i].json), "a.example", a),
			rows[i].result);
}

/*
 * A DNS server: answers a.example with A and AAAA, a.search.example with A only, "late."
 * never, anything else with NXDOMAIN.
 */
struct dns {
	pthread_t thread;
	int fd, stop[2];
	uint16_t port;
	unsigned int questions;
};

static size_t answer(const uint8_t *query, size_t size, uint8_t *out)
{
	char name[256] = "";
	size_t at = 12, length = size;
	uint16_t type;

	while (at < size && query[at]) {
		strncat(name, (const char *)query + at + 1, query[at]);
		strcat(name, ".");
		at += query[at] + 1u;
	}
	type = query[at + 2];
	at += 5;
	memcpy(out, query, at);
	length = at; /* without the additional section */
	out[2] = 0x81;
	out[3] = 0x80;
	memset(out + 6, 0, 6);
	if (strncmp(name, "late.", 5) == 0)
		return 0;
	if (strcmp(name, "a.example.") != 0 && strcmp(name, "short.search.example.") != 0) {
		out[3] |= 3;
		return length;
	}
	if (type == 1) {
		static const uint8_t record[] = {0xc0, 12, 0, 1, 0,   1, 0, 0,
						 0,    60, 0, 4, 192, 0, 2, 7};

		memcpy(out + length, record, sizeof(record));
		length += sizeof(record);
		out[7] = 1;
	} else if (type == 28 && name[0] == 'a') {
		static const uint8_t record[] = {0xc0, 12, 0, 28, 0,    1, 0,   0,
						 0,    60, 0, 16, 0x20, 1, 0xd, 0xb8};

		memcpy(out + length, record, sizeof(record));
		memset(out + length + sizeof(record), 0, 12);
		out[length + 27] = 7;
		length += 28;
		out[7] = 1;
	}
	return length;
}

static void *dns_main(void *argument)
{
	struct dns *d = argument;

	for (;;) {
		struct pollfd fds[2] = {{.fd = d->fd, .events = POLLIN},
					{.fd = d->stop[0], .events = POLLIN}};
		uint8_t query[512], out[1024];
		struct sockaddr_in from;
		socklen_t length = sizeof(from);
		ssize_t size;

		poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		size = recvfrom(d->fd, query, sizeof(query), 0, (struct sockaddr *)&from, &length);
		if (size < 17)
			continue;
		__atomic_add_fetch(&d->questions, 1, __ATOMIC_SEQ_CST);
		size = (ssize_t)answer(query, (size_t)size, out);
		if (size)
			sendto(d->fd, out, (size_t)size, 0, (struct sockaddr *)&from, length);
	}
}

static void dns_start(struct dns *d)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(in);

	memset(d, 0, sizeof(*d));
	d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(d->fd, (struct sockaddr *)&in, sizeof(in)), 0);
	getsockname(d->fd, (struct sockaddr *)&in, &length);
	d->port = ntohs(in.sin_port);
	assert_int_equal(pipe(d->stop), 0);
	assert_int_equal(pthread_create(&d->thread, NULL, dns_main, d), 0);
}

static void dns_stop(struct dns *d)
{
	assert_int_equal(write(d->stop[1], "x", 1), 1);
	pthread_join(d->thread, NULL);
	close(d->fd);
	close(d->stop[0]);
	close(d->stop[1]);
}

struct heard {
	unsigned int answers;
	size_t count;
	struct address first, second;
	struct error err;
	struct names *free_me;
};

static void hear(void *user, const struct address *addresses, size_t count, const struct error *err)
{
	struct heard *h = user;

	h->answers++;
	h->count = count;
	if (count)
		h->first = addresses[0];
	if (count > 1)
		h->second = addresses[1];
	if (err)
		h->err = *err;
	names_free(h->free_me);
}

static void configure(struct names *n, const char *format, uint16_t port, const char *hosts)
{
	char text[256];

	snprintf(text, sizeof(text), "nameserver [127.0.0.1]:%u\n%s", port, format);
	assert_int_equal(names_configure(n, text, strlen(text), hosts, strlen(hosts), NULL), 0);
}

static void questions_are_answered(void **state)
{
	static const struct {
		const char *host;
		size_t count;
		int code;
		const char *first; /* NULL: any */
		bool asks;
	} rows[] = {
		/* 1 */ {"a.example", 2, 0, NULL, true},
		/* 2 */ {"short", 1, 0, "192.0.2.7", true}, /* by the search list */
		/* 3 */ {"none.example", 0, -ENOENT, NULL, true},
		/* 4 */ {"192.0.2.1", 1, 0, "192.0.2.1", false},
		/* 5 */ {"fd00::1", 1, 0, "fd00::1", false},
		/* 6 */ {"listed.example", 1, 0, "10.9.8.7", false},
		/* 7 */ {"localhost", 2, 0, "127.0.0.1", false},
		/* 8 */ {"x.localhost", 2, 0, "127.0.0.1", false},
		/* 9 */ {"late.example", 0, -ETIMEDOUT, NULL, true},
	};
	struct names *n;
	uv_loop_t loop;
	struct dns d;

	(void)state;
	dns_start(&d);
	uv_loop_init(&loop);
	assert_int_equal(names_create(&loop, socket_source_direct(), &n, NULL), 0);
	configure(n, "search search.example\noptions timeout:1 attempts:1", d.port,
		  "10.9.8.7 listed.example\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned int before = __atomic_load_n(&d.questions, __ATOMIC_SEQ_CST);
		struct names_query *q;
		struct heard h = {0};
		char text[ADDRESS_TEXT_MAX];

		assert_int_equal(names_resolve(n, rows[i].host, hear, &h, &q, NULL), 0);
		assert_int_equal(h.answers, 0); /* never before it returned */
		while (!h.answers)
			uv_run(&loop, UV_RUN_ONCE);
		if (h.count != rows[i].count || h.err.code != rows[i].code)
			fail_msg("row %zu: %zu addresses, %d '%s'", i + 1, h.count, h.err.code,
				 h.err.text);
		if (rows[i].first)
			assert_string_equal(address_format(&h.first, text), rows[i].first);
		assert_int_equal(__atomic_load_n(&d.questions, __ATOMIC_SEQ_CST) > before,
				 rows[i].asks);
		if (i == 0)
			assert_int_not_equal(h.first.family, h.second.family);
	}
	names_free(n);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	dns_stop(&d);
}

static void bad_names_are_refused(void **state)
{
	struct names_query *q;
	struct error err = {0};
	struct names *n;
	uv_loop_t loop;

	(void)state;
	uv_loop_init(&loop);
	assert_int_equal(names_create(&loop, socket_source_direct(), &n, NULL), 0);
	assert_int_equal(names_resolve(n, "a b", hear, NULL, &q, &err), -EINVAL);
	assert_int_equal(names_resolve(n, "", hear, NULL, &q, &err), -EINVAL);
	names_free(n);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_new_configuration_asks_again(void **state)
{
	struct heard h = {0}, cancelled = {0};
	struct names_query *q, *q2;
	struct names *n;
	uv_loop_t loop;
	struct dns d;

	(void)state;
	dns_start(&d);
	uv_loop_init(&loop);
	assert_int_equal(names_create(&loop, socket_source_direct(), &n, NULL), 0);
	/* A server that never answers: a socket of ours that is never read. */
	{
		struct dns silent = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
		struct sockaddr_in in = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t length = sizeof(in);

		assert_int_equal(bind(silent.fd, (struct sockaddr *)&in, sizeof(in)), 0);
		getsockname(silent.fd, (struct sockaddr *)&in, &length);
		configure(n, "", ntohs(in.sin_port), "");
		assert_int_equal(names_resolve(n, "a.example", hear, &h, &q, NULL), 0);
		assert_int_equal(names_resolve(n, "a.example", hear, &cancelled, &q2, NULL), 0);
		uv_run(&loop, UV_RUN_NOWAIT);
		names_cancel(q2);
		configure(n, "", d.port, "");
		while (!h.answers)
			uv_run(&loop, UV_RUN_ONCE);
		close(silent.fd);
	}
	assert_int_equal(h.count, 2);
	assert_int_equal(cancelled.answers, 0);
	names_free(n);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	dns_stop(&d);
}

static void it_may_be_freed_at_any_time(void **state)
{
	struct heard h = {0}, inside = {0};
	struct names_query *q;
	struct names *n;
	uv_loop_t loop;
	struct dns d;

	(void)state;
	dns_start(&d);
	uv_loop_init(&loop);
	/* With a question under way and an answer waiting. */
	assert_int_equal(names_create(&loop, socket_source_direct(), &n, NULL), 0);
	configure(n, "", d.port, "");
	assert_int_equal(names_resolve(n, "late.example", hear, &h, &q, NULL), 0);
	assert_int_equal(names_resolve(n, "192.0.2.1", hear, &h, &q, NULL), 0);
	names_free(n);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(h.answers, 0);
	/* Inside of an answer, with another one waiting. */
	assert_int_equal(names_create(&loop, socket_source_direct(), &n, NULL), 0);
	inside.free_me = n;
	assert_int_equal(names_resolve(n, "192.0.2.1", hear, &inside, &q, NULL), 0);
	assert_int_equal(names_resolve(n, "192.0.2.1", hear, &inside, &q, NULL), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(inside.answers, 1);
	assert_int_equal(uv_loop_close(&loop), 0);
	dns_stop(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolv_conf_by_table),
		cmocka_unit_test(hosts_by_table),
		cmocka_unit_test(host_names_by_table),
		cmocka_unit_test(bootstrap_answers_by_table),
		cmocka_unit_test(questions_are_answered),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(a_new_configuration_asks_again),
		cmocka_unit_test(it_may_be_freed_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
