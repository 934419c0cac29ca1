/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/tunnel/test_relay.c - the relay pool against relays made of the codec
 *
 *	pool ── plain HTTP on loopback ──▶ server (here, same loop; one for each region)
 *
 * What takes a minute is made due by moving the pool's own note of the time.
 */
#include "tunnel/relay/relay_internal.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "unit/unit.h"

#include <sodium.h>

static const struct secret_key node = {{0x08, 1, 2, [31] = 0x40}};
static const struct public_key peer = {{0xaa, 0xbb}}, other = {{0xcc}};

enum manner {
	MANNER_GOOD,
	MANNER_SILENT,  /* takes the connection, never answers */
	MANNER_GREETS,  /* the ServerKey, then nothing */
	MANNER_REFUSES, /* 403 */
	MANNER_GARBAGE, /* 101, then not DERP */
	MANNER_THROWS,  /* greets well, and closes */
};

struct session {
	uv_tcp_t tcp;
	struct server *server;
	struct buffer in;
	bool upgraded, ideal_node, preferred;
	struct session *next;
};

struct server {
	uv_tcp_t listener;
	uint16_t port;
	enum manner manner;
	struct secret_key key;
	int connections, open, packets;
	uint32_t last; /* number in the last packet */
	struct session *sessions;
};

static uv_loop_t loop;
static struct server servers[3];

/* What the pool told. */
static int packets, drained, ready[4], lost[4], gone;
static char health[256];
static struct relay *pool;
static bool forget_map_on_packet;

static void on_packet(void *ctx, uint16_t region, const struct public_key *source,
		      const uint8_t *data, size_t length)
{
	const struct tailcfg_derp_map empty = {0};

	(void)ctx, (void)region, (void)source, (void)data, (void)length;
	packets++;
	if (forget_map_on_packet)
		assert_int_equal(relay_set_map(pool, &empty), 0);
}

static void on_drained(void *ctx)
{
	(void)ctx;
	drained++;
}

static bool nobody_is_a_peer;

static bool is_peer(void *ctx, const struct public_key *key)
{
	(void)ctx, (void)key;
	return !nobody_is_a_peer;
}

static void on_connected(void *ctx, uint16_t region, bool home, bool connected)
{
	(void)ctx, (void)home;
	if (connected)
		ready[region]++;
	else
		lost[region]++;
}

static void on_peer_gone(void *ctx, uint16_t region, const struct public_key *who,
			 enum derp_gone_reason reason)
{
	(void)ctx, (void)region, (void)who, (void)reason;
	gone++;
}

static void on_health(void *ctx, uint16_t region, const char *problem)
{
	(void)ctx, (void)region;
	snprintf(health, sizeof(health), "%s", problem ? problem : "");
}

static const struct relay_callbacks callbacks = {
	.packet = on_packet,
	.drained = on_drained,
	.is_peer = is_peer,
	.connected = on_connected,
	.peer_gone = on_peer_gone,
	.health = on_health,
};

static int send_one(uint16_t region, const struct public_key *to, const void *data, size_t length)
{
	return relay_send(pool, region, to, &(struct iovec){(void *)(uintptr_t)data, length}, 1);
}

/* Servers */

static void write_all(struct session *s, const void *bytes, size_t length)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned int)length);

	assert_int_equal(uv_try_write((uv_stream_t *)&s->tcp, &buf, 1), (int)length);
}

static void write_message(struct session *s, const struct derp_message *m)
{
	uint8_t out[512];
	ssize_t length = derp_message_write(out, sizeof(out), m);

	assert_true(length > 0);
	write_all(s, out, (size_t)length);
}

static void session_closed(uv_handle_t *handle)
{
	struct session *s = handle->data, **at = &s->server->sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->server->open--;
	buffer_free(&s->in);
	free(s);
}

static void answer_upgrade(struct session *s)
{
	struct derp_message m = {.type = DERP_SERVER_KEY};
	static const char accepted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n"
				       "Connection: Upgrade\r\n\r\n";
	static const char refused[] =
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nnot you\n";
	uint8_t out[512];
	ssize_t length;

	switch (s->server->manner) {
	case MANNER_SILENT:
		return;
	case MANNER_REFUSES:
		write_all(s, refused, sizeof(refused) - 1);
		return;
	case MANNER_GARBAGE:
		write_all(s, accepted, sizeof(accepted) - 1);
		write_all(s, "SSH-2.0-OpenSSH", 15);
		return;
	case MANNER_GOOD:
	case MANNER_GREETS:
	case MANNER_THROWS:
		/* The key comes in the same segment. */
		secret_key_public(&s->server->key, &m.key);
		memcpy(out, accepted, sizeof(accepted) - 1);
		length = derp_message_write(out + sizeof(accepted) - 1, 256, &m);
		write_all(s, out, sizeof(accepted) - 1 + (size_t)length);
		return;
	}
}

static void answer_message(struct session *s, const struct derp_message *m)
{
	struct derp_server_info info = {.version = 2};
	uint8_t out[DERP_INFO_MAX], nonce[DERP_NONCE_SIZE] = {1};
	struct derp_client_info client;
	struct key_box box;
	ssize_t length;

	switch (m->type) {
	case DERP_CLIENT_INFO:
		assert_int_equal(key_box_init(&s->server->key, &m->key, &box), 0);
		assert_int_equal(derp_client_info_open(m, &box, &client), 0);
		if (s->server->manner == MANNER_GREETS)
			return;
		length = derp_server_info_write(out, sizeof(out), &box, nonce, &info);
		write_all(s, out, (size_t)length);
		if (s->server->manner == MANNER_THROWS)
			uv_close((uv_handle_t *)&s->tcp, session_closed);
		return;
	case DERP_SEND_PACKET:
		s->server->packets++;
		memcpy(&s->server->last, m->data, sizeof(s->server->last));
		return;
	case DERP_NOTE_PREFERRED:
		s->preferred = m->preferred;
		return;
	default:
		return;
	}
}

static void session_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	static char bytes[65536];

	(void)handle, (void)suggested;
	*buf = uv_buf_init(bytes, sizeof(bytes));
}

static void session_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buf)
{
	struct session *s = stream->data;
	struct derp_frame frame;
	struct derp_message m;
	struct cursor c;
	uint8_t *end;

	if (length < 0) {
		if (!uv_is_closing((uv_handle_t *)stream))
			uv_close((uv_handle_t *)stream, session_closed);
		return;
	}
	assert_int_equal(buffer_append(&s->in, buf->base, (size_t)length), 0);
	if (!s->upgraded) {
		end = memmem(buffer_head(&s->in), s->in.length, "\r\n\r\n", 4);
		if (!end)
			return;
		assert_memory_equal(buffer_head(&s->in), "GET /derp HTTP/1.1\r\n", 20);
		s->ideal_node = memmem(buffer_head(&s->in), s->in.length, "\r\nIdeal-Node: 1a\r\n",
				       18) != NULL;
		buffer_consume(&s->in, (size_t)(end + 4 - buffer_head(&s->in)));
		s->upgraded = true;
		answer_upgrade(s);
	}
	for (;;) {
		c = cursor_of(buffer_head(&s->in), s->in.length);
		if (derp_frame_next(&c, DERP_PACKET_MAX + 128, &frame) <= 0)
			return;
		assert_int_equal(derp_message_parse(&frame, &m), 0);
		answer_message(s, &m);
		buffer_consume(&s->in, DERP_FRAME_HEADER + frame.length);
	}
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct server *server = listener->data;
	struct session *s = calloc(1, sizeof(*s));

	assert_int_equal(status, 0);
	assert_non_null(s);
	s->server = server;
	s->in = BUFFER_INIT(4 << 20);
	s->next = server->sessions;
	server->sessions = s;
	server->connections++;
	server->open++;
	uv_tcp_init(&loop, &s->tcp);
	s->tcp.data = s;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&s->tcp), 0);
	uv_read_start((uv_stream_t *)&s->tcp, session_alloc, session_read);
}

/* Running */

static void stop_loop(uv_timer_t *timer)
{
	(void)timer;
	uv_stop(&loop);
}

/* Turn the loop until @condition, at most 5 s; as many ms if there is none. */
#define RUN_UNTIL(condition)                                      \
	do {                                                      \
		for (int i_ = 0; i_ < 1000 && !(condition); i_++) \
			run_ms(5);                                \
		assert_true(condition);                           \
	} while (0)

static void run_ms(uint64_t ms)
{
	static uv_timer_t timer;

	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, stop_loop, ms, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_timer_stop(&timer);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
}

static int begin(void **state)
{
	struct relay_config config = {
		.loop = &loop,
		.sockets = socket_source_direct(),
		.node_key = &node,
		.plain_http = true,
		.callbacks = &callbacks,
	};

	(void)state;
	packets = gone = 0;
	memset(ready, 0, sizeof(ready));
	memset(lost, 0, sizeof(lost));
	health[0] = 0;
	forget_map_on_packet = false;
	uv_loop_init(&loop);
	for (int i = 0; i < 3; i++) {
		struct sockaddr_in any = {.sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int length = sizeof(any);

		servers[i] = (struct server){.key = {{0x10, (uint8_t)i, [31] = 0x40}}};
		uv_tcp_init(&loop, &servers[i].listener);
		servers[i].listener.data = &servers[i];
		assert_int_equal(uv_tcp_bind(&servers[i].listener, (struct sockaddr *)&any, 0), 0);
		assert_int_equal(uv_listen((uv_stream_t *)&servers[i].listener, 16, on_connection),
				 0);
		uv_tcp_getsockname(&servers[i].listener, (struct sockaddr *)&any, &length);
		servers[i].port = ntohs(any.sin_port);
	}
	return relay_new(&config, &pool);
}

static void close_handle(uv_handle_t *handle, void *unused)
{
	bool listener = false;

	(void)unused;
	for (int i = 0; i < 3; i++)
		listener = listener || handle == (uv_handle_t *)&servers[i].listener;
	if (!uv_is_closing(handle))
		uv_close(handle, handle->type == UV_TCP && !listener ? session_closed : NULL);
}

static int end(void **state)
{
	(void)state;
	relay_free(pool);
	uv_walk(&loop, close_handle, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

/* A map of regions 1, 2 … with one node each, server 0, 1 … */
static void set_map(int regions)
{
	static char host[] = "127.0.0.1", names[3][3] = {"1a", "2a", "3a"};
	struct tailcfg_derp_node nodes[3] = {0};
	struct tailcfg_derp_region list[3] = {0};
	struct tailcfg_derp_map map = {.regions = list, .region_count = (uint32_t)regions};

	for (int i = 0; i < regions; i++) {
		nodes[i] = (struct tailcfg_derp_node){.name = names[i],
						      .host_name = host,
						      .ipv6_disabled = true,
						      .derp_port = servers[i].port};
		list[i] = (struct tailcfg_derp_region){
			.id = (uint16_t)(i + 1), .nodes = &nodes[i], .node_count = 1};
	}
	assert_int_equal(relay_set_map(pool, &map), 0);
}

static void home_connects_in_either_order_and_stays(void **state)
{
	(void)state;
	relay_set_home(pool, 1);
	run_ms(20);
	assert_int_equal(servers[0].connections, 0);
	set_map(2);
	RUN_UNTIL(ready[1] == 1);
	assert_true(region_is_ready(relay_find_region(pool, 1)));
	RUN_UNTIL(servers[0].sessions->preferred);
	set_map(2); /* nothing new */
	run_ms(50);
	assert_int_equal(servers[0].connections, 1);
	assert_int_equal(servers[1].connections, 0);
	/* However long nothing is written. */
	relay_find_region(pool, 1)->last_wanted = 1;
	relay_wake(pool, 0);
	run_ms(50);
	assert_true(region_is_ready(relay_find_region(pool, 1)));
	/* Another home: the relays are told, and the old one stays for those who don't know yet. */
	relay_set_home(pool, 2);
	RUN_UNTIL(ready[2] == 1);
	RUN_UNTIL(servers[1].sessions->preferred && !servers[0].sessions->preferred);
	assert_true(region_is_ready(relay_find_region(pool, 1)));
	relay_find_region(pool, 1)->last_wanted -= 61 * NSEC_PER_SEC;
	relay_wake(pool, 0);
	RUN_UNTIL(servers[0].open == 0);
	assert_int_equal(lost[1], 1);
	run_ms(50);
	assert_int_equal(servers[0].connections, 1);
}

static void packets_wait_for_the_greeting(void **state)
{
	(void)state;
	set_map(2);
	for (uint32_t i = 1; i <= 100; i++)
		assert_int_equal(send_one(2, &peer, &i, sizeof(i)), 0);
	assert_false(region_is_ready(relay_find_region(pool, 2)));
	RUN_UNTIL(servers[1].packets == 100);
	assert_int_equal(servers[1].last, 100);
	assert_int_equal(servers[1].connections, 1);
	/* 60 s without a packet end it; the next one begins it again. */
	relay_find_region(pool, 2)->last_wanted -= 61 * NSEC_PER_SEC;
	relay_wake(pool, 0);
	RUN_UNTIL(servers[1].open == 0);
	assert_int_equal(send_one(2, &peer, "1234", 4), 0);
	RUN_UNTIL(servers[1].packets == 101);
	assert_int_equal(servers[1].connections, 2);
	assert_int_equal(send_one(7, &peer, "x", 1), -EHOSTUNREACH);
	assert_int_equal(send_one(0, &peer, "x", 1), -EHOSTUNREACH);
}

static void a_batch_arrives_whole_in_order_and_is_received_as_one(void **state)
{
	static uint8_t data[400][1000];
	struct iovec batch[ARRAY_SIZE(data)];
	uint8_t frames[3 * (DERP_FRAME_HEADER + KEY_SIZE + 2)];
	struct derp_message m = {
		.type = DERP_RECV_PACKET, .key = peer, .data = (const uint8_t *)"hi", .length = 2};
	size_t length = 0;

	(void)state;
	set_map(1);
	relay_set_home(pool, 1);
	RUN_UNTIL(ready[1] == 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(data); i++) {
		memcpy(data[i], &(uint32_t){i + 1}, sizeof(i));
		batch[i] = (struct iovec){data[i], sizeof(data[i])};
	}
	assert_int_equal(relay_send(pool, 1, &peer, batch, ARRAY_SIZE(batch)), 0);
	RUN_UNTIL(servers[0].packets == (int)ARRAY_SIZE(batch));
	assert_int_equal(servers[0].last, ARRAY_SIZE(batch));
	assert_int_equal(relay_find_region(pool, 1)->queue.dropped, 0);
	/* One that is too long does not keep the others. */
	batch[0].iov_len = DERP_PACKET_MAX + 1;
	assert_int_equal(relay_send(pool, 1, &peer, batch, 2), -EMSGSIZE);
	RUN_UNTIL(servers[0].packets == (int)ARRAY_SIZE(batch) + 1);
	/* Back: what came together is drained once. */
	drained = 0;
	for (int i = 0; i < 3; i++)
		length += (size_t)derp_message_write(frames + length, sizeof(frames) - length, &m);
	write_all(servers[0].sessions, frames, length);
	RUN_UNTIL(packets == 3);
	assert_int_equal(drained, 1);
}

static void a_full_queue_drops_the_oldest_and_counts(void **state)
{
	static uint8_t packet[1000];
	uint32_t count = 2000;

	(void)state;
	servers[0].manner = MANNER_GREETS; /* connecting for ever */
	set_map(1);
	for (uint32_t i = 1; i <= count; i++) {
		memcpy(packet, &i, sizeof(i));
		assert_int_equal(send_one(1, &peer, packet, sizeof(packet)), 0);
		run_ms(i == 1 ? 100 : 0);
	}
	assert_int_equal(relay_find_region(pool, 1)->state, RELAY_CONNECTING);
	assert_int_equal(relay_find_region(pool, 1)->queue.dropped,
			 count - LIMIT_DERP_QUEUE / sizeof(packet));
	/* It comes to itself: the newest arrive, in order. */
	servers[0].manner = MANNER_GOOD;
	relay_link_changed(pool);
	RUN_UNTIL(servers[0].last == count);
	assert_int_equal(servers[0].packets, LIMIT_DERP_QUEUE / sizeof(packet));
}

static void answers_go_where_the_peer_was_heard(void **state)
{
	struct derp_message m = {
		.type = DERP_RECV_PACKET, .key = peer, .data = (const uint8_t *)"hi", .length = 2};

	(void)state;
	set_map(2);
	relay_set_home(pool, 1);
	RUN_UNTIL(ready[1] == 1);
	write_message(servers[0].sessions, &m);
	RUN_UNTIL(packets == 1);
	/* Its home isn't connected, the route is: no dial. */
	assert_int_equal(send_one(2, &peer, "1234", 4), 0);
	assert_int_equal(send_one(0, &peer, "1234", 4), 0);
	RUN_UNTIL(servers[0].packets == 2);
	assert_int_equal(servers[1].connections, 0);
	/* PeerGone ends the route; then its home is dialled. */
	m = (struct derp_message){.type = DERP_PEER_GONE, .key = peer, .reason = 1};
	write_message(servers[0].sessions, &m);
	RUN_UNTIL(gone == 1);
	assert_int_equal(send_one(0, &peer, "1234", 4), -EHOSTUNREACH);
	assert_int_equal(send_one(2, &peer, "1234", 4), 0);
	RUN_UNTIL(servers[1].packets == 1);
	/* So does the loss of the connection. */
	m = (struct derp_message){
		.type = DERP_RECV_PACKET, .key = other, .data = (const uint8_t *)"hi", .length = 2};
	write_message(servers[1].sessions, &m);
	RUN_UNTIL(packets == 2);
	uv_close((uv_handle_t *)&servers[1].sessions->tcp, session_closed);
	RUN_UNTIL(lost[2] == 1);
	assert_int_equal(send_one(0, &other, "1234", 4), -EHOSTUNREACH);
}

/* A minute passes by moving the past back. */
static void a_region_that_is_not_needed_is_left_but_never_the_home(void **state)
{
	struct relay_region *home, *away;

	(void)state;
	set_map(2);
	relay_set_home(pool, 1);
	assert_int_equal(send_one(2, &peer, "1234", 4), 0);
	RUN_UNTIL(ready[1] == 1 && ready[2] == 1 && servers[1].packets == 1);
	home = relay_find_region(pool, 1);
	away = relay_find_region(pool, 2);
	away->last_wanted -= RELAY_IDLE_CLOSE / 2;
	relay_wake(pool, 0);
	run_ms(5);
	assert_int_equal(lost[2], 0);
	home->last_wanted = away->last_wanted -= RELAY_IDLE_CLOSE / 2;
	relay_wake(pool, 0);
	RUN_UNTIL(lost[2] == 1);
	assert_int_equal(away->state, RELAY_IDLE);
	assert_int_equal(home->state, RELAY_CONNECTED);
	assert_int_equal(lost[1], 0);
	assert_int_equal(send_one(2, &peer, "1234", 4), 0);
	RUN_UNTIL(ready[2] == 2 && servers[1].packets == 2);
}

static struct relay_route *find_route(const struct public_key *key)
{
	struct relay_route *route;

	HASH_FIND(hh, pool->routes, key, sizeof(*key), route);
	return route;
}

static void strangers_cannot_grow_the_routes(void **state)
{
	struct public_key key = {{0}};

	(void)state;
	set_map(1);
	for (uint32_t i = 1; i <= 2 * LIMIT_RELAY_ROUTES; i++) {
		memcpy(key.bytes, &i, sizeof(i));
		routes_learn(pool, &key, pool->regions);
	}
	assert_int_equal(HASH_COUNT(pool->routes), LIMIT_RELAY_ROUTES);
	assert_non_null(find_route(&key)); /* the newest is there, the oldest is not */
	/* Those that are no peers displace none. */
	nobody_is_a_peer = true;
	routes_learn(pool, &(struct public_key){{0xff, 0xff, 0xff, 0xff}}, pool->regions);
	nobody_is_a_peer = false;
	assert_null(find_route(&(struct public_key){{0xff, 0xff, 0xff, 0xff}}));
	assert_int_equal(HASH_COUNT(pool->routes), LIMIT_RELAY_ROUTES);
	memset(&key, 0, sizeof(key));
	key.bytes[0] = 1;
	assert_null(find_route(&key));
}

static void relays_that_are_none_are_named_and_left_in_peace(void **state)
{
	static const struct {
		enum manner manner;
		const char *problem;
	} rows[] = {
		/* 1 */ {MANNER_REFUSES, "403"},
		/* 2 */ {MANNER_GARBAGE, "does not speak DERP"},
	};

	(void)state;
	set_map(2);
	for (int i = 0; i < 2; i++) {
		servers[i].manner = rows[i].manner;
		health[0] = 0;
		relay_set_home(pool, (uint16_t)(i + 1));
		RUN_UNTIL(health[0]);
		if (!strstr(health, rows[i].problem))
			fail_msg("row %d: %s", i + 1, health);
		run_ms(1000);
		/* 0.1, 0.2, 0.4, 0.8 s, and half of each is jitter. */
		assert_in_range(servers[i].connections, 2, 6);
		servers[i].manner = MANNER_GOOD;
		RUN_UNTIL(ready[i + 1] == 1);
		assert_string_equal(health, "");
	}
}

static void a_relay_that_throws_us_out_is_left_in_peace(void **state)
{
	int before;

	(void)state;
	servers[0].manner = MANNER_THROWS;
	set_map(1);
	relay_set_home(pool, 1);
	RUN_UNTIL(lost[1] == 1);
	run_ms(1500);
	/* 0.1, 0.2, 0.4, 0.8 s, and half of each is jitter. */
	assert_in_range(servers[0].connections, 2, 6);
	/* A loss after a long time together is none of that: it's there again at once. */
	servers[0].manner = MANNER_GOOD;
	before = ready[1];
	RUN_UNTIL(ready[1] > before);
	relay_find_region(pool, 1)->ready_at -= RELAY_STABLE;
	before = lost[1];
	uv_close((uv_handle_t *)&servers[0].sessions->tcp, session_closed);
	RUN_UNTIL(!region_is_ready(relay_find_region(pool, 1)));
	RUN_UNTIL(region_is_ready(relay_find_region(pool, 1)));
	/* Nobody is told, unless it isn't there again at once. */
	assert_int_equal(lost[1], before);
	assert_string_equal(health, "");
	relay_find_region(pool, 1)->ready_at -= RELAY_STABLE;
	servers[0].manner = MANNER_REFUSES;
	uv_close((uv_handle_t *)&servers[0].sessions->tcp, session_closed);
	RUN_UNTIL(lost[1] > before);
	assert_non_null(strstr(health, "403"));
	servers[0].manner = MANNER_GOOD;
	before = ready[1];
	RUN_UNTIL(ready[1] == before + 1);
}

static void a_relay_s_own_words_are_passed_on(void **state)
{
	struct derp_message m = {
		.type = DERP_HEALTH, .data = (const uint8_t *)"duplicate connection", .length = 20};

	(void)state;
	set_map(1);
	relay_set_home(pool, 1);
	RUN_UNTIL(ready[1] == 1);
	write_message(servers[0].sessions, &m);
	RUN_UNTIL(health[0]);
	assert_string_equal(health, "duplicate connection");
	m.length = 0;
	write_message(servers[0].sessions, &m);
	RUN_UNTIL(!health[0]);
	/* It restarts, and says in how many ms to come back. */
	m = (struct derp_message){.type = DERP_RESTARTING, .reconnect_in_ms = 700};
	write_message(servers[0].sessions, &m);
	run_ms(20);
	uv_close((uv_handle_t *)&servers[0].sessions->tcp, session_closed);
	RUN_UNTIL(lost[1] == 1);
	run_ms(500);
	assert_int_equal(servers[0].connections, 1);
	RUN_UNTIL(ready[1] == 2);
}

static void the_second_node_starts_when_the_first_is_slow(void **state)
{
	static char host[] = "127.0.0.1", a[] = "1a", b[] = "1b", c[] = "1c";
	struct tailcfg_derp_node nodes[] = {
		{.name = a, .host_name = host, .ipv6_disabled = true, .derp_port = servers[0].port},
		{.name = b,
		 .host_name = host,
		 .ipv6_disabled = true,
		 .derp_port = servers[2].port,
		 .stun_only = true},
		{.name = c, .host_name = host, .ipv6_disabled = true, .derp_port = servers[1].port},
	};
	struct tailcfg_derp_region region = {.id = 1, .nodes = nodes, .node_count = 3};
	struct tailcfg_derp_map map = {.regions = &region, .region_count = 1};
	nanoseconds begun = clock_boottime();

	(void)state;
	servers[0].manner = MANNER_SILENT;
	assert_int_equal(relay_set_map(pool, &map), 0);
	relay_set_home(pool, 1);
	RUN_UNTIL(ready[1] == 1);
	assert_true(clock_boottime() - begun >= RELAY_NODE_BUDGET);
	assert_int_equal(servers[2].connections, 0);
	assert_int_equal(servers[1].connections, 1);
	assert_true(servers[1].sessions->ideal_node);
	RUN_UNTIL(servers[0].open == 0);
}

static void the_owner_may_change_everything_inside_of_a_callback(void **state)
{
	struct derp_message m = {
		.type = DERP_RECV_PACKET, .key = peer, .data = (const uint8_t *)"hi", .length = 2};
	uint8_t out[512];
	ssize_t length;

	(void)state;
	set_map(1);
	relay_set_home(pool, 1);
	RUN_UNTIL(ready[1] == 1);
	/* Two packets in one segment; upon the first the region goes. */
	forget_map_on_packet = true;
	length = derp_message_write(out, sizeof(out), &m);
	memcpy(out + length, out, (size_t)length);
	write_all(servers[0].sessions, out, 2 * (size_t)length);
	RUN_UNTIL(lost[1] == 1);
	assert_int_equal(packets, 1);
	RUN_UNTIL(servers[0].open == 0);
	assert_null(pool->regions);
	assert_int_equal(send_one(1, &peer, "x", 1), -EHOSTUNREACH);
}

static void a_relay_that_is_silent_after_the_network_moved_is_left(void **state)
{
	(void)state;
	set_map(1);
	relay_set_home(pool, 1);
	RUN_UNTIL(ready[1] == 1);
	relay_link_changed(pool); /* this server never answers a ping */
	run_ms(50);
	assert_true(region_is_ready(relay_find_region(pool, 1)));
	relay_find_region(pool, 1)->probe_until = clock_boottime();
	relay_wake(pool, 0);
	RUN_UNTIL(ready[1] == 2);
	assert_int_equal(lost[1], 1);
}

#define test(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(home_connects_in_either_order_and_stays),
		test(packets_wait_for_the_greeting),
		test(a_batch_arrives_whole_in_order_and_is_received_as_one),
		test(a_full_queue_drops_the_oldest_and_counts),
		test(answers_go_where_the_peer_was_heard),
		test(a_region_that_is_not_needed_is_left_but_never_the_home),
		test(strangers_cannot_grow_the_routes),
		test(relays_that_are_none_are_named_and_left_in_peace),
		test(a_relay_that_throws_us_out_is_left_in_peace),
		test(a_relay_s_own_words_are_passed_on),
		test(the_second_node_starts_when_the_first_is_slow),
		test(the_owner_may_change_everything_inside_of_a_callback),
		test(a_relay_that_is_silent_after_the_network_moved_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
