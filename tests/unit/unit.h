/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/unit/unit.h - cmocka with the headers it wants before it */
#pragma once

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
#include <cmocka.h>
/* clang-format on */
