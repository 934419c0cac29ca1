/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter/divert.h - served ports go to a service, without taking them from the app
 *
 * A service listens at an own address on some free, high port. A packet of a peer to the served
 * port gets the high port instead, after the filter has judged it; an answer of the service gets
 * the served port back. So the app may hold the served port itself. A packet that addresses the
 * high port directly is dropped. An ICMP error that quotes such a packet is rewritten as well.
 */
#pragma once

#include "base/address.h"
#include "wire/ip.h"

#include <stdbool.h>
#include <stddef.h>

#define DIVERTS_MAX 256

/** struct divert - TCP to @served goes to the same address, port @high */
struct divert {
	struct endpoint served;
	uint16_t high;
};

/** struct diverts - All of them; all zeros diverts nothing */
struct diverts {
	struct divert list[DIVERTS_MAX];
	size_t count;
};

/**
 * divert_inbound() - A packet of a peer that the filter accepted
 * @packet: rewritten in place, and @v with it
 *
 * Return: false: drop it
 */
bool divert_inbound(const struct diverts *diverts, uint8_t *packet, struct ip_view *v);

/**
 * divert_outbound() - A packet of the host to a peer
 * @partial: the transport checksum is the kernel's partial one, which covers no port
 */
void divert_outbound(const struct diverts *diverts, uint8_t *packet, struct ip_view *v,
		     bool partial);
