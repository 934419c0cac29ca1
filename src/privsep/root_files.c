/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/root_files.c - the named files with trusted roots, which each child reads by itself */
#include "privsep/root_files.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "privsep/records.h"

#include <errno.h>

const struct privsep_root_file privsep_root_files[PRIVSEP_ROOT_FILES] = {
	{PRIVSEP_FILE_CA_SYSTEM, "the system's certificate bundle"},
	{PRIVSEP_FILE_CA_FILE, "--ca-file (TS_CA_FILE, SSL_CERT_FILE)"},
	{PRIVSEP_FILE_CA_DIRECTORY, "the folder of SSL_CERT_DIR"},
};

int privsep_root_source(enum privsep_file_name name)
{
	for (unsigned int i = 0; i < PRIVSEP_ROOT_FILES; i++)
		if (privsep_root_files[i].file == name)
			return (int)i;
	return -1;
}

int privsep_read_roots(unsigned int source, int fd, struct buffer *ret, struct error *err)
{
	_cleanup_close_ int owned = fd;
	int r = fd < 0 ? fd : file_read(fd, LIMIT_CA_BUNDLE, ret);

	return r == 0 || r == -ENOENT
		       ? 0
		       : error_set_errno(err, r, "read %s", privsep_root_files[source].name);
}
