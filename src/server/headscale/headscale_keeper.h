/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/headscale/headscale_keeper.h - keep a Headscale running
 *
 * DOC: Theory of operation
 *
 *	   ┌──────────── after a pause ─────────────┐
 *	   ▼                                        │ no
 *	start ──▶ runs ──exit──▶ first start, and its port is taken?
 *	            │                               │ yes
 *	            │ SIGTERM, SIGINT               ▼
 *	            ▼                            give up
 *	          stopping ──exit, or SIGKILL after 5 s──▶ done
 *
 * It holds a lock from before it runs until it ends (process_lock.h). So if this keeper is
 * killed, the next keeper of the folder finds and ends the process that is left, and never another
 * program that has its number by now. Its output goes to stderr, and the last lines to a file
 * (process/capped_log.h). SIGHUP is passed on: Headscale reads its policy again.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"

#define KEEPER_STOP_PATIENCE (5 * NSEC_PER_SEC)

struct keeper_options {
	const char *folder;  /* absolute; for headscale.pid, headscale.lock, headscale.log */
	const char *program; /* absolute */
	const char *config;  /* absolute */
};

/**
 * keeper_check() - Have Headscale check its configuration
 *
 * Return: 0; -EINVAL with its message in @err if it refuses; another negative errno with @err
 */
int keeper_check(const struct keeper_options *options, struct error *err);

/**
 * keeper_lock() - Lock the folder, and end the Headscale of an earlier keeper
 *
 * Return: a descriptor that holds the lock; -EBUSY or another negative errno with @err
 */
int keeper_lock(const char *folder, struct error *err);

/** keeper_run() - Keep it running until SIGTERM or SIGINT; 0 or negative errno with @err */
int keeper_run(const struct keeper_options *options, struct error *err);
