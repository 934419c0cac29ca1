# SPDX-License-Identifier: BSD-3-Clause
"""Auth keys that don't work: said clearly, and healed by one that does."""

import pytest


def bad_key(headscale, which):
    if which == "wrong":
        return headscale.auth_key()[:-6] + "aaaaaa"
    if which == "expired":
        return headscale.expired_auth_key()
    return headscale.auth_key()  # used before the test uses it


@pytest.mark.parametrize("which", ["wrong", "expired", "used"])
def test_a_bad_key_is_named_and_healed(world, pillion_only, which):
    """The entrypoint stays, so that the app keeps its network; `up` with a good key heals it."""
    key = bad_key(world.headscale, which)
    if which == "used":
        world.laptop.up(key, "--force-reauth")
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
        world.laptop.up(key, "--force-reauth")
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
