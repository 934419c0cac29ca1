# SPDX-License-Identifier: BSD-3-Clause
"""Funnel, the node's side: an ingress node brings connections of the internet to the PeerAPI."""

import json
import os
import signal

import pytest
from lab import wait_for
from lab.app import PORT
from lab.build import ROOT
from lab.network import PYTHON
from lab.served import MIRROR_PORT, Served, headers, start_mirror

INGRESS = ROOT / "tests/lab/bring_in.py"
CONFIG = {
    "TCP": {
        "443": {"HTTPS": True},
        "8443": {"TCPForward": f"127.0.0.1:{PORT}"},
        "10000": {"TCPForward": f"127.0.0.1:{PORT}", "TerminateTLS": "${TS_CERT_DOMAIN}"},
        "80": {"HTTP": True},
        "444": {"HTTPS": True},
    },
    "Web": {
        f"{name}:{port}": {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}}}
        for name, port in (
            ("${TS_CERT_DOMAIN}", 443),
            ("other.example", 443),
            ("${TS_CERT_DOMAIN}", 80),
            ("${TS_CERT_DOMAIN}", 444),
        )
    },
    "AllowFunnel": {f"${{TS_CERT_DOMAIN}}:{port}": True for port in (443, 8443, 10000, 80, 444)},
}
SOURCE = "203.0.113.7:50000"


class Funnelled(Served):
    """The node with a Funnel, and what the laptop brings in as an ingress node."""

    def __init__(self, world, config=CONFIG, trusted="laptop"):
        super().__init__(world, config, {"TS_INGRESS_FROM": trusted})
        wait_for(self.peerapi, 20, "the PeerAPI")

    def peerapi(self, family=0):
        urls = self.node.status()["Self"]["PeerAPIURL"] or []
        return urls[family].removeprefix("http://").rpartition(":") if urls else None

    def bring(self, target, request, source=SOURCE, tls=True, family=0, name=None):
        """What a client of the internet gets, with the head of the PeerAPI's answer before it."""
        address, _, port = self.peerapi(family)
        target = target.replace("NAME", self.name)
        arguments = [self.take_authority(), name or self.name] if tls else []
        return self.world.laptop.box.run(
            *[PYTHON, INGRESS, address.strip("[]"), port, source, target, *arguments],
            stdin=request,
            check=False,
        ).stdout.replace("\r", "")

    def get(self, target="NAME:443", *lines, **options):
        host = target.partition(":")[0].replace("NAME", self.name)
        request = "\r\n".join(["GET /x HTTP/1.1", f"Host: {host}", "Connection: close", *lines])
        return self.bring(target, request + "\r\n\r\n", **options)

    def seen(self, *arguments, **options):
        """What the app saw."""
        answer = self.get(*arguments, **options)
        assert answer.startswith("HTTP/1.1 101 Switching Protocols\n\nHTTP/1.1 200 "), answer
        return json.loads(answer.rpartition("\n\n")[2])


@pytest.fixture
def funnelled(world):
    start_mirror(world.sidecar.box)
    made = Funnelled(world)
    made.wait("http://NAME:80/status/204", "")
    return made


def test_https_from_the_internet(funnelled):
    """The app sees the caller's address, that it is Funnel, and nobody's identity."""
    for family in (0, 1):
        seen = headers(funnelled.seen("NAME:443", family=family))
        assert seen["x-forwarded-for"] == "203.0.113.7"
        assert seen["x-forwarded-proto"] == "https"
        assert seen["tailscale-funnel-request"] == "?1"
        assert not [name for name in seen if name.startswith("tailscale-user")]
    seen = headers(funnelled.seen("NAME:443", source="[2001:db8::7]:50000"))
    assert seen["x-forwarded-for"] == "2001:db8::7"


def test_what_a_client_forges(funnelled):
    """Names of people, a tailnet address as the source, another spelling of the target."""
    laptop = funnelled.world.laptop.addresses()[0]
    seen = headers(
        funnelled.seen(
            "NAME:443",
            "Tailscale-User-Login: root@example.com",
            "tailscale_user_login: root@example.com",
            "Tailscale-Funnel-Request: ?0",
            "X-Forwarded-For: 1.1.1.1",
            source=f"{laptop}:1",
        )
    )
    assert seen["x-forwarded-for"] == laptop
    assert seen["tailscale-funnel-request"] == "?1"
    assert not [name for name in seen if "user" in name and name != "user-agent"]
    mine = json.loads(funnelled.fetch("https://NAME/x", "-H", "Tailscale-Funnel-Request: ?1"))
    assert "tailscale-funnel-request" not in headers(mine)


def test_tcp_from_the_internet(funnelled):
    page = funnelled.world.sidecar_app.page
    request = "GET / HTTP/1.0\r\n\r\n"
    assert page in funnelled.bring("NAME:8443", request, tls=False)
    assert page in funnelled.bring("NAME:10000", request)


@pytest.mark.parametrize(
    ("source", "target", "status", "text"),
    [
        ("", "NAME:443", 400, "Tailscale-Ingress-Src header not set"),
        ("203.0.113.7", "NAME:443", 400, "Tailscale-Ingress-Src header invalid; want ip:port"),
        ("evil:1", "NAME:443", 400, "Tailscale-Ingress-Src header invalid; want ip:port"),
        (SOURCE, "", 400, "Tailscale-Ingress-Target header not set"),
        (SOURCE, "NAME", 400, "Tailscale-Ingress-Target header invalid; want host:port"),
        (SOURCE, "NAME:x", 400, "Tailscale-Ingress-Target header invalid; want host:port"),
        (SOURCE, "NAME:443x", 400, "Tailscale-Ingress-Target header invalid; want host:port"),
        (SOURCE, "a:b:443", 400, "Tailscale-Ingress-Target header invalid; want host:port"),
        (SOURCE, "NAME:444", 403, "denied"),
        (SOURCE, "NAME:22", 403, "denied"),
        (SOURCE, "other.example:443", 403, "denied"),
        (SOURCE, "x" * 300 + ":443", 400, "Tailscale-Ingress-Target header invalid"),
    ],
)
def test_what_is_refused(funnelled, source, target, status, text):
    """With the official words, and the app hears nothing of it."""
    answer = funnelled.get(target, source=source, tls=False)
    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    assert text in answer


def test_another_site_of_the_port_stays_private(funnelled):
    """The ingress node names a funnelled name, and its client asks for another one by SNI."""
    answer = funnelled.get("NAME:443", name="other.example")
    assert "SSL" in answer or "EOF" in answer or "Connection" in answer
    assert '"headers"' not in answer


@pytest.mark.parametrize("trusted", ["tag:ingress", "sidecar", "100.64.9.9", "other.example.com"])
def test_who_is_not_named_brings_nothing(world, trusted):
    start_mirror(world.sidecar.box)
    made = Funnelled(world, trusted=trusted)
    made.wait("http://NAME:80/status/204", "")
    answer = made.get("NAME:443", tls=False)
    assert answer.startswith("HTTP/1.1 403 ")
    assert "denied; no ingress cap" in answer


@pytest.mark.parametrize("trusted", ["100.64.0.1,ADDRESS", "LAPTOP.tailnet.lab", "x,laptop"])
def test_who_is_named(world, trusted):
    start_mirror(world.sidecar.box)
    full = world.laptop.status()["Self"]["DNSName"]
    trusted = trusted.replace("ADDRESS", world.laptop.addresses()[1])
    made = Funnelled(world, trusted=trusted.replace("LAPTOP.tailnet.lab", full))
    made.wait("http://NAME:80/status/204", "")
    assert headers(made.seen("NAME:443"))["tailscale-funnel-request"] == "?1"


def test_the_configuration_decides(funnelled):
    """AllowFunnel goes and comes; control hears of it."""
    closed = {**CONFIG, "AllowFunnel": {"${TS_CERT_DOMAIN}:443": False}}
    funnelled.write(closed)
    wait_for(lambda: " 403 " in funnelled.get(tls=False), 20, "the Funnel to close")
    assert headers(json.loads(funnelled.fetch("https://NAME/x")))["x-forwarded-proto"] == "https"
    funnelled.write(CONFIG)
    wait_for(lambda: " 101 " in funnelled.get(), 20, "the Funnel to open")


def test_without_anybody_to_trust(world):
    """Health says what to allow."""
    made = Funnelled(world, trusted="")
    wait_for(
        lambda: any("Funnel not available" in line for line in made.node.status()["Health"]),
        20,
        "health",
    )
    assert "denied; no ingress cap" in made.get(tls=False)


def test_bytes_before_the_answer(funnelled):
    """The official node loses them; ours ends the connection, so that nobody relies on them."""
    address, _, port = funnelled.peerapi()
    script = (
        "import socket\n"
        f"s = socket.create_connection(({address!r}, {port})); s.settimeout(10)\n"
        f"s.sendall(b'POST /v0/ingress HTTP/1.1\\r\\nHost: peer\\r\\nTailscale-Ingress-Src: {SOURCE}\\r\\n"
        f"Tailscale-Ingress-Target: {funnelled.name}:8443\\r\\n\\r\\nGET / HTTP/1.0\\r\\n\\r\\n')\n"
        "try:\n    print(s.recv(100))\n"
        "except ConnectionError:\n    print(b'')\n"
    )
    assert funnelled.world.laptop.box.run(PYTHON, "-c", script).stdout == "b''\n"


def test_a_flood_of_silent_callers(funnelled):
    """Each is let in and says nothing: peers and further callers are served, and all of them go."""
    address, _, port = funnelled.peerapi()
    script = (
        "import socket, sys\n"
        "held = []\n"
        "for i in range(600):\n"
        f"    s = socket.create_connection(({address!r}, {port}), 10)\n"
        f"    s.sendall(b'POST /v0/ingress HTTP/1.1\\r\\nHost: peer\\r\\nTailscale-Ingress-Src: {SOURCE}\\r\\n"
        f"Tailscale-Ingress-Target: {funnelled.name}:443\\r\\n\\r\\n')\n"
        "    head = s.recv(12)\n"
        "    if head == b'HTTP/1.1 101': held.append(s)\n"
        "print('held', len(held), flush=True)\n"
        "for s in held:\n"
        "    s.settimeout(60)\n"
        "    try:\n"
        "        while s.recv(100): pass\n"
        "    except ConnectionError:\n        pass\n"
        "print('ended', flush=True)\n"
    )
    process = funnelled.world.laptop.box.start(PYTHON, "-c", script, log="flood")
    process.wait_text("held 600", 60)
    assert headers(funnelled.seen("NAME:443"))["tailscale-funnel-request"] == "?1"
    assert funnelled.fetch("http://NAME:80/status/204") == ""
    assert json.loads(funnelled.fetch("https://NAME/x"))
    process.wait_text("ended", 60)


def test_a_killed_process_takes_no_more_than_its_connections(funnelled):
    for _ in range(3):
        os.kill(funnelled.services_pid(), signal.SIGKILL)
        wait_for(lambda: " 101 " in funnelled.get(), 20, "the next process")
    assert headers(funnelled.seen("NAME:443"))["tailscale-funnel-request"] == "?1"


def test_an_open_connection_ends_with_the_funnel(funnelled):
    """A caller that keeps its connection gets nothing more when AllowFunnel goes."""
    address, _, port = funnelled.peerapi()
    authority = funnelled.take_authority()
    script = (
        "import socket, ssl, sys\n"
        f"s = socket.create_connection(({address!r}, {port})); s.settimeout(20)\n"
        f"s.sendall(b'POST /v0/ingress HTTP/1.1\\r\\nHost: peer\\r\\nTailscale-Ingress-Src: {SOURCE}\\r\\n"
        f"Tailscale-Ingress-Target: {funnelled.name}:443\\r\\n\\r\\n')\n"
        "while not s.recv(1, socket.MSG_PEEK): pass\n"
        "head = b''\n"
        "while not head.endswith(b'\\r\\n\\r\\n'): head += s.recv(1)\n"
        "c = ssl.create_default_context(cafile=sys.argv[1])\n"
        f"s = c.wrap_socket(s, server_hostname={funnelled.name!r})\n"
        "for line in sys.stdin:\n"
        f"    s.sendall(b'GET /status/204 HTTP/1.1\\r\\nHost: {funnelled.name}\\r\\n\\r\\n')\n"
        "    print(s.recv(4096).split(b'\\r\\n')[0].decode(), flush=True)\n"
    )
    caller = funnelled.world.laptop.box.start(PYTHON, "-c", script, authority, log="caller")
    caller.write("\n")
    caller.wait_text("HTTP/1.1 204", 20)
    funnelled.write({**CONFIG, "AllowFunnel": {}})
    wait_for(lambda: " 403 " in funnelled.get(tls=False), 20, "the Funnel to close")
    caller.write("\n")
    caller.wait_text("HTTP/1.1 404", 20)
    caller.kill()


def test_plain_http_is_for_proofs_of_acme_alone(funnelled):
    """Port 80 serves peers; the internet gets 404 there, and one answer a connection."""
    for path in ("/", "/hello", "/.well-known/acme-challenge/x", "/.well-known/../"):
        request = f"GET {path} HTTP/1.1\r\nHost: {funnelled.name}\r\n\r\n"
        answer = funnelled.bring("NAME:80", request * 2, tls=False)
        assert answer.startswith("HTTP/1.1 101 Switching Protocols\n\nHTTP/1.1 404 "), answer
        assert answer.count("HTTP/1.1 404") == 1
    assert "403" in funnelled.bring("nobody.tail.lab:80", "GET / HTTP/1.1\r\n\r\n", tls=False)
