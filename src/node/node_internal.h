/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node/node_internal.h - the node itself, for the files of this room
 *
 * Theory of operation
 *
 * A node connects three things: the control client knows the tailnet, the tunnel moves
 * packets, and the supervisor (by privsep) keeps files and the kernel's network state.
 * Only intent is stored (prefs and keys). node_state() derives the published state from
 * prefs, keys and netmap each time.
 *
 * Files call downwards only; a file that finds a change records it (node_changed()):
 *
 *	node_run            starts and stops a node
 *	node_edit           orders of local programs: prefs, start, login, logout
 *	node_reconcile      reconciles the running parts with the intent
 *	node_login          the control client: registering and keys
 *	node_machine        files and addresses of the machine
 *	node_peers          netmap → peers, packet filter and relays of the tunnel
 *	node_network        netmap → addresses and routes of the kernel
 *	node_serve          the ports that this node serves
 *	node_funnels        the peers that funnel
 *	node_cert           certificates for local programs
 *	node_acme           by which authority they get certificates
 *	node_certify        what control does for their certificates
 *	node_serve_edit     their configuration, as the LocalAPI reads and changes it
 *	node_peerapi        the ports of PeerAPIs, ours and of peers
 *	node_ingress        who may bring connections of the internet
 *	node_store          state file, cache, hand-over record
 *	node_bus, node_status, node_debug, node_metrics, node_ping, node_hostinfo, node_health
 *	node_state          questions that every file may ask
 *
 * All of it runs on the control thread.
 */
#pragma once

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/prefixes.h"
#include "control/control_client.h"
#include "node/node.h"
#include "node/prefs.h"
#include "node/state_file.h"
#include "privsep/privsep_client.h"
#include "tunnel/tunnel.h"
#include "wire/json.h"

#include <sys/queue.h>
#include <uv.h>

/* The version that local programs see: the official release of our capability version. */
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

/* Each warning has one line of text; see node_health.c. */
enum node_warning {
	NODE_WARN_STATE,      /* the state file can't be used */
	NODE_WARN_STORE,      /* state or cache can't be stored */
	NODE_WARN_LOGIN,      /* a person has to act */
	NODE_WARN_CONTROL,    /* control can't be reached */
	NODE_WARN_RELAY,      /* the home relay can't be reached */
	NODE_WARN_NETWORK,    /* the kernel's network state is not as wanted */
	NODE_WARN_FILTER,     /* the packet filter was discarded, or could not be read */
	NODE_WARN_LOCKED,     /* Tailnet Lock is on */
	NODE_WARN_SUPERVISOR, /* the supervisor lacks something */
	NODE_WARN_SANDBOX,    /* a mechanism of the sandbox is missing */
	NODE_WARN_CRASH,      /* the engine was restarted */
	NODE_WARN_CERTIFICATES,
	NODE_WARN_SETTINGS, /* some have no effect */
	NODE_WARN_CERT,     /* a certificate ends, or can't be had */
	NODE_WARN_PROXY,    /* HTTPS_PROXY can't be used */
	NODE_WARN_SERVE,    /* a configuration can't be used, or only in part */
	NODE_WARN_FUNNEL,   /* AllowFunnel has no effect */
	NODE_WARN_COUNT,
};

/* The official daemon's words for a state that can't be used, which scripts look for. */
#define NODE_STATE_TROUBLE                                                         \
	"State store failed to initialize, Tailscale will not work until this is " \
	"resolved. See https://tailscale.com/s/state-store-init-error. Error: "

/* No user has this uid, which system calls take for "leave it as it is". */
#define NODE_NO_OPERATOR ((uid_t)-1)

/* Stores of the state file go one after another. */
enum node_store_phase {
	STORE_IDLE,
	STORE_UNDER_WAY,
	STORE_REPEAT, /* under way, and the state changed meanwhile */
};

/* What node_control_start() does with a login that is under way, or done. */
enum login_request {
	LOGIN_GOES_ON,
	LOGIN_AGAIN,   /* register again with the same node key */
	LOGIN_NEW_KEY, /* log in with a new node key, for a person or an auth key */
};

struct node_bus {
	struct node_watch *watches;
	unsigned int depth; /* messages going round */
};

struct node_route_holder;
struct node_serve;

/** struct node_routes - Routes into the tunnel, counted by the peers that need them */
struct node_routes {
	struct prefix_table table;
	struct prefixes noted; /* that may have to be added or removed */
	struct node_route_holder *holders;
	uint32_t number; /* of the last request */
	bool counted;    /* the table and the records match the netmap */
	bool sent;       /* the supervisor took all routes marked as sent */
};

struct node {
	uv_loop_t *loop;
	struct privsep_client *privsep;
	struct privsep_start_message *start;
	struct socket_source *sockets;
	const char *aead; /* the engine of data messages, for the status */
	uv_poll_t privsep_poll;
	uv_timer_t stop_timer;
	unsigned int open_handles; /* while being freed */
	void (*stopped)(void *context);
	void *stopped_context;

	/* Kept beyond the engine (node_store.c) */
	struct state_file state;
	bool state_usable; /* it was decoded, so it may be overwritten */
	bool state_failed; /* the last store failed */
	enum node_store_phase store_phase;
	struct node_store_wait *store_waits; /* for the end of the store */
	bool settled;      /* the supervisor knows that the prefs of the start are stored */
	bool key_waits;    /* control waits for the store of a new node key */
	bool cache_dirty;  /* it changed since the last store */
	bool cache_stored; /* a netmap was stored, or a store failed: the next one can wait */
	bool cache_cut;    /* the netmap did not fit, which was logged */
	uv_timer_t cache_timer;
	struct secret_key disco_key;
	struct buffer handover; /* active peers of the last engine, until the tunnel has them */
	struct address known_control[CONTROL_KNOWN_MAX]; /* where control was reached */
	size_t known_control_count;
	struct netmap *cached_netmap; /* until the control client takes it */

	/* The machine (node_machine.c) */
	struct names *names;
	struct tls_context *tls;
	struct proxy *proxy;       /* HTTPS_PROXY, or NULL */
	struct buffer resolv_conf; /* texts */
	struct buffer hosts;
	uid_t operator_uid;                            /* of OperatorUser, or NODE_NO_OPERATOR */
	struct prefix_set tailnet;                     /* address ranges of the configuration */
	struct path_interface_address *interfaces;     /* addresses; NULL: unknown yet */
	struct prefix *interface_prefixes;             /* their networks */
	size_t interface_count, other_interface_count; /* all; without those of our own link */

	/* Coordination (node_login.c) */
	struct control_client *control; /* NULL: not wanted, or no usable state */
	bool control_started;           /* and not paused since */
	bool registered;                /* control has accepted the node key in this process */
	bool key_expired;               /* our own node key */
	bool needs_person;              /* the login waits for a person */
	bool renewing;                  /* a new login is under way while the node key is good */
	bool map_awaited;               /* the netmap may be that of the key before the login */
	bool login_wanted;              /* although prefs say LoggedOut */
	bool login_asked;               /* by a person or the container's start; until registered */
	bool approval_awaited;          /* by an administrator, which was reported */
	enum login_request login_request;
	char *auth_key;  /* from a local program; wiped when control has answered to it */
	char *given_key; /* the auth key of the login under way */
	char *auth_url;
	json_t *held_start; /* it changes the login server, and waits for a login request */
	struct error held_reason;
	uv_timer_t held_timer;
	bool stopping;
	struct path_endpoint endpoints[64];
	size_t endpoint_count;
	bool working_udp;
	uint16_t home_derp;         /* from the cache until there is a map of relays; 0: none */
	unsigned int control_pings; /* under way for control */
	struct error told_trouble;  /* the fault of a netmap that was logged last */
	struct {
		void (*done)(void *context, const struct error *err);
		void *context;
	} logout; /* under way while @done is set */

	/* Packets (node_peers.c, node_network.c) */
	struct tunnel *tunnel;
	bool applied_peers;   /* the tunnel has the peers of the netmap */
	bool new_here;        /* peers are just learning the node key */
	bool network_applied; /* the kernel has our addresses */
	bool network_wanted;  /* they were asked for */
	bool network_asked;   /* the supervisor has not answered yet */
	bool network_changed; /* since then */
	bool network_failed;  /* the last time */
	struct node_routes routes;
	struct node_serve *serve;
	struct node_certs *certs;
	const struct node_cert_events *cert_events;
	struct privsep_cert_state cert_state;         /* what HTTPS proves itself by */
	struct endpoint peerapi[LIMIT_NET_ADDRESSES]; /* where ours listens now */
	size_t peerapi_count;
	bool funnels;      /* the served configuration lets the internet in */
	bool names_funnel; /* it has AllowFunnel, which may be false */
	LIST_HEAD(, node_certify_ask) certify_asks;
	LIST_HEAD(, node_peerapi_ping) peerapi_pings;
	LIST_HEAD(, node_feature_query) feature_queries;

	/* The record of changes (node_reconcile.c) */
	unsigned int changes; /* bits of enum node_change */
	uv_timer_t settle_timer;
	uv_timer_t repair_timer;
	uint64_t repair_wait; /* milliseconds; 0: nothing has failed */

	struct node_bus bus;
	enum node_state told_state; /* the last that was published */
	char *warnings[NODE_WARN_COUNT];
};

/* What node_settle() has to act on. */
enum node_change {
	NODE_CHANGED_STATE = 1 << 0,  /* node_state() may be another */
	NODE_CHANGED_INTENT = 1 << 1, /* prefs, or what a login needs: reconcile */
	NODE_CHANGED_HEALTH = 1 << 2, /* a warning */
	NODE_CHANGED_FAILED = 1 << 3, /* something has to be tried again */
	NODE_CHANGED_SERVED = 1 << 4, /* what this node offers to peers */
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

/** node_check_usable() - Refuse @what while the state can't be used, beginning with the official words */
int node_check_usable(const struct node *node, const char *what, struct error *err);

/** node_changed() - Record @changes (enum node_change): node_settle() follows in the next turn of
 * the loop */
void node_changed(struct node *node, unsigned int changes);

/** node_note_result() - Record in @failed whether something has to be tried again */
void node_note_result(struct node *node, bool *failed, int result);

/** node_peer_is_trusted() - Whether packets may go to @peer and come from it */
bool node_peer_is_trusted(const struct netmap *map, const struct netmap_peer *peer);

/* This node's own addresses that it uses: single tailnet addresses, whatever control names. */
struct node_addresses {
	struct prefix list[LIMIT_NET_ADDRESSES];
	uint32_t count;
};

/** node_own_addresses() - Those of the netmap, which has a self node */
struct node_addresses node_own_addresses(const struct node *node);

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

/* node_store.c */

/** node_store_load() - Read state, cache and hand-over record; negative errno (after a warning): the
 * state can't be used */
int node_store_load(struct node *node);

/** node_store_state() - Store keys and prefs now, or when the store under way has ended */
void node_store_state(struct node *node);

/** node_store_cache_later(), node_store_cache_now() - Store the cache within a minute; now, if it
 * changed */
void node_store_cache_later(struct node *node);
void node_store_cache_now(struct node *node);

/** node_store_handover() - Write what the next engine needs at once */
void node_store_handover(struct node *node);

/** node_store_rest() - Store what waits for a store under way, at the stop */
void node_store_rest(struct node *node);

/** node_store_settled() - Tell the supervisor that the prefs of the start are stored, once */
void node_store_settled(struct node *node);

/** node_store_answer() - Call all that node_when_stored() holds */
void node_store_answer(struct node *node);

/* node_ping.c, of struct control_handler */
void node_ping_for_control(void *user, const struct control_ping *ping);

/* node_login.c */

/** node_control_open() - Make the client for the login server of the prefs */
int node_control_open(struct node *node, struct error *err);
void node_control_close(struct node *node);

/** node_control_start() - Register (again, if a login is requested) and follow the map */
void node_control_start(struct node *node);

/** node_forget_login() - After a logout: drop the keys; only a new request logs in again */
void node_forget_login(struct node *node);

/** node_forget_session() - The control client is silent from here on: drop what it reported */
void node_forget_session(struct node *node);

/** node_forget_server() - The login server is another one: drop node ID and netmap */
void node_forget_server(struct node *node);

/* node_peers.c */

/** node_tunnel_open() - Open the tunnel for the node key that peers know; 0 if it is open */
int node_tunnel_open(struct node *node);
void node_tunnel_close(struct node *node);

/** node_peers_netmap() - Act on one message of control, of struct control_handler */
void node_peers_netmap(void *user, const struct netmap *map, const struct netmap_change *change);

/** node_apply_netmap() - Give the tunnel the whole netmap */
void node_apply_netmap(struct node *node);

/** node_apply_filter() - Compile the filter: netmap, prefs or networks of the machine changed */
void node_apply_filter(struct node *node);

/** node_prefs_applied() - Prefs changed that packets may depend on */
void node_prefs_applied(struct node *node);

/* node_network.c */
void node_apply_network(struct node *node);

/** node_network_peer() - Count the routes of a new, changed or removed peer anew */
void node_network_peer(struct node *node, int64_t id);

/** node_network_forget() - The next request counts and sends the routes of all peers */
void node_network_forget(struct node *node);

/* node_serve.c */
int node_serve_open(struct node *node);
void node_serve_close(struct node *node);

/* Between node_serve.c and node_serve_edit.c */

/** node_serve_file_name() - The path of TS_SERVE_CONFIG, which goes before the stored one; or NULL */
const char *node_serve_file_name(const struct node *node);

/** node_serve_domain() - Our name without the last dot; NULL: none yet */
const char *node_serve_domain(const struct node *node);

/** node_serve_in_force() - The configuration in force, and its JSON */
const struct serve_config *node_serve_in_force(const struct node *node, const char **ret_text);

/** node_serve_foreground() - Sessions in the foreground, by id; NULL for none. Borrowed */
json_t *node_serve_foreground(const struct node *node);

/** node_serve_take() - Put the stored configuration and @foreground, which is taken over, into force */
void node_serve_take(struct node *node, json_t *foreground);

/** node_serve_check_roots() - Whether all files and sockets of @config may be served; 0 or -EPERM */
int node_serve_check_roots(const struct node *node, const struct serve_config *config,
			   struct error *err);

/* node_serve_edit.c */

/** node_serve_session_ended() - A watch of the bus has ended, and with it what it served */
void node_serve_session_ended(struct node *node, const char *session);

/** node_serve_file() - @fd, which is closed here, is TS_SERVE_CONFIG as it is now; or negative errno */
void node_serve_file(struct node *node, int fd);

/** node_serve_stored() - The state was loaded, or its profile is another one */
void node_serve_stored(struct node *node);

/** node_serve_name() - Our name may have changed, with the netmap */
void node_serve_name(struct node *node);

/** node_serve_tunnel() - There is a new tunnel, which knows no served ports yet */
void node_serve_tunnel(struct node *node);

/** node_serve_send() - Ask the services process; 0, -ENOTCONN, -EAGAIN, others */
int node_serve_send(struct node *node, const union privsep_message *message);

/** node_serve_people() - The netmap has changed: services ask for the owners of addresses again */
void node_serve_people(struct node *node);

/** node_serve_keep() - Whether services run even if nothing is served */
void node_serve_keep(struct node *node, bool keep);

/* node_cert.c */
int node_cert_open(struct node *node);
void node_cert_close(struct node *node);

/* What the channel to services brings for certificates; node_cert.c has it. */
struct node_cert_events {
	/** @receive: PRIVSEP_CERT_ANSWER or _STATE; @fd stays the caller's. 0 or -EBADMSG */
	int (*receive)(struct node *node, const union privsep_message *m, int fd);
	/** @linked: there is another channel */
	void (*linked)(struct node *node);
};

/* node_certify.c */

/** node_certify_domains() - Names whose ACME challenge control publishes, by space; NULL: none. Caller frees */
char *node_certify_domains(const struct node *node);

/** node_certify_signs() - Whether control is an authority for this node's name */
bool node_certify_signs(const struct node *node);

/**
 * node_certify_ask() - A PRIVSEP_TXT or PRIVSEP_SIGN of the services process
 * @channel: for the answer; valid until node_certify_forget()
 * @fd:      that came with it, or -1; stays the caller's
 *
 * Return: 0; -EAGAIN: the channel is full; -EBADMSG: no such question, or a bad one
 */
int node_certify_ask(struct node *node, int channel, const union privsep_message *question, int fd);

/** node_certify_forget() - No process waits for the answers any more */
void node_certify_forget(struct node *node);

/** node_certify_disconnect() - The control client goes: answer that */
void node_certify_disconnect(struct node *node);
/* node_peerapi.c */

#define NODE_PEERAPI_URL_MAX (ENDPOINT_TEXT_MAX + 8)

/** node_peerapi_choose() - The port of our PeerAPI, as the official daemon derives it from the
 * address; 0: we have no address */
uint16_t node_peerapi_choose(const struct node *node, bool (*is_taken)(void *data, uint16_t port),
			     void *data);

/** node_peerapi_of() - The port that @peer announces; 0: none */
uint16_t node_peerapi_of(const struct tailcfg_node *peer, enum address_family family);

/** node_peerapi_endpoint() - Where this node reaches the PeerAPI of @peer; false: nowhere */
bool node_peerapi_endpoint(const struct node *node, const struct tailcfg_node *peer,
			   struct endpoint *ret);

/** node_peerapi_url() - "http://100.64.0.2:41234"; returns @out */
char *node_peerapi_url(const struct endpoint *at, char out[static NODE_PEERAPI_URL_MAX]);

/** node_peerapi_ping() - As node_ping() */
int node_peerapi_ping(struct node *node, const struct tailcfg_node *peer,
		      const struct address *target, node_ping_done *done, void *context);

/** node_peerapi_close() - Give up all pings */
void node_peerapi_close(struct node *node);

/* node_ingress.c */

/** node_ingress_trusts() - Whether @who may bring connections of the internet: by grant, or by
 * --ingress-from */
bool node_ingress_trusts(const struct node *node, const struct node_identity *who);

/** node_is_named() - Whether @item is the name of @peer, or its first label if it is a node of this tailnet; @map has a self */
bool node_is_named(const struct netmap *map, const struct tailcfg_node *peer, const char *item,
		   size_t length);

/** node_ingress_check() - Whether Funnel can work here; -EPERM with what to allow in @err */
int node_ingress_check(const struct node *node, struct error *err);

/** node_ingress_disconnect() - The control client goes: answer what waits for it */
void node_ingress_disconnect(struct node *node);

/** node_ingress_capabilities() - What command lines want to see in this node where its ingress nodes are
 * its own; ends with NULL */
const char *const *node_ingress_capabilities(const struct node *node);

/* node_machine.c */
int node_machine_open(struct node *node, struct error *err);
void node_machine_close(struct node *node);

/** node_machine_find_operator() - Learn the uid of OperatorUser; -ENOENT: there is no such user */
int node_machine_find_operator(struct node *node);

/* node_health.c */

/** node_warn() - Set a warning, or clear it (NULL); returns whether it changed */
bool node_warn(struct node *node, enum node_warning warning, const char *text);

/** node_write_health() - health.State: {"Warnings": {code: …}} */
void node_write_health(struct node *node, struct json_writer *w, const char *name);

/** node_write_health_lines() - Warnings and messages of control as an array of lines */
void node_write_health_lines(struct node *node, struct json_writer *w, const char *name);

/* node_debug.c */
/** node_answer_c2n() - Answer a request of control, of struct control_handler */
void node_answer_c2n(void *user, const struct control_c2n_request *request,
		     struct control_c2n_reply *reply);

/* node_status.c */

/** node_magic_dns_suffix() - "example.ts.net" out of "host.example.ts.net."; "" without a name */
void node_magic_dns_suffix(const struct netmap *map, char *out, size_t size);

/** node_write_self() - The tailcfg.Node of this node; only if node_has_map() */
void node_write_self(struct node *node, struct json_writer *w, const char *name);

/* node_hostinfo.c */

/** node_hostname() - The name that this node asks for; returns @out */
char *node_hostname(const struct node *node, char out[static 64]);

/** node_tell_hostinfo() - Give the control client the current description of this node */
void node_tell_hostinfo(struct node *node);

/* node_edit.c */

/** node_drop_held_start() - No login request came, or another order did */
void node_drop_held_start(struct node *node);

/* node_bus.c */

/** node_writer - Writes a member of an ipn.Notify */
typedef void node_writer(struct node *node, struct json_writer *w, const char *name);

/** node_bus_write(), node_bus_text(), node_bus_state() - Send an ipn.Notify with one member */
void node_bus_write(struct node *node, const char *member, node_writer *write);
void node_bus_text(struct node *node, const char *member, const char *text);
void node_bus_state(struct node *node, enum node_state state);

/** node_bus_peers() - Send the peers that one message of control changed, each as a whole and with
 * its user, to watches that asked for peers */
void node_bus_peers(struct node *node, const struct netmap_change *change);

/** node_bus_has() - Whether a watch with this SessionID is open */
bool node_bus_has(const struct node *node, const char *session);

/** node_bus_end() - Close the watch with this SessionID, if there is one */
void node_bus_end(struct node *node, const char *session);

void node_bus_close(struct node *node);
