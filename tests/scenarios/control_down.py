# SPDX-License-Identifier: BSD-3-Clause
"""The control server is down: nodes go on with what they know.

Proved twice: with the relay alive on a host of its own, and with everything down, direct.
"""

import pytest
from lab import Held
from lab.app import TICK


def go_without_control(world, seconds):
    held = [
        Held(world.laptop.box, world.sidecar.addresses()[0], "ticks"),
        Held(world.sidecar.box, world.laptop.addresses()[1], "ticks"),
    ]
    for one in held:
        one.wait_ticks(10, 10)
    marks = [len(one.lines()) for one in held]
    world.headscale.stop()
    for one, mark in zip(held, marks, strict=True):
        one.wait_ticks(int(seconds / TICK * 0.9), seconds + 20, mark)
        assert one.intact()
        assert one.longest_gap(mark) < 1.5
    # New connections too.
    world.fetch_both_ways()
    world.headscale.start()
    world.laptop.wait_knows(world.sidecar, 60)
    world.fetch_both_ways()


def test_an_outage_direct(world, outage):
    """Control, relay and STUN are down."""
    world.join("direct")
    go_without_control(world, outage)


def test_an_outage_by_relay(world_with_relay, outage):
    world = world_with_relay
    world.join("relay")
    go_without_control(world, outage)


@pytest.mark.usefixtures("pillion_only")
def test_start_without_control_direct(world):
    """Everything is down; the node starts from its cache and reaches the peer."""
    world.join("direct")
    world.sidecar.stop()
    world.headscale.stop()
    world.sidecar.start()
    world.sidecar.wait_running(10)
    world.fetch_both_ways()
    world.headscale.start()
    world.laptop.wait_knows(world.sidecar, 60)
    world.fetch_both_ways()


@pytest.mark.usefixtures("pillion_only")
def test_start_without_control_by_relay(world_with_relay):
    world = world_with_relay
    world.join("relay")
    world.sidecar.stop()
    world.headscale.stop()
    world.sidecar.start()
    world.sidecar.wait_running(10)
    world.fetch_both_ways()
    world.headscale.start()
    world.laptop.wait_knows(world.sidecar, 60)
    world.fetch_both_ways()
