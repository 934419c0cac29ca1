/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/proxy_protocol.h - the head that a load balancer puts before a connection
 *
 * HAProxy's PROXY protocol, version 1 (a line of text) and version 2 (binary).
 */
#pragma once

#include "base/address.h"

#include <stddef.h>
#include <stdint.h>

/* A head of version 2 may carry records beside the addresses. */
#define PROXY_PROTOCOL_MAX ((size_t)1024)

/**
 * proxy_protocol_parse() - Read the head
 * @ret_from: the client; untouched where the head names none (LOCAL, UNKNOWN, a Unix socket)
 * @ret_used: bytes of the head
 *
 * Return: 1: it is whole; 0: more bytes are needed; -EBADMSG; -EMSGSIZE past PROXY_PROTOCOL_MAX
 */
int proxy_protocol_parse(const uint8_t *bytes, size_t length, struct endpoint *ret_from,
			 size_t *ret_used);
