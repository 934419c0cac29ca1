# SPDX-License-Identifier: BSD-3-Clause
"""The coordination server by itself: kill -9 in a loop, hostile clients, its commands.

    control_join (our client without a tunnel), raw sockets ──loopback──▶ pillion-server control

What nodes do with each other by it is in tests/interop.
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import urllib.request

import pytest
from lab import wait_for
from lab.build import BUILD
from lab.loopback_control import joined
from lab.relay_tool import free_port

PATIENCE = 10  # seconds that the server waits for a whole request
LONG = 700_000  # quotes, which JSON doubles: more than a stream's queue
YOUNG = 2048  # connections without a whole request that it keeps


def test_nodes_come_back_by_themselves(server, nodes):
    """SIGTERM and kill -9: the same nodes are connected again, and see each other."""
    key = server.cli("keys", "create", "--reusable")["key"]
    one, two = joined(nodes(key)), joined(nodes(key))

    def connected():
        return [n["connected"] for n in server.cli("nodes", "list")["nodes"]] == [True, True]

    wait_for(connected, 10, "both to be connected")
    for how in (server.stop, server.kill):
        how()
        server.start()
        wait_for(connected, 40, lambda: one.text() + two.text())
    assert len(server.cli("nodes", "list")["nodes"]) == 2


def test_what_peers_are_told(server, nodes):
    """A join, an endpoint, a rename, a deletion: each reaches the other node as a delta."""
    # Each key is good for one node, so the deleted one can't come back as another.
    one, two = (joined(nodes(server.cli("keys", "create")["key"])) for _ in range(2))
    first, second = server.cli("nodes", "list")["nodes"]
    wait_for(lambda: f" peer {second['id']} " in one.text(), 10, one.text)
    two.say("endpoint 192.0.2.7:4242")
    wait_for(lambda: "endpoints=1" in one.text(), 10, one.text)
    assert server.cli("nodes", "rename", second["name"], "database") is not None
    wait_for(lambda: f" peer {second['id']} database " in one.text(), 10, one.text)
    assert server.cli("nodes", "delete", "database") is not None
    wait_for(lambda: f"peer-removed {second['id']}" in one.text(), 10, one.text)
    netmap = server.cli("debug", "netmap", first["name"])
    assert "Peers" not in netmap
    assert netmap["Node"]["ID"] == first["id"]


def test_a_login_that_an_operator_approves(server, nodes):
    """Without a key: the URL, its page, approval by id or URL, and the node goes on by itself."""
    node = nodes("")
    wait_for(lambda: "auth-url" in node.text(), 10, node.text)
    url = node.text().split("auth-url ")[1].split()[0]
    assert url.startswith(server.url + "/register/")
    page = urllib.request.urlopen(url, timeout=5).read().decode()
    login = url.rsplit("/", 1)[1]
    assert f"pillion control nodes approve {login}" in page
    assert login in server.run("nodes").stdout
    assert server.cli("nodes", "approve", url, "--user", "alice") is not None
    joined(node)
    assert server.cli("nodes", "list")["nodes"][0]["user"] == "alice"
    assert server.run("nodes", "approve", login).returncode == 1


def test_commands_say_what_is_wrong(server):
    for arguments, code, text in (
        (("nodes", "show", "nobody"), 1, "node nobody not found"),
        (("keys", "expire", "0123456789ab"), 1, "key 0123456789ab not found"),
        (("users", "create", "a b"), 1, "a user's name has"),
        (("keys", "create", "--tags", "web"), 1, "tag:NAME"),
        (("nodes", "frob"), 2, "unknown command"),
        (("nodes", "rename", "x"), 2, "takes 2 argument"),
        (("nodes", "show", "../keys"), 2, "'../keys' is not a valid name"),
        (("nodes", "delete", "100.64.0.9/32"), 2, "'100.64.0.9/32' is not a valid name"),
    ):
        done = server.run(*arguments)
        assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_a_client_without_a_server(tmp_path):
    done = subprocess.run(
        [BUILD / "pillion-server", "control", "nodes", f"--socket={tmp_path / 'none'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pillion control serve" in done.stderr


def test_a_second_server_is_refused(server):
    done = subprocess.run(
        [
            *[BUILD / "pillion-server", "control", "serve", "--url=http://127.0.0.1:1"],
            *[f"--listen=127.0.0.1:{free_port()}", f"--state={server.folder / 'state'}"],
            *["--relay=off"],
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert "another server answers" in done.stderr or "in use" in done.stderr
    assert server.healthy()


# Hostile clients


def ended(s, within):
    """Whether the server ends this connection within so many seconds; what it said."""
    s.settimeout(within)
    said = b""
    try:
        while piece := s.recv(65536):
            said += piece
    except ConnectionResetError:
        return True, said
    except TimeoutError:
        return False, said
    return True, said


def test_slow_heads_are_cut(server):
    """A client that sends a byte a second, and a silent one: the server disconnects both in time."""
    slow, silent = server.connect(), server.connect()
    began = time.monotonic()
    over = threading.Event()

    def drip():
        for byte in b"GET /key?v=138 HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000:
            if over.wait(0.5):
                return
            with contextlib.suppress(OSError):
                slow.send(bytes([byte]))

    worker = threading.Thread(target=drip)
    worker.start()
    assert ended(slow, PATIENCE + 5)[0]
    assert ended(silent, PATIENCE + 5)[0]
    assert PATIENCE - 2 < time.monotonic() - began < PATIENCE + 6
    over.set()
    worker.join()
    assert server.healthy()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n", b"400"),
        (b"GET /key?v=138 HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"500"),
        (
            b"POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\n"
            b"Connection: upgrade\r\nX-Tailscale-Handshake: AAAA\r\nContent-Length: 0\r\n\r\n",
            b"400",
        ),
        (b"DELETE /key HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"405"),
        (b"GET /register/../x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)
def test_malformed_requests_are_answered_and_cut(server, request_bytes, status):
    with server.connect() as s:
        with contextlib.suppress(OSError):
            s.sendall(request_bytes)
            s.shutdown(socket.SHUT_WR)
        _, said = ended(s, 5)
    # A reset may take the answer along where more was sent than the server reads.
    assert said.startswith(b"HTTP/1.1 " + status) or (not said and len(request_bytes) > 20000)
    assert server.healthy()


def test_a_flood_of_half_open_connections(server, nodes):
    """More than are kept: the oldest go, and somebody with a request is served at once."""
    key = server.cli("keys", "create", "--reusable")["key"]
    sockets = []
    try:
        for _ in range(YOUNG + 300):
            s = socket.socket()
            s.settimeout(10)
            s.connect(("127.0.0.1", server.port))
            sockets.append(s)
        began = time.monotonic()
        assert server.healthy()
        joined(nodes(key), 15)
        assert time.monotonic() - began < 10
        # The first was pushed out before its patience was over.
        assert ended(sockets[0], 2)[0]
    finally:
        for s in sockets:
            s.close()
    assert server.healthy()


def test_an_answer_longer_than_a_queue(server):
    """A slow reader gets all of it, and the next answer behind it on the same connection."""
    text = "// " + '"' * LONG + '\n{"acls": []}'
    assert server.cli("policy", "set", "-", stdin=text) is not None
    assert server.cli("policy", "get")["policy"] == text
    get = b"GET /v1/%s HTTP/1.1\r\nHost: control\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(server.socket))
        s.sendall(get % b"policy" + get % b"users")
        # The answer fills the buffers of the kernel before anybody reads.
        wait_for(lambda: unread(s) > 64 << 10, 10, "the answer")
        with s.makefile("rb") as file:
            answers = [read_answer(file) for _ in range(2)]
    assert answers[0]["policy"] == text
    assert answers[1] == server.cli("users", "list")


def test_who_leaves_a_long_answer(server):
    """Not read, or cut short: the connection ends, and the server serves."""
    text = "// " + '"' * LONG + '\n{"acls": []}'
    assert server.cli("policy", "set", "-", stdin=text) is not None
    descriptors = f"/proc/{server.process.pid}/fd"
    before = len(os.listdir(descriptors))
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for number, s in enumerate(sockets):
        s.connect(str(server.socket))
        s.sendall(b"GET /v1/policy HTTP/1.1\r\nHost: control\r\n\r\n")
        if number < 2:
            s.close()
    wait_for(lambda: len(os.listdir(descriptors)) == before + 2, 20, server.log.read_text)
    wait_for(lambda: len(os.listdir(descriptors)) <= before, 60, server.log.read_text)
    for s in sockets:
        s.close()
    assert server.healthy()


def unread(connection):
    """The bytes that wait in the kernel for the reader of a connection."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0]


def read_answer(file):
    """One answer of HTTP/1.1, as JSON."""
    length = 0
    while (line := file.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return json.loads(file.read(length))


def test_no_descriptor_left(server):
    """Said once, with the remedy; nothing is burnt, and it heals when connections end."""
    pid = server.process.pid
    open_now = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 8, open_now + 8))
    sockets = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(16)]
    try:
        wait_for(lambda: "no new connection" in server.log.read_text(), 10, server.log.read_text)
        assert server.cpu_used(2) < 1  # it tries to accept ten times a second
        assert server.log.read_text().count("no new connection") == 1
        assert "ulimit -n" in server.log.read_text()
    finally:
        for s in sockets:
            s.close()
    wait_for(server.healthy, 10, server.log.read_text)


def test_memory_of_a_flood_of_requests(server):
    """Requests by the thousand, also pipelined ones without a reader for the answers."""
    before = server.memory()
    with server.connect() as s:
        s.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(3000):
                s.sendall(b"GET /key?v=138 HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        assert server.healthy()
        assert server.memory() - before < 64 << 20
    for _ in range(500):
        with server.get("/key?v=138") as answer:
            assert answer.status == 200
    assert server.healthy()


def test_sigterm_is_quick(server, nodes):
    key = server.cli("keys", "create", "--reusable")["key"]
    joined(nodes(key))
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert time.monotonic() - began < 2
