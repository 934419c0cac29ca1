/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/control/test_c2n.c - requests of control, answered or refused */
#include "control/client_internal.h"
#include "unit/unit.h"

static void handler(void *user, const struct control_c2n_request *request,
		    struct control_c2n_reply *reply)
{
	(*(int *)user)++;
	if (strcmp(request->path, "/debug/health") != 0)
		return;
	reply->status = 200;
	reply->content_type = "application/json";
	assert_int_equal(buffer_printf(&reply->body, "{\"method\":\"%s\",\"query\":\"%s\"}",
				       request->method, request->query ? request->query : ""),
			 0);
}

static void requests_and_answers(void **state)
{
	static const struct {
		const char *request, *response;
		int asked;
	} rows[] = {
		/* 1 */ {"GET /debug/health?x=1 HTTP/1.1\r\nHost: c2n\r\n\r\n",
			 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
			 "30\r\n"
			 "\r\n{\"method\":\"GET\",\"query\":\"x=1\"}",
			 1},
		/* 2 */
		{"POST /echo HTTP/1.1\r\nHost: c2n\r\nContent-Length: 3\r\n\r\nabc",
		 "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc", 0},
		/* 3: unknown path */
		{"GET /none HTTP/1.1\r\nHost: c2n\r\n\r\n",
		 "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
		 "Content-Length: 0\r\n\r\n",
		 1},
		/* 4: cut short */
		{"POST /echo HTTP/1.1\r\nHost: c2n\r\nContent-Length: 3\r\n\r\nab",
		 "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
		 "Content-Length: 0\r\n\r\n",
		 0},
		/* 5: nothing */
		{"",
		 "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
		 "Content-Length: 0\r\n\r\n",
		 0},
		/* 6: two requests */
		{"GET /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\n"
		 "Host: a\r\n\r\n",
		 "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
		 "Content-Length: 0\r\n\r\n",
		 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buffer out = BUFFER_INIT(10000);
		int asked = 0;

		assert_int_equal(c2n_respond((const uint8_t *)rows[i].request,
					     strlen(rows[i].request), handler, &asked, &out),
				 0);
		assert_int_equal(buffer_append(&out, "", 1), 0);
		if (strcmp((char *)buffer_head(&out), rows[i].response) != 0 ||
		    asked != rows[i].asked)
			fail_msg("row %zu: asked %d: %s", i + 1, asked, (char *)buffer_head(&out));
		buffer_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_and_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
