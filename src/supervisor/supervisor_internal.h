/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * supervisor/supervisor_internal.h - the supervisor itself, for the files of this room
 *
 *	supervisor.c  start-up in order, signals, the end
 *	child.c       a child: started, watched, stopped, started again
 *	child_requests.c  what the child asks, and what it is told
 *	network.c     TUN, wanted network state, what changed
 *	files.c, blobs.c, listeners.c, logs.c, loop.c: each a part with its own header
 *	policy.c, cpu.c, secrets.c, capabilities.c: decisions and small tools
 *
 * One thread, and blobs.c's worker. What must survive an engine (TUN queues, UDP
 * sockets, listeners, hand-over record, blobs in memory mode) is a descriptor here.
 */
#pragma once

#include "netlink/interfaces.h"
#include "netlink/monitor.h"
#include "netlink/netstate.h"
#include "netlink/tun.h"
#include "process/event_loop.h"
#include "supervisor/blobs.h"
#include "supervisor/listeners.h"
#include "supervisor/logs.h"
#include "supervisor/named_files.h"
#include "supervisor/policy.h"
#include "supervisor/supervisor.h"

#define STOP_GRACE    (1500 * NSEC_PER_MSEC) /* for an engine to end in order */
#define STOP_TOTAL    (1900 * NSEC_PER_MSEC) /* until we are gone */
#define KILL_RETRY    (100 * NSEC_PER_MSEC)  /* while the engine outlives SIGKILL */
#define OUTGOING_MAX  64u                    /* messages that an engine has not taken yet */
#define SNAPSHOT_WAIT (100 * NSEC_PER_MSEC)  /* changes of interfaces come in bursts */

/* The engine has one thread, and so the TUN one queue, whatever cpu_threads() finds. */
#define PACKET_THREADS_MAX 1u

struct outgoing {
	struct outgoing *next;
	union privsep_message message;
	int fds[PRIVSEP_FDS_MAX];
	size_t fd_count;
};

struct engine {
	pid_t pid;           /* 0: none lives */
	unsigned int number; /* 1 for the first */
	nanoseconds started;
	bool stopping;
	int fd;                     /* our end of the channel */
	struct loop_source channel; /* fd, while we still listen to it */
	struct outgoing *queue, **queue_end;
	size_t queue_length;
	struct loop_timer restart, kill, watch;
	struct crashes crashes;
	struct watchdog watchdog;
	bool hung;   /* and is killed for it */
	bool killed; /* SIGKILL was sent, or tried */
	struct quota sockets, files, loads, networks;
	struct quota said; /* lines of ours that it causes */
};

struct network {
	struct netlink *netlink;
	struct net_monitor *monitor;
	struct loop_source events;
	struct loop_timer apply, repair, snapshot, renew;
	struct net_repair repairs;
	struct tun tun;
	struct net_interfaces interfaces;
	struct net_allowed allowed;    /* by the start */
	struct privsep_network wish;   /* of the engine, at last */
	struct privsep_network wanted; /* of that, what is allowed now */
	char refused[PRIVSEP_TEXT_MAX];
	bool have_wanted;
	uint32_t request; /* id that waits for the apply; 0: none */
	int asked;        /* memfd of the newest request, not read yet; -1: none */
	uint32_t asked_id;
	char obstacle[256];             /* another program's rule, logged already */
	unsigned int warnings;          /* of the last report, logged already */
	nanoseconds retry_wait;         /* after the next failure */
	char failure[PRIVSEP_TEXT_MAX]; /* of the last apply, logged already; empty: it went well */
};

struct supervisor {
	const struct supervisor_options *options;
	struct loop loop;
	struct logs logs;
	struct files files;
	struct blobs blobs;
	struct engine engine;
	struct network network;
	struct life life;
	struct loop_source signals;
	struct loop_timer boot;
	struct loop_timer end;       /* while ending: the latest moment */
	struct loop_timer give_back; /* what only the start needed of the libraries */
	struct udp_pair udp;
	int engine_program; /* O_PATH */
	int lock, localapi, health, handover;
	bool split;
	bool settled; /* an engine has stored the prefs of the start */
	char *auth_key;
	char *warnings; /* for the start configuration */
	char *last_crash;
	unsigned int threads;
	bool ending;
	nanoseconds end_by;
	int exit_code;
	char last_text[PRIVSEP_TEXT_MAX]; /* of the engine's last status */
};

/* supervisor.c */

/** supervisor_warn() - One line in the log now, and in the configuration of engines to come */
void supervisor_warn(struct supervisor *s, const char *text);

/** supervisor_end() - Stop the engine in order, then end with @code */
void supervisor_end(struct supervisor *s, int code);

/** supervisor_engine_gone() - The engine has ended while we are ending */
void supervisor_engine_gone(struct supervisor *s);

/* child.c */

/** engine_find() - Open the sibling program; descriptor or negative errno with @err */
int engine_find(struct error *err);

void engine_init(struct supervisor *s);

/** engine_start() - A new one, now */
void engine_start(struct supervisor *s);

/** engine_stop() - Ask it to end, and see to it; calls supervisor_engine_gone() when it has */
void engine_stop(struct supervisor *s);

/** engine_exited() - waitpid() gave @pid; whether it was the engine */
bool engine_exited(struct supervisor *s, pid_t pid, int status);

/** engine_kill() - It misbehaves or its descriptors are dead: another is needed */
void engine_kill(struct supervisor *s, const char *why);

/** engine_send() - Queue a message; copies descriptors. Dropped while no engine lives */
void engine_send(struct supervisor *s, const union privsep_message *message, const int *fds,
		 size_t fd_count);

/* child_requests.c */

/**
 * requests_receive() - Handle one message of the engine
 *
 * Return: 0, -EAGAIN where there is none; another negative errno and the engine must go
 */
int requests_receive(struct supervisor *s);

/** requests_start() - The first message for a new engine */
int requests_start(struct supervisor *s);

void requests_reply(struct supervisor *s, uint32_t id, int result, const char *text, int fd);
void requests_stored(void *userdata, const struct blob_job *job);
void requests_file_changed(void *userdata, enum privsep_file_name name, int fd);

/** requests_interfaces() - Tell the engine what the machine has */
void requests_interfaces(struct supervisor *s);

/* network.c */

/** network_open() - Claim the namespace, make the TUN, watch; 0 or negative errno with @err */
int network_open(struct supervisor *s, struct error *err);

/** network_request() - The engine wants what @memfd, which becomes ours, says; answered later */
void network_request(struct supervisor *s, uint32_t id, int memfd);

/** network_engine_gone() - Nobody waits for an answer any more */
void network_engine_gone(struct supervisor *s);

/** network_close() - Remove what is ours */
void network_close(struct supervisor *s);
