# SPDX-License-Identifier: BSD-3-Clause
"""Served ports under load and faults: many clients, slow ones, processes that die, changes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from lab import wait_for
from lab.build import ROOT, build_folder, is_sanitized
from lab.network import PYTHON
from lab.process import command_name, descendants
from lab.served import CONFIG, MIRROR_PORT, Served, start_mirror

LOAD = build_folder() / "tests/tools/serve_load"
PROGRAM = ROOT / "tests/lab/http_load.py"


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
    served.change(to_mirror())
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


class Load:
    """Clients on a host that ask for a page all the time."""

    def __init__(self, served, path="/", box=None, threads=8):
        self.box = box or served.world.laptop.box
        self.process = self.box.start(
            *[PYTHON, PROGRAM, served.addresses[0], 80, served.name, path, threads],
            log=f"load-{time.monotonic_ns()}",
        )
        self.process.wait_text("^begun", 20)

    def end(self):
        """{status or name of an error: how often}"""
        self.process.end_input()
        return json.loads(self.process.wait_text("^counts (.*)", 90)[1])


def memory(pid, reset=False):
    """KB of private memory at most since the last reset."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def start_nginx(box):
    """The app as nginx, which finishes its requests when it is asked to end."""
    file = box.folder / "app.conf"
    file.write_text(
        f"daemon off; worker_processes 1; error_log stderr; pid {box.folder}/app.pid;\n"
        "events {}\n"
        "http { access_log off; keepalive_timeout 5s;\n"
        f"  server {{ listen 127.0.0.1:{MIRROR_PORT}; location / {{ return 200 page; }} }} }}\n"
    )
    process = box.start("nginx", "-c", file, log=f"nginx-{time.monotonic_ns()}")
    wait_for(
        lambda: box.run("nc", "-z", "127.0.0.1", MIRROR_PORT, check=False).returncode == 0,
        15,
        process.describe,
    )
    return process


def to_mirror():
    """A configuration whose pages are all those of MIRROR_PORT."""
    handlers = {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"}}}
    return {
        "TCP": {"80": {"HTTP": True}, "443": {"HTTPS": True}},
        "Web": {"${TS_CERT_DOMAIN}:80": handlers, "${TS_CERT_DOMAIN}:443": dict(handlers)},
    }


def test_the_services_process_is_killed_under_load(served):
    """Connections are cut at worst; none is refused, and the next process serves."""
    load = Load(served)
    killed = set()
    for _ in range(3):
        pid = wait_for(lambda: set(services(served)) - killed, 20, "another services process").pop()
        served.wait("http://NAME/hello", "hello")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    served.wait("http://NAME/hello", "hello")
    counts = load.end()
    assert counts.pop("200") > 20
    cut = {"ConnectionResetError", "RemoteDisconnected", "BrokenPipeError", "IncompleteRead"}
    assert set(counts) <= cut, counts


def services(served):
    return [
        pid
        for pid in descendants(served.node.process.pid)
        if command_name(pid) == "pillion-service"
    ]


def test_the_engine_is_killed_under_load(served):
    """Neither through the tunnel nor beside the app does a request fail."""
    through, beside = Load(served), Load(served, box=served.node.box)
    pid = served.services_pid()
    for _ in range(2):
        engine = served.node.engine_pid()
        served.node.kill_engine()
        wait_for(
            lambda engine=engine: engine not in descendants(served.node.process.pid)
            and any(
                command_name(p) == "pillion-engine" for p in descendants(served.node.process.pid)
            ),
            20,
            "another engine",
        )
        served.wait("http://NAME/hello", "hello", 30)
    for load in (through, beside):
        counts = load.end()
        assert set(counts) == {"200"}, counts
    assert served.services_pid() == pid


def test_the_app_is_restarted_under_load(served):
    """Requests wait for it; none fails."""
    app = start_nginx(served.node.box)
    served.change(to_mirror())
    load = Load(served)
    for _ in range(3):
        app.signal(signal.SIGQUIT)
        app.wait(20)
        time.sleep(0.3)  # the app is away
        app = start_nginx(served.node.box)
        served.wait("http://NAME/", "page")
    counts = load.end()
    assert set(counts) == {"200"}, counts


def test_a_thousand_configurations_under_load(served):
    """Each is whole; no request fails, and the last one is in force."""
    start_nginx(served.node.box)
    config = to_mirror()
    handlers = config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"]
    served.change(config)
    pid = served.services_pid()
    load = Load(served)
    for number in range(1000):
        more = {f"/{i}": {"Proxy": f"http://127.0.0.1:{9 + i}"} for i in range(number % 7)}
        config["Web"]["${TS_CERT_DOMAIN}:80"]["Handlers"] = {
            **more,
            **handlers,
            "/number": {"Text": f"{number}"},
        }
        new = served.file.with_suffix(".new")
        new.write_text(json.dumps(config))
        new.rename(served.file)
        if number % 100 == 0:
            served.wait("http://NAME/number", f"{number}")
        time.sleep(0.01)  # the pace: faster than anybody writes
    served.wait("http://NAME/number", "999")
    counts = load.end()
    assert set(counts) == {"200"}, counts
    assert served.services_pid() == pid


@pytest.mark.alone
def test_slow_clients(served, mirror):
    """Heads and bodies that come byte by byte, answers that nobody reads: others are served."""
    served.change(to_mirror())
    served.wait("http://NAME/status/200", "")
    pid = served.services_pid()
    before = memory(pid, reset=True)
    script = (
        "import socket, sys, time\n"
        "all = []\n"
        f"head = b'Host: {served.name}\\r\\n'\n"
        "for i in range(900):\n"
        f"    s = socket.create_connection(({served.addresses[0]!r}, 80), 30)\n"
        "    if i % 3 == 0: s.sendall(b'GET / HTTP/1.1\\r\\n' + head)\n"
        "    if i % 3 == 1: s.sendall(b'PUT /x HTTP/1.1\\r\\n' + head + b'Content-Length: 99\\r\\n\\r\\n')\n"
        "    if i % 3 == 2: s.sendall(b'GET /bytes/5000000 HTTP/1.1\\r\\n' + head + b'\\r\\n')\n"
        "    all.append(s)\n"
        "print('open', flush=True)\n"
        "while True:\n"
        "    for i, s in enumerate(all):\n"
        "        try:\n"
        "            if i % 3 == 0: s.sendall(b'X')\n"
        "            if i % 3 == 1: s.sendall(b'x')\n"
        "        except OSError: pass\n"
        "    time.sleep(0.3)\n"
    )
    crowd = served.world.laptop.box.start(PYTHON, "-c", script, log="crowd")
    crowd.wait_text("^open", 60)
    counts = Counter()
    load = Load(served, "/status/200", threads=4)
    for _ in range(20):
        counts[served.fetch("http://NAME/status/200", "-w", "%{http_code}")] += 1
    counts.update(load.end())
    assert set(counts) == {"200"}, counts
    assert served.services_pid() == pid
    grown = memory(pid) - before
    assert is_sanitized(build_folder()) or grown < 80_000, f"{grown} KB for 900 slow clients"


@pytest.mark.alone
@pytest.mark.needs_release
@pytest.mark.parametrize("kind, count, kib", [("plain", 6000, 2), ("tls", 4000, 20)])
def test_idle_connections(served, kind, count, kib):
    """Thousands of them cost little, stay open, and others are served."""
    start_nginx(served.node.box)
    served.change(to_mirror())
    served.wait(f"http{'s' if kind == 'tls' else ''}://NAME/", "page")
    pid = served.services_pid()
    before = memory(pid, reset=True)
    port = 443 if kind == "tls" else 80
    crowd = served.node.box.start(
        LOAD, served.addresses[0], port, served.name, "idle", count, kind, log="crowd"
    )
    crowd.wait_text("^ready", 120)
    each = (memory(pid) - before) / count
    assert each < kib, f"{each:.1f} KiB for a connection"
    assert served.fetch("http://NAME/") == "page"
    crowd.end_input()
    assert crowd.wait_text(r"^closed (\d+)", 30)[1] == "0"


@pytest.mark.alone
@pytest.mark.needs_release
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_gibibyte_in_both_directions(served, mirror, scheme, tmp_path):
    """It passes whole, and nothing of it is kept."""
    served.change(to_mirror())
    served.wait(f"{scheme}://NAME/status/200", "")
    own, size = served.node.box, 2**30
    with open(tmp_path / "body", "wb") as body:
        body.truncate(size)
    pid = served.services_pid()
    before = memory(pid, reset=True)
    whole = ["--max-time", "300"]
    got = served.fetch(
        *[f"{scheme}://NAME/bytes/{size}", "-o", "/dev/null", "-w", "%{size_download}", *whole],
        client=own,
    )
    assert got == str(size)
    sent = json.loads(
        served.fetch(f"{scheme}://NAME/up", "-T", tmp_path / "body", *whole, client=own)
    )
    assert sent["length"] == size
    grown = memory(pid) - before
    assert grown < 6_000, f"{grown} KB"


def test_a_full_disk(world):
    """Nothing can be stored, and the ports are served all the same."""
    world.sidecar.state.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", world.sidecar.state], check=True
    )
    try:
        plain = {"TCP": {"80": CONFIG["TCP"]["80"]}, "Web": {}}
        plain["Web"]["${TS_CERT_DOMAIN}:80"] = CONFIG["Web"]["${TS_CERT_DOMAIN}:80"]
        served = Served(world, plain)
        served.wait("http://NAME/hello", "hello")
        with contextlib.suppress(OSError), open(world.sidecar.state / "filler", "wb") as filler:
            while True:
                filler.write(b"x" * 4096)
                filler.flush()
        served.write(CONFIG)
        served.node.process.wait_text("is not stored", 20)
        assert served.fetch("http://NAME/hello") == "hello"
        said = served.world.laptop.box.run(
            *["openssl", "s_client", "-connect", f"{served.addresses[0]}:443"],
            *["-servername", served.name, "-brief"],
            stdin="",
            check=False,
        )
        assert "CONNECTION ESTABLISHED" in said.stderr, said.stderr
        served.node.stop()
    finally:
        subprocess.run(["umount", "--lazy", world.sidecar.state], check=True)
