/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/serve_load.c - HTTP clients by the thousand, for bench/serve.py and the load tests
 *
 *	serve_load ADDRESS PORT NAME idle COUNT plain|tls
 *		opens connections, has one request answered on each, prints "ready", and stays until
 *		its input ends; then prints how many connections the server has closed
 *	serve_load ADDRESS PORT NAME handshakes SECONDS full|resumed
 *		one TLS connection with one request after another, on two threads; prints handshakes,
 *		failures, and how many were resumptions
 *
 * NAME goes into the Host header and the server name indication. Certificates are not verified.
 */
#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 2

struct shaker {
	pthread_t thread;
	SSL_CTX *tls;
	nanoseconds ends;
	bool resume;
	SSL_SESSION *session;
	unsigned long done, failed, resumed;
};

static struct sockaddr_in to;
static const char *name;
static char request[512];

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "serve_load: %s failed\n", what);
	exit(1);
}

static int dial(void)
{
	struct timeval limit = {.tv_sec = 30};
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* secure() - A handshake on @fd, of a shaker's or NULL; NULL: it failed */
static SSL *secure(SSL_CTX *tls, int fd, struct shaker *shaker)
{
	SSL *ssl = SSL_new(tls);

	if (!ssl)
		die("allocate");
	SSL_set_app_data(ssl, shaker);
	SSL_set_fd(ssl, fd);
	SSL_set_tlsext_host_name(ssl, name);
	if (shaker && shaker->session)
		SSL_set_session(ssl, shaker->session);
	if (SSL_connect(ssl) == 1)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

static int take(SSL *ssl, int fd, char *in, int size)
{
	return ssl ? SSL_read(ssl, in, size) : (int)recv(fd, in, (size_t)size, 0);
}

/* fetch() - One request; whether an answer of status 200 came, whole */
static bool fetch(SSL *ssl, int fd)
{
	int size = (int)strlen(request), length = 0, n;
	char in[16384], *body, *announced;

	if ((ssl ? SSL_write(ssl, request, size) : (int)send(fd, request, (size_t)size, 0)) != size)
		return false;
	for (;;) {
		n = take(ssl, fd, in + length, (int)sizeof(in) - 1 - length);
		if (n <= 0)
			return false;
		length += n;
		in[length] = 0;
		body = strstr(in, "\r\n\r\n");
		announced = strcasestr(in, "content-length:");
		if (body && (!announced || announced > body))
			return false;
		if (body && in + length >= body + 4 + strtol(announced + 15, NULL, 10))
			return strncmp(in, "HTTP/1.1 200", 12) == 0;
	}
}

/* stay() - @count connections; TLS state is dropped here, not at the server */
static void stay(SSL_CTX *tls, size_t count)
{
	struct pollfd *all = calloc(count, sizeof(*all));
	size_t closed = 0;

	if (!all)
		die("allocate");
	for (size_t i = 0; i < count; i++) {
		SSL *ssl = NULL;

		all[i] = (struct pollfd){.fd = dial(), .events = POLLIN};
		if (all[i].fd < 0)
			die("connect");
		if (tls) {
			ssl = secure(tls, all[i].fd, NULL);
			if (!ssl)
				die("the handshake");
		}
		if (!fetch(ssl, all[i].fd))
			die("a request");
		if (ssl) {
			SSL_set_quiet_shutdown(ssl, 1);
			SSL_free(ssl);
		}
	}
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	(void)poll(all, count, 0);
	for (size_t i = 0; i < count; i++)
		closed += all[i].revents != 0;
	printf("closed %zu\n", closed);
	free(all);
}

/* on_session() - A ticket came */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct shaker *s = SSL_get_app_data(ssl);

	if (!s || !s->resume)
		return 0;
	SSL_SESSION_free(s->session);
	s->session = session;
	return 1;
}

static void *shake(void *user)
{
	struct shaker *s = user;

	while (clock_boottime() < s->ends) {
		int fd = dial();
		SSL *ssl = fd < 0 ? NULL : secure(s->tls, fd, s);
		bool good = ssl && fetch(ssl, fd);

		s->resumed += good && SSL_session_reused(ssl);
		if (ssl) /* else its session counts as broken */
			SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(ssl);
		s->done += good;
		s->failed += !good;
		if (fd >= 0)
			close(fd);
	}
	SSL_SESSION_free(s->session);
	return NULL;
}

static void shake_all(SSL_CTX *tls, long seconds, bool resume)
{
	struct shaker all[THREADS] = {0};
	unsigned long done = 0, failed = 0, resumed = 0;

	for (int i = 0; i < THREADS; i++) {
		all[i].tls = tls;
		all[i].resume = resume;
		all[i].ends = clock_boottime() + seconds * NSEC_PER_SEC;
		if (pthread_create(&all[i].thread, NULL, shake, &all[i]) != 0)
			die("a thread");
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(all[i].thread, NULL);
		done += all[i].done;
		failed += all[i].failed;
		resumed += all[i].resumed;
	}
	printf("handshakes %lu failed %lu resumed %lu\n", done, failed, resumed);
}

int main(int argc, char **argv)
{
	SSL_CTX *tls = NULL;
	struct rlimit limit;
	bool shakes;

	if (argc != 7) {
		fprintf(stderr,
			"usage: serve_load ADDRESS PORT NAME idle COUNT plain|tls\n"
			"       serve_load ADDRESS PORT NAME handshakes SECONDS full|resumed\n");
		return 2;
	}
	shakes = strcmp(argv[4], "handshakes") == 0;
	name = argv[3];
	to.sin_family = AF_INET;
	to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		die("the address");
	snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", name,
		 shakes ? "Connection: close\r\n" : "");
	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (shakes || strcmp(argv[6], "tls") == 0) {
		tls = SSL_CTX_new(TLS_client_method());
		if (!tls)
			die("allocate");
		SSL_CTX_set_session_cache_mode(tls,
					       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(tls, on_session);
	}
	if (shakes)
		shake_all(tls, strtol(argv[5], NULL, 10), strcmp(argv[6], "resumed") == 0);
	else
		stay(tls, strtoul(argv[5], NULL, 10));
	SSL_CTX_free(tls);
	return 0;
}
