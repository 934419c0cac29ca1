# SPDX-License-Identifier: BSD-3-Clause
"""Auth keys that don't work: said clearly, and healed by one that does."""

import pytest
from lab.app import url


def bad_key(world, which):
    if which == "wrong":
        return world.headscale.auth_key()[:-6] + "aaaaaa"
    if which == "expired":
        return world.headscale.expired_auth_key()
    return world.laptop.key  # for one use, and used


@pytest.mark.parametrize("which", ["wrong", "expired", "used"])
def test_a_bad_key_is_named_and_healed(world, pillion_only, which):
    """The entrypoint stays, so that the app keeps its network; `up` with a good key heals it."""
    key = bad_key(world, which)
    world.sidecar.start(key)
    world.sidecar.process.wait_text(
        "(?i)auth ?key.*(invalid|not found|unknown|expired|used|refused)", 30
    )
    world.sidecar.wait_state("NeedsLogin")
    assert world.headscale.node("sidecar") is None
    assert world.sidecar.process.running()
    assert key not in world.sidecar.process.text()
    good = world.headscale.auth_key()
    world.sidecar.up(good, "--reset")
    world.sidecar.wait_running()
    world.fetch_both_ways()
    assert good not in world.sidecar.process.text()


def test_a_refused_key_is_answered_each_time(world, pillion_only):
    """The command ends with the reason, however often it is given; another key is not blamed."""
    key = bad_key(world, "wrong")
    world.sidecar.start()
    world.sidecar.wait_state("NeedsLogin")
    for _ in range(2):
        done = world.sidecar.pillion("up", f"--auth-key={key}", "--timeout=30s", check=False)
        assert done.returncode == 1
        assert "refused the auth key" in done.stderr
    good = world.headscale.auth_key()
    world.sidecar.pillion("up", f"--auth-key={good}", "--timeout=30s")
    for another in (key, good):  # it runs: no key is needed
        world.sidecar.pillion("up", f"--auth-key={another}", "--timeout=30s")
    world.fetch_both_ways()


def test_a_node_key_that_expires(world, pillion_only):
    """An administrator expires it: pillion reports this, packets stop, a new key brings the node back."""
    world.sidecar.join()
    world.fetch_both_ways()
    addresses = world.sidecar.addresses()
    world.headscale.expire("sidecar")
    world.sidecar.wait_state("NeedsLogin")
    world.sidecar.process.wait_text("the node key has expired: log in again", 5)
    assert world.laptop.box.curl(url(addresses[0]), timeout=2, check=False) is None
    before = world.headscale.node("sidecar")
    world.sidecar.pillion("up", f"--auth-key={world.headscale.auth_key()}", "--timeout=30s")
    after = world.headscale.node("sidecar")
    assert (after["id"], after["node_key"] != before["node_key"]) == (before["id"], True)
    assert world.sidecar.addresses() == addresses
    world.fetch_both_ways()
