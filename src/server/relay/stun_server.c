/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/relay/stun_server.c - answers STUN binding requests of tailnet nodes
 *
 * The answer leaves from the address that was asked (IP_PKTINFO), on a host with
 * several too: a NAT in between lets nothing else pass.
 */
#include "server/relay/stun_server.h"

#include "base/cleanup.h"
#include "base/limits.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH      32
#define BATCHES    4 /* a wake-up; then others have their turn */
#define PACKET_MAX 512

size_t stun_answer(struct source_limit *limiter, const void *packet, size_t length,
		   const struct endpoint *source, nanoseconds now,
		   uint8_t out[static STUN_RESPONSE_MAX], struct stun_statistics *statistics)
{
	struct stun_txid txid;

	if (stun_request_parse(packet, length, &txid) < 0) {
		statistics->malformed++;
		return 0;
	}
	if (!source_limit_admit(limiter, source_limit_slot(limiter, &source->address), now)) {
		statistics->limited++;
		return 0;
	}
	statistics->answered++;
	return stun_response_write(out, &txid, source);
}

/* On the loop */

#define CONTROL_SIZE \
	(CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)))

struct datagram {
	struct sockaddr_storage from;
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
	struct iovec vector;
	uint8_t bytes[PACKET_MAX];
};

struct stun_server {
	uv_poll_t poll;
	int fd;
	struct endpoint endpoint;
	struct source_limit *limiter;
	struct stun_statistics statistics;
	struct mmsghdr messages[BATCH];
	struct datagram datagrams[BATCH];
};

/* answer_from() - Turn recvmsg()'s control data into sendmsg()'s: same address, no interface */
static void answer_from(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			info.ipi_spec_dst = info.ipi_addr;
			info.ipi_ifindex = 0;
			memcpy(CMSG_DATA(c), &info, sizeof(info));
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				info.ipi6_ifindex = 0;
			memcpy(CMSG_DATA(c), &info, sizeof(info));
		}
	}
}

/* batch() - Up to BATCH datagrams in, their answers out; how many came. #syscalls: recvmmsg
 * sendmmsg */
static int batch(struct stun_server *s, nanoseconds now)
{
	struct mmsghdr answers[BATCH];
	int count, due = 0, sent;

	for (int i = 0; i < BATCH; i++) {
		struct datagram *d = &s->datagrams[i];

		d->vector = (struct iovec){.iov_base = d->bytes, .iov_len = sizeof(d->bytes)};
		s->messages[i].msg_hdr = (struct msghdr){
			.msg_name = &d->from,
			.msg_namelen = sizeof(d->from),
			.msg_iov = &d->vector,
			.msg_iovlen = 1,
			.msg_control = d->control,
			.msg_controllen = sizeof(d->control),
		};
	}
	count = recvmmsg(s->fd, s->messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++) {
		struct msghdr *m = &s->messages[i].msg_hdr;
		struct datagram *d = &s->datagrams[i];
		uint8_t out[STUN_RESPONSE_MAX];
		struct endpoint source;

		if ((m->msg_flags & MSG_TRUNC) ||
		    endpoint_from_sockaddr((struct sockaddr *)&d->from, &source) < 0) {
			s->statistics.malformed++;
			continue;
		}
		d->vector.iov_len = stun_answer(s->limiter, d->bytes, s->messages[i].msg_len,
						&source, now, out, &s->statistics);
		if (d->vector.iov_len == 0)
			continue;
		memcpy(d->bytes, out, d->vector.iov_len);
		answer_from(m);
		answers[due++].msg_hdr = *m;
	}
	sent = due > 0 ? sendmmsg(s->fd, answers, (unsigned int)due, MSG_DONTWAIT) : 0;
	/* One that can't be sent stops the rest; its source asks again. */
	s->statistics.unsent += (uint64_t)(due - (sent > 0 ? sent : 0));
	return count;
}

static void on_readable(uv_poll_t *poll, int status, int what)
{
	struct stun_server *s = poll->data;
	nanoseconds now = clock_boottime();

	(void)what;
	for (int i = 0; status == 0 && i < BATCHES; i++)
		if (batch(s, now) < BATCH)
			break;
}

static int open_socket(const struct endpoint *at, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(at, &address);
	char text[ENDPOINT_TEXT_MAX];
	int on = 1, off = 0;

	endpoint_format(at, text);
	fd = socket(address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "STUN on %s", text);
	if (address.ss_family == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
		if (setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0)
			return error_set_errno(err, -errno, "STUN on %s", text);
	}
	/* An IPv6 socket reports IPv4 datagrams as well. */
	if (address.ss_family == AF_INET &&
	    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0)
		return error_set_errno(err, -errno, "STUN on %s", text);
	if (bind(fd, (struct sockaddr *)&address, size) < 0)
		return error_set_errno(err, -errno, "STUN on %s", text);
	return TAKE_FD(fd);
}

int stun_server_new(uv_loop_t *loop, const struct endpoint *at, struct stun_server **ret,
		    struct error *err)
{
	struct stun_server *s = calloc(1, sizeof(*s));
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof(address);
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->fd = open_socket(at, err);
	if (s->fd < 0) {
		r = s->fd;
		goto not_open;
	}
	s->limiter = source_limit_new(LIMIT_STUN_SOURCE_RATE, LIMIT_STUN_SOURCE_BURST);
	if (!s->limiter || getsockname(s->fd, (struct sockaddr *)&address, &size) < 0 ||
	    endpoint_from_sockaddr((struct sockaddr *)&address, &s->endpoint) < 0) {
		r = error_set(err, -ENOMEM, "STUN: out of memory");
		goto open;
	}
	r = uv_poll_init(loop, &s->poll, s->fd);
	if (r < 0) {
		error_set_errno(err, r, "STUN");
		goto open;
	}
	s->poll.data = s;
	uv_poll_start(&s->poll, UV_READABLE, on_readable);
	*ret = s;
	return 0;
open:
	source_limit_free(s->limiter);
	close(s->fd);
not_open:
	free(s);
	return r;
}

static void closed(uv_handle_t *handle)
{
	struct stun_server *s = handle->data;

	close(s->fd);
	source_limit_free(s->limiter);
	free(s);
}

void stun_server_free(struct stun_server *s)
{
	if (s)
		uv_close((uv_handle_t *)&s->poll, closed);
}

const struct endpoint *stun_server_endpoint(const struct stun_server *s)
{
	return &s->endpoint;
}

const struct stun_statistics *stun_server_statistics(const struct stun_server *s)
{
	return &s->statistics;
}
