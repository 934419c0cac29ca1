# SPDX-License-Identifier: BSD-3-Clause
"""nginx in front of a control server: it redirects, and ends idle connections."""

import re
import time

import pytest
from lab import wait_for
from lab.proxies import Nginx


def before(world, timeout):
    """An nginx with control's own certificate, on the sidecar's way to control and relay."""
    made = Nginx(world.lab.box("nginx"), world.headscale, timeout, "control.lab")
    made.stand_before(world.sidecar.box)
    return made


def test_a_login_server_that_redirects_to_https(world):
    """Port 80 says 301: the key is fetched where it points to, and the node joins there."""
    nginx = Nginx(world.lab.box("front"), world.headscale)
    world.sidecar.start(
        world.headscale.auth_key(), {"TS_EXTRA_ARGS": "--login-server=http://front.lab"}
    )
    world.sidecar.wait_started()
    world.fetch_both_ways()
    assert nginx.ended("/key") >= 2  # the redirect, and the key


def test_a_login_server_that_redirects_elsewhere(world):
    """It is not followed, but named."""
    box = world.lab.box("other")
    configuration = box.folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; error_log stderr; pid {box.folder}/pid; events {{}}\n"
        f"http {{ access_log off; server {{ listen 80; "
        f"return 302 {world.headscale.url}$request_uri; }} }}\n"
    )
    box.start("nginx", "-c", configuration)
    world.sidecar.start(
        world.headscale.auth_key(), {"TS_EXTRA_ARGS": "--login-server=http://other.lab"}
    )
    line = "HTTP 302, a redirect to https://control.lab, which is not followed"
    world.sidecar.process.wait_text(re.escape(line), 30)
    wait_for(lambda: any(line in h for h in world.sidecar.status()["Health"]), 10, "health")


def test_what_is_idle_is_ended_without_a_word(world):
    """nginx ends the connections to control and relay every 12 s; users don't notice."""
    nginx = before(world, "12s")
    world.close_udp()
    world.sidecar.start(world.headscale.auth_key())
    world.sidecar.wait_started()
    world.sidecar.process.wait_text(r"\(home\): connected", 30)
    said = world.sidecar.process.text()
    wait_for(
        lambda: nginx.ended("/ts2021") >= 2 and nginx.ended("/derp") >= 2,
        90,
        lambda: nginx.log.read_text(),
    )
    world.fetch_both_ways()
    assert world.sidecar.process.text() == said
    assert not world.sidecar.status()["Health"]


@pytest.mark.parametrize("timeout", [32])
def test_keep_alives_hold_what_is_idle(world, timeout):
    """Shorter than any proxy's patience: both connections outlive one that has little."""
    nginx = before(world, f"{timeout}s")
    world.sidecar.join()
    world.sidecar.process.wait_text(r"\(home\): connected", 30)
    end = time.monotonic() + timeout + 15
    wait_for(lambda: time.monotonic() > end, timeout + 60, "the time of an idle connection")
    assert nginx.ended("/ts2021") == nginx.ended("/derp") == 0
