/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/registry_store.h - the registry on disk: one SQLite file in WAL mode
 *
 * What registry_store_flush() wrote survives kill -9 and loss of power (synchronous=FULL). A second
 * process is refused by SQLite's exclusive lock.
 */
#pragma once

#include "base/error.h"
#include "base/secret.h"
#include "server/coordinator/registry.h"

struct registry_store;

/**
 * registry_store_open() - Open or make the file, mode 0600, and bring its layout up to date
 *
 * Return: 0; -EBUSY when another process has it; -EIO when it is damaged or newer than we
 * are; with @err set
 */
int registry_store_open(const char *path, struct registry_store **ret, struct error *err);
void registry_store_close(struct registry_store *store);

/** registry_store_load() - Fill an empty @registry */
int registry_store_load(struct registry_store *store, struct registry *registry, struct error *err);

/**
 * registry_store_flush() - Write what is dirty in @registry: deletions, then the rest in one transaction
 *
 * What failed is still dirty, as a whole: try again later. A record that can't be a row fails
 * alone: it is logged and no longer dirty.
 */
int registry_store_flush(struct registry_store *store, struct registry *registry,
			 struct error *err);

/** registry_store_noise_key() - The server's Noise key, made and stored at the first call */
int registry_store_noise_key(struct registry_store *store, struct secret_key *ret,
			     struct error *err);
