# SPDX-License-Identifier: BSD-3-Clause
"""Our relay by itself, and our client on it, over TLS on loopback. Needs neither root nor network.

relay_tool a ──TLS, pinned──▶ pillion-server derp ◀──TLS, pinned── relay_tool b
"""

import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest
from lab.build import BUILD
from lab.own_relay import LoopbackRelay
from lab.relay_tool import Tool
from lab.waiting import wait_for


@pytest.fixture
def start(tmp_path):
    """Starts relays and tools; all end with the test, and without a leak."""
    relays, tools = [], []

    class Start:
        def relay(self, *flags, **more):
            folder = tmp_path / f"relay{len(relays)}"
            folder.mkdir()
            relays.append(LoopbackRelay(folder, host="127.0.0.1", flags=flags, **more))
            return relays[-1]

        def tool(self, *arguments):
            tools.append(Tool(tmp_path, *arguments))
            return tools[-1]

    yield Start()
    for tool in tools:
        tool.quit()
    for relay in relays:
        if relay.process.poll() is None:
            relay.stop()


def test_the_map_it_writes_is_all_that_a_client_needs(start):
    """Address, ports and the hash of its certificate: no CA file."""
    relay = start.relay()
    a, b = (start.tool(relay.derp_map()) for _ in range(2))
    a.home(1)
    b.home(1)
    for data in (b"x", bytes(range(256)) * 256):
        assert a.send(1, b.key, data) == 0
        assert b.wait("packet 1 (.*) (.*)").groups() == (a.key, data.hex())
    wait_for(lambda: relay.metrics()["home_clients"] == 2, 5, "both to call it home")


def test_another_certificate_is_refused(start):
    relay, impostor = start.relay(), start.relay()
    derp_map = relay.derp_map()
    derp_map["Regions"]["1"]["Nodes"][0]["DERPPort"] = impostor.port
    a = start.tool(derp_map)
    a.say("home 1")
    assert "certificate" in a.wait("health 1 (.*)")[1]
    assert impostor.metrics()["clients"] == 0


def test_identity_survives_and_files_are_private(start):
    relay = start.relay()
    before = relay.derp_map()
    key = re.search("key=(nodekey:[0-9a-f]{64})", relay.log.read_text())[1]
    a = start.tool(before)
    a.home(1)
    relay.stop(signal.SIGKILL)
    a.wait("lost 1 home")
    relay.start()
    a.wait("ready 1 home")
    assert relay.derp_map() == before
    assert relay.log.read_text().count(key) == 2
    assert stat.S_IMODE(relay.state.stat().st_mode) == 0o700
    for file in relay.state.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = (relay.state / "relay.key").read_text()
    assert secret not in relay.log.read_text()
    # A key file that holds none is not replaced by a new identity.
    relay.stop()
    (relay.state / "relay.key").write_text("nonsense")
    done = subprocess.run(
        [str(a) for a in relay.arguments], check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert "holds no relay key" in done.stderr


def test_it_gave_up_what_it_does_not_need(start):
    """No capability, no way to regain one, and a list of system calls; also while it serves."""
    relay = start.relay()
    a, b = (start.tool(relay.derp_map()) for _ in range(2))
    a.home(1)
    b.home(1)
    assert a.send(1, b.key, b"x") == 0
    b.wait("packet 1 .*")
    status = Path(f"/proc/{relay.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_a_restart_is_announced(start):
    """SIGTERM: clients hear of it, and come back."""
    relay = start.relay()
    a = start.tool(relay.derp_map())
    a.home(1)
    relay.stop(signal.SIGTERM)
    a.wait("lost 1 home")
    relay.start()
    a.wait("ready 1 home")


PAGES = [
    ("GET", "/derp/probe", 200, "Access-Control-Allow-Origin: *"),
    ("HEAD", "/derp/latency-check", 200, ""),
    ("GET", "/generate_204", 204, "Cache-Control: no-cache"),
    ("GET", "/bootstrap-dns?q=x", 200, "Connection: close"),
    ("GET", "/healthz", 200, "ok"),
    ("GET", "/", 200, "relay"),
    ("GET", "/derp", 426, "Upgrade: DERP"),
    ("GET", "/other", 404, ""),
    ("POST", "/derp/probe", 405, "Allow: GET, HEAD"),
    ("POST", "/derp", 426, ""),
]


def test_pages(start):
    relay = start.relay()
    for method, path, status, text in PAGES:
        flags = ["-I"] if method == "HEAD" else ["-X", method]
        answer = relay.curl(path, *flags)
        assert answer.startswith(f"HTTP/1.1 {status} "), (method, path, answer)
        assert text in answer


@pytest.mark.parametrize(
    ("challenge", "echoed"),
    [
        ("ts_host.example:80", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("<x>", False),
    ],
)
def test_challenge(start, challenge, echoed):
    """What may stand in a header is echoed, and nothing else."""
    answer = start.relay().curl("/generate_204", "-H", f"X-Tailscale-Challenge: {challenge}")
    assert answer.startswith("HTTP/1.1 204 ")
    assert (f"X-Tailscale-Response: response {challenge}\n" in answer) is echoed
    assert ("X-Tailscale-Response" in answer) is echoed


def stun_request(transaction, software=b"tailnode", fingerprint=True):
    attributes = struct.pack(">HH", 0x8022, len(software)) + software if software else b""
    length = len(attributes) + (8 if fingerprint else 0)
    packet = struct.pack(">HHI", 1, length, 0x2112A442) + transaction + attributes
    if fingerprint:
        packet += struct.pack(">HHI", 0x8028, 4, zlib.crc32(packet) ^ 0x5354554E)
    return packet


def test_stun(start):
    """STUN requests of nodes are answered; other datagrams, and too many requests, are not."""
    relay = start.relay()
    transaction = b"123456789012"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(5)
        s.connect(("127.0.0.1", relay.stun_port))
        for bad in (
            b"",
            b"\0" * 40,
            stun_request(transaction, software=b"somebody"),
            stun_request(transaction, fingerprint=False),
            stun_request(transaction)[:-1],
        ):
            s.send(bad)
        s.send(stun_request(transaction))
        answer = s.recv(100)
        assert answer[:2] == b"\1\1"
        assert answer[8:20] == transaction
        port = struct.unpack(">H", answer[26:28])[0] ^ 0x2112
        assert port == s.getsockname()[1]
        began = time.monotonic()

        def limited():
            for _ in range(100):  # fewer than a socket's buffer holds
                s.send(stun_request(transaction))
            return relay.metrics()['stun_total{result="limited"}'] > 500

        wait_for(limited, 20, "the limit")
    metrics = relay.metrics()
    seconds = time.monotonic() - began
    assert metrics['stun_total{result="malformed"}'] == 5
    assert metrics['stun_total{result="answered"}'] <= 200 + 100 * seconds + 2


USAGE = [
    ([], "name or address", 1),
    (["--listen=nowhere"], "ADDRESS:PORT is required", 2),
    (["--hostname=a b"], "not a valid host name", 2),
    (["--ipv4=x"], "an IP address is required", 2),
    (["--region=70000"], "--region", 2),
    (["--certificate=/x", "--ipv4=127.0.0.1"], "are given together", 2),
    (["--plain", "--certificate=/x", "--key=/x"], "the proxy needs the certificate", 2),
    (["--public-port=0"], "--public-port", 2),
    (["--verify-url=ftp://x", "--ipv4=127.0.0.1"], "verification by ftp://x", 1),
    (["--verify-fail-open", "--ipv4=127.0.0.1"], "without --verify-url", 2),
    (["--verify-ca-file=/x", "--ipv4=127.0.0.1"], "without --verify-url", 2),
    (["--statdir=x"], "--statedir", 2),
]


@pytest.mark.parametrize(("flags", "text", "status"), USAGE)
def test_usage(tmp_path, flags, text, status):
    """Each wrong flag is reported with its reason."""
    done = subprocess.run(
        [BUILD / "pillion-server", "derp", f"--statedir={tmp_path}/x", *flags],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ},
    )
    assert (done.returncode, text in done.stderr) == (status, True), done.stderr


def test_names_for_who_has_no_dns(start, tmp_path):
    """Its own name and the names it resolves; a name without an address is left out and logged."""
    own = tmp_path / "own"
    own.mkdir()
    host = socket.gethostname()
    relay = LoopbackRelay(
        own, host="derp.test", flags=[f"--bootstrap-dns-names={host},nowhere.invalid"]
    )
    try:

        def answer():
            return json.loads(relay.curl("/bootstrap-dns?q=derp.test").split("\n\n", 1)[1])

        assert answer()["derp.test"] == ["127.0.0.1"]
        assert "nowhere.invalid" not in answer()
        wait_for(lambda: "nowhere.invalid has no address" in relay.log.read_text(), 60, "a word")
        assert "SIGSYS" not in relay.log.read_text()
    finally:
        relay.stop()


def test_its_map_knows_port_80(start):
    """CanPort80 only where there is a listener on that port."""
    node = start.relay().derp_map()["Regions"]["1"]["Nodes"][0]
    assert not node.get("CanPort80", False) and node["RegionID"] == 1
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 80)) == 0:
            pytest.fail("something answers on port 80 of this machine")
    relay = start.relay("--http=127.0.0.1:80")
    assert relay.derp_map()["Regions"]["1"]["Nodes"][0]["CanPort80"] is True
    done = subprocess.run(
        ["curl", "-si", "--max-time", "5", "http://127.0.0.1/generate_204"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("HTTP/1.1 204")
