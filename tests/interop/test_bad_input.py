# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong outside of the node: it stays, says why, costs nothing, and heals by itself."""

import pytest
from lab import Pillion, wait_for
from lab.pki import Authority
from lab.process import cpu_used

pytestmark = pytest.mark.usefixtures("pillion_only")

IDLE = 0.3  # CPU seconds in ten


def stays_and_is_idle(node):
    """It retries with back-off: neither its CPU nor its log says that it is in a hurry."""
    pids = node.processes()
    lines = len(node.process.text().splitlines())
    assert cpu_used(pids, 10) < IDLE
    assert node.process.running() and node.processes() == pids
    assert len(node.process.text().splitlines()) - lines < 10


def test_an_untrusted_certificate(world):
    """A CA that did not sign the server's certificate."""
    other = Authority(world.sidecar.box.folder / "other")
    world.sidecar.start(world.headscale.auth_key(), {"SSL_CERT_FILE": str(other.certificate)})
    world.sidecar.process.wait_text("certificate of control.lab is not trusted.*TS_CA_FILE", 20)
    stays_and_is_idle(world.sidecar)
    assert world.headscale.node("sidecar") is None


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("https://nowhere.lab", "resolve nowhere.lab: no such name.*TS_LOGIN_SERVER"),
        ("https://laptop.lab", "laptop.lab:443: .*refused.*TS_LOGIN_SERVER"),
        ("http://laptop.lab:8080", "laptop.lab:8080.*not JSON"),
    ],
    ids=["no-such-name", "nobody-listens", "not-a-control-server"],
)
def test_a_wrong_server(world, server, says):
    world.sidecar.start(world.headscale.auth_key(), {"TS_EXTRA_ARGS": f"--login-server={server}"})
    world.sidecar.process.wait_text(says, 30)
    stays_and_is_idle(world.sidecar)


def test_a_server_that_comes_later(world):
    """Control is down at the first start; the key is kept, and used once control is there."""
    key = world.headscale.auth_key()
    world.headscale.stop()
    world.sidecar.start(key)
    world.sidecar.process.wait_text("(?i)(refused|timed out|unreachable|control)", 30)
    stays_and_is_idle(world.sidecar)
    world.headscale.start()
    world.sidecar.wait_running(60)
    world.fetch_both_ways()


def test_a_second_node_on_the_same_state(world):
    """It waits and says for what; the first does not notice; when that ends, it takes over."""
    world.sidecar.join()
    addresses = world.sidecar.addresses()
    second = Pillion(world.sidecar.box, world.headscale)
    second.socket = second.box.folder / "sock2"
    second.start()
    second.process.wait_text("in use by another process", 20)
    world.fetch_both_ways()
    world.sidecar.stop()
    second.wait_running()
    assert second.addresses() == addresses
    world.sidecar = second
    world.fetch_both_ways()


def test_key_and_state_survive_a_sudden_end(world):
    """SIGKILL to all of it, in every moment of a start: never a second node, never a lost key."""
    key = world.headscale.auth_key()
    for delay in (0.05, 0.15, 0.3, 0.6, 1.0, 1.5, 2.0):
        world.sidecar.start(key)
        world.sidecar.box.run("sleep", str(delay))
        world.sidecar.kill()
    world.sidecar.start(key)
    world.sidecar.wait_running()
    wait_for(
        lambda: sorted(world.headscale.nodes()) == ["laptop", "sidecar"],
        10,
        lambda: f"one node each: {sorted(world.headscale.nodes())}",
    )
    world.fetch_both_ways()
