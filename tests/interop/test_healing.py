# SPDX-License-Identifier: BSD-3-Clause
"""The engine is killed: the scenarios, and what takes longer. See tests/scenarios/healing.py."""

import pytest
from scenarios.healing import *  # noqa: F403
from scenarios.healing import ALLOWED, connections, engine_replaced

pytestmark = pytest.mark.usefixtures("healing_only")


@pytest.mark.parametrize("path", ["relay", "direct"])
@pytest.mark.parametrize("speaker", ["laptop", "app"])
def test_idle_connections_survive(world, path, speaker):
    """Idle connections survive the engine's death; the first data afterwards is answered in time."""
    world.join(path)
    inward, outward = connections(world, "echo", 0)
    for one in (inward, outward):
        one.echo(10)
    old = world.sidecar.engine_pid()
    world.sidecar.kill_engine()
    engine_replaced(world, old)
    one = inward if speaker == "laptop" else outward
    assert one.echo(20) < ALLOWED[world.sidecar.kind]
    for each in (inward, outward):
        assert each.echo(10) < ALLOWED[world.sidecar.kind]
        assert each.intact()


def test_killed_again_and_again(world, pillion_only):
    """Five times in a row: later and later, and each time all is there again."""
    world.join("direct")
    inward, outward = connections(world, "ticks", 0)
    for _ in range(5):
        old = world.sidecar.engine_pid()
        world.sidecar.kill_engine()
        engine_replaced(world, old)
        inward.wait_ticks(10, 30)
        outward.wait_ticks(10, 30)
    assert inward.intact() and outward.intact()
    world.fetch_both_ways()
