# SPDX-License-Identifier: BSD-3-Clause
"""The packet filter, by policies that a real Headscale compiles: the scenarios, and TSMP."""

from scenarios.policy import *  # noqa: F403
from scenarios.policy import policy, rule, settle


def test_the_peer_is_told(joined):
    """A refused connection comes back as a message in the tunnel (TSMP), which the laptop logs."""
    world = joined
    since = len(world.laptop.process.text())
    world.headscale.set_policy(policy(world, rule("sidecar", "laptop:*")))
    settle(world, world.laptop, world.sidecar, False)
    world.laptop.process.wait_text("(?i)(rejected|drop).*(acl|shields)", 10, since)
