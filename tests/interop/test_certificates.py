# SPDX-License-Identifier: BSD-3-Clause
"""Certificates by ACME: Pebble is the authority, BIND has the zone."""

import json
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lab import Control, Pillion, wait_for
from lab.app import App
from lab.build import build_folder
from lab.certs import NameServer, Pebble
from lab.peers import peer
from lab.served import Served
from lab.world import World

ZONE = "tail.example.com"
NAME = f"sidecar.{ZONE}"
CONFIG = {
    "TCP": {"443": {"HTTPS": True}, "80": {"HTTP": True}},
    "Web": {
        f"{NAME}:443": {"Handlers": {"/": {"Text": "hello"}}},
        f"{NAME}:80": {"Handlers": {"/": {"Text": "plain"}}},
    },
}


class Site:
    """A tailnet, an authority and a name server; the node is not started yet."""

    def __init__(self, lab):
        control_box, sidecar_box, laptop_box = (
            lab.box(name) for name in ("control", "sidecar", "laptop")
        )
        self.lab = lab
        self.control = Control(control_box)
        self.control.stop()
        self.control.start(f"--base-domain={ZONE}")
        self.world = World(
            lab=lab,
            headscale=self.control,
            sidecar=Pillion(sidecar_box, self.control),
            laptop=Pillion(laptop_box, self.control).join(),
            sidecar_app=App(sidecar_box),
            laptop_app=App(laptop_box),
        )
        self.node = self.world.sidecar
        self.names = NameServer(lab.box("zone"), ZONE, {"sidecar": "100.64.0.2"})

    def pebble(self, settings=None, environment=None):
        """The authority; it reaches the node by the tailnet."""
        self.acme = Pebble(
            self.world.laptop.box, self.control.authority, self.names, settings, environment
        )
        return self.acme

    def serve(self, environment):
        self.served = Served(self.world, CONFIG, environment)
        self.environment = {"TS_SERVE_CONFIG": str(self.served.file), **environment}
        return self.served

    def restart(self):
        self.node.stop()
        self.node.start(None, self.environment)
        self.node.wait_running()

    def issuer(self):
        """Of the certificate that a client sees."""
        address = self.served.addresses[0]
        done = self.world.laptop.box.run(
            *["openssl", "s_client", "-connect", f"{address}:443", "-servername", NAME],
            stdin="",
            check=False,
        )
        seen = subprocess.run(
            ["openssl", "x509", "-noout", "-issuer"],
            input=done.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        return seen.stdout

    def wait_certificate(self, timeout=60):
        """Until clients see a certificate of the authority, and trust it."""
        wait_for(
            lambda: "Pebble" in self.issuer(),
            timeout,
            lambda: f"{self.issuer()}; {self.node.process.describe()}",
        )
        address = self.served.addresses[0]
        done = self.world.laptop.box.run(
            *["curl", "-sS", "--cacert", self.acme.root, "--connect-to", f"{NAME}::{address}:"],
            f"https://{NAME}/",
        )
        assert done.stdout == "hello"


@pytest.fixture
def site(lab):
    return Site(lab)


def test_dns_01_by_an_update_of_the_zone(site):
    """The order, the record, the certificate, the record's end; five restarts cost no other one."""
    pebble = site.pebble(environment={"PEBBLE_WFE_NONCEREJECT": "30"})
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()
    wait_for(lambda: not site.names.lookup(f"_acme-challenge.{NAME}"), 20, "the record to go")
    folder = site.node.state / "certs"
    stored = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert stored == dict.fromkeys(("acme-account.key.pem", f"{NAME}.crt", f"{NAME}.key"), 384)
    for _ in range(5):
        site.restart()
        site.wait_certificate()
    assert pebble.issued() == 1


def test_http_01_at_the_served_port_80(site):
    pebble = site.pebble()
    site.serve({**pebble.environment(), "TS_ACME_CHALLENGE": "http-01"})
    site.wait_certificate()
    path = "/.well-known/acme-challenge/x"
    assert site.served.fetch(f"http://NAME{path}") == "plain"


def test_tls_alpn_01_at_the_served_port_443(site):
    pebble = site.pebble()
    site.serve({**pebble.environment(), "TS_ACME_CHALLENGE": "tls-alpn-01"})
    site.wait_certificate()
    # Without an order under way there is nothing to see.
    ask = ["openssl", "s_client", "-connect", f"{site.served.addresses[0]}:443"]
    done = site.world.laptop.box.run(
        *ask, "-servername", NAME, "-alpn", "acme-tls/1", stdin="", check=False
    )
    assert "no application protocol" in done.stderr


def test_the_command_cert(site, tmp_path):
    """Ours and the official one: the same files, words and exit codes; --ca has no key."""
    pebble = site.pebble()
    site.serve({**pebble.environment(), **site.names.environment()})
    node = site.node
    files = [node.box.folder / name for name in ("app.crt", "app.key")]
    flags = [f"--cert-file={files[0]}", f"--key-file={files[1]}"]
    official = peer("tailscale")
    for command in (
        [build_folder() / "pillion", "cert", f"--socket={node.socket}"],
        [official, f"--socket={node.socket}", "cert"],
    ):
        done = node.box.run(*command, *flags, NAME)
        assert done.stdout == f"Wrote public cert to {files[0]}\nWrote private key to {files[1]}\n"
        assert [path.stat().st_mode & 0o777 for path in files] == [0o644, 0o600]
        again = node.box.run(*command, *flags, "--min-validity=24h", NAME)
        assert again.stdout == (
            f"Public cert unchanged at {files[0]}\nPrivate key unchanged at {files[1]}\n"
        )
        assert x509.load_pem_x509_certificate(
            files[0].read_bytes()
        ).public_key().public_numbers() == (
            serialization.load_pem_private_key(files[1].read_bytes(), None)
            .public_key()
            .public_numbers()
        )
        other = node.box.run(*command, "other.example.com", check=False)
        assert other.returncode != 0 and "invalid domain" in other.stderr
        for path in files:
            path.unlink()
    assert pebble.issued() == 1
    # Longer than the authority's certificates live: one order, no more.
    long = node.box.run(
        *[build_folder() / "pillion", "cert", f"--socket={node.socket}", *flags],
        *["--min-validity=9000h", NAME],
        check=False,
    )
    assert long.returncode == 1 and "valid for that long" in long.stderr
    assert pebble.issued() == 2
    authority = node.pillion("cert", "--ca").stdout
    assert "PRIVATE" not in authority
    assert x509.load_pem_x509_certificate(authority.encode())
    state = json.loads(node.pillion("status", "--json").stdout)["Certificate"]
    assert (state["Domain"], state["Source"]) == (NAME, "acme")
    assert len(state["SHA256"]) == len(state["AuthoritySHA256"]) == 64


def test_a_certificate_without_a_served_port(site):
    """The process is started for it, and ends again when nobody asks."""
    pebble = site.pebble()
    site.node.start(site.control.auth_key(), {**pebble.environment(), **site.names.environment()})
    site.node.wait_running()
    folder = site.node.box.folder
    done = site.node.pillion("cert", "--key-file=-", "--cert-file=", NAME)
    assert "BEGIN EC PRIVATE KEY" in done.stdout
    site.node.pillion("cert", f"--cert-file={folder}/a.crt", NAME)
    assert pebble.issued() == 1
    assert "BEGIN CERTIFICATE" in (folder / "a.crt").read_text()
