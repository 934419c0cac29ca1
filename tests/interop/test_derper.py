# SPDX-License-Identifier: BSD-3-Clause
"""Our relay client against the official relay (derper 1.102.5) on loopback, and against ours.

    relay_tool a ──TLS──▶ derper (region 1, 2 …) ◀──TLS── relay_tool b

relay_tool is the engine's relay pool on a terminal (lab/relay_tool.py).
"""

import json
import re
import signal
import socket
import subprocess
import time

import pytest
from lab.own_relay import LoopbackRelay
from lab.peers import peer
from lab.relay_tool import TIMEOUT, Tool, derp_map, free_port, region
from lab.waiting import wait_for


class Derper:
    """One derper; tls is None (plain HTTP), a certificate folder, or "" for a self-signed one."""

    def __init__(self, folder, tls, host="derp.test"):
        self.folder = folder
        self.port = free_port()
        self.stun_port = free_port(socket.SOCK_DGRAM)
        self.log = folder / "derper.log"
        self.arguments = [
            peer("derper"),
            *("-c", folder / "derper.key", "-a", f"127.0.0.1:{self.port}"),
            *("-http-port", "-1", "-stun-port", str(self.stun_port), "-hostname", host),
        ]
        if tls is not None:
            self.arguments += ["-certmode", "manual", "-certdir", tls or folder]
        self.process = None
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(a) for a in self.arguments], stdout=log, stderr=log
            )
        wait_for(self.listens, TIMEOUT, self.log.read_text)

    def listens(self):
        socket.create_connection(("127.0.0.1", self.port), 1).close()
        return True

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(TIMEOUT)

    def digest(self):
        return re.search("sha256-raw:[0-9a-f]{64}", self.log.read_text())[0]

    def node(self, name="1a", **more):
        return {
            "Name": name,
            "HostName": "derp.test",
            "IPv4": "127.0.0.1",
            "IPv6": "none",
            "DERPPort": self.port,
            "STUNPort": self.stun_port,
            **more,
        }


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA of our own, and a certificate for derp.test that it signed."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(command, *arguments):
        command = ["openssl", *command.split(), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)

    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    ca_key, ca = folder / "ca.key", folder / "ca.pem"
    key, request = folder / "derp.test.key", folder / "derp.csr"
    name = ("-subj", "/CN=derp.test", "-addext", "subjectAltName=DNS:derp.test")
    openssl(f"req -x509 {new_key} -subj /CN=testCA", "-keyout", ca_key, "-out", ca)
    openssl(f"req {new_key}", *name, "-keyout", key, "-out", request)
    sign = "x509 -req -copy_extensions copy -CAcreateserial"
    out = folder / "derp.test.crt"
    openssl(sign, "-in", request, "-CA", ca, "-CAkey", ca_key, "-out", out)
    return folder


@pytest.fixture(params=["stock", "own"])
def start(request, tmp_path, certificates):
    """Starts relays and tools; all end with the test, and the tools without a leak."""
    derpers, tools = [], []

    class Start:
        ca = certificates / "ca.pem"

        def derper(self, tls=certificates, **more):
            folder = tmp_path / f"derper{len(derpers)}"
            folder.mkdir()
            kind = Derper if request.param == "stock" else LoopbackRelay
            derpers.append(kind(folder, tls, **more))
            return derpers[-1]

        def tool(self, *arguments, **more):
            tools.append(Tool(tmp_path, *arguments, **more))
            return tools[-1]

    yield Start()
    for tool in tools:
        tool.quit()
    for derper in derpers:
        if derper.process.poll() is None:
            derper.stop()


def test_two_nodes_talk_through_one_relay(start):
    derper = start.derper()
    world = derp_map(region(1, derper.node()))
    a, b = (start.tool(world, "--ca", start.ca) for _ in range(2))
    a.home(1)
    b.home(1)
    for data in (b"x", b"disco and WireGuard", bytes(range(256)) * 256):
        assert a.send(1, b.key, data) == 0
        assert b.wait("packet 1 (.*) (.*)").groups() == (a.key, data.hex())
        assert b.send(1, a.key, data) == 0
        assert a.wait("packet 1 (.*) (.*)").groups() == (b.key, data.hex())
    assert "derp.test" in a.status(1)


def test_what_is_sent_before_the_relay_is_connected_arrives(start):
    """The first handshake initiation must not be lost on our side."""
    derper = start.derper()
    world = derp_map(region(1, derper.node()))
    b = start.tool(world, "--ca", start.ca)
    b.home(1)
    a = start.tool(world, "--ca", start.ca)
    a.say("home 1")
    for number in range(20):
        a.say(f"send 1 {b.key} {number:04x}")
    for number in range(20):
        assert b.wait("packet 1 .* (.*)")[1] == f"{number:04x}"
    # It was not connected when they were sent.
    assert a.wait("(sent|ready).*")[0] == "sent 0"


def test_a_region_of_another_is_dialled_on_demand(start):
    first, second = start.derper(), start.derper()
    world = derp_map(region(1, first.node()), region(2, second.node("2a")))
    a, b = (start.tool(world, "--ca", start.ca) for _ in range(2))
    a.home(1)
    b.home(2)
    assert a.send(2, b.key, b"to your home") == 0
    b.wait(f"packet 2 {a.key} {b'to your home'.hex()}")
    a.wait("ready 2 other")
    # b doesn't know a's home, but has heard it: it answers where it heard it.
    assert b.send(0, a.key, b"answer") == 0
    a.wait(f"packet 2 {b.key} {b'answer'.hex()}")
    # There is no route to an unknown key, nor to a region that isn't in the map.
    assert b.send(0, "77" * 32, b"x") == -113
    assert b.send(9, "77" * 32, b"x") == -113


def test_the_relay_says_who_is_not_there_and_who_left(start):
    derper = start.derper()
    world = derp_map(region(1, derper.node()))
    a, b = (start.tool(world, "--ca", start.ca) for _ in range(2))
    a.home(1)
    b.home(1)
    stranger = "55" * 32
    # The stock one answers so to disco alone; a lost handshake initiation it passes over.
    assert a.send(1, stranger, b"\1\0\0\0" + bytes(144)) == 0
    assert a.send(1, stranger, "TS💬".encode() + bytes(118)) == 0
    a.wait(f"gone 1 {stranger} 1")
    assert a.send(1, b.key, b"hello") == 0
    b.wait("packet 1 .*")
    assert b.send(1, a.key, b"hello") == 0
    a.wait("packet 1 .*")
    b.quit()
    a.wait(f"gone 1 {b.key} 0")
    # The route that was learned is gone with it.
    assert a.send(0, b.key, b"still there?") == -113


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_relay_that_comes_back_is_connected_again(start, how):
    derper = start.derper()
    world = derp_map(region(1, derper.node()))
    a, b = (start.tool(world, "--ca", start.ca) for _ in range(2))
    a.home(1)
    b.home(1)
    derper.stop(how)
    a.wait("lost 1 home")
    b.wait("lost 1 home")
    # Packets sent meanwhile are queued.
    assert a.send(1, b.key, b"while you were away") == 0
    derper.start()
    since = time.monotonic()
    b.wait("ready 1 home")
    a.wait("ready 1 home")
    assert time.monotonic() - since < 6
    a.send(1, b.key, b"back")
    b.wait(f"packet 1 {a.key} {b'back'.hex()}")


def test_the_next_node_of_a_region_is_tried(start):
    """The first refuses, the second never answers, the third is the one."""
    derper = start.derper()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        world = derp_map(
            region(
                1,
                derper.node("1a", DERPPort=free_port()),
                derper.node("1b", DERPPort=deaf.getsockname()[1]),
                derper.node("1c"),
            )
        )
        a = start.tool(world, "--ca", start.ca)
        since = time.monotonic()
        a.home(1)
        assert 1.4 < time.monotonic() - since < 6


def test_certificates(start):
    derper = start.derper()
    pinned = start.derper(tls="", host="127.0.0.1")
    digest = pinned.digest()
    lies = digest[:-4] + "0000"

    def node(d, **more):
        return derp_map(region(1, d.node(**more)))

    # A CA that we trust; no verification at all; a certificate by its digest.
    start.tool(node(derper), "--ca", start.ca).home(1)
    start.tool(node(derper, InsecureForTests=True)).home(1)
    start.tool(node(pinned, HostName="127.0.0.1", CertName=digest)).home(1)
    # And what must be refused, in words.
    for tool in (
        start.tool(node(derper)),
        start.tool(node(pinned, HostName="127.0.0.1", CertName=lies)),
    ):
        tool.say("home 1")
        assert "certificate" in tool.wait("health 1 (.*)")[1]
        assert not any(line.startswith("ready") for line in tool.seen)


def test_plain_http(start):
    derper = start.derper(tls=None)
    world = derp_map(region(1, derper.node()))
    a, b = (start.tool(world, "--plain") for _ in range(2))
    a.home(1)
    b.home(1)
    assert a.send(1, b.key, b"plain") == 0
    b.wait("packet 1 .*")


def test_stun(start):
    derper = start.derper()
    a = start.tool(derp_map(region(1, derper.node())), "--ca", start.ca)
    a.say("home 1")
    assert a.wait("stun-servers (.*)")[1] == f"127.0.0.1:{derper.stun_port}"
    a.say(f"stun 127.0.0.1:{derper.stun_port}")
    assert a.wait("mapped (.*)")[1].startswith("127.0.0.1:")


def test_maps_homes_and_keys_change(start, tmp_path):
    first, second = start.derper(), start.derper()
    both = derp_map(region(1, first.node()), region(2, second.node("2a")))
    a = start.tool(both, "--ca", start.ca)
    a.home(1)
    a.home(2)
    # The same map again is no reason to reconnect; another port is; and one region goes.
    a.say(f"map {a.map}")
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(derp_map(region(2, first.node("2a")))))
    a.say(f"map {changed}")
    a.wait("lost 1 other")
    a.wait("ready 2 home")
    assert [line for line in a.seen if line.startswith("lost 2")] == ["lost 2 home"]
    # A new key is a new identity to the relay.
    b = start.tool(derp_map(region(2, first.node("2a"))), "--ca", start.ca)
    b.home(2)
    a.say("node other")
    key = a.wait("key (.*)")[1]
    a.wait("ready 2 home")
    assert b.send(2, key, b"new you") == 0
    a.wait(f"packet 2 {b.key} .*")
    # The network moved: what still answers stays.
    a.say("link")
    assert b.send(2, key, b"still you") == 0
    a.wait(f"packet 2 {b.key} .*")
