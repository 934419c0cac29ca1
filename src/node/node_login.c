/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_login.c - the control client: registering and keys
 *
 * Theory of operation
 *
 * A new node key is stored before control learns of it: the client waits until the
 * supervisor confirms that the key is on disk. The node reads an auth key only when control
 * wants one, so a known node needs none, and the expiry of the auth key doesn't matter. A
 * spent auth key of the environment doesn't renew an expired node key unless a person asks:
 * otherwise a node would come back although an administrator let it expire.
 *
 * While our own node key is expired no packet passes to any peer, as with the official
 * daemon: the tunnel is closed until the key is extended or replaced. The map session
 * continues.
 */
#define LOG_ROOM "node"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/small_file.h"
#include "node/node_internal.h"
#include "privsep/records.h"
#include "transport/dial.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void set_auth_url(struct node *node, const char *url)
{
	if (url && node->auth_url && strcmp(url, node->auth_url) == 0)
		return;
	free(node->auth_url);
	node->auth_url = url ? strdup(url) : NULL;
	if (url)
		node_bus_text(node, "BrowseToURL", url);
}

/* set_login_warning() - Warn that a person has to act; NULL: no longer. Returns whether it changed */
static bool set_login_warning(struct node *node, const char *text)
{
	node->approval_awaited = false;
	return node_warn(node, NODE_WARN_LOGIN, text);
}

/* read_key_file() - The auth key that the supervisor was given; NULL if there is none */
static char *read_key_file(struct node *node)
{
	_cleanup_close_ int fd = privsep_client_open_file(node->privsep, PRIVSEP_FILE_AUTH_KEY);
	struct buffer bytes = BUFFER_INIT(START_STRING_MAX);
	char *key = NULL;
	int r;

	if (fd < 0) {
		log_error("the auth key can't be read: %s", file_problem(fd));
		return NULL;
	}
	r = file_read(fd, START_STRING_MAX - 1, &bytes);
	if (r < 0)
		log_error("the auth key can't be read: %s", file_problem(r));
	else if (bytes.length)
		key = strndup((const char *)buffer_head(&bytes), bytes.length);
	buffer_free_secret(&bytes);
	return key;
}

/* find_auth_key() - The key to log in with, or NULL */
static char *find_auth_key(struct node *node)
{
	if (node->auth_key)
		return strdup(node->auth_key);
	return node->start->config.auth_key_present ? read_key_file(node) : NULL;
}

/* give_auth_key() - Give @key, which is taken over, to the login under way; NULL: there is none */
static void give_auth_key(struct node *node, char *key)
{
	secret_string_free(node->given_key);
	node->given_key = key ? strdup(key) : NULL;
	control_client_give_auth_key(node->control, key);
}

/* forget_auth_key() - Wipe the auth key: control has accepted or refused it */
static void forget_auth_key(struct node *node)
{
	if (node->given_key)
		secret_string_free(TAKE_PTR(node->auth_key));
	secret_string_free(TAKE_PTR(node->given_key));
}

/* renew() - Replace the expired node key if an auth key is at hand that was never spent */
static void renew(struct node *node)
{
	char *key = find_auth_key(node);

	if (key && !state_file_spent_key(&node->state, key)) {
		secret_string_free(node->auth_key);
		node->auth_key = TAKE_PTR(key);
		node->login_request = LOGIN_NEW_KEY;
		node_changed(node, NODE_CHANGED_INTENT);
	}
	secret_string_free(key);
}

static void on_auth_key_wanted(void *user)
{
	give_auth_key(user, find_auth_key(user));
}

static void on_auth_url(void *user, const char *url)
{
	struct node *node = user;

	log_warn("to log in, open %s", url);
	(void)privsep_client_login(node->privsep, url);
	set_auth_url(node, url);
	forget_auth_key(node);
	node->needs_person = !node->renewing;
	node_changed(node, NODE_CHANGED_STATE);
}

/*
 * on_new_node_key() - Store a new key pair before control learns of it
 *
 * The pair that it replaces stays beside it, since the login may take a person days. An engine
 * that starts meanwhile uses the pair that control knows.
 */
static void on_new_node_key(void *user, const struct secret_key *key, const struct secret_key *old)
{
	struct node *node = user;
	struct persist *persist = &node->state.persist;

	persist->node_key = *key;
	if (old)
		persist->old_node_key = *old;
	else
		secret_key_wipe(&persist->old_node_key);
	node->key_waits = true;
	node->new_here = true;
	node_store_state(node);
}

/* write_empty() - {} as the value of a notify that says no more than its name */
static void write_empty(struct node *node, struct json_writer *w, const char *name)
{
	(void)node;
	json_begin_object(w, name);
	json_end_object(w);
}

static void on_registered(void *user, const struct secret_key *node_key,
			  const struct tailcfg_register_response *response)
{
	struct node *node = user;
	/*
	 * Registering again with the known key is no login. The map with a new key may come before
	 * the answer to its registration.
	 */
	bool anew = node->needs_person || node->key_expired ||
		    !secret_key_is_zero(&node->state.persist.old_node_key) ||
		    !node_is_in_map(node, node_key);

	(void)response; /* the map says whether the machine is approved */
	log_info("registered with %s", prefs_control_url(&node->state.prefs));
	node->map_awaited |= node->needs_person || node->key_expired;
	node->registered = true;
	node->renewing = false;
	if (node->given_key)
		state_file_spend_key(&node->state, node->given_key);
	forget_auth_key(node);
	node->login_wanted = false;
	node->login_asked = false;
	node->key_expired = false;
	node->needs_person = false;
	set_auth_url(node, NULL);
	set_login_warning(node, NULL);
	node_warn(node, NODE_WARN_CONTROL, NULL);
	node->state.persist.node_key = *node_key;
	/* The old key is not needed any more; see current_key(). */
	secret_key_wipe(&node->state.persist.old_node_key);
	(void)prefs_set_bool(&node->state.prefs, "LoggedOut", false);
	node_store_state(node);
	if (node->tunnel)
		tunnel_set_node_key(node->tunnel, node_key);
	else if (node_tunnel_open(node) == 0)
		node_apply_netmap(node);
	if (anew)
		node_bus_write(node, "LoginFinished", write_empty);
	node_changed(node, NODE_CHANGED_STATE);
}

static void on_need(void *user, enum control_need need, const struct error *reason)
{
	static const char *const remedies[] = {
		[CONTROL_NEED_LOGIN] = "",
		[CONTROL_NEED_AUTH_KEY] = "; create a new one on the server, then set TS_AUTHKEY "
					  "or run `pillion up --auth-key=KEY`",
		[CONTROL_NEED_TAGS] = "; leave --advertise-tags out and use a key that gives the "
				      "tags, or have the policy let this user ask for them",
	};
	struct node *node = user;
	char line[ERROR_TEXT_MAX + 160];

	/* Control no longer takes the node key, but an auth key is at hand. */
	if (need == CONTROL_NEED_LOGIN && node->auth_key && !node->given_key) {
		log_info("control refused the node key (%s): logging in with the auth key",
			 reason->text);
		node->login_request = LOGIN_NEW_KEY;
		node_changed(node, NODE_CHANGED_INTENT);
		return;
	}
	forget_auth_key(node);
	node->needs_person = !node->renewing;
	snprintf(line, sizeof(line), "%s%s%s", need == CONTROL_NEED_LOGIN ? "login needed: " : "",
		 reason->text, remedies[need]);
	if (set_login_warning(node, line))
		log_warn("%s", line);
	node_bus_text(node, "ErrMessage", node->warnings[NODE_WARN_LOGIN]);
	node_changed(node, NODE_CHANGED_STATE);
	if (reason->code == -EKEYEXPIRED)
		renew(node);
}

/* remedy() - A hint for the person, by the cause; "" where the cause's text has one */
static const char *remedy(int code)
{
	switch (code) {
	case DIAL_PROXY_FAILED:
		return ": check HTTPS_PROXY (http://user:password@host:port), or add the login "
		       "server "
		       "to NO_PROXY";
	case -ECONNREFUSED:
		return ": check the login server (TS_LOGIN_SERVER, --login-server), and that it "
		       "runs";
	case DIAL_UNRESOLVED:
		return ": check the login server's name (TS_LOGIN_SERVER, --login-server), and "
		       "that "
		       "the name server answers";
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return ": check the network, and that a firewall lets the connection through";
	default:
		return "";
	}
}

static void on_trouble(void *user, const struct error *reason, nanoseconds retry_in)
{
	struct node *node = user;
	char text[ERROR_TEXT_MAX + 100];

	snprintf(text, sizeof(text), "%s%s", reason->text, remedy(reason->code));
	log_warn("control: %s; next try in %lld s", text,
		 (long long)((retry_in + NSEC_PER_SEC - 1) / NSEC_PER_SEC));
	node_warn(node, NODE_WARN_CONTROL, text);
	node_changed(node, NODE_CHANGED_STATE);
}

static void on_healthy(void *user)
{
	struct node *node = user;

	if (node->warnings[NODE_WARN_CONTROL])
		log_info("control is reachable again");
	node_warn(node, NODE_WARN_CONTROL, NULL);
	node_changed(node, NODE_CHANGED_STATE);
}

static void on_key_expired(void *user, bool expired)
{
	static const char line[] = "the node key has expired: log in again with `pillion login`, "
				   "set an auth key, or have an administrator extend it";
	struct node *node = user;

	node->key_expired = expired;
	if (expired) {
		log_warn("%s", line);
		node_tunnel_close(node);
		node_apply_network(node);
	} else {
		log_info("the node key has been extended");
		if (node_tunnel_open(node) == 0)
			node_apply_netmap(node);
	}
	set_login_warning(node, expired ? line : NULL);
	node_changed(node, NODE_CHANGED_STATE);
	/* A login under way notices the expiry itself. */
	if (expired && node->registered && !node->renewing)
		renew(node);
}

static void on_logged_out(void *user, const struct error *error)
{
	struct node *node = user;
	void (*done)(void *, const struct error *) = TAKE_PTR(node->logout.done);
	struct error told;

	if (error) {
		error_set(&told, error->code,
			  "control did not confirm the logout (%.300s). This machine has forgotten "
			  "its keys; remove the node at the control server, or let its key expire",
			  error->text);
		log_warn("logout: %s", told.text);
	}
	if (!node->stopping)
		node_forget_login(node);
	if (done)
		done(node->logout.context, error ? &told : NULL);
}

static void on_reached(void *user, const struct address *addresses, size_t count)
{
	struct node *node = user;

	memcpy(node->known_control, addresses, count * sizeof(*addresses));
	node->known_control_count = count;
	node_store_cache_later(node);
}

static void on_pop_browser(void *user, const char *url)
{
	log_info("control wants this page shown: %s", url);
	node_bus_text(user, "BrowseToURL", url);
}

static const struct control_handler handler = {
	.auth_key_wanted = on_auth_key_wanted,
	.auth_url = on_auth_url,
	.new_node_key = on_new_node_key,
	.registered = on_registered,
	.need = on_need,
	.netmap = node_peers_netmap,
	.trouble = on_trouble,
	.healthy = on_healthy,
	.key_expired = on_key_expired,
	.logged_out = on_logged_out,
	.ping = node_ping_for_control,
	.c2n = node_answer_c2n,
	.reached = on_reached,
	.pop_browser = on_pop_browser,
};

void node_forget_session(struct node *node)
{
	node->control_started = false;
	if (node->login_request ==
	    LOGIN_AGAIN) /* a request for a new key waits for the next start */
		node->login_request = LOGIN_GOES_ON;
	node->renewing = false;
	secret_string_free(TAKE_PTR(node->given_key));
	node->needs_person = false;
	node->map_awaited = false;
	set_auth_url(node, NULL);
	set_login_warning(node, NULL);
	node_warn(node, NODE_WARN_CONTROL, NULL);
}

/* forget_tailnet() - Drop what belongs to the tailnet that this node left */
static void forget_tailnet(struct node *node)
{
	/* Close the tunnel first: its peers point into the netmap. */
	node_tunnel_close(node);
	node_control_close(node);
	netmap_free(TAKE_PTR(node->cached_netmap));
	buffer_consume(&node->handover, node->handover.length);
	node->registered = false;
	node->key_expired = false;
	node->home_derp = 0;
	node->cache_dirty = true;
}

void node_forget_server(struct node *node)
{
	forget_tailnet(node);
	state_file_forget_identity(&node->state);
	node->known_control_count = 0;
}

void node_forget_login(struct node *node)
{
	forget_tailnet(node);
	node->login_wanted = false;
	state_file_forget(&node->state);
	node_serve_stored(node);
	(void)node_machine_find_operator(node);
	(void)prefs_set_bool(&node->state.prefs, "LoggedOut", true);
	(void)prefs_set_bool(&node->state.prefs, "WantRunning", false);
	node_store_state(node);
	node_store_cache_now(node);
	node_store_handover(node);
	node_apply_network(node);
	node_changed(node, NODE_CHANGED_STATE);
}

int node_control_open(struct node *node, struct error *err)
{
	const struct persist *persist = &node->state.persist;
	bool has_key = !secret_key_is_zero(&persist->node_key);
	bool has_old = !secret_key_is_zero(&persist->old_node_key);
	struct control_options options = {
		.loop = node->loop,
		.sockets = node->sockets,
		.names = node->names,
		.tls = node->tls,
		.proxy = node->proxy,
		.server_url = prefs_control_url(&node->state.prefs),
		.machine_key = node->state.machine_key,
		.known_addresses = node->known_control,
		.known_address_count = node->known_control_count,
		.netmap = has_key ? TAKE_PTR(node->cached_netmap) : NULL,
		.handler = &handler,
		.user = node,
	};
	struct public_key disco, network_lock;
	unsigned char lock_secret[crypto_sign_SECRETKEYBYTES];
	int r;

	r = control_client_new(&options, &node->control, err);
	secret_key_wipe(&options.machine_key);
	if (r < 0)
		return r;
	secret_key_public(&node->disco_key, &disco);
	crypto_sign_seed_keypair(network_lock.bytes, lock_secret, persist->network_lock_seed.bytes);
	explicit_bzero(lock_secret, sizeof(lock_secret));
	control_client_set_identity(node->control, has_key ? &persist->node_key : NULL,
				    has_old ? &persist->old_node_key : NULL, &disco, &network_lock);
	node_tell_hostinfo(node);
	return 0;
}

void node_control_close(struct node *node)
{
	void (*done)(void *, const struct error *) = TAKE_PTR(node->logout.done);
	struct error closed = {-ECANCELED, "the logout was abandoned before control answered"};

	node_certify_disconnect(node);
	node_ingress_disconnect(node);
	control_client_free(TAKE_PTR(node->control));
	node->key_waits = false;
	node_forget_session(node);
	if (done)
		done(node->logout.context, &closed);
}

void node_control_start(struct node *node)
{
	struct control_login login = {
		.interactive = node->login_request == LOGIN_NEW_KEY,
		.unasked = !node->login_asked,
		.ephemeral = node_is_ephemeral(node),
	};

	/* The end of the logout decides whether a start follows. */
	if (node->logout.done || (node->control_started && node->login_request == LOGIN_GOES_ON))
		return;
	node->renewing = node->registered && !node->key_expired && !node->needs_person;
	node->login_request = LOGIN_GOES_ON;
	node->control_started = true;
	/* The login URL belongs to the abandoned login. */
	set_auth_url(node, NULL);
	secret_string_free(TAKE_PTR(node->given_key));
	control_client_start(node->control, &login);
	if (login.interactive && node->auth_key)
		give_auth_key(node, strdup(node->auth_key));
}
