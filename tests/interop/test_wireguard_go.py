# SPDX-License-Identifier: BSD-3-Clause
"""Our WireGuard core against wireguard-go, both ways.

    ┌── namespace ours ────────────┐            ┌── namespace go ──────────────┐
    │ wg_node (tests/tools)        │            │ wireguard-go                 │
    │ TUN wg0  10.77.0.1, fd77::1  │            │ TUN wgN  10.77.0.2, fd77::2  │
    │ veth     192.0.2.1  fd00::1  ├────────────┤ veth     192.0.2.2  fd00::2  │
    └──────────────────────────────┘            └──────────────────────────────┘

wg_node sends to where the last authentic datagram came from, as wireguard-go does.
The namespaces need root.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from lab.build import TOOLS
from lab.peers import peer
from lab.userspace_wireguard import key_pair
from lab.waiting import wait_for

WG_NODE = TOOLS / "wg_node"
OURS, GO = "10.77.0.1", "10.77.0.2"
OURS6, GO6 = "fd77::1", "fd77::2"
REKEY_AFTER = 120
counter = iter(range(1000))


def run(*command, check=True):
    return subprocess.run([str(c) for c in command], check=check, capture_output=True, text=True)


class Pair:
    """The two namespaces; leave by close()."""

    def __init__(self, psk=None):
        tag = f"{os.getpid() % 10000}x{next(counter)}"
        self.ours_ns, self.go_ns, self.go_tun = f"wo{tag}", f"wg{tag}", f"wg{tag}"
        self.ours_key, self.ours_public = key_pair()
        self.go_key, self.go_public = key_pair()
        self.psk = psk
        self.node = self.go = None
        self.socket_path = Path(f"/var/run/wireguard/{self.go_tun}.sock")
        try:
            self._build(tag)
        except BaseException:
            self.close()
            raise

    def _build(self, tag):
        for ns in (self.ours_ns, self.go_ns):
            run("ip", "netns", "add", ns)
            run("ip", "-n", ns, "link", "set", "lo", "up")
        run(
            "ip",
            "-n",
            self.ours_ns,
            "link",
            "add",
            "veth",
            "type",
            "veth",
            "peer",
            "name",
            "veth",
            "netns",
            self.go_ns,
        )
        for ns, host in ((self.ours_ns, 1), (self.go_ns, 2)):
            run("ip", "-n", ns, "addr", "add", f"192.0.2.{host}/24", "dev", "veth")
            run("ip", "-n", ns, "addr", "add", f"fd00::{host}/64", "dev", "veth", "nodad")
            run("ip", "-n", ns, "link", "set", "veth", "up")
        self.start_go()
        self.start_ours()

    def inside(self, ns, *command):
        return ["nsenter", f"--net=/run/netns/{ns}", *[str(c) for c in command]]

    def start_ours(self, endpoint="192.0.2.2:51820"):
        self.node = subprocess.Popen(
            self.inside(
                self.ours_ns,
                WG_NODE,
                "wg0",
                51820,
                self.ours_key,
                self.go_public,
                endpoint,
                self.psk or "-",
                f"{GO}/32",
                f"{GO6}/128",
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert json.loads(self.node.stdout.readline())["ok"]
        run("ip", "-n", self.ours_ns, "addr", "add", f"{OURS}/24", "dev", "wg0")
        run("ip", "-n", self.ours_ns, "addr", "add", f"{OURS6}/64", "dev", "wg0", "nodad")
        run("ip", "-n", self.ours_ns, "link", "set", "wg0", "mtu", 1280, "up")

    def stop_ours(self):
        if self.node:
            self.node.stdin.close()
            code = self.node.wait(10)
            self.node = None
            assert code == 0  # sanitizers exit otherwise

    def start_go(self):
        wireguard = peer("wireguard", "wireguard-go-")
        self.go = subprocess.Popen(
            self.inside(self.go_ns, "env", "LOG_LEVEL=error", wireguard, "-f", self.go_tun),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.socket_path.exists, 10, "wireguard-go's socket")
        psk = f"preshared_key={self.psk}\n" if self.psk else ""
        self.uapi(
            "set=1\n"
            f"private_key={self.go_key}\nlisten_port=51820\n"
            f"public_key={self.ours_public}\n{psk}endpoint=192.0.2.1:51820\n"
            f"allowed_ip={OURS}/32\nallowed_ip={OURS6}/128\n\n"
        )
        run("ip", "-n", self.go_ns, "addr", "add", f"{GO}/24", "dev", self.go_tun)
        run("ip", "-n", self.go_ns, "addr", "add", f"{GO6}/64", "dev", self.go_tun, "nodad")
        run("ip", "-n", self.go_ns, "link", "set", self.go_tun, "mtu", 1280, "up")

    def stop_go(self):
        if self.go:
            self.go.terminate()
            self.go.wait(10)
            self.go = None
            self.socket_path.unlink(missing_ok=True)

    def uapi(self, text):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.socket_path))
            s.sendall(text.encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                answer += s.recv(65536)
        fields = dict(line.split("=", 1) for line in answer.decode().split("\n") if line)
        assert fields["errno"] == "0", answer
        return fields

    def ask(self, command):
        self.node.stdin.write(command + "\n")
        self.node.stdin.flush()
        return json.loads(self.node.stdout.readline())

    def ping(self, ns, to, count=3, interval=0.05, size=56, timeout=1):
        result = run(
            *self.inside(
                ns,
                "ping",
                "-n",
                "-M",
                "do",
                "-c",
                count,
                "-i",
                interval,
                "-W",
                timeout,
                "-s",
                size,
                to,
            ),
            check=False,
        )
        return int(re.search(r"(\d+) received", result.stdout).group(1))

    def ping_ours(self, **options):
        """From wireguard-go's side to ours."""
        return self.ping(self.go_ns, OURS, **options)

    def ping_go(self, **options):
        return self.ping(self.ours_ns, GO, **options)

    def close(self):
        try:
            self.stop_ours()
        finally:
            self.stop_go()
            for ns in (self.ours_ns, self.go_ns):
                run("ip", "netns", "del", ns, check=False)


@pytest.fixture
def pair():
    p = Pair()
    yield p
    p.close()


def test_we_initiate(pair):
    assert pair.ping_go() == 3
    stats = pair.ask("stats")
    assert stats["initiations_sent"] == 1 and stats["received_response"] == 1
    assert stats["received_initiation"] == 0
    assert pair.ping(pair.ours_ns, GO6) == 3
    assert pair.ping_ours() == 3
    assert pair.ping(pair.go_ns, OURS6) == 3
    assert stats["source"] == "192.0.2.2:51820"


def test_wireguard_go_initiates(pair):
    assert pair.ping_ours() == 3
    stats = pair.ask("stats")
    assert stats["received_initiation"] == 1 and stats["responses_sent"] == 1
    assert stats["initiations_sent"] == 0 and stats["sessions"] == 1
    assert pair.ping_go() == 3
    assert pair.ping(pair.ours_ns, GO6) == 3


def test_both_initiate_at_once(pair):
    results = {}
    threads = [
        threading.Thread(
            target=lambda f=f: results.update({f.__name__: f(count=100, interval=0.01)})
        )
        for f in (pair.ping_go, pair.ping_ours)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"ping_go": 100, "ping_ours": 100}


@pytest.mark.parametrize("initiator", ["ours", "go"])
def test_preshared_key(initiator):
    pair = Pair(psk=secrets.token_bytes(32).hex())
    try:
        assert (pair.ping_go if initiator == "ours" else pair.ping_ours)() == 3
    finally:
        pair.close()


def test_wrong_preshared_key_makes_no_session(pair):
    pair.uapi(
        f"set=1\npublic_key={pair.ours_public}\npreshared_key={secrets.token_bytes(32).hex()}\n\n"
    )
    assert pair.ping_go(count=1) == 0
    stats = pair.ask("stats")
    assert not stats["has_session"] and stats["dropped_forged"] == 1


def test_every_size_up_to_the_mtu(pair):
    assert pair.ping_go() == 3
    for size in [0, 1, 2, 3, 4, 15, 16, 17, 100, 1000, *range(1236, 1253)]:
        assert pair.ping_go(count=1, size=size) == 1, size
        assert pair.ping_ours(count=1, size=size) == 1, size
    assert pair.ask("stats")["dropped_inner"] == 0


def test_a_megabyte_each_way(pair):
    code = (
        "import socket, hashlib\n"
        "s = socket.create_server(('', 9))\n"
        "print('up', flush=True)\n"
        "c, _ = s.accept()\n"
        "d = b''\n"
        "while len(d) < 1 << 20: d += c.recv(65536)\n"
        "c.sendall(d[::-1])\n"
    )
    with subprocess.Popen(
        pair.inside(pair.go_ns, "/usr/bin/python3", "-c", code), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout.readline() == "up\n"
            client = (
                "import socket, os\n"
                "d = os.urandom(1 << 20)\n"
                f"c = socket.create_connection(('{GO}', 9), 20)\n"
                "c.sendall(d)\n"
                "e = b''\n"
                "while len(e) < len(d): e += c.recv(65536)\n"
                "assert e == d[::-1]\n"
            )
            run(*pair.inside(pair.ours_ns, "/usr/bin/python3", "-c", client))
        finally:
            server.kill()  # the end of the block waits for the process


def test_we_restart_and_meet_again(pair):
    assert pair.ping_go() == 3
    pair.stop_ours()
    pair.start_ours()
    # It sends into the session that we lost: we learn it, and ask for a new one.
    assert pair.ping_ours(count=1) == 0
    assert pair.ask("stats")["dropped_unknown_index"] >= 1
    assert pair.ask("initiate")["ok"]
    wait_for(lambda: pair.ask("stats")["has_session"], 2, "a new session")
    assert pair.ping_ours() == 3


def test_wireguard_go_restarts(pair):
    assert pair.ping_go() == 3
    pair.stop_go()
    pair.start_go()
    assert pair.ping_ours() == 3  # it initiates
    assert pair.ping_go() == 3


def test_roaming(pair):
    def all_arrive():
        # The kernel may still look for a neighbour that moved, and drop what waits for it.
        wait_for(lambda: pair.ping_go() == 3, 10, "three answers of three")

    assert pair.ping_go() == 3
    # wireguard-go moves: its next packet comes from another address, and ours go there.
    run("ip", "-n", pair.go_ns, "addr", "del", "192.0.2.2/24", "dev", "veth")
    run("ip", "-n", pair.go_ns, "addr", "add", "192.0.2.22/24", "dev", "veth")
    assert pair.ping_ours() >= 2
    assert pair.ask("stats")["source"] == "192.0.2.22:51820"
    all_arrive()
    # We move, and it follows.
    run("ip", "-n", pair.ours_ns, "addr", "del", "192.0.2.1/24", "dev", "veth")
    run("ip", "-n", pair.ours_ns, "addr", "add", "192.0.2.11/24", "dev", "veth")
    all_arrive()
    assert pair.uapi("get=1\n\n")["endpoint"] == "192.0.2.11:51820"
    # To the other family.
    assert pair.ask("endpoint [fd00::2]:51820")["ok"]
    all_arrive()
    assert pair.ask("stats")["source"] == "[fd00::2]:51820"
    assert pair.ask("stats")["initiations_sent"] == 1  # all in one session


def initiation_for(public):
    """A handshake initiation with a valid mac1 and an otherwise random content."""
    message = b"\x01\0\0\0" + secrets.token_bytes(112)
    key = hashlib.blake2s(b"mac1----" + bytes.fromhex(public)).digest()
    return message + hashlib.blake2s(message, digest_size=16, key=key).digest() + bytes(16)


FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 51820))
message, burst, pause = bytes.fromhex(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
while True:
    for _ in range(burst):
        try: s.send(message)
        except OSError: pass
    time.sleep(pause)
"""


@contextlib.contextmanager
def flood(pair, namespace, address, public, burst, pause):
    process = subprocess.Popen(
        pair.inside(
            namespace,
            "/usr/bin/python3",
            "-c",
            FLOOD,
            address,
            initiation_for(public).hex(),
            burst,
            pause,
        )
    )
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.alone
def test_wireguard_go_under_load_gives_us_a_cookie(pair):
    # An eighth of its queue of 1,024 is load, and stays so for a second.
    with flood(pair, pair.ours_ns, "192.0.2.2", pair.go_public, 400, 0.2):
        time.sleep(0.5)  # wireguard-go does not show whether it is under load
        pair.ping_go(count=1)
        assert pair.ask("stats")["received_cookie"] == 1
        assert not pair.ask("stats")["has_session"]
        # The next attempt, 5 s later, carries mac2.
        wait_for(lambda: pair.ask("stats")["has_session"], 6, "a session in the flood")
        assert pair.ask("stats")["initiations_sent"] == 2
        assert pair.ping_go() == 3


@pytest.mark.alone
def test_we_under_load_give_wireguard_go_a_cookie(pair):
    # From wireguard-go's own address, so that it is asked although others would not be.
    with flood(pair, pair.go_ns, "192.0.2.1", pair.ours_public, 16, 0.001):
        wait_for(lambda: pair.ask("stats")["cookie_sent"] > 1000, 10, "load")
        pair.ping_ours(count=1)
        while pair.ask("stats")["has_session"]:  # a free place, by chance: anew
            pair.stop_go()
            pair.stop_ours()
            pair.start_go()
            pair.start_ours()
            wait_for(lambda: pair.ask("stats")["cookie_sent"] > 1000, 10, "load")
            pair.ping_ours(count=1)
        # The next attempt, 5 s later, carries mac2.
        wait_for(lambda: pair.ask("stats")["has_session"], 6, "a session in the flood")
        assert pair.ping_ours() == 3
        assert pair.ask("stats")["received_initiation"] == 1


@pytest.mark.slow
def test_rekey_without_loss():
    """Both ways at once, 130 s: sessions are renewed under traffic and no packet is lost."""
    pairs = {"ours": Pair(), "go": Pair()}
    try:
        assert pairs["ours"].ping_go() == 3
        assert pairs["go"].ping_ours() == 3
        # By count, so that ping waits for the last answer too, however slow the machine is.
        interval = 0.02
        count = round((REKEY_AFTER + 10) / interval)
        pings = [
            subprocess.Popen(
                p.inside(p.ours_ns, "ping", "-n", "-i", interval, "-c", count, "-W", 5, "-q", GO),
                stdout=subprocess.PIPE,
                text=True,
            )
            for p in pairs.values()
        ]
        for ping in pings:
            summary = ping.communicate()[0]
            assert f"{count} packets transmitted, {count} received" in summary, summary
        ours, go = (p.ask("stats") for p in pairs.values())
        assert ours["sessions"] == 2 and ours["initiations_sent"] == 2
        assert (
            go["sessions"] == 2 and go["initiations_sent"] == 0 and go["received_initiation"] == 2
        )
    finally:
        for p in pairs.values():
            p.close()
