/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/client_hello.h - the server name of a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3)
 *
 * For a server that passes TLS on without ending it. The message may be divided over records, and
 * the records over reads: client_hello_feed() counts until it is whole, in time that grows with the
 * bytes, and client_hello_name() reads it once. With Encrypted ClientHello the name is that of the
 * outer message, which the client sends to be led to the right server.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLIENT_HELLO_MAX      ((size_t)16 * 1024) /* bytes of records; post-quantum ones have 2 KB */
#define CLIENT_HELLO_NAME_MAX 254                 /* with the zero */

#define TLS_ALERT_SIZE 7

/* AlertDescription */
enum tls_alert {
	TLS_ALERT_DECODE_ERROR = 50,
	TLS_ALERT_INTERNAL_ERROR = 80,
	TLS_ALERT_UNRECOGNIZED_NAME = 112,
};

/** struct client_hello - How much of a ClientHello was seen; all zero at the start */
struct client_hello {
	uint8_t record[5];   /* its header, */
	uint8_t record_have; /* of which so many bytes are there */
	uint16_t left;       /* of the record's content */
	uint8_t head[4];     /* of the handshake message */
	size_t collected;    /* of the message, with its head */
	size_t seen;         /* of all bytes */
};

/**
 * client_hello_feed() - Look at the next bytes of a connection
 *
 * Return: 1: the ClientHello is whole; 0: more is needed; -EBADMSG: it is not TLS, or not allowed
 * there; -EMSGSIZE past CLIENT_HELLO_MAX
 */
int client_hello_feed(struct client_hello *hello, const uint8_t *bytes, size_t length);

/**
 * client_hello_name() - The server name, in lower case
 * @bytes: all bytes of the connection, for which client_hello_feed() returned 1
 *
 * Return: 0; -ENOENT: it has none; -EBADMSG: malformed, or no host name
 */
int client_hello_name(const uint8_t *bytes, size_t length, char ret[static CLIENT_HELLO_NAME_MAX]);

/** tls_alert_write() - A fatal alert, as a server sends it before ServerHello */
void tls_alert_write(enum tls_alert alert, uint8_t out[static TLS_ALERT_SIZE]);
