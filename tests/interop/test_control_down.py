# SPDX-License-Identifier: BSD-3-Clause
"""The control server is away: what was known goes on working.

Proved twice: with the relay alive on a host of its own, and with everything down, direct.
"""

import pytest
from lab import Held
from lab.app import TICK

MINUTE = 60


def minute_without_control(world, seconds):
    held = [
        Held(world.laptop.box, world.sidecar.addresses()[0], "ticks"),
        Held(world.sidecar.box, world.laptop.addresses()[1], "ticks"),
    ]
    for one in held:
        one.wait_ticks(10, 10)
    marks = [len(one.lines()) for one in held]
    world.headscale.stop()
    for one in held:
        one.wait_ticks(int(seconds / TICK * 0.9), seconds + 20)
    for one, mark in zip(held, marks, strict=True):
        assert one.intact()
        assert one.longest_gap(mark) < 1.5
    # New connections too.
    world.fetch_both_ways()
    world.headscale.start()
    world.laptop.wait_knows(world.sidecar, 60)
    world.fetch_both_ways()


def test_a_minute_without_control_direct(world):
    """Control, relay and STUN are down."""
    world.sidecar.join()
    world.use("direct")
    minute_without_control(world, MINUTE)


def test_a_minute_without_control_by_relay(world_with_derper):
    world = world_with_derper
    world.sidecar.join()
    world.use("relay")
    minute_without_control(world, MINUTE)


@pytest.mark.usefixtures("pillion_only")
def test_start_without_control_direct(world):
    """Everything is down; the node starts from what it knows and reaches the peer it knew."""
    world.sidecar.join()
    world.use("direct")
    world.sidecar.stop()
    world.headscale.stop()
    world.sidecar.start()
    world.sidecar.wait_running(10)
    world.fetch_both_ways()
    world.headscale.start()
    world.laptop.wait_knows(world.sidecar, 60)
    world.fetch_both_ways()


@pytest.mark.usefixtures("pillion_only")
def test_start_without_control_by_relay(world_with_derper):
    world = world_with_derper
    world.sidecar.join()
    world.use("relay")
    world.sidecar.stop()
    world.headscale.stop()
    world.sidecar.start()
    world.sidecar.wait_running(10)
    world.fetch_both_ways()
    world.headscale.start()
    world.laptop.wait_knows(world.sidecar, 60)
    world.fetch_both_ways()
