# SPDX-License-Identifier: BSD-3-Clause
"""Targets with several addresses, of which some can't be reached."""

import pytest
from lab.network import PYTHON
from lab.served import MIRROR, Served

PORT = 8097


@pytest.fixture
def served(world):
    """As in Docker without IPv6: "localhost" is ::1 too, which no address of the machine is."""
    world.sidecar.box.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
    config = {
        "TCP": {"80": {"HTTP": True}, "5432": {"TCPForward": f"127.0.0.1:{PORT}"}},
        "Web": {
            "${TS_CERT_DOMAIN}:80": {
                "Handlers": {
                    "/": {"Proxy": f"http://localhost:{PORT}"},
                    "/far": {"Proxy": "http://192.0.2.1:80"},
                    "/hello": {"Text": "hello"},
                }
            }
        },
    }
    made = Served(world, config)
    made.wait("http://NAME/hello", "hello")
    return made


def test_localhost_without_ipv6(served):
    """A request waits for the app, as with 127.0.0.1; the error of an app that stays away is the same, too."""
    box = served.world.sidecar.box
    for number in range(2):
        waiting = served.world.laptop.box.start(
            *served.command("http://NAME/x"), log=f"waiting{number}"
        )
        served.fetch("http://NAME/hello")
        app = box.start(PYTHON, MIRROR, PORT, log=f"app{number}")
        waiting.wait_text('"target": "/x"', 15)
        app.kill()
    page = served.fetch("http://NAME/")
    assert "502" in page and f"nothing listens at http://localhost:{PORT}" in page, page


def test_an_address_that_no_route_leads_to(served):
    """The page gives the reason."""
    served.world.sidecar.box.run("ip", "route", "add", "unreachable", "192.0.2.1/32")
    page = served.fetch("http://NAME/far")
    assert "502" in page and "connect to http://192.0.2.1:80: No route to host" in page, page


def test_tcp_to_an_app_that_is_not_there(served):
    """The log says why the client is cut off, once for many of them."""
    for _ in range(3):
        assert served.say(b"x", port=5432) in (
            "",
            "ConnectionResetError(104, 'Connection reset by peer')\n",
        )
    log = served.node.process
    log.wait_text(
        rf"a connection to the served port 5432 is closed: nothing listens at 127.0.0.1:{PORT}", 10
    )
    assert log.text().count("served port 5432") == 1
