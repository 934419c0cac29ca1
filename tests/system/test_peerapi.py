# SPDX-License-Identifier: BSD-3-Clause
"""The PeerAPI: what a peer's node asks by HTTP, and what is refused."""

import os
import re
import signal

import pytest
from lab import wait_for
from lab.network import PYTHON
from lab.process import command_name, descendants


def urls(node):
    """Of the node's own PeerAPI, IPv4 first."""
    return node.status()["Self"]["PeerAPIURL"] or []


def services_of(node):
    return [pid for pid in descendants(node.process.pid) if command_name(pid) == "pillion-service"]


@pytest.fixture
def pair(world):
    world.sidecar.join()
    world.fetch_both_ways()
    wait_for(lambda: len(urls(world.sidecar)) == 2, 10, "the PeerAPI")
    return world


def test_ping_both_ways(pair):
    """Each node learns the other's port from control; the process begins with the first request."""
    for node, other in ((pair.sidecar, pair.laptop), (pair.laptop, pair.sidecar)):
        node.wait_knows(other)
        wait_for(lambda n=node: "hit peerapi" in hit(n), 20, "an answer")
        address = other.addresses()[0]
        assert re.search(
            rf"hit peerapi of {address} \({other.hostname}\S*\) at {urls(other)[0]} in [\d.]+ ms",
            hit(node),
        )
        done = node.pillion("ping", "-c=1", "--tsmp", address)
        assert "pong from" in done.stdout

    def hit_self(node):
        return node.pillion("ping", "--peerapi", node.addresses()[0]).stdout

    assert "is this node" in hit_self(pair.sidecar)


def hit(node):
    other = "laptop" if node.hostname == "sidecar" else "sidecar"
    done = node.pillion("ping", "-c=1", "--peerapi", other, check=False)
    return done.stdout + done.stderr


def ask(pair, *options, family=0, client=None):
    """Status and body of what the laptop gets."""
    box = client or pair.laptop.box
    command = ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *options]
    done = box.run(*command, check=False)
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body


def test_the_front_page(pair):
    for url in urls(pair.sidecar):
        status, body = ask(pair, "-i", url + "/")
        assert status == 200
        assert "Hello, " in body and "your node is laptop" in body
        for line in ("X-Content-Type-Options: nosniff", "X-Frame-Options: DENY"):
            assert line in body
        assert "default-src 'none'" in body
        assert ask(pair, "--head", url)[0] == 200
        assert ask(pair, "-H", "Host: peer", url)[0] == 200
    assert len(services_of(pair.sidecar)) == 1


@pytest.mark.parametrize(
    ("options", "path", "expected"),
    [
        (["-H", "Origin: http://evil.example"], "/", 403),
        (["-H", "Referer: http://evil.example/"], "/", 403),
        (["-H", "Host: evil.example"], "/", 403),
        (["-H", "Host: 100.64.0.99:PORT"], "/", 403),
        (["-H", "Host: ADDRESS"], "/", 403),
        (["-H", "Host: ADDRESS:1"], "/", 403),
        (["-H", "Host: [::1]:PORT"], "/", 403),
        (["-X", "POST"], "/", 405),
        (["-X", "PUT", "-d", "x"], "/v0/put/file", 404),
        ([], "/v0/env", 404),
        ([], "/../etc/passwd", 404),
        (["--data-binary", "x" * 10000], "/", 413),
    ],
)
def test_what_is_refused(pair, options, path, expected):
    url = urls(pair.sidecar)[0]
    address, port = url.removeprefix("http://").split(":")
    options = [o.replace("ADDRESS", address).replace("PORT", port) for o in options]
    assert ask(pair, "--path-as-is", *options, url + path)[0] == expected


def test_a_neighbour_gets_nothing(pair):
    """By the tailnet address over the LAN, at the announced port and at every port that listens."""
    neighbour = pair.lab.box("neighbour")
    address = pair.sidecar.addresses()[0]
    neighbour.run("ip", "route", "add", address, "via", pair.sidecar.box.v4)
    listening = pair.sidecar.box.run("ss", "-Hltn").stdout
    ports = {urls(pair.sidecar)[0].rpartition(":")[2], *re.findall(r":(\d+)\s", listening)}
    for port in ports:
        _, body = ask(pair, "--max-time", "1", f"http://{address}:{port}/", client=neighbour)
        assert "Hello" not in body


def test_the_process_is_there_while_it_is_used(pair):
    """None before the first request; a killed one is replaced, and peers see no refused request."""
    url = urls(pair.sidecar)[0]
    assert services_of(pair.sidecar) == []
    assert ask(pair, url)[0] == 200
    for _ in range(3):
        [pid] = services_of(pair.sidecar)
        os.kill(pid, signal.SIGKILL)
        assert ask(pair, "--retry", "5", "--retry-all-errors", url)[0] == 200
    assert pair.sidecar.process.running()


def test_after_restarts(pair):
    """Of the engine and of the link: the port stays the same."""
    before = urls(pair.sidecar)
    pair.sidecar.kill_engine()
    wait_for(lambda: ask(pair, before[0])[0] == 200, 20, "the PeerAPI")
    wait_for(lambda: urls(pair.sidecar) == before, 20, "the same port")
    pair.sidecar.box.run("ip", "link", "del", "tailscale0")
    wait_for(lambda: ask(pair, before[0])[0] == 200, 40, "the PeerAPI")


def test_many_connections(pair):
    """Of a peer that says nothing: others get their answer."""
    url = urls(pair.sidecar)[0]
    address, port = url.removeprefix("http://").split(":")
    script = (
        "import socket, sys, time\n"
        f"held = [socket.create_connection(({address!r}, {port}), 5) for _ in range(300)]\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    holder = pair.laptop.box.start(PYTHON, "-c", script, log="holder")
    holder.wait_text("held", 20)
    assert ask(pair, url)[0] == 200
    assert ask(pair, urls(pair.sidecar)[1])[0] == 200
    holder.kill()
