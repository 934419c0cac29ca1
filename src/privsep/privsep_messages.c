/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/privsep_messages.c - checking, sending and receiving the fixed messages */
#include "privsep/privsep_messages.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
	uint32_t type;
	enum privsep_sender sender;
	size_t size;
	size_t fd_min, fd_max;
} message_table[] = {
	{PRIVSEP_SOCKET, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_socket), 0, 0},
	{PRIVSEP_FILE, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_file), 0, 0},
	{PRIVSEP_LOAD, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_blob), 0, 0},
	{PRIVSEP_STORE, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_blob), 1, 1},
	{PRIVSEP_NETWORK, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_plain), 1, 1},
	{PRIVSEP_STATUS, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_status), 0, 0},
	{PRIVSEP_LOGIN, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_login), 0, 0},
	{PRIVSEP_ALIVE, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_plain), 0, 0},
	{PRIVSEP_SETTLED, PRIVSEP_FROM_ENGINE, sizeof(struct privsep_plain), 0, 0},
	{PRIVSEP_START, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_begin), 3, PRIVSEP_FDS_MAX},
	{PRIVSEP_REPLY, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_reply), 0, 1},
	{PRIVSEP_INTERFACES, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_plain), 1, 1},
	{PRIVSEP_CHANGED, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_changed), 0, 1},
	{PRIVSEP_STOP, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_plain), 0, 0},
	{PRIVSEP_RELOAD, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_plain), 0, 0},
	{PRIVSEP_PING, PRIVSEP_FROM_SUPERVISOR, sizeof(struct privsep_plain), 0, 0},
};

void privsep_fds_close(struct privsep_fds *fds)
{
	for (size_t i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
	fds->count = 0;
}

/* lookup() - Row of @type as @sender may send it, or -1 */
static int lookup(enum privsep_sender sender, uint32_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(message_table); i++)
		if (message_table[i].type == type && message_table[i].sender == sender)
			return (int)i;
	return -1;
}

size_t privsep_size(enum privsep_sender sender, uint32_t type)
{
	int row = lookup(sender, type);

	return row < 0 ? 0 : message_table[row].size;
}

static bool text_ends(const char text[static PRIVSEP_TEXT_MAX])
{
	return memchr(text, 0, PRIVSEP_TEXT_MAX) != NULL;
}

/* url_fits() - Something that a terminal may be given as it is */
static bool url_fits(const char url[static PRIVSEP_TEXT_MAX])
{
	if (!url[0] || !text_ends(url))
		return false;
	for (; *url; url++)
		if (*url <= ' ' || *url > '~')
			return false;
	return true;
}

/* A request that wants an answer has an id; what nobody answers has none. */
static bool id_fits(const struct privsep_header *header)
{
	switch (header->type) {
	case PRIVSEP_SOCKET:
	case PRIVSEP_FILE:
	case PRIVSEP_LOAD:
	case PRIVSEP_STORE:
	case PRIVSEP_NETWORK:
	case PRIVSEP_REPLY:
		return header->id != 0;
	default:
		return header->id == 0;
	}
}

/* A negative errno, as the kernel numbers them. */
static bool result_fits(int32_t result)
{
	return result <= 0 && result > -4096;
}

static bool body_fits(const union privsep_message *m, size_t fd_count)
{
	switch (m->header.type) {
	case PRIVSEP_SOCKET:
		return m->socket.kind < SOCKET_KIND_COUNT &&
		       (m->socket.family == ADDRESS_V4 || m->socket.family == ADDRESS_V6);
	case PRIVSEP_FILE:
		return m->file.name < PRIVSEP_FILE_COUNT;
	case PRIVSEP_LOAD:
	case PRIVSEP_STORE:
		return m->blob.name < PRIVSEP_BLOB_COUNT;
	case PRIVSEP_STATUS:
		return m->status.state < PRIVSEP_STATE_COUNT && text_ends(m->status.text);
	case PRIVSEP_LOGIN:
		return url_fits(m->login.url);
	case PRIVSEP_START:
		return m->begin.localapi <= 1 && m->begin.health <= 1 && m->begin.udp_v4 <= 1 &&
		       m->begin.udp_v6 <= 1 && m->begin.tun >= 1 &&
		       m->begin.tun <= START_THREADS_MAX &&
		       fd_count == 2u + m->begin.localapi + m->begin.health + m->begin.udp_v4 +
					   m->begin.udp_v6 + m->begin.tun;
	case PRIVSEP_REPLY:
		return result_fits(m->reply.result) && m->reply.reserved == 0 &&
		       (m->reply.result == 0 || fd_count == 0) && text_ends(m->reply.text);
	case PRIVSEP_CHANGED:
		return m->changed.name < PRIVSEP_FILE_COUNT && result_fits(m->changed.result) &&
		       fd_count == (m->changed.result == 0 ? 1u : 0u);
	default:
		return true;
	}
}

int privsep_check(enum privsep_sender sender, const void *bytes, size_t length, size_t fd_count,
		  union privsep_message *ret)
{
	union privsep_message m = {0};
	int row;

	if (length < sizeof(m.header) || length > sizeof(m))
		return -EBADMSG;
	memcpy(&m, bytes, length);
	row = lookup(sender, m.header.type);
	if (row < 0 || length != message_table[row].size || fd_count < message_table[row].fd_min ||
	    fd_count > message_table[row].fd_max || !id_fits(&m.header) || !body_fits(&m, fd_count))
		return -EBADMSG;
	*ret = m;
	return 0;
}

/* #syscalls: sendmsg recvmsg close */
int privsep_send(int channel, enum privsep_sender sender, const union privsep_message *message,
		 const int *fds, size_t fd_count)
{
	size_t size = privsep_size(sender, message->header.type);
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(PRIVSEP_FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (size == 0 || fd_count > PRIVSEP_FDS_MAX)
		return -EINVAL;
	if (fd_count > 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
	}
	for (;;) {
		ssize_t n = sendmsg(channel, &msg, MSG_NOSIGNAL);

		if (n >= 0)
			return (size_t)n == size ? 0 : -EMSGSIZE;
		if (errno == EINTR)
			continue;
		if (errno == ECONNRESET)
			return -EPIPE;
		return -errno;
	}
}

/* take_fds() - Gather every descriptor of the control messages, however many came */
static int take_fds(struct msghdr *msg, struct privsep_fds *ret)
{
	int result = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t count;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
			result = -EBADMSG;
			continue;
		}
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (ret->count < PRIVSEP_FDS_MAX) {
				ret->fd[ret->count++] = fd;
			} else {
				close(fd);
				result = -EBADMSG;
			}
		}
	}
	return result;
}

int privsep_receive(int channel, enum privsep_sender sender, union privsep_message *ret,
		    struct privsep_fds *ret_fds)
{
	/* One byte more than any message, so that a longer one is seen as such. */
	unsigned char bytes[sizeof(union privsep_message) + 1];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(PRIVSEP_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct privsep_fds fds = {.count = 0};
	ssize_t n;
	int r;

	ret_fds->count = 0;
	do
		n = recvmsg(channel, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	r = take_fds(&msg, &fds);
	if (n == 0 && fds.count == 0 && r == 0)
		return -EPIPE;
	if (r == 0 && (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		r = -EBADMSG;
	if (r == 0)
		r = privsep_check(sender, bytes, (size_t)n, fds.count, ret);
	if (r < 0) {
		privsep_fds_close(&fds);
		return r;
	}
	*ret_fds = fds;
	return 0;
}
