/* SPDX-License-Identifier: BSD-3-Clause */
/* transport/system_names.h - names as this machine looks them up, for who may open files */
#pragma once

#include "transport/names.h"

/** names_open_system() - By resolv.conf and hosts as they are now; either may be missing */
int names_open_system(uv_loop_t *loop, struct names **ret, struct error *err);
