# SPDX-License-Identifier: BSD-3-Clause
"""`tailscale up` of the official project in each state of the node: it ends, and says why.

All of these pass with the official daemon too: --sidecar=official.
"""

import json
import re
import signal
import time

import pytest
from lab import wait_for
from lab.app import url
from lab.peers import peer

# It waits for one message on the bus, without a time limit.
AT_ONCE = 10


def up(node, *flags, server=None, check=True):
    """With all settings, as the command line wants it; the finished process."""
    done = node.cli(*arguments(node, server), *flags, check=check, timeout=3 * AT_ONCE)
    assert "timeout waiting" not in done.stderr
    return done


def arguments(node, server=None, seconds=AT_ONCE):
    settings = [f"--login-server={server or node.headscale.url}", f"--hostname={node.hostname}"]
    return ["up", "--reset", *settings, "--accept-dns=false", f"--timeout={seconds}s"]


def login_url(node, *flags):
    """The URL that it shows; then it is interrupted, as by a person."""
    process = node.box.start(
        *[peer("tailscale"), f"--socket={node.socket}", *arguments(node), *flags],
        log=f"up-{time.monotonic_ns()}",
        environment={"SSL_CERT_FILE": str(node.headscale.authority.certificate)},
    )
    shown = process.wait_text(r"(https://\S+/register/\S+)", AT_ONCE).group(1)
    process.signal(signal.SIGINT)
    process.wait(AT_ONCE)
    return shown


def node_key(world):
    return world.headscale.node(world.sidecar.hostname)["node_key"]


def test_on_a_running_node(world):
    """A key that is not needed and settings that need a start: 0, and packets go on."""
    world.sidecar.join()
    before = node_key(world)
    up(world.sidecar, "--auth-key=nonsense")
    up(world.sidecar, f"--auth-key={world.headscale.auth_key()}")
    up(world.sidecar)
    world.headscale.set_policy(
        {
            "tagOwners": {"tag:web": ["lab@"]},
            "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        }
    )
    up(world.sidecar, "--advertise-tags=tag:web")
    up(world.sidecar)
    assert node_key(world) == before
    assert world.sidecar.running()
    up(world.sidecar, "--force-reauth", f"--auth-key={world.headscale.auth_key()}")
    assert node_key(world) != before
    world.sidecar.wait_running()
    world.fetch_both_ways()


def test_another_server_is_not_taken_by_mistake(world, pillion_only):
    """Without --force-reauth the node stays where it is; the login of there is not lost."""
    world.sidecar.join()
    before = node_key(world)
    typo = "https://contrl.lab"
    flag = f"--login-server={typo}"
    for wrong in ([flag], [flag, "--auth-key=any"]):
        done = world.sidecar.pillion("up", *wrong, "--timeout=30s", check=False)
        assert done.returncode == 1
        assert "without --force-reauth" in done.stderr
    world.sidecar.pillion("down")
    done = up(
        world.sidecar, server=typo, check=False
    )  # the official one asks only of a running node
    assert done.returncode == 1
    assert "without --force-reauth" in done.stderr
    up(world.sidecar)
    world.sidecar.wait_running()
    assert node_key(world) == before
    world.fetch_both_ways()
    # Meant, though wrong: there and back.
    world.sidecar.cli(*arguments(world.sidecar, typo, 2), "--force-reauth", check=False)
    assert json.loads(world.sidecar.cli("debug", "prefs").stdout)["ControlURL"] == typo
    key = world.headscale.auth_key()
    up(world.sidecar, "--force-reauth", f"--auth-key={key}")
    world.sidecar.wait_running()
    world.fetch_both_ways()


def test_a_login_that_is_given_up_leaves_it_running(world):
    world.sidecar.join()
    before = node_key(world)
    first = login_url(world.sidecar, "--force-reauth")
    assert login_url(world.sidecar, "--force-reauth") != first
    up(world.sidecar)
    assert node_key(world) == before
    world.fetch_both_ways()


def test_each_key_has_its_own_answer(world):
    """No URL, wrong keys, one of them twice, then a good one: each at once."""
    world.sidecar.start()
    world.sidecar.wait_state("NeedsLogin")
    first = login_url(world.sidecar)
    again = login_url(world.sidecar)
    assert first and again
    wrong = world.headscale.auth_key()[:-6] + "aaaaaa"
    for key in (wrong, wrong, world.laptop.key):
        done = up(world.sidecar, f"--auth-key={key}", check=False)
        assert done.returncode == 1
        assert re.search("(?i)auth ?key", done.stderr)
    up(world.sidecar, f"--auth-key={world.headscale.auth_key()}")
    world.sidecar.wait_running()
    world.fetch_both_ways()


def test_an_expired_node_gets_a_url_each_time(world):
    world.sidecar.join()
    world.headscale.expire("sidecar")
    world.sidecar.wait_state("NeedsLogin")
    shown = [login_url(world.sidecar, "--force-reauth") for _ in range(2)]
    assert shown[0] != shown[1]
    key = world.headscale.auth_key(reusable=True)  # the official daemon may send it twice
    up(world.sidecar, "--force-reauth", f"--auth-key={key}")
    world.sidecar.wait_running()
    world.fetch_both_ways()


def test_an_expired_node_waits_for_its_extension(world, control_kind):
    """No packet passes, no other key is made, and what an administrator extends is good again."""
    if control_kind != "headscale":
        pytest.skip("pillion control has no order that extends a key")
    world.sidecar.join()
    world.fetch_both_ways()
    node = world.headscale.node("sidecar")
    addresses = world.sidecar.addresses()
    laptop = world.laptop.addresses()
    world.headscale.expire("sidecar")
    world.sidecar.wait_state("NeedsLogin")
    assert world.laptop.box.curl(url(addresses[0]), timeout=2, check=False) is None
    assert world.sidecar.box.curl(url(laptop[0]), timeout=2, check=False) is None
    assert node_key(world) == node["node_key"]
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    world.headscale.cli("nodes", "expire", "--identifier", node["id"], "--expiry", until)
    world.sidecar.wait_running()
    assert node_key(world) == node["node_key"]
    wait_for(lambda: world.laptop.knows(world.sidecar), 30, "the laptop to see it again")
    world.fetch_both_ways()
