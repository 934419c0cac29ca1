/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/blobs.h - the state directory: a lock, and blobs under fixed names
 *
 * DOC: Theory of operation
 *
 * A blob arrives as a sealed memfd. A worker thread copies it, since a disk may take seconds, and
 * PID 1's loop must not block: temporary file, fsync, rename, fsync of the folder. Jobs are done in
 * the order of their arrival. In memory mode the memfd itself is kept. This code never reads the
 * content of a blob.
 *
 * To limit wear of the disk, after BLOBS_BURST stores of one name a store waits for its turn, one
 * every BLOBS_INTERVAL. Only the newest waiting store is kept, and loads return it meanwhile; older
 * ones are answered with -ECANCELED. The last store is never lost.
 */
#pragma once

#include "base/error.h"
#include "privsep/privsep_messages.h"
#include "process/event_loop.h"
#include "supervisor/child_rules.h"

#include <pthread.h>

#define BLOBS_QUEUE_MAX 16u

/* Domains whose certificates are stored in one run. */
#define BLOBS_DOMAINS_MAX 16u
#define BLOBS_SLOTS       (PRIVSEP_BLOB_DOMAIN + 2u * BLOBS_DOMAINS_MAX)

#define BLOBS_BURST    20u
#define BLOBS_INTERVAL (5 * NSEC_PER_SEC)

struct child;

struct blob_job {
	enum privsep_blob_name name;
	char domain[PRIVSEP_DOMAIN_MAX]; /* from PRIVSEP_BLOB_DOMAIN on */
	unsigned int slot;               /* filled in here */
	int memfd;
	struct child *child;  /* that requested it */
	unsigned int process; /* its number then: another process gets no answer */
	uint32_t id;          /* of the request */
	int result;
};

/** blobs_stored - A job is done; called in the loop's thread */
typedef void (*blobs_stored)(void *userdata, const struct blob_job *job);

struct blobs {
	int folder;                                          /* -1: memory mode */
	char domains[BLOBS_DOMAINS_MAX][PRIVSEP_DOMAIN_MAX]; /* that have slots */
	unsigned int next_domain;                            /* whose place another one takes */
	int memory[BLOBS_SLOTS];
	struct loop *loop;
	struct loop_source done; /* eventfd */
	blobs_stored stored;
	void *userdata;
	nanoseconds (*clock)(void); /* clock_boottime(), except in tests */
	struct quota writes[BLOBS_SLOTS];
	struct blob_job late[BLOBS_SLOTS]; /* waits for its turn; memfd -1: none */
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

/** blobs_close() - Wait until all queued blobs are on disk, at most until @deadline */
void blobs_close(struct blobs *blobs, nanoseconds deadline);

/**
 * blobs_load() - A descriptor to read the blob from
 * @domain: from PRIVSEP_BLOB_DOMAIN on; privsep_domain_fits() it. Else ""
 *
 * Return: descriptor; -ENOENT if none was stored; -ENODATA with @err if the state is empty and
 * files beside it show that there was one; another negative errno
 */
int blobs_load(struct blobs *blobs, enum privsep_blob_name name, const char *domain,
	       struct error *err);

/** blobs_store() - Queue a job; takes job->memfd. 0, or negative errno and it was closed (-ENOSPC:
 * BLOBS_DOMAINS_MAX domains wait for the disk) */
int blobs_store(struct blobs *blobs, const struct blob_job *job);

/** blobs_need_dac() - Whether files there are accessible by DAC_OVERRIDE alone */
bool blobs_need_dac(const char *state_dir);

/** blobs_have_state() - Whether a state that is not empty is stored there */
bool blobs_have_state(const char *state_dir);

/**
 * blobs_lock() - Lock <state_dir>/pillion.lock, or the folder itself if that file can't be made
 *
 * The file is open for reading only, so that the volume can be remounted read-only.
 *
 * Return: a descriptor that holds the lock while it is open; with @err -EWOULDBLOCK if another
 * process holds it, or another negative errno if the file system has no locks
 */
int blobs_lock(const char *state_dir, struct error *err);
