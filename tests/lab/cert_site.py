# SPDX-License-Identifier: BSD-3-Clause
"""A tailnet with a node that serves HTTPS, an authority that speaks ACME, and its zone."""

import subprocess

from lab.app import App
from lab.certs import NameServer, Pebble
from lab.control import Control
from lab.pillion import Pillion
from lab.served import Served
from lab.waiting import wait_for
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

    def __init__(self, lab, public=False):
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
        self.acme = None
        # Where an authority finds the name: in the tailnet, or at the machine's own address.
        address = sidecar_box.v4 if public else "100.64.0.2"
        self.names = NameServer(lab.box("zone"), ZONE, {"sidecar": address})

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

    def health(self):
        return "\n".join(self.node.status()["Health"] or [])

    def wait_problem(self, text, timeout=30):
        """Health says why there is no certificate; the node's own authority serves."""
        wait_for(lambda: text in self.health(), timeout, lambda: self.node.process.describe())
        assert "pillion authority" in self.issuer()

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
