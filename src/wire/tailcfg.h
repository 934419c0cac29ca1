/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire/tailcfg.h - the messages between node and control server, as structs
 *
 * The JSON of the coordination protocol. Members have the names of the
 * protocol, in snake case. Only members that this node uses or shows are kept; unknown
 * members are ignored at every level.
 *
 * Every struct owns what its members point to and has a `_clear` that frees it and
 * leaves it all zero. All zero is a valid, empty value. Text is NULL when empty.
 * After a failure of a `_decode`, @ret is unusable and owns nothing.
 */
#pragma once

#include "wire/tailcfg_derp.h"     // IWYU pragma: export
#include "wire/tailcfg_filter.h"   // IWYU pragma: export
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
