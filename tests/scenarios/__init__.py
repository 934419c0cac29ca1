# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios between nodes, for any coordination server.

tests/system runs them on `pillion control` with nothing but our own programs, tests/interop on
Headscale with a stock peer; both by `from scenarios.NAME import *`. The fixtures are theirs:

    world             control with a relay inside, the node under test (not started yet), a laptop
    world_with_relay  the same, the relay on a host of its own
    outage            for how many seconds control is away
    pillion_only      for what only our node promises
"""
