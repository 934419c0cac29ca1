/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/dns_hook.c - the server's side of the DNS hook, which runs nothing itself */
#define LOG_ROOM "control"
#include "server/coordinator/dns_hook.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct dns_hook {
	uv_poll_t poll;
	int fd; /* -1: the helper is gone */
	uint32_t last_id;
	uint32_t waiting[LIMIT_CONTROL_HOOKS];
	size_t waiting_count;
	dns_hook_done *done;
	void *user;
};

static const char challenge[] = "_acme-challenge.";

bool dns_hook_name_is_valid(const char *name)
{
	size_t length = strlen(name);

	return length > sizeof(challenge) - 1 && length < 254 &&
	       strncmp(name, challenge, sizeof(challenge) - 1) == 0 &&
	       strspn(name + 1, "abcdefghijklmnopqrstuvwxyz0123456789-.") == length - 1;
}

bool dns_hook_value_is_valid(const char *value)
{
	size_t length = strlen(value);

	return length > 0 && length < DNS_HOOK_VALUE_SIZE &&
	       strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
		       length;
}

static void report(struct dns_hook *hook, uint32_t id, int result)
{
	for (size_t i = 0; i < hook->waiting_count; i++)
		if (hook->waiting[i] == id) {
			hook->waiting[i] = hook->waiting[--hook->waiting_count];
			hook->done(hook->user, id, result);
			return;
		}
}

/* lose() - The helper is gone: fail all pending requests */
static void lose(struct dns_hook *hook)
{
	log_error("the helper that runs the DNS hook has ended: records can't be set until "
		  "this server is started again");
	(void)uv_poll_stop(&hook->poll);
	close(TAKE_FD(hook->fd));
	while (hook->waiting_count)
		report(hook, hook->waiting[0], -EPIPE);
}

/* #syscalls: recvfrom */
static void on_report(uv_poll_t *poll, int status, int events)
{
	struct dns_hook *hook = poll->data;
	struct dns_hook_report r;
	ssize_t n = recv(hook->fd, &r, sizeof(r), MSG_DONTWAIT);

	(void)status;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(r)) {
		lose(hook);
		return;
	}
	r.text[sizeof(r.text) - 1] = '\0';
	if (r.result < 0)
		log_error("DNS hook: %s", r.text);
	report(hook, r.id, r.result);
}

int dns_hook_new(uv_loop_t *loop, int fd, dns_hook_done *done, void *user, struct dns_hook **ret,
		 struct error *err)
{
	struct dns_hook *hook = calloc(1, sizeof(*hook));

	if (!hook || uv_poll_init(loop, &hook->poll, fd) < 0) {
		free(hook);
		close(fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	hook->fd = fd;
	hook->done = done;
	hook->user = user;
	hook->poll.data = hook;
	(void)uv_poll_start(&hook->poll, UV_READABLE, on_report);
	*ret = hook;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void dns_hook_free(struct dns_hook *hook)
{
	if (!hook)
		return;
	(void)uv_poll_stop(&hook->poll);
	if (hook->fd >= 0)
		close(TAKE_FD(hook->fd));
	uv_close((uv_handle_t *)&hook->poll, on_closed);
}

/* #syscalls: sendto */
int dns_hook_ask(struct dns_hook *hook, const char *name, const char *value, uint32_t *ret_id)
{
	struct dns_hook_order order = {.id = hook->last_id + 1};
	ssize_t n;

	if (!dns_hook_name_is_valid(name) || !dns_hook_value_is_valid(value))
		return -EINVAL;
	if (hook->fd < 0)
		return -EPIPE;
	if (hook->waiting_count == LIMIT_CONTROL_HOOKS)
		return -EBUSY;
	strcpy(order.name, name);
	strcpy(order.value, value);
	n = send(hook->fd, &order, sizeof(order), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n != sizeof(order))
		return n < 0 && errno == EAGAIN ? -EBUSY : -EPIPE;
	hook->last_id++;
	hook->waiting[hook->waiting_count++] = order.id;
	*ret_id = order.id;
	return 0;
}
