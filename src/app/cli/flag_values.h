/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/flag_values.h - values of flags and variables, in the forms that Go programs take */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** value_parse_duration() - time.ParseDuration: "1m30s", "500ms", "1.5h", "0"; not negative */
int value_parse_duration(const char *text, int64_t *ret);

/** value_parse_period() - The same, and days besides: "90d" */
int value_parse_period(const char *text, int64_t *ret);

/** value_parse_integer() - Decimal digits with an optional sign; -EINVAL, -ERANGE */
int value_parse_integer(const char *text, int64_t *ret);

/**
 * value_nearest() - The name that a mistyped @text most likely meant
 * @names: @count names; NULLs are passed over
 *
 * Return: one of @names, or NULL when none is near
 */
const char *value_nearest(const char *text, const char *const *names, size_t count);
