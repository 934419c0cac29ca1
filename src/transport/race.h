/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/race.h - several ways to one goal, started one after another (sans-I/O)
 *
 * RFC 8305 §5: the next candidate starts when the last one failed, or a while after
 * it was started. The caller starts what race_next() names, reports failures, and
 * stops all others at the first success.
 */
#pragma once

#include "base/address.h"
#include "base/clock.h"

#define RACE_NONE (-1)

struct race {
	unsigned int count, started, failed;
	nanoseconds delay; /* between two starts */
	nanoseconds next;  /* when the next is due; DEADLINE_NEVER when none is left */
};

/** race_init() - @count candidates, in order of preference, @delay apart; the first is due */
void race_init(struct race *r, unsigned int count, nanoseconds delay);

/**
 * race_next() - Which candidate to start at @now
 *
 * Return: its index (call again, there may be more), or RACE_NONE; @r->next says when
 */
int race_next(struct race *r, nanoseconds now);

/** race_failed() - One that was started failed: the next is due at once */
void race_failed(struct race *r, nanoseconds now);

/** race_lost() - All have failed */
bool race_lost(const struct race *r);

/** race_order() - Sort @addresses in place: families alternate, IPv6 first (RFC 8305 §4) */
void race_order(struct address *addresses, size_t count);
