# SPDX-License-Identifier: BSD-3-Clause
"""Targets that lead back: the request ends with an error that says so, and nothing is used up."""

import json
import time
from pathlib import Path

import pytest
from lab import wait_for
from lab.app import PORT
from lab.process import command_name, descendants
from lab.served import Served


def services_pid(node):
    found = [pid for pid in descendants(node.process.pid) if command_name(pid) == "pillion-service"]
    return found[0] if found else None


def descriptors(*nodes):
    return sum(len(list(Path(f"/proc/{services_pid(node)}/fd").iterdir())) for node in nodes)


def processor(*nodes):
    """Ticks of 10 ms."""
    fields = [Path(f"/proc/{services_pid(node)}/stat").read_text().split() for node in nodes]
    return sum(int(f[13]) + int(f[14]) for f in fields)


class Two:
    """The sidecar and the laptop, which both serve and know each other's names."""

    def __init__(self, world):
        self.world = world
        self.nodes = world.sidecar, world.laptop
        laptop = world.laptop.status()["Self"]["DNSName"].rstrip(".")
        self.config = {
            "TCP": {"443": {"HTTPS": True}, "5432": {"TCPForward": f"{laptop}:5432"}},
            "Web": {
                "${TS_CERT_DOMAIN}:443": {
                    "Handlers": {
                        "/": {"Proxy": f"https+insecure://{laptop}"},
                        "/there": {"Proxy": f"https+insecure://{laptop}/"},
                        "/mine": {"Proxy": f"http://127.0.0.1:{PORT}"},
                        "/text": {"Text": "hello"},
                    }
                }
            },
        }
        address = world.laptop.addresses()[0]
        self.hosts(laptop, address)
        self.served = Served(world, {})
        self.hosts(self.served.name, self.served.addresses[0])
        self.served.change(self.config)
        text = json.dumps(self.config).replace(laptop, self.served.name)
        text = text.replace("${TS_CERT_DOMAIN}", laptop)
        url = "http://local-tailscaled.sock/localapi/v0/serve-config"
        command = ["curl", "-sS", "--fail-with-body", "--unix-socket", world.laptop.socket]
        world.laptop.box.run(*command, "--data-binary", text, url)

    def hosts(self, name, address):
        with self.world.lab.hosts.open("a") as hosts:
            hosts.write(f"{address} {name}\n")


def wait_quiet(two):
    """Neither connections nor work are left: the processor has little to do for a second."""

    def look():
        before = processor(*two.nodes)
        time.sleep(1)
        return processor(*two.nodes) - before < 10 and descriptors(*two.nodes) < 100

    wait_for(look, 20, lambda: f"{descriptors(*two.nodes)} descriptors")


@pytest.fixture
def two(world):
    made = Two(world)
    made.served.wait("https://NAME/text", "hello")
    return made


def test_two_nodes_that_serve_each_other(two):
    """It passes each node a few times, over HTTP/1.1 and HTTP/2; a chain that ends at an app goes on."""
    for options in (["--http1.1"], ["--http2"]):
        page = two.served.fetch("https://NAME/x", "-i", *options)
        assert " 508" in page.splitlines()[0], page
        assert "leads to a node that leads back here" in page
    wait_quiet(two)
    page = two.served.fetch("https://NAME/there/mine/x", "-i")
    assert " 200" in page.splitlines()[0], page
    assert "this is laptop" in page


def test_tcp_of_two_nodes_that_leads_back(two):
    """There is no error to send: the connection ends, and the log says why."""
    wait_quiet(two)
    done = two.served.fetch("http://NAME:5432/", "--max-time", "15")
    assert "curl: (28)" not in done, done
    wait_for(
        lambda: any("leads back to it" in node.process.text() for node in two.nodes), 10, "a line"
    )
    wait_quiet(two)
    assert two.served.fetch("https://NAME/text") == "hello"
