/* SPDX-License-Identifier: BSD-3-Clause */
/* netlink/tun.c - the TUN device through which the app's packets come and go */
#include "netlink/tun.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define TUN_NODE  "/dev/net/tun"
#define TUN_MAJOR 10
#define TUN_MINOR 200

/* Newer than the headers of some systems that have it in the kernel (6.2). */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define REMEDY_DEVICE "in Docker add `devices: - /dev/net/tun:/dev/net/tun`"

/* make_node() - As `mkdir -p /dev/net; mknod -m 600 /dev/net/tun c 10 200`; 0 or negative errno */
static int make_node(void)
{
	if (mkdir("/dev/net", 0755) < 0 && errno != EEXIST)
		return -errno;
	if (mknod(TUN_NODE, S_IFCHR | 0600, makedev(TUN_MAJOR, TUN_MINOR)) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int open_node(struct error *err)
{
	int fd = open(TUN_NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && errno == ENOENT) {
		int r = make_node();

		if (r < 0)
			return error_set(err, -ENOENT,
					 "there is no " TUN_NODE
					 " and it can't be made (%s): " REMEDY_DEVICE,
					 strerror(-r));
		fd = open(TUN_NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	if (fd >= 0)
		return fd;
	switch (errno) {
	case EPERM:
	case EACCES:
		return error_set(err, -EACCES, TUN_NODE " may not be opened (%s): " REMEDY_DEVICE,
				 strerror(errno));
	case ENODEV:
	case ENXIO:
		return error_set(err, -ENODEV,
				 "the kernel has no TUN driver: run `modprobe tun` on the host");
	default:
		return error_set_errno(err, -errno, "open " TUN_NODE);
	}
}

/* attach_failed() - What TUNSETIFF's errno means for @name */
static int attach_failed(const char *name, int code, struct error *err)
{
	switch (code) {
	case -EPERM:
		return error_set(err, code,
				 "no right to make the link %s: the container needs "
				 "`cap_add: [NET_ADMIN]`",
				 name);
	case -EBUSY:
		return error_set(err, code,
				 "the link %s belongs to another process: end it, or "
				 "choose another name with --tun",
				 name);
	case -EINVAL:
		return error_set(
			err, code,
			"%s can't be a TUN link of ours: the name is taken by a "
			"link of another kind or with another number of queues, or is not a name; "
			"delete it (`ip link del %s`) or choose another with --tun",
			name, name);
	default:
		return error_set_errno(err, code, "make the TUN link %s", name);
	}
}

/* set_offloads() - The wanted ones that the kernel takes, most first */
static uint32_t set_offloads(int fd, uint32_t wanted)
{
	const unsigned int tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	if (!(wanted & TUN_HEADERS))
		return 0;
	/* UDP has no flag of its own for the checksum, and no kernel has it without TCP's. */
	if (wanted & TUN_UDP && wanted & TUN_TCP &&
	    ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0)
		return TUN_OFFLOADS_ALL;
	if (wanted & TUN_TCP && ioctl(fd, TUNSETOFFLOAD, tcp) == 0)
		return TUN_HEADERS | TUN_TCP;
	(void)ioctl(fd, TUNSETOFFLOAD, 0);
	return TUN_HEADERS;
}

int tun_open(const char *name, unsigned int queues, uint32_t offloads, struct tun *ret,
	     struct error *err)
{
	struct tun tun = {.queues = {-1, -1, -1, -1}};
	struct ifreq request = {0};
	int r;

	if (!name)
		name = TUN_NAME_DEFAULT;
	if (strlen(name) >= IFNAMSIZ)
		return error_set(err, -EINVAL, "the link name %s is too long: at most %d bytes",
				 name, IFNAMSIZ - 1);
	if (queues < 1 || queues > TUN_QUEUES_MAX)
		return error_set(err, -EINVAL, "%u queues: it must be 1 to %u", queues,
				 TUN_QUEUES_MAX);
	strcpy(request.ifr_name, name);
	request.ifr_flags = IFF_TUN | IFF_NO_PI;
	if (offloads & TUN_HEADERS)
		request.ifr_flags |= IFF_VNET_HDR;
	if (queues > 1)
		request.ifr_flags |= IFF_MULTI_QUEUE;

	/* The first call settles the name (it may hold %d); the others attach to it. */
	for (unsigned int i = 0; i < queues; i++) {
		r = open_node(err);
		if (r < 0)
			goto close_queues;
		tun.queues[tun.queue_count++] = r;
		if (ioctl(r, TUNSETIFF, &request) < 0) {
			r = attach_failed(name, -errno, err);
			goto close_queues;
		}
		tun.offloads = set_offloads(r, offloads);
	}
	memcpy(tun.name, request.ifr_name, sizeof(tun.name));
	tun.ifindex = if_nametoindex(tun.name);
	if (tun.ifindex == 0) {
		r = error_set_errno(err, -errno, "the link %s vanished", tun.name);
		goto close_queues;
	}
	*ret = tun;
	return 0;

close_queues:
	tun_close(&tun);
	return r;
}

void tun_close(struct tun *tun)
{
	for (unsigned int i = 0; i < tun->queue_count; i++) {
		close(tun->queues[i]);
		tun->queues[i] = -1;
	}
	tun->queue_count = 0;
}
