# SPDX-License-Identifier: BSD-3-Clause
"""ACME through HTTPS_PROXY, which is the only way out of the sidecar's box; NO_PROXY."""

import json
from pathlib import Path

import pytest
from lab.cert_site import Site
from lab.proxies import Tinyproxy
from lab.waiting import wait_for

PASSWORD = "s3cret-of-the-proxy"


@pytest.fixture
def site(lab):
    return Site(lab)


def test_the_only_way_out(site):
    """The order goes by the proxy; its password is in no log, status, environment or stored file."""
    proxy = Tinyproxy(site.lab.box("proxy"), "app", PASSWORD)
    proxy.only_way_out_of(site.node.box)
    pebble = site.pebble()
    variables = {"HTTPS_PROXY": f"http://app:{PASSWORD}@{proxy.address}"}
    site.serve({**pebble.environment(), "TS_ACME_CHALLENGE": "tls-alpn-01", **variables})
    site.wait_certificate()
    assert f"{pebble.box.name}.lab:14000" in proxy.targets()
    assert pebble.issued() == 1
    assert PASSWORD not in site.node.process.text()
    assert PASSWORD not in json.dumps(site.node.status())
    for pid in site.node.processes():
        for name in ("environ", "cmdline"):
            assert PASSWORD.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    for path in site.node.state.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


def test_a_proxy_that_refuses(site):
    """Health names it; the authority is asked for nothing, and no pause is stored."""
    proxy = Tinyproxy(site.lab.box("proxy"), "app", PASSWORD)
    pebble = site.pebble()
    more = {**pebble.environment(), **site.names.environment(), "NO_PROXY": "control.lab"}
    site.serve({**more, "HTTPS_PROXY": f"http://app:wr0ng@{proxy.address}"})
    site.wait_problem(f"HTTPS_PROXY {proxy.address}: it refuses the user and password")
    assert "wr0ng" not in site.node.process.text() + site.health()
    assert pebble.asked("order-plz") == 0
    assert not (site.node.state / "pillion-acme.json").exists()
    # The right password is tried at once, after a restart.
    site.environment = {
        "TS_SERVE_CONFIG": str(site.served.file),
        **more,
        "HTTPS_PROXY": f"http://app:{PASSWORD}@{proxy.address}",
    }
    site.restart()
    site.wait_certificate()
    assert proxy.targets()
    # One that is away.
    site.node.stop()
    for path in (site.node.state / "certs").iterdir():
        path.unlink()
    proxy.process.kill()
    site.node.start(None, site.environment)
    site.node.wait_running()
    site.wait_problem(f"HTTPS_PROXY {proxy.address}")


def test_no_proxy(site):
    proxy = Tinyproxy(site.lab.box("proxy"))
    pebble = site.pebble()
    site.serve(
        {
            **pebble.environment(),
            **site.names.environment(),
            "HTTPS_PROXY": f"http://{proxy.address}",
            "NO_PROXY": ".lab",
        }
    )
    site.wait_certificate()
    assert proxy.targets() == []


LIAR = """
import socket, sys, threading
kind = sys.argv[1]
listener = socket.create_server(("0.0.0.0", 8889))
print("serving", flush=True)
def serve(c):
    try:
        while b"\\r\\n\\r\\n" not in c.recv(4096): pass
        if kind == "endless":
            c.sendall(b"HTTP/1.1 200 OK\\r\\n")
            while True: c.sendall(b"X: " + b"x" * 1000 + b"\\r\\n")
        elif kind == "early":
            c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\nbytes of nobody")
        elif kind == "garbage":
            c.sendall(b"SSH-2.0-x\\r\\n\\r\\n")
        elif kind == "close":
            c.close()
    except OSError:
        pass
while True:
    c, _ = listener.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"""


@pytest.mark.parametrize("kind", ["endless", "early", "garbage", "close"])
def test_a_hostile_proxy(site, kind):
    """The order fails with a reason; HTTPS by the node's own authority goes on."""
    box = site.lab.box("proxy")
    liar = box.start("python3", "-c", LIAR, kind, log="liar")
    liar.wait_text("^serving", 10)
    pebble = site.pebble()
    more = {**pebble.environment(), **site.names.environment(), "NO_PROXY": "control.lab"}
    site.serve({**more, "HTTPS_PROXY": f"http://{box.v4}:8889"})
    site.wait_problem(f"HTTPS_PROXY {box.v4}:8889")
    wait_for(lambda: site.served.services_pid(), 5, "the same process")
    assert "died" not in site.node.process.text()
