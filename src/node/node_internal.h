/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_internal.h - the node itself, for the files of this room
 *
 * Theory of operation
 *
 * A node is wiring: the control client says what the tailnet is, the tunnel moves
 * packets, the supervisor (by privsep) keeps files and the kernel's network state.
 * Only intent is stored (prefs and keys); the state that people see is derived from
 * prefs, keys and netmap each time it is asked for (node_state()).
 *
 *	node.c      start and stop, state
 *	store.c     what outlives us: state file, cache, hand-over record
 *	login.c     control client: registering, keys
 *	hostinfo.c  what we tell control of us
 *	asks.c      what control asks of us: pings, C2N
 *	debug.c     the netmap and what it switches, for `debug` and C2N
 *	peers.c     netmap change → tunnel peers, packet filter, relays
 *	node_network.c  addresses and routes for the kernel
 *	machine.c   files and addresses of the machine: roots, resolv.conf, endpoints
 *	status.c    what we say about ourselves, as JSON
 *	edit.c      what local programs change: prefs, start, login, logout, ping
 *	unsupported.c  settings that have no effect yet
 *	bus.c       who follows us
 *	health.c    what is wrong, for status, bus and /healthz
 *	metrics.c   what was counted, for /metrics
 *
 * All of it runs on the control thread.
 */
#pragma once

#include "base/buffer.h"
#include "base/cleanup.h"
#include "control/client.h"
#include "node/node.h"
#include "node/prefs.h"
#include "node/state_file.h"
#include "privsep/privsep_client.h"
#include "tunnel/tunnel.h"
#include "wire/json.h"

#include <uv.h>

/* What we call ourselves to local programs: the release that the capability version belongs to. */
#define NODE_VERSION      TAILCFG_IPN_VERSION
#define NODE_VERSION_LONG TAILCFG_IPN_VERSION "-pillion" PILLION_VERSION

/* The architecture, in the words that control knows. */
#if defined(__x86_64__)
#define NODE_ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define NODE_ARCHITECTURE "arm64"
#else
#define NODE_ARCHITECTURE "unknown"
#endif

/* ipn.State, by number */
enum node_state {
	NODE_NO_STATE = 0,
	NODE_IN_USE_OTHER_USER = 1,
	NODE_NEEDS_LOGIN = 2,
	NODE_NEEDS_MACHINE_AUTH = 3,
	NODE_STOPPED = 4,
	NODE_STARTING = 5,
	NODE_RUNNING = 6,
	NODE_STATE_COUNT,
};

/* What can be wrong, one line each; see health.c. */
enum node_warning {
	NODE_WARN_STATE,      /* the state file can't be used */
	NODE_WARN_STORE,      /* what we know could not be stored */
	NODE_WARN_LOGIN,      /* somebody has to do something */
	NODE_WARN_CONTROL,    /* control can't be reached */
	NODE_WARN_RELAY,      /* the home relay can't be reached */
	NODE_WARN_NETWORK,    /* the kernel's network state is not as wanted */
	NODE_WARN_FILTER,     /* the packet filter was discarded, or could not be read */
	NODE_WARN_LOCKED,     /* Tailnet Lock is on */
	NODE_WARN_SUPERVISOR, /* what the supervisor had to do without */
	NODE_WARN_SANDBOX,    /* a mechanism of the sandbox is missing */
	NODE_WARN_CRASH,      /* engines before us died */
	NODE_WARN_CERTIFICATES,
	NODE_WARN_SETTINGS, /* some have no effect */
	NODE_WARN_PROXY,    /* HTTPS_PROXY can't be used */
	NODE_WARN_COUNT,
};

/* How a warning about the state begins: what scripts look for, as the official daemon says it. */
#define NODE_STATE_TROUBLE                                                         \
	"State store failed to initialize, Tailscale will not work until this is " \
	"resolved. See https://tailscale.com/s/state-store-init-error. Error: "

/* A uid that nobody has: (uid_t)-1 means "leave it" to system calls. */
#define NODE_NO_OPERATOR ((uid_t)-1)

/* What node_control_start() does with a login that is under way, or done. */
enum login_request {
	LOGIN_GOES_ON,
	LOGIN_AGAIN,   /* begin it anew, with the node key that there is */
	LOGIN_NEW_KEY, /* log in anew with a new node key: a person or an auth key asks for it */
};

struct node_bus {
	struct node_watch *watches;
	unsigned int depth; /* messages going round */
	uint64_t sessions;
};

struct node {
	uv_loop_t *loop;
	struct privsep_client *privsep;
	struct privsep_start_message *start;
	struct socket_source *sockets;
	uv_poll_t privsep_poll;
	uv_timer_t stop_timer;
	unsigned int open_handles; /* while being freed */
	void (*stopped)(void *context);
	void *stopped_context;

	/* What outlives us (store.c) */
	struct state_file state;
	bool state_usable;                   /* decoded, and so may be overwritten */
	bool state_dirty;                    /* changed since the last store began */
	bool storing;                        /* a store of the state is under way */
	struct node_store_wait *store_waits; /* who is answered after it */
	bool state_failed;                   /* the last store of it did */
	bool settled;   /* the supervisor knows that the prefs of the start are stored */
	bool key_waits; /* control waits for the store of a new node key */
	bool cache_dirty;
	bool cache_stored; /* at least once, or tried */
	bool cache_failed; /* the last store of it did, and that was said */
	bool cache_cut;    /* the netmap did not fit, and that was said */
	uv_timer_t cache_timer;
	struct secret_key disco_key;
	struct buffer handover; /* what the engine before us left; empty afterwards */
	uint16_t cached_home;
	struct address known_control[CONTROL_KNOWN_MAX]; /* where control was reached */
	size_t known_control_count;
	struct netmap *cached_netmap; /* until the control client takes it */

	/* The machine (machine.c) */
	struct names *names;
	struct tls_context *tls;
	struct proxy *proxy;       /* HTTPS_PROXY, or NULL */
	struct buffer resolv_conf; /* texts */
	struct buffer hosts;
	uid_t operator_uid; /* of the user that the prefs name; NODE_NO_OPERATOR */
	struct path_interface_address *interfaces;
	struct prefix_set tailnet;         /* ranges that the operator named */
	struct prefix *interface_prefixes; /* their networks */
	size_t interface_count;

	/* Coordination (login.c) */
	struct control_client *control; /* NULL: not wanted, or no usable state */
	bool control_started;
	bool registered;
	bool control_lost; /* the last attempt to reach control failed */
	bool key_expired;
	bool needs_person; /* CONTROL_NEED_LOGIN or _AUTH_KEY */
	bool map_awaited;  /* logged in anew: the map there is may be another node's */
	bool login_wanted; /* not to be held back by LoggedOut */
	bool login_asked;  /* by a person or the container's start; until registered */
	enum login_request login_request;
	bool approval_awaited; /* by an administrator; reported */
	bool renewing;         /* a new login is under way, and the key that we have is good */
	char *auth_key;        /* given by a local program; wiped when control has answered to it */
	char *given_key;       /* a login by this one is under way */
	char *auth_url;
	json_t *held_start; /* leaves the login server, once a login is asked for; see edit.c */
	struct error held_reason;
	uv_timer_t held_timer;
	bool stopping;
	struct path_endpoint endpoints[64];
	size_t endpoint_count;
	bool working_udp;
	uint16_t home_derp;
	unsigned int control_pings; /* that control asked for, under way */
	struct error told_trouble;  /* with a netmap, the last that was logged */
	struct {
		void (*done)(void *context, const struct error *err);
		void *context;
	} logout; /* under way while @done is set */

	/* Packets (peers.c) */
	struct tunnel *tunnel;
	bool filter_missing;  /* the filter of the netmap is not in force */
	bool applied_peers;   /* the tunnel has the peers of the netmap */
	bool new_here;        /* a node key that peers are just learning of */
	bool network_applied; /* the kernel has our addresses */
	bool network_wanted;  /* they were asked for */
	bool network_asked;   /* the supervisor has not answered yet */
	bool network_changed; /* since then */
	bool network_failed;  /* the last time */

	unsigned int changes;    /* enum node_change, for node_settle() */
	uv_timer_t settle_timer; /* until node_settle() */
	uv_timer_t repair_timer; /* until what failed is tried again */
	uint64_t repair_wait;    /* milliseconds; 0: nothing has failed */

	struct node_bus bus;
	enum node_state told_state;
	char *warnings[NODE_WARN_COUNT];
};

/* What node_settle() has to act on. */
enum node_change {
	NODE_CHANGED_STATE = 1 << 0,  /* node_state() may be another */
	NODE_CHANGED_INTENT = 1 << 1, /* prefs, or what a login needs: reconcile */
	NODE_CHANGED_HEALTH = 1 << 2, /* a warning */
	NODE_CHANGED_FAILED = 1 << 3, /* something has to be tried again */
};

/* node_state.c */

enum node_state node_state(const struct node *node);
const char *node_state_name(enum node_state state);

/** node_netmap() - The map of control, or the one of the cache; NULL: none yet */
const struct netmap *node_netmap(const struct node *node);

/** node_is_in_map() - Whether the netmap is that of the node with this key */
bool node_is_in_map(const struct node *node, const struct secret_key *node_key);

/** node_has_key() - Whether there is a node key, which control need not know */
bool node_has_key(const struct node *node);

/** node_changed() - Record @changes (enum node_change): node_settle() follows in the next turn of
 * the loop */
void node_changed(struct node *node, unsigned int changes);

/** node_note_result() - Record in @failed whether something has to be tried again */
void node_note_result(struct node *node, bool *failed, int result);

/** node_peer_is_trusted() - Whether packets may go to @peer and come from it */
bool node_peer_is_trusted(const struct netmap *map, const struct netmap_peer *peer);

/** node_collect_allowed_ips() - The allowed IPs of @peer that this node uses; returns the count */
uint32_t node_collect_allowed_ips(const struct node *node, const struct tailcfg_node *peer,
				  struct prefix *out);

/** node_peer_by_route() - The peer that packets to @address go to; NULL: none */
const struct netmap_peer *node_peer_by_route(const struct node *node,
					     const struct address *address);

static inline bool node_is_ephemeral(const struct node *node)
{
	return node->start->config.state_mode == START_STATE_MEMORY;
}

/* node_reconcile.c */

/** node_settle_open() - Make the timers of node_settle() and of repairs */
void node_settle_open(struct node *node);

/** node_settle() - Act on what changed: reconcile, publish, plan repairs */
void node_settle(struct node *node);

/** node_begin() - Load the state and apply the start configuration; a state that can't be used stays
 * as it is, and is read again later */
void node_begin(struct node *node);

/* store.c */
int node_store_load(struct node *node);
void node_store_state(struct node *node);
void node_store_cache_later(struct node *node);
void node_store_cache_now(struct node *node);
void node_store_handover(struct node *node);
void node_store_rest(struct node *node);
void node_store_settled(struct node *node);
void node_store_answer(struct node *node);

/* node_ping.c, of struct control_handler */
void node_ping_for_control(void *user, const struct control_ping *ping);

/* login.c */
int node_control_open(struct node *node, struct error *err);
void node_control_close(struct node *node);
void node_control_start(struct node *node);
void node_forget_login(struct node *node);
void node_forget_session(struct node *node);
void node_forget_server(struct node *node);
void node_set_auth_url(struct node *node, const char *url);

/** node_set_control_trouble() - Why control can't be reached; NULL: it is reached */
void node_set_control_trouble(struct node *node, const char *text);

/* peers.c */
int node_tunnel_open(struct node *node);
void node_tunnel_close(struct node *node);

/** node_peers_netmap() - Act on one message of control, of struct control_handler */
void node_peers_netmap(void *user, const struct netmap *map, const struct netmap_change *change);

void node_apply_netmap(struct node *node);
void node_apply_filter(struct node *node);
void node_choose_home(struct node *node);

/* node_network.c */
void node_apply_network(struct node *node);

/* machine.c */
int node_machine_open(struct node *node, struct error *err);
void node_machine_close(struct node *node);
void node_machine_interfaces(struct node *node, const struct interfaces *interfaces);
void node_machine_file_changed(struct node *node, enum privsep_file_name name, int fd);
int node_machine_find_operator(struct node *node);

void node_prefs_applied(struct node *node);

/* health.c */
bool node_warn(struct node *node, enum node_warning warning, const char *text);
void node_write_health(struct node *node, struct json_writer *w, const char *name);

/** node_write_health_lines() - Warnings and messages of control as an array of lines */
void node_write_health_lines(struct node *node, struct json_writer *w, const char *name);

/* debug.c */

/** node_answer_c2n() - Answer a request of control, of struct control_handler */
void node_answer_c2n(void *user, const struct control_c2n_request *request,
		     struct control_c2n_reply *reply);

/* status.c */
void node_write_self(struct node *node, struct json_writer *w, const char *name);

/* hostinfo.c */
char *node_hostname(const struct node *node, char out[static 64]);
void node_tell_hostinfo(struct node *node);

/* edit.c */
void node_drop_held_start(struct node *node);

/* bus.c */

/** node_writer - Writes a member of an ipn.Notify */
typedef void node_writer(struct node *node, struct json_writer *w, const char *name);

/** node_bus_write(), node_bus_text(), node_bus_state() - Send an ipn.Notify with one member */
void node_bus_write(struct node *node, const char *member, node_writer *write);
void node_bus_text(struct node *node, const char *member, const char *text);
void node_bus_state(struct node *node, enum node_state state);

/** node_bus_peers() - Send the peers that one message of control changed, each as a whole and with
 * its user, to watches that asked for peers */
void node_bus_peers(struct node *node, const struct netmap_change *change);

void node_bus_close(struct node *node);
