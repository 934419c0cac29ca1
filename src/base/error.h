/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base/error.h - an errno with the causal chain that a person will read
 *
 * Functions return 0 (or a count) or a negative errno. Where the failure will
 * reach a person they also take a struct error, untouched on success. The code
 * that knows the cause calls error_set(); callers on the way up prefix what they
 * were trying to do with error_wrap(): "join tailnet: fetch /key: connect: …".
 */
#pragma once

#include <stddef.h>

#define ERROR_TEXT_MAX 512

struct error {
	int code;                  /* negative errno; 0 while unset */
	char text[ERROR_TEXT_MAX]; /* one line, no trailing newline */
};

/**
 * error_set() - Record a cause
 * @err:   error to fill, or NULL when the text is not needed
 * @code:  negative errno
 * @format: printf format of the text; say what to do about it where that is known
 *
 * Return: @code, so that callers write `return error_set(err, -EINVAL, …)`
 */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * error_set_errno() - Record a cause, followed by ": " and the text of @code
 */
int error_set_errno(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * error_wrap() - Put "format: " before the text already recorded
 *
 * Return: the code already recorded, or 0 if @err is NULL
 */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
