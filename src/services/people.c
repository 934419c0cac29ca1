/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/people.c - the owners of peers' addresses
 *
 * DOC: Theory of operation
 *
 * The engine knows them, and says when the netmap changes: all answers are forgotten then. That
 * message may get lost, so an answer is good for KEEP only.
 * While requests use it, it is asked for again before that, so that none of them waits. There is one
 * inquiry for an address at a time, however many requests wait for its answer. An answer gets lost
 * if the channel is full, so an inquiry is sent again and again. An engine that is just being
 * replaced does not answer: after PATIENCE a request goes on without an owner, which gives it
 * less, never more.
 */
#include "base/cleanup.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define KEEP      (2 * NSEC_PER_SEC)
#define REFRESH   (NSEC_PER_SEC / 2)
#define PATIENCE  (2 * NSEC_PER_SEC)
#define KNOWN_MAX 256u /* answers kept; each has some 5 KB */

#define SEND_PAUSE (10 * NSEC_PER_MSEC)  /* while the channel is full */
#define SEND_AGAIN (100 * NSEC_PER_MSEC) /* the answer may be lost */

struct known {
	struct address address;
	nanoseconds until;
	struct privsep_person person;
	UT_hash_handle hh;
};

/* One address that the engine is asked for. */
struct inquiry {
	LIST_ENTRY(inquiry) entry;
	struct people *people;
	uint32_t id;
	struct address address;
	LIST_HEAD(, person_question) questions;
	struct loop_timer *timer;
	nanoseconds ends;
};

struct person_question {
	LIST_ENTRY(person_question) entry;
	person_found *found; /* NULL: cancelled */
	void *user;
};

struct people {
	uv_loop_t *loop;
	struct engine_link *link;
	struct known *known;
	LIST_HEAD(, inquiry) inquiries;
	uint32_t last_id;
};

struct people *people_new(uv_loop_t *loop, struct engine_link *link)
{
	struct people *people = calloc(1, sizeof(*people));

	if (people) {
		people->loop = loop;
		people->link = link;
		LIST_INIT(&people->inquiries);
	}
	return people;
}

void people_forget(struct people *people)
{
	struct known *known, *next;

	HASH_ITER(hh, people->known, known, next) {
		HASH_DEL(people->known, known);
		free(known);
	}
}

static void remember(struct people *people, const struct address *address,
		     const struct privsep_person *person)
{
	struct known *known;

	HASH_FIND(hh, people->known, address, sizeof(*address), known);
	if (!known) {
		if (HASH_COUNT(people->known) >= KNOWN_MAX)
			people_forget(people);
		known = calloc(1, sizeof(*known));
		if (!known)
			return;
		known->address = *address;
		HASH_ADD(hh, people->known, address, sizeof(known->address), known);
		if (!known->hh.tbl) { /* HASH_NONFATAL_OOM */
			free(known);
			return;
		}
	}
	known->person = *person;
	known->until = clock_boottime() + KEEP;
}

/* end() - Answer all that wait for it, and forget it */
static void end(struct inquiry *inquiry, const struct privsep_person *person)
{
	struct person_question *question;

	LIST_REMOVE(inquiry, entry);
	loop_timer_free(inquiry->timer);
	while ((question = LIST_FIRST(&inquiry->questions))) {
		person_found *found = question->found;
		void *user = question->user;

		LIST_REMOVE(question, entry);
		free(question);
		if (found)
			found(user, person);
	}
	free(inquiry);
}

/* send_inquiry() - Without a channel it is sent when one comes; with a full one a little later */
static void send_inquiry(struct people *people, const struct inquiry *inquiry)
{
	union privsep_message m = {
		.who = {.header = {PRIVSEP_WHO, inquiry->id}, .address = inquiry->address},
	};
	nanoseconds again = clock_boottime() + SEND_AGAIN;

	if (engine_link_send(people->link, &m, -1) == -EAGAIN)
		again = clock_boottime() + SEND_PAUSE;
	loop_timer_at(inquiry->timer, again < inquiry->ends ? again : inquiry->ends);
}

void people_answer(struct people *people, uint32_t id, const struct privsep_person *person)
{
	struct inquiry *inquiry;

	LIST_FOREACH(inquiry, &people->inquiries, entry)
		if (inquiry->id == id)
			break;
	if (inquiry) {
		remember(people, &inquiry->address, person);
		end(inquiry, person);
	}
}

void people_linked(struct people *people)
{
	struct inquiry *inquiry;

	LIST_FOREACH(inquiry, &people->inquiries, entry)
		send_inquiry(people, inquiry);
}

void people_free(struct people *people)
{
	if (!people)
		return;
	while (!LIST_EMPTY(&people->inquiries))
		end(LIST_FIRST(&people->inquiries), NULL);
	people_forget(people);
	free(people);
}

static void on_timer(void *user)
{
	struct inquiry *inquiry = user;

	if (clock_boottime() >= inquiry->ends)
		end(inquiry, NULL);
	else
		send_inquiry(inquiry->people, inquiry);
}

/* inquire() - The inquiry for an address, which may be under way already; NULL without memory */
static struct inquiry *inquire(struct people *people, const struct address *address)
{
	struct inquiry *inquiry;

	LIST_FOREACH(inquiry, &people->inquiries, entry)
		if (memcmp(&inquiry->address, address, sizeof(*address)) == 0)
			return inquiry;
	inquiry = calloc(1, sizeof(*inquiry));
	if (!inquiry || loop_timer_create(people->loop, on_timer, inquiry, &inquiry->timer) < 0) {
		free(inquiry);
		return NULL;
	}
	if (++people->last_id == 0)
		people->last_id = 1;
	inquiry->people = people;
	inquiry->id = people->last_id;
	inquiry->address = *address;
	inquiry->ends = clock_boottime() + PATIENCE;
	LIST_INIT(&inquiry->questions);
	LIST_INSERT_HEAD(&people->inquiries, inquiry, entry);
	send_inquiry(people, inquiry);
	return inquiry;
}

const struct privsep_person *people_find(struct people *people, const struct address *address)
{
	nanoseconds now = clock_boottime();
	struct known *known;

	HASH_FIND(hh, people->known, address, sizeof(*address), known);
	if (!known || known->until <= now)
		return NULL;
	if (known->until - now < KEEP - REFRESH)
		(void)inquire(people, address);
	return &known->person;
}

struct person_question *people_ask(struct people *people, const struct address *address,
				   person_found *found, void *user)
{
	struct person_question *question = calloc(1, sizeof(*question));
	struct inquiry *inquiry = question ? inquire(people, address) : NULL;

	if (!inquiry) {
		free(question);
		return NULL;
	}
	question->found = found;
	question->user = user;
	LIST_INSERT_HEAD(&inquiry->questions, question, entry);
	return question;
}

void people_cancel(struct person_question *question)
{
	if (question)
		question->found = NULL;
}
