/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/node/fakes.h - a whole node between a fake supervisor and a fake control client
 *
 *	test ── node.h, run.h ──► node ──► control_client_…()  fake: counts, keeps the handler
 *	                           │  └──► privsep_client_…()  fake: requests wait for the test
 *	                           └─────► tunnel              the real one, without TUN and UDP
 *
 * The linker takes the fakes since they are there before the libraries are looked at.
 */
#pragma once

#include "base/cleanup.h"
#include "base/limits.h"
#include "control/control_calls.h"
#include "node/node_internal.h"
#include "node/node_run.h"
#include "unit/control/netmap_text.h"
#include "unit/unit.h"

#include <sodium.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define FAKE_CLIENTS 8
#define RENEWAL_URL  "https://one.example/a/1"

struct fake_request {
	bool network;
	enum privsep_blob_name blob;
	privsep_done done;
	void *userdata;
};

struct privsep_client {
	int fd;
	struct fake_request requests[PRIVSEP_CLIENT_PENDING_MAX];
	size_t count;
	struct buffer state; /* the last that was sent */
	struct buffer cache;
	const char *key_file; /* contents; NULL: there is none */
	unsigned int key_reads;
	const char *passwd; /* contents; NULL: there is none */
	enum privsep_state told;
	char reason[PRIVSEP_TEXT_MAX]; /* with it */
	char login[PRIVSEP_TEXT_MAX];  /* the last URL */
	bool settled;
	const char *lost;           /* why there is no state, though there was one */
	char network[512];          /* the last that was asked for, as text */
	struct prefix_table routes; /* that the supervisor has, by all requests so far */
	unsigned int wholes;        /* requests with all routes */
	unsigned int routes_sent;   /* routes in all requests */
	uint32_t number;            /* of the last request */
	size_t serve_ports;         /* in the last request to serve */
	char cert_domains[64];      /* the same */
	bool signs;
};

struct control_client {
	const struct control_handler *handler;
	void *user;
	struct netmap *map;
	char url[128];
	bool had_netmap;
	size_t known_addresses;
	struct public_key node_key;
	unsigned int starts, interactive, unasked, pauses, logouts, keys, retries, replies;
	char key[64]; /* the last auth key */
	int stored;   /* the last answer about a key; 1: none yet */
	/* What the node said last about itself. */
	struct public_key old_key, disco_key, network_lock_key; /* all zero: none */
	struct tailcfg_hostinfo hostinfo;
	struct tailcfg_endpoint endpoints[4];
	size_t endpoint_count;
	char ping_type[16], ping_url[64];
	struct address ping_ip;
	/* The last request for a certificate. */
	struct control_call *call; /* NULL: answered, or cancelled */
	char call_name[PRIVSEP_NAME_MAX], call_value[PRIVSEP_CHALLENGE_MAX], call_csr[64];
	unsigned int calls;
};

struct control_call {
	struct control_client *client;
	control_called *called;
	void *user;
};

struct world {
	uv_loop_t loop;
	struct privsep_client privsep;
	struct privsep_start_message start;
	struct node *node;
	unsigned int stopped;
};

/* The clients that were made and not freed, the latest last. */
static struct control_client *fake_clients[FAKE_CLIENTS];
static size_t fake_client_count;

static struct control_client *client(void)
{
	return fake_client_count ? fake_clients[fake_client_count - 1] : NULL;
}

/* control_says() - An event of the control client, and what the node makes of it */
#define control_says(w, event, ...)                                             \
	do {                                                                    \
		client()->handler->event((w)->node __VA_OPT__(, ) __VA_ARGS__); \
		node_settle((w)->node);                                         \
	} while (0)

/* --- control/control_client.h --- */

int control_client_new(const struct control_options *options, struct control_client **ret,
		       struct error *err)
{
	struct control_client *c = calloc(1, sizeof(*c));

	(void)err;
	c->handler = options->handler;
	c->user = options->user;
	c->had_netmap = options->netmap != NULL;
	c->map = options->netmap ? options->netmap : netmap_new();
	c->known_addresses = options->known_address_count;
	c->stored = 1;
	snprintf(c->url, sizeof(c->url), "%s", options->server_url);
	fake_clients[fake_client_count++] = c;
	*ret = c;
	return 0;
}

void control_client_free(struct control_client *c)
{
	if (!c)
		return;
	assert_ptr_equal(client(), c);
	fake_client_count--;
	netmap_free(c->map);
	tailcfg_hostinfo_clear(&c->hostinfo);
	free(c);
}

void control_client_set_identity(struct control_client *c, const struct secret_key *node_key,
				 const struct secret_key *old_key,
				 const struct public_key *disco_key,
				 const struct public_key *nl_key)
{
	if (node_key)
		secret_key_public(node_key, &c->node_key);
	c->old_key = (struct public_key){0};
	if (old_key)
		secret_key_public(old_key, &c->old_key);
	c->disco_key = *disco_key;
	c->network_lock_key = *nl_key;
}

int control_client_set_hostinfo(struct control_client *c, const struct tailcfg_hostinfo *info)
{
	tailcfg_hostinfo_clear(&c->hostinfo);
	return members_copy(&tailcfg_hostinfo_members, info, &c->hostinfo);
}

int control_client_set_endpoints(struct control_client *c, const struct tailcfg_endpoint *endpoints,
				 size_t count)
{
	assert_true(count <= ARRAY_SIZE(c->endpoints));
	if (count)
		memcpy(c->endpoints, endpoints, count * sizeof(*endpoints));
	c->endpoint_count = count;
	return 0;
}

void control_client_start(struct control_client *c, const struct control_login *login)
{
	c->starts++;
	c->interactive += login->interactive;
	c->unasked += login->unasked;
}

void control_client_give_auth_key(struct control_client *c, char *auth_key)
{
	if (auth_key) {
		c->keys++;
		snprintf(c->key, sizeof(c->key), "%s", auth_key);
	}
	free(auth_key);
}

void control_client_key_stored(struct control_client *c, int error)
{
	c->stored = error;
}

void control_client_logout(struct control_client *c)
{
	c->logouts++;
}

void control_client_pause(struct control_client *c)
{
	c->pauses++;
}

void control_client_retry_now(struct control_client *c)
{
	c->retries++;
}

const struct netmap *control_client_netmap(const struct control_client *c)
{
	return c->map;
}

void control_client_ping_reply(struct control_client *c, const char *url, const char *type,
			       const struct tailcfg_ping_result *result)
{
	snprintf(c->ping_url, sizeof(c->ping_url), "%s", url);
	snprintf(c->ping_type, sizeof(c->ping_type), "%s", type);
	c->ping_ip = result->target;
	c->replies++;
}

/* --- control/control_calls.h --- */

static int take_call(struct control_client *c, control_called *called, void *user,
		     struct control_call **ret)
{
	struct control_call *call = calloc(1, sizeof(*call));

	assert_null(c->call);
	*call = (struct control_call){c, called, user};
	c->call = call;
	c->calls++;
	*ret = call;
	return 0;
}

int control_client_set_dns(struct control_client *c, const char *name, const char *value,
			   control_called *called, void *user, struct control_call **ret,
			   struct error *err)
{
	(void)err;
	snprintf(c->call_name, sizeof(c->call_name), "%s", name);
	snprintf(c->call_value, sizeof(c->call_value), "%s", value);
	return take_call(c, called, user, ret);
}

int control_client_sign(struct control_client *c, const char *csr, control_called *called,
			void *user, struct control_call **ret, struct error *err)
{
	(void)err;
	snprintf(c->call_csr, sizeof(c->call_csr), "%s", csr);
	return take_call(c, called, user, ret);
}

int control_client_query_feature(struct control_client *c, const char *feature,
				 control_called *called, void *user, struct control_call **ret,
				 struct error *err)
{
	(void)err;
	(void)feature;
	return take_call(c, called, user, ret);
}

void control_call_cancel(struct control_call *call)
{
	if (!call)
		return;
	call->client->call = NULL;
	free(call);
}

/* --- privsep/privsep_client.h --- */

struct socket_source *privsep_client_sockets(struct privsep_client *privsep)
{
	(void)privsep;
	return socket_source_direct();
}

int privsep_client_fd(const struct privsep_client *privsep)
{
	return privsep->fd;
}

int privsep_client_dispatch(struct privsep_client *privsep)
{
	(void)privsep;
	return 0;
}

static int file_of(const void *bytes, size_t length)
{
	int fd = memfd_create("fake", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), length);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

int privsep_client_open_file(struct privsep_client *privsep, enum privsep_file_name name)
{
	if (name == PRIVSEP_FILE_PASSWD && privsep->passwd)
		return file_of(privsep->passwd, strlen(privsep->passwd));
	if (name != PRIVSEP_FILE_AUTH_KEY || !privsep->key_file)
		return -ENOENT;
	privsep->key_reads++;
	return file_of(privsep->key_file, strlen(privsep->key_file));
}

int privsep_client_load(struct privsep_client *privsep, enum privsep_blob_name name, size_t limit,
			struct buffer *ret, struct error *err)
{
	struct buffer *from = name == PRIVSEP_BLOB_STATE ? &privsep->state : &privsep->cache;

	(void)limit;
	if (name == PRIVSEP_BLOB_STATE && privsep->lost)
		return error_set(err, -ENODATA, "%s", privsep->lost);
	if (!from->length)
		return -ENOENT;
	return buffer_append(ret, buffer_head(from), from->length);
}

static int wait_for_answer(struct privsep_client *privsep, struct fake_request request)
{
	assert_true(privsep->count < PRIVSEP_CLIENT_PENDING_MAX);
	privsep->requests[privsep->count++] = request;
	return 0;
}

int privsep_client_store(struct privsep_client *privsep, enum privsep_blob_name name,
			 const void *bytes, size_t length, privsep_done done, void *userdata)
{
	struct buffer *to = name == PRIVSEP_BLOB_STATE ? &privsep->state : &privsep->cache;

	buffer_consume(to, to->length);
	assert_int_equal(buffer_append(to, bytes, length), 0);
	return wait_for_answer(privsep, (struct fake_request){false, name, done, userdata});
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* take_routes() - Whole or a delta; a delta says no more than what changes */
static void take_routes(struct privsep_client *privsep, const struct privsep_network *n)
{
	if (n->delta)
		assert_int_equal(n->number, privsep->number + 1);
	else
		prefix_table_free(&privsep->routes);
	for (size_t i = 0; i < n->gone.count; i++) {
		struct prefix_entry *entry = prefix_table_find(&privsep->routes, &n->gone.list[i]);

		assert_non_null(entry);
		prefix_table_remove(&privsep->routes, entry);
	}
	for (size_t i = 0; i < n->routes.count; i++) {
		assert_null(prefix_table_find(&privsep->routes, &n->routes.list[i]));
		assert_non_null(prefix_table_add(&privsep->routes, &n->routes.list[i]));
	}
	privsep->number = n->number;
	privsep->wholes += !n->delta;
	privsep->routes_sent += (unsigned int)(n->routes.count + n->gone.count);
}

/* write_network() - "up, nft; 100.64.0.1/32; 100.64.0.2/32 100.64.0.3/32": routes in order */
static void write_network(const struct privsep_network *n, const struct prefix_table *has,
			  char *out, size_t size)
{
	char routes[16][PREFIX_TEXT_MAX], text[PREFIX_TEXT_MAX];
	const struct prefix_entry *entry;
	size_t used, count = 0;

	used = (size_t)snprintf(out, size, "%s%s;", n->up ? "up" : "down",
				n->netfilter ? ", nft" : "");
	for (size_t i = 0; i < n->addresses.count; i++)
		used += (size_t)snprintf(out + used, size - used, " %s",
					 prefix_format(&n->addresses.list[i], text));
	used += (size_t)snprintf(out + used, size - used, ";");
	if (has->count > ARRAY_SIZE(routes)) {
		snprintf(out + used, size - used, " many");
		return;
	}
	LIST_FOREACH(entry, &has->entries, entry)
		prefix_format(&entry->prefix, routes[count++]);
	if (count)
		qsort(routes, count, sizeof(routes[0]), by_text);
	for (size_t i = 0; i < count; i++)
		used += (size_t)snprintf(out + used, size - used, " %s", routes[i]);
	assert_true(used < size);
}

int privsep_client_network(struct privsep_client *privsep, const struct privsep_network *network,
			   privsep_done done, void *userdata)
{
	take_routes(privsep, network);
	write_network(network, &privsep->routes, privsep->network, sizeof(privsep->network));
	return wait_for_answer(privsep,
			       (struct fake_request){true, PRIVSEP_BLOB_STATE, done, userdata});
}

int privsep_client_serve(struct privsep_client *privsep, const struct privsep_serve *serve,
			 privsep_done done, void *userdata)
{
	privsep->serve_ports = serve->port_count;
	snprintf(privsep->cert_domains, sizeof(privsep->cert_domains), "%s",
		 serve->cert_domains ? serve->cert_domains : "");
	privsep->signs = serve->signs;
	return wait_for_answer(privsep,
			       (struct fake_request){true, PRIVSEP_BLOB_STATE, done, userdata});
}

int privsep_client_status(struct privsep_client *privsep, enum privsep_state state,
			  const char *text)
{
	privsep->told = state;
	snprintf(privsep->reason, sizeof(privsep->reason), "%s", text);
	return 0;
}

int privsep_client_settled(struct privsep_client *privsep)
{
	privsep->settled = true;
	return 0;
}

int privsep_client_login(struct privsep_client *privsep, const char *url)
{
	snprintf(privsep->login, sizeof(privsep->login), "%s", url);
	return 0;
}

/* --- The world --- */

/* answer() - The supervisor answers what waits now, in order: how many of it */
static size_t answer(struct world *w, bool network, int result)
{
	size_t waiting = w->privsep.count, answered = 0;

	for (size_t i = 0, at = 0; i < waiting; i++) {
		struct fake_request request = w->privsep.requests[at];

		if (request.network != network) {
			at++;
			continue;
		}
		w->privsep.count--;
		memmove(&w->privsep.requests[at], &w->privsep.requests[at + 1],
			(w->privsep.count - at) * sizeof(request));
		answered++;
		request.done(request.userdata, result, result < 0 ? "the disk is full" : "");
		if (w->node)
			node_settle(w->node);
	}
	return answered;
}

static void answer_all(struct world *w)
{
	while (answer(w, false, 0) + answer(w, true, 0) > 0)
		;
}

static void on_stopped(void *context)
{
	((struct world *)context)->stopped++;
}

/* begin_node() - With what the supervisor has stored by now, and before it answers */
static void begin_node(struct world *w)
{
	struct node_options options = {
		.loop = &w->loop,
		.privsep = &w->privsep,
		.start = &w->start,
		.sandbox_missing = "",
		.stopped = on_stopped,
		.context = w,
	};
	struct error err = {0};

	w->privsep.settled = false;
	assert_int_equal(node_new(&options, &w->node, &err), 0);
}

static void start_node(struct world *w)
{
	begin_node(w);
	answer_all(w);
}

static void end_node(struct world *w)
{
	node_stop(w->node);
	answer_all(w);
	node_free(TAKE_PTR(w->node));
	uv_run(&w->loop, UV_RUN_DEFAULT);
	w->privsep.count = 0;
	assert_int_equal(fake_client_count, 0);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_true(sodium_init() >= 0);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	w->privsep.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->privsep.state = BUFFER_INIT(1 << 20);
	w->privsep.cache = BUFFER_INIT(PRIVSEP_BLOB_MAX);
	privsep_start_init(&w->start.config);
	w->start.config.tun_name = strdup("tailscale0");
	w->start.config.prefs =
		strdup("{\"ControlURL\":\"https://one.example\",\"ControlURLSet\":true}");
	w->start.handover = handover_create();
	w->start.udp_v4 = w->start.udp_v6 = -1;
	start_node(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	end_node(w);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	close(w->privsep.fd);
	close(w->start.handover);
	privsep_start_clear(&w->start.config);
	buffer_free(&w->privsep.state);
	buffer_free(&w->privsep.cache);
	prefix_table_free(&w->privsep.routes);
	free(w);
	return 0;
}

/* --- What local programs and control do --- */

static json_t *object(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);

	assert_true(json_is_object(json));
	return json;
}

static inline void edit(struct world *w, const char *masked)
{
	json_t *json = object(masked);
	struct error err = {0};

	assert_int_equal(node_edit_prefs(w->node, json, &err), 0);
	json_decref(json);
}

/* start() - As `up` does it; @key may be NULL */
static void start(struct world *w, const char *key)
{
	json_t *json = object("{\"UpdatePrefs\":{\"ControlURL\":\"https://one.example\","
			      "\"WantRunning\":true}}");
	struct error err = {0};

	if (key)
		json_object_set_new(json, "AuthKey", json_string(key));
	assert_int_equal(node_start(w->node, json, &err), 0);
	answer_all(w);
}

static inline void login(struct world *w)
{
	struct error err = {0};

	assert_int_equal(node_login_interactive(w->node, &err), 0);
}

/* new_key() - Control's client wants a new pair stored */
static struct secret_key new_key(struct world *w, const struct secret_key *old)
{
	struct secret_key key;

	secret_key_generate(&key);
	control_says(w, new_node_key, &key, old);
	return key;
}

static void registered(struct world *w, const struct secret_key *key)
{
	struct tailcfg_register_response response = {.machine_authorized = true};

	control_says(w, registered, key, &response);
	answer_all(w);
}

/*
 * hear_map() - One message of control, which the supervisor has not yet acted on
 * @text: "SELF" in it is the key of @self, "PEER1" and "PEER2" those of peers
 */
static void hear_map(struct world *w, const struct secret_key *self, const char *text)
{
	char *message = strdup(text);
	struct netmap_change change = {0};
	struct public_key key;

	for (int i = 0; i < 3; i++) {
		static const char *const names[] = {"SELF", "PEER1", "PEER2"};
		char formatted[KEY_TEXT_MAX], *at;

		memset(key.bytes, 0x10 + i, sizeof(key.bytes));
		if (i == 0 && self)
			secret_key_public(self, &key);
		public_key_format(&key, KEY_NODE, formatted);
		while ((at = strstr(message, names[i]))) {
			char *grown;

			*at = 0;
			assert_true(asprintf(&grown, "%s%s%s", message, formatted,
					     at + strlen(names[i])) > 0);
			free(message);
			message = grown;
		}
	}
	assert_int_equal(feed(client()->map, message, &change), 0);
	control_says(w, netmap, client()->map, &change);
	netmap_change_clear(&change);
	free(message);
}

static void map(struct world *w, const struct secret_key *self, const char *text)
{
	hear_map(w, self, text);
	answer_all(w);
}

static struct public_key peer_key(int number)
{
	struct public_key key;

	memset(key.bytes, 0x10 + number, sizeof(key.bytes));
	return key;
}

static inline bool has_peer(struct world *w, int number)
{
	const struct public_key key = peer_key(number);
	struct tunnel_peer_status status;

	return w->node->tunnel && tunnel_peer_status(w->node->tunnel, &key, &status) == 0;
}

#define SELF_NODE                                                                               \
	"\"Node\":{\"ID\":1,\"StableID\":\"self\",\"Key\":\"SELF\",\"MachineAuthorized\":true," \
	"\"Addresses\":[\"100.64.0.1/32\"]}"
#define FULL_MAP                                                                         \
	"{" SELF_NODE ",\"Peers\":["                                                     \
	"{\"ID\":2,\"Key\":\"PEER1\",\"Addresses\":[\"100.64.0.2/32\"],\"AllowedIPs\":[" \
	"\"100.64.0.2/32\"]},"                                                           \
	"{\"ID\":3,\"Key\":\"PEER2\",\"Addresses\":[\"100.64.0.3/32\"],\"AllowedIPs\":[" \
	"\"100.64.0.3/32\"]}],"                                                          \
	"\"PacketFilter\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{"  \
	"\"First\":0,\"Last\":65535}}]}]}"

#define UNSIGNED_PEER                                                         \
	"{\"PeersChanged\":[{\"ID\":4,\"Key\":\"nodekey:"                     \
	"4444444444444444444444444444444444444444444444444444444444444444\"," \
	"\"Addresses\":[\"100.64.0.4/32\"],\"UnsignedPeerAPIOnly\":true}]}"

/* run() - All the way to Running, with two peers; the node key */
static struct secret_key run(struct world *w)
{
	struct secret_key key;

	start(w, "first");
	key = new_key(w, NULL);
	answer_all(w);
	assert_int_equal(client()->stored, 0);
	control_says(w, auth_key_wanted);
	registered(w, &key);
	map(w, &key, FULL_MAP);
	assert_int_equal(node_state(w->node), NODE_RUNNING);
	return key;
}

static inline bool is_waiting(const struct world *w, bool network)
{
	for (size_t i = 0; i < w->privsep.count; i++)
		if (w->privsep.requests[i].network == network &&
		    w->privsep.requests[i].blob == PRIVSEP_BLOB_STATE)
			return true;
	return false;
}

static void on_patience_over(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* wait_for_request() - Let time pass until the kernel's network, or a store of the state, is asked
 * for */
static inline bool wait_for_request(struct world *w, bool network, uint64_t most_ms)
{
	uv_timer_t patience;
	uint64_t until;

	uv_timer_init(&w->loop, &patience);
	uv_update_time(&w->loop);
	until = uv_now(&w->loop) + most_ms;
	uv_timer_start(&patience, on_patience_over, most_ms, 0);
	while (!is_waiting(w, network) && uv_now(&w->loop) < until)
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&patience, NULL);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	return is_waiting(w, network);
}

/* --- What the node tells --- */

static inline unsigned int messages_with(json_t *log, const char *member)
{
	unsigned int count = 0;
	json_t *message;
	size_t i;

	json_array_foreach(log, i, message)
		count += json_object_get(message, member) != NULL;
	return count;
}

static inline void on_notify(void *context, const void *line, size_t length)
{
	json_t *message = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);

	assert_true(json_is_object(message));
	assert_int_equal(((const char *)line)[length - 1], '\n');
	json_array_append_new(context, message);
}

/* written() - The JSON that the node wrote into @text, which is released; NULL: nothing */
static inline json_t *written(struct buffer *text)
{
	json_t *json = NULL;

	if (text->length) {
		json = json_loadb((const char *)buffer_head(text), text->length,
				  JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(json);
	}
	buffer_free(text);
	return json;
}

static inline json_t *status_of(struct world *w, bool peers)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer writer = json_writer_to(&text);

	node_write_status(w->node, peers, &writer, NULL);
	return written(&text);
}

static inline json_t *health_of(struct world *w)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer writer = json_writer_to(&text);

	node_write_health(w->node, &writer, NULL);
	return written(&text);
}

static inline json_t *health_lines_of(struct world *w)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer writer = json_writer_to(&text);

	node_write_health_lines(w->node, &writer, NULL);
	return written(&text);
}

static inline json_t *whois_of(struct world *w, const struct address *address)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer writer = json_writer_to(&text);

	(void)node_write_whois(w->node, address, &writer);
	return written(&text);
}

static inline int debug_of(struct world *w, const char *action, json_t **ret, struct error *err)
{
	struct buffer text = BUFFER_INIT(LIMIT_MAP_OBJECT);
	struct json_writer writer = json_writer_to(&text);
	int r = node_debug(w->node, action, &writer, err);

	*ret = written(&text);
	return r;
}

static inline const char *text_at(const json_t *json, const char *name)
{
	const char *text = json_string_value(json_object_get(json, name));

	return text ? text : "";
}
