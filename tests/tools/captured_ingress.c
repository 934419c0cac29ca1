/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/captured_ingress.c - what a captured `pillion ingress` can do: it enters the same sandbox
 *
 * captured_ingress SOCKET: of the LocalAPI. Two calls are its work, and are allowed: a connection to a node, and
 * to the LocalAPI. Each other one is written to the error output as "captured: try WHAT HOW".
 */
#include "forbidden.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* enter() - As `pillion ingress` does when its listeners are open */
static int enter(const char *socket)
{
	char *copy = strdup(socket);
	struct sandbox_identity identity;
	struct sandbox_report report = {0};
	struct error err = {0};
	int r = copy ? sandbox_identity_for(dirname(copy), &identity, &err) : -ENOMEM;

	if (r == 0)
		r = sandbox_enter(&sandbox_profile_ingress, &identity, NULL, 0, &report, &err);
	if (r == 0)
		r = sandbox_seal(&sandbox_profile_ingress, &report, &err);
	free(copy);
	return r;
}

static void try_files(const char *socket)
{
	tried("open", open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	tried("list", open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	tried("create", open("/tmp/captured", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	tried("memory", open("/proc/1/mem", O_RDONLY | O_CLOEXEC));
	tried("unlink", unlink(socket));
	tried("rename", rename(socket, "/tmp/captured"));
	tried("mode", chmod(socket, 0666));
	tried("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
}

static void try_sockets(int fd)
{
	struct sockaddr_in any = {.sin_family = AF_INET};

	tried("raw", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
	tried("ping", socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
	tried("bind", bind(fd, (struct sockaddr *)&any, sizeof(any)));
	tried("listen", listen(fd, 1));
	tried("link", setsockopt(fd, SOL_SOCKET, SO_MARK, &(int){1}, sizeof(int)));
}

static void try_processes(void)
{
	char *const none[] = {NULL};
	char byte;
	struct iovec at = {&byte, 1};

	tried("exec", execve("/bin/sh", none, none));
	tried("fork", syscall(SYS_fork));
	tried("ptrace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
	tried("peek", process_vm_readv(getppid(), &at, 1, &at, 1, 0));
	tried("signal", kill(getppid(), SIGCONT));
	tried("namespace", unshare(CLONE_NEWUSER));
	tried("priority", setpriority(PRIO_PROCESS, 0, -5));
	tried("root", setuid(0));
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2 || enter(argv[1]) < 0)
		return 1;
	watch_traps();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || trapped)
		return 2;
	try_files(argv[1]);
	try_sockets(fd);
	try_processes();
	fprintf(stderr, "captured: end\n");
	return 0;
}
