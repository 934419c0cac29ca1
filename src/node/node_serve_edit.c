/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_serve_edit.c - the configuration of served ports, as local programs read and change it
 *
 * DOC: Theory of operation
 *
 * What a command with --bg sets is stored in the state file. A command in the foreground has a
 * session: its watch of the bus (node_bus.c). What it sets is in "Foreground", under the session's
 * id, is never stored, and ends with the watch. A change that lacks an open session ends its watch,
 * so that the command ends too. Ports of a session are its own: nothing else may serve them.
 */
#include "base/text.h"
#include "node/node_internal.h"
#include "wire/serve_config.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS_MAX 64u

int node_serve_config(struct node *node, struct buffer *out, char ret_etag[static NODE_ETAG_MAX])
{
	_cleanup_(buffer_free) struct buffer text = BUFFER_INIT(SERVE_CONFIG_MAX);
	unsigned char hash[crypto_hash_sha256_BYTES];
	_cleanup_free_ char *compact = NULL;
	const char *source;
	json_t *config;
	int r;

	(void)node_serve_in_force(node, &source);
	r = serve_config_expand(source, strlen(source), node_serve_domain(node), &text);
	if (r < 0)
		return r;
	config = json_loadb((const char *)buffer_head(&text), text.length, 0, NULL);
	compact = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(config);
	if (!compact)
		return -ENOMEM;
	crypto_hash_sha256(hash, (const unsigned char *)compact, strlen(compact));
	sodium_bin2hex(ret_etag, NODE_ETAG_MAX, hash, sizeof(hash));
	return buffer_append(out, compact, strlen(compact));
}

/* check_etag() - Whether @etag, if there is one, is of the configuration in force */
static int check_etag(struct node *node, const char *etag, struct error *err)
{
	_cleanup_(buffer_free) struct buffer now = BUFFER_INIT(SERVE_CONFIG_MAX);
	char now_etag[NODE_ETAG_MAX];
	int r;

	if (!etag || !*etag)
		return 0;
	r = node_serve_config(node, &now, now_etag);
	if (r < 0)
		return error_set_errno(err, r, "read the serve configuration");
	return strcmp(etag, now_etag) == 0 ? 0 : error_set(err, -ESTALE, "etag mismatch");
}

/* check_funnel() - Whether the internet may be let in, if @config does so */
static int check_funnel(const struct node *node, const json_t *config, struct error *err)
{
	const char *site;
	json_t *on;
	int r = 0;

	json_object_foreach(json_object_get(config, "AllowFunnel"), site, on) {
		const char *colon = strrchr(site, ':');

		if (r < 0 || !json_is_true(on))
			continue;
		r = node_ingress_check(node, err);
		if (r == 0 && colon && !serve_funnel_port((uint16_t)strtoul(colon + 1, NULL, 10)))
			r = error_set(err, -EINVAL,
				      "port %.5s is not allowed for funnel; allowed ports are: "
				      "443,8443,10000",
				      colon + 1);
	}
	return r;
}

/* has_port() - Whether one of the @sessions, without @but, serves @port */
static bool has_port(const json_t *sessions, const char *port, const char *but)
{
	const char *id;
	json_t *session;

	json_object_foreach((json_t *)(uintptr_t)sessions, id, session) {
		if (strcmp(id, but) != 0 && json_object_get(json_object_get(session, "TCP"), port))
			return true;
	}
	return false;
}

/*
 * check_sessions() - Ports of a session in the foreground are its own
 * @next: the wanted configuration, whose sessions are those of open watches
 */
static int check_sessions(const struct node *node, const json_t *next, struct error *err)
{
	const json_t *sessions = json_object_get(next, "Foreground"), *now;
	const json_t *ports = json_object_get(next, "TCP");
	const char *id, *port;
	json_t *session, *value;

	now = node_serve_foreground(node);
	if (json_object_size(sessions) > SESSIONS_MAX)
		return error_set(err, -EINVAL, "more than %u sessions in the foreground",
				 SESSIONS_MAX);
	json_object_foreach((json_t *)(uintptr_t)sessions, id, session) {
		int r = check_funnel(node, session, err);

		if (r < 0)
			return r;
		if (json_object_get(session, "Foreground"))
			return error_set(err, -EINVAL, "a session has no Foreground of its own");
		json_object_foreach(json_object_get(session, "TCP"), port, value) {
			if (json_object_get(ports, port) || has_port(sessions, port, id))
				return error_set(err, -EINVAL,
						 "listener already exists for port %s", port);
		}
	}
	json_object_foreach((json_t *)(uintptr_t)ports, port, value) {
		if (has_port(now, port, "") && has_port(sessions, port, ""))
			return error_set(err, -EINVAL,
					 "foreground listener already exists for port %s", port);
	}
	return 0;
}

/* check_change() - Refuse what can't be served, and another protocol on a port in use */
static int check_change(const struct node *node, const struct serve_config *next, struct error *err)
{
	const char *text;
	const struct serve_config *now = node_serve_in_force(node, &text);

	if (next->port_count > SERVE_PORTS_MAX)
		return error_set(err, -EINVAL, "more than %u ports", SERVE_PORTS_MAX);
	for (size_t i = 0; i < next->port_count; i++) {
		const struct serve_port *port = &next->ports[i];
		const struct serve_port *used = serve_config_port(now, port->port);

		if (used && used->protocol != port->protocol)
			return error_set(err, -EINVAL,
					 "want to serve \"%s\", but port %u is already serving "
					 "\"%s\"; turn it off first",
					 serve_protocol_name(port->protocol), port->port,
					 serve_protocol_name(used->protocol));
	}
	return node_serve_check_roots(node, next, err);
}

/* check_rights() - The supervisor, as root, opens files and Unix sockets: the operator may have no right to them */
static int check_rights(const struct serve_config *next, struct error *err)
{
	bool socket = false;

	for (size_t i = 0; i < next->target_count; i++)
		socket |= next->targets[i].path != NULL;
	return socket || next->path_count > 0
		       ? error_set(err, -EACCES,
				   "must be root to serve a path or a Unix socket: ask root to set "
				   "it")
		       : 0;
}

/* check_config() - Whether @text, which is @json, may replace what is in force */
static int check_config(struct node *node, const json_t *json, const char *text, bool root,
			struct error *err)
{
	const char *domain = node_serve_domain(node);
	struct serve_config next = {0};
	int r = check_funnel(node, json, err);

	if (r == 0)
		r = check_sessions(node, json, err);
	if (r == 0 && strstr(text, SERVE_CERT_DOMAIN))
		r = error_set(err, -EINVAL,
			      "%s is for the file of TS_SERVE_CONFIG: write the node's name, %s",
			      SERVE_CERT_DOMAIN, domain ? domain : "NAME.TAILNET");
	if (r == 0)
		r = serve_config_parse(text, strlen(text), domain, &next, err);
	if (r == 0 && !root)
		r = check_rights(&next, err);
	if (r == 0)
		r = check_change(node, &next, err);
	serve_config_free(&next);
	return r;
}

/* drop_closed() - Sessions whose watch is gone: a program has read them before */
static void drop_closed(const struct node *node, json_t *sessions)
{
	json_t *session;
	const char *id;
	void *next;

	json_object_foreach_safe(sessions, next, id, session) {
		if (!node_bus_has(node, id) || !json_is_object(session))
			(void)json_object_del(sessions, id);
	}
}

/* end_missing() - Close the watches of sessions that the new configuration lacks */
static void end_missing(struct node *node, json_t *before)
{
	const json_t *now = node_serve_foreground(node);
	json_t *session;
	const char *id;

	json_object_foreach(before, id, session) {
		if (!json_object_get(now, id))
			node_bus_end(node, id);
	}
}

/* change() - Store @background, a text, if it is another one, and take it and @sessions */
static int change(struct node *node, const char *background, json_t *sessions, struct error *err)
{
	_cleanup_(buffer_free) struct buffer stored = BUFFER_INIT(SERVE_CONFIG_MAX);
	json_t *before = json_copy(node_serve_foreground(node));
	int r = state_file_serve_config(&node->state, &stored);
	bool same = r == 0 && stored.length == strlen(background) &&
		    memcmp(buffer_head(&stored), background, stored.length) == 0;

	r = same ? 0 : state_file_set_serve_config(&node->state, background);
	if (r < 0) {
		json_decref(before);
		return error_set_errno(err, r, "store the serve configuration");
	}
	if (!same)
		node_store_state(node);
	node_serve_take(node, json_incref(sessions));
	end_missing(node, before);
	json_decref(before);
	return 0;
}

int node_set_serve_config(struct node *node, const json_t *config, const char *etag, bool root,
			  struct error *err)
{
	json_t *next, *sessions;
	_cleanup_free_ char *whole = NULL, *background = NULL;
	int r = node_check_usable(node, "change the serve configuration", err);

	if (r < 0)
		return r;
	if (text_equal(node_serve_file_name(node), START_SERVE_CONFIG_JSON))
		return error_set(err, -EEXIST,
				 START_SERVE_CONFIG_JSON " is in force: change the variable, or "
							 "start without it");
	if (node_serve_file_name(node))
		return error_set(err, -EEXIST,
				 "the file of TS_SERVE_CONFIG (--serve-config), %.200s, is in "
				 "force: change the file, or start without it",
				 node_serve_file_name(node));
	if (!node_has_map(node) || !*node->state.profile_id)
		return error_set(err, -EBUSY, "netMap is nil: the node has to be logged in first");
	r = check_etag(node, etag, err);
	if (r < 0)
		return r;
	next = json_deep_copy(config);
	sessions = json_incref(json_object_get(next, "Foreground"));
	drop_closed(node, sessions);
	whole = json_dumps(next, JSON_COMPACT | JSON_SORT_KEYS);
	r = whole ? check_config(node, next, whole, root, err)
		  : error_set(err, -ENOMEM, "out of memory");
	(void)json_object_del(next, "Foreground");
	background = json_dumps(next, JSON_COMPACT | JSON_SORT_KEYS);
	if (r == 0)
		r = background ? change(node, background, sessions, err)
			       : error_set(err, -ENOMEM, "out of memory");
	json_decref(sessions);
	json_decref(next);
	return r;
}

void node_serve_session_ended(struct node *node, const char *session)
{
	json_t *sessions = node_serve_foreground(node);

	if (node->stopping || !json_object_get(sessions, session))
		return;
	json_incref(sessions);
	(void)json_object_del(sessions, session);
	node_serve_take(node, sessions);
}
