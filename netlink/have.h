/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink/have.h - one strict dump: what the kernel has of ours
 *
 * Filtered by the kernel by link, table and protocol where it can, and here again
 * for kernels that can't; streamed into records of 18 bytes a prefix.
 */
#pragma once

#include "netlink/channel.h"
#include "netlink/reconcile.h"

/**
 * net_have_read() - Dump
 * @ifindex: our link; 0 reads the rules alone
 * @table:   routing table; RT_TABLE_MAIN where there is no policy routing
 * @without: in and out; bits are added for NET_WARNING_NO_RULES and NET_WARNING_IPV6_OFF when the
 *           kernel has no such thing at all
 * @ret:     caller ends it by net_have_free()
 *
 * Return: 0; -ENODEV when link @ifindex doesn't exist; -EINTR, -ENOBUFS: dump again; other errno
 */
int net_have_read(struct net_channel *channel, uint32_t ifindex, uint32_t table, uint32_t mark,
		  unsigned int *without, struct net_have *ret, struct error *err);
