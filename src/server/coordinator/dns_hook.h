/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/coordinator/dns_hook.h - the operator's program that sets a record in public DNS
 *
 * Theory of operation
 *	server, sandboxed --socketpair--> helper --fork, exec--> PROGRAM present NAME VALUE
 *
 *   The server must not be able to run anything, so a helper is forked before it gives that
 *   right up, before it has opened or read anything. The helper knows one program, and takes
 *   two words for it, which it checks itself: the challenge of a name, and its value. No
 *   shell is involved. A VALUE may begin with "-".
 *
 *   The program may take its time, up to a limit; then its process group is killed. Its exit
 *   status is the answer (0: the record is there). Its output is cut at
 *   DNS_HOOK_TEXT_SIZE and logged. It runs as the user that started the server, even where the server
 *   changes its own user; it inherits the environment, no descriptor but /dev/null and
 *   that pipe, and no state of the server. The helper ends with the server.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"

#include <stdbool.h>
#include <uv.h>

#define DNS_HOOK_NAME_SIZE  256
#define DNS_HOOK_VALUE_SIZE 256
#define DNS_HOOK_TEXT_SIZE  512
#define DNS_HOOK_AT_ONCE    4 /* programs that run at the same time; others wait */

/* The messages; fixed in size, texts end with NUL. */
struct dns_hook_order {
	uint32_t id;
	char name[DNS_HOOK_NAME_SIZE];
	char value[DNS_HOOK_VALUE_SIZE];
};

struct dns_hook_report {
	uint32_t id;
	int32_t result; /* 0; -ETIMEDOUT; -EIO: another status than 0; -errno: could not run */
	char text[DNS_HOOK_TEXT_SIZE]; /* how it ended, and the first that it wrote; printable */
};

/** dns_hook_name_is_valid() - "_acme-challenge." and labels of lower-case letters, digits, '-' */
bool dns_hook_name_is_valid(const char *name);

/** dns_hook_value_is_valid() - What ACME makes: base64url, 1 to 255 characters */
bool dns_hook_value_is_valid(const char *value);

/**
 * dns_hook_spawn() - Fork the helper; call before threads, secrets and sandbox
 * @program: a path; it has to be there and executable
 * @timeout: for each run of it
 * @ret_fd:  the server's end, for dns_hook_new()
 *
 * Return: 0 or negative errno with @err set
 */
int dns_hook_spawn(const char *program, nanoseconds timeout, int *ret_fd, struct error *err);

/** dns_hook_help() - The helper itself: serve @fd until it is closed; never returns */
void dns_hook_help(int fd, const char *program, nanoseconds timeout) __attribute__((noreturn));

struct dns_hook;

/** dns_hook_done - @result: 0, or negative errno as in struct dns_hook_report; -EPIPE: the helper
 *  is gone */
typedef void dns_hook_done(void *user, uint32_t id, int result);

/** dns_hook_new() - The server's side; @fd is owned, also on failure */
int dns_hook_new(uv_loop_t *loop, int fd, dns_hook_done *done, void *user, struct dns_hook **ret,
		 struct error *err);

/** dns_hook_free() - End the helper and its programs. NULL is fine */
void dns_hook_free(struct dns_hook *hook);

/**
 * dns_hook_ask() - Have the record set; @done follows, with @ret_id
 *
 * Return: 0; -EINVAL; -EBUSY past LIMIT_CONTROL_HOOKS; -EPIPE when the helper is gone
 */
int dns_hook_ask(struct dns_hook *hook, const char *name, const char *value, uint32_t *ret_id);
