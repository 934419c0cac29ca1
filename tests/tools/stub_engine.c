/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/stub_engine.c - stands where pillion-engine will, for the supervisor's tests
 *
 * In the engine's sandbox, on the engine's client; it does what a test tells it through
 * the LocalAPI socket: a line in, an answer, and the connection is closed.
 *
 *	config             file N             store N TEXT       load N
 *	socket KIND FAMILY network [delta] [PREFIX…] [route PREFIX…] [gone PREFIX…] [down]
 *	status N TEXT      handover [TEXT]    udp                tun
 *	events             interfaces         stop-ignored       garbage
 *	hang-up            crash              forbidden          log COUNT
 *	thread             leak               flood COUNT
 */
#include "base/cleanup.h"
#include "privsep/privsep_client.h"
#include "sandbox/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_ROOM "stub"
#include "base/log.h"

static struct {
	struct privsep_client *client;
	struct privsep_start_message start;
	struct sandbox_report report;
	char events[1024];
	char interfaces[2048];
	bool stop, ignore_stop;
	void *volatile leak;
} stub;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
	size_t used = strlen(stub.events);
	va_list args;

	va_start(args, format);
	vsnprintf(stub.events + used, sizeof(stub.events) - used, format, args);
	va_end(args);
}

static void on_interfaces(void *userdata, const struct interfaces *interfaces)
{
	size_t used = 0;

	(void)userdata;
	note("interfaces;");
	stub.interfaces[0] = 0;
	for (size_t i = 0; i < interfaces->count; i++) {
		char text[PREFIX_TEXT_MAX];

		used += (size_t)snprintf(stub.interfaces + used, sizeof(stub.interfaces) - used,
					 "%s=%s;", interfaces->list[i].name,
					 prefix_format(&interfaces->list[i].prefix, text));
	}
	for (size_t i = 0; i < interfaces->route_count; i++) {
		char text[ADDRESS_TEXT_MAX];

		used += (size_t)snprintf(stub.interfaces + used, sizeof(stub.interfaces) - used,
					 "default=%s;",
					 address_format(&interfaces->routes[i].gateway, text));
	}
}

static void on_file(void *userdata, enum privsep_file_name name, int fd)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(65536);
	const char *said;

	(void)userdata;
	if (fd >= 0)
		(void)file_read(fd, 65536, &text);
	said = text.data ? (const char *)text.data + text.start : "";
	note("file %d %d %.*s;", name, fd < 0 ? fd : 0, (int)text.length, said);
	if (fd >= 0)
		close(fd);
}

static void on_stop(void *userdata)
{
	(void)userdata;
	note("stop;");
	stub.stop = !stub.ignore_stop;
}

static const struct privsep_client_handlers handlers = {
	.interfaces = on_interfaces,
	.file_changed = on_file,
	.stop = on_stop,
};

/* Answers of asynchronous requests: dispatch until one came. */
static struct {
	bool done;
	int result;
	char text[PRIVSEP_TEXT_MAX];
} async;

static void on_done(void *userdata, int result, const char *text)
{
	(void)userdata;
	async.done = true;
	async.result = result;
	snprintf(async.text, sizeof(async.text), "%s", text);
}

static void await(int r, FILE *out)
{
	struct pollfd wait = {.fd = privsep_client_fd(stub.client), .events = POLLIN};

	if (r < 0) {
		fprintf(out, "%d", r);
		return;
	}
	for (async.done = false; !async.done;)
		if (poll(&wait, 1, 5000) != 1 || privsep_client_dispatch(stub.client) < 0)
			break;
	fprintf(out, "%d %s", async.done ? async.result : -ETIMEDOUT, async.text);
}

static void print_fd(int fd, FILE *out)
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(4 << 20);

	if (fd < 0 || file_read(fd, 4 << 20, &text) < 0) {
		fprintf(out, "%d", fd);
		return;
	}
	/* Read-only must hold. */
	fprintf(out, "%s:%.*s", (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY ? "ro" : "rw",
		(int)text.length, (const char *)buffer_head(&text));
	close(fd);
}

static void do_config(FILE *out)
{
	const struct privsep_start *config = &stub.start.config;

	fprintf(out,
		"pid=%d crash_count=%u last_crash=%s udp_port=%u auth_key=%d "
		"health=%d warnings=%s missing=%s split=%d",
		getpid(), config->crash_count, config->last_crash ?: "-", config->udp_port,
		config->auth_key_present, stub.start.health >= 0, config->warnings ?: "-",
		stub.report.missing[0] ? stub.report.missing : "-", stub.report.split_user);
}

static void do_socket(const char *arguments, FILE *out)
{
	struct socket_source *sockets = privsep_client_sockets(stub.client);
	unsigned int kind = 0, family = 4, mark = 0, times = 1;
	socklen_t length = sizeof(mark);
	int fd = -1, flags;

	sscanf(arguments, "%u %u %u", &kind, &family, &times);
	while (times-- > 0) {
		if (fd >= 0)
			close(fd);
		fd = sockets->open(sockets, (enum socket_kind)kind, (enum address_family)family);
		if (fd < 0)
			break;
	}
	if (fd < 0) {
		fprintf(out, "%d", fd);
		return;
	}
	flags = fcntl(fd, F_GETFL);
	getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &length);
	fprintf(out, "mark=%x nonblock=%d remark=%d", mark, (flags & O_NONBLOCK) != 0,
		setsockopt(fd, SOL_SOCKET, SO_MARK, &(int){0}, sizeof(int)) < 0 ? errno : 0);
	close(fd);
}

static void do_network(char *arguments, FILE *out)
{
	static uint32_t number;
	struct privsep_network network = {.up = true, .netfilter = true, .number = ++number};
	struct prefix addresses[8], routes[300], gone[8];
	struct prefixes *list = &network.addresses;

	network.addresses.list = addresses;
	network.routes.list = routes;
	network.gone.list = gone;
	for (char *word = strtok(arguments, " "); word; word = strtok(NULL, " ")) {
		if (strcmp(word, "route") == 0)
			list = &network.routes;
		else if (strcmp(word, "gone") == 0)
			list = &network.gone;
		else if (strcmp(word, "delta") == 0)
			network.delta = true;
		else if (strcmp(word, "down") == 0)
			network.up = false;
		else
			prefix_parse(word, strlen(word), &list->list[list->count++]);
	}
	await(privsep_client_network(stub.client, &network, on_done, NULL), out);
}

static void do_handover(const char *text, FILE *out)
{
	_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(HANDOVER_PAYLOAD_MAX);
	int r;

	if (*text) {
		fprintf(out, "%d", handover_write(stub.start.handover, text, strlen(text)));
		return;
	}
	r = handover_read(stub.start.handover, &got);
	fprintf(out, "%d %.*s", r, (int)got.length, (const char *)buffer_head(&got));
}

static void do_udp(FILE *out)
{
	char bytes[256];
	ssize_t n = recv(stub.start.udp_v4, bytes, sizeof(bytes), MSG_DONTWAIT);

	fprintf(out, "v4=%d v6=%d got=%.*s", stub.start.udp_v4 >= 0, stub.start.udp_v6 >= 0,
		n < 0 ? 0 : (int)n, bytes);
}

static void do_tun(FILE *out)
{
	uint8_t packet[2048];
	ssize_t n;
	int packets = 0;

	for (size_t i = 0; i < stub.start.tun_count; i++)
		while ((n = read(stub.start.tun[i], packet, sizeof(packet))) > 0)
			packets++;
	fprintf(out, "queues=%zu packets=%d", stub.start.tun_count, packets);
}

static void *idle_thread(void *argument)
{
	struct pollfd never = {.fd = -1};

	(void)argument;
	for (;;)
		(void)poll(&never, 1, -1);
	return NULL;
}

/* many_routes() - A wish with @count routes, as a sealed memfd */
static int many_routes(uint32_t first, size_t count)
{
	_cleanup_(buffer_free) struct buffer bytes = BUFFER_INIT(PRIVSEP_NETWORK_MAX);
	struct prefix *routes = calloc(count, sizeof(*routes));
	struct privsep_network network = {
		.up = true, .netfilter = true, .routes = {routes, count, count}};
	int fd = -ENOMEM;

	for (size_t i = 0; routes && i < count; i++) {
		uint32_t at = htonl(first + (uint32_t)i);

		routes[i] = (struct prefix){.bits = 32};
		routes[i].address = address_v4((const uint8_t *)&at);
	}
	if (routes && privsep_network_encode(&network, &bytes) == 0)
		fd = memfd_seal("flood", buffer_head(&bytes), bytes.length);
	free(routes);
	return fd;
}

/* do_flood() - All that a captured engine can ask, as fast as it can, until it is stopped */
static void do_flood(size_t count)
{
	const int wishes[] = {many_routes(0x64400001, count), many_routes(0x64600001, count)};
	struct pollfd channel = {.fd = PRIVSEP_CHANNEL_FD};
	int open = 0; /* requests without an answer: who has more is killed if it is slow to read */

	for (unsigned int i = 0;; i++) {
		union privsep_message network = {.header = {PRIVSEP_NETWORK, i + 1}};
		union privsep_message load = {.blob = {.header = {PRIVSEP_LOAD, i + 1}}};
		char answer[sizeof(union privsep_message)];
		ssize_t length;
		int r = -EAGAIN;

		while ((length = recv(PRIVSEP_CHANNEL_FD, answer, sizeof(answer), MSG_DONTWAIT)) >
		       0)
			open--;
		if (length == 0)
			return; /* the supervisor is gone */
		channel.events = open < 60 ? POLLOUT : POLLIN;
		if (open < 60)
			r = privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_ENGINE, &network,
					 &wishes[i % 2], 1);
		if (r == 0) {
			open++;
			r = privsep_send(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_ENGINE, &load, NULL, 0);
			open += r == 0;
		}
		if (r == -EAGAIN)
			(void)poll(&channel, 1, 1);
		else if (r < 0)
			return;
	}
}

static void act(char *line, FILE *out)
{
	char *arguments = strchr(line, ' ');
	pthread_t thread;

	if (arguments)
		*arguments++ = 0;
	else
		arguments = line + strlen(line);
	if (strcmp(line, "config") == 0)
		do_config(out);
	else if (strcmp(line, "file") == 0)
		print_fd(privsep_client_open_file(stub.client,
						  (enum privsep_file_name)atoi(arguments)),
			 out);
	else if (strcmp(line, "store") == 0)
		await(privsep_client_store(stub.client, (enum privsep_blob_name)atoi(arguments),
					   arguments + 2, strlen(arguments + 2), on_done, NULL),
		      out);
	else if (strcmp(line, "load") == 0) {
		_cleanup_(buffer_free) struct buffer got = BUFFER_INIT(4 << 20);
		struct error err = {0};
		int r = privsep_client_load(stub.client, (enum privsep_blob_name)atoi(arguments),
					    4 << 20, &got, &err);

		fprintf(out, "%d %s%.*s", r, err.text, (int)got.length,
			(const char *)buffer_head(&got));
	} else if (strcmp(line, "socket") == 0)
		do_socket(arguments, out);
	else if (strcmp(line, "network") == 0)
		do_network(arguments, out);
	else if (strcmp(line, "status") == 0)
		fprintf(out, "%d",
			privsep_client_status(stub.client, (enum privsep_state)atoi(arguments),
					      arguments + 2));
	else if (strcmp(line, "handover") == 0)
		do_handover(arguments, out);
	else if (strcmp(line, "udp") == 0)
		do_udp(out);
	else if (strcmp(line, "tun") == 0)
		do_tun(out);
	else if (strcmp(line, "events") == 0)
		fprintf(out, "%s", stub.events);
	else if (strcmp(line, "interfaces") == 0)
		fprintf(out, "%s", stub.interfaces);
	else if (strcmp(line, "flood") == 0)
		do_flood((size_t)atol(arguments));
	else if (strcmp(line, "stop-ignored") == 0)
		stub.ignore_stop = true;
	else if (strcmp(line, "garbage") == 0)
		fprintf(out, "%zd", send(PRIVSEP_CHANNEL_FD, "garbage", 7, 0));
	else if (strcmp(line, "hang-up") == 0)
		shutdown(PRIVSEP_CHANNEL_FD, SHUT_RDWR);
	else if (strcmp(line, "crash") == 0)
		abort();
	else if (strcmp(line, "forbidden") == 0)
		fprintf(out, "%d", socket(AF_INET, SOCK_STREAM, 0));
	else if (strcmp(line, "leak") == 0)
		stub.leak = malloc(1234), stub.leak = NULL;
	else if (strcmp(line, "thread") == 0)
		fprintf(out, "%d", pthread_create(&thread, NULL, idle_thread, NULL));
	else if (strcmp(line, "log") == 0)
		for (int i = 0, count = atoi(arguments); i < count; i++)
			log_info("line %d of %d %0200d", i, count, i);
	else if (strcmp(line, "log-raw") == 0)
		/* A captured engine might send this: an escape sequence that clears a terminal. */
		(void)!write(STDERR_FILENO, "raw\033[2J\rline\n", 14);
	else
		fprintf(out, "unknown command %s", line);
}

static void serve(int connection)
{
	static char line[65536], answer[4 << 20];
	size_t used = 0;
	ssize_t n;
	FILE *out;

	while (used < sizeof(line) - 1 && !memchr(line, '\n', used) &&
	       (n = read(connection, line + used, sizeof(line) - 1 - used)) > 0)
		used += (size_t)n;
	line[used] = 0;
	line[strcspn(line, "\n")] = 0;
	out = fmemopen(answer, sizeof(answer), "w");
	if (!out)
		return;
	act(line, out);
	fflush(out);
	used = (size_t)ftell(out);
	fclose(out);
	for (size_t put = 0; put < used; put += (size_t)n) {
		n = write(connection, answer + put, used - put);
		if (n <= 0)
			break;
	}
}

static int prepare(const char *identity_text, struct error *err)
{
	struct sandbox_identity identity;
	int r;

	if (sandbox_identity_parse(identity_text, &identity) < 0)
		return error_set(err, -EINVAL, "no identity");
	r = sandbox_enter(&sandbox_profile_engine, &identity, NULL, 0, &stub.report, err);
	if (r == 0)
		r = privsep_client_new(PRIVSEP_CHANNEL_FD, PRIVSEP_FROM_ENGINE, &handlers, NULL,
				       &stub.client);
	if (r == 0)
		r = privsep_client_start(stub.client, &stub.start, err);
	if (r == 0)
		r = sandbox_seal(&sandbox_profile_engine, &stub.report, err);
	return r;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	int r = argc == 2 ? prepare(argv[1], &err) : -EINVAL;

	if (r < 0) {
		log_error("%d %s", r, err.text);
		return EXIT_FAILURE;
	}
	while (!stub.stop) {
		struct pollfd wait[2] = {
			{.fd = privsep_client_fd(stub.client), .events = POLLIN},
			{.fd = stub.start.localapi, .events = POLLIN},
		};

		if (poll(wait, 2, -1) < 0)
			continue;
		if (wait[0].revents && privsep_client_dispatch(stub.client) < 0)
			return EXIT_FAILURE;
		if (wait[1].revents) {
			int connection = accept4(stub.start.localapi, NULL, NULL, SOCK_CLOEXEC);

			if (connection >= 0) {
				serve(connection);
				close(connection);
			}
		}
	}
	privsep_start_message_clear(&stub.start);
	privsep_client_free(stub.client);
	return EXIT_SUCCESS;
}
