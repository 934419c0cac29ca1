# SPDX-License-Identifier: BSD-3-Clause
"""A container joins a tailnet and its app is reached; it comes back, and it leaves."""

import time

from lab import wait_for


def test_join_over_relay_then_direct(world):
    """Both ways, both families, first by the relay alone, then by UDP, then by the relay again."""
    world.close_udp()
    world.sidecar.start(world.headscale.auth_key())
    world.sidecar.wait_started()
    world.use("relay")
    world.use("direct")
    world.fetch_both_ways()
    world.use("relay")


def test_restart_keeps_the_node(world):
    """SIGTERM, and the same node is back without a key."""
    world.sidecar.join()
    world.fetch_both_ways()
    addresses = world.sidecar.addresses()
    node = world.headscale.node("sidecar")
    status, seconds = world.sidecar.stop()
    assert status == 0
    if world.sidecar.kind == "pillion":
        assert seconds < 2
    world.sidecar.start()
    world.sidecar.wait_running()
    assert world.sidecar.addresses() == addresses
    assert sorted(world.headscale.nodes()) == ["laptop", "sidecar"]
    assert world.headscale.node("sidecar")["id"] == node["id"]
    world.fetch_both_ways()


def test_an_ephemeral_node_leaves_on_sigterm(world):
    """Without a state directory it logs out before it ends, so that no trace of it is left."""
    key = world.headscale.auth_key(ephemeral=True)
    world.sidecar.start(key, {"TS_STATE_DIR": ""})
    world.sidecar.wait_running()
    world.fetch_both_ways()
    status, _ = world.sidecar.stop()
    assert status == 0
    assert not any(world.sidecar.state.iterdir())
    wait_for(lambda: not world.headscale.node("sidecar"), 10, "the node to be gone")


def test_logout(world):
    """The node is no longer one, the peer knows it, and a new key makes it one again."""
    world.sidecar.join()
    world.fetch_both_ways()
    world.sidecar.cli("logout")
    world.sidecar.wait_state("NeedsLogin")
    assert world.headscale.node("sidecar")["expiry"]["seconds"] <= time.time()
    wait_for(lambda: not world.laptop.knows(world.sidecar), 30, "the laptop to see it offline")
    world.sidecar.up(world.headscale.auth_key(), "--reset")
    world.sidecar.wait_running()
    world.fetch_both_ways()


def test_ephemeral_logout_removes_the_node(world):
    world.sidecar.start(world.headscale.auth_key(ephemeral=True))
    world.sidecar.wait_running()
    world.sidecar.cli("logout")
    wait_for(lambda: not world.headscale.node("sidecar"), 10, "the node to be gone")
    wait_for(
        lambda: not (world.laptop.status().get("Peer") or {}), 10, "the laptop to have no peer"
    )
