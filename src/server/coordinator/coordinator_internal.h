/* SPDX-License-Identifier: BSD-3-Clause */
/* server/coordinator/coordinator_internal.h - shared by the parts of the server on the event loop */
#pragma once

#include "server/coordinator/coordinator.h"
#include "server/coordinator/dns_hook.h"
#include "server/coordinator/registry_store.h"
#include "server/coordinator/source_log.h"
#include "server/web/web_server.h"
#include "transport/http2_server.h"
#include "transport/loop_timer.h"
#include "transport/ts2021_stream.h"

#include <zstd.h>

struct machine;

/* One TS2021 connection: a machine, proved by Noise. */
struct machine_connection {
	struct coordinator *control;
	LIST_ENTRY(machine_connection) next;
	struct http2_server *http2;
	struct public_key machine;
	uint16_t version;
	nanoseconds idle_since; /* without an exchange; NEVER while there is one */
	struct deadline due;    /* when it is looked at */
	/* It has not asked for a node's map yet. */
	bool guest;
	unsigned int source;
	struct address from;
	TAILQ_ENTRY(machine_connection) next_guest;
	size_t charged; /* a guest's bytes, as they count */
	struct machine *of;
	TAILQ_ENTRY(machine_connection) next_of_machine;
	bool used; /* it has had one: a handshake alone costs a stranger nothing */
};

enum exchange_kind {
	EXCHANGE_ANSWER, /* an answer that waits for the disk */
	EXCHANGE_HELD,   /* a login or a session over SSH that waits for a person */
	EXCHANGE_DNS,    /* a change of DNS that waits for the operator's program */
	EXCHANGE_MAP,    /* a map stream */
	EXCHANGE_KINDS,
};

/* An exchange that isn't over with its request. */
struct machine_exchange {
	struct coordinator *control;
	LIST_ENTRY(machine_exchange) next;
	enum exchange_kind kind;
	struct http2_exchange *x;
	bool *gone; /* where to say that it was freed while it is written to; or NULL */

	struct buffer answer; /* ANSWER */
	int status;           /* ANSWER; or MACHINE_ANSWER_RESET */

	struct public_key machine;               /* HELD */
	struct machine_register_request request; /* HELD, of a login */
	struct machine_ssh_request *ssh;         /* HELD, of a session over SSH; or NULL */
	uint32_t hook_id;                        /* DNS */
	nanoseconds until;                       /* HELD */

	struct map_session *session; /* MAP */
	bool compress;
	size_t queued;        /* of a full map: until the stream has passed it on */
	size_t left;          /* of that, when it was last looked at and had become less, */
	nanoseconds moved_at; /* which was then */
	bool mapped;          /* its first map is out */
	nanoseconds keep_alive_at;
	nanoseconds stalled_since; /* NEVER while the reader keeps up */
	struct deadline due;
};

struct coordinator {
	uv_loop_t *loop;
	struct tailnet tailnet;
	struct registry_store *store;
	struct secret_key noise_key;
	struct public_key noise_public;
	struct web_server *web, *local_web;
	bool tls; /* nodes connect by it */
	LIST_HEAD(, machine_connection) connections;
	TAILQ_HEAD(, machine_connection) guests; /* oldest first */
	size_t guest_count;
	uint64_t guests_cut;
	uint16_t guests_of[SOURCE_SLOTS + 1];
	size_t guest_bytes;
	uint32_t guest_bytes_of[SOURCE_SLOTS + 1];
	struct machine *machines;
	LIST_HEAD(, machine_exchange) exchanges[EXCHANGE_KINDS]; /* newest first */
	struct loop_timer *flush, *tick;
	struct dns_hook *dns_hook;     /* NULL: none */
	struct certificate *authority; /* for certificates of nodes; NULL: none. Borrowed */
	struct source_log *strangers;
	nanoseconds page_warning_at; /* from when on a wrong page key is logged again */
	struct deadlines connections_due, maps_due;
	ZSTD_CCtx *zstd;
	struct buffer text;  /* of the message at hand */
	struct buffer last;  /* the one before, which many others may get too, */
	struct buffer frame; /* and what became of it */
	size_t queued;       /* bytes of full maps that streams have not passed on */
	uint32_t jitter;
	bool stopping;
	bool store_failed; /* and was logged */
};

/* coordinator_answers.c: every other part may call these */

/** coordinator_settle() - Write, answer and notify once this round of the loop is over */
void coordinator_settle(struct coordinator *c);

/**
 * coordinator_write() - Write all changes of the registry now
 *
 * Return: 0, or negative errno with @err set: the changes stay, and are tried again
 */
int coordinator_write(struct coordinator *c, struct error *err);

/** coordinator_answer() - Send the answers whose changes are on the disk */
void coordinator_answer(struct coordinator *c);

/** machine_exchange_new() - Keep @x, on the list of @kind; NULL without memory */
struct machine_exchange *machine_exchange_new(struct coordinator *c, struct http2_exchange *x,
					      enum exchange_kind kind);
void machine_exchange_free(struct machine_exchange *e);

/** machine_reply_text() - Answer now, with a line of text */
void machine_reply_text(struct http2_exchange *x, int status, const char *text);

#define MACHINE_ANSWER_TYPE  "application/json"
#define MACHINE_ANSWER_RESET 0 /* the stream is reset: the client asks again */

/**
 * machine_answer_exchange() - Answer once the disk has the changes
 * @status: 200 with JSON, another one with text, or MACHINE_ANSWER_RESET
 * @body:   taken
 */
void machine_answer_exchange(struct machine_exchange *e, int status, struct buffer *body);

/* machine_asks.c */

/** machine_register() - POST /machine/register */
void machine_register(struct machine_connection *n, struct http2_exchange *x);

/** machine_set_dns() - POST /machine/set-dns */
void machine_set_dns(struct machine_connection *n, struct http2_exchange *x);

/** machine_sign() - POST /machine/pillion/certificate */
void machine_sign(struct machine_connection *n, struct http2_exchange *x);

/** machine_dns_done() - The hook has run; of dns_hook_new() */
void machine_dns_done(void *user, uint32_t id, int result);

/** machine_ssh_action() - GET POLICY_SSH_ACTION… */
void machine_ssh_action(struct machine_connection *n, struct http2_exchange *x);

/** machine_decided() - A person has decided: look at the held requests again */
void machine_decided(struct coordinator *c);

/** machine_asks_tick() - Answer requests that were held for long: their clients ask again */
void machine_asks_tick(struct coordinator *c, nanoseconds now);

/** machine_refuse_old() - Log that a client is too old */
void machine_refuse_old(struct coordinator *c, unsigned int source, const struct address *from,
			int64_t version);

/* machine_maps.c */

/** machine_map() - POST /machine/map */
void machine_map(struct machine_connection *n, struct http2_exchange *x);

/** machine_map_drained() - A stream has sent all that it was given */
void machine_map_drained(struct http2_exchange *x);

/** machine_maps_tell() - Give sessions their next messages, for a while */
void machine_maps_tell(struct coordinator *c);

/** machine_maps_tick() - Send keep-alives, and end streams whose client doesn't read */
void machine_maps_tick(struct coordinator *c, nanoseconds now);

/* machine_connection.c */

/** machine_adopted() - It is a node's: no guest any more */
void machine_adopted(struct machine_connection *n);

void machine_connection_close(struct machine_connection *n);

/** machine_accept() - A /ts2021 request, whole; answers or upgrades */
void machine_accept(struct coordinator *c, struct http1_exchange *x);

/** machine_tick() - Once a second: keep-alives, slow readers, idle connections */
void machine_tick(struct coordinator *c, nanoseconds now);

/* operator.c */
void operator_serve(void *user, struct http1_exchange *x);

/* login_pages.c */

/** pages_serve() - GET or POST of /register/ID or /ssh/ID; false: it is none of these */
bool pages_serve(struct coordinator *c, struct http1_exchange *x);

/** pages_may_approve() - Whether a secret may go by them: over TLS, or on this machine */
bool pages_may_approve(const struct coordinator *c);
