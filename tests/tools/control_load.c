/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/control_load.c - nodes of a coordination server by the thousand
 *
 * Usage: control_load ADDRESS:PORT SERVER-KEY KEYS-FILE NODES AT-ONCE [tls]
 *
 * Node i registers with line i modulo lines of KEYS-FILE: nodes of one line are a group; by
 * the server's policy they see only each other. All of them on one event loop. First they
 * all join; then commands on stdin, one a line, each answered by one line of JSON:
 *
 *	join COUNT	COUNT nodes more, one after the other: when each node of the joiner's group
 *			has heard of it, counted from when its register request left, and how many
 *			bytes that was, until all is quiet again
 *	burst COUNT	the same at once
 *	reconnect	cut all connections at once, and wait until all have a map again
 *	quit
 *
 * bench/control.py drives it.
 */
#include "load_node.h"

#include "base/cleanup.h"
#include "wire/json.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define TICK_MS  5
#define QUIET    NSEC_PER_SEC
#define PATIENCE (30 * NSEC_PER_SEC) /* for a join to be known to all */
#define RETRY    NSEC_PER_SEC
#define ATTEMPTS 20u

enum phase {
	PHASE_CONNECT, /* until all have joined */
	PHASE_IDLE,
	PHASE_JOIN,  /* until all concerned have heard of it */
	PHASE_QUIET, /* until no more comes because of it */
};

/* Numbers, and how they lie. */
struct sample {
	double *items;
	size_t count, room;
};

struct load {
	struct load_server server;
	uv_loop_t loop;
	uv_timer_t tick;
	uv_pipe_t input;
	char line[128];
	size_t line_length;

	char **keys;
	uint32_t key_count;
	struct load_node *nodes;
	uint32_t count, room; /* nodes that there are, and places */
	uint32_t next;        /* the first node that has not started */
	uint32_t at_once, under_way;
	uint32_t joined_count;
	uint64_t failures;
	char failure[256];

	enum phase phase;
	nanoseconds phase_since, last_message;
	uint32_t first; /* of those that join now */
	uint32_t left;  /* joins to go, after those */
	uint32_t batch; /* how many at once */
	bool reconnecting;

	/* Of the joins of one command. */
	uint32_t joins;
	uint64_t missed, unexpected, messages, full_maps, pairs;
	struct sample latency, own, bytes;
};

static struct load load;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "control_load: %s\n", what);
	exit(1);
}

static void sample_add(struct sample *s, double value)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->items = reallocarray(s->items, s->room, sizeof(*s->items));
		if (!s->items)
			die("out of memory");
	}
	s->items[s->count++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* sample_put() - Median, 99th percentile and the largest, and forget them */
static void sample_put(struct json_writer *w, const char *name, struct sample *s)
{
	json_begin_object(w, name);
	if (s->count) {
		qsort(s->items, s->count, sizeof(*s->items), compare);
		json_put_number(w, "p50", s->items[s->count / 2]);
		json_put_number(w, "p99", s->items[s->count * 99 / 100]);
		json_put_number(w, "max", s->items[s->count - 1]);
	}
	json_end_object(w);
	s->count = 0;
}

static void print_line(struct json_writer *w, struct buffer *text)
{
	json_end_object(w);
	if (json_writer_result(w) < 0)
		die("no room for the answer");
	printf("%.*s\n", (int)text->length, (char *)buffer_head(text));
	fflush(stdout);
	buffer_free(text);
}

/* Nodes */

static void start_more(void)
{
	while (load.under_way < load.at_once && load.next < load.count) {
		struct load_node *n = &load.nodes[load.next++];

		load.under_way++;
		load_node_start(n);
	}
}

static void on_joined(struct load_node *n)
{
	n->attempts = 0;
	load.joined_count++;
	load.under_way--;
}

static void on_failed(struct load_node *n, const char *why)
{
	load.failures++;
	snprintf(load.failure, sizeof(load.failure), "%s", why);
	if (++n->attempts > ATTEMPTS) {
		fprintf(stderr, "node %u: %s\n", n->number, why);
		die("a node can't join");
	}
	n->retry_at = clock_boottime() + RETRY;
}

/* mentions() - Whether the text has the node's name */
static bool mentions(const char *text, size_t length, const struct load_node *n)
{
	char name[32];
	int size = snprintf(name, sizeof(name), "\"Name\":\"n%05u.", n->number);

	return memmem(text, length, name, (size_t)size) != NULL;
}

static void on_message(struct load_node *n, const char *text, size_t length)
{
	nanoseconds now = clock_boottime();

	load.last_message = now;
	if (load.phase != PHASE_JOIN && load.phase != PHASE_QUIET)
		return;
	for (uint32_t i = load.first; i < load.count; i++) {
		const struct load_node *joiner = &load.nodes[i];

		if (n->number >= load.first || !mentions(text, length, joiner))
			continue;
		if (n->group != joiner->group) {
			load.unexpected++;
			continue;
		}
		/* One number for a node is enough: in a burst the first that it hears of. */
		if (n->seen_at == 0) {
			n->seen_at = now;
			sample_add(&load.latency, (double)(now - joiner->registering_at) / 1e6);
		}
	}
}

/* concerned() - The number of nodes of its group that join now */
static uint32_t concerned(const struct load_node *n)
{
	uint32_t count = 0;

	for (uint32_t i = load.first; i < load.count; i++)
		count += load.nodes[i].group == n->group;
	return count;
}

static void add_node(void)
{
	struct load_node *n = &load.nodes[load.count];

	if (load.count == load.room)
		die("too many joins in all");
	*n = (struct load_node){
		.server = &load.server,
		.number = load.count,
		.group = load.count % load.key_count,
		.auth_key = load.keys[load.count % load.key_count],
		.fd = -1,
	};
	load.count++;
	secret_key_generate(&n->machine);
	randombytes_buf(n->key.bytes, KEY_SIZE);
	randombytes_buf(n->disco.bytes, KEY_SIZE);
}

/* Phases */

static void enter(enum phase phase)
{
	load.phase = phase;
	load.phase_since = load.last_message = clock_boottime();
}

static void begin_join(void)
{
	load.first = load.count;
	for (uint32_t i = 0; i < load.batch; i++)
		add_node();
	for (uint32_t i = 0; i < load.first; i++) {
		struct load_node *n = &load.nodes[i];

		n->seen_at = 0;
		n->messages = n->full_maps = n->keep_alives = 0;
		n->bytes_before = load_node_received(n);
	}
	load.joins += load.batch;
	load.left -= load.batch;
	enter(PHASE_JOIN);
	start_more();
}

/* all_heard() - Whether the joiners are done and all concerned know of them */
static bool all_heard(void)
{
	if (load.under_way || load.next < load.count)
		return false;
	for (uint32_t i = 0; i < load.first; i++)
		if (load.nodes[i].seen_at == 0 && concerned(&load.nodes[i]))
			return false;
	return true;
}

static void end_join(void)
{
	for (uint32_t i = load.first; i < load.count; i++)
		sample_add(&load.own,
			   (double)(load.nodes[i].mapped_at - load.nodes[i].registering_at) / 1e6);
	for (uint32_t i = 0; i < load.first; i++) {
		struct load_node *n = &load.nodes[i];
		uint64_t received = load_node_received(n) - n->bytes_before;
		uint32_t joiners = concerned(n);

		if (!joiners) {
			load.unexpected += n->messages > 0;
			continue;
		}
		load.pairs++;
		load.missed += n->seen_at == 0;
		load.messages += n->messages;
		load.full_maps += n->full_maps;
		/* A keep-alive that came by chance is none of the join's. */
		if (n->keep_alives == 0)
			sample_add(&load.bytes, (double)received / joiners);
	}
}

static void report_joins(void)
{
	struct buffer text = BUFFER_INIT(65536);
	struct json_writer w = json_writer_to(&text);

	json_begin_object(&w, NULL);
	json_put_int(&w, "joins", load.joins);
	json_put_int(&w, "told", (int64_t)load.pairs);
	json_put_int(&w, "missed", (int64_t)load.missed);
	json_put_int(&w, "unexpected", (int64_t)load.unexpected);
	json_put_int(&w, "full_maps", (int64_t)load.full_maps);
	json_put_number(&w, "messages",
			load.pairs ? (double)load.messages / (double)load.pairs : 0);
	sample_put(&w, "reached_ms", &load.latency);
	sample_put(&w, "own_map_ms", &load.own);
	sample_put(&w, "bytes", &load.bytes);
	json_put_int(&w, "failures", (int64_t)load.failures);
	print_line(&w, &text);
	load.joins = 0;
	load.missed = load.unexpected = load.messages = load.full_maps = load.pairs = 0;
}

static void report_connected(nanoseconds now)
{
	struct buffer text = BUFFER_INIT(65536);
	struct json_writer w = json_writer_to(&text);

	json_begin_object(&w, NULL);
	json_put_int(&w, "nodes", load.count);
	json_put_number(&w, "seconds", (double)(now - load.phase_since) / 1e9);
	json_put_int(&w, "failures", (int64_t)load.failures);
	json_put_string_if(&w, "failure", load.failure);
	print_line(&w, &text);
}

static void retry(nanoseconds now)
{
	for (uint32_t i = 0; i < load.next; i++) {
		struct load_node *n = &load.nodes[i];

		if (n->stage != LOAD_IDLE || n->retry_at > now)
			continue;
		load_node_start(n);
	}
}

static void on_tick(uv_timer_t *timer)
{
	static nanoseconds retried;
	nanoseconds now = clock_boottime();

	(void)timer;
	if (now - retried > NSEC_PER_SEC / 4) {
		retry(now);
		retried = now;
	}
	start_more();
	switch (load.phase) {
	case PHASE_CONNECT:
		if (load.under_way == 0 && load.next == load.count) {
			report_connected(now);
			enter(PHASE_IDLE);
		}
		break;
	case PHASE_JOIN:
		if (all_heard() || now - load.phase_since > PATIENCE)
			enter(PHASE_QUIET);
		break;
	case PHASE_QUIET:
		if (now - load.last_message < QUIET)
			break;
		end_join();
		enter(PHASE_IDLE);
		if (load.left)
			begin_join();
		else
			report_joins();
		break;
	case PHASE_IDLE:
		break;
	}
}

/* reconnect() - As when the server was away for a moment */
static void reconnect(void)
{
	enter(PHASE_CONNECT);
	for (uint32_t i = 0; i < load.count; i++) {
		struct load_node *n = &load.nodes[i];

		n->stage = LOAD_IDLE;
		http2_close(TAKE_PTR(n->http2));
		stream_close(TAKE_PTR(n->stream));
		buffer_free(&n->frames);
		n->fd = -1;
	}
	load.joined_count = load.next = 0;
}

/* Commands */

static void run_command(const char *line)
{
	unsigned int count = 0;

	if (load.phase != PHASE_IDLE)
		die("a command before the last one's answer");
	if (strcmp(line, "quit") == 0) {
		uv_stop(&load.loop);
	} else if (strcmp(line, "reconnect") == 0) {
		reconnect();
	} else if (sscanf(line, "join %u", &count) == 1 && count) {
		load.left = count;
		load.batch = 1;
		begin_join();
	} else if (sscanf(line, "burst %u", &count) == 1 && count) {
		load.left = load.batch = count;
		begin_join();
	} else {
		die("unknown command");
	}
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	(void)suggested;
	*buf = uv_buf_init(load.line + load.line_length,
			   (unsigned int)(sizeof(load.line) - 1 - load.line_length));
}

static void on_input(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
	char *end;

	(void)stream;
	(void)buf;
	if (count < 0) {
		uv_stop(&load.loop);
		return;
	}
	load.line_length += (size_t)count;
	load.line[load.line_length] = '\0';
	while ((end = strchr(load.line, '\n'))) {
		*end++ = '\0';
		run_command(load.line);
		load.line_length -= (size_t)(end - load.line);
		memmove(load.line, end, load.line_length + 1);
	}
}

/* Start */

static void read_keys(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t size = 0;
	char *line = NULL;
	ssize_t length;

	if (!file)
		die("the file of keys can't be read");
	while ((length = getline(&line, &size, file)) > 0) {
		line[length - 1] = '\0';
		load.keys = reallocarray(load.keys, load.key_count + 1, sizeof(*load.keys));
		if (!load.keys || !(load.keys[load.key_count++] = strdup(line)))
			die("out of memory");
	}
	free(line);
	fclose(file);
	if (!load.key_count)
		die("no keys");
}

/* allow_files() - A connection a node; the limit is the environment's to raise */
static void allow_files(uint32_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < wanted + 64)
		die("RLIMIT_NOFILE is too low for so many nodes");
}

int main(int argc, char **argv)
{
	unsigned long nodes = argc > 5 ? strtoul(argv[4], NULL, 10) : 0;
	struct error err = {0};

	if (argc < 6 || nodes == 0 || nodes > 1000000 ||
	    endpoint_parse(argv[1], strlen(argv[1]), &load.server.at) < 0 ||
	    public_key_parse(argv[2], strlen(argv[2]), KEY_MACHINE, &load.server.key) < 0)
		die("usage: control_load ADDRESS:PORT SERVER-KEY KEYS-FILE NODES AT-ONCE [tls]");
	(void)signal(SIGPIPE, SIG_IGN);
	if (sodium_init() < 0 || uv_loop_init(&load.loop) < 0 || tls_init(&err) < 0 ||
	    (argc > 6 && tls_context_create(&load.server.tls, &err) < 0))
		die("no start");
	read_keys(argv[3]);
	load.at_once = (uint32_t)strtoul(argv[5], NULL, 10);
	load.room = (uint32_t)nodes + 20000;
	load.nodes = calloc(load.room, sizeof(*load.nodes));
	allow_files((uint32_t)nodes);
	load.server.loop = &load.loop;
	load.server.zstd = ZSTD_createDCtx();
	load.server.text = BUFFER_INIT(SIZE_MAX);
	load.server.joined = on_joined;
	load.server.message = on_message;
	load.server.failed = on_failed;
	if (!load.nodes || !load.server.zstd || load.at_once == 0)
		die("no start");
	while (load.count < nodes)
		add_node();
	uv_timer_init(&load.loop, &load.tick);
	uv_timer_start(&load.tick, on_tick, 0, TICK_MS);
	uv_pipe_init(&load.loop, &load.input, 0);
	if (uv_pipe_open(&load.input, STDIN_FILENO) < 0 ||
	    uv_read_start((uv_stream_t *)&load.input, allocate, on_input) < 0)
		die("no input");
	enter(PHASE_CONNECT);
	uv_run(&load.loop, UV_RUN_DEFAULT);
	return 0; /* the system takes the rest back faster than we could */
}
