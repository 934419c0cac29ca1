# SPDX-License-Identifier: BSD-3-Clause
"""Two nodes of ours in a tailnet of `pillion control`: all scenarios, with nothing of others.

What control said of a node that was deleted is only here: Headscale leaves its session open.
"""

from lab import wait_for
from scenarios.control_down import *  # noqa: F403
from scenarios.healing import *  # noqa: F403
from scenarios.join import *  # noqa: F403
from scenarios.keys import *  # noqa: F403
from scenarios.policy import *  # noqa: F403


def test_a_deleted_node(world):
    """An operator removes it: it says so, the peer loses it, and a new key makes it another one."""
    world.sidecar.join()
    world.fetch_both_ways()
    node = world.headscale.node("sidecar")
    world.headscale.delete("sidecar")
    world.sidecar.wait_state("NeedsLogin")
    wait_for(lambda: not world.laptop.knows(world.sidecar), 30, "the laptop to lose it")
    assert world.sidecar.process.running()
    world.sidecar.up(world.headscale.auth_key(), "--reset")
    world.sidecar.wait_running()
    world.fetch_both_ways()
    assert world.headscale.node("sidecar")["id"] != node["id"]
