# SPDX-License-Identifier: BSD-3-Clause
"""Auth keys that don't work: the scenarios, and what a command says of them."""

import pytest
from scenarios.keys import *  # noqa: F403
from scenarios.keys import bad_key


@pytest.mark.parametrize("which", ["wrong", "expired", "used"])
def test_up_with_a_bad_key_fails(world, which):
    """The command says so and ends with a status that is not 0."""
    key = bad_key(world, which)
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


def test_tags(world, pillion_only):
    """Headscale refuses tags that neither the key nor the policy grants."""
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
