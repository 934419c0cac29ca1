# SPDX-License-Identifier: BSD-3-Clause
"""The forms of serve.json that people write, word for word: a stock peer gets the page by each of them.

On Headscale and on `pillion control`, whose authorities the peer trusts by a file, and with a
control server as Tailscale's, which has the proof of the name published for an ACME authority.
"""

import contextlib
import json

import pytest
from lab import Control, Headscale, Pillion, Tailscaled, make_world, wait_for
from lab.cert_site import ZONE, Site
from lab.certs import KEY_NAME, SECRET
from lab.funnel import start_tls_app
from lab.served import MIRROR_PORT, Served, start_mirror

TLS_PORT = 9443

# From compose: one app by HTTPS, and no Funnel; nearly all files are this one.
USUAL = """{
  "TCP": {
    "443": {
      "HTTPS": true
    }
  },
  "Web": {
    "${TS_CERT_DOMAIN}:443": {
      "Handlers": {
        "/": {
          "Proxy": "http://127.0.0.1:PORT"
        }
      }
    }
  },
  "AllowFunnel": {
    "${TS_CERT_DOMAIN}:443": false
  }
}
"""
HEAD = '{"TCP": {"443": {"HTTPS": true}}, "Web": {"${TS_CERT_DOMAIN}:443": {"Handlers": '
BETWEEN = HEAD + '{"/": {"Text": "between"}}}}}'

# What stands in the file; then paths and the target that the app sees, or the page.
FORMS = {
    "usual": (USUAL, {"/x?y=1": "/x?y=1"}),
    "in one line": ("".join(USUAL.split()), {"/": "/"}),
    "written by Windows": (USUAL.replace("\n", "\r\n"), {"/x": "/x"}),
    "localhost": (USUAL.replace("127.0.0.1", "localhost"), {"/x": "/x"}),
    "the target ends with a slash": (USUAL.replace("PORT", "PORT/"), {"/x": "/x", "/": "/"}),
    "port alone": (USUAL.replace("http://127.0.0.1:PORT", "PORT"), {"/x": "/x"}),
    "an app with a certificate of its own": (
        USUAL.replace("http://127.0.0.1:PORT", f"https+insecure://127.0.0.1:{TLS_PORT}"),
        {"/x": "this is app.internal\n"},
    ),
    "two mounts": (
        HEAD + '{"/": {"Proxy": "http://127.0.0.1:PORT"},'
        ' "/api/": {"Proxy": "http://127.0.0.1:PORT/v1/"}}}}}',
        {"/x": "/x", "/api/x": "/v1/x", "/apix": "/apix"},
    ),
    "no AllowFunnel, but HTTP beside it": (
        '{"TCP": {"443": {"HTTPS": true}, "80": {"HTTP": true}}, "Web": {'
        '"${TS_CERT_DOMAIN}:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:PORT"}}},'
        '"${TS_CERT_DOMAIN}:80": {"Handlers": {"/": {"Redirect": "https://${HOST}${REQUEST_URI}"}}}}}',
        {"/x": "/x"},
    ),
    "a database beside it": (
        '{"TCP": {"443": {"HTTPS": true}, "5432": {"TCPForward": "127.0.0.1:PORT"}}, "Web": {'
        '"${TS_CERT_DOMAIN}:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:PORT"}}}}}',
        {"/x": "/x"},
    ),
    "a port behind TLS": (
        '{"TCP": {"443": {"TCPForward": "127.0.0.1:PORT", "TerminateTLS": "${TS_CERT_DOMAIN}"}}}',
        {"/x": "/x"},
    ),
    "Funnel": (USUAL.replace("false", "true"), {"/x": "/x"}),
    "empty members": (
        USUAL.replace('"AllowFunnel"', '"Services": {}, "Foreground": {}, "AllowFunnel"'),
        {"/x": "/x"},
    ),
}


class Visitor:
    """Fetches pages of the node as a stock peer does."""

    def __init__(self, served, authority):
        self.served, self.authority = served, authority

    def get(self, path):
        """The target that the app saw, or the page, or the error."""
        done = self.served.world.laptop.box.run(
            *["curl", "-sS", "--max-time", "20", "--cacert", self.authority],
            *["--connect-to", f"{self.served.name}::{self.served.addresses[0]}:"],
            f"https://{self.served.name}{path}",
            check=False,
        )
        with contextlib.suppress(ValueError):
            return json.loads(done.stdout)["target"]
        return done.stdout or done.stderr

    def wait(self, path, expected, form):
        last = []

        def look():
            last.append(self.get(path))
            return last[-1] == expected

        wait_for(look, 30, lambda: f"{form}: {path}: {last[-1]}")


def check_forms(served, authority):
    """Each form after the other in the same file; no form leaves a warning."""
    node = served.node
    start_mirror(node.box)
    start_tls_app(node.box, "app.internal", served.world.headscale.authority, TLS_PORT)
    visitor = Visitor(served, authority)
    pid = node.supervisor_pid()
    for form, (text, pages) in FORMS.items():
        served.file.write_bytes(text.replace("PORT", str(MIRROR_PORT)).encode())
        for path, expected in pages.items():
            visitor.wait(path, expected, form)
        if form != "Funnel":
            problems = [line for line in node.status()["Health"] or [] if "TS_SERVE_CONFIG" in line]
            assert not problems, form
        # A page that no form has: the next one is not taken for this one.
        served.write(BETWEEN)
        visitor.wait("/", "between", form)
    assert node.supervisor_pid() == pid and node.process.running()


@pytest.mark.parametrize("control", [Headscale, Control])
def test_a_stock_peer(lab, control, pillion_only):
    served = Served(make_world(lab, control, Pillion, Tailscaled), BETWEEN)
    check_forms(served, served.take_authority())


def test_a_certificate_by_set_dns(lab, pillion_only):
    """Control has the name of the proof set, as Tailscale's own does; clients trust the ACME authority."""
    site = Site(lab)
    hook = site.control.box.folder / "hook"
    hook.write_text(
        f"#!/bin/sh\nprintf 'server {site.names.box.v4}\\nupdate add %s 60 TXT %s\\nsend\\n'"
        f' "$2" "$3" | nsupdate -y hmac-sha256:{KEY_NAME}:{SECRET}\n'
    )
    hook.chmod(0o755)
    site.control.stop()
    site.control.start(f"--base-domain={ZONE}", f"--dns-hook={hook}")
    pebble = site.pebble()
    served = site.serve(pebble.environment())
    site.wait_certificate()
    check_forms(served, pebble.root)
    assert pebble.issued() == 1
