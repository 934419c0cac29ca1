/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/relay_load.c - clients of a relay by the hundred, for bench/relay.py
 *
 *	relay_load PORT idle COUNT      connects them, prints "ready", stays until its input ends
 *	relay_load PORT flood SECONDS   one sends to another as fast as it can; prints bytes a
 *second
 *
 * Blocking, over TLS to 127.0.0.1, without verification.
 */
#include "base/clock.h"
#include "base/cursor.h"
#include "wire/derp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
	SSL *ssl;
	struct secret_key secret;
	struct public_key key;
	uint8_t in[DERP_PACKET_MAX];
	size_t length, taken;
};

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "relay_load: %s failed\n", what);
	exit(1);
}

static bool next_frame(struct client *c, struct derp_message *ret)
{
	struct derp_frame frame;

	for (;;) {
		struct cursor in = cursor_of(c->in + c->taken, c->length - c->taken);
		int n;

		if (derp_frame_next(&in, sizeof(c->in), &frame) == 1) {
			c->taken = c->length - in.left;
			return derp_message_parse(&frame, ret) == 0;
		}
		memmove(c->in, c->in + c->taken, c->length - c->taken);
		c->length -= c->taken;
		c->taken = 0;
		n = SSL_read(c->ssl, c->in + c->length, (int)(sizeof(c->in) - c->length));
		if (n <= 0)
			return false;
		c->length += (size_t)n;
	}
}

static void upgrade(struct client *c)
{
	static const char request[] = "GET /derp HTTP/1.1\r\nHost: relay\r\nUpgrade: DERP\r\n"
				      "Connection: Upgrade\r\n\r\n";
	uint8_t *end = NULL;

	if (SSL_write(c->ssl, request, sizeof(request) - 1) <= 0)
		die("upgrade");
	while (!end) {
		int n = SSL_read(c->ssl, c->in + c->length, (int)(sizeof(c->in) - c->length));

		if (n <= 0)
			die("upgrade");
		c->length += (size_t)n;
		end = memmem(c->in, c->length, "\r\n\r\n", 4);
	}
	if (memcmp(c->in, "HTTP/1.1 101", 12) != 0)
		die("upgrade");
	c->taken = (size_t)(end + 4 - c->in);
}

static struct client *join(SSL_CTX *tls, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct derp_client_info info = {.version = DERP_PROTOCOL_VERSION, .can_ack_pings = true};
	uint8_t hello[DERP_INFO_MAX], nonce[DERP_NONCE_SIZE];
	struct client *c = calloc(1, sizeof(*c));
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	struct derp_message m;
	struct key_box box;
	ssize_t length;

	if (!c || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->ssl = SSL_new(tls);
	SSL_set_fd(c->ssl, fd);
	if (SSL_connect(c->ssl) != 1)
		die("TLS");
	upgrade(c);
	if (!next_frame(c, &m) || m.type != DERP_SERVER_KEY)
		die("greeting");
	secret_key_generate(&c->secret);
	secret_key_public(&c->secret, &c->key);
	if (key_box_init(&c->secret, &m.key, &box) < 0)
		die("greeting");
	randombytes_buf(nonce, sizeof(nonce));
	length = derp_client_info_write(hello, sizeof(hello), &c->key, &box, nonce, &info);
	if (SSL_write(c->ssl, hello, (int)length) <= 0 || !next_frame(c, &m) ||
	    m.type != DERP_SERVER_INFO)
		die("greeting");
	return c;
}

static void idle(SSL_CTX *tls, uint16_t port, long count)
{
	struct rlimit files = {.rlim_cur = 65536, .rlim_max = 65536};

	(void)setrlimit(RLIMIT_NOFILE, &files);
	for (long i = 0; i < count; i++) {
		struct client *c = join(tls, port);

		/* What a connection needs is kept; a buffer of ours isn't. */
		if (!realloc(c, offsetof(struct client, in)))
			die("memory");
	}
	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
}

struct flood {
	struct client *from;
	struct public_key to;
	nanoseconds end;
	uint64_t sent;
};

static void *send_all(void *argument)
{
	static uint8_t batch[16 * 1024];
	struct flood *f = argument;
	uint8_t packet[1400] = {0};
	size_t length = 0;

	/* As a node sends: as many whole frames as a TLS record holds. */
	while (length + 1500 < sizeof(batch)) {
		ssize_t n = derp_message_write(batch + length, sizeof(batch) - length,
					       &(struct derp_message){.type = DERP_SEND_PACKET,
								      .key = f->to,
								      .data = packet,
								      .length = sizeof(packet)});
		length += (size_t)n;
	}
	while (clock_boottime() < f->end && SSL_write(f->from->ssl, batch, (int)length) > 0)
		f->sent += length;
	return NULL;
}

static void flood(SSL_CTX *tls, uint16_t port, long seconds)
{
	struct client *to = join(tls, port);
	nanoseconds begin = clock_boottime();
	struct flood f = {join(tls, port), to->key, begin + seconds * NSEC_PER_SEC, 0};
	uint64_t got = 0;
	struct derp_message m;
	pthread_t thread;

	pthread_create(&thread, NULL, send_all, &f);
	while (clock_boottime() < f.end && next_frame(to, &m))
		if (m.type == DERP_RECV_PACKET)
			got += m.length;
	pthread_join(thread, NULL);
	printf("sent %.0f received %.0f\n", (double)f.sent / (double)seconds,
	       (double)got / (double)seconds);
}

int main(int argc, char **argv)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
	long number = argc == 4 ? strtol(argv[3], NULL, 10) : 0;

	if (sodium_init() < 0 || !tls || number <= 0)
		die("usage: relay_load PORT idle|flood NUMBER; start");
	(void)signal(SIGPIPE, SIG_IGN);
	SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
	if (strcmp(argv[2], "idle") == 0)
		idle(tls, (uint16_t)atoi(argv[1]), number);
	else
		flood(tls, (uint16_t)atoi(argv[1]), number);
	return 0;
}
