# SPDX-License-Identifier: BSD-3-Clause
"""The usual serve.json under a server that grants certificates, as Tailscale's: seen by a stock peer."""

import pytest
from lab import Tailscaled
from lab.app import PORT
from lab.cert_site import NAME, ZONE, Site
from lab.certs import KEY_NAME, SECRET
from lab.waiting import wait_for

USUAL = """{
  "TCP": { "443": { "HTTPS": true } },
  "Web": {
    "${TS_CERT_DOMAIN}:443": { "Handlers": { "/": { "Proxy": "http://127.0.0.1:%d" } } }
  },
  "AllowFunnel": { "${TS_CERT_DOMAIN}:443": false }
}
"""


@pytest.fixture
def site(lab):
    """`pillion control` with a DNS hook sends CertDomains and answers set-dns."""
    made = Site(lab)
    hook = made.control.box.folder / "hook"
    hook.write_text(
        f"#!/bin/sh\nprintf 'server {made.names.box.v4}\\nupdate add %s 60 TXT %s\\nsend\\n'"
        f' "$2" "$3" | nsupdate -y hmac-sha256:{KEY_NAME}:{SECRET}\n'
    )
    hook.chmod(0o755)
    made.control.stop()
    made.control.start(f"--base-domain={ZONE}", f"--dns-hook={hook}")
    return made


def test_a_page_for_a_stock_peer(site):
    """HTTPS of the app, trusted by the authority's root alone, with no ACME setting but the directory."""
    pebble = site.pebble()
    file = site.node.box.folder / "serve.json"
    file.write_text(USUAL % PORT)
    site.node.start(site.control.auth_key(), {"TS_SERVE_CONFIG": str(file), **pebble.environment()})
    site.node.wait_running()
    peer = Tailscaled(site.lab.box("peer"), site.control).join()
    (granted,) = peer.status()["CertDomains"]
    assert granted == f"peer.{ZONE}"
    fetch = [
        *["curl", "-sS", "--max-time", "10", "--cacert", pebble.root],
        *["--connect-to", f"{NAME}::{site.node.addresses()[0]}:", f"https://{NAME}/"],
    ]
    direct = site.node.box.run("curl", "-s", f"http://127.0.0.1:{PORT}/").stdout
    wait_for(
        lambda: peer.box.run(*fetch, check=False).stdout == direct != "",
        90,
        lambda: f"{peer.box.run(*fetch, check=False)} {site.node.process.describe()}",
    )
    assert pebble.issued() == 1
    assert site.names.lookup(f"_acme-challenge.{NAME}")
    assert site.node.status()["CertDomains"] == [NAME]
