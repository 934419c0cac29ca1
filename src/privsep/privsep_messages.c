/* SPDX-License-Identifier: BSD-3-Clause */
/* privsep/privsep_messages.c - checking, sending and receiving the fixed messages */
#include "privsep/privsep_messages.h"

#include "base/cleanup.h"
#include "privsep/records.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void privsep_fds_close(struct privsep_fds *fds)
{
	for (size_t i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
	fds->count = 0;
}

static bool text_ends(const char text[static PRIVSEP_TEXT_MAX])
{
	return memchr(text, 0, PRIVSEP_TEXT_MAX) != NULL;
}

/* url_fits() - Whether it can be printed to a terminal as it is */
static bool url_fits(const char url[static PRIVSEP_TEXT_MAX])
{
	if (!url[0] || !text_ends(url))
		return false;
	for (; *url; url++)
		if (*url <= ' ' || *url > '~')
			return false;
	return true;
}

/* A negative errno, as the kernel numbers them. */
static bool result_fits(int32_t result)
{
	return result <= 0 && result > -4096;
}

bool privsep_domain_fits(const char *domain)
{
	size_t length = strnlen(domain, PRIVSEP_DOMAIN_MAX);
	const char *name = length > 2 && memcmp(domain, "*.", 2) == 0 ? domain + 2 : domain;

	return length > 0 && length < PRIVSEP_DOMAIN_MAX - 2 && *name != '.' && *name != '-' &&
	       !strstr(name, "..") && name[strlen(name) - 1] != '.' &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.")] == 0;
}

static bool blob_fits(const struct privsep_blob *blob)
{
	if (blob->name >= PRIVSEP_BLOB_COUNT || !memchr(blob->domain, 0, sizeof(blob->domain)))
		return false;
	return blob->name < PRIVSEP_BLOB_DOMAIN ? blob->domain[0] == 0
						: privsep_domain_fits(blob->domain);
}

#define ENDS(text) (memchr((text), 0, sizeof(text)) != NULL)

static bool family_fits(const struct address *address)
{
	return address->family == ADDRESS_NONE || address->family == ADDRESS_V4 ||
	       address->family == ADDRESS_V6;
}

static bool person_fits(const struct privsep_person *person)
{
	return person->known <= 1 && person->tagged <= 1 && person->ingress <= 1 &&
	       family_fits(&person->own[0]) && family_fits(&person->own[1]) && ENDS(person->node) &&
	       ENDS(person->login) && ENDS(person->name) && ENDS(person->picture) &&
	       ENDS(person->capabilities);
}

/* below_fits() - Whether it leads nowhere but below: no ".", "..", empty part or slash at an end */
static bool below_fits(const char name[static PRIVSEP_BELOW_MAX])
{
	const char *part = name;

	if (!memchr(name, 0, PRIVSEP_BELOW_MAX))
		return false;
	while (*name) {
		size_t length = strcspn(part, "/");

		if (length == 0 || (length <= 2 && strspn(part, ".") >= length))
			return false;
		part += length;
		if (!*part)
			break;
		part++;
	}
	return true;
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
		return blob_fits(&m->blob);
	case PRIVSEP_STATUS:
		return m->status.state < PRIVSEP_STATE_COUNT && text_ends(m->status.text);
	case PRIVSEP_LOGIN:
		return url_fits(m->login.url);
	case PRIVSEP_START:
		return m->begin.localapi <= 1 && m->begin.health <= 1 && m->begin.udp_v4 <= 1 &&
		       m->begin.udp_v6 <= 1 && m->begin.tun >= 1 &&
		       m->begin.tun <= PRIVSEP_TUN_MAX &&
		       fd_count == 2u + m->begin.localapi + m->begin.health + m->begin.udp_v4 +
					   m->begin.udp_v6 + m->begin.tun;
	case PRIVSEP_REPLY:
		return result_fits(m->reply.result) && m->reply.reserved == 0 &&
		       (m->reply.result == 0 || fd_count == 0) && text_ends(m->reply.text);
	case PRIVSEP_CHANGED:
		return m->changed.name < PRIVSEP_FILE_COUNT && result_fits(m->changed.result) &&
		       fd_count == (m->changed.result == 0 ? 1u : 0u);
	case PRIVSEP_CONNECT:
		return m->connect.target < SERVE_WISH_TARGETS_MAX &&
		       m->connect.address < SERVE_TARGET_ADDRESSES_MAX;
	case PRIVSEP_OPEN:
		return m->open.path < SERVE_WISH_PATHS_MAX && below_fits(m->open.name);
	case PRIVSEP_LISTENER:
		return m->listener.port <= UINT16_MAX;
	case PRIVSEP_WHO:
		return m->who.address.family == ADDRESS_V4 || m->who.address.family == ADDRESS_V6;
	case PRIVSEP_PERSON:
		return person_fits(&m->person.person);
	case PRIVSEP_TXT:
		return m->txt.name[0] && ENDS(m->txt.name) && m->txt.value[0] && ENDS(m->txt.value);
	case PRIVSEP_CERT:
		return m->cert.kind < PRIVSEP_CERT_KINDS && ENDS(m->cert.domain) &&
		       (m->cert.kind == PRIVSEP_CERT_PAIR ? privsep_domain_fits(m->cert.domain)
							  : m->cert.domain[0] == 0);
	case PRIVSEP_CERT_STATE:
		return m->cert_state.source < PRIVSEP_CERT_SOURCES && m->cert_state.pending <= 1 &&
		       ENDS(m->cert_state.domain) && ENDS(m->cert_state.digest) &&
		       ENDS(m->cert_state.authority) && ENDS(m->cert_state.problem);
	case PRIVSEP_CERT_ANSWER:
	case PRIVSEP_ANSWER:
		return result_fits(m->answer.result) && text_ends(m->answer.text) &&
		       (m->answer.result == 0 || fd_count == 0);
	default:
		return true;
	}
}

/* Every type of message. */
static const struct row {
	enum privsep_sender senders; /* their union */
	uint16_t size;
	uint8_t fd_min, fd_max;
	bool has_id;        /* a request that is answered, or the answer */
	uint32_t memfd_max; /* bytes of the sealed memfd that is the first descriptor; 0: none */
} table[PRIVSEP_TYPE_END] = {
#define ENGINE     PRIVSEP_FROM_ENGINE
#define SERVICES   PRIVSEP_FROM_SERVICES
#define ANY_CHILD  PRIVSEP_FROM_ANY_CHILD
#define SUPERVISOR PRIVSEP_FROM_SUPERVISOR
#define SIZE(name) sizeof(struct privsep_##name)
	[PRIVSEP_SOCKET] = {ENGINE, SIZE(socket), 0, 0, true, 0},
	[PRIVSEP_FILE] = {ENGINE | SERVICES, SIZE(file), 0, 0, true, 0},
	[PRIVSEP_LOAD] = {ENGINE | SERVICES, SIZE(blob), 0, 0, true, 0},
	[PRIVSEP_STORE] = {ENGINE | SERVICES, SIZE(blob), 1, 1, true, PRIVSEP_BLOB_MAX},
	[PRIVSEP_NETWORK] = {ENGINE, SIZE(plain), 1, 1, true, PRIVSEP_NETWORK_MAX},
	[PRIVSEP_STATUS] = {ENGINE, SIZE(status), 0, 0, false, 0},
	[PRIVSEP_LOGIN] = {ENGINE, SIZE(login), 0, 0, false, 0},
	[PRIVSEP_SETTLED] = {ENGINE, SIZE(plain), 0, 0, false, 0},
	[PRIVSEP_SERVE] = {ENGINE, SIZE(plain), 1, 1, true, PRIVSEP_SERVE_MAX},
	[PRIVSEP_CONNECT] = {SERVICES, SIZE(connect), 0, 0, true, 0},
	[PRIVSEP_UNUSED] = {SERVICES, SIZE(plain), 0, 0, false, 0},
	[PRIVSEP_OPEN] = {SERVICES, SIZE(open), 0, 0, true, 0},
	[PRIVSEP_ALIVE] = {ANY_CHILD, SIZE(plain), 0, 0, false, 0},
	[PRIVSEP_START] = {SUPERVISOR, SIZE(begin), 3, PRIVSEP_FDS_MAX, false, PRIVSEP_START_MAX},
	[PRIVSEP_REPLY] = {SUPERVISOR, SIZE(reply), 0, 1, true, 0},
	[PRIVSEP_INTERFACES] = {SUPERVISOR, SIZE(plain), 1, 1, false, PRIVSEP_INTERFACES_MAX},
	[PRIVSEP_CHANGED] = {SUPERVISOR, SIZE(changed), 0, 1, false, 0},
	[PRIVSEP_STOP] = {SUPERVISOR, SIZE(plain), 0, 0, false, 0},
	[PRIVSEP_PING] = {SUPERVISOR, SIZE(plain), 0, 0, false, 0},
	[PRIVSEP_DIVERT] = {SUPERVISOR, SIZE(plain), 1, 1, false, PRIVSEP_DIVERT_MAX},
	[PRIVSEP_LINK] = {SUPERVISOR, SIZE(plain), 1, 1, false, 0},
	[PRIVSEP_SERVING] = {SUPERVISOR, SIZE(plain), 1, 1, true, PRIVSEP_SERVE_MAX},
	[PRIVSEP_LISTENER] = {SUPERVISOR, SIZE(listener), 1, 1, false, 0},
	[PRIVSEP_WHO] = {SERVICES, SIZE(who), 0, 0, true, 0},
	[PRIVSEP_TXT] = {SERVICES, SIZE(txt), 0, 0, true, 0},
	[PRIVSEP_SIGN] = {SERVICES, SIZE(plain), 1, 1, true, PRIVSEP_CSR_MAX},
	[PRIVSEP_PERSON] = {ENGINE, SIZE(person_message), 0, 0, true, 0},
	[PRIVSEP_PEOPLE] = {ENGINE, SIZE(plain), 0, 0, false, 0},
	[PRIVSEP_CERT] = {ENGINE, SIZE(cert), 0, 0, true, 0},
	[PRIVSEP_CERT_ANSWER] = {SERVICES, SIZE(answer), 0, 1, true, PRIVSEP_CERT_MAX},
	[PRIVSEP_CERT_STATE] = {SERVICES, SIZE(cert_state), 0, 0, false, 0},
	[PRIVSEP_ANSWER] = {ENGINE, SIZE(answer), 0, 1, true, PRIVSEP_CHAIN_MAX},
};

/* row_of() - The row of @type if @sender may send it, or NULL */
static const struct row *row_of(enum privsep_sender sender, uint32_t type)
{
	return type < PRIVSEP_TYPE_END && (table[type].senders & sender) != 0 ? &table[type] : NULL;
}

size_t privsep_size(enum privsep_sender sender, uint32_t type)
{
	const struct row *row = row_of(sender, type);

	return row ? row->size : 0;
}

int privsep_memfd_seal(enum privsep_type type, const void *bytes, size_t length)
{
	return length > table[type].memfd_max ? -EMSGSIZE
					      : memfd_seal("pillion-message", bytes, length);
}

int privsep_memfd_read(enum privsep_type type, int fd, struct buffer *ret)
{
	return memfd_read(fd, table[type].memfd_max, ret);
}

int privsep_check(enum privsep_sender sender, const void *bytes, size_t length, size_t fd_count,
		  union privsep_message *ret)
{
	union privsep_message m = {0};
	const struct row *row;

	if (length < sizeof(m.header) || length > sizeof(m))
		return -EBADMSG;
	memcpy(&m, bytes, length);
	row = row_of(sender, m.header.type);
	if (!row || length != row->size || fd_count < row->fd_min || fd_count > row->fd_max ||
	    (m.header.id != 0) != row->has_id || !body_fits(&m, fd_count))
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

/* take_fds() - Take every descriptor of the control messages, of however many there are */
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
	/* One byte more than any message, to detect a longer one. */
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
