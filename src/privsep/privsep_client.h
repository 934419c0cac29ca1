/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * privsep/privsep_client.h - a child's end of its channel to the supervisor
 *
 * DOC: Theory of operation
 *
 * The start-up and c-ares need some answers at once: opening a socket or a file and loading a blob
 * wait for the answer, at most PRIVSEP_CLIENT_DEADLINE. Other messages that arrive meanwhile are
 * queued, and privsep_client_fd() becomes readable: that descriptor is an epoll set of the channel
 * and an eventfd of the queue. All other requests return at once, and their callbacks run in
 * privsep_client_dispatch(). One thread only.
 *
 *	struct privsep_client *client;
 *	struct privsep_start_message start;
 *	privsep_client_new(PRIVSEP_CHANNEL_FD, &handlers, node, &client);
 *	privsep_client_start(client, &start, &err);
 *	…sandbox…
 *	uv_poll_init(loop, &poll, privsep_client_fd(client));
 *	on readable: if (privsep_client_dispatch(client) < 0) the supervisor has ended: end
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/socket_source.h"
#include "privsep/handover_record.h"
#include "privsep/privsep_messages.h"
#include "privsep/records.h"

#define PRIVSEP_CLIENT_DEADLINE    (2 * NSEC_PER_SEC)
#define PRIVSEP_CLIENT_QUEUE_MAX   256u
#define PRIVSEP_CLIENT_PENDING_MAX 64u

struct privsep_client;

/** struct privsep_client_handlers - Events; any may be NULL. Called by dispatch alone */
struct privsep_client_handlers {
	/** @interfaces: the machine's current addresses; valid during the call */
	void (*interfaces)(void *userdata, const struct interfaces *interfaces);
	/** A requested file has changed. @fd: the callee's to close, or negative errno */
	void (*file_changed)(void *userdata, enum privsep_file_name name, int fd);
	/** End in order, with exit code 0; SIGKILL follows after about 1.5 s */
	void (*stop)(void *userdata);
	/** Of the engine: @diverts are all ports that services listen at now */
	void (*divert)(void *userdata, const struct privsep_divert *diverts, size_t count);
	/** A channel between engine and services, the callee's to close */
	void (*link)(void *userdata, int fd);
	/** Of services: the wanted services, the callee's to clear */
	void (*serving)(void *userdata, struct privsep_serve *serve);
	/** Of services: a listener of @port, the callee's to close */
	void (*listener)(void *userdata, uint16_t port, int fd);
};

/**
 * privsep_done - Called once for an asynchronous request
 * @result: 0, or negative errno; -EPIPE if the supervisor ended first
 * @text:   a warning, or the error; may be empty
 */
typedef void (*privsep_done)(void *userdata, int result, const char *text);

/** privsep_done_fd - The same for a request that is answered by a descriptor, the callee's; or
 *  negative errno */
typedef void (*privsep_done_fd)(void *userdata, int fd);

/** privsep_done_opened - The same for PRIVSEP_OPEN; @kind: PRIVSEP_OPENED_…, or the error in words */
typedef void (*privsep_done_opened)(void *userdata, int fd, const char *kind);

/** struct privsep_start_message - Contents of the first message */
struct privsep_start_message {
	struct privsep_start config;
	int handover;             /* handover_read(), handover_write() */
	int localapi;             /* listening Unix socket, or -1 */
	int health;               /* listening TCP socket for /healthz and /metrics, or -1 */
	int udp_v4;               /* bound, marked, non-blocking, or -1 */
	int udp_v6;               /* as udp_v4, and IPV6_V6ONLY */
	int tun[PRIVSEP_TUN_MAX]; /* queues; an unread queue blocks its flows */
	size_t tun_count;
};

/**
 * privsep_client_new() - On a connected channel, which the client then owns
 * @sender: the kind of child that this process is
 *
 * Return: 0, -ENOMEM, negative errno
 */
int privsep_client_new(int channel, enum privsep_sender sender,
		       const struct privsep_client_handlers *handlers, void *userdata,
		       struct privsep_client **ret);

/**
 * privsep_client_free() - Close the channel; pending requests end with -EPIPE. NULL is fine
 *
 * A handler or a privsep_done may call it: the memory is freed when dispatch returns, and no
 * callback runs from then on.
 */
void privsep_client_free(struct privsep_client *client);

/**
 * privsep_client_start() - Wait for the first message
 * @ret: the configuration and descriptors, the caller's
 */
int privsep_client_start(struct privsep_client *client, struct privsep_start_message *ret,
			 struct error *err);

/** privsep_start_message_clear() - Close the descriptors, free the configuration */
void privsep_start_message_clear(struct privsep_start_message *message);

/** privsep_client_fd() - When it is readable, call privsep_client_dispatch() */
int privsep_client_fd(const struct privsep_client *client);

/**
 * privsep_client_dispatch() - Handle the messages that have arrived
 *
 * Return: 0 (also if a handler freed the client); negative errno (-EPIPE, -EBADMSG) if the
 * supervisor has ended
 */
int privsep_client_dispatch(struct privsep_client *client);

/**
 * privsep_client_sockets() - The socket source over this client
 *
 * Its open() waits for the supervisor's answer; -EDQUOT if requests are too frequent.
 */
struct socket_source *privsep_client_sockets(struct privsep_client *client);

/**
 * privsep_client_open_file() - A named file, read-only; watched from then on
 *
 * Read it with file_read(). Return: descriptor, or negative errno (-ENOENT: no such file)
 */
int privsep_client_open_file(struct privsep_client *client, enum privsep_file_name name);

/**
 * privsep_client_load() - A stored blob
 * @limit: most bytes to take
 * @ret:   appended; untouched on failure
 * @err:   the supervisor's text about a failure; may be empty
 *
 * Return: 0, -ENOENT if none was stored, -ENODATA if it was lost, -EMSGSIZE, negative errno
 */
int privsep_client_load(struct privsep_client *client, enum privsep_blob_name name, size_t limit,
			struct buffer *ret, struct error *err);

/**
 * privsep_client_store() - Store a blob; it is on disk when @done is called with 0
 *
 * Two stores of the same name are kept in order. Return: 0 and @done will be
 * called, or negative errno and it won't
 */
int privsep_client_store(struct privsep_client *client, enum privsep_blob_name name,
			 const void *bytes, size_t length, privsep_done done, void *userdata);

/**
 * privsep_client_load_domain(), privsep_client_store_domain() - The same for a blob of a domain
 * @domain: that privsep_domain_fits(), else -EINVAL
 */
int privsep_client_load_domain(struct privsep_client *client, enum privsep_blob_name name,
			       const char *domain, size_t limit, struct buffer *ret,
			       struct error *err);
int privsep_client_store_domain(struct privsep_client *client, enum privsep_blob_name name,
				const char *domain, const void *bytes, size_t length,
				privsep_done done, void *userdata);

/**
 * privsep_client_network() - Ask for a network state
 *
 * @done receives 0 and warnings in its text (IPv6 off, no nf_tables …), or the error.
 * A newer request may overtake an older one, whose @done then receives -ECANCELED.
 */
int privsep_client_network(struct privsep_client *client, const struct privsep_network *network,
			   privsep_done done, void *userdata);

/** privsep_client_serve() - Ask for services; @done as for a blob */
int privsep_client_serve(struct privsep_client *client, const struct privsep_serve *serve,
			 privsep_done done, void *userdata);

/**
 * privsep_client_connect() - Ask for a socket that connects to an address of a target
 * @serving: the number of the struct privsep_serve that has the target; -ESTALE: a newer one came
 *
 * Return: 0 and @done will be called, or negative errno and it won't
 */
int privsep_client_connect(struct privsep_client *client, uint32_t serving, unsigned int target,
			   unsigned int address, privsep_done_fd done, void *userdata);

/** privsep_client_unused() - Of services: no connection for some time; 0 or negative errno */
int privsep_client_unused(struct privsep_client *client);
/**
 * privsep_client_open() - Ask for a served file or folder
 * @serving: the number of the struct privsep_serve that has the path
 * @path: its index
 * @name: below it, as in struct privsep_open
 *
 * Return: 0 and @done will be called; -ENOBUFS: too many requests are under way; others
 */
int privsep_client_open(struct privsep_client *client, uint32_t serving, unsigned int path,
			const char *name, privsep_done_opened done, void *userdata);

/** privsep_client_settled() - The prefs of the start are stored; 0 or negative errno */
int privsep_client_settled(struct privsep_client *client);

/** privsep_client_login() - Send the URL of a login, for a QR code; 0, -EMSGSIZE, others */
int privsep_client_login(struct privsep_client *client, const char *url);

/** privsep_client_status() - Send the state; @text is logged if the supervisor ends because of it */
int privsep_client_status(struct privsep_client *client, enum privsep_state state,
			  const char *text);
