/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/wg_node.c - one WireGuard peer by hand: a TUN, a UDP socket, our device
 *
 *	wg_node TUN PORT PRIVATE PEER ENDPOINT PSK ALLOWED...
 *
 * Keys are 64 hex digits, ENDPOINT and PSK may be "-". The TUN is made here; its address is the
 * caller's to set. Datagrams go to the last authentic source, or to ENDPOINT before there is one.
 * Commands come by standard input, one a line, each answered by one line of JSON:
 *
 *	stats             counters, times in seconds ago
 *	initiate          wg_peer_initiate()
 *	retry             wg_peer_retry_now()
 *	endpoint IP:PORT  from now on (until an authentic datagram comes from elsewhere)
 */
#include "base/address.h"
#include "base/cleanup.h"
#include "tunnel/wireguard/wg.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct node {
	struct wg_device *device;
	struct wg_peer *peer;
	int tun, udp;
	struct endpoint endpoint;
	unsigned int sessions;
};

static void die(const char *what)
{
	fprintf(stderr, "wg_node: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void send_udp(struct node *node, const struct endpoint *to, const uint8_t *bytes,
		     size_t length)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(to->port)};

	if (to->address.family == ADDRESS_V4) {
		mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&mapped.sin6_addr.s6_addr[12], to->address.bytes, 4);
	} else if (to->address.family == ADDRESS_V6) {
		memcpy(&mapped.sin6_addr, to->address.bytes, 16);
	} else {
		return;
	}
	if (sendto(node->udp, bytes, length, 0, (struct sockaddr *)&mapped, sizeof(mapped)) < 0)
		fprintf(stderr, "wg_node: sendto: %s\n", strerror(errno));
}

static void on_send(void *context, struct wg_peer *peer, uint8_t *datagram, size_t length,
		    enum wg_kind kind)
{
	struct node *node = context;

	(void)peer;
	(void)kind;
	send_udp(node, &node->endpoint, datagram, length);
}

static void on_send_to(void *context, const struct wg_source *to, const uint8_t *datagram,
		       size_t length)
{
	send_udp(context, &to->endpoint, datagram, length);
}

static void on_deliver(void *context, struct wg_peer *peer, uint8_t *packet, size_t length)
{
	struct node *node = context;

	(void)peer;
	if (write(node->tun, packet, length) < 0)
		fprintf(stderr, "wg_node: write to TUN: %s\n", strerror(errno));
}

static void on_session(void *context, struct wg_peer *peer)
{
	struct node *node = context;

	(void)peer;
	node->sessions++;
}

static nanoseconds on_realtime(void *context)
{
	(void)context;
	return clock_realtime();
}

static const struct wg_callbacks callbacks = {
	.send = on_send,
	.send_to = on_send_to,
	.deliver = on_deliver,
	.session = on_session,
	.realtime = on_realtime,
};

static int open_tun(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		die("/dev/net/tun");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		die("TUNSETIFF");
	return fd;
}

static int open_udp(const char *port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6,
				   .sin6_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), off = 0;

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0)
		die("UDP socket");
	return fd;
}

static void read_key(const char *hex, uint8_t out[static KEY_SIZE])
{
	size_t length;

	errno = EINVAL;
	if (sodium_hex2bin(out, KEY_SIZE, hex, strlen(hex), NULL, &length, NULL) != 0 ||
	    length != KEY_SIZE)
		die("key");
}

static void print_stats(const struct node *node, nanoseconds now)
{
	const struct wg_statistics *statistics = wg_device_statistics(node->device);
	char source[ENDPOINT_TEXT_MAX];
	struct wg_peer_stats stats;

	wg_peer_stats(node->peer, now, &stats);
	printf("{\"sessions\": %u, \"received_bytes\": %llu, \"sent_bytes\": %llu, "
	       "\"handshake_age\": %.3f, \"has_session\": %s, \"staged\": %zu, "
	       "\"source\": \"%s\"",
	       node->sessions, (unsigned long long)stats.received_bytes,
	       (unsigned long long)stats.sent_bytes,
	       stats.last_handshake ? (double)(now - stats.last_handshake) / 1e9 : -1,
	       stats.has_session ? "true" : "false", stats.staged,
	       stats.last_source.endpoint.address.family
		       ? endpoint_format(&stats.last_source.endpoint, source)
		       : "");
	for (enum wg_verdict i = 0; i < WG_VERDICT_COUNT; i++)
		printf(", \"%s\": %llu", wg_verdict_name(i),
		       (unsigned long long)statistics->verdicts[i]);
	for (enum wg_counter i = 0; i < WG_COUNTER_COUNT; i++)
		printf(", \"%s\": %llu", wg_counter_name(i),
		       (unsigned long long)statistics->counters[i]);
	printf("}\n");
}

static void command(struct node *node, char *line, nanoseconds now)
{
	char *argument = strchr(line, ' ');

	line[strcspn(line, "\n")] = 0;
	if (strcmp(line, "stats") == 0) {
		print_stats(node, now);
	} else {
		bool ok = true;

		if (argument)
			*argument++ = 0;
		if (strcmp(line, "initiate") == 0)
			ok = wg_peer_initiate(node->peer, now);
		else if (strcmp(line, "retry") == 0)
			wg_peer_retry_now(node->peer, now);
		else if (strcmp(line, "endpoint") == 0 && argument)
			ok = endpoint_parse(argument, strlen(argument), &node->endpoint) == 0;
		else
			ok = false;
		printf("{\"ok\": %s}\n", ok ? "true" : "false");
	}
	fflush(stdout);
}

static void read_tun(struct node *node)
{
	static uint8_t buffer[WG_HEADROOM + 65536 + WG_TAILROOM];
	ssize_t length;

	while ((length = read(node->tun, buffer + WG_HEADROOM, 65536)) >= 20) {
		uint8_t *packet = buffer + WG_HEADROOM;
		struct address to =
			packet[0] >> 4 == 4 ? address_v4(packet + 16) : address_v6(packet + 24);
		struct wg_peer *peer = wg_device_lookup(node->device, &to).peer;

		if (peer)
			wg_send(peer, packet, (size_t)length, clock_boottime());
	}
}

static void read_udp(struct node *node)
{
	static uint8_t buffer[65536];
	struct sockaddr_storage from;
	socklen_t from_length;
	ssize_t length;

	for (;;) {
		struct wg_source source = {0};
		struct wg_datagram one;

		from_length = sizeof(from);
		length = recvfrom(node->udp, buffer, sizeof(buffer), 0, (struct sockaddr *)&from,
				  &from_length);
		if (length < 0)
			return;
		if (endpoint_from_sockaddr((struct sockaddr *)&from, &source.endpoint) < 0)
			continue;
		/* So that an answer goes to where an initiation came from before it is sent. */
		if (!node->endpoint.address.family)
			node->endpoint = source.endpoint;
		one = (struct wg_datagram){
			.source = &source, .bytes = buffer, .length = (size_t)length};
		wg_receive_all(node->device, &one, 1, clock_boottime());
		if (one.peer)
			node->endpoint = source.endpoint;
	}
}

int main(int argc, char **argv)
{
	struct node node = {0};
	struct secret_key private, psk;
	struct public_key peer;
	struct prefix allowed[16];
	char line[256];
	int r;

	if (argc < 8 || argc > 7 + (int)ARRAY_SIZE(allowed)) {
		fprintf(stderr, "usage: wg_node TUN PORT PRIVATE PEER ENDPOINT PSK ALLOWED...\n");
		return 2;
	}
	node.tun = open_tun(argv[1]);
	node.udp = open_udp(argv[2]);
	read_key(argv[3], private.bytes);
	read_key(argv[4], peer.bytes);
	if (strcmp(argv[5], "-") != 0 &&
	    endpoint_parse(argv[5], strlen(argv[5]), &node.endpoint) < 0)
		die("endpoint");
	if (strcmp(argv[6], "-") != 0)
		read_key(argv[6], psk.bytes);
	node.device = wg_device_new(&private, &callbacks, &node);
	r = node.device ? wg_peer_add(node.device, &peer, strcmp(argv[6], "-") ? &psk : NULL, &node,
				      &node.peer)
			: -ENOMEM;
	for (int i = 7; r == 0 && i < argc; i++)
		r = prefix_parse(argv[i], strlen(argv[i]), &allowed[i - 7]);
	if (r == 0)
		r = wg_peer_set_allowed_ips(node.peer, allowed, (size_t)argc - 7);
	if (r < 0) {
		errno = -r;
		die("peer");
	}
	printf("{\"ok\": true}\n");
	fflush(stdout);

	for (;;) {
		struct pollfd fds[] = {
			{node.tun, POLLIN, 0}, {node.udp, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
		nanoseconds deadline = wg_device_deadline(node.device), now = clock_boottime();
		int wait = -1;

		if (deadline != DEADLINE_NEVER)
			wait = deadline > now ? (int)((deadline - now) / NSEC_PER_MSEC) + 1 : 0;
		if (poll(fds, ARRAY_SIZE(fds), wait) < 0 && errno != EINTR)
			die("poll");
		wg_device_timeout(node.device, clock_boottime());
		if (fds[0].revents)
			read_tun(&node);
		if (fds[1].revents)
			read_udp(&node);
		if (fds[2].revents) {
			if (!fgets(line, sizeof(line), stdin))
				break;
			command(&node, line, clock_boottime());
		}
	}
	wg_device_free(node.device);
	return 0;
}
