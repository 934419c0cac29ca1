# SPDX-License-Identifier: BSD-3-Clause
"""What one stranger, or one node, may take of the coordination server's memory and connections."""

import contextlib
import json
import os
import socket
import ssl
import subprocess

import pytest
from lab import raw_http2 as h2
from lab import wait_for
from lab.build import BUILD
from lab.loopback_control import LoopbackControl, joined
from lab.raw_http2 import NoiseConnection, frame, request

GUESTS = 100
MEMORY = 96 << 20  # with what the sanitizers of a debug build add
RELEASE = BUILD.name == "release"
HTTP_MEMORY = 24 << 20 if RELEASE else MEMORY
GUEST_MEMORY = 32 << 20 if RELEASE else MEMORY  # with their logins
MACHINE = 16  # connections of one machine key
STREAMS = 8  # of one node


@pytest.fixture
def connect(server):
    made = []

    def new(*arguments, **more):
        made.append(NoiseConnection(server, *arguments, **more))
        return made[-1].start()

    yield new
    for connection in made:
        connection.close()


def registration(size, filler, node_key, **more):
    """With so many bytes of a list in its Hostinfo."""
    text = ",".join([filler] * (size // (len(filler) + 1)))
    body = {"Version": 138, "NodeKey": node_key, "Hostinfo": {"Hostname": "h"}, **more}
    return json.dumps(body).replace('"h"', f'"h","Services":[{text}]').encode()


def post(stream, text):
    """A POST of what need not be JSON."""
    out = request(stream, "/machine/register", None)
    head = bytearray(out)
    head[4] &= ~h2.END_STREAM
    out = bytes(head)
    for at in range(0, len(text), 16384):
        last = at + 16384 >= len(text)
        out += frame(h2.DATA, h2.END_STREAM if last else 0, stream, text[at : at + 16384])
    return out


def new_key():
    return "nodekey:" + os.urandom(32).hex()


def read_all(connection):
    connection.send(frame(h2.PING, payload=bytes(8)))
    wait_for(
        lambda: connection.over() or any(k == h2.PING for k, *_ in connection.frames()),
        60,
        "all to be read",
    )


def login(connection, node_key):
    """The URL of a new login."""
    connection.send(post(1, registration(0, "{}", node_key)))
    data = wait_for(
        lambda: [p for k, _, s, p in connection.frames() if (k, s) == (h2.DATA, 1) and p],
        30,
        "a login",
    )
    return json.loads(b"".join(data))["AuthURL"]


@pytest.mark.alone
@pytest.mark.parametrize("size", [60_000, 1_000_000])
def test_held_registrations(server, connect, nodes, size):
    """Of guests that wait with all that a body may hold: bounded in bytes; nodes don't notice."""
    key = server.cli("keys", "create", "--reusable")["key"]
    node = joined(nodes(key))
    before = server.memory()
    for _ in range(GUESTS):
        guest, node_key = connect(), new_key()
        text = registration(size, "{}", node_key, Followup=login(guest, node_key))
        for stream in range(3, 3 + 2 * 30, 2):
            if not guest.send(post(stream, text)):
                break
        read_all(guest)
        assert server.memory() - before < GUEST_MEMORY
    server.cli("nodes", "rename", "1", "told")
    wait_for(lambda: "told" in node.text(), 10, node.text)
    joined(nodes(key))


def test_bodies_without_end(server, connect):
    """As much as one may send, without ever finishing a request."""
    before = server.memory()
    for _ in range(GUESTS):
        guest = connect()
        for stream in range(1, 61, 2):
            out = bytearray(request(stream, "/machine/register"))
            out[4] &= ~h2.END_STREAM
            guest.send(bytes(out) + frame(h2.DATA, 0, stream, bytes(16000)) * 2)
        read_all(guest)
        assert server.memory() - before < GUEST_MEMORY


@pytest.fixture
def secured(tmp_path):
    made = LoopbackControl(tmp_path, tls=True)
    made.start()
    yield made
    made.end()


def record(content, kind=22):
    return bytes([kind, 3, 1]) + len(content).to_bytes(2, "big") + content


def hello(context):
    """The first flight of a TLS client."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(ours, theirs, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return theirs.read()


def keyless_hello():
    """A ClientHello without a key share: the server asks for a second one."""
    groups, versions, signatures = "000a0004 0002001d", "002b0003 020304", "000d0006 000408040403"
    extensions = bytes.fromhex(groups + versions + signatures + "00330002 0000")
    body = bytes([3, 3, *bytes(32), 0, *bytes.fromhex("0002 1301 0100")])
    body += len(extensions).to_bytes(2, "big") + extensions
    return record(b"\x01" + len(body).to_bytes(3, "big") + body)


# What strangers may send before a request, of each kind as much as the server takes.
ANNOUNCED = b"\x01\x01\xff\xf0"  # a ClientHello of 128 KiB
SILENCE = {
    "whole": hello,
    "half": lambda context: hello(context)[:-1],
    "announced": lambda _: record(ANNOUNCED),
    "announced-in-pieces": lambda _: b"".join(record(bytes([one])) for one in ANNOUNCED),
    "announced-behind-an-alert": lambda _: record(b"\x01\x5a", kind=21) + record(ANNOUNCED),
    "announced-around-an-alert": lambda _: b"".join(
        [record(b"\x01"), record(b"\x01\x5a", kind=21), record(b"\x00\xff\xff")]
    ),
    "announced-again": lambda _: keyless_hello() + record(b"\x01", kind=20) + record(ANNOUNCED),
    "long": lambda _: record(b"\x01\x00\x1f\xf0" + bytes(8100)),
    "no-tls": lambda _: bytes(9000),
}


@pytest.mark.parametrize("kind", SILENCE)
def test_handshakes(secured, kind):
    """Of strangers who begin one and stop: bounded in bytes."""
    flight = SILENCE[kind](secured.context())
    before = secured.memory()
    with contextlib.ExitStack() as held:
        for _ in range(2000):
            s = held.enter_context(socket.create_connection(("127.0.0.1", secured.port), 10))
            with contextlib.suppress(OSError):
                s.sendall(flight)
        wait_for(lambda: secured.get("/health", 30), 60, "an answer")
        assert secured.memory() - before < HTTP_MEMORY


@pytest.mark.parametrize("size", [3000, 30_000])
def test_heads_without_end(server, size):
    before = server.memory()
    with contextlib.ExitStack() as held:
        for _ in range(1500):
            s = held.enter_context(server.connect())
            with contextlib.suppress(OSError):
                s.sendall(b"GET /key HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size)
        assert server.healthy()
        assert server.memory() - before < HTTP_MEMORY


def test_paths_are_short(server, connect):
    before = server.memory()
    for _ in range(GUESTS // 4):
        guest = connect()
        for stream in range(1, 61, 2):
            out = bytearray(request(stream, "/" + "x" * 15_000))
            out[4] &= ~h2.END_STREAM
            guest.send(bytes(out))
        read_all(guest)
    assert server.memory() - before < MEMORY / 4


def test_connections_of_one_machine(server, nodes):
    """Its oldest goes for the next; others are served."""
    key = json.loads(server.get("/key?v=138").read())["publicKey"]
    before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    pool = subprocess.Popen(
        [str(h2.PIPE), "127.0.0.1", str(server.port), key, "200", "one"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert pool.stdout.readline() == "open\n"
        held = len(os.listdir(f"/proc/{server.process.pid}/fd")) - before
        assert held <= MACHINE + 1
        joined(nodes(server.cli("keys", "create")["key"]))
    finally:
        pool.stdin.close()
        pool.wait(20)
        pool.stdout.close()


def test_bodies_of_a_node(server, connect):
    """A connection that has asked for a node's map may send longer requests than a stranger's."""
    key = server.cli("keys", "create")["key"]
    connection, node_key = connect(), new_key()
    connection.send(post(1, registration(0, "{}", node_key, Auth={"AuthKey": key})))
    wait_for(lambda: any(k == h2.DATA for k, *_ in connection.frames()), 10, "to be registered")
    body = {"Version": 138, "NodeKey": node_key, "OmitPeers": True}
    for stream, more in (3, {}), (5, {"Unknown": "x" * 500_000}):
        connection.send(request(stream, "/machine/map", {**body, **more}))
        first = wait_for(
            lambda s=stream: [
                k for k, _, i, _ in connection.frames() if i == s and k in (h2.HEADERS, h2.RESET)
            ],
            10,
            "an answer",
        )[0]
        assert first == h2.HEADERS


def test_streams_that_died(server, connect, nodes):
    """A node reconnects after links that died silently: its oldest stream is closed."""
    key = server.cli("keys", "create", "--reusable")["key"]
    connection, node_key = connect(), new_key()
    connection.send(post(1, registration(0, "{}", node_key, Auth={"AuthKey": key})))
    wait_for(lambda: any(k == h2.DATA for k, *_ in connection.frames()), 10, "to be registered")
    body = {"Version": 138, "NodeKey": node_key, "Stream": True, "KeepAlive": True}
    for number in range(3 * STREAMS):
        stream = 3 + 2 * number
        connection.send(request(stream, "/machine/map", body))
        wait_for(
            lambda s=stream: any((k, i) == (h2.DATA, s) for k, _, i, _ in connection.frames()),
            10,
            f"a map on stream {stream}",
        )
    frames = connection.frames()
    ended = {s for k, _, s, _ in frames if k == h2.RESET}
    assert len(ended) == 2 * STREAMS
    assert max(ended) < min({3 + 2 * n for n in range(3 * STREAMS)} - ended)
