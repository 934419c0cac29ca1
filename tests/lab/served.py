# SPDX-License-Identifier: BSD-3-Clause
"""A node that serves ports in front of its app, and what a peer gets from it."""

import json
import os

from lab.app import PORT
from lab.build import ROOT
from lab.control import Control
from lab.network import PYTHON
from lab.process import command_name, descendants
from lab.waiting import wait_for

MIRROR = ROOT / "tests/lab/mirror.py"
MIRROR_PORT = 8081

CONFIG = {
    "TCP": {
        "443": {"HTTPS": True},
        "80": {"HTTP": True},
        "5432": {"TCPForward": f"127.0.0.1:{PORT}"},
    },
    "Web": {
        "${TS_CERT_DOMAIN}:443": {
            "Handlers": {
                "/": {"Proxy": f"http://127.0.0.1:{PORT}"},
                "/mirror/": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}"},
                "/base": {"Proxy": f"http://127.0.0.1:{MIRROR_PORT}/deep/"},
                "/old": {"Redirect": "301:https://${HOST}/new${REQUEST_URI}"},
            }
        },
        "${TS_CERT_DOMAIN}:80": {
            "Handlers": {"/": {"Proxy": f"{PORT}"}, "/hello": {"Text": "hello"}}
        },
    },
}


def start_mirror(box):
    """The app that answers with what it saw."""
    process = box.start(PYTHON, MIRROR, MIRROR_PORT, log="mirror")
    process.wait_text("^serving", 10)
    return process


def headers(seen):
    """Of a request that the mirror saw; names in small letters."""
    return {name.lower(): value for name, value in seen["headers"]}


class Served:
    """The node under test with a configuration, and what the laptop gets from it."""

    def __init__(self, world, config, environment=None):
        self.world = world
        self.node = world.sidecar
        self.file = self.node.box.folder / "serve.json"
        self.write(config)
        self.node.start(
            world.headscale.auth_key(), {"TS_SERVE_CONFIG": str(self.file), **(environment or {})}
        )
        self.node.wait_running()
        self.name = self.node.status()["Self"]["DNSName"].rstrip(".")
        self.addresses = self.node.addresses()
        self.authority = self.node.box.folder / "app-ca.pem"

    def write(self, config):
        self.file.write_text(config if isinstance(config, str) else json.dumps(config))

    def command(self, url, *options, family=0):
        address = self.addresses[family]
        at = f"[{address}]" if ":" in address else address
        return [
            *["curl", "-sS", "--max-time", "20", "--connect-to", f"{self.name}::{at}:"],
            *(["--cacert", self.take_authority()] if url.startswith("https") else []),
            *options,
            url.replace("NAME", self.name),
        ]

    def take_authority(self):
        """As docs/certificates.md says: the node's own, and that of `pillion control` once it has signed."""
        if not self.authority.exists():
            stored = self.node.state / "pillion-authority.pem"
            wait_for(stored.exists, 10, "the authority")
            assert stored.stat().st_mode & 0o777 == 0o600
            signers = 2 if isinstance(self.world.headscale, Control) else 1

            def printed():
                text = self.node.pillion("cert", "--ca").stdout
                return text if text.count("BEGIN CERTIFICATE") == signers else None

            text = wait_for(printed, 10, f"{signers} authorities by 'cert --ca'")
            assert "PRIVATE" not in text
            self.authority.write_text(text)
        return self.authority

    def fetch(self, url, *options, family=0, client=None):
        """The body that curl prints, or its error."""
        box = client or self.world.laptop.box
        done = box.run(*self.command(url, *options, family=family), check=False)
        return done.stdout or done.stderr

    def say(self, *pieces, port=80, tls=False, pause=0.0):
        """Send bytes as they are, with a pause between two pieces; all bytes of the answer."""
        script = (
            "import socket, ssl, sys, time\n"
            f"s = socket.create_connection(({self.addresses[0]!r}, {port}))\n"
            "s.settimeout(5)\n"
            "c = ssl.create_default_context(cafile=sys.argv[1]) if sys.argv[1] else None\n"
            f"s = c.wrap_socket(s, server_hostname={self.name!r}) if c else s\n"
            f"for piece in {pieces!r}:\n"
            f"    s.sendall(piece); time.sleep({pause})\n"
            "try:\n"
            "    while got := s.recv(65536):\n"
            "        sys.stdout.write(got.decode('latin-1')); sys.stdout.flush()\n"
            "except (TimeoutError, ConnectionError) as e:\n"
            "    print(repr(e))\n"
        )
        authority = self.take_authority() if tls else ""
        return self.world.laptop.box.run(PYTHON, "-c", script, authority, check=False).stdout

    def change(self, config):
        """Write a configuration, and wait until it is in force."""
        mark = os.urandom(4).hex()
        config["TCP"]["81"] = {"HTTP": True}
        config["Web"]["${TS_CERT_DOMAIN}:81"] = {"Handlers": {"/": {"Text": mark}}}
        self.write(config)
        self.wait("http://NAME:81/", mark)

    def seen(self, url, *options):
        """What the mirror saw of a request."""
        text = self.fetch(url, *options)
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(f"{url}: {text}") from None

    def wait(self, url, page, timeout=20):
        last = []

        def look():
            last.append(self.fetch(url))
            return last[-1] == page

        wait_for(look, timeout, lambda: f"{url}: {last[-1]}; {self.node.process.describe()}")

    def services_pid(self):
        for pid in descendants(self.node.process.pid):
            if command_name(pid) == "pillion-service":
                return pid
        raise AssertionError(f"no services: {self.node.process.describe()}")
