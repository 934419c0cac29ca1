# SPDX-License-Identifier: BSD-3-Clause
"""Private keys of certificates: who gets them, and where they are afterwards."""

import re
import subprocess
from pathlib import Path

import pytest
from lab.cert_site import NAME, Site
from lab.certs import SECRET
from lab.process import command_name

SHADOW = 256 * 1024 * 1024  # larger mappings are those of the sanitizers


@pytest.fixture
def site(lab):
    return Site(lab)


def memory_has(pid, needle):
    """Whether the writable memory of a process has some bytes."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            if end - begin > SHADOW:
                continue
            try:
                memory.seek(begin)
                if needle in memory.read(end - begin):
                    return True
            except (OSError, OverflowError, ValueError):
                continue
    return False


def process(site, name):
    (pid,) = [pid for pid in site.node.processes() if command_name(pid) == name]
    return pid


def test_the_engine_keeps_no_key(site):
    """It passes the key to a local program: afterwards no byte of it is in its memory, or in PID 1's."""
    pebble = site.pebble()
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()
    key = site.node.pillion("cert", "--key-file=-", "--cert-file=", NAME).stdout
    lines = key.strip().splitlines()
    assert "PRIVATE KEY" in lines[0]
    text = site.node.process.text()
    engine = process(site, "pillion-engine")
    for line in lines[1:-1]:
        assert line not in text
        for half in (line[:32], line[32:]):
            if len(half) >= 16:
                assert not memory_has(engine, half.encode())
                assert not memory_has(site.node.process.pid, half.encode())
    # The test would see it.
    assert memory_has(site.served.services_pid(), lines[1][:32].encode())
    assert not memory_has(engine, SECRET.encode())
    stored = site.node.state / "certs" / f"{NAME}.key"
    assert stored.read_text().strip() == key.strip()


def test_strangers_get_no_key(site):
    """The LocalAPI's cert/ is for root and the operator; the authorities are public."""
    pebble = site.pebble()
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()

    def ask(user, path):
        return subprocess.run(
            ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            + ["curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", "--unix-socket"]
            + [str(site.node.socket), f"http://local-tailscaled.sock/localapi/v0/{path}"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    for folder in (site.node.socket, *site.node.socket.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o011 | (0o066 if folder.is_socket() else 0))
    for kind in ("pair", "key", "crt", ""):
        answer = ask(4711, f"cert/{NAME}?type={kind}")
        assert answer.endswith("403"), answer
        assert "BEGIN" not in answer
    for path in (f"cert//{NAME}?type=pair", f"cert/x/../{NAME}?type=key", "cert/%2e%2e?type=key"):
        answer = ask(4711, path)
        assert "BEGIN" not in answer and not answer.endswith("200"), answer
    public = ask(4711, "cert-authority")
    assert "BEGIN CERTIFICATE" in public and "PRIVATE" not in public
    mine = ask(0, f"cert/{NAME}?type=pair")
    assert mine.endswith("200") and "PRIVATE KEY" in mine
    for domain in ("%2e%2e", "..%2f..%2ftailscaled.state", "a%00b", "*." + NAME, "x" * 300, ""):
        answer = ask(0, f"cert/{domain}?type=pair")
        assert re.search(r"\n[45]\d\d$", answer) and "PRIVATE" not in answer, answer
