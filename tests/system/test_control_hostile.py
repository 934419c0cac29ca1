# SPDX-License-Identifier: BSD-3-Clause
"""Clients that want to crash the coordination server, or to keep it from the others.

    ts2021_pipe (invalid HTTP/2 in Noise) ────────────────────┐
    half a TLS handshake, by the hundred ─────────────────────┼─▶ control serve ◀── two honest nodes
    registrations by the thousand ────────────────────────────┘

While each is at it, a change of one honest node has to reach the other, memory stays bounded, and
afterwards the server is as idle as before. Slow heads and bodies over HTTP/1: test_control.py.
"""

import contextlib
import json
import os
import re
import select
import socket
import ssl
import subprocess
import time

import pytest
from lab import raw_http2 as h2
from lab import wait_for
from lab.build import BUILD
from lab.loopback_control import JoinedNode, LoopbackControl, status_fields
from lab.raw_http2 import NoiseConnection, fields, frame, request, setting

# Attacks use all of a processor, and answers to honest nodes are timed: tests with much of an attack
# run alone.
MEMORY = 64 << 20
GUESTS = 1024  # by their bytes
SOURCE = 128  # connections of one address without an identity yet
ANSWER_MAX = 30  # seconds for a client to take an answer


class Honest:
    """Two nodes; learns() proves that one learns of the other's change."""

    def __init__(self, server, folder):
        self.server = server
        key = server.cli("keys", "create", "--reusable")["key"]
        self.nodes = [JoinedNode(server, key, folder) for _ in range(2)]
        for node in self.nodes:
            wait_for(lambda n=node: " netmap " in n.text(), 20, node.text)
        peer = re.compile(r" peer (\d+) ")
        self.id = int(wait_for(lambda: peer.search(self.nodes[0].text()), 20, "a peer")[1])
        self.count = 0

    def learns(self, within=15):
        self.count += 1
        name = f"n{self.count}"
        began = time.monotonic()
        assert self.server.cli("nodes", "rename", str(self.id), name) is not None
        wait_for(
            lambda: f" peer {self.id} {name} " in self.nodes[0].text(), within, self.nodes[0].text
        )
        assert time.monotonic() - began < within

    def close(self):
        for node in self.nodes:
            node.close()


@pytest.fixture
def honest(server, tmp_path):
    made = Honest(server, tmp_path)
    yield made
    for node in made.nodes:
        assert node.process.poll() is None
    made.close()


@pytest.fixture
def connect(server):
    made = []

    def new(reading=True):
        made.append(NoiseConnection(server, reading))
        return made[-1]

    yield new
    for connection in made:
        connection.close()


@pytest.mark.alone
def test_junk_behind_the_handshake(server, honest):
    """The connection ends while it is being taken from HTTP/1."""
    for _ in range(20):
        junk = NoiseConnection(server, more=["junk"])
        wait_for(junk.over, 20, "the end of the connection")
        junk.close()
    honest.learns()


def check_idle(server):
    """It computes nothing to speak of any more."""
    wait_for(lambda: server.cpu_used(0.5) < 0.1, 30, "the server to be idle")


def sent_all(connection, pieces):
    """Whether the server took all of it."""
    return all(connection.send(piece) for piece in pieces)


def head(stream, flags=h2.END_HEADERS | h2.END_STREAM, path="/machine/map"):
    block = fields((":method", "POST"), (":scheme", "https"), (":authority", "c"), (":path", path))
    return frame(h2.HEADERS, flags, stream, block)


def rapid_reset():
    for block in range(200):
        yield b"".join(
            head(stream) + frame(h2.RESET, stream=stream, payload=b"\0\0\0\x08")
            for stream in range(1 + block * 400, 1 + (block + 1) * 400, 2)
        )


def continuations():
    yield head(1, flags=0)
    piece = fields(*((f"x-{i}", "v" * 100) for i in range(100)))
    for _ in range(400):
        yield frame(h2.CONTINUATION, stream=1, payload=piece)


def empty_continuations():
    yield head(1, flags=0)
    for _ in range(200):
        yield frame(h2.CONTINUATION, stream=1) * 1000


def settings():
    for _ in range(400):
        yield setting(h2.INITIAL_WINDOW, 65535) * 500


def pings():
    for _ in range(400):
        yield frame(h2.PING, payload=b"12345678") * 500


def streams_without_end():
    for block in range(100):
        yield b"".join(
            head(stream, flags=h2.END_HEADERS)
            for stream in range(1 + block * 200, 1 + (block + 1) * 200, 2)
        )


def header_tables():
    """The largest table for us to keep, and headers that would fill it."""
    yield setting(h2.HEADER_TABLE_SIZE, 0xFFFFFFFF)
    # Literals with incremental indexing: each wants a place in our table.
    for stream in range(1, 4001, 2):
        block = fields(
            (":method", "GET"), (":scheme", "https"), (":authority", "c"), (":path", "/x")
        )
        for i in range(50):
            name, value = f"x-{stream}-{i}".encode(), b"v" * 200
            block += b"\x40" + h2.length(len(name), 7) + name
            block += h2.length(len(value), 7) + value
        yield frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block)


def large_headers():
    for stream in range(1, 401, 2):
        yield request(stream, "/machine/map", method="GET", more=[("x", "v" * 16000)])
        yield frame(
            h2.HEADERS, 0, stream + 10001, fields((":path", "/"), *(("x", "v" * 1000),) * 15)
        ) + frame(
            h2.CONTINUATION, h2.END_HEADERS, stream + 10001, fields(*(("x", "v" * 1000),) * 16)
        )


def bodies():
    """Each connection's bodies are 1 MiB at most."""
    for stream in range(1, 65, 2):
        yield head(stream, flags=h2.END_HEADERS, path="/machine/register")
    for _ in range(200):
        for stream in range(1, 65, 2):
            yield frame(h2.DATA, 0, stream, b"x" * 16000)


def nonsense():
    for _ in range(100):
        yield os.urandom(60000)


def register_floods():
    for stream in range(1, 8001, 2):
        yield request(
            stream,
            "/machine/register",
            {
                "Version": 138,
                "NodeKey": "nodekey:" + os.urandom(32).hex(),
                "Hostinfo": {"Hostname": "x" * 200, "OS": "linux"},
            },
        )


def json_bombs():
    """Texts that cost more to read than to write."""
    deep = "[" * 200000
    for stream in range(1, 201, 2):
        yield head(stream, flags=h2.END_HEADERS, path="/machine/map")
        for at in range(0, len(deep), 16000):
            yield frame(h2.DATA, 0, stream, deep[at : at + 16000].encode())
        yield frame(h2.DATA, h2.END_STREAM, stream, b"")


ATTACKS = [
    # what is sent, whether the connection must be cut for it
    (rapid_reset, True),
    (continuations, True),
    (empty_continuations, True),
    (settings, False),
    (pings, False),
    (streams_without_end, False),
    (header_tables, False),
    (large_headers, False),
    (bodies, False),
    (nonsense, True),
    (register_floods, False),
    (json_bombs, False),
]


CASES = [(attack, cut, True) for attack, cut in ATTACKS]
CASES += [(attack, False, False) for attack in (settings, pings, register_floods, rapid_reset)]


@pytest.mark.alone
@pytest.mark.parametrize(
    ("attack", "cut", "reading"),
    CASES,
    ids=[f"{attack.__name__}-{'reads' if reads else 'deaf'}" for attack, _, reads in CASES],
)
def test_http2(server, honest, connect, attack, cut, reading):
    """Eight connections at once, each with all of it."""
    before = server.memory()
    connections = [connect(reading).start() for _ in range(8)]
    pieces = [attack() for _ in connections]
    alive = list(zip(connections, pieces, strict=True))
    deadline = time.monotonic() + 8
    turn = 0
    while alive and time.monotonic() < deadline:
        for connection, left in list(alive):
            piece = next(left, None)
            # In the end the server reads nothing from a client that doesn't read: don't wait to send.
            if piece is None or not send_some(connection, piece):
                alive.remove((connection, left))
        turn += 1
        if turn % 20 == 1:
            honest.learns()
    assert server.memory() - before < MEMORY
    if cut:
        wait_for(lambda: all(c.over() for c in connections), 20, "all of them to be cut")
    honest.learns()
    for connection in connections:
        connection.close()
    check_idle(server)
    assert server.healthy()


def send_some(connection, bytes_):
    """Send without waiting for long; False when it is over, or takes no more."""
    pipe = connection.process.stdin.fileno()
    os.set_blocking(pipe, False)
    deadline = time.monotonic() + 2
    while bytes_ and select.select([], [pipe], [], max(0, deadline - time.monotonic()))[1]:
        try:
            bytes_ = bytes_[os.write(pipe, bytes_) :]
        except OSError:
            return False
    return not bytes_


def test_a_window_that_stays_shut(server, honest, connect):
    """Answers without a reader are dropped: within a minute the connection ends."""
    connection = connect().start(setting(h2.INITIAL_WINDOW, 0))
    for stream in range(1, 65, 2):
        connection.send(request(stream, "/machine/nothing", method="GET"))
    honest.learns()
    wait_for(connection.over, ANSWER_MAX + 45, "the connection to end")
    # While one that takes its answers stays.
    other = connect().start()
    other.send(request(1, "/machine/nothing", method="GET"))
    wait_for(lambda: any(k == h2.DATA for k, *_ in other.frames()), 10, "an answer")
    assert not other.over()


def register(connection, key):
    node_key = "nodekey:" + os.urandom(32).hex()
    connection.send(
        request(
            1,
            "/machine/register",
            {
                "Version": 138,
                "NodeKey": node_key,
                "Auth": {"AuthKey": key},
                "Hostinfo": {"Hostname": "silent", "OS": "linux"},
            },
        )
    )
    wait_for(lambda: any(k == h2.DATA for k, *_ in connection.frames()), 10, "to be registered")
    return node_key


def test_a_map_that_is_never_read(server, honest, connect, tmp_path):
    """A node that stops reading: its changes gather in bounded notes, and a minute later it goes."""
    key = server.cli("keys", "create", "--reusable")["key"]
    silent = connect().start(setting(h2.INITIAL_WINDOW, 1000))
    node_key = register(silent, key)
    silent.send(
        request(
            3,
            "/machine/map",
            {"Version": 138, "NodeKey": node_key, "Stream": True, "KeepAlive": True},
        )
    )
    wait_for(
        lambda: sum(n["connected"] for n in server.cli("nodes", "list")["nodes"]) == 3,
        10,
        "its map stream",
    )
    policies = []
    for number in range(2):
        file = tmp_path / f"policy{number}.json"
        hosts = {f"h{i}": f"10.{i // 250}.{i % 250}.{number}" for i in range(3000)}
        grants = [{"src": [name], "dst": ["*"], "ip": ["*"]} for name in hosts]
        everybody = {"src": ["*"], "dst": ["*"], "ip": ["*"]}
        file.write_text(json.dumps({"hosts": hosts, "grants": [everybody, *grants]}))
        policies.append(str(file))
    assert server.run("policy", "set", policies[0]).returncode == 0
    honest.learns()
    before = server.memory()
    for turn in range(20):
        assert server.run("policy", "set", policies[turn % 2]).returncode == 0
        honest.learns()
    assert server.memory() - before < MEMORY
    wait_for(
        lambda: sum(n["connected"] for n in server.cli("nodes", "list")["nodes"]) == 2,
        150,
        "it to be cut",
    )
    assert "does not read its map: disconnected" in server.log.read_text()
    honest.learns()


@pytest.mark.alone
def test_strangers_with_a_machine_key(server, honest):
    """More Noise connections than are kept: the oldest go, nodes and newcomers don't notice."""
    key = json.loads(server.get("/key?v=138").read())["publicKey"]
    before = server.memory()
    pools = []
    try:
        for _ in range(3):
            pool = subprocess.Popen(
                [str(h2.PIPE), "127.0.0.1", str(server.port), key, str(800)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            pools.append(pool)
            assert pool.stdout.readline() == "open\n"
            honest.learns()
        # Those of the server's side of the sockets, not counting the honest and the listeners.
        held = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        assert GUESTS <= held < GUESTS + 100
        assert server.memory() - before < 128 << 20
    finally:
        for pool in pools:
            pool.stdin.close()
            pool.wait(20)
            pool.stdout.close()
    honest.learns()
    check_idle(server)


# TLS


@pytest.fixture
def secured(tmp_path):
    made = LoopbackControl(tmp_path, tls=True, relay=True)
    made.start()
    yield made
    made.end()


def hello(context):
    """The first flight of a TLS client."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(ours, theirs, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return theirs.read()


@pytest.mark.alone
@pytest.mark.parametrize("port", ["port", "relay_port"])
def test_half_of_a_tls_handshake(secured, tmp_path, port):
    """Half a handshake is disconnected like any silent client; an honest one succeeds meanwhile."""
    first = hello(secured.context())
    before = secured.memory()
    flights = [
        b"",
        first[:1],
        first[:5],
        first[:-1],
        first,
        first + b"\x17\x03\x03\xff\xff",
        first * 20,
    ]
    honest = Honest(secured, tmp_path)
    sockets = []
    try:
        for turn in range(700):
            s = socket.create_connection(("127.0.0.1", getattr(secured, port)), timeout=10)
            sockets.append(s)
            with contextlib.suppress(OSError):
                s.sendall(flights[turn % len(flights)])
            if turn % 100 == 50:
                assert secured.healthy()
                honest.learns()
        assert secured.memory() - before < 2 * MEMORY
        for s in sockets:
            s.settimeout(30)
            with contextlib.suppress(OSError):
                while s.recv(65536):
                    pass
        honest.learns()
    finally:
        for s in sockets:
            s.close()
        honest.close()
    check_idle(secured)


@pytest.mark.alone
def test_requests_inside_of_tls(secured, tmp_path):
    """The same limits as outside: slow heads, large ones, bodies; renegotiation by neither side."""
    honest = Honest(secured, tmp_path)
    context = secured.context()

    def say(bytes_):
        with context.wrap_socket(secured.connect(), server_hostname="localhost") as s:
            s.settimeout(20)
            with contextlib.suppress(OSError):
                s.sendall(bytes_)
            said = b""
            with contextlib.suppress(OSError):
                while piece := s.recv(65536):
                    said += piece
            return said

    began = time.monotonic()
    try:
        assert say(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70000 + b"\r\n\r\n")[9:12] in (
            b"431",
            b"",
        )
        assert (
            say(b"POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")[9:12] == b"413"
        )
        assert time.monotonic() - began < 10
        assert say(b"GET /key?v=138 HTTP/1.1\r\nHost: x\r\n") == b""
        assert time.monotonic() - began > 5
        honest.learns()
    finally:
        honest.close()


# One source among others, in namespaces: on loopback none is counted


def resident(pid):
    return int(status_fields(pid)["VmRSS"].split()[0]) * 1024


@pytest.mark.alone
def test_one_address_among_others(lab):
    """Its connections and their bytes are bounded, and how often it connects; another is served."""
    box, attacker, other = lab.box("control"), lab.box("attacker"), lab.box("other")
    process = box.start(
        *[BUILD / "pillion-server", "control", "serve", f"--url=http://{box.v4}:8080"],
        *["--relay=off", f"--state={box.folder / 'state'}", "--metrics=[::]:9100"],
    )
    process.wait_text("serving url=", 20)

    def fetch(client):
        return client.run(
            *["curl", "-s", "--max-time", 5, f"http://{box.v4}:8080/key?v=138"], check=False
        ).stdout

    key = json.loads(fetch(other))["publicKey"]
    before = resident(process.pid)
    flood = attacker.start(h2.PIPE, box.v4, "8080", key, "400")
    flood.wait_text("open", 30)

    def metric(name):
        text = box.run("curl", "-s", "http://127.0.0.1:9100/metrics").stdout
        return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1])

    wait_for(lambda: metric("pillion_control_guests ") == SOURCE, 10, "its share")
    assert json.loads(fetch(other))["publicKey"] == key
    # With heads that don't end, and all that it holds, it takes 8 MiB.
    heads = attacker.start(
        "python3",
        "-c",
        "import contextlib, socket, time\n"
        "held = []\n"
        "for i in range(400):\n"
        f"    held.append(socket.create_connection(('{box.v4}', 8080), 5))\n"
        "    with contextlib.suppress(OSError):\n"
        "        held[-1].sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nX: ' + b'x' * 30000)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n",
    )
    heads.wait_text("held", 30)
    assert json.loads(fetch(other))["publicKey"] == key
    assert 20 < metric("pillion_control_http_waiting ") < SOURCE
    if BUILD.name == "release":
        assert resident(process.pid) - before < 8 << 20
    heads.stop()
    # Then as fast as it can: most are closed at once, and the other doesn't notice.
    hammer = attacker.start(
        "python3",
        "-c",
        "import socket\n"
        "held = []\n"
        "for i in range(6000):\n"
        f"    s = socket.create_connection(('{box.v4}', 8080), 5)\n"
        "    held = held[-500:] + [s]\n"
        "print('done', flush=True)\n",
    )
    served = 0
    while hammer.running():
        assert json.loads(fetch(other))["publicKey"] == key
        served += 1
    assert served > 0
    assert "done" in hammer.text()
    assert metric('pillion_control_http_cut_total{reason="source"}') > 1000
    assert metric("pillion_control_http_waiting ") <= SOURCE + 1
    assert process.running()
    for word in ("AddressSanitizer", "runtime error:"):
        assert word not in process.text()
