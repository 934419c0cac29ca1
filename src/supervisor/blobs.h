/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/blobs.h - the state directory: a lock, and blobs under fixed names
 *
 * DOC: Theory of operation
 *
 * A blob arrives as a sealed memfd and is copied by a worker thread, since a disk may
 * take seconds and PID 1's loop may not: temporary file, fsync, rename, fsync of the
 * folder. Jobs are done in the order of their arrival. In memory mode the memfd itself
 * is kept. Nothing here looks at a byte of what is stored.
 *
 * A disk wears out: after BLOBS_BURST of one name at once a store waits for its turn, one
 * each BLOBS_INTERVAL. Of those that wait only the newest is kept, and it's what is loaded
 * meanwhile; the older ones are answered with -ECANCELED. The last one is never lost.
 */
#pragma once

#include "base/error.h"
#include "privsep/privsep_messages.h"
#include "process/event_loop.h"
#include "supervisor/policy.h"

#include <pthread.h>

#define BLOBS_QUEUE_MAX 16u

#define BLOBS_BURST    20u
#define BLOBS_INTERVAL (5 * NSEC_PER_SEC)

struct blob_job {
	enum privsep_blob_name name;
	int memfd;
	uint32_t id;         /* of the request */
	unsigned int engine; /* which engine asked */
	int result;
};

/** blobs_stored - A job is done; called in the loop's thread */
typedef void (*blobs_stored)(void *userdata, const struct blob_job *job);

struct blobs {
	int folder; /* -1: memory mode */
	int memory[PRIVSEP_BLOB_COUNT];
	struct loop *loop;
	struct loop_source done; /* eventfd */
	blobs_stored stored;
	void *userdata;
	nanoseconds (*clock)(void); /* clock_boottime() but in tests */
	struct quota writes[PRIVSEP_BLOB_COUNT];
	struct blob_job late[PRIVSEP_BLOB_COUNT]; /* waits for its turn; memfd -1: none does */
	struct loop_timer turn;

	pthread_t thread;
	bool thread_runs;
	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t wake;
	struct blob_job queue[BLOBS_QUEUE_MAX];
	unsigned int first, waiting, finished; /* ring: finished ones first, then waiting */
	bool end;
};

/** blobs_open() - @state_dir: NULL for memory mode */
int blobs_open(struct blobs *blobs, struct loop *loop, const char *state_dir, blobs_stored stored,
	       void *userdata, struct error *err);

/** blobs_close() - Wait until what is queued is on disk, at most until @deadline */
void blobs_close(struct blobs *blobs, nanoseconds deadline);

/**
 * blobs_load() - A descriptor to read the blob from
 *
 * Return: -ENOENT where none was stored; -ENODATA with @err where the state is empty and what
 * lies beside it shows that there was one. Negative errno
 */
int blobs_load(struct blobs *blobs, enum privsep_blob_name name, struct error *err);

/** blobs_store() - Queue a job; takes job->memfd. 0, or negative errno and it was closed */
int blobs_store(struct blobs *blobs, const struct blob_job *job);

/** blobs_need_dac() - Whether files there are another user's, and ours by DAC_OVERRIDE alone */
bool blobs_need_dac(const char *state_dir);

/** blobs_have_state() - Whether a state is stored there: one that isn't empty */
bool blobs_have_state(const char *state_dir);

/**
 * blobs_lock() - Take <state_dir>/pillion.lock, or the folder itself where that can't be made
 *
 * The file is open for reading only, so that it doesn't keep the volume from being
 * remounted read-only.
 *
 * Return: a descriptor that holds the lock as long as it is open; -EWOULDBLOCK where
 * another process has it; another negative errno where there are no locks; both with @err
 */
int blobs_lock(const char *state_dir, struct error *err);
