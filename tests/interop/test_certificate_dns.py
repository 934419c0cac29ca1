# SPDX-License-Identifier: BSD-3-Clause
"""A hostile DNS server, at which the record of a challenge is to be written (RFC 2136)."""

import pytest
from lab.cert_site import Site
from lab.certs import KEY_NAME, SECRET
from lab.network import PYTHON
from lab.waiting import wait_for

SERVER = """
import socket, struct, sys, threading, time
kind = sys.argv[1]
def take(c, n):
    got = b""
    while len(got) < n:
        piece = c.recv(n - len(got))
        if not piece: raise OSError
        got += piece
    return got
def question(q):
    at = 12
    while q[at]: at += 1 + q[at]
    return q[12:at + 5]
def frame(m): return len(m).to_bytes(2, "big") + m
def head(q, flags=0x8580, counts=(1, 0, 0, 0)):
    return q[:2] + struct.pack("!HHHHH", flags, *counts)
def serve(c):
    try:
        while True:
            q = take(c, int.from_bytes(take(c, 2), "big"))
            asked = question(q)
            if kind == "silent": time.sleep(60)
            elif kind == "close": c.close(); return
            elif kind == "cut": c.sendall(frame(head(q) + asked)[:9]); c.close(); return
            elif kind == "truncated": c.sendall(frame(head(q, 0x8780) + asked))
            elif kind == "wrong-id":
                m = head(q) + asked
                c.sendall(frame(bytes([m[0] ^ 1]) + m[1:]))
            elif kind == "oversized":
                c.sendall(b"\\xff\\xff" + head(q, counts=(1, 65535, 65535, 65535)) + b"\\0" * 65523)
            elif kind == "loop":
                m = head(q, counts=(1, 1, 0, 0)) + asked
                c.sendall(frame(m + struct.pack("!H", 0xC000 | len(m)) + b"\\0" * 10))
            elif kind == "cname":
                one = struct.pack("!HHHIHH", 0xC00C, 5, 1, 1, 2, 0xC00C)
                c.sendall(frame(head(q, counts=(1, 5000, 0, 0)) + asked + one * 5000))
            elif kind == "garbage": c.sendall(frame(b"\\xff" * 500))
            elif kind == "empty": c.sendall(b"\\0\\0" * 1000); time.sleep(60)
            elif kind == "slow":
                for byte in frame(head(q) + asked): c.sendall(bytes([byte])); time.sleep(1)
            elif kind == "endless":
                while True: c.sendall(frame(head(q) + asked) * 1000)
    except OSError:
        pass
listener = socket.create_server(("0.0.0.0", 5353))
print("serving", flush=True)
while True:
    c, _ = listener.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"""

KINDS = [
    *["silent", "close", "cut", "truncated", "wrong-id", "oversized"],
    *["loop", "cname", "garbage", "empty", "slow", "endless"],
]


@pytest.fixture
def site(lab):
    return Site(lab)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_server(site, kind):
    """The order fails in time with a reason that names the server; nothing crashes, and no more is asked."""
    box = site.names.box
    box.start(PYTHON, "-c", SERVER, kind, log="hostile").wait_text("^serving", 10)
    pebble = site.pebble(environment={"PEBBLE_WFE_NONCEREJECT": "0"})
    more = {
        "TS_ACME_DNS_SERVER": f"{box.v4}:5353",
        "TS_ACME_DNS_KEY": f"{KEY_NAME}:{SECRET}",
    }
    site.serve({**pebble.environment(), **more})
    pid = wait_for(site.served.services_pid, 10, "services")
    site.wait_problem("DNS server", 40)
    assert site.served.services_pid() == pid
    assert (pebble.asked("order-plz"), pebble.issued()) == (1, 0)
    assert SECRET not in site.node.process.text()
