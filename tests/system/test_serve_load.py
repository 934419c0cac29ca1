# SPDX-License-Identifier: BSD-3-Clause
"""Served ports under load and faults: many clients, slow ones, processes that die, changes."""

import re

import pytest
from lab.build import build_folder
from lab.network import PYTHON
from lab.served import CONFIG, MIRROR_PORT, Served, start_mirror

LOAD = build_folder() / "tests/tools/serve_load"


@pytest.fixture
def served(world):
    made = Served(world, CONFIG)
    made.wait("http://NAME/hello", "hello")
    return made


@pytest.fixture
def mirror(world):
    return start_mirror(world.sidecar.box)


def test_every_request_has_its_owner(served, mirror):
    """However many requests come at once, the app learns of each who sends it."""
    config = {
        "TCP": {"80": {"HTTP": True}},
        "Web": {
            "${TS_CERT_DOMAIN}:80": {
                "Handlers": {"/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}}
            }
        },
    }
    served.change(config)
    script = (
        "import json, socket, threading\n"
        "owners = {}\n"
        "start = threading.Barrier(300)\n"
        "def ask():\n"
        f"    s = socket.create_connection(({served.addresses[0]!r}, 80), 30)\n"
        "    start.wait()\n"
        f"    s.sendall(b'GET / HTTP/1.1\\r\\nHost: {served.name}\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "    body = b''\n"
        "    while got := s.recv(65536):\n"
        "        body += got\n"
        "    seen = {k.lower(): v for k, v in json.loads(body.split(b'\\r\\n\\r\\n')[1])['headers']}\n"
        "    owner = seen.get('tailscale-user-login')\n"
        "    owners[owner] = owners.get(owner, 0) + 1\n"
        "all = [threading.Thread(target=ask) for _ in range(300)]\n"
        "[t.start() for t in all]; [t.join() for t in all]\n"
        "print(owners)\n"
    )
    said = served.world.laptop.box.run(PYTHON, "-c", script).stdout
    assert re.fullmatch(r"{'[^']+': 300}\n", said), said


def test_clients_resume(served):
    """A TLS client that comes again needs no new handshake, and gets the same page."""
    command = [LOAD, served.addresses[0], 443, served.name, "handshakes", 2]
    for kind in ("full", "resumed"):
        said = served.world.laptop.box.run(*command, kind).stdout
        done, failed, resumed = map(int, re.findall(r"\d+", said))
        assert done > 10 and failed == 0, said
        assert resumed == (done - 2 if kind == "resumed" else 0), said
