/* SPDX-License-Identifier: BSD-3-Clause */
/* base/pages.h - program text that only the start needed */
#pragma once

/**
 * pages_give_back() - Release the read-only pages of the program and its libraries
 *
 * Relocation and start-up touch several megabytes of libraries that are never used again.
 * The pages are clean and file-backed: a page that is still needed returns from the page
 * cache at a minor fault. Call it once the process is idle after its start.
 */
void pages_give_back(void);

/** pages_give_back_object() - The same for the one library that contains @address (NULL: all) */
void pages_give_back_object(const void *address);
