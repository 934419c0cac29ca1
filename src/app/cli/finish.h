/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/finish.h - the end of a command */
#pragma once

/**
 * finish() - Write out what a command printed
 * @program: for the message
 *
 * Return: @code; 1 instead of 0 when standard output did not take all of it, with a line on stderr
 */
int finish(const char *program, int code);
