/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/crashes.h - how long to wait before a child that died is started again; pure
 */
#pragma once

#include "base/clock.h"

#include <stddef.h>

/* A child that lived this long is not part of a crash loop. */
#define CRASHES_STEADY (60 * NSEC_PER_SEC)

#define CRASHES_WORDS_MAX 96

/** struct crashes - Crashes in a row */
struct crashes {
	unsigned int total;  /* since the parent began */
	unsigned int in_row; /* each within CRASHES_STEADY of its start */
};

/**
 * crashes_count() - A child died that had lived @lived
 *
 * Return: how long to wait before the next: 0, 0.2, 1, 5, 15, 15 … s
 */
nanoseconds crashes_count(struct crashes *crashes, nanoseconds lived);

/** crashes_words() - A wait status for people: "killed by SIGKILL", "ended with code 1" */
void crashes_words(int status, char out[static CRASHES_WORDS_MAX]);
