/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/captured_services.c - a services process that asks for what it may not have
 *
 * It runs in place of pillion-services, and writes each answer of the supervisor to the log: a
 * descriptor as 0. Then it enters the sandbox of pillion-services, and tries what that forbids. The last request is for a blob of the engine.
 */
#include "forbidden.h"
#include "privsep/privsep_messages.h"

#include "sandbox/sandbox.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FLOOD 20000

static uint32_t serving;

/* next() - The next message, which pings and the configuration are not */
static int next(union privsep_message *m)
{
	struct pollfd wait = {.fd = PRIVSEP_CHANNEL_FD, .events = POLLIN};
	struct privsep_fds fds;

	for (;;) {
		union privsep_message alive = {.header.type = PRIVSEP_ALIVE};

		if (poll(&wait, 1, 2000) != 1 ||
		    privsep_receive(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SUPERVISOR, m, &fds) < 0)
			return -1;
		privsep_fds_close(&fds);
		if (m->header.type == PRIVSEP_PING)
			(void)privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SERVICES, &alive, NULL,
					   0);
		else if (m->header.type == PRIVSEP_SERVING)
			serving = m->header.id;
		else if (m->header.type == PRIVSEP_REPLY)
			return m->reply.result;
		else if (m->header.type == PRIVSEP_LISTENER || m->header.type == PRIVSEP_LINK)
			return 0;
	}
}

static int ask(uint32_t number, uint32_t target, uint32_t address)
{
	union privsep_message m = {
		.connect = {{PRIVSEP_CONNECT, 1}, target, address, number},
	};

	if (privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SERVICES, &m, NULL, 0) < 0)
		return 1;
	return next(&m);
}

/* --- Storage of certificates --- */

static int load(enum privsep_blob_name name, const char *domain)
{
	union privsep_message m = {.blob = {{PRIVSEP_LOAD, 1}, name, ""}};

	snprintf(m.blob.domain, sizeof(m.blob.domain), "%s", domain);
	if (privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SERVICES, &m, NULL, 0) < 0)
		return 1;
	return next(&m);
}

/* store() - @size bytes, in a memfd that is sealed or not */
static int store(const char *domain, size_t size, bool sealed)
{
	union privsep_message m = {.blob = {{PRIVSEP_STORE, 1}, PRIVSEP_BLOB_DOMAIN_KEY, ""}};
	int fd = memfd_create("captured", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 1;

	snprintf(m.blob.domain, sizeof(m.blob.domain), "%s", domain);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0))
		return 1;
	if (privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SERVICES, &m, &fd, 1) == 0)
		r = next(&m);
	close(fd);
	return r;
}

static void try_storage(void)
{
	char domain[32];
	int most = 0;

	/* The test has put a link there. */
	fprintf(stderr, "captured: link %d\n", load(PRIVSEP_BLOB_DOMAIN_CERTIFICATE, "link"));
	fprintf(stderr, "captured: missing %d\n", load(PRIVSEP_BLOB_DOMAIN_KEY, "nobody"));
	fprintf(stderr, "captured: huge %d\n", store("huge", (size_t)1 << 30, true));
	fprintf(stderr, "captured: unsealed %d\n", store("unsealed", 10, false));
	fprintf(stderr, "captured: through %d\n", store("link", 10, true));
	for (int i = 0; i < 40; i++) {
		snprintf(domain, sizeof(domain), "flood%d", i);
		most += store(domain, 10, true) == 0;
	}
	fprintf(stderr, "captured: stored %d\n", most);
}

/* --- What the kernel refuses, in the sandbox of pillion-services --- */

static void try_all(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(443)};
	char *const none[] = {NULL};
	char byte;
	struct iovec at = {&byte, 1};

	watch_traps();
	tried("open", open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	tried("list", open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	tried("create", open("/tmp/captured", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	tried("memory", open("/proc/1/mem", O_RDONLY | O_CLOEXEC));
	tried("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	tried("unix", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	tried("raw", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
	tried("connect", connect(PRIVSEP_CHANNEL_FD, (struct sockaddr *)&to, sizeof(to)));
	tried("bind", bind(PRIVSEP_CHANNEL_FD, (struct sockaddr *)&to, sizeof(to)));
	tried("exec", execve("/bin/sh", none, none));
	tried("fork", syscall(SYS_fork));
	tried("ptrace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
	tried("peek", process_vm_readv(getppid(), &at, 1, &at, 1, 0));
	tried("root", setuid(0));
}

/* enter() - As pillion-services does before the first byte of a peer */
static int enter(const char *identity_text)
{
	struct sandbox_identity identity;
	struct sandbox_report report = {0};
	struct error err = {0};
	int r = sandbox_identity_parse(identity_text, &identity);

	if (r == 0)
		r = sandbox_enter(&sandbox_profile_services, &identity, NULL, 0, &report, &err);
	if (r == 0)
		r = sandbox_seal(&sandbox_profile_services, &report, &err);
	return r;
}

int main(int argc, char **argv)
{
	union privsep_message m, blob = {.blob = {{PRIVSEP_LOAD, 2}, PRIVSEP_BLOB_STATE, ""}};
	int refused = 0;

	while (serving == 0 && next(&m) == 0)
		;
	sleep(1); /* for the other listeners */
	while (poll(&(struct pollfd){.fd = PRIVSEP_CHANNEL_FD, .events = POLLIN}, 1, 0) == 1)
		(void)next(&m);
	fprintf(stderr, "captured: own %d\n", ask(serving, 0, 0));
	fprintf(stderr, "captured: older %d\n", ask(serving - 1, 0, 0));
	fprintf(stderr, "captured: newer %d\n", ask(serving + 1, 0, 0));
	fprintf(stderr, "captured: target %d\n", ask(serving, 200, 0));
	fprintf(stderr, "captured: address %d\n", ask(serving, 0, 3));
	for (int i = 0; i < FLOOD; i++)
		refused += ask(serving, 0, 0) != 0;
	fprintf(stderr, "captured: refused %d\n", refused);
	try_storage();
	if (enter(argc == 2 ? argv[1] : "") == 0)
		try_all();
	(void)privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_SERVICES, &blob, NULL, 0);
	fprintf(stderr, "captured: blob %d\n", next(&m));
	return 0;
}
