/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/divert.h - served ports go to a service, without taking them from the app
 *
 * A service listens at an own address on some free, high port. A packet of a peer to the served
 * port gets the high port instead, after the filter has judged it; an answer of the service gets
 * the served port back. So the app may hold the served port itself. A packet that addresses the
 * high port directly is dropped. An ICMP error that quotes such a packet is rewritten as well.
 *
 * A port that is not served any more is retired: connections from before go on to the service, and
 * new ones to the host, where the app may listen now. So those that begin after the retirement are
 * stored; when there are too many, the retirement ends.
 */
#pragma once

#include "base/address.h"
#include "wire/ip.h"

#include <stdbool.h>
#include <stddef.h>

#define DIVERTS_MAX      256
#define DIVERT_BEGUN_MAX 256u

/** struct divert - TCP to @served goes to the same address, port @high */
struct divert {
	struct endpoint served;
	uint16_t high; /* 0: a retirement that has ended */
	bool retired;
};

/** struct diverts - All of them; all zeros diverts nothing */
struct diverts {
	struct divert list[DIVERTS_MAX];
	size_t count;
	/* Connections that began after the retirement of their port. */
	struct {
		struct endpoint peer;
		uint16_t port;
	} begun[DIVERT_BEGUN_MAX];
	size_t begun_count;
};

/** diverts_set() - @count of @list from now on; retired ports go on as they are */
void diverts_set(struct diverts *diverts, const struct divert *list, size_t count);

/**
 * divert_inbound() - A packet of a peer that the filter accepted
 * @packet: rewritten in place, and @v with it
 *
 * Return: false: drop it
 */
bool divert_inbound(struct diverts *diverts, uint8_t *packet, struct ip_view *v);

/**
 * divert_outbound() - A packet of the host to a peer
 * @partial: the transport checksum is the kernel's partial one, which covers no port
 */
void divert_outbound(const struct diverts *diverts, uint8_t *packet, struct ip_view *v,
		     bool partial);
