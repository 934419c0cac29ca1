# SPDX-License-Identifier: BSD-3-Clause
"""The engine is killed: the app's connections don't notice more than a pause.

    laptop ── connection "in" ──► app beside the node     opened by the laptop
    laptop ◄── connection "out" ── app beside the node    opened by the app

Goal 2 s; the tests allow 6. The official daemon under a nanny, which proves the tests, loses its
first handshake over a direct path and takes 6.5: it is allowed 15.
"""

import pytest
from lab import Held, wait_for

ALLOWED = {"pillion": 6.0, "official": 15.0}


def connections(world, kind, family):
    """One connection each way."""
    inward = Held(world.laptop.box, world.sidecar.addresses()[family], kind)
    outward = Held(world.sidecar.box, world.laptop.addresses()[family], kind)
    return inward, outward


def engine_replaced(world, old):
    """The fifth crash in a row waits 15 s, so that a crash loop costs nothing."""
    return wait_for(lambda: world.sidecar.engine_pid() != old, 20, "another engine")


@pytest.mark.parametrize("path", ["relay", "direct"])
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_busy_connections_survive(world, healing_only, path, family):
    """Ticks flow both ways; after the kill they go on, and none is lost."""
    world.join(path)
    held = connections(world, "ticks", family)
    marks = []
    for one in held:
        one.wait_ticks(10, 10)
        marks.append(len(one.lines()))
    old = world.sidecar.engine_pid()
    world.sidecar.kill_engine()
    engine_replaced(world, old)
    for one, mark in zip(held, marks, strict=True):
        one.wait_ticks(40, 20, mark)
        assert one.intact()
        assert one.longest_gap(mark) < ALLOWED[world.sidecar.kind]
    assert world.sidecar.running()
