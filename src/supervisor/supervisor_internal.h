/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/supervisor_internal.h - the supervisor itself, for the files of this room
 *
 *	supervisor.c      start-up in order, signals, the end
 *	child.c           a child of any kind
 *	engine_child.c    the engine: its requests, its first message
 *	services_child.c  the services process: listeners, connections to targets
 *	child_requests.c  requests that both may send
 *	network.c         TUN, wanted network state, changes of the machine's networks
 *	named_files.c, served_files.c, blobs.c, listeners.c: each a part with its own header
 *	child_rules.c, secrets.c, capabilities.c: decisions and small tools
 *
 * One thread, and the worker of blobs.c. Whatever must survive an engine (TUN queues, UDP
 * sockets, listeners, hand-over record, blobs in memory mode) is a descriptor here.
 */
#pragma once

#include "netlink/interfaces.h"
#include "netlink/monitor.h"
#include "netlink/netstate.h"
#include "netlink/route_set.h"
#include "netlink/tun.h"
#include "process/capped_log.h"
#include "supervisor/blobs.h"
#include "supervisor/child.h"
#include "supervisor/listeners.h"
#include "supervisor/named_files.h"
#include "supervisor/served_files.h"
#include "supervisor/supervisor.h"

#define SNAPSHOT_WAIT (100 * NSEC_PER_MSEC) /* changes of interfaces come in bursts */

struct network {
	struct netlink *netlink;
	struct net_monitor *monitor;
	struct loop_source events;
	struct loop_timer apply, repair, snapshot, renew;
	struct quota repairs;
	struct tun tun;
	struct interfaces interfaces;
	struct net_allowed allowed;  /* by the start */
	struct privsep_network wish; /* of the engine, without its routes */
	struct prefixes addresses;   /* of these, those that are allowed now */
	struct net_route_set routes;
	struct net_divert diverts[NET_DIVERTS_MAX]; /* all served ports */
	size_t divert_count;
	bool settled; /* the kernel has all of that, as far as we know */
	char refused[PRIVSEP_TEXT_MAX];
	bool have_wanted;
	bool have_base;   /* the engine that runs has sent its routes: deltas may follow */
	uint32_t request; /* id that waits for the apply; 0: none */
	int asked;        /* memfd of the newest request, not read yet; -1: none */
	uint32_t asked_id;
	char obstacle[256];             /* another program's rule, logged already */
	unsigned int warnings;          /* of the last report, logged already */
	nanoseconds retry_wait;         /* after the next failure */
	char failure[PRIVSEP_TEXT_MAX]; /* of the last apply, logged already; empty: it went well */
};

/* A port that is served at one own address. */
struct serve_listener {
	struct services *services;
	struct privsep_divert divert;
	int fd;                    /* bound to our link; never closed while it is wanted */
	int reserved;              /* holds the served port against connections; or -1 */
	nanoseconds retired_until; /* its port is not served any more; 0: it is */
	struct loop_source knock;  /* of the PeerAPI, while it waits for its first connection */
};

struct services {
	struct child child;
	struct privsep_serve wish; /* of the engine */
	int memfd;                 /* the same, as it came; -1: none yet */
	uint32_t number;           /* of the wish, for PRIVSEP_SERVING; never 0 */
	struct serve_listener listeners[SERVE_DIVERTS_MAX];
	size_t listener_count;
	struct loop_timer retired; /* for the next of them that closes */
	bool knocked;              /* a connection to the PeerAPI started the process */
	struct served_files served;
};

struct supervisor {
	const struct supervisor_options *options;
	struct loop loop;
	struct capped_log log; /* if there is a log file; its path is NULL otherwise */
	struct files files;
	struct blobs blobs;
	struct process *processes; /* of all children */
	struct child engine;
	struct services services;
	struct child beside; /* of options->beside */
	struct network network;
	struct life life;
	struct loop_source signals;
	struct loop_timer boot;
	struct loop_timer end;       /* while ending: the latest moment */
	struct loop_timer give_back; /* gives back library pages that only the start needed */
	struct udp_pair udp;
	int lock, localapi, health, handover;
	int acme; /* bound at options->acme_listen; or -1 */
	bool split;
	bool settled; /* an engine has stored the prefs of the start */
	char *auth_key, *acme_eab_hmac, *acme_dns_key;
	char *warnings; /* for the start configuration */
	bool ending;
	nanoseconds end_by;
	int exit_code;
	char last_text[PRIVSEP_TEXT_MAX]; /* of the engine's last status */
};

/* child.c */

/** supervisor_end() - Stop all children in order, then end with @code */
void supervisor_end(struct supervisor *s, int code);

/* engine_child.c */

extern const struct child_kind engine_kind;

/* services_child.c */

extern const struct child_kind services_kind;

/** services_request() - The engine wants the services that @memfd says; answered here */
void services_request(struct supervisor *s, uint32_t id, int memfd);

/** services_addresses() - Our own addresses have changed: other listeners */
void services_addresses(struct supervisor *s);

/** services_retired_fire() - Listeners of ports that are not served any more close, when it is time */
void services_retired_fire(struct loop_timer *timer, nanoseconds now);

/** services_new_link() - Listeners are bound to a link, and ours is another one now */
void services_new_link(struct supervisor *s);

/** services_new_engine() - The engine or the services process is new: both get a new channel */
void services_new_engine(struct supervisor *s);

/** services_opened() - A served_done */
void services_opened(void *userdata, unsigned int process, uint32_t id, int fd, const char *text);

void services_close(struct supervisor *s);

/* child_requests.c */

/** child_reply_fd() - Answer with @fd, which is closed here, or with its negative errno */
void child_reply_fd(struct child *child, uint32_t id, int fd);

/** child_request() - PRIVSEP_FILE, _LOAD and _STORE; 0 or -EBADMSG */
int child_request(struct child *child, const union privsep_message *m, struct privsep_fds *fds);

void child_stored(void *userdata, const struct blob_job *job);
void child_file_changed(void *userdata, enum privsep_file_name name, int fd);

/* network.c */

/** network_send_interfaces() - Send the machine's addresses and default routes to the engine */
void network_send_interfaces(struct supervisor *s);

/** network_set_diverts() - The served ports are @count of @diverts now */
void network_set_diverts(struct supervisor *s, const struct net_divert *diverts, size_t count);

/** network_open() - Claim the namespace, make the TUN, watch; 0 or negative errno with @err */
int network_open(struct supervisor *s, struct error *err);

/** network_request() - The engine wants what @memfd, which becomes ours, says; answered later */
void network_request(struct supervisor *s, uint32_t id, int memfd);

/** network_engine_gone() - The engine's requests need no answer any more */
void network_engine_gone(struct supervisor *s);

/** network_close() - Remove what is ours */
void network_close(struct supervisor *s);
