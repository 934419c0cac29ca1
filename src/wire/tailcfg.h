/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tailcfg.h - what node and control server say to each other, as structs
 *
 * The JSON of the coordination protocol. Member names are the protocol's own; our
 * struct json_members are theirs in snake case. Only what this node uses or shows is
 * kept; everything unknown is passed over at every level.
 *
 * Every struct owns what its members point to and has a `_clear` that frees it and
 * leaves it all zero. All zero is a valid, empty value. Text is NULL when empty.
 * A `_decode` leaves @ret untouched on failure.
 */
#pragma once

#include "wire/tailcfg_derp.h"     // IWYU pragma: export
#include "wire/tailcfg_dns.h"      // IWYU pragma: export
#include "wire/tailcfg_filter.h"   // IWYU pragma: export
#include "wire/tailcfg_hostinfo.h" // IWYU pragma: export
#include "wire/tailcfg_map.h"      // IWYU pragma: export
#include "wire/tailcfg_node.h"     // IWYU pragma: export
#include "wire/tailcfg_register.h" // IWYU pragma: export

/*
 * The capability version we advertise: in /key?v=, in the TS2021 prologue and in
 * every request. It promises all duties below it; docs/architecture.md lists them.
 */
#define TAILCFG_CAPABILITY_VERSION 138

/* The release that number belongs to. One that does not parse voids the Hostinfo. */
#define TAILCFG_IPN_VERSION "1.98.0"
