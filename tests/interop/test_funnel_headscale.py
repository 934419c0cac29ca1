# SPDX-License-Identifier: BSD-3-Clause
"""Funnel on Headscale: one VPS with `pillion ingress`, a wildcard record, a certificate by ACME.

client ──▶ vps (pillion, pillion ingress) ──tailnet──▶ sidecar (pillion) ──▶ its app
           ▲
           └── Pebble, which proves the name by TLS-ALPN-01 through the same way
"""

import json

import pytest
from lab import App, Headscale, Pillion, wait_for
from lab.app import PORT
from lab.certs import NameServer, Pebble
from lab.funnel import Vps, fetch

DOMAIN = "tail.lab"
NAME = f"sidecar.{DOMAIN}"
SERVE = {
    "TCP": {"443": {"HTTPS": True}},
    "Web": {"${TS_CERT_DOMAIN}:443": {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{PORT}"}}}},
    "AllowFunnel": {"${TS_CERT_DOMAIN}:443": True},
}


class Site:
    def __init__(self, lab, *flags):
        self.headscale = Headscale(lab.box("headscale"))
        self.client = lab.box("client")
        vps = lab.box("vps")
        self.vps = Vps(vps, self.headscale, *flags, tags=())
        # Public DNS: all names lead to the VPS.
        self.zone = NameServer(lab.box("zone"), DOMAIN, {"*": vps.v4})
        self.pebble = Pebble(lab.box("acme"), self.headscale.authority, self.zone)
        self.node = Pillion(lab.box("sidecar"), self.headscale)
        self.app = App(self.node.box)

    def start(self, **environment):
        file = self.node.box.folder / "serve.json"
        file.write_text(json.dumps(SERVE))
        variables = {"TS_SERVE_CONFIG": str(file), "TS_INGRESS_FROM": "vps", **environment}
        self.node.start(self.headscale.auth_key(), variables)
        self.node.wait_running()
        self.vps.wait_names(1)

    def page(self, url=f"https://{NAME}/"):
        return fetch(self.client, self.vps, url, self.pebble.root)


@pytest.fixture
def site(lab):
    return Site(lab)


def test_a_page_with_a_certificate_by_tls_alpn_01(site):
    """Nothing but the VPS is public, and nothing but the ingress leads to the node."""
    site.start(**site.pebble.environment(), TS_ACME_CHALLENGE="tls-alpn-01")
    wait_for(
        lambda: site.page() == site.app.page,
        90,
        lambda: "\n".join([site.page(), site.vps.process.describe(), site.node.process.describe()]),
    )
    assert site.pebble.issued() == 1
    metrics = site.vps.metrics()
    assert metrics["pillion_ingress_connected_total"] >= 2
    # Plain HTTP leads to https, and other names of the wildcard lead nowhere.
    moved = fetch(site.client, site.vps, f"http://{NAME}/x", site.pebble.root, "-i")
    assert f"Location: https://{NAME}/x" in moved
    other = site.page(f"https://other.{DOMAIN}/")
    assert "unrecognized name" in other
    # The ingress is restarted: clients see it again at once, without a change at the node.
    assert site.vps.process.stop(20)[0] == 0
    site.vps.start()
    site.vps.wait_names(1)
    assert site.page() == site.app.page


def test_a_certificate_by_http_01(site):
    """The authority asks the ingress at port 80, which asks the node and redirects all else."""
    site.start(**site.pebble.environment(), TS_ACME_CHALLENGE="http-01")
    wait_for(
        lambda: site.page() == site.app.page,
        90,
        lambda: "\n".join([site.page(), site.vps.process.describe(), site.node.process.describe()]),
    )
    assert site.pebble.issued() == 1
    path = "/.well-known/acme-challenge/x"
    said = fetch(site.client, site.vps, f"http://{NAME}{path}", site.pebble.root, "-i")
    assert said.startswith("HTTP/1.1 404 ")


def test_a_node_trusts_the_ingress_that_it_names(site):
    """Another node of the tailnet with `pillion ingress` gets 403, and its client an alert."""
    site.start(TS_INGRESS_FROM="another")
    page = site.page()
    assert "unrecognized name" in page, page
    assert "HTTP 403" in site.vps.process.text()


def test_headscale_passes_on_who_funnels(site):
    """IngressEnabled and WireIngress of Hostinfo, as the node of the VPS gets them."""
    site.start()

    def hostinfo():
        command = ["curl", "-sS", "--unix-socket", site.vps.node.socket]
        url = "http://local-tailscaled.sock/localapi/v0/netmap"
        peers = json.loads(site.vps.box.run(*command, url).stdout)["Peers"]
        (found,) = (peer["Hostinfo"] for peer in peers if peer["Name"].startswith("sidecar."))
        return found

    assert hostinfo()["IngressEnabled"] is True
    file = site.node.box.folder / "serve.json"
    file.write_text(json.dumps(SERVE).replace(':443": true', ':443": false'))
    wait_for(lambda: hostinfo().get("WireIngress"), 30, lambda: str(hostinfo()))
    assert not hostinfo().get("IngressEnabled")
    site.vps.wait_names(0)
