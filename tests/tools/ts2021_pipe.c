/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/ts2021_pipe.c - bytes into a coordination server's Noise channel, and out of it
 *
 *	ts2021_pipe ADDRESS PORT mkey:…		sends stdin, writes received bytes to stdout
 *	ts2021_pipe ADDRESS PORT mkey:… COUNT [one]
 *		so many connections, held until stdin ends
 *	ts2021_pipe ADDRESS PORT mkey:… junk
 *		behind the request, in the same packet, a record that is not authentic
 *
 * For tests with invalid HTTP/2. Each connection has a machine key of its own,
 * but for "one". It blocks where its reader does, and so does not read from the server then.
 */
#include "base/address.h"
#include "base/cleanup.h"
#include "transport/ts2021.h"
#include "wire/keys.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VERSION   138
#define CHUNK     ((size_t)64 * 1024)
#define SEAL_MAX  (2 * CHUNK)
#define INPUT_MAX (4 * CHUNK)

struct pipe {
	int fd;
	struct ts2021_session session;
	struct ts2021_early early;
	struct buffer in, out;
};

static void die(const char *what)
{
	fprintf(stderr, "ts2021_pipe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t n = write(fd, at, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			exit(0); /* the reader is gone, or the server: that is what tests look for
				  */
		at += n;
		length -= (size_t)n;
	}
}

static bool receive(struct pipe *p)
{
	ssize_t n;

	if (buffer_reserve(&p->in, CHUNK) < 0)
		die("memory");
	n = read(p->fd, buffer_end(&p->in), CHUNK);
	if (n <= 0)
		return false;
	p->in.length += (size_t)n;
	return true;
}

/* upgrade() - Skip the head of the 101 */
static void upgrade(struct pipe *p)
{
	char *end = NULL;

	while (!end) {
		if (!receive(p))
			die("no answer");
		end = memmem(buffer_head(&p->in), p->in.length, "\r\n\r\n", 4);
	}
	if (memcmp(buffer_head(&p->in), "HTTP/1.1 101", 12) != 0) {
		fprintf(stderr, "ts2021_pipe: %.60s\n", (char *)buffer_head(&p->in));
		exit(1);
	}
	buffer_consume(&p->in, (size_t)(end + 4 - (char *)buffer_head(&p->in)));
}

static void open_pipe(struct pipe *p, const struct endpoint *to, const struct public_key *server,
		      const struct secret_key *machine, bool junk)
{
	static const uint8_t record[3 + 32] = {4, 0, 32};
	uint8_t initiation[TS2021_INITIATION_SIZE];
	struct sockaddr_storage address;
	socklen_t size = endpoint_to_sockaddr(to, &address);
	struct ts2021_client client;
	char text[256], request[512 + sizeof(record)];
	size_t length;
	struct error err = {0};
	size_t used = 0;
	int r = -EAGAIN;

	p->in = BUFFER_INIT(INPUT_MAX);
	p->out = BUFFER_INIT(SEAL_MAX);
	p->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&address, size) < 0)
		die("connect");
	if (ts2021_client_start(&client, machine, server, VERSION, NULL, initiation) < 0)
		die("the server's key");
	sodium_bin2base64(text, sizeof(text), initiation, sizeof(initiation),
			  sodium_base64_VARIANT_ORIGINAL);
	length = (size_t)snprintf(
		request, 512,
		"POST /ts2021 HTTP/1.1\r\nHost: control\r\nUpgrade: %s\r\nConnection: upgrade\r\n"
		"X-Tailscale-Handshake: %s\r\nContent-Length: 0\r\n\r\n",
		TS2021_PROTOCOL, text);
	memcpy(request + length, record, sizeof(record));
	write_all(p->fd, request, length + (junk ? sizeof(record) : 0));
	upgrade(p);
	while (r == -EAGAIN) {
		r = ts2021_client_finish(&client, buffer_head(&p->in), p->in.length, &used,
					 &p->session, &err);
		if (r == -EAGAIN && !receive(p))
			die("no handshake");
	}
	if (r < 0) {
		fprintf(stderr, "ts2021_pipe: %s\n", err.text);
		exit(1);
	}
	buffer_consume(&p->in, used);
}

/* deliver() - Whole records to stdout */
static void deliver(struct pipe *p)
{
	uint8_t plain[TS2021_PLAINTEXT_MAX];

	for (;;) {
		size_t used = 0, length = 0, head_length = 0, skip;
		const uint8_t *head = NULL;
		int r = ts2021_open_record(&p->session, buffer_head(&p->in), p->in.length, &used,
					   plain, &length);

		if (r == -EAGAIN)
			return;
		if (r < 0)
			die("a record");
		buffer_consume(&p->in, used);
		r = ts2021_early_strip(&p->early, plain, length, &head, &head_length);
		if (r < 0)
			die("the early payload");
		skip = (size_t)r;
		write_all(STDOUT_FILENO, head, head_length);
		write_all(STDOUT_FILENO, plain + skip, length - skip);
	}
}

/* pump() - Both directions until one ends */
static void pump(struct pipe *p)
{
	struct pollfd fds[] = {{.fd = p->fd, .events = POLLIN},
			       {.fd = STDIN_FILENO, .events = POLLIN}};
	static uint8_t bytes[CHUNK];

	deliver(p);
	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			die("poll");
		if (fds[0].revents) {
			if (!receive(p))
				return;
			deliver(p);
		}
		if (fds[1].revents) {
			ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

			if (n <= 0)
				return;
			if (ts2021_seal(&p->session, bytes, (size_t)n, &p->out) < 0)
				die("seal");
			write_all(p->fd, buffer_head(&p->out), p->out.length);
			buffer_consume(&p->out, p->out.length);
		}
	}
}

int main(int argc, char **argv)
{
	struct public_key server;
	struct secret_key machine;
	struct endpoint to;
	struct pipe *pipes;
	bool junk = argc > 4 && strcmp(argv[4], "junk") == 0;
	unsigned long count = argc > 4 && !junk ? strtoul(argv[4], NULL, 10) : 1;
	char byte;

	if (argc < 4 || count == 0 || address_parse(argv[1], strlen(argv[1]), &to.address) < 0 ||
	    public_key_parse(argv[3], strlen(argv[3]), KEY_MACHINE, &server) < 0) {
		fprintf(stderr, "usage: ts2021_pipe ADDRESS PORT mkey:… [COUNT [one] | junk]\n");
		return 2;
	}
	to.port = (uint16_t)strtoul(argv[2], NULL, 10);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sodium_init() < 0 || !(pipes = calloc(count, sizeof(*pipes))))
		die("start");
	for (unsigned long i = 0; i < count; i++) {
		if (i == 0 || argc == 5)
			secret_key_generate(&machine);
		open_pipe(&pipes[i], &to, &server, &machine, junk);
	}
	if (argc > 4 && !junk) {
		puts("open");
		fflush(stdout);
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
	} else {
		pump(&pipes[0]);
	}
	for (unsigned long i = 0; i < count; i++) {
		buffer_free(&pipes[i].in);
		buffer_free(&pipes[i].out);
		close(pipes[i].fd);
	}
	free(pipes);
	return 0;
}
