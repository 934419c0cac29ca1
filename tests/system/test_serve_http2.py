# SPDX-License-Identifier: BSD-3-Clause
"""HTTP/2 of clients in front of an app that speaks HTTP/1.1."""

import hashlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from lab import raw_http2 as h2
from lab import wait_for
from lab.build import ROOT, build_folder, is_sanitized
from lab.network import PYTHON
from lab.served import CONFIG, MIRROR_PORT, Served, headers, start_mirror

SERVED = json.loads(json.dumps(CONFIG))
SERVED["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/away/"] = {"Proxy": "http://127.0.0.1:8999"}
SERVED["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]["/mirror/"] = {
    "Proxy": f"http://127.0.0.1:{MIRROR_PORT}"
}
WEBSOCKETS, WEBSOCKETS_PORT = ROOT / "tests/lab/websocket_app.py", 8083
for number in ("80", "443"):
    SERVED["Web"]["${TS_CERT_DOMAIN}:" + number]["Handlers"]["/ws"] = {
        "Proxy": f"http://127.0.0.1:{WEBSOCKETS_PORT}"
    }
# Both ways to HTTP/2: by ALPN, and by prior knowledge.
WAYS = {"https": ["--http2"], "http": ["--http2-prior-knowledge"]}


@pytest.fixture
def served(world):
    made = Served(world, SERVED)
    start_mirror(world.sidecar.box)
    made.wait("http://NAME/hello", "hello")
    return made


@pytest.mark.parametrize("way", WAYS)
def test_requests_and_answers(served, way, tmp_path):
    """The same as by HTTP/1.1: methods, bodies of every size, statuses, streams."""
    base, how = f"{way}://NAME/mirror", WAYS[way]
    assert served.fetch(f"{base}/x", *how, "-o", "/dev/null", "-w", "%{http_version}") == "2"
    seen = served.seen(
        f"{base}/a%20b?c=d",
        *how,
        *["-H", "Tailscale-User-Login: root@example.com", "-H", "tailscale_user_login: root"],
        *["-H", "X-Forwarded-For: 8.8.8.8", "-H", "Forwarded: for=8.8.8.8", "-H", "TE: trailers"],
        *["-H", "Cookie: a=1; b=2", "-H", "X-Twice: 1", "-H", "X-Twice: 2"],
    )
    assert (seen["method"], seen["target"], seen["length"]) == ("GET", "/a%20b?c=d", 0)
    got = headers(seen)
    assert (got["host"], got["x-forwarded-host"]) == (served.name, served.name)
    assert got["x-forwarded-for"] == served.world.laptop.addresses()[0]
    assert got.get("x-forwarded-proto") == ("https" if way == "https" else None)
    assert (got["cookie"], got["te"]) == ("a=1; b=2", "trailers")
    assert [value for name, value in seen["headers"] if name.lower() == "x-twice"] == ["1", "2"]
    assert not {"root", "8.8.8.8"} & set(got.values())
    assert not {"transfer-encoding", "content-length", "connection"} & set(got)
    for size in (0, 1, 100_000):
        body = os.urandom(size)
        (tmp_path / "body").write_bytes(body)
        for options in (["--data-binary", f"@{tmp_path}/body"], ["-T", "-"]):
            command = served.command(f"{base}/p", *how, *options)
            done = served.world.laptop.box.run(
                "sh", "-c", '"$@" < "$0"', tmp_path / "body", *command
            )
            seen = json.loads(done.stdout)
            assert (seen["length"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    # curl 7.88 sends a piece twice now and then if the window closes in a long upload.
    body = os.urandom(5_000_000)
    (tmp_path / "body").write_bytes(body)
    for options in ([], ["--no-content-length"]):
        done = served.world.laptop.box.run(
            *["nghttp", f"--data={tmp_path}/body", f"--header=:authority: {served.name}", *options],
            f"{way}://{served.addresses[0]}{base.split('NAME')[1]}/p",
        )
        seen = json.loads(done.stdout)
        assert (seen["length"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    code = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
    for path, options, wanted in (
        ("bytes/3000000", [], "200 3000000"),
        ("bytes/0", [], "200 0"),
        ("x", ["--head"], "200 0"),
        ("status/204", [], "204 0"),
        ("status/304", [], "304 0"),
    ):
        assert served.fetch(f"{base}/{path}", *how, *options, *code) == wanted, path
    # curl 7.88 fails if an answer ends the stream while it still sends.
    early = ["https://NAME/old"] if way == "https" else []
    for url, status in ((f"{base}/early", 413), *((url, 301) for url in early)):
        done = served.world.laptop.box.run(
            *["nghttp", "-nv", f"--data={tmp_path}/body", f"--header=:authority: {served.name}"],
            url.replace("NAME", served.addresses[0]),
        )
        assert f":status: {status}" in done.stdout, done.stdout
    assert served.fetch(f"{base}/chunks/10", *how).count("data: ") == 10
    assert "502" in served.fetch(f"{base}/hangup", *how)
    assert "404" in served.fetch(f"{way}://NAME/old", *how, "-H", "Host: x.example.com") or (
        way == "https"
    )


def test_many_at_once(served):
    """Streams of one connection run beside each other, and each gets its own answer."""
    box, pid = served.world.laptop.box, served.services_pid()
    done = box.run(
        *["h2load", "-n", "1000", "-c", "4", "-m", "8", "--connect-to"],
        f"{served.addresses[0]}:443",
        f"https://{served.name}/mirror/bytes/2000",
    )
    assert "1000 succeeded, 0 failed" in done.stdout, done.stdout
    assert "h2" in done.stdout
    done = box.run(
        *["h2load", "-n", "5000", "-c", "4", "-m", "90", "--connect-to"],
        f"{served.addresses[0]}:80",
        f"http://{served.name}/hello",
    )
    assert "5000 succeeded, 0 failed" in done.stdout, done.stdout
    assert served.services_pid() == pid


def test_thousands_of_requests_while_an_app_is_away(served):
    """Each waits for it and gets 502, the others are served meanwhile, and the process lives."""
    pid = served.services_pid()
    load = served.world.laptop.box.start(
        *["h2load", "-n", "6000", "-c", "60", "-m", "100", "--connect-to"],
        f"{served.addresses[0]}:80",
        f"http://{served.name}/away/x",
        log="h2load",
    )
    load.wait_text("progress: 10% done", 60)
    assert served.fetch("http://NAME/hello") == "hello"
    load.wait_text("finished in", 60)
    assert "6000 5xx" in load.describe(), load.describe()
    assert served.services_pid() == pid


class Raw:
    """A client with prior knowledge that sends the frames of a test, in the laptop's namespace."""

    SCRIPT = (
        "import socket, sys, threading, time\n"
        "s = socket.create_connection((sys.argv[1], 80)); s.settimeout(30)\n"
        "def read():\n"
        "    try:\n"
        "        while got := s.recv(65536):\n"
        "            sys.stdout.buffer.write(got); sys.stdout.buffer.flush()\n"
        "    except OSError:\n"
        "        pass\n"
        "    sys.stdout.buffer.close()\n"
        "t = threading.Thread(target=read); t.start()\n"
        "try:\n"
        "    while piece := sys.stdin.buffer.read1(65536):\n"
        "        s.sendall(piece)\n"
        "except OSError:\n"
        "    sys.stdin.close()\n"
        "t.join(30)\n"
    )

    def __init__(self, served, box=None):
        self.name = served.name
        self.process = subprocess.Popen(
            (box or served.world.laptop.box).enter(PYTHON, "-c", self.SCRIPT, served.addresses[0]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.buffer = b""
        self.pieces = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()
        self.send(h2.PREFACE + h2.frame(h2.SETTINGS))

    def read(self):
        while piece := self.process.stdout.read1(65536):
            self.pieces.put(piece)
        self.pieces.put(b"")

    def send(self, piece):
        try:
            self.process.stdin.write(piece)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def request(self, stream, path, *more, method="GET", end=True, authority=None):
        block = h2.fields(
            (":method", method),
            (":scheme", "http"),
            (":authority", authority or self.name),
            (":path", path),
            *more,
        )
        flags = h2.END_HEADERS | (h2.END_STREAM if end else 0)
        self.send(h2.frame(h2.HEADERS, flags, stream, block))

    def frames(self, patience=15):
        """(kind, flags, stream, payload) until the connection ends."""
        while True:
            while len(self.buffer) < 9 or len(self.buffer) < 9 + self.length():
                got = self.pieces.get(timeout=patience)
                if not got:
                    return
                self.buffer += got
            length = self.length()
            kind, flags = self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
            yield kind, flags, stream, payload

    def length(self):
        return int.from_bytes(self.buffer[:3], "big")

    def until(self, wanted):
        """The first frame for which @wanted(kind, flags, stream, payload) holds."""
        for frame in self.frames():
            if wanted(*frame):
                return frame
        raise AssertionError("the connection ended")

    def outcome(self, stream, patience=15):
        """'reset CODE' or the body of the answer on @stream; 'goaway CODE' if that comes first."""
        body = b""
        for kind, flags, at, payload in self.frames(patience):
            if kind == h2.GOAWAY:
                return f"goaway {int.from_bytes(payload[4:8], 'big')}"
            if at != stream:
                continue
            if kind == h2.RESET:
                return f"reset {int.from_bytes(payload, 'big')}"
            if kind == h2.DATA:
                body += payload
            if flags & h2.END_STREAM and kind in (h2.DATA, h2.HEADERS):
                return body.decode()
        return "closed"

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def raw(served):
    made = []

    def connect(box=None):
        made.append(Raw(served, box))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def test_a_stream_that_stands_still_stops_no_other(served, raw):
    """The app does not take one body: its window closes, and other requests go on."""
    client = raw()
    client.request(1, "/mirror/slow", ("content-length", "9000000"), method="POST", end=False)
    sent = 0
    while sent < 65535:
        piece = min(16384, 65535 - sent)
        client.send(h2.frame(h2.DATA, 0, 1, b"x" * piece))
        sent += piece
    client.request(3, "/hello")
    assert client.outcome(3) == "hello"
    client.request(5, "/mirror/x")
    assert '"target": "/x"' in client.outcome(5)


MALFORMED = {
    "host differs": [("host", "other.example.com")],
    "connection": [("connection", "close")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "upgrade": [("upgrade", "websocket")],
    "te": [("te", "gzip")],
    "upper case": [("X-Upper", "1")],
    "new line in a value": [("x-a", "1\r\nTailscale-User-Login: root")],
    "bare line feed": [("x-a", "1\nx-b: 2")],
    "zero byte": [("x-a", "1\0")],
    "space in a name": [("x a", "1")],
    "colon in a name": [("x:a", "1")],
    "empty name": [("", "1")],
    "length without a body": [("content-length", "5")],
    "two lengths": [("content-length", "0"), ("content-length", "0")],
    "odd length": [("content-length", "+0")],
    "late pseudo-header": [("x-a", "1"), (":path", "/hello")],
    "unknown pseudo-header": [(":root", "1")],
    "protocol without connect": [(":protocol", "websocket")],
}


TARGETS = ["*", "/ HTTP/1.1\r\nX: y", "/a b", "", "x", "http://other.example.com/hello"]


def test_malformed_heads_are_refused(served, raw):
    """Nothing of them reaches the app, and the connection's other streams go on, or all end."""
    wrong = []
    for case, more in MALFORMED.items():
        client = raw()
        client.request(1, "/mirror/malformed", *more)
        got = client.outcome(1)
        if not re.match("(reset|goaway) 1$|400", got):
            wrong.append((case, got))
        if not got.startswith("goaway"):
            client.request(3, "/mirror/next")
            assert '"target": "/next"' in client.outcome(3), case
    for target in TARGETS:
        client = raw()
        client.request(1, target)
        got = client.outcome(1)
        if not re.match("(reset|goaway) 1$|400", got):
            wrong.append((target, got))
    assert not wrong
    assert served.seen("http://NAME/mirror/last")["target"] == "/last"


def test_a_body_that_is_longer_than_it_said(served, raw):
    client = raw()
    client.request(1, "/mirror/p", ("content-length", "3"), method="POST", end=False)
    client.send(h2.frame(h2.DATA, h2.END_STREAM, 1, b"12345GET /mirror/hidden HTTP/1.1\r\n\r\n"))
    assert client.outcome(1).startswith(("reset", "goaway"))
    assert served.seen("http://NAME/mirror/next")["target"] == "/next"


def test_long_heads(served, raw):
    client = raw()
    client.request(1, "/mirror/x", *[(f"x-{i}", "v" * 1000) for i in range(15)])
    assert '"target": "/x"' in client.outcome(1)
    block = h2.fields(
        (":method", "GET"), (":scheme", "http"), (":authority", served.name), (":path", "/x")
    ) + h2.fields(*[(f"x-{i}", "v" * 1000) for i in range(60)])
    client.send(h2.frame(h2.HEADERS, h2.END_STREAM, 3, block[:16000]))
    rest = block[16000:]
    while rest:
        piece, rest = rest[:16000], rest[16000:]
        client.send(h2.frame(h2.CONTINUATION, 0 if rest else h2.END_HEADERS, 3, piece))
    kind, _, _, payload = client.until(
        lambda kind, _f, stream, _p: stream == 3 or kind == h2.GOAWAY
    )
    assert kind in (h2.HEADERS, h2.RESET), (kind, payload)


def memory(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", text)[1])


FLOODS = {
    "ping": h2.frame(h2.PING, payload=b"01234567"),
    "settings": h2.frame(h2.SETTINGS),
    "empty data": h2.frame(h2.DATA, 0, 1),
    "priority": h2.frame(2, 0, 3, b"\0\0\0\0\1"),
}


def test_floods_end_the_connection(served, raw):
    """ENHANCE_YOUR_CALM or another error, not endless work; the others are served."""
    pid = served.services_pid()
    for piece in FLOODS.values():
        client = raw()
        client.request(1, "/mirror/slow", method="POST", end=False)
        for _ in range(30):
            client.send(piece * 1000)
        assert client.outcome(1) in ("goaway 11", "closed", "reset 1"), piece
        assert served.fetch("http://NAME/hello") == "hello"
    assert served.services_pid() == pid


def test_rapid_reset(served, raw):
    """CVE-2023-44487: streams that are reset at once end the connection, and cost no memory."""
    pid = served.services_pid()
    before = memory(pid)
    client = raw()
    for first in range(1, 20000, 200):
        for stream in range(first, first + 200, 2):
            client.request(stream, "/mirror/slow")
            client.send(h2.frame(h2.RESET, 0, stream, (8).to_bytes(4, "big")))
    assert client.outcome(0) in ("goaway 11", "closed")
    assert served.fetch("http://NAME/hello") == "hello"
    assert served.services_pid() == pid
    limit = 300_000 if is_sanitized(build_folder()) else 20_000
    assert memory(pid) - before < limit


def test_a_flood_of_continuations(served, raw):
    """CVE-2024-28182: a head without end is cut off."""
    pid = served.services_pid()
    client = raw()
    client.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.fields((":method", "GET"))))
    piece = h2.fields(("x-a", "v" * 1000))
    for _ in range(20000):
        client.send(h2.frame(h2.CONTINUATION, 0, 1, piece))
    assert re.match("goaway|reset|closed", client.outcome(1))
    assert served.fetch("http://NAME/hello") == "hello"
    assert served.services_pid() == pid


def test_a_switch_to_no_protocol(served):
    """An app that answers 101 without saying what it speaks from then on gets no connection."""
    pid = served.services_pid()
    head = f"Host: {served.name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for answer in ("HTTP%2f1.1%20101%20x%0d%0a%0d%0a", "HTTP%2f1.1%20101%20x%0d%0aA:b%0d%0a%0d%0a"):
        request = f"GET /mirror/raw/{answer} HTTP/1.1\r\n{head}".encode()
        assert served.say(request).startswith("HTTP/1.1 502 "), answer
    assert served.services_pid() == pid


def test_a_websocket_that_the_app_does_not_open(served, raw):
    """In a tunnel 200 would say that it is open."""
    client = raw()
    client.request(1, "/mirror/x", (":protocol", "websocket"), method="CONNECT", end=False)
    _, _, _, block = client.until(lambda kind, _f, at, _p: (kind, at) == (h2.HEADERS, 1))
    assert 0x88 not in block[:2], "200, by the static table of HPACK"


def test_more_streams_than_are_allowed(served, raw):
    client = raw()
    for stream in range(1, 401, 2):
        client.request(stream, "/mirror/slow", method="POST", end=False)
    refused = 0
    for kind, _, _, payload in client.frames():
        if kind == h2.RESET and int.from_bytes(payload, "big") == 7:
            refused += 1
        if refused == 100 or kind == h2.GOAWAY:
            break
    assert refused == 100 or kind == h2.GOAWAY
    assert served.fetch("http://NAME/hello") == "hello"


@pytest.fixture
def websockets(served):
    app = served.node.box.start(sys.executable, WEBSOCKETS, "serve", WEBSOCKETS_PORT, log="ws")
    app.wait_text("^serving", 20)
    return app


@pytest.mark.parametrize("port", [80, 443])
def test_websockets_by_http1(served, websockets, port):
    authority = served.take_authority() if port == 443 else "-"
    done = served.world.laptop.box.run(
        *[sys.executable, WEBSOCKETS, "call", f"{served.addresses[0]}:{port}", served.name],
        *[authority, "/ws/chat?x"],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["path"], said["echo"], said["big"]) == ("/chat?x", "hello", True)
    assert said["headers"]["x-forwarded-for"] == served.world.laptop.addresses()[0]
    assert said["code"] == 4000


def message(text, kind=1):
    """A masked frame of a client (RFC 6455 5.2)."""
    body, mask = text.encode(), b"abcd"
    length = (
        bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
    )
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
    return bytes([0x80 | kind]) + length + mask + masked


def test_websockets_by_http2(served, websockets, raw):
    """RFC 8441: CONNECT becomes an upgrade to the app; other streams go on beside it."""
    client = raw()
    _, _, _, settings = client.until(lambda kind, flags, *_: kind == h2.SETTINGS and not flags)
    assert b"\0\x08\0\0\0\x01" in settings
    client.request(
        1,
        "/ws/chat?x",
        *[(":protocol", "websocket"), ("sec-websocket-version", "13"), ("origin", "http://x")],
        method="CONNECT",
        end=False,
    )
    _, flags, _, head = client.until(lambda kind, _f, stream, _p: (kind, stream) == (h2.HEADERS, 1))
    assert b"\x88" in head[:2], head
    assert not flags & h2.END_STREAM
    got = b""

    def hear(text):
        nonlocal got
        while text not in got:
            got += client.until(lambda kind, _f, at, _p: (kind, at) == (h2.DATA, 1))[3]

    hear(b'"x-forwarded-for"')
    assert b'"path": "/chat?x"' in got
    client.send(h2.frame(h2.DATA, 0, 1, message("hello over two")))
    hear(b"hello over two")
    client.request(3, "/hello")
    assert client.outcome(3) == "hello"
    client.send(h2.frame(h2.DATA, 0, 1, message("end")))
    hear(b"\x0f\xa0as asked")
    # The app waits for the other half of the closing handshake.
    client.send(h2.frame(h2.DATA, 0, 1, message("\x03\xe8", kind=8)))
    client.until(
        lambda kind, flags, at, _p: at == 1
        and (kind == h2.RESET or (kind == h2.DATA and bool(flags & h2.END_STREAM)))
    )
    # Other protocols, and an app that refuses.
    client.request(5, "/ws/x", (":protocol", "connect-udp"), method="CONNECT", end=False)
    _, _, _, head = client.until(lambda kind, _f, at, _p: (kind, at) == (h2.HEADERS, 5))
    assert b"\x82l\x01" in head  # 501
    client.request(7, "/mirror/status/404", (":protocol", "websocket"), method="CONNECT", end=False)
    _, _, _, head = client.until(lambda kind, _f, at, _p: (kind, at) == (h2.HEADERS, 7))
    assert b"\x8d" in head[:2] or b"404" in head


def test_no_http2_behind_an_upgrade(served):
    """'Upgrade: h2c' would let a client write headers to the app that only we may set."""
    for upgrade in ("h2c", "HTTP/2.0", "websocket, h2c", "TLS/1.0"):
        text = served.say(
            f"GET /mirror/x HTTP/1.1\r\nHost: {served.name}\r\nConnection: Upgrade, "
            f"HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: {upgrade}\r\n\r\n".encode()
        )
        assert " 200 " in text, text
        seen = headers(json.loads(text[text.index("{") : text.rindex("}") + 1]))
        assert not {"upgrade", "http2-settings"} & set(seen), seen


def sockets(pid):
    """How many a process has; the listeners among them."""
    names = (os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return sum(name.startswith("socket:") for name in names)


def test_a_port_that_ends(served, raw):
    """Streams under way finish, GOAWAY says that there are no more, and the connection ends.

    On own connections: packets of peers are led to a port only while it is served.
    """
    pid = served.services_pid()
    before = sockets(pid)
    busy, idle = raw(served.node.box), raw(served.node.box)
    busy.request(1, "/mirror/slow")
    idle.request(1, "/hello")
    assert idle.outcome(1) == "hello"
    served.write({**SERVED, "TCP": {"443": {"HTTPS": True}}})
    assert idle.outcome(0) == "goaway 0"
    goaways, body = [], b""
    while len(goaways) < 2:
        kind, _, stream, payload = busy.until(lambda *_: True)
        if kind == h2.GOAWAY:
            goaways.append(int.from_bytes(payload[:4], "big"))
        body += payload if (kind, stream) == (h2.DATA, 1) else b""
    assert goaways == [0x7FFFFFFF, 1]
    assert b'"target": "/slow"' in body
    wait_for(lambda: sockets(pid) < before, 20, "the connections to be closed")


def test_heads_that_come_slowly(served, raw):
    """Neither half a head nor half a preface keeps a connection for long."""
    client = raw()
    block = h2.fields((":method", "GET"), (":scheme", "http"), (":path", "/hello"))
    client.send(h2.frame(h2.HEADERS, h2.END_STREAM, 1, block))
    half = served.world.laptop.box.start(
        *[PYTHON, "-c"],
        "import socket, time\n"
        f"s = socket.create_connection(({served.addresses[0]!r}, 80)); s.settimeout(60)\n"
        f"s.sendall({h2.PREFACE[:10]!r}); print('got', s.recv(10), flush=True)",
        log="half",
    )
    assert client.outcome(1, patience=60) in ("closed", "goaway 0", "goaway 1")
    half.wait_text("^got b''", 60)
    assert served.fetch("http://NAME/hello") == "hello"


def test_streams_that_nobody_reads(served, raw):
    """The answers wait with the app, not here."""
    pid = served.services_pid()
    before = memory(pid)
    clients = [raw() for _ in range(2)]
    for client in clients:
        for stream in range(1, 161, 2):
            client.request(stream, "/mirror/bytes/4000000")
    for client in clients:
        client.until(lambda kind, *_: kind == h2.DATA)
    wait_for(lambda: served.fetch("http://NAME/hello") == "hello", 20, "an answer to others")
    assert memory(pid) - before < (900_000 if is_sanitized(build_folder()) else 90_000)
    assert served.services_pid() == pid


def test_changes_under_load(served):
    """While one configuration after another comes, no stream fails, and the connection stays."""
    handlers = SERVED["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]
    client = served.world.laptop.box.start(
        *["h2load", "-D", "8", "-c", "2", "-m", "5", "--connect-to", f"{served.addresses[0]}:80"],
        f"http://{served.name}/mirror/x",
        log="h2load",
    )
    config = json.loads(json.dumps(SERVED))
    for number in range(100):
        # Other targets come and go before it, so that its number changes.
        more = {f"/{i}": {"Proxy": f"http://127.0.0.1:{9 + i}"} for i in range(number % 5)}
        config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"] = {**more, **handlers}
        served.write(config)
        time.sleep(0.05)
    client.wait_text("status codes", 30)
    done = re.search(r"requests: (\d+) total.* (\d+) done.* 0 failed", client.text())
    assert done, client.text()
    assert int(done[2]) > 100
    assert re.search(r"codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx", client.text()), client.text()
