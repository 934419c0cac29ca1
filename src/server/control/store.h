/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/control/store.h - the registry on disk: one SQLite file in WAL mode
 *
 * What store_flush() wrote survives kill -9 and loss of power (synchronous=FULL). A second
 * process is refused by SQLite's exclusive lock.
 */
#pragma once

#include "base/error.h"
#include "base/secret.h"
#include "server/control/registry.h"

struct store;

/**
 * store_open() - Open or make the file, mode 0600, and bring its layout up to date
 *
 * Return: 0; -EBUSY when another process has it; -EIO when it is damaged or newer than we
 * are; with @err set
 */
int store_open(const char *path, struct store **ret, struct error *err);
void store_close(struct store *store);

/** store_load() - Fill an empty @registry */
int store_load(struct store *store, struct registry *registry, struct error *err);

/**
 * store_flush() - Write what is dirty in @registry: deletions, then the rest in one transaction
 *
 * What failed is still dirty, as a whole: try again later. A record that can't be a row fails
 * alone: it is logged and no longer dirty.
 */
int store_flush(struct store *store, struct registry *registry, struct error *err);

/** store_noise_key() - The server's Noise key, made and stored at the first call */
int store_noise_key(struct store *store, struct secret_key *ret, struct error *err);
