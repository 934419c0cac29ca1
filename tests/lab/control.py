# SPDX-License-Identifier: BSD-3-Clause
"""Our own coordination server in a box, behind the interface of lab.Headscale."""

import json
import time

from lab import prometheus
from lab.build import build_folder
from lab.pki import Authority
from lab.waiting import wait_for

METRICS = 9100


class Control:
    """`pillion-server control serve` with the relay that it has inside, or with one beside it.

    start() and stop() may alternate: its state stays.
    """

    def __init__(self, box, derper=None):
        self.box = box
        self.url = f"https://{box.name}.lab"
        self.authority = Authority(box.folder / "pki")
        self._certificate, self._key = self.authority.issue(f"{box.name}.lab", box.v4, box.v6)
        self._state = box.folder / "control"
        self._relay = ["--relay-http=[::]:80"]
        if derper:
            derper.start(self.authority)
            (box.folder / "derp.json").write_text(json.dumps(derper.derp_map()))
            self._relay = [f"--derp-map={box.folder / 'derp.json'}"]
        self.process = None
        self.start()

    def start(self, *flags):
        since = len(self.process.text()) if self.process else 0
        self.process = self.box.start(
            *[build_folder() / "pillion-server", "control", "serve", f"--url={self.url}"],
            *[f"--state={self._state}", f"--certificate={self._certificate}"],
            *[f"--key={self._key}", f"--metrics=[::]:{METRICS}", "--log-level=debug"],
            *self._relay,
            *flags,
        )
        self.process.wait_text("serving url=", 15, since)

    def stop(self):
        """SIGKILL, which also ends a relay and STUN inside of it."""
        self.process.kill()

    def terminate(self):
        """SIGTERM; the exit status."""
        return self.process.stop(10)

    def metrics(self):
        """Name with labels: value."""
        return prometheus.parse(
            self.box.run(
                "curl", "-sS", "--max-time", 5, f"http://127.0.0.1:{METRICS}/metrics"
            ).stdout
        )

    def run(self, *arguments, check=True, stdin=None):
        """Its command line; the CompletedProcess."""
        return self.box.run(
            *[build_folder() / "pillion-server", "control", *arguments],
            *["--json", f"--socket={self._state / 'control.sock'}"],
            check=check,
            stdin=stdin,
        )

    def cli(self, *arguments):
        """The JSON output of a command."""
        text = self.run(*arguments).stdout
        return json.loads(text) if text.strip() else None

    def auth_key(self, reusable=False, ephemeral=False, expiration="1h", tags=()):
        """A new pre-authentication key."""
        flags = ["--user", "lab", "--expiry", expiration]
        flags += ["--reusable"] if reusable else []
        flags += ["--ephemeral"] if ephemeral else []
        flags += ["--tags", ",".join(tags)] if tags else []
        return self.cli("keys", "create", *flags)["key"]

    def expired_auth_key(self):
        """An expired key."""
        key = self.auth_key()
        self.cli("keys", "expire", key.split("-")[2])
        return key

    def nodes(self):
        """All nodes, by name, with the members that tests of Headscale's use."""
        found = {}
        for node in self.cli("nodes", "list")["nodes"]:
            when = node.get("expiry")
            seconds = time.mktime(time.strptime(when[:19], "%Y-%m-%dT%H:%M:%S")) if when else 0
            node["expiry"] = {"seconds": seconds - time.timezone if when else 0}
            found[node["name"]] = node
        return found

    def node(self, name):
        return self.nodes().get(name)

    def delete(self, name):
        self.cli("nodes", "delete", name)

    def expire(self, name):
        self.cli("nodes", "expire", name)

    def set_policy(self, policy):
        self.run("policy", "set", "-", stdin=json.dumps(policy))

    def wait_offline(self, name, timeout=30):
        wait_for(lambda: not self.node(name)["online"], timeout, f"{name} to be offline")
