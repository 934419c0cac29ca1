/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/control_asks.c - what control does for a certificate: a record in DNS, a signature
 *
 * DOC: Theory of operation
 *
 * This process never speaks to the control server: the engine does, and knows which names are this
 * node's. A question is repeated to the next engine, since both requests may be made twice. Control
 * may take a minute, for its DNS provider; after PATIENCE the question is given up.
 */
#include "base/cleanup.h"
#include "privsep/records.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define PATIENCE   (120 * NSEC_PER_SEC)
#define SEND_PAUSE (50 * NSEC_PER_MSEC) /* while the channel is full */

struct control_ask {
	LIST_ENTRY(control_ask) entry;
	struct control_asks *asks;
	union privsep_message message;
	int csr; /* sealed memfd; -1: none */
	bool sent;
	struct loop_timer *timer;
	nanoseconds ends;
	control_asked *asked;
	void *user;
};

struct control_asks {
	uv_loop_t *loop;
	struct engine_link *link;
	uint32_t last_id;
	LIST_HEAD(, control_ask) list;
};

struct control_asks *control_asks_new(uv_loop_t *loop, struct engine_link *link)
{
	struct control_asks *asks = calloc(1, sizeof(*asks));

	if (asks) {
		asks->loop = loop;
		asks->link = link;
		LIST_INIT(&asks->list);
	}
	return asks;
}

static void forget(struct control_ask *ask)
{
	LIST_REMOVE(ask, entry);
	loop_timer_free(ask->timer);
	if (ask->csr >= 0)
		close(ask->csr);
	free(ask);
}

/* end() - Forget the question, and tell its answer */
static void end(struct control_ask *ask, const struct control_asked_answer *answer)
{
	control_asked *asked = ask->asked;
	void *user = ask->user;

	forget(ask);
	asked(user, answer);
}

void control_asks_free(struct control_asks *asks)
{
	if (!asks)
		return;
	while (!LIST_EMPTY(&asks->list))
		forget(LIST_FIRST(&asks->list));
	free(asks);
}

/* send() - Without a channel it is sent when one comes */
static void send_ask(struct control_ask *ask)
{
	nanoseconds now = clock_boottime();
	int r = engine_link_send(ask->asks->link, &ask->message, ask->csr);

	ask->sent = r == 0;
	loop_timer_at(ask->timer,
		      r == -EAGAIN && now + SEND_PAUSE < ask->ends ? now + SEND_PAUSE : ask->ends);
}

static void on_timer(void *user)
{
	struct control_ask *ask = user;

	if (clock_boottime() < ask->ends)
		send_ask(ask);
	else
		end(ask, &(struct control_asked_answer){
				 .result = -ETIMEDOUT,
				 .text = ask->sent ? "the control server did not answer in time"
						   : "the node's engine is not there"});
}

void control_asks_linked(struct control_asks *asks)
{
	struct control_ask *ask;

	LIST_FOREACH(ask, &asks->list, entry)
		send_ask(ask);
}

void control_asks_answer(struct control_asks *asks, const struct privsep_answer *answer, int fd)
{
	_cleanup_(buffer_free) struct buffer chain = BUFFER_INIT(PRIVSEP_CHAIN_MAX + 1);
	struct control_asked_answer found = {
		.result = answer->result,
		.retry_after = answer->retry_after,
		.text = answer->text,
	};
	struct control_ask *ask;

	LIST_FOREACH(ask, &asks->list, entry)
		if (ask->message.header.id == answer->header.id)
			break;
	if (!ask)
		return;
	if (found.result == 0 && ask->csr >= 0) {
		found.result = fd >= 0 ? privsep_memfd_read(PRIVSEP_ANSWER, fd, &chain) : -EBADMSG;
		found.chain_length = chain.length;
		if (found.result == 0)
			found.result = buffer_append(&chain, "", 1);
		if (found.result == 0)
			found.chain = (const char *)buffer_head(&chain);
		else
			found.text = "the certificate could not be read";
	}
	end(ask, &found);
}

/* begin() - Takes @csr over, -1 where there is none */
static struct control_ask *begin(struct control_asks *asks, const union privsep_message *message,
				 int csr, control_asked *asked, void *user)
{
	struct control_ask *ask = calloc(1, sizeof(*ask));

	if (!ask || loop_timer_create(asks->loop, on_timer, ask, &ask->timer) < 0) {
		if (csr >= 0)
			close(csr);
		free(ask);
		return NULL;
	}
	if (++asks->last_id == 0)
		asks->last_id = 1;
	ask->asks = asks;
	ask->message = *message;
	ask->message.header.id = asks->last_id;
	ask->csr = csr;
	ask->asked = asked;
	ask->user = user;
	ask->ends = clock_boottime() + PATIENCE;
	LIST_INSERT_HEAD(&asks->list, ask, entry);
	send_ask(ask);
	return ask;
}

struct control_ask *control_ask_txt(struct control_asks *asks, const char *name, const char *value,
				    control_asked *asked, void *user)
{
	union privsep_message m = {.txt = {.header.type = PRIVSEP_TXT}};

	if (strlen(name) >= sizeof(m.txt.name) || strlen(value) >= sizeof(m.txt.value))
		return NULL;
	strcpy(m.txt.name, name);
	strcpy(m.txt.value, value);
	return begin(asks, &m, -1, asked, user);
}

struct control_ask *control_ask_sign(struct control_asks *asks, const char *csr, size_t length,
				     control_asked *asked, void *user)
{
	const union privsep_message m = {.header.type = PRIVSEP_SIGN};
	int fd = privsep_memfd_seal(PRIVSEP_SIGN, csr, length);

	return fd < 0 ? NULL : begin(asks, &m, fd, asked, user);
}

void control_ask_cancel(struct control_ask *ask)
{
	if (ask)
		forget(ask);
}
