/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server/ingress/ingress_names.c - which node has which name, of the LocalAPI
 *
 * DOC: Theory of operation
 *
 * GET /localapi/v0/funnels answers with the peers that funnel (and with those that the
 * configuration maps names to). It is asked each second, on a connection of its own: the answer
 * grows with the funnels, not with the tailnet. While the node does not answer, the last table
 * stays: the node may be restarting, and connections that the kernel still routes work.
 */
#define LOG_ROOM "ingress"
#include "base/log.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "server/ingress/ingress_internal.h"
#include "transport/http1.h"
#include "transport/stream.h"
#include "transport/tcp.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define ASK_EVERY  NSEC_PER_SEC
#define ASK_SOON   (NSEC_PER_SEC / 5) /* between two, while clients wait for a name */
#define PATIENCE   (5 * NSEC_PER_SEC)
#define ANSWER_MAX ((size_t)8 * 1024 * 1024)
#define NAMES_MAX  16384u
#define HOST       "local-tailscaled.sock"
#define WHY_MAX    128u

struct named {
	char name[INGRESS_NAME_MAX];
	struct ingress_target target;
	UT_hash_handle hh;
};

struct ingress_names {
	struct ingress *ingress;
	struct named *table;
	char *path;  /* of the request */
	uid_t owner; /* whose LocalAPI is believed, root's aside */
	struct loop_timer *timer;
	struct stream *stream; /* while a question is under way */
	nanoseconds asked_at;  /* the last question */
	struct http1_parser parser;
	int status;
	struct buffer body;
	bool fresh;  /* the last question was answered */
	bool logged; /* that it is not */
};

/* --- The table --- */

const struct ingress_target *ingress_names_find(const struct ingress_names *names, const char *name)
{
	struct named *named;

	HASH_FIND_STR(names->table, name, named);
	return named ? &named->target : NULL;
}

size_t ingress_names_count(const struct ingress_names *names)
{
	return HASH_COUNT(names->table);
}

bool ingress_names_fresh(const struct ingress_names *names)
{
	return names->fresh;
}

static void clear_table(struct named **table)
{
	struct named *named, *next;

	HASH_ITER(hh, *table, named, next) {
		HASH_DEL(*table, named);
		free(named);
	}
}

static int add(struct named **table, const char *name, const struct ingress_target *target)
{
	struct named *named;

	HASH_FIND_STR(*table, name, named);
	if (named || HASH_COUNT(*table) >= NAMES_MAX || strlen(name) >= sizeof(named->name))
		return 0; /* the first one stays */
	named = calloc(1, sizeof(*named));
	if (!named)
		return -ENOMEM;
	strcpy(named->name, name);
	named->target = *target;
	HASH_ADD_STR(*table, name, named);
	if (!named->hh.tbl) { /* HASH_NONFATAL_OOM */
		free(named);
		return -ENOMEM;
	}
	return 0;
}

/* is_node() - Whether @node, of a map, means the node with the MagicDNS name @name: its whole name, or its first label
 * if it is of this tailnet, @suffix. A node that is shared into the tailnet has another suffix, and its owner
 * chooses the label. */
static bool is_node(const char *node, const char *name, const char *suffix)
{
	size_t length = strlen(node);

	if (strchr(node, '.'))
		return strcasecmp(name, node) == 0;
	return *suffix && strncasecmp(name, node, length) == 0 && name[length] == '.' &&
	       strcasecmp(name + length + 1, suffix) == 0;
}

static void read_addresses(const json_t *list, struct ingress_target *target)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item);

		if (text && target->address_count < INGRESS_ADDRESSES_MAX &&
		    endpoint_parse(text, strlen(text), &target->addresses[target->address_count]) ==
			    0)
			target->address_count++;
	}
}

static void lower(char *text)
{
	for (; *text; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text - 'A' + 'a');
}

/* take_peer() - The names that are mapped to it, or (@own) its own name if it funnels */
static int take_peer(struct ingress_names *names, const json_t *peer, const char *suffix, bool own,
		     struct named **table)
{
	const struct ingress_config *config = &names->ingress->config;
	const char *name = json_string_value(json_object_get(peer, "Name"));
	struct ingress_target target = {.online = json_is_true(json_object_get(peer, "Online"))};
	int r = 0;

	if (!name || !*name || strlen(name) >= sizeof(target.node))
		return 0;
	strcpy(target.node, name);
	lower(target.node);
	read_addresses(json_object_get(peer, "PeerAPI"), &target);
	if (own)
		return json_is_true(json_object_get(peer, "Ingress"))
			       ? add(table, target.node, &target)
			       : 0;
	for (size_t i = 0; r == 0 && i < config->map_count; i++)
		if (is_node(config->maps[i].node, name, suffix))
			r = add(table, config->maps[i].name, &target);
	return r;
}

/* take_answer() - Replace the table; 0 or negative errno */
static int take_answer(struct ingress_names *names)
{
	json_t *json = json_loadb((const char *)buffer_head(&names->body), names->body.length,
				  JSON_REJECT_DUPLICATES, NULL);
	const json_t *peers = json_object_get(json, "Peers"), *peer;
	const char *suffix = json_string_value(json_object_get(json, "Suffix"));
	struct named *table = NULL;
	int r = json_is_array(peers) ? 0 : -EBADMSG;
	size_t i, before = HASH_COUNT(names->table);

	/* The configuration comes before what peers call themselves. */
	for (int own = 0; own < 2; own++) {
		json_array_foreach(peers, i, peer) {
			if (r == 0)
				r = take_peer(names, peer, suffix ? suffix : "", own, &table);
		}
	}
	json_decref(json);
	if (r < 0) {
		clear_table(&table);
		return r;
	}
	clear_table(&names->table);
	names->table = table;
	if (before != HASH_COUNT(table))
		log_info("names with a node: %u", HASH_COUNT(table));
	return 0;
}

/* --- The question --- */

static void end_question(struct ingress_names *names)
{
	stream_close(TAKE_PTR(names->stream));
	http1_parser_free(&names->parser);
	buffer_free(&names->body);
	loop_timer_at(names->timer, clock_boottime() + ASK_EVERY);
}

static void fail(struct ingress_names *names, const char *why)
{
	names->ingress->statistics.names_failed++;
	if (!names->logged)
		log_warn("the node at %s does not tell who funnels: %s; is pillion running there, "
			 "and does this process share its socket?",
			 names->ingress->config.socket, why);
	names->logged = true;
	names->fresh = false;
	end_question(names);
}

static void succeed(struct ingress_names *names)
{
	int r = take_answer(names);

	if (r < 0) {
		fail(names, r == -EBADMSG ? "its answer is not the expected JSON" : strerror(-r));
		return;
	}
	if (names->logged)
		log_info("the node at %s answers again", names->ingress->config.socket);
	names->logged = false;
	names->fresh = true;
	end_question(names);
	names->ingress->names_known(names->ingress, names->asked_at);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct ingress_names *names = user;
	char text[64];
	size_t used;
	int r;

	while ((r = http1_parse(&names->parser, bytes, length, &used)) > HTTP1_MORE) {
		bytes += used;
		length -= used;
		if (r == HTTP1_HEAD)
			names->status = names->parser.head.status;
		else if (r == HTTP1_BODY)
			r = buffer_append(&names->body, names->parser.body,
					  names->parser.body_length);
		if (r < 0)
			break;
		if (r != HTTP1_END)
			continue;
		snprintf(text, sizeof(text), "HTTP %d", names->status);
		if (names->status == 200)
			succeed(names);
		else
			fail(names, text);
		return;
	}
	if (r < 0)
		fail(names, r == -EBADMSG ? names->parser.error : strerror(-r));
}

static void on_closed(void *user, const struct error *err)
{
	fail(user, err ? err->text : "it closed the connection");
}

/*
 * connect_to() - The socket at the configured path, or a negative errno
 *
 * What listens there decides where names lead. Somebody else who can write into the folder may have put it there.
 * #syscalls: socket connect getsockopt
 */
static int connect_to(const struct ingress_names *names, char ret_why[static WHY_MAX])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);

	/* ingress_names_new() has checked its length. */
	strcpy(address.sun_path, names->ingress->config.socket);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
		snprintf(ret_why, WHY_MAX, "%s", strerror(errno));
		return -errno;
	}
	if (peer.uid == 0 || peer.uid == names->owner)
		return TAKE_FD(fd);
	snprintf(ret_why, WHY_MAX, "user %u listens there, and not root", peer.uid);
	return -EPERM;
}

static int send_question(struct ingress_names *names)
{
	_cleanup_(buffer_free) struct buffer out = BUFFER_INIT(ANSWER_MAX);
	int r = http1_write_request(&out, "GET", names->path);

	if (r == 0)
		r = http1_write_header(&out, "Host", HOST);
	if (r == 0)
		r = http1_write_header(&out, "Connection", "close");
	if (r == 0)
		r = http1_write_head_end(&out);
	return r == 0 ? stream_write(names->stream, buffer_head(&out), out.length) : r;
}

static void ask(struct ingress_names *names)
{
	static const struct stream_events events = {.data = on_data, .closed = on_closed};
	char why[WHY_MAX];
	int fd = connect_to(names, why), r = fd;

	names->ingress->statistics.names_asked++;
	names->status = 0;
	names->asked_at = clock_boottime();
	names->body = BUFFER_INIT(ANSWER_MAX);
	http1_parser_init(&names->parser, true);
	loop_timer_at(names->timer, clock_boottime() + PATIENCE);
	if (r < 0) {
		fail(names, why);
		return;
	}
	r = tcp_open(names->ingress->loop, fd, &names->stream, NULL);
	if (r == 0) {
		stream_set_events(names->stream, &events, names);
		r = send_question(names);
	}
	if (r < 0)
		fail(names, strerror(-r));
}

void ingress_names_hurry(struct ingress_names *names)
{
	if (!names->stream && names->fresh)
		loop_timer_at(names->timer, names->asked_at + ASK_SOON);
}

static void on_timer(void *user)
{
	struct ingress_names *names = user;

	if (names->stream)
		fail(names, "it did not answer in time");
	else
		ask(names);
}

/* make_path() - The nodes of maps are named, since they need not funnel their own names */
static char *make_path(const struct ingress_config *config)
{
	_cleanup_(buffer_free) struct buffer path = BUFFER_INIT(LIMIT_HTTP_HEADER / 2);
	int r = buffer_printf(&path, "/localapi/v0/funnels");

	for (size_t i = 0; r == 0 && i < config->map_count; i++)
		r = buffer_printf(&path, "%s%s", i ? "," : "?nodes=", config->maps[i].node);
	return r < 0 ? NULL : strndup((const char *)buffer_head(&path), path.length);
}

int ingress_names_new(struct ingress *ingress, struct ingress_names **ret, struct error *err)
{
	struct ingress_names *names;

	if (strlen(ingress->config.socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return error_set(err, -ENAMETOOLONG, "the path of the socket is too long: %s",
				 ingress->config.socket);
	names = calloc(1, sizeof(*names));
	if (!names)
		return error_set(err, -ENOMEM, "out of memory");
	names->ingress = ingress;
	names->owner = geteuid(); /* before the sandbox */
	names->path = make_path(&ingress->config);
	if (!names->path || loop_timer_create(ingress->loop, on_timer, names, &names->timer) < 0) {
		ingress_names_free(names);
		return error_set(err, -ENOMEM,
				 "out of memory, or the names of nodes in --map are too long");
	}
	loop_timer_soon(names->timer);
	*ret = names;
	return 0;
}

void ingress_names_free(struct ingress_names *names)
{
	if (!names)
		return;
	if (names->stream)
		end_question(names);
	loop_timer_free(names->timer);
	clear_table(&names->table);
	free(names->path);
	free(names);
}
