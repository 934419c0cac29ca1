# SPDX-License-Identifier: BSD-3-Clause
"""`pillion ingress` on 127.0.0.1, and a stand-in of the node that it asks and of nodes that funnel.

client ──TLS──▶ pillion-server ingress ──POST /v0/ingress──▶ FunnelNode (ends TLS)
                        │ GET /localapi/v0/funnels
                        ▼
                   FakeLocalApi
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request

from lab.build import BUILD
from lab.prometheus import parse
from lab.relay_tool import free_port
from lab.waiting import wait_for


def read_head(connection):
    """The bytes up to an empty line."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(1)
        if not piece:
            break
        head += piece
    return head.decode("latin-1")


class Listener:
    """A socket with a thread for each connection."""

    def __init__(self, family, at):
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(at)
        self.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def listen(self):
        self.socket.listen(512)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with contextlib.suppress(OSError), connection:
            self.serve(connection)

    def close(self):
        # A thread that waits in accept() keeps a socket that is only closed.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class FakeLocalApi(Listener):
    """Answers /localapi/v0/funnels with its `peers`.

    hostile(connection): answers in place of it.
    """

    def __init__(self, path, uid=0):
        self.path = path
        self.peers = []
        self.asked = []
        self.suffix = "t.test"
        self.hostile = None
        self.uid = uid
        path.unlink(missing_ok=True)
        super().__init__(socket.AF_UNIX, str(path))

    def listen(self):
        os.seteuid(self.uid)  # the kernel tells clients who has called listen()
        try:
            super().listen()
        finally:
            os.seteuid(0)

    def serve(self, connection):
        head = read_head(connection)
        if not head:
            return
        self.asked.append(head.splitlines()[0])
        if self.hostile:
            self.hostile(connection)
            return
        body = json.dumps({"Suffix": self.suffix, "Peers": self.peers}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class FunnelNode(Listener):
    """The PeerAPI of a node, as protocol.md 13.4 has it, with TLS behind it.

    app(stream): what it does with a decrypted connection.
    """

    def __init__(self, name, certificate, app, status=101):
        self.name = name
        self.app = app
        self.status = status
        self.heads = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        super().__init__(socket.AF_INET, ("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def peer(self, **more):
        """As the LocalAPI describes it."""
        at = f"127.0.0.1:{self.port}"
        return {"Name": self.name, "Ingress": True, "Online": True, "PeerAPI": [at], **more}

    def serve(self, connection):
        head = read_head(connection)
        self.heads.append(head)
        if self.status != 101:
            connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.status)
            return
        # Bytes that came before this answer would be lost, as in the official node.
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert not connection.recv(1), "bytes before the 101"
        connection.setblocking(True)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        if ":80\r\n" in head:
            self.app(connection)
            return
        with self.context.wrap_socket(connection, server_side=True) as stream:
            self.app(stream)

    def header(self, name, request=-1):
        """A header of a request that came."""
        for line in self.heads[request].splitlines():
            if line.startswith(f"{name}: "):
                return line.split(": ", 1)[1]
        return None


class LoopbackIngress:
    """The program; its TLS port clients know as 443."""

    def __init__(self, folder, api, *flags, wait=True):
        self.port, self.plain_port, self.metrics_port = free_port(), free_port(), free_port()
        self.log = folder / "ingress.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *[BUILD / "pillion-server", "ingress", f"--socket={api.path}"],
                    f"--listen=127.0.0.1:{self.port}=443",
                    f"--http=127.0.0.1:{self.plain_port}=80",
                    f"--metrics=127.0.0.1:{self.metrics_port}",
                    *flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=8"},
            )
        wait_for(self.serving, 20, lambda: self.log.read_text())
        if wait:
            wait_for(lambda: self.metric("node_up"), 20, lambda: self.log.read_text())

    def serving(self):
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text().count("ingress serves") == 2

    def metrics(self):
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        return parse(urllib.request.urlopen(url, timeout=10).read().decode())

    def metric(self, name):
        return self.metrics()[f"pillion_ingress_{name}"]

    def refused(self, reason):
        return self.metric(f'refused_total{{reason="{reason}"}}')

    def wait_names(self, count):
        wait_for(lambda: self.metric("names") == count, 10, f"{count} names")

    def connect(self, timeout=10, port=None):
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=timeout)

    def stop(self, number=signal.SIGTERM, timeout=20):
        self.process.send_signal(number)
        code = self.process.wait(timeout)
        text = self.log.read_text()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "SIGSYS"):
            assert word not in text, text
        return code


def alert(connection):
    """The description of a fatal TLS alert, behind which the connection ends."""
    got = b""
    while piece := connection.recv(100):
        got += piece
    assert got[:6] == b"\x15\x03\x03\x00\x02\x02", got
    return got[6]


def client_hello(name=None, alpn=()):
    """The first flight of Python's TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    stream = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        stream.do_handshake()
    return outgoing.read()
