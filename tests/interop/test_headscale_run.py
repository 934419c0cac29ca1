# SPDX-License-Identifier: BSD-3-Clause
"""`pillion headscale run` with a real Headscale, by the configuration that it makes.

    keeper ── headscale, its relay and STUN │ sidecar (pillion, app) │ laptop (tailscaled)
                                   all on one switch

What needs no real Headscale is in tests/system/test_headscale_keeper.py.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab import App, Pillion, Tailscaled, wait_for
from lab.app import url
from lab.build import build_folder
from lab.peers import peer

PORT = 8443


class Kept:
    """A Headscale behind the interface of lab.Headscale, kept by `pillion headscale run`.

    In the box's network only, so that its process ids are those of the test.
    """

    def __init__(self, box):
        self.box = box
        self.url = f"https://{box.name}.lab:{PORT}"
        self.state = box.folder / "headscale"
        self.authority = SimpleNamespace(certificate=self.state / "ca.pem")
        self.log = box.folder / "run.log"
        self.process = None
        self.user = None

    def command(self, *flags):
        return self.box.enter(
            *[build_folder() / "pillion", "headscale", "run", f"--headscale={peer('headscale')}"],
            *[f"--state={self.state}", *flags],
        )

    def start(self, *flags):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*flags), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_healthy()

    def healthy(self):
        assert self.process.poll() is None
        return self.box.run(
            *["curl", "-sf", "--max-time", 2, "--cacert", self.authority.certificate],
            *["--resolve", f"{self.box.name}.lab:{PORT}:{self.box.v4}", f"{self.url}/health"],
            check=False,
        ).stdout.strip()

    def wait_healthy(self):
        wait_for(self.healthy, 30, self.text)

    def text(self):
        return self.log.read_text(errors="replace")

    def child(self):
        return int((self.state / "headscale.pid").read_text().split()[0])

    def cli(self, *arguments):
        done = self.box.run(
            *[peer("headscale"), "--config", self.state / "config.yaml", "--output", "json"],
            *arguments,
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def auth_key(self):
        if self.user is None:
            self.user = self.cli("users", "create", "alice")["id"]
        return self.cli("preauthkeys", "create", "--user", self.user)["key"]

    def kill(self):
        """The keeper, at once."""
        self.process.kill()
        self.process.wait(10)


def gone(pid):
    """Whether no such process runs; one that waits to be reaped doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def kept(lab):
    made = Kept(lab.box("keeper"))
    yield made
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        child = made.child()
        if Path(f"/proc/{child}/exe").resolve() == peer("headscale").resolve():
            os.kill(child, signal.SIGKILL)
    if made.process and made.process.poll() is None:
        made.kill()
    assert "runtime error:" not in made.text()
    assert "Sanitizer" not in made.text()


def fetch(client, server, page):
    address = url(server.addresses()[0])
    wait_for(lambda: client.box.curl(address, timeout=10) == page, 30, f"{address} to be fetched")


def test_real_nodes_join_by_what_it_makes(lab, kept, pillion_only):
    """Relay, STUN and TLS too; and again after Headscale was killed, and its keeper."""
    kept.start(f"--url={kept.url}", "--base-domain=net.test")
    sidecar = Pillion(lab.box("sidecar"), kept).join()
    laptop = Tailscaled(lab.box("laptop"), kept).join()
    app = App(sidecar.box)
    assert laptop.status()["MagicDNSSuffix"] == "net.test"
    lab.close_udp(sidecar.box, laptop.box)
    fetch(laptop, sidecar, app.page)
    laptop.wait_path(sidecar, "relay")
    lab.open(sidecar.box, laptop.box)
    laptop.wait_path(sidecar, "direct", 60)

    # After a kill it is started again with its data.
    dead = kept.child()
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: kept.child() != dead, 20, kept.text)
    kept.wait_healthy()
    assert "died (killed by SIGKILL)" in kept.text()
    assert {node["given_name"] for node in kept.cli("nodes", "list")} == {"sidecar", "laptop"}
    phone = Tailscaled(lab.box("phone"), kept).join()
    phone.wait_knows(sidecar)
    sidecar.wait_knows(phone)
    fetch(phone, sidecar, app.page)

    # One that hangs outlives its keeper; the next keeper ends it, since its port is wanted.
    orphan = kept.child()
    os.kill(orphan, signal.SIGSTOP)
    kept.kill()
    assert not gone(orphan)
    kept.start()
    assert gone(orphan)
    assert f"ending process {orphan} of an earlier 'run'" in kept.text()
    assert len(kept.cli("nodes", "list")) == 3
    wait_for(
        lambda: all(node["online"] for node in kept.cli("nodes", "list")), 60, "all to be back"
    )
    fetch(phone, sidecar, app.page)

    # With streams open it takes as long as it may, and no longer.
    child = kept.child()
    began = time.monotonic()
    kept.process.send_signal(signal.SIGTERM)
    assert kept.process.wait(30) == 0
    assert time.monotonic() - began < 20
    assert gone(child)


def test_what_it_refuses_is_said(kept):
    kept.start(f"--url={kept.url}")
    # A second one with the same ports.
    other = subprocess.run(
        kept.box.enter(
            *[build_folder() / "pillion", "headscale", "run", f"--url={kept.url}"],
            *[f"--headscale={peer('headscale')}", f"--state={kept.box.folder / 'other'}"],
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert other.returncode == 1
    assert "another program has its port" in other.stderr
    assert "address already in use" in other.stderr
    kept.process.send_signal(signal.SIGTERM)
    assert kept.process.wait(30) == 0
    # A member that it needs is gone.
    config = kept.state / "config.yaml"
    config.write_text(config.read_text().replace("prefixes:", "praefixes:"))
    done = subprocess.run(kept.command(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "Headscale refuses" in done.stderr
    assert "no IPv4 or IPv6 prefix configured" in done.stderr
    config.write_text("server_url: [\n")
    done = subprocess.run(kept.command(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "While parsing config" in done.stderr


def test_relays_of_ones_own(lab, kept, pillion_only):
    """Behind plain HTTP, with the map that `pillion derp` writes."""
    box = lab.box("relay")
    relay = box.start(
        *[build_folder() / "pillion", "derp", f"--hostname={box.name}.lab", f"--ipv4={box.v4}"],
        *[f"--statedir={box.folder / 'derp'}"],
    )
    derp_map = box.folder / "derp" / "derpmap.json"
    wait_for(derp_map.exists, 20, relay.describe)
    kept.url = f"http://{kept.box.name}.lab:{PORT}"
    kept.start(f"--url={kept.url}", f"--derp-map={derp_map}")
    # There is no authority, and nodes need none.
    kept.authority = SimpleNamespace(certificate="/etc/ssl/certs/ca-certificates.crt")
    sidecar = Pillion(lab.box("sidecar"), kept).join()
    laptop = Tailscaled(lab.box("laptop"), kept).join()
    app = App(sidecar.box)
    lab.close_udp(sidecar.box, laptop.box)
    fetch(laptop, sidecar, app.page)
    laptop.wait_path(sidecar, "relay")
