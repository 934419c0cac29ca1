/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/control_faults.c - a coordination server with faults on demand
 *
 *	control_faults PORT URL-OF-A-REAL-SERVER
 *
 * Serves plain HTTP. Commands on stdin, each answered by "ok":
 *
 *	answer PATH STATUS FILE|- [open] [Name:Value]…	requests of PATH get this; open: no end
 *	hold PATH		requests of PATH are not answered
 *	insert FILE [TIMES]	into every map stream, between two frames
 *	silence			map streams pass nothing on
 *	raw FILE		to every client, below Noise
 *	upgrade FILE		after the 101, instead of Noise
 *	early FILE		inside of Noise, before HTTP/2
 *	rekey			have another key
 *	cut			close all connections
 *	clear			end all faults; forward the answers held back
 *
 * How it works stands in faults.h.
 */
#include "faults.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "transport/http_client.h"
#include "wire/tailcfg.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 16

/* A connection that was upgraded and then got anything but Noise. */
struct stray {
	struct stray *next, **place;
	struct stream *stream;
};

void faults_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

struct fault *faults_of(const struct faults *f, const char *path)
{
	struct fault *fault = f->list;

	while (fault && strcmp(fault->path, path) != 0)
		fault = fault->next;
	return fault;
}

/* The real server's key */

static void on_key(void *user, const struct http_response *response, const struct error *failure)
{
	struct tailcfg_server_keys keys;
	struct faults *f = user;
	struct error err = {0};

	f->key_fetch = NULL;
	if (failure)
		err = *failure;
	else if (response->head->status != 200)
		error_set(&err, -EPROTO, "HTTP %d", response->head->status);
	else
		(void)tailcfg_server_keys_parse(response->body, response->body_length, &keys, &err);
	if (err.code < 0) {
		faults_say("the key behind: %s", err.text);
	} else {
		f->behind_key = keys.public_key;
		f->have_behind_key = true;
	}
	links_go_on(f, err.code < 0 ? &err : NULL);
}

void faults_fetch_key(struct faults *f)
{
	const struct tls_options tls = {.host = f->behind.host, .insecure = true};
	char target[32];
	struct http_request request = {
		.to = {.host = f->behind.host,
		       .port = f->behind.port,
		       .tls = f->behind.tls ? &tls : NULL},
		.target = target,
		.body_limit = LIMIT_KEY_BODY,
	};
	struct error err;

	if (f->key_fetch)
		return;
	snprintf(target, sizeof(target), "/key?v=%d", TAILCFG_CAPABILITY_VERSION);
	if (http_start(&f->dialer, &request, on_key, f, &f->key_fetch, &err) < 0)
		faults_say("the key behind: %s", err.text);
}

/* HTTP/1 */

static void stray_closed(void *user, const struct error *err)
{
	struct stray *stray = user;

	(void)err;
	*stray->place = stray->next;
	if (stray->next)
		stray->next->place = stray->place;
	stream_close(stray->stream);
	free(stray);
}

static const struct stream_events stray_events = {.closed = stray_closed};

static void keep_stray(struct faults *f, struct stream *stream)
{
	struct stray *stray = calloc(1, sizeof(*stray));

	if (!stray)
		abort();
	stray->stream = stream;
	stray->next = f->strays;
	stray->place = &f->strays;
	if (stray->next)
		stray->next->place = &stray->next;
	f->strays = stray;
	stream_set_events(stream, &stray_events, stray);
	(void)stream_write(stream, buffer_head(&f->upgrade), f->upgrade.length);
	stream_resume(stream);
}

static void serve_upgrade(struct faults *f, struct http1_exchange *x)
{
	const char *text = http1_header(x->head, "X-Tailscale-Handshake");
	uint8_t initiation[TS2021_INITIATION_SIZE], response[TS2021_RESPONSE_SIZE];
	struct buffer head = BUFFER_INIT(0);
	struct ts2021_session session;
	struct stream *below, *noise;
	struct public_key machine;
	struct error err;
	uint16_t version;
	size_t length;

	if (f->upgrade.length) {
		below = http1_upgrade(x, TS2021_PROTOCOL, &head);
		if (below)
			keep_stray(f, below);
		buffer_free(&head);
		return;
	}
	if (!text ||
	    sodium_base642bin(initiation, sizeof(initiation), text, strlen(text), NULL, &length,
			      NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    length != sizeof(initiation) ||
	    ts2021_server_accept(&f->key, initiation, NULL, response, &machine, &version,
				 &session) < 0) {
		http1_reply_text(x, 400, "the handshake is not for this server's key");
		return;
	}
	below = http1_upgrade(x, TS2021_PROTOCOL, &head);
	if (below && stream_write(below, response, sizeof(response)) == 0 &&
	    ts2021_session_stream(&session, below, buffer_head(&head), head.length, &noise, &err) ==
		    0)
		link_open(f, noise, below, &machine);
	buffer_free(&head);
}

static void serve_key(const struct faults *f, struct http1_exchange *x)
{
	char key[KEY_TEXT_MAX], body[256];
	int length;

	public_key_format(&f->public, KEY_MACHINE, key);
	length = snprintf(body, sizeof(body), "{\"publicKey\":\"%s\"}", key);
	http1_reply(x, 200, "application/json", body, (size_t)length);
}

static void serve(void *user, struct http1_exchange *x)
{
	struct faults *f = user;
	struct fault *fault = faults_of(f, x->path);

	faults_say("%s%s", x->path, fault ? ": a fault" : "");
	if (fault && !fault->hold) {
		for (size_t i = 0; i < fault->header_count; i++) {
			char name[64] = "";
			const char *colon = strchr(fault->headers[i], ':');

			snprintf(name, sizeof(name), "%.*s", (int)(colon - fault->headers[i]),
				 fault->headers[i]);
			http1_reply_header(x, name, colon + 1);
		}
		http1_reply(x, fault->status, "text/html", buffer_head(&fault->body),
			    fault->body.length);
	} else if (!fault && strcmp(x->path, "/key") == 0) {
		serve_key(f, x);
	} else if (!fault && strcmp(x->path, "/ts2021") == 0) {
		serve_upgrade(f, x);
	} else if (!fault) {
		http1_reply_text(x, 404, "nothing here");
	}
}

/* Commands */

static bool read_file(const char *path, struct buffer *out)
{
	FILE *file = fopen(path, "rb");
	char piece[65536];
	size_t length;

	if (!file)
		return false;
	while ((length = fread(piece, 1, sizeof(piece), file)) > 0)
		(void)buffer_append(out, piece, length);
	fclose(file);
	return true;
}

/* replace() - @out becomes the contents of the file */
static bool replace(struct buffer *out, const char *path)
{
	buffer_free(out);
	*out = BUFFER_INIT(SIZE_MAX);
	return read_file(path, out);
}

static void fault_free(struct fault *fault)
{
	for (size_t i = 0; i < fault->header_count; i++)
		free(fault->headers[i]);
	buffer_free(&fault->body);
	free(fault->path);
	free(fault);
}

static void clear(struct faults *f)
{
	while (f->list) {
		struct fault *fault = f->list;

		f->list = fault->next;
		fault_free(fault);
	}
	buffer_free(&f->upgrade);
	buffer_free(&f->early);
	f->silent = false;
	while (f->strays)
		stray_closed(f->strays, NULL);
	links_release(f);
}

static struct fault *add_fault(struct faults *f, const char *path)
{
	struct fault *fault = calloc(1, sizeof(*fault));

	if (!fault)
		abort();
	fault->path = strdup(path);
	fault->body = BUFFER_INIT(SIZE_MAX);
	fault->next = f->list;
	f->list = fault;
	return fault;
}

static bool add_answer(struct faults *f, char **words, size_t count)
{
	struct fault *fault = add_fault(f, words[1]);

	fault->status = (int)strtol(words[2], NULL, 10);
	for (size_t i = 4; i < count; i++) {
		if (strcmp(words[i], "open") == 0)
			fault->open = true;
		else if (strchr(words[i], ':') && fault->header_count < ARRAY_SIZE(fault->headers))
			fault->headers[fault->header_count++] = strdup(words[i]);
	}
	return strcmp(words[3], "-") == 0 || read_file(words[3], &fault->body);
}

static bool insert(struct faults *f, const char *path, unsigned long times)
{
	struct buffer bytes = BUFFER_INIT(SIZE_MAX);
	bool good = read_file(path, &bytes);

	for (unsigned long i = 0; i < times && good; i++)
		links_insert(f, buffer_head(&bytes), bytes.length);
	buffer_free(&bytes);
	return good;
}

static bool raw(struct faults *f, const char *path)
{
	struct buffer bytes = BUFFER_INIT(SIZE_MAX);
	bool good = read_file(path, &bytes);

	if (good)
		links_raw(f, buffer_head(&bytes), bytes.length);
	buffer_free(&bytes);
	return good;
}

static void rekey(struct faults *f)
{
	secret_key_generate(&f->key);
	secret_key_public(&f->key, &f->public);
}

static bool run(struct faults *f, char **words, size_t count)
{
	const char *what = count ? words[0] : "";

	if (strcmp(what, "answer") == 0 && count >= 4)
		return add_answer(f, words, count);
	if (strcmp(what, "hold") == 0 && count == 2)
		return add_fault(f, words[1])->hold = true;
	if (strcmp(what, "insert") == 0 && count >= 2)
		return insert(f, words[1], count > 2 ? strtoul(words[2], NULL, 10) : 1);
	if (strcmp(what, "raw") == 0 && count == 2)
		return raw(f, words[1]);
	if (strcmp(what, "upgrade") == 0 && count == 2)
		return replace(&f->upgrade, words[1]);
	if (strcmp(what, "early") == 0 && count == 2)
		return replace(&f->early, words[1]);
	if (strcmp(what, "silence") == 0)
		f->silent = true;
	else if (strcmp(what, "rekey") == 0)
		rekey(f);
	else if (strcmp(what, "cut") == 0)
		links_cut(f);
	else if (strcmp(what, "clear") == 0)
		clear(f);
	else
		return false;
	return true;
}

struct input {
	struct faults *faults;
	uv_pipe_t pipe;
	char line[8192];
	size_t used;
};

static void run_line(struct faults *f, char *line)
{
	char *words[WORDS_MAX], *rest = NULL;
	size_t count = 0;

	for (char *word = strtok_r(line, " ", &rest); word && count < WORDS_MAX;
	     word = strtok_r(NULL, " ", &rest))
		words[count++] = word;
	faults_say("%s", run(f, words, count) ? "ok" : "no such command or file");
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct input *in = handle->data;

	(void)suggested;
	*buf = uv_buf_init(in->line + in->used, (unsigned int)(sizeof(in->line) - 1 - in->used));
}

static void on_input(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
	struct input *in = stream->data;
	char *end;

	(void)buf;
	if (count < 0) {
		uv_stop(&in->faults->loop);
		return;
	}
	in->used += (size_t)count;
	in->line[in->used] = 0;
	while ((end = strchr(in->line, '\n'))) {
		*end++ = 0;
		run_line(in->faults, in->line);
		in->used -= (size_t)(end - in->line);
		memmove(in->line, end, in->used + 1);
	}
}

/* Life */

static int set_up(struct faults *f, const char *port, const char *url, struct error *err)
{
	struct web_server_options web = {
		.loop = &f->loop,
		.body_limit = LIMIT_KEY_BODY,
		.serve = serve,
		.user = f,
	};
	struct endpoint at = {.address = {.family = ADDRESS_V6},
			      .port = (uint16_t)strtoul(port, NULL, 10)};
	int r = url_parse(url, &f->behind, err);

	if (r == 0)
		r = tls_init(err);
	if (r == 0)
		r = tls_context_create(&f->dialer.tls, err);
	if (r == 0)
		r = web_listen(&at, &web.listen_fd, err);
	if (r == 0)
		r = web_server_new(&web, &f->web, err);
	return r;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

int main(int argc, char **argv)
{
	struct faults f = {0};
	struct input input = {.faults = &f};
	struct error err = {0};

	if (argc != 3 || sodium_init() < 0) {
		fprintf(stderr, "usage: %s PORT URL\n", argv[0]);
		return 2;
	}
	uv_loop_init(&f.loop);
	f.dialer.loop = &f.loop;
	f.dialer.sockets = socket_source_direct();
	rekey(&f);
	if (set_up(&f, argv[1], argv[2], &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	uv_pipe_init(&f.loop, &input.pipe, 0);
	input.pipe.data = &input;
	if (uv_pipe_open(&input.pipe, STDIN_FILENO) == 0)
		uv_read_start((uv_stream_t *)&input.pipe, allocate, on_input);
	faults_say("serving");
	uv_run(&f.loop, UV_RUN_DEFAULT);

	clear(&f);
	links_cut(&f);
	http_cancel(f.key_fetch);
	web_server_free(f.web);
	tls_context_release(f.dialer.tls);
	uv_walk(&f.loop, close_handle, NULL);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	uv_loop_close(&f.loop);
	return 0;
}
