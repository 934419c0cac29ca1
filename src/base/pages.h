/* SPDX-License-Identifier: BSD-3-Clause */
/* base/pages.h - program text that only the start needed */
#pragma once

/**
 * pages_give_back() - Let go of the read-only pages of the program and its libraries
 *
 * Relocation and start-up touch several megabytes of libraries that are never used again.
 * The pages are clean and file-backed: what is still needed comes back from the page cache
 * at a minor fault each, the rest is no longer ours. Call it once what was started is idle.
 */
void pages_give_back(void);
