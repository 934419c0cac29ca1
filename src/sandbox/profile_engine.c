/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox/profile_engine.c - what the engine's libraries need of the kernel
 *
 * Our own sources name their calls where they make them. Calls that are made
 * inside libraries stand here, with the reason. Never here: socket, bind, listen,
 * kill, execve, anything that opens for writing.
 */
#include "base/cleanup.h"
#include "sandbox/sandbox.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

/*
 * glibc: memory. malloc grows by brk and mmap; large blocks move by mremap;
 * the stack cache and free memory are given back by madvise.
 * #syscalls: brk mmap munmap mremap mprotect madvise
 *
 * glibc: threads. Started by clone; a new one sets its robust list and rseq;
 * sched_getaffinity counts CPUs for malloc's arenas.
 * #syscalls: clone futex set_robust_list rseq set_tid_address sched_yield
 * #syscalls: sched_getaffinity gettid getpid exit exit_group restart_syscall
 * #syscalls: rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack tgkill
 * #syscalls: prctl:PR_SET_NAME prctl:PR_GET_SECCOMP
 *
 * glibc: clocks where the vdso has none, sleeping, and stdio on what is open.
 * #syscalls: clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday
 * #syscalls: read readv write writev close lseek fstat newfstatat uname
 *
 * glibc: qsort() of more than 1 KiB asks how much memory there is before it takes some.
 * #syscalls: sysinfo
 *
 * glibc probes these and has another way.
 * #syscalls-enosys: clone3 faccessat2 openat2 statx futex_waitv membarrier
 * #syscalls-enosys: process_madvise pidfd_open
 *
 * libuv: the loop, waking it up, signals as a pipe, and what uv_poll_init,
 * uv_tcp_open, uv_udp_open and uv_pipe_open ask of a descriptor.
 * #syscalls: epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe2
 * #syscalls: ioctl:FIONBIO ioctl:FIOCLEX ioctl:FIONREAD
 * #syscalls: fcntl:F_GETFL fcntl:F_SETFL fcntl:F_GETFD fcntl:F_SETFD fcntl:F_DUPFD_CLOEXEC
 * #syscalls: getsockopt setsockopt getsockname getpeername accept4 connect shutdown
 * #syscalls: sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
 * #syscalls-enosys: epoll_pwait2 io_uring_setup io_uring_enter io_uring_register
 *
 * libuv: what it asks of the machine (uv_os_*, uv_cpu_info are not among them).
 * #syscalls: getuid geteuid getgid getegid getppid
 *
 * OpenSSL and libsodium: random bytes; keys in memory that is not swapped.
 * #syscalls: getrandom mlock munlock
 *
 * c-ares: query ids from /dev/urandom, the one file that Landlock leaves. What else
 * a library would like to open fails there with EACCES.
 * #syscalls: openat
 *
 * ASan, UBSan and the leak check at exit, in test builds only.
 * #syscalls-sanitizer: clone wait4 ptrace prctl:PR_SET_PTRACER prctl:PR_SET_DUMPABLE
 * #syscalls-sanitizer: prctl:PR_GET_DUMPABLE open readlink readlinkat getdents64 stat lstat
 * #syscalls-sanitizer: newfstatat openat prlimit64 getrlimit process_vm_readv dup dup2 dup3
 * #syscalls-sanitizer: poll prctl:PR_SET_PDEATHSIG getdents ioctl:TCGETS
 */

static const struct sandbox_syscall syscalls[] = {
#include "sandbox/engine_syscalls.inc"
};

const struct sandbox_profile sandbox_profile_engine = {
	.name = "pillion-engine",
	.syscalls = syscalls,
	.syscall_count = ARRAY_SIZE(syscalls),
};
