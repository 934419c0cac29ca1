/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/system_names.c - names as this machine looks them up, for who may open files */
#include "transport/system_names.h"

#include "base/cleanup.h"
#include "base/small_file.h"

#include <string.h>

int names_open_system(uv_loop_t *loop, struct names **ret, struct error *err)
{
	_cleanup_free_ char *resolv_conf = NULL, *hosts = NULL;
	struct names *names = NULL;
	int r = names_create(loop, socket_source_direct(), &names, err);

	if (r < 0)
		return r;
	(void)small_file_read("/etc/resolv.conf", &resolv_conf, NULL);
	(void)small_file_read("/etc/hosts", &hosts, NULL);
	r = names_configure(names, resolv_conf, resolv_conf ? strlen(resolv_conf) : 0, hosts,
			    hosts ? strlen(hosts) : 0, err);
	if (r < 0)
		names_free(names);
	else
		*ret = names;
	return r;
}
