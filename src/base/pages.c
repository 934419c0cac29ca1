/* SPDX-License-Identifier: BSD-3-Clause */
/* base/pages.c - program text that only the start needed */
#include "base/pages.h"

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

struct request {
	uintptr_t page_mask;
	uintptr_t inside; /* only the object that contains this address; 0: all */
};

static bool contains(const struct dl_phdr_info *object, uintptr_t address)
{
	for (unsigned int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD &&
		    address - (object->dlpi_addr + segment->p_vaddr) < segment->p_memsz)
			return true;
	}
	return false;
}

/*
 * give_back() - One object's segments
 *
 * A segment that can be written holds private pages (data, relocated tables) and stays.
 * #syscalls: madvise
 */
static int give_back(struct dl_phdr_info *object, size_t size, void *context)
{
	const struct request *request = context;
	uintptr_t mask = request->page_mask;

	(void)size;
	if (request->inside && !contains(object, request->inside))
		return 0;
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
	pages_give_back_object(NULL);
}

void pages_give_back_object(const void *address)
{
	struct request request = {
		.page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1,
		.inside = (uintptr_t)address,
	};

	dl_iterate_phdr(give_back, &request);
}
