/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control/control_client.h - the node's side of coordination
 *
 * One client speaks to one control server for one node: it fetches the server's key,
 * opens TS2021, registers the node key, holds the map stream, tells control what is
 * new about this node, and answers what control asks. It never gives up: every
 * failure is an event with its cause, and is tried again with backoff.
 *
 *	control_client_new → set_identity, set_hostinfo, set_endpoints → start
 *
 * All of it runs on one libuv loop. Events come from that loop, never from within a
 * call of ours; a handler may call anything here, control_client_free() included.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/socket_source.h"
#include "control/netmap.h"
#include "wire/tailcfg.h"

#include <uv.h>

struct control_client;
struct names;
struct proxy;
struct tls_context;

/* Addresses of control that are kept for a start without DNS. */
#define CONTROL_KNOWN_MAX 8

/* Why somebody has to do something before this node is in the tailnet. */
enum control_need {
	CONTROL_NEED_LOGIN,    /* a person opens the URL, or an auth key is given */
	CONTROL_NEED_AUTH_KEY, /* the auth key was refused: wrong, used, expired */
	CONTROL_NEED_TAGS, /* the auth key was refused because of the tags that were asked for */
};

struct control_ping {
	const char *types; /* "disco", "TSMP", "ICMP", "peerapi", by comma */
	struct address ip;
	const char *url; /* for control_client_ping_reply() */
	bool log;
};

/* A request of control to this node; all borrowed, path without the query. */
struct control_c2n_request {
	const char *method;
	const char *path;
	const char *query; /* NULL: none */
	const uint8_t *body;
	size_t body_length;
};

struct control_c2n_reply {
	int status; /* 0: not answered here, control gets 400 */
	const char *content_type;
	struct buffer body; /* the client frees it */
};

/* All functions must be there. @user is the one of the options. */
struct control_handler {
	/**
	 * @auth_key_wanted: registering needs an auth key, if there is one; answer, now or
	 * later, by control_client_give_auth_key()
	 */
	void (*auth_key_wanted)(void *user);

	/** @auth_url: a person must open @url; shown until registered or another comes */
	void (*auth_url)(void *user, const char *url);

	/**
	 * @new_node_key: store this pair before anything else, then call
	 * control_client_key_stored(): until then the key is used nowhere. @old is NULL or
	 * the key it replaces
	 */
	void (*new_node_key)(void *user, const struct secret_key *key,
			     const struct secret_key *old);

	/**
	 * @registered: control knows this node key. From here on @node_key is the node's,
	 * until logged_out without an error
	 */
	void (*registered)(void *user, const struct secret_key *node_key,
			   const struct tailcfg_register_response *response);

	/**
	 * @need: what only a person can mend; the client goes on trying, slowly. @reason has the
	 * code -EKEYEXPIRED when the node key has expired, and no user asked for another
	 */
	void (*need)(void *user, enum control_need need, const struct error *reason);

	/** @netmap: one message was applied. @map is the client's and stays valid between events */
	void (*netmap)(void *user, const struct netmap *map, const struct netmap_change *change);

	/** @trouble: control can't be reached, or answers badly; tried again by itself */
	void (*trouble)(void *user, const struct error *reason, nanoseconds retry_in);

	/** @healthy: the map session stands again */
	void (*healthy)(void *user);

	/**
	 * @key_expired: our own node key has expired, and a new login is needed; or (@expired
	 * false) an administrator has extended it
	 */
	void (*key_expired)(void *user, bool expired);

	/** @logged_out: control has forgotten this node key (or refused, if @error) */
	void (*logged_out)(void *user, const struct error *error);

	/** @ping: do it and reply; a type that isn't known may be left unanswered */
	void (*ping)(void *user, const struct control_ping *ping);

	/** @c2n: answer at once. /echo is answered by the client itself */
	void (*c2n)(void *user, const struct control_c2n_request *request,
		    struct control_c2n_reply *reply);

	/**
	 * @reached: where control answered, the latest first, then its dial plan; worth keeping
	 * for a start without DNS. At most CONTROL_KNOWN_MAX
	 */
	void (*reached)(void *user, const struct address *addresses, size_t count);

	/** @pop_browser: control wants this URL shown */
	void (*pop_browser)(void *user, const char *url);
};

struct control_options {
	uv_loop_t *loop;
	struct socket_source *sockets;
	struct names *names;       /* resolver; outlives the client */
	struct tls_context *tls;   /* trusted roots; held */
	const struct proxy *proxy; /* NULL: none; outlives the client */
	const char *server_url;    /* "https://host[:port]" or "http://host[:port]"; copied */
	struct secret_key machine_key;
	const struct address *known_addresses; /* the last ones that `reached` reported; copied */
	size_t known_address_count;
	struct netmap *netmap; /* from the disk, or NULL; taken over */
	const struct control_handler *handler;
	void *user;
};

/** control_client_new() - 0, -EINVAL with @err set for a bad URL, -ENOMEM */
int control_client_new(const struct control_options *options, struct control_client **ret,
		       struct error *err);

/** control_client_free() - Close all, without calling a handler. NULL is fine */
void control_client_free(struct control_client *client);

/**
 * control_client_set_identity() - The keys of this node; before the first start
 * @node_key:  stored node key, or NULL: there is none yet
 * @old_key:   the key before it that was stored with it, or NULL
 * @disco_key: public half, never zero
 * @nl_key:    public half of the Tailnet Lock key, or NULL
 */
void control_client_set_identity(struct control_client *client, const struct secret_key *node_key,
				 const struct secret_key *old_key,
				 const struct public_key *disco_key,
				 const struct public_key *nl_key);

/**
 * control_client_set_hostinfo() - This node's Hostinfo with its NetInfo; copied
 *
 * Sent to control when it differs from what control has, by at most one request at a time; the
 * newest state wins.
 *
 * Return: 0 or -ENOMEM
 */
int control_client_set_hostinfo(struct control_client *client, const struct tailcfg_hostinfo *info);

/** control_client_set_endpoints() - Where peers may reach us; order is no difference. As above */
int control_client_set_endpoints(struct control_client *client,
				 const struct tailcfg_endpoint *endpoints, size_t count);

struct control_login {
	bool interactive; /* a person asked: a new node key, and no auth key unless one is given */
	bool unasked;     /* no user asked: a key that has expired is not replaced */
	bool ephemeral;
};

/**
 * control_client_start() - Register, and then hold the map session
 *
 * With a stored node key it registers by that; an auth key is wanted only if control
 * does not know the key, or says that it has expired.
 * Calling it again begins a new login, and forgets the auth key of the one before; the map
 * session that stands goes on until it is through (seamless renewal).
 */
void control_client_start(struct control_client *client, const struct control_login *login);

/**
 * control_client_give_auth_key() - Answer to auth_key_wanted; right after an interactive start: its
 * key
 * @auth_key: heap string, taken over and wiped; NULL: there is none, show a login URL
 */
void control_client_give_auth_key(struct control_client *client, char *auth_key);

/** control_client_key_stored() - Answer to new_node_key; @error < 0: could not, try again later */
void control_client_key_stored(struct control_client *client, int error);

/** control_client_logout() - Tell control to forget this node; ends in logged_out */
void control_client_logout(struct control_client *client);

/** control_client_pause() - Close the connection and stay silent until the next start */
void control_client_pause(struct control_client *client);

/** control_client_retry_now() - The network has changed: don't wait out a backoff */
void control_client_retry_now(struct control_client *client);

/** control_client_netmap() - The netmap as it stands; never NULL */
const struct netmap *control_client_netmap(const struct control_client *client);

/** control_client_ping_reply() - Answer to ping; @type: the one of its types that was done */
void control_client_ping_reply(struct control_client *client, const char *url, const char *type,
			       const struct tailcfg_ping_result *result);
