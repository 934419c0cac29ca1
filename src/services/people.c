/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * services/people.c - the owners of peers' addresses
 *
 * DOC: Theory of operation
 *
 * The engine knows them, and a policy may change at any time, so an answer is good for KEEP only.
 * An engine that is just being replaced does not answer: after PATIENCE a request goes on without
 * an owner, which gives it less, never more.
 */
#include "base/cleanup.h"
#include "services/services_internal.h"
#include "transport/loop_timer.h"

#include <errno.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define KEEP      (2 * NSEC_PER_SEC)
#define PATIENCE  (2 * NSEC_PER_SEC)
#define KNOWN_MAX 256u /* answers kept; each has some 5 KB */

#define SEND_PAUSE (10 * NSEC_PER_MSEC) /* while the channel is full */

struct known {
	struct address address;
	nanoseconds until;
	struct privsep_person person;
	UT_hash_handle hh;
};

struct person_question {
	LIST_ENTRY(person_question) entry;
	struct people *people;
	uint32_t id;
	struct address address;
	person_found *found; /* NULL: cancelled */
	void *user;
	struct loop_timer *timer;
	nanoseconds ends;
};

struct people {
	uv_loop_t *loop;
	struct engine_link *link;
	struct known *known;
	LIST_HEAD(, person_question) questions;
	uint32_t last_id;
};

struct people *people_new(uv_loop_t *loop, struct engine_link *link)
{
	struct people *people = calloc(1, sizeof(*people));

	if (people) {
		people->loop = loop;
		people->link = link;
		LIST_INIT(&people->questions);
	}
	return people;
}

static void forget_known(struct people *people)
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
			forget_known(people);
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

/* end() - Answer a question and forget it */
static void end(struct person_question *question, const struct privsep_person *person)
{
	person_found *found = question->found;
	void *user = question->user;

	LIST_REMOVE(question, entry);
	loop_timer_free(question->timer);
	free(question);
	if (found)
		found(user, person);
}

/* send_question() - Without a channel it is sent when one comes; with a full one a little later */
static void send_question(struct people *people, const struct person_question *question)
{
	nanoseconds now = clock_boottime();
	union privsep_message m = {
		.who = {.header = {PRIVSEP_WHO, question->id}, .address = question->address},
	};

	bool full = engine_link_send(people->link, &m, -1) == -EAGAIN;

	loop_timer_at(question->timer, full && now + SEND_PAUSE < question->ends ? now + SEND_PAUSE
										 : question->ends);
}

void people_answer(struct people *people, uint32_t id, const struct privsep_person *person)
{
	struct person_question *question;

	LIST_FOREACH(question, &people->questions, entry)
		if (question->id == id)
			break;
	if (question) {
		remember(people, &question->address, person);
		end(question, person);
	}
}

void people_linked(struct people *people)
{
	struct person_question *question;

	LIST_FOREACH(question, &people->questions, entry)
		send_question(people, question);
}

void people_free(struct people *people)
{
	if (!people)
		return;
	while (!LIST_EMPTY(&people->questions))
		end(LIST_FIRST(&people->questions), NULL);
	forget_known(people);
	free(people);
}

const struct privsep_person *people_find(struct people *people, const struct address *address)
{
	struct known *known;

	HASH_FIND(hh, people->known, address, sizeof(*address), known);
	return known && known->until > clock_boottime() ? &known->person : NULL;
}

static void on_timer(void *user)
{
	struct person_question *question = user;

	if (clock_boottime() >= question->ends)
		end(question, NULL);
	else
		send_question(question->people, question);
}

struct person_question *people_ask(struct people *people, const struct address *address,
				   person_found *found, void *user)
{
	struct person_question *question = calloc(1, sizeof(*question));

	if (!question ||
	    loop_timer_create(people->loop, on_timer, question, &question->timer) < 0) {
		free(question);
		return NULL;
	}
	if (++people->last_id == 0)
		people->last_id = 1;
	question->people = people;
	question->id = people->last_id;
	question->address = *address;
	question->found = found;
	question->user = user;
	LIST_INSERT_HEAD(&people->questions, question, entry);
	question->ends = clock_boottime() + PATIENCE;
	send_question(people, question);
	return question;
}

void people_cancel(struct person_question *question)
{
	if (question)
		question->found = NULL;
}
