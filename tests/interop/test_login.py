# SPDX-License-Identifier: BSD-3-Clause
"""Logins of a node that has one: renewed by key, given up, and a server that is away meanwhile."""

import re
import signal

import pytest
from lab import wait_for

pytestmark = pytest.mark.usefixtures("pillion_only")


def test_a_login_that_was_given_up_costs_nothing(world):
    """The login URL stays unused: the node goes on, now and after a restart without a key."""
    world.sidecar.join()
    node = world.headscale.node("sidecar")
    done = world.sidecar.pillion("login", "--force-reauth", "--timeout=3s", check=False)
    assert done.returncode != 0
    assert "To log in, visit" in done.stderr
    assert world.sidecar.running()
    world.fetch_both_ways()
    world.sidecar.kill_engine()
    world.sidecar.wait_running()
    world.fetch_both_ways()
    world.sidecar.stop()
    world.sidecar.start()
    world.sidecar.wait_running()
    world.fetch_both_ways()
    assert sorted(world.headscale.nodes()) == ["laptop", "sidecar"]
    assert world.headscale.node("sidecar")["id"] == node["id"]


@pytest.mark.parametrize("qr", ["", " --qr"])
def test_the_entrypoint_shows_where_to_log_in(world, qr):
    """Without a key the URL is in the container's log, as a QR code too if that is asked for."""
    server = f"--login-server={world.headscale.url}"
    world.sidecar.start(None, {"TS_EXTRA_ARGS": server + qr})
    url = f"{world.headscale.url}/register/"
    world.sidecar.process.wait_text("to log in, open " + re.escape(url), 20)
    world.sidecar.wait_state("NeedsLogin")
    assert url in world.sidecar.status()["AuthURL"]
    if qr:
        world.sidecar.process.wait_text("\u2584", 5)
    else:
        assert "\u2584" not in world.sidecar.process.text()


def test_a_running_node_is_renewed_by_key(world):
    """One key for one use, given by the command line's two calls, is used once."""
    world.sidecar.join()
    before = world.headscale.node("sidecar")
    key = world.headscale.auth_key()
    world.sidecar.pillion("up", "--force-reauth", f"--auth-key={key}", "--timeout=30s")
    after = world.headscale.node("sidecar")
    assert after["id"] == before["id"]
    assert after["node_key"] != before["node_key"]
    world.sidecar.wait_running()
    world.fetch_both_ways()


@pytest.mark.parametrize("how", ["frozen", "gone"])
def test_an_ephemeral_node_ends_in_time_without_control(world, how):
    """It would log out first; a server that doesn't answer can't hold the container."""
    key = world.headscale.auth_key(ephemeral=True)
    world.sidecar.start(key, {"TS_STATE_DIR": ""})
    world.sidecar.wait_running()
    if how == "frozen":
        world.headscale.process.signal(signal.SIGSTOP)
    else:
        world.headscale.stop()
    status, seconds = world.sidecar.stop()
    if how == "frozen":
        world.headscale.process.signal(signal.SIGCONT)
    assert status == 0
    assert seconds < 2


def test_down_and_up_while_control_is_away(world):
    """The node runs from its cache and shows no login URL."""
    world.sidecar.join()
    world.use("direct")
    world.headscale.stop()
    world.sidecar.pillion("down")
    world.sidecar.wait_state("Stopped")
    world.sidecar.pillion("up", "--timeout=10s")
    world.fetch_both_ways()
    world.headscale.start()
    wait_for(lambda: world.headscale.node("sidecar")["online"], 60, "the node online again")
    world.fetch_both_ways()
