# SPDX-License-Identifier: BSD-3-Clause
"""A tailnet with an ingress: a client outside of it, a VPS, and nodes that funnel.

    client ──TLS──▶ vps: pillion, `pillion ingress` ──tailnet──▶ node that funnels ──▶ its app
                     (tag:ingress)                                (tag:web)

With set_record, a program of lab.Acme, control acts as Tailscale's own in all that Headscale lacks:
certificate domains, set-dns, and what lets nodes funnel.
"""

from lab.build import build_folder
from lab.network import PYTHON
from lab.pillion import Pillion
from lab.prometheus import parse
from lab.waiting import wait_for

DOMAIN = "tail.example.com"
INGRESS = "https://tailscale.com/cap/ingress"
METRICS = 9100

# The same on Headscale but for nodeAttrs, which it refuses, and which pillion does not need.
POLICY = {
    "tagOwners": {"tag:ingress": ["lab@"], "tag:web": ["lab@"]},
    "grants": [
        {"src": ["tag:ingress"], "dst": ["tag:web"], "app": {INGRESS: [{}]}},
        {"src": ["autogroup:member"], "dst": ["*"], "ip": ["*"]},
    ],
    "nodeAttrs": [{"target": ["tag:web"], "attr": ["funnel"]}],
}

# An app that ends TLS itself: HTTP/1.0, its page names it.
TLS_APP = """
import http.server, ssl, sys
name, port, certificate, key = sys.argv[1:]

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"this is {name}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), App)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("serving", flush=True)
server.serve_forever()
"""


def start_tls_app(box, name, authority, port=9443):
    """An app with a certificate of `authority` for `name`."""
    certificate, key = authority.issue(name)
    process = box.start(PYTHON, "-c", TLS_APP, name, port, certificate, key, log="tls-app")
    process.wait_text("^serving", 10)
    return process


class Vps:
    """The machine with a public address."""

    def __init__(self, box, control, *flags, tags=("tag:ingress",), environment=None):
        self.box = box
        self.node = Pillion(box, control)
        self.node.start(control.auth_key(tags=tags), environment)
        self.node.wait_running()
        self.flags = flags
        self.process = None
        self.start()

    def start(self):
        since = len(self.process.text()) if self.process else 0
        self.process = self.box.start(
            *[build_folder() / "pillion-server", "ingress", f"--socket={self.node.socket}"],
            *["--http=[::]:80", f"--metrics=127.0.0.1:{METRICS}", *self.flags],
            log="ingress",
        )
        self.process.wait_text(r"serves: at=\[::\]:80", 15, since)

    def metrics(self):
        page = self.box.run("curl", "-sS", "--max-time", 5, f"http://127.0.0.1:{METRICS}/metrics")
        return parse(page.stdout)

    def wait_names(self, count, timeout=30):
        wait_for(
            lambda: self.metrics()["pillion_ingress_names"] == count,
            timeout,
            lambda: f"{count} names: {self.process.describe()}",
        )


def fetch(client, vps, url, authority, *options, check=False):
    """What curl in `client` prints, as if public DNS led there; its error if it fails."""
    host = url.split("/")[2]
    name, _, port = host.partition(":")
    port = port or ("443" if url.startswith("https") else "80")
    done = client.run(
        *["curl", "-sS", "--noproxy", "*", "--max-time", "15", "--cacert", authority],
        *["--resolve", f"{name}:{port}:{vps.box.v4}", *options, url],
        check=check,
    )
    return done.stdout if done.returncode == 0 else done.stderr
