/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/relay_tool.c - the relay pool on a terminal, for tests against a real relay
 *
 *	relay_tool MAP.json [--plain] [--ca FILE]
 *
 * Prints its key, then reads commands and prints events, one a line:
 *
 *	key HEX
 *	home N | send N KEY HEX | node KEY-SEED | status | stun ENDPOINT | link | map FILE | quit
 *	ready N home|other | lost N home|other | packet N KEY HEX | gone N KEY REASON
 *	health N TEXT | stun-servers ENDPOINT… | mapped ENDPOINT | sent RESULT
 */
#include "base/cleanup.h"
#include "transport/names.h"
#include "transport/tls.h"
#include "tunnel/relay/relay_internal.h"
#include "wire/stun.h"
#include "wire/tailcfg_derp.h"

#include <errno.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tool {
	uv_loop_t loop;
	struct relay *relay;
	struct names *names;
	struct tls_context *tls;
	uv_pipe_t input;
	uv_udp_t udp;
	char line[1 << 18];
	size_t used;
};

static void print_hex(const char *before, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;

	printf("%s", before);
	for (size_t i = 0; i < length; i++)
		printf("%02x", p[i]);
}

static void on_packet(void *ctx, uint16_t region, const struct public_key *source,
		      const uint8_t *data, size_t length)
{
	(void)ctx;
	printf("packet %u ", region);
	print_hex("", source->bytes, KEY_SIZE);
	print_hex(" ", data, length);
	printf("\n");
}

static void on_connected(void *ctx, uint16_t region, bool home, bool connected)
{
	(void)ctx;
	printf("%s %u %s\n", connected ? "ready" : "lost", region, home ? "home" : "other");
}

static void on_peer_gone(void *ctx, uint16_t region, const struct public_key *peer,
			 enum derp_gone_reason reason)
{
	(void)ctx;
	printf("gone %u ", region);
	print_hex("", peer->bytes, KEY_SIZE);
	printf(" %d\n", reason);
}

static void on_health(void *ctx, uint16_t region, const char *problem)
{
	(void)ctx;
	printf("health %u %s\n", region, problem ? problem : "well");
}

static void on_stun_servers(void *ctx, const struct endpoint *servers, size_t count)
{
	char text[ENDPOINT_TEXT_MAX];

	(void)ctx;
	printf("stun-servers");
	for (size_t i = 0; i < count; i++)
		printf(" %s", endpoint_format(&servers[i], text));
	printf("\n");
}

static const struct relay_callbacks callbacks = {
	.packet = on_packet,
	.connected = on_connected,
	.peer_gone = on_peer_gone,
	.health = on_health,
	.stun_servers = on_stun_servers,
};

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
	fprintf(stderr, "relay_tool: %s: %s\n", what, why);
	exit(1);
}

static char *read_file(const char *path, size_t *ret_length)
{
	FILE *file = fopen(path, "rb");
	char *text = malloc(1 << 20);

	if (!file || !text)
		die(path, strerror(errno));
	*ret_length = fread(text, 1, 1 << 20, file);
	fclose(file);
	return text;
}

static void set_map(struct tool *t, const char *path)
{
	struct tailcfg_derp_map map = {0};
	struct error err;
	json_error_t where;
	json_t *json = json_load_file(path, 0, &where);

	if (!json)
		die(path, where.text);
	if (tailcfg_derp_map_decode(json, &map, &err) < 0)
		die(path, err.text);
	json_decref(json);
	relay_set_map(t->relay, &map);
	tailcfg_derp_map_clear(&map);
}

static void set_node(struct tool *t, const char *seed, struct secret_key *ret)
{
	struct public_key public;

	crypto_generichash(ret->bytes, KEY_SIZE, (const uint8_t *)seed, strlen(seed), NULL, 0);
	ret->bytes[0] &= 248;
	ret->bytes[31] = (ret->bytes[31] & 127) | 64;
	secret_key_public(ret, &public);
	print_hex("key ", public.bytes, KEY_SIZE);
	printf("\n");
	if (t->relay)
		relay_set_node_key(t->relay, ret);
}

static void send_packet(struct tool *t, char *arguments)
{
	static uint8_t data[1 << 17];
	char *region = strsep(&arguments, " "), *key = strsep(&arguments, " ");
	struct public_key to;
	size_t length = 0, key_length;

	if (!key || !arguments ||
	    sodium_hex2bin(to.bytes, KEY_SIZE, key, strlen(key), NULL, &key_length, NULL) != 0 ||
	    sodium_hex2bin(data, sizeof(data), arguments, strlen(arguments), NULL, &length, NULL) !=
		    0)
		die("send", "bad arguments");
	printf("sent %d\n",
	       relay_send(t->relay, (uint16_t)atoi(region), &to, &(struct iovec){data, length}, 1));
}

static void on_udp_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	static char bytes[2048];

	(void)handle;
	(void)suggested;
	*buf = uv_buf_init(bytes, sizeof(bytes));
}

static void on_udp(uv_udp_t *udp, ssize_t length, const uv_buf_t *buf, const struct sockaddr *from,
		   unsigned int flags)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint mapped;
	struct stun_txid txid;

	(void)udp;
	(void)flags;
	if (from && length > 0 &&
	    stun_response_parse(buf->base, (size_t)length, &txid, &mapped) == 0)
		printf("mapped %s\n", endpoint_format(&mapped, text));
}

static void ask_stun(struct tool *t, const char *text)
{
	static const struct stun_txid txid = {{1, 2, 3}};
	struct sockaddr_storage address;
	uint8_t request[STUN_REQUEST_SIZE];
	struct endpoint to;
	uv_buf_t buf = uv_buf_init((char *)request, sizeof(request));

	if (endpoint_parse(text, strlen(text), &to) < 0)
		die("stun", text);
	endpoint_to_sockaddr(&to, &address);
	stun_request_write(request, &txid);
	uv_udp_try_send(&t->udp, &buf, 1, (struct sockaddr *)&address);
}

static void print_status(struct tool *t)
{
	for (const struct relay_region *g = t->relay->regions; g; g = g->next)
		if (g->state != RELAY_IDLE || g->last_wanted || g->id == t->relay->home)
			printf("status %u %s %s state=%d home=%d dropped=%llu %s\n", g->id, g->code,
			       g->node < g->node_count ? g->nodes[g->node].host : "", g->state,
			       g->id == t->relay->home, (unsigned long long)g->queue.dropped,
			       g->problem);
	printf("status end\n");
}

static void command(struct tool *t, char *line)
{
	char *word = strsep(&line, " ");
	struct secret_key node;

	if (strcmp(word, "home") == 0 && line)
		relay_set_home(t->relay, (uint16_t)atoi(line));
	else if (strcmp(word, "send") == 0 && line)
		send_packet(t, line);
	else if (strcmp(word, "node") == 0 && line)
		set_node(t, line, &node);
	else if (strcmp(word, "stun") == 0 && line)
		ask_stun(t, line);
	else if (strcmp(word, "status") == 0)
		print_status(t);
	else if (strcmp(word, "link") == 0)
		relay_link_changed(t->relay);
	else if (strcmp(word, "map") == 0 && line)
		set_map(t, line);
	else if (strcmp(word, "quit") == 0)
		uv_stop(&t->loop);
	else
		die("unknown command", word);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct tool *t = handle->data;

	(void)suggested;
	*buf = uv_buf_init(t->line + t->used, (unsigned int)(sizeof(t->line) - t->used));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buf)
{
	struct tool *t = stream->data;
	char *end;

	(void)buf;
	if (length < 0) {
		uv_stop(&t->loop);
		return;
	}
	t->used += (size_t)length;
	while ((end = memchr(t->line, '\n', t->used))) {
		*end = 0;
		command(t, t->line);
		t->used -= (size_t)(end + 1 - t->line);
		memmove(t->line, end + 1, t->used);
	}
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	(void)unused;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

int main(int argc, char **argv)
{
	static struct tool t;
	struct relay_config config = {.callbacks = &callbacks, .ctx = &t, .app_name = "pillion"};
	struct secret_key node;
	struct error err;
	char seed[32];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		die("usage", "relay_tool MAP.json [--plain] [--ca FILE]");
	if (tls_init(&err) < 0 || tls_context_create(&t.tls, &err) < 0)
		die("TLS", err.text);
	uv_loop_init(&t.loop);
	if (names_create(&t.loop, socket_source_direct(), &t.names, &err) < 0)
		die("names", err.text);
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--plain") == 0) {
			config.plain_http = true;
		} else if (strcmp(argv[i], "--ca") == 0 && i + 1 < argc) {
			size_t length;
			_cleanup_free_ char *pem = read_file(argv[++i], &length);

			if (tls_context_set_roots(t.tls, 0, pem, length, argv[i], &err) < 0)
				die("CA", err.text);
		} else {
			die("unknown argument", argv[i]);
		}
	}
	snprintf(seed, sizeof(seed), "%d", (int)getpid());
	set_node(&t, seed, &node);
	config.loop = &t.loop;
	config.sockets = socket_source_direct();
	config.names = t.names;
	config.tls = t.tls;
	config.node_key = &node;
	if (relay_new(&config, &t.relay) < 0)
		die("relay_new", "out of memory");
	uv_udp_init(&t.loop, &t.udp);
	uv_udp_bind(&t.udp, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 0);
	uv_udp_recv_start(&t.udp, on_udp_alloc, on_udp);
	t.input.data = &t;
	uv_pipe_init(&t.loop, &t.input, 0);
	uv_pipe_open(&t.input, 0);
	uv_read_start((uv_stream_t *)&t.input, on_alloc, on_read);
	set_map(&t, argv[1]);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	relay_free(t.relay);
	names_free(t.names);
	tls_context_release(t.tls);
	uv_walk(&t.loop, close_handle, NULL);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	uv_loop_close(&t.loop);
	return 0;
}
