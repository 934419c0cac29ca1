/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport/dial.h - from a host and a port to an open stream, in one call
 *
 * Resolves, races the addresses (RFC 8305), passes the proxy if there is one, does
 * the TLS handshake, all within one timeout.
 */
#pragma once

#include "base/clock.h"
#include "base/socket_source.h"
#include "transport/names.h"
#include "transport/proxy.h"
#include "transport/stream.h"
#include "transport/tls.h"

#include <errno.h>

/* The tools of a dial. The caller may replace members between dials. */
struct dialer {
	uv_loop_t *loop;
	struct socket_source *sockets;
	struct names *names;       /* NULL: only literals and given addresses */
	struct tls_context *tls;   /* NULL: no TLS */
	const struct proxy *proxy; /* NULL: none. Only TLS connections go by it */
	enum socket_kind kind;     /* of the connections; the first is SOCKET_TCP */
};

/* A dialer of a process that opens files and sockets itself. */
struct system_dialer {
	struct dialer dialer;
	struct proxy *proxy;
};

/**
 * system_dialer_open() - With the names and the proxy of this machine
 * @tls:     whether it needs certificates
 * @ca_file: PEM text of the roots to trust; NULL: the machine's
 *
 * system_dialer_close() is due, also on failure. Return: 0 or negative errno with @err set
 */
int system_dialer_open(struct system_dialer *d, uv_loop_t *loop, bool tls, const char *ca_file,
		       struct error *err);
void system_dialer_close(struct system_dialer *d);

/* All pointers need to be valid only during dial_start(). */
struct dial_options {
	const char *host;
	uint16_t port;
	const struct tls_options *tls; /* NULL: plain TCP. tls->host NULL: @host */
	/* Try these and ask no names (a DERP node's IPv4 and IPv6). */
	const struct address *addresses;
	size_t address_count;
	/* Try these, in this order, when the name can't be resolved soon: the last that worked. */
	const struct address *fallback;
	size_t fallback_count;
	enum address_family only; /* ADDRESS_NONE: both */
	nanoseconds timeout;      /* for the whole dial; 0: DIAL_TIMEOUT */
};

#define DIAL_TIMEOUT (10 * NSEC_PER_SEC)

/* How long a caller with the same deadline waits for the dial's own, better reason. */
#define DIAL_GRACE (20 * NSEC_PER_MSEC)

/* The code of a failure where the name could not be resolved, even if guesses were tried. */
#define DIAL_UNRESOLVED (-ENODATA)

/* The code of a failure on the way to the far end of HTTPS_PROXY. */
#define DIAL_PROXY_FAILED (-EREMOTEIO)

struct dial;

/**
 * dial_done - The end of a dial, called once and never before dial_start() returned
 * @stream: open, owned by the callee; NULL on failure
 * @to:     the address that worked (the proxy's, if one was used); NULL on failure
 * @err:    NULL, or why it failed: "dial host:443: connect 1.2.3.4:443: Connection refused"
 */
typedef void dial_done(void *user, struct stream *stream, const struct endpoint *to,
		       const struct error *err);

/**
 * dial_start() - Begin
 * @ret: valid until @done or dial_cancel()
 *
 * Return: 0; -EINVAL for an unusable host; -ENOMEM; with @err set, and @done is not called
 */
int dial_start(const struct dialer *dialer, const struct dial_options *options, dial_done *done,
	       void *user, struct dial **ret, struct error *err);

/** dial_cancel() - Give up; @done will not be called. NULL is fine */
void dial_cancel(struct dial *dial);
