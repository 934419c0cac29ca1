/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/coordinator_answers.c - changes go to the disk, then their answers to the nodes
 *
 *   An answer is sent only after its changes are on the disk. To send it may end the connection, which
 *   frees all exchanges of that connection; so code that walks a list of exchanges never sends, but moves
 *   the exchange to the list of answers (machine_answer_exchange()).
 */
#define LOG_ROOM "control"
#include "server/coordinator/coordinator_internal.h"

#include "base/limits.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

static const char text_type[] = "text/plain; charset=utf-8";

int coordinator_write(struct coordinator *c, struct error *err)
{
	struct error unasked = {0};
	int r;

	err = err ? err : &unasked;
	r = registry_store_flush(c->store, &c->tailnet.registry, err);
	if (r < 0 && !c->store_failed)
		log_error("%s; answers wait until it can", err->text);
	else if (r == 0 && c->store_failed)
		log_info("the database can be written again");
	c->store_failed = r < 0;
	return r;
}

void coordinator_settle(struct coordinator *c)
{
	if (!c->store_failed && !c->stopping)
		loop_timer_soon(c->flush);
}

/* list_as() - Put it on the list of its kind */
static void list_as(struct machine_exchange *e, enum exchange_kind kind)
{
	e->kind = kind;
	LIST_INSERT_HEAD(&e->control->exchanges[kind], e, next);
}

struct machine_exchange *machine_exchange_new(struct coordinator *c, struct http2_exchange *x,
					      enum exchange_kind kind)
{
	struct machine_exchange *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->control = c;
	e->x = x;
	e->answer = BUFFER_INIT(LIMIT_MAP_OBJECT);
	e->stalled_since = e->until = DEADLINE_NEVER;
	list_as(e, kind);
	x->context = e;
	return e;
}

void machine_exchange_free(struct machine_exchange *e)
{
	if (e->gone)
		*e->gone = true;
	LIST_REMOVE(e, next);
	deadlines_clear(&e->due);
	e->control->queued -= e->queued;
	if (e->session)
		map_session_close(e->session, tailnet_now());
	e->x->context = NULL;
	buffer_free(&e->answer);
	machine_register_request_clear(&e->request);
	free(e->ssh);
	free(e);
}

void machine_reply_text(struct http2_exchange *x, int status, const char *text)
{
	(void)http2_reply(x, status, text_type, text, strlen(text));
}

void machine_answer_exchange(struct machine_exchange *e, int status, struct buffer *body)
{
	LIST_REMOVE(e, next);
	list_as(e, EXCHANGE_ANSWER);
	e->status = status;
	e->answer = *body;
	*body = BUFFER_INIT(0);
	coordinator_settle(e->control);
}

void coordinator_answer(struct coordinator *c)
{
	struct machine_exchange *e;

	/* An answer may end its connection: only the head of the list is sure to be there. */
	while ((e = LIST_FIRST(&c->exchanges[EXCHANGE_ANSWER]))) {
		struct http2_exchange *x = e->x;
		struct buffer answer = e->answer;
		int status = e->status;
		const char *type = status != 200   ? text_type
				   : answer.length ? MACHINE_ANSWER_TYPE
						   : NULL;

		e->answer = BUFFER_INIT(0);
		machine_exchange_free(e);
		if (status == MACHINE_ANSWER_RESET)
			http2_reset(x);
		else
			(void)http2_reply(x, status, type, buffer_head(&answer), answer.length);
		buffer_free(&answer);
	}
}
