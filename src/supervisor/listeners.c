/* SPDX-License-Identifier: BSD-3-Clause */
/* supervisor/listeners.c - sockets that outlive an engine */
#include "supervisor/listeners.h"

#include "base/cleanup.h"
#include "netlink/netstate.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG       128
#define UDP_BUFFER    (7 * 1024 * 1024) /* a second of a slow link, a burst of a fast one */
#define PROBE_ROUNDS  5
#define PROBE_WAIT_MS 100
#define PORT_ROUNDS   16 /* to find a port that is free in both families */

static int unix_address(const char *path, struct sockaddr_un *ret, struct error *err)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return error_set(err, -ENAMETOOLONG,
				 "the LocalAPI socket's path %s is longer than %zu bytes: choose a "
				 "shorter one (--socket, TS_SOCKET)",
				 path, sizeof(ret->sun_path) - 1);
	strcpy(ret->sun_path, path);
	return 0;
}

/* is_served() - Whether a process listens at @address; -EAGAIN means a full backlog */
static bool is_served(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
			   errno == EAGAIN);
}

int listener_probe(const char *path, struct error *err)
{
	struct sockaddr_un address;
	int r = unix_address(path, &address, err);
	bool taken;

	if (r < 0)
		return r;
	/* The engine of a killed supervisor ends a moment later. */
	for (int left = PROBE_ROUNDS; (taken = is_served(&address)) && left > 0; left--)
		(void)poll(NULL, 0, PROBE_WAIT_MS);
	if (taken)
		return error_set(err, -EADDRINUSE,
				 "the LocalAPI socket %s belongs to a running process: stop it, or "
				 "choose another path with --socket (TS_SOCKET)",
				 path);
	return 0;
}

/* make_folder() - Make the folder of @path, mode 0755, if there is none; one level only */
static int make_folder(const char *path, struct error *err)
{
	char copy[PATH_MAX];
	const char *folder;

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return error_set(err, -ENAMETOOLONG, "the path %s is too long", path);
	folder = dirname(copy);
	if (mkdir(folder, 0755) == 0)
		return chmod(folder, 0755) < 0 ? -errno : 0; /* whatever the umask */
	if (errno == EEXIST)
		return 0;
	return error_set_errno(err, -errno,
			       "make the folder %s for the LocalAPI socket (make it yourself, or "
			       "choose another with --socket, TS_SOCKET)",
			       folder);
}

int listener_localapi(const char *path, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	struct stat st;
	int r = listener_probe(path, err);

	if (r == 0)
		r = unix_address(path, &address, err);
	if (r == 0)
		r = make_folder(path, err);
	if (r < 0)
		return r;
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode) && !S_ISLNK(st.st_mode))
			return error_set(
				err, -EEXIST,
				"%s is not a socket: remove it, or choose another path for the "
				"LocalAPI with --socket (TS_SOCKET)",
				path);
		(void)unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "make a Unix socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0666) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return error_set_errno(
			err, -errno,
			"listen at the LocalAPI socket %s (choose a path in a folder "
			"that can be written, with --socket or TS_SOCKET)",
			path);
	return TAKE_FD(fd);
}

int listener_link(const char *path, const char *link, struct error *err)
{
	struct stat st;
	int r;

	if (strcmp(path, link) == 0)
		return 0;
	r = make_folder(link, err);
	if (r < 0)
		return r;
	if (lstat(link, &st) == 0 && S_ISLNK(st.st_mode))
		(void)unlink(link);
	if (symlink(path, link) < 0)
		return error_set_errno(err, -errno, "link %s to the LocalAPI socket", link);
	return 0;
}

void listener_unlink(const char *path, const char *link)
{
	char target[PATH_MAX];
	ssize_t length = readlink(link, target, sizeof(target));

	if (length == (ssize_t)strlen(path) && memcmp(target, path, (size_t)length) == 0)
		(void)unlink(link);
}

static int bind_tcp(const struct endpoint *at)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_storage address;
	socklen_t length = endpoint_to_sockaddr(at, &address);

	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
	    (at->address.family == ADDRESS_V6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int)) < 0) ||
	    bind(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int listener_begin(int fd)
{
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static int listen_tcp(const struct endpoint *at)
{
	_cleanup_close_ int fd = bind_tcp(at);
	int r = fd < 0 ? fd : listener_begin(fd);

	return r < 0 ? r : TAKE_FD(fd);
}

int listener_health(const char *address, struct error *err)
{
	struct endpoint at;
	int fd;

	if (endpoint_parse(address, strlen(address), &at) < 0)
		return error_set(err, -EINVAL,
				 "\"%s\" is not a valid address and port for health and metrics: "
				 "write TS_LOCAL_ADDR_PORT as [::]:9002 or 127.0.0.1:9002",
				 address);
	fd = listen_tcp(&at);
	if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && at.address.family == ADDRESS_V6 &&
	    address_is_unspecified(&at.address)) {
		at.address = address_v4((const uint8_t[4]){0});
		fd = listen_tcp(&at);
	}
	if (fd == -EADDRINUSE)
		return error_set(
			err, fd,
			"port %u for health and metrics is taken, likely by the app in this "
			"network namespace: choose another with TS_LOCAL_ADDR_PORT",
			at.port);
	if (fd == -EACCES)
		return error_set(err, fd,
				 "port %u for health and metrics takes the capability "
				 "NET_BIND_SERVICE, which is missing: choose a port from 1024 on "
				 "with TS_LOCAL_ADDR_PORT, or add `cap_add: [NET_BIND_SERVICE]`",
				 at.port);
	if (fd < 0)
		return error_set_errno(err, fd,
				       "listen for health and metrics at %s "
				       "(TS_LOCAL_ADDR_PORT)",
				       address);
	return fd;
}

int listener_acme(const char *address, struct error *err)
{
	struct endpoint at;
	int fd = endpoint_parse(address, strlen(address), &at) < 0 ? -EINVAL : bind_tcp(&at);

	if (fd == -EADDRINUSE)
		return error_set(
			err, fd,
			"port %u of --acme-listen (TS_ACME_LISTEN) is taken, likely by the "
			"app in this network namespace: name one address that the app "
			"does not listen at, or prove the name in another way "
			"(docs/certificates.md)",
			at.port);
	if (fd == -EACCES)
		return error_set(err, fd,
				 "port %u of --acme-listen (TS_ACME_LISTEN) takes the capability "
				 "NET_BIND_SERVICE, which is missing: add `cap_add: "
				 "[NET_BIND_SERVICE]`, or listen at another port, to which 80 or "
				 "443 of the machine leads",
				 at.port);
	if (fd < 0)
		return error_set_errno(err, fd, "listen at %s (--acme-listen, TS_ACME_LISTEN)",
				       address);
	return fd;
}

int socket_marked(enum socket_kind kind, enum address_family family, uint32_t mark)
{
	int domain = family == ADDRESS_V6 ? AF_INET6 : AF_INET;
	int type = kind == SOCKET_TCP ? SOCK_STREAM : SOCK_DGRAM;
	_cleanup_close_ int fd = -1;
	int protocol = 0;

	if (kind == SOCKET_ICMP)
		protocol = family == ADDRESS_V6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP;
	fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int socket_on_link(enum address_family family, const char *link)
{
	_cleanup_close_ int fd = socket(family == ADDRESS_V6 ? AF_INET6 : AF_INET,
					SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, link, (socklen_t)strlen(link)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int udp_bound(enum address_family family, uint16_t port, uint32_t mark)
{
	_cleanup_close_ int fd = socket_marked(SOCKET_UDP, family, mark);
	struct endpoint at = {.address.family = (uint8_t)family, .port = port};
	struct sockaddr_storage address;
	socklen_t length = endpoint_to_sockaddr(&at, &address);

	if (fd < 0)
		return fd;
	if (family == ADDRESS_V6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)) < 0)
		return -errno;
	/* As large as allowed; the default works too. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){UDP_BUFFER}, sizeof(int)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){UDP_BUFFER}, sizeof(int));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){UDP_BUFFER}, sizeof(int)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){UDP_BUFFER}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int bound_port(int fd, uint16_t *ret)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct endpoint at;
	int r;

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	r = endpoint_from_sockaddr((struct sockaddr *)&address, &at);
	if (r == 0)
		*ret = at.port;
	return r;
}

/* try_pair() - Both families on @port; without IPv6 there is IPv4 only */
static int try_pair(uint16_t port, uint32_t mark, struct udp_pair *ret)
{
	_cleanup_close_ int v4 = udp_bound(ADDRESS_V4, port, mark);
	_cleanup_close_ int v6 = -1;
	int r;

	if (v4 < 0)
		return v4;
	r = bound_port(v4, &port);
	if (r < 0)
		return r;
	v6 = udp_bound(ADDRESS_V6, port, mark);
	if (v6 == -EADDRINUSE)
		return v6;
	*ret = (struct udp_pair){.port = port, .v4 = v4, .v6 = v6 < 0 ? -1 : v6};
	v4 = v6 = -1;
	return 0;
}

int udp_pair_open(uint16_t port, uint32_t mark, struct udp_pair *ret, struct error *err)
{
	int rounds = port ? 1 : PORT_ROUNDS;
	int r;

	do
		r = try_pair(port, mark, ret);
	while (r == -EADDRINUSE && --rounds > 0);
	if (r == -EADDRINUSE)
		return error_set(err, r, "UDP port %u is taken", port);
	if (r == -EACCES)
		return error_set(err, r,
				 "UDP port %u takes the capability NET_BIND_SERVICE, which is "
				 "missing (`cap_add: [NET_BIND_SERVICE]`)",
				 port);
	return r < 0 ? error_set_errno(err, r, "open UDP sockets") : 0;
}

void udp_pair_close(struct udp_pair *pair)
{
	cleanup_close_at(&pair->v4);
	cleanup_close_at(&pair->v6);
	pair->v4 = pair->v6 = -1;
}
