# SPDX-License-Identifier: BSD-3-Clause
"""Funnel of TCP that is no HTTP, and of targets that lead back to `pillion ingress`."""

import json

import pytest
from lab import Control, Pillion, wait_for
from lab.build import ROOT
from lab.funnel import DOMAIN, Vps, fetch
from lab.network import PYTHON

PROGRAM = ROOT / "tests/lab/half_closed.py"
SIZE = 3 << 20
CONFIG = {
    "TCP": {
        "8443": {"TCPForward": "127.0.0.1:7000"},
        "10000": {"TCPForward": "127.0.0.1:7000", "TerminateTLS": "${TS_CERT_DOMAIN}"},
    },
    "AllowFunnel": {"${TS_CERT_DOMAIN}:8443": True, "${TS_CERT_DOMAIN}:10000": True},
}


class Site:
    def __init__(self, lab, config=CONFIG, *flags):
        control = Control(lab.box("control"))
        control.stop()
        control.start(f"--base-domain={DOMAIN}")
        self.client = lab.box("client")
        self.authority = self.client.folder / "ca.pem"
        self.authority.write_text(control.cli("ca")["certificate"])
        self.vps = Vps(lab.box("ingress"), control, *flags)
        with lab.hosts.open("a") as hosts:
            hosts.write(f"{self.vps.box.v4} web.{DOMAIN}\n")
        self.node = Pillion(lab.box("web"), control)
        self.app = self.node.box.start(PYTHON, PROGRAM, "app", "7000", log="app")
        self.app.wait_text("^ready", 10)
        self.node.start(
            control.auth_key(tags=("tag:web",)),
            {"TS_SERVE_CONFIG_JSON": json.dumps(config), "TS_INGRESS_FROM": "ingress"},
        )
        self.node.wait_running()
        self.vps.wait_names(1)

    def exchange(self, port, order):
        """What the client got; then what the app got is in its log."""
        tls = [self.authority] if port == 10000 else []
        done = self.client.run(
            *[PYTHON, PROGRAM, "client", self.vps.box.v4, port, f"web.{DOMAIN}", order, *tls],
            check=False,
        )
        return done.stdout + done.stderr


@pytest.mark.parametrize("order", ["client-first", "app-first"])
def test_each_direction_ends_alone(lab, order):
    """As they are, and with TLS that ends at the node: all bytes arrive, behind the end of the other direction."""
    site = Site(lab)
    for port in (8443, 8443, 10000, 10000):
        since = len(site.app.text())
        # The certificate of the control server comes soon after the start.
        wait_for(
            lambda port=port: site.exchange(port, order) == f"client got {SIZE} True\n",
            20,
            lambda port=port: "\n".join([site.exchange(port, order), site.node.process.describe()]),
        )
        site.app.wait_text(f"app got {SIZE} True", 10, since)


BACK = {
    "TCP": {"443": {"HTTPS": True}, "8443": {"TCPForward": f"web.{DOMAIN}:8443"}},
    "Web": {
        "${TS_CERT_DOMAIN}:443": {"Handlers": {"/": {"Proxy": f"https+insecure://web.{DOMAIN}"}}}
    },
    "AllowFunnel": {"${TS_CERT_DOMAIN}:443": True, "${TS_CERT_DOMAIN}:8443": True},
}


def test_a_target_that_is_the_ingress(lab):
    """The node's targets are its own names on the internet: requests end with 508, TCP at the share of one source."""
    site = Site(lab, BACK, "--source-connections=40")
    url = f"https://web.{DOMAIN}"

    def ask(path, *options):
        return fetch(site.client, site.vps, f"{url}{path}", site.authority, "-i", *options)

    wait_for(lambda: " 508" in ask("/x").split("\n")[0], 30, lambda: ask("/x"))
    done = ask(":8443/")
    assert "curl: (28)" not in done and "HTTP" not in done, done
    assert site.vps.metrics()['pillion_ingress_refused_total{reason="source"}'] > 0
    wait_for(lambda: site.vps.metrics()["pillion_ingress_connections"] < 10, 20, "them to end")


def test_a_name_that_is_mapped_to_the_ingress(lab):
    """The node of the VPS is no peer of itself: the name is unknown."""
    site = Site(lab, CONFIG, f"--map=shop.{DOMAIN}=ingress")
    page = fetch(site.client, site.vps, f"https://shop.{DOMAIN}/", site.authority)
    assert "unrecognized name" in page
