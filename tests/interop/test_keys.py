# SPDX-License-Identifier: BSD-3-Clause
"""Auth keys that don't work: said clearly, and healed by one that does."""

import pytest
from lab.app import url


def bad_key(headscale, which):
    if which == "wrong":
        return headscale.auth_key()[:-6] + "aaaaaa"
    if which == "expired":
        return headscale.expired_auth_key()
    return headscale.auth_key()  # used before the test uses it


def use_up(world, key):
    """The laptop logs in with it. On a slow machine it asks twice, and the second time is refused."""
    done = world.laptop.up(key, "--force-reauth", check=False)
    if done.returncode != 0:
        assert "already used" in done.stdout + done.stderr
        world.laptop.up(world.headscale.auth_key(), "--force-reauth")


@pytest.mark.parametrize("which", ["wrong", "expired", "used"])
def test_a_bad_key_is_named_and_healed(world, pillion_only, which):
    """The entrypoint stays, so that the app keeps its network; `up` with a good key heals it."""
    key = bad_key(world.headscale, which)
    if which == "used":
        use_up(world, key)
    world.sidecar.start(key)
    world.sidecar.process.wait_text("(?i)auth ?key.*(invalid|not found|expired|used|refused)", 30)
    world.sidecar.wait_state("NeedsLogin")
    assert world.headscale.node("sidecar") is None
    assert world.sidecar.process.running()
    assert key not in world.sidecar.process.text()
    good = world.headscale.auth_key()
    world.sidecar.cli(
        *["up", "--reset", f"--auth-key={good}", "--timeout=30s", "--hostname=sidecar"],
        f"--login-server={world.headscale.url}",
    )
    world.sidecar.wait_running()
    world.fetch_both_ways()
    assert good not in world.sidecar.process.text()


@pytest.mark.parametrize("which", ["wrong", "expired", "used"])
def test_up_with_a_bad_key_fails(world, which):
    """The command says so and ends with a status that is not 0."""
    key = bad_key(world.headscale, which)
    if which == "used":
        use_up(world, key)
    world.sidecar.join()
    world.sidecar.cli("logout")
    world.sidecar.wait_state("NeedsLogin")
    done = world.sidecar.cli(
        *["up", f"--auth-key={key}", "--timeout=10s", "--reset", "--hostname=sidecar"],
        f"--login-server={world.headscale.url}",
        check=False,
    )
    assert done.returncode != 0
    assert world.sidecar.status()["BackendState"] != "Running"


def test_a_node_key_that_expires(world, pillion_only):
    """An administrator ends it: said, nobody is reached by it, and a new key brings it back."""
    world.sidecar.join()
    world.fetch_both_ways()
    addresses = world.sidecar.addresses()
    world.headscale.expire("sidecar")
    world.sidecar.wait_state("NeedsLogin")
    assert "node key has expired" in " ".join(world.sidecar.status()["Health"])
    world.sidecar.process.wait_text("state NeedsLogin", 5)
    assert world.laptop.box.curl(url(addresses[0]), timeout=2, check=False) is None
    before = world.headscale.node("sidecar")["node_key"]
    world.sidecar.pillion("up", f"--auth-key={world.headscale.auth_key()}", "--timeout=30s")
    assert world.headscale.node("sidecar")["node_key"] != before
    assert world.sidecar.addresses() == addresses
    world.fetch_both_ways()


def test_tags(world, pillion_only):
    """Headscale gives tags by the key, or to a person who may ask; not by a key that has none."""
    world.headscale.set_policy(
        {
            "tagOwners": {"tag:web": ["lab@"]},
            "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        }
    )
    server = f"--login-server={world.headscale.url}"
    asking = {"TS_EXTRA_ARGS": f"{server} --advertise-tags=tag:web"}
    world.sidecar.start(world.headscale.auth_key(), asking)
    world.sidecar.process.wait_text("requested tags .*leave --advertise-tags out", 20)
    world.sidecar.wait_state("NeedsLogin")
    world.sidecar.stop()

    world.sidecar.start(None, asking)
    url_shown = world.sidecar.process.wait_text(r"to log in, open \S+/register/(\S+)", 20)
    world.headscale.cli("auth", "register", "--auth-id", url_shown[1], "--user", "lab")
    world.sidecar.wait_running()
    assert world.sidecar.status()["Self"]["Tags"] == ["tag:web"]
    world.fetch_both_ways()
