# SPDX-License-Identifier: BSD-3-Clause
"""`pillion ingress` between clients of the internet and nodes that funnel, on loopback.

The nodes are stand-ins; test_funnel.py has real ones.
"""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from http import HTTPStatus
from pathlib import Path

import pytest
from lab.build import BUILD
from lab.ingress import FakeLocalApi, FunnelNode, LoopbackIngress, alert, client_hello, read_head
from lab.pki import Authority
from lab.waiting import wait_for

UNRECOGNIZED_NAME, DECODE_ERROR, INTERNAL_ERROR = 112, 50, 80
NAME, OTHER = "app.t.test", "other.t.test"
PIECE = 65536


def echo(stream):
    """Sends back what it gets, and its own end after the client's."""
    while piece := stream.recv(PIECE):
        stream.sendall(piece)


def hello_app(name):
    def app(stream):
        read_head(stream)
        body = f"I am {name}\n".encode()
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return app


class World:
    def __init__(self, folder):
        self.folder = folder
        self.pki = Authority(folder / "pki")
        self.api = FakeLocalApi(folder / "api.sock")
        self.nodes = []
        self.ingress = None

    def node(self, name, app=None, **more):
        node = FunnelNode(name, self.pki.issue(name), app or hello_app(name), **more)
        self.nodes.append(node)
        self.api.peers.append(node.peer())
        return node

    def start(self, *flags, names=None):
        self.ingress = LoopbackIngress(self.folder, self.api, *flags)
        self.ingress.wait_names(len(self.nodes) if names is None else names)
        return self.ingress

    def tls(self, name=NAME, connection=None):
        context = ssl.create_default_context(cafile=self.pki.certificate)
        return context.wrap_socket(connection or self.ingress.connect(), server_hostname=name)

    def page(self, name=NAME, connection=None):
        with self.tls(name, connection) as stream:
            stream.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            return stream.recv(PIECE).decode().rpartition("\r\n\r\n")[2]

    def plain(self, request, port=None):
        with self.ingress.connect(port=port or self.ingress.plain_port) as connection:
            connection.sendall(request.encode())
            got = b""
            while piece := connection.recv(PIECE):
                got += piece
            return got.decode()

    def end(self):
        for node in self.nodes:
            node.close()
        if self.ingress and self.ingress.process.poll() is None:
            assert self.ingress.stop() == 0
        self.api.close()


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.end()


def test_two_names_lead_to_two_nodes(world):
    app, other = world.node(NAME), world.node(OTHER)
    world.start()
    for _ in range(3):
        assert world.page(NAME) == f"I am {NAME}\n"
        assert world.page(OTHER) == f"I am {OTHER}\n"
    head = app.heads[0]
    assert head.startswith("POST /v0/ingress HTTP/1.1\r\n")
    assert app.header("Host") == f"127.0.0.1:{app.port}"
    assert app.header("Tailscale-Ingress-Target") == f"{NAME}:443"
    assert other.header("Tailscale-Ingress-Target") == f"{OTHER}:443"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", app.header("Tailscale-Ingress-Src"))
    assert world.ingress.metric("connected_total") == 6
    wait_for(lambda: world.ingress.metric("connections") == 0, 5, "the connections to end")


def test_a_name_in_other_letters_is_the_same(world):
    world.node(NAME)
    world.start()
    context = ssl.create_default_context(cafile=world.pki.certificate)
    context.check_hostname = False
    with context.wrap_socket(world.ingress.connect(), server_hostname="APP.T.Test") as stream:
        stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"I am app" in stream.recv(PIECE)


def test_unknown_names_get_an_alert(world):
    world.node(NAME)
    world.start()
    for name in ("nobody.t.test", "t.test", f"x.{NAME}", "APP", None):
        with world.ingress.connect() as connection:
            connection.sendall(client_hello(name))
            assert alert(connection) == UNRECOGNIZED_NAME, name
    assert world.ingress.refused("unknown_name") == 4
    assert world.ingress.refused("no_name") == 1


def test_a_name_that_is_new_is_found(world):
    """A client that comes before the next look at the table: it is not refused for that."""
    world.start()
    for i in range(3):
        name = f"new{i}.t.test"
        world.node(name)
        assert world.page(name) == f"I am {name}\n"
    # Unknown ones don't have the node asked all the time.
    before = len(world.api.asked)
    for _ in range(20):
        with world.ingress.connect() as connection:
            connection.sendall(client_hello("nobody.t.test"))
            assert alert(connection) == UNRECOGNIZED_NAME
    assert len(world.api.asked) - before <= 25


def test_what_is_not_tls_gets_an_alert_or_nothing(world):
    world.node(NAME)
    world.start()
    hello = client_hello(NAME)
    for bad in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x02\x01" + hello[3:],
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x40\x01" + b"\x01" * 100,
        hello[:5] + b"\x01\x00\x40\x00" + hello[9:],  # longer than may be
        hello[:43] + b"\xff" + hello[44:],  # a session id past the end
        b"\x00" * 100,
    ):
        with world.ingress.connect() as connection:
            connection.sendall(bad)
            assert alert(connection) == DECODE_ERROR, bad
    assert world.page() == f"I am {NAME}\n"


def test_a_hello_in_pieces_is_read(world):
    """Over segments of one byte, and over records of one byte."""
    world.node(NAME)
    world.start()
    hello = client_hello(NAME)
    records = b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in hello[5:])
    for pieces in (hello, records):
        with world.ingress.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(pieces)):
                connection.sendall(pieces[i : i + 1])
            # ServerHello, of the node (or its alert, for records that OpenSSL finds odd).
            assert connection.recv(1) in (b"\x16", b"\x15")
    assert world.ingress.metric("connected_total") == 2


def test_bytes_pass_both_ways_with_half_close(world):
    """16 MiB up and down at once; the client closes its side and gets the rest."""
    size = 16 << 20
    data = os.urandom(1 << 20)
    world.node(NAME, echo)
    world.start()
    with world.tls() as stream:
        thread = threading.Thread(
            target=lambda: [stream.sendall(data) for _ in range(size >> 20)], daemon=True
        )
        thread.start()
        got = b""
        while len(got) < size:
            got += stream.recv(PIECE)
        thread.join(10)
        assert got == data * (size >> 20)
        stream.unwrap()  # close_notify, and the node's
    assert world.ingress.metric('bytes_total{direction="in"}') > size
    assert world.ingress.metric('bytes_total{direction="out"}') > size


def test_the_end_of_one_direction_is_passed_on(world):
    """TCP half-close below TLS: the node reads the end, and can still answer."""
    seen = []

    class Raw(FunnelNode):
        def serve(self, connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            got = b""
            while piece := connection.recv(PIECE):
                got += piece
            seen.append(got)
            connection.sendall(b"the end was read")

    node = Raw(NAME, world.pki.issue(NAME), echo)
    world.nodes.append(node)
    world.api.peers.append(node.peer())
    world.start()
    hello = client_hello(NAME)
    with world.ingress.connect() as connection:
        connection.sendall(hello + b"more")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100, socket.MSG_WAITALL) == b"the end was read"
        assert connection.recv(1) == b""
    assert seen == [hello + b"more"]


def test_a_reset_is_passed_on(world):
    """A node that dies in an answer: the client must not take that for its end."""

    class Resets(FunnelNode):
        def serve(self, connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            connection.recv(1)
            connection.sendall(b"half an ans")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    node = Resets(NAME, world.pki.issue(NAME), echo)
    world.nodes.append(node)
    world.api.peers.append(node.peer())
    world.start()
    with world.ingress.connect() as connection:
        connection.sendall(client_hello(NAME))
        with pytest.raises(ConnectionResetError):
            while connection.recv(100):
                pass
            raise AssertionError("it ended in order")


def test_a_slow_reader_holds_up_the_sender_alone(world):
    """The client reads nothing of 256 MiB: the ingress holds little of it, and others go on."""
    sent = []

    def flood(stream):
        stream.recv(1)
        with contextlib.suppress(OSError):
            while len(sent) < 4096:
                stream.sendall(b"x" * PIECE)
                sent.append(1)

    world.node(NAME, flood)
    world.node(OTHER)
    world.start()
    with world.tls() as slow:
        slow.sendall(b"x")
        before = -1
        while before != len(sent):  # until it stands
            before = len(sent)
            assert world.page(OTHER) == f"I am {OTHER}\n"
            threading.Event().wait(0.2)
        assert len(sent) < 1024
        status = Path(f"/proc/{world.ingress.process.pid}/status").read_text()
        if os.environ.get("PILLION_BUILD", "release") == "release":
            assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 32 << 10


def test_slow_hellos_are_closed(world):
    """Slowloris: a client that sends a byte now and then has ten seconds; others are not hindered."""
    world.node(NAME)
    world.start()
    hello = client_hello(NAME)
    slow = [world.ingress.connect(timeout=30) for _ in range(300)]
    for connection in slow:
        connection.sendall(hello[:20])
    wait_for(lambda: world.ingress.metric("waiting") == 300, 10, "all to wait")
    assert world.page() == f"I am {NAME}\n"
    for i in range(20, 30):
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.sendall(hello[i : i + 1])
    for connection in slow:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()
    assert world.ingress.refused("slow") == 300
    assert world.ingress.metric("waiting_bytes") == 0


def test_more_than_may_wait_push_out_the_oldest(world):
    """2048 silent clients, and one more: the first one is closed, and the name is served."""
    world.node(NAME)
    world.start("--source-connections=4000", "--source-rate=10000")
    silent = [world.ingress.connect(timeout=30) for _ in range(2048)]
    wait_for(lambda: world.ingress.metric("waiting") == 2048, 20, "all to wait")
    assert world.page() == f"I am {NAME}\n"
    assert silent[0].recv(1) == b""
    assert world.ingress.refused("slow") >= 1
    for connection in silent:
        connection.close()


def _large_hello(name):
    """As large as an ingress takes, as good as."""
    hello = client_hello(name, [f"{i:0>250}" for i in range(58)])
    assert 14 << 10 < len(hello) < 16 << 10
    return hello


def test_a_node_that_never_answers_uses_up_nothing(world):
    """Clients of a node that is silent hold all the bytes that may be held: others are served all the same."""
    silent = FunnelNode("silent.t.test", world.pki.issue("silent.t.test"), echo)
    silent.serve = lambda connection: connection.recv(1, socket.MSG_WAITALL) and held.wait(60)
    held = threading.Event()
    world.nodes.append(silent)
    world.api.peers.append(silent.peer())
    world.node(NAME)
    world.start("--source-connections=4000", "--source-rate=10000")
    hello = _large_hello("silent.t.test")
    clients = []
    for _ in range(900):
        clients.append(world.ingress.connect())
        clients[-1].sendall(hello)
    wait_for(lambda: world.ingress.refused("slow") > 0, 10, "the bytes to be used up")
    assert world.ingress.metric("waiting_bytes") <= 8 << 20
    for _ in range(20):
        assert world.page() == f"I am {NAME}\n"
    held.set()
    for client in clients:
        client.close()


def test_slow_readers_hold_a_bound(world):
    """A thousand clients that read nothing, of a node that sends for ever."""

    class Floods(FunnelNode):
        def serve(self, connection):
            read_head(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + bytes(1 << 20))

    node = Floods("floods.t.test", world.pki.issue("floods.t.test"), echo)
    world.nodes.append(node)
    world.api.peers.append(node.peer())
    world.node(NAME)
    world.start("--source-connections=4000", "--source-rate=10000")
    hello = client_hello("floods.t.test")
    slow = []
    for _ in range(1000):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", world.ingress.port))
        client.sendall(hello)
        slow.append(client)
    wait_for(lambda: world.ingress.metric("connected_total") == 1000, 30, "all to be connected")
    assert world.page() == f"I am {NAME}\n"
    assert 1 << 20 < world.ingress.metric("queued_bytes") <= 64 << 20
    status = Path(f"/proc/{world.ingress.process.pid}/status").read_text()
    if os.environ.get("PILLION_BUILD", "release") == "release":
        assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 96 << 10
    for client in slow:
        client.close()
    wait_for(lambda: world.ingress.metric("queued_bytes") == 0, 20, "their bytes to go")


def test_much_passes_without_a_copy(world):
    """1 GiB from the node and 256 MiB to it: through a pipe, and with flat memory."""
    size = 1 << 30

    class Raw(FunnelNode):
        def serve(self, connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            got = 0
            while piece := connection.recv(1 << 20):
                got += len(piece)
            piece = bytes(1 << 20)
            connection.sendall(got.to_bytes(8))
            for _ in range(size >> 20):
                connection.sendall(piece)

    node = Raw(NAME, world.pki.issue(NAME), echo)
    world.nodes.append(node)
    world.api.peers.append(node.peer())
    world.start()
    process = Path(f"/proc/{world.ingress.process.pid}")

    def resident():
        return int(re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())[1])

    def pipes():
        links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        return sum(link.startswith("pipe:") for link in links)

    before, open_before, hello = resident(), pipes(), client_hello(NAME)
    with world.ingress.connect(timeout=60) as client:
        client.sendall(hello)
        for _ in range(256):
            client.sendall(bytes(1 << 20))
        client.shutdown(socket.SHUT_WR)
        assert int.from_bytes(client.recv(8, socket.MSG_WAITALL)) == len(hello) + (256 << 20)
        got = 0
        while piece := client.recv(1 << 20):
            got += len(piece)
        assert got == size
    assert pipes() == open_before + 2, "nothing was spliced"
    assert resident() < before + (4 << 10)


def test_a_source_has_a_share(world):
    world.node(NAME, echo)
    world.start("--source-connections=5")
    held = [world.tls() for _ in range(5)]
    with world.ingress.connect() as connection, contextlib.suppress(ConnectionError):
        assert connection.recv(1) == b""
    assert world.ingress.refused("source") == 1
    held.pop().close()
    wait_for(lambda: world.ingress.metric("connections") == 4, 5, "the end of one")
    world.tls().close()


def test_a_source_has_a_rate(world):
    world.node(NAME)
    world.start("--source-rate=2")
    for _ in range(40):
        world.ingress.connect().close()
    wait_for(lambda: world.ingress.metric("accepted_total") == 40, 5, "all of them")
    assert world.ingress.refused("source") >= 15


def test_all_together_have_a_limit(world):
    world.node(NAME, echo)
    world.start("--connections=3")
    held = [world.tls() for _ in range(3)]
    with world.ingress.connect() as connection, contextlib.suppress(ConnectionError):
        assert connection.recv(1) == b""
    assert world.ingress.refused("full") == 1
    assert "all connections of --connections are in use" in world.ingress.log.read_text()
    held[0].close()


def test_a_node_that_is_away(world):
    """The client gets an alert at once, the log names the node, and its return needs nothing."""
    node = world.node(NAME)
    world.api.peers = [node.peer(Online=False)]
    world.start()
    node.close()
    with world.ingress.connect() as connection:
        connection.sendall(client_hello(NAME))
        assert alert(connection) == INTERNAL_ERROR
    text = world.ingress.log.read_text()
    assert f"the node of {NAME} can't be reached: node={NAME} (offline, says the control" in text
    assert f"PeerAPI at 127.0.0.1:{node.port}: Connection refused" in text
    world.api.peers.clear()
    world.nodes.clear()
    world.node(NAME)
    wait_for(lambda: _page_or_none(world) == f"I am {NAME}\n", 10, "the new address")


def _page_or_none(world):
    try:
        return world.page()
    except OSError:
        return None


def test_the_second_address_is_tried(world):
    node = world.node(NAME)
    peer = node.peer()
    peer["PeerAPI"].insert(0, "127.0.0.1:1")
    world.api.peers = [peer]
    world.start()
    assert world.page() == f"I am {NAME}\n"


def test_a_node_that_refuses(world):
    world.node(NAME, status=HTTPStatus.FORBIDDEN)
    world.node(OTHER, status=HTTPStatus.INTERNAL_SERVER_ERROR)
    world.start()
    for name, wanted in ((NAME, UNRECOGNIZED_NAME), (OTHER, INTERNAL_ERROR)):
        with world.ingress.connect() as connection:
            connection.sendall(client_hello(name))
            assert alert(connection) == wanted
    assert world.ingress.refused("node_denied") == 1
    assert world.ingress.refused("node_unreachable") == 1
    assert f"the node of {NAME} refused" in world.ingress.log.read_text()


def test_only_peers_that_funnel_have_their_names(world):
    node, other = world.node(NAME), world.node(OTHER)
    world.api.peers = [node.peer(Ingress=False), other.peer()]
    world.start(names=1)
    with world.ingress.connect() as connection:
        connection.sendall(client_hello(NAME))
        assert alert(connection) == UNRECOGNIZED_NAME
    assert world.page(OTHER) == f"I am {OTHER}\n"


def test_a_map_gives_names_to_nodes(world, tmp_path):
    """By the first label or the whole name, from a flag and from a file."""
    node = FunnelNode(NAME, world.pki.issue("shop.example.com"), hello_app("the shop"))
    world.nodes.append(node)
    world.api.peers = [node.peer(Ingress=False)]
    file = tmp_path / "map"
    file.write_text(f"# names\nWWW.example.com={NAME}\n\n")
    world.start("--map=shop.example.com=app,gone.example.com=nobody", f"--map-file={file}", names=2)
    assert world.page("shop.example.com") == "I am the shop\n"
    assert node.header("Tailscale-Ingress-Target") == "shop.example.com:443"
    assert f"nodes=app,nobody,{NAME} " in world.api.asked[-1]


def test_a_map_means_nodes_of_this_tailnet(world):
    """Somebody shares a node with the same label into the tailnet; it is even the first of the list."""
    shop = ("shop.example.com", "t.test", "app.t.test")
    stranger = FunnelNode("app.evil.test", world.pki.issue(*shop[:1]), hello_app("somebody else"))
    node = FunnelNode(NAME, world.pki.issue(*shop[:1]), hello_app("the shop"))
    world.nodes += [stranger, node]
    world.api.peers = [stranger.peer(), node.peer(Ingress=False, Name=NAME.upper())]
    world.start("--map=shop.example.com=app,shop.evil.test=app.evil.test", names=3)
    assert world.page("shop.example.com") == "I am the shop\n"
    # One that calls itself as the map does: the map is the configuration's.
    world.api.peers.insert(0, stranger.peer(Name="shop.example.com"))
    mark = len(world.api.asked)
    wait_for(lambda: len(world.api.asked) > mark + 1, 10, "two questions")
    assert world.page("shop.example.com") == "I am the shop\n"
    # A node that does not say which tailnet it is of: no label is known.
    world.api.peers.pop(0)
    world.api.suffix = None
    wait_for(lambda: world.ingress.metric("names") == 2, 10, "the name to go")


def _endless_head(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Padding: " + b"x" * 1000 + b"\r\n")


def _endless_body(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def _slow_body(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not connection.sendall(b" "):
        time.sleep(0.1)


def _answer(body):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    return lambda connection: connection.sendall(head + body)


def _many(count, address="192.0.2.1:1"):
    peer = {"Ingress": True, "Online": True, "PeerAPI": [address] * 5}
    return json.dumps({"Peers": [{"Name": f"n{i}.t.test", **peer} for i in range(count)]}).encode()


@pytest.mark.parametrize(
    "hostile",
    [
        lambda connection: connection.sendall(os.urandom(1 << 20)),
        lambda _: None,
        lambda connection: connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100000),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        lambda connection: connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"[" * (16 << 20)
        ),
        lambda connection: connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        _endless_head,
        _endless_body,
        _slow_body,
        _answer(b"[" * (4 << 20)),
        _answer(b'{"Peers":' + b"[" * 100000 + b"]" * 100000 + b"}"),
        _answer(b'{"Peers":[' + b"{}," * (1 << 20) + b"{}]}"),
        _answer(b'{"Peers":[]' + b" " * (9 << 20) + b"}"),
        _answer(b'{"Peers":[],"Peers":[]}'),
        _answer(b'{"Peers":[{"Name":"\\u0000"}]\xff}'),
    ],
    ids=lambda _: "",
)
def test_a_hostile_localapi(world, hostile):
    """Garbage, endless, huge and slow answers: known names stay, memory is bounded, and it recovers."""
    world.node(NAME)
    world.start()
    failed = world.ingress.metrics()['pillion_ingress_questions_total{result="failed"}']
    world.api.hostile = hostile

    def questions(result):
        return world.ingress.metric(f'questions_total{{result="{result}"}}')

    answered = questions("answered")
    wait_for(
        lambda: questions("failed") > failed + 1 or questions("answered") > answered + 1,
        30,
        "two answers",
    )
    status = Path(f"/proc/{world.ingress.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+)", status)[1]) < 512 << 10
    if questions("failed") > failed:
        assert world.page() == f"I am {NAME}\n"
    world.api.hostile = None
    wait_for(lambda: world.ingress.metric("node_up"), 10, "it to answer again")
    world.ingress.wait_names(1)
    assert world.page() == f"I am {NAME}\n"


def test_more_names_than_there_may_be(world):
    world.node(NAME)
    world.api.hostile = _answer(_many(17000))
    world.start(names=16384)
    world.api.hostile = None
    world.ingress.wait_names(1)
    assert world.page() == f"I am {NAME}\n"


def test_a_localapi_of_somebody_else_is_not_believed(world, tmp_path):
    """A user who may write into the folder of the socket would decide where names lead."""
    world.node(NAME)
    world.start()
    world.api.close()
    evil = FakeLocalApi(tmp_path / "api.sock", uid=65534)
    evil.peers = [{"Name": OTHER, "Ingress": True, "PeerAPI": ["127.0.0.1:1"]}]
    wait_for(lambda: not world.ingress.metric("node_up"), 10, "it to be refused")
    assert "user 65534 listens there, and not root" in world.ingress.log.read_text()
    assert evil.asked == []
    assert world.page() == f"I am {NAME}\n"
    evil.close()


def test_a_node_that_announces_its_peerapi_late(world):
    """A node that starts: its name comes first, and its client waits. One that announces none gets an alert."""
    world.node(NAME)
    (peer,) = world.api.peers
    late, peer["PeerAPI"] = peer["PeerAPI"], []
    world.start()
    with world.ingress.connect() as connection:
        connection.sendall(client_hello(NAME))
        assert alert(connection) == INTERNAL_ERROR
    timer = threading.Timer(0.6, lambda: peer.update(PeerAPI=late))
    timer.start()
    assert world.page() == f"I am {NAME}\n"
    timer.join()


def test_a_captured_ingress(world, tmp_path):
    """In the sandbox of the process: files, listeners, programs and other processes are out of reach."""
    done = subprocess.run(
        [BUILD / "tests/tools/captured_ingress", world.api.path],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    tried = re.findall(r"captured: try (\w+) (\w+)", done.stderr)
    assert len(tried) >= 21
    assert {how for _, how in tried} == {"refused"}, tried
    assert "captured: end" in done.stderr
    assert world.api.path.exists()


PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.mark.parametrize(
    ("head", "source"),
    [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 5555 443\r\n", "203.0.113.7:5555"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n", "[2001:db8::7]:5555"),
        (b"PROXY UNKNOWN\r\n", None),
        (
            PROXY_V2
            + b"\x21\x11\x00\x0c"
            + bytes([203, 0, 113, 7, 192, 0, 2, 1])
            + b"\x15\xb3\x01\xbb",
            "203.0.113.7:5555",
        ),
        (PROXY_V2 + b"\x20\x00\x00\x03abc", None),
    ],
)
def test_a_load_balancer_names_the_client(world, head, source):
    node = world.node(NAME)
    world.start("--proxy-protocol=127.0.0.0/8,2001:db8::/32")
    connection = world.ingress.connect()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(head)):
        connection.sendall(head[i : i + 1])
    assert world.page(connection=connection) == f"I am {NAME}\n"
    assert source is None or node.header("Tailscale-Ingress-Src") == source
    # Without its head nothing passes.
    with world.ingress.connect() as bare:
        bare.sendall(client_hello(NAME))
        with contextlib.suppress(ConnectionResetError):
            assert bare.recv(1) == b""
    assert world.ingress.refused("proxy_protocol") == 1


def test_others_can_not_claim_an_address(world):
    node = world.node(NAME)
    world.start("--proxy-protocol=192.0.2.0/24")
    with world.ingress.connect() as connection:
        connection.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 5555 443\r\n" + client_hello(NAME))
        assert alert(connection) == DECODE_ERROR
    assert node.heads == []


def test_plain_http_is_redirected_but_for_challenges(world):
    node = world.node(NAME)
    world.start()
    got = world.plain(f"GET /a?b=c HTTP/1.1\r\nHost: {NAME.upper()}:80\r\n\r\n")
    assert got.startswith("HTTP/1.1 308 ")
    assert f"Location: https://{NAME}/a?b=c\r\n" in got
    assert node.heads == []
    challenge = "/.well-known/acme-challenge/token_1-x"
    request = f"GET {challenge} HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
    assert world.plain(request).endswith(f"I am {NAME}\n")
    assert node.header("Tailscale-Ingress-Target") == f"{NAME}:80"
    assert world.plain(request.replace(NAME, OTHER)).startswith("HTTP/1.1 404 ")
    for bad in (
        "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: " + "y" * 40000,
    ):
        assert world.plain(bad)[:12] in ("HTTP/1.1 400", ""), bad
    # No other path of the node is reached by dots.
    assert world.plain(request.replace("token_1-x", "../../x")).startswith("HTTP/1.1 308 ")
    assert len(node.heads) == 1


def test_without_redirects_it_answers_404(world):
    world.node(NAME)
    world.start("--no-redirect")
    assert world.plain(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").startswith("HTTP/1.1 404 ")


def test_the_table_outlives_the_node_of_this_machine(world):
    """Its LocalAPI goes away and comes back: health says so, and known names go on."""
    world.node(NAME)
    world.start()
    path = world.api.path
    peers = world.api.peers
    world.api.close()
    path.unlink()
    wait_for(lambda: not world.ingress.metric("node_up"), 10, "it to notice")
    assert world.page() == f"I am {NAME}\n"
    assert "does not tell who funnels" in world.ingress.log.read_text()
    world.api = FakeLocalApi(path)
    world.api.peers = peers
    wait_for(lambda: world.ingress.metric("node_up"), 10, "it to answer again")
    assert "answers again" in world.ingress.log.read_text()


def test_an_answer_that_makes_no_sense_changes_nothing(world):
    node = world.node(NAME)
    world.start()
    for peers in (
        "no list",
        [1, None, {}, {"Name": 5}, {"Name": "x" * 400, "Ingress": True}, node.peer()],
        [{**node.peer(), "PeerAPI": ["nonsense", 7, *node.peer()["PeerAPI"]]}],
    ):
        world.api.peers = peers
        mark = len(world.api.asked)
        wait_for(lambda mark=mark: len(world.api.asked) > mark + 1, 10, "two questions")
        assert world.page() == f"I am {NAME}\n"


def test_a_restart_lets_connections_end(world):
    """SIGTERM closes the listener, and waits for the connections that are there."""
    world.node(NAME, echo)
    world.start()
    with world.tls() as stream:
        world.ingress.process.send_signal(signal.SIGTERM)
        wait_for(lambda: _refuses(world.ingress), 10, "the listener to close")
        stream.sendall(b"still here")
        assert stream.recv(100) == b"still here"
    assert world.ingress.process.wait(10) == 0
    # The next one takes over.
    world.start()
    with world.tls() as stream:
        stream.sendall(b"again")
        assert stream.recv(100) == b"again"


def _refuses(ingress):
    try:
        ingress.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_has_no_rights(world):
    world.node(NAME)
    world.start()
    status = Path(f"/proc/{world.ingress.process.pid}/status").read_text()
    for wanted in (r"CapEff:\s+0+$", r"NoNewPrivs:\s+1", r"Seccomp:\s+2"):
        assert re.search(wanted, status, re.MULTILINE), wanted


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--listen=nonsense"], "--listen: 'nonsense' is not a valid ADDRESS:PORT"),
        (["--listen=127.0.0.1:1=0"], "'0' is not a valid port"),
        (["--map=x"], "--map: 'x' is not NAME=NODE"),
        (["--map-file=/nowhere"], "/nowhere"),
        (["--proxy-protocol=x"], "'x' is not a valid address or prefix"),
        (["--no-redirect"], "no effect without --http"),
        (["--socket=" + "x" * 200], "too long"),
    ],
)
def test_wrong_flags_are_named(flags, words):
    done = subprocess.run(
        [BUILD / "pillion-server", "ingress", *flags], capture_output=True, text=True, timeout=20
    )
    assert done.returncode in (1, 2)
    assert words in done.stderr, done.stderr
