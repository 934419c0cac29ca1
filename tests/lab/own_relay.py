# SPDX-License-Identifier: BSD-3-Clause
"""Our own relay, on a host of a lab (instead of a stock relay) or on loopback."""

import json
import signal
import socket
import subprocess

from lab import prometheus
from lab.build import BUILD, build_folder
from lab.derper import REGION, Derper
from lab.relay_tool import TIMEOUT, free_port
from lab.waiting import wait_for


class OwnRelay(Derper):
    """`pillion-server derp` with a self-signed certificate; clients know its hash.

    The control server's authority did not sign it, so a client that connects has checked the hash.
    """

    def __init__(self, box, *flags):
        super().__init__(box, *flags)
        self.state = box.folder / "relay"

    def start(self, authority=None):
        said = len(self.process.text()) if self.process else 0
        self.process = self.box.start(
            *[build_folder() / "pillion-server", "derp", f"--hostname={self.box.name}.lab"],
            *[f"--ipv4={self.box.v4}", f"--ipv6={self.box.v6}", f"--statedir={self.state}"],
            *[f"--region={REGION}", "--http=[::]:80", "--metrics", "--log-level=debug"],
            *self.flags,
        )
        self.process.wait_text("relay serves", 15, said)

    def restart(self):
        self.start()

    def derp_map(self):
        """The DERPMap that `pillion derp` writes for people."""
        return json.loads((self.state / "derpmap.json").read_text())

    def metrics(self):
        """Name with labels: value."""
        text = self.box.run(
            *["curl", "-sk", "--max-time", 5, f"https://{self.box.v4}/metrics"],
        ).stdout
        return relay_metrics(text)


def relay_metrics(text):
    """Name with labels, without the prefix that all have: value."""
    values = prometheus.parse(text)
    assert all(name.startswith("pillion_relay_") for name in values)
    return {name.removeprefix("pillion_relay_"): value for name, value in values.items()}


class LoopbackRelay:
    """`pillion-server derp` on 127.0.0.1, without a lab.

    tls is None (plain HTTP), a folder with derp.test's certificate, or "" for one of its own.
    """

    def __init__(self, folder, tls="", host="derp.test", flags=()):
        self.folder = folder
        self.state = folder / "relay"
        self.port = free_port()
        self.stun_port = free_port(socket.SOCK_DGRAM)
        self.log = folder / "relay.log"
        self.arguments = [
            *[BUILD / "pillion-server", "derp", f"--statedir={self.state}", "--region=1"],
            *[f"--listen=127.0.0.1:{self.port}", f"--stun=127.0.0.1:{self.stun_port}"],
            *["--ipv4=127.0.0.1", "--metrics", *flags],
        ]
        if host != "127.0.0.1":
            self.arguments.append(f"--hostname={host}")
        if tls is None:
            self.arguments.append("--plain")
        elif tls:
            self.arguments += [f"--certificate={tls}/{host}.crt", f"--key={tls}/{host}.key"]
        self.host = host
        self.process = None
        self.start()

    def start(self):
        said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(a) for a in self.arguments], stdout=log, stderr=log
            )
        wait_for(
            lambda: b"relay serves" in self.log.read_bytes()[said:] or self.process.poll(),
            TIMEOUT,
            lambda: self.log.read_text(),
        )
        assert self.process.poll() is None, self.log.read_text()

    def stop(self, how=signal.SIGTERM):
        """What a sanitizer has found shows in its exit status."""
        self.process.send_signal(how)
        assert self.process.wait(TIMEOUT) == (0 if how == signal.SIGTERM else -how)

    def derp_map(self):
        return json.loads((self.state / "derpmap.json").read_text())

    def digest(self):
        return self.derp_map()["Regions"]["1"]["Nodes"][0]["CertName"]

    def node(self, name="1a", **more):
        return {
            "Name": name,
            "HostName": self.host,
            "IPv4": "127.0.0.1",
            "IPv6": "none",
            "DERPPort": self.port,
            "STUNPort": self.stun_port,
            **more,
        }

    def curl(self, path, *arguments):
        """The answer to a request, with its head."""
        command = [
            "curl",
            "-ski",
            "--max-time",
            "5",
            *arguments,
            f"https://127.0.0.1:{self.port}{path}",
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.replace("\r", "")

    def metrics(self):
        body = self.curl("/metrics").split("\n\n", 1)[1]
        return relay_metrics(body)
