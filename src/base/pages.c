/* SPDX-License-Identifier: BSD-3-Clause */
/* base/pages.c - program text that only the start needed */
#include "base/pages.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * give_back() - One object's segments
 *
 * A segment that can be written holds private pages (data, relocated tables) and stays.
 * #syscalls: madvise
 */
static int give_back(struct dl_phdr_info *object, size_t size, void *page_mask)
{
	uintptr_t mask = *(const uintptr_t *)page_mask;

	(void)size;
	for (unsigned int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
		uintptr_t end = (begin + segment->p_memsz) & ~mask;

		begin = (begin + mask) & ~mask;
		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) == 0 && begin < end)
			(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

void pages_give_back(void)
{
	uintptr_t page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;

	dl_iterate_phdr(give_back, &page_mask);
}
