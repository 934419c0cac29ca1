# SPDX-License-Identifier: BSD-3-Clause
"""Many packets at once: what arrives is what was sent, with each offload and without it."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from lab import Control, Lab, Pillion, wait_for
from lab.network import PYTHON

MIB = 2**20

# PORT BYTES: what a connection brings, as a hash.
RECEIVE = """
import hashlib, socket, sys
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    digest, count = hashlib.sha256(), 0
    while data := connection.recv(1 << 16):
        digest.update(data)
        count += len(data)
    print("got", count, digest.hexdigest(), flush=True)
"""

# ADDRESS PORT BYTES: pieces of all lengths; prints the hash.
SEND = """
import hashlib, random, socket, sys
left, digest = int(sys.argv[3]), hashlib.sha256()
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
generator = random.Random(left)
while left:
    piece = generator.randbytes(min(left, generator.choice([1, 700, 1240, 5000, 60000, 200000])))
    connection.sendall(piece)
    digest.update(piece)
    left -= len(piece)
connection.close()
print(digest.hexdigest())
"""

# PORT: counts whole datagrams of all lengths.
RECEIVE_UDP = """
import socket, sys
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", int(sys.argv[1])))
print("listening", flush=True)
seen = set()
while True:
    data = udp.recv(65536)
    number, length = map(int, data.split(b" ", 2)[:2])
    if len(data) != length:
        print("broken", number, length, len(data), flush=True)
    seen.add(number)
    print("seen", len(seen), flush=True)
"""

# ADDRESS PORT: repeats 200 datagrams, some of them one length, until killed.
SEND_UDP = """
import socket, sys, time
udp = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
while True:
    for number in range(200):
        length = 900 if number % 50 else 30 + number
        udp.sendto(f"{number} {length} ".encode().ljust(length, b"x"), (sys.argv[1], int(sys.argv[2])))
    time.sleep(0.05)
"""


class Pair:
    """Two nodes that reach each other directly."""

    def __init__(self, lab, disable):
        control = Control(lab.box("control"))
        environment = {"PILLION_DISABLE": disable} if disable else {}
        self.nodes = [Pillion(lab.box(name), control) for name in ("a", "b")]
        for node in self.nodes:
            node.start(control.auth_key(), environment)
            node.wait_running()
        self.a, self.b = self.nodes
        self.a.wait_knows(self.b)
        wait_for(self.answers, 30, "a ping")
        self.a.wait_path(self.b, "direct")
        self.receiver = self.b.box.start(PYTHON, "-c", RECEIVE, 7000, log="receive")
        self.receiver.wait_text("listening", 20)

    def answers(self):
        target = self.b.addresses()[0]
        return self.a.box.run("ping", "-c1", "-W2", target, check=False).returncode == 0

    def begin(self, family, size):
        target = self.b.addresses()[family]
        return self.a.box.start(PYTHON, "-c", SEND, target, 7000, size, log=f"send{family}")

    def check(self, sender, size):
        sender.wait(120)
        digest = sender.text().strip().splitlines()[-1]
        self.receiver.wait_text(f"got {size} {digest}", 20)


@pytest.fixture
def make():
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "lab") as lab:
        yield lambda disable="": Pair(lab, disable)


@pytest.mark.parametrize(
    "disable",
    ["", "tun-headers", "tun-tso", "tun-uso", "udp-gso", "udp-gro", "tun-headers,udp-gso,udp-gro"],
)
def test_what_arrives(make, disable):
    pair = make(disable)
    for family in (0, 1):
        pair.check(pair.begin(family, 12 * MIB), 12 * MIB)
        log = f"udp{family}"
        receiver = pair.b.box.start(PYTHON, "-c", RECEIVE_UDP, 7100 + family, log=log)
        receiver.wait_text("listening", 20)
        target = pair.b.addresses()[family]
        sender = pair.a.box.start(PYTHON, "-c", SEND_UDP, target, 7100 + family, log="s" + log)
        receiver.wait_text("seen 200", 30)
        sender.kill()
        assert "broken" not in receiver.text()


def test_engine_killed_in_a_burst(make):
    """The connection goes on, and nothing of it is lost or changed."""
    pair = make()
    size = 64 * MIB
    sender = pair.begin(0, size)
    for node in (pair.b, pair.a):
        before = node.engine_pid()
        os.kill(before, signal.SIGKILL)
        wait_for(lambda n=node, b=before: _other_engine(n, b), 20, "another engine")
    pair.check(sender, size)


def test_offloads_of_the_device_change(make):
    """EIO for a device without checksum offload, unmerged and merged datagrams: nothing is lost or doubled."""
    pair = make()
    size = 48 * MIB
    senders = [pair.begin(family, size) for family in (0, 1)]
    toggled = 0
    while any(sender.running() for sender in senders):
        for switch in ("off", "on"):
            for node in pair.nodes:
                for feature in ("tx", "gso", "gro", "tx-udp-segmentation", "rx-udp-gro-forwarding"):
                    node.box.run("ethtool", "-K", "eth0", feature, switch)
        toggled += 1
    for sender in senders:
        pair.check(sender, size)
    assert toggled > 1


def _other_engine(node, before):
    try:
        return node.engine_pid() != before
    except AssertionError:
        return False
