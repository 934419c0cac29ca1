/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/fuzz/control_config.c - the configuration file of a coordination server
 */
#include "app/server/coordinator_command.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flag_value values[CONTROL_FLAG_COUNT] = {0};
	struct coordinator_config config;
	struct error err = {0};
	char path[32];
	int fd = memfd_create("config", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	values[CONTROL_CONFIG].given = true;
	values[CONTROL_CONFIG].text = path;
	if (coordinator_config_load(values, &config, &err) == 0) {
		if (!config.text[CONTROL_URL] || !config.text[CONTROL_STATE] ||
		    !config.text[CONTROL_SOCKET] || config.listen.address.family == ADDRESS_NONE)
			abort();
		coordinator_config_clear(&config);
	} else if (!err.text[0]) {
		abort(); /* refused without a reason */
	}
	close(fd);
	return 0;
}
