# SPDX-License-Identifier: BSD-3-Clause
"""Stock nodes: a plain peer, the official container entrypoint, and its daemon with a nanny."""

import os

from lab.peers import peer
from lab.process import command_name, descendants
from lab.sidecar import Sidecar


class Tailscaled(Sidecar):
    """tailscaled, and `tailscale up`, as on a laptop."""

    kind = "tailscaled"
    peers = ""  # how the folder of its programs begins

    def _arguments(self):
        return [
            peer("tailscaled", self.peers),
            f"--statedir={self.state}",
            f"--socket={self.socket}",
            "--tun=tailscale0",
            "--no-logs-no-support",
        ]

    def start(self, auth_key=None, environment=None):
        self.process = self.box.start(
            *self._arguments(), environment=self.environment(None, environment)
        )
        self.process.wait_text("(?i)got LocalBackend|Engine created", 20)
        if auth_key:
            self.up(auth_key)

    def engine_pid(self):
        return self.process.pid


class OldestTailscaled(Tailscaled):
    """Of the first release with the lowest capability version that our server admits."""

    peers = "oldest-"


class Containerboot(Sidecar):
    """The official image's entrypoint with the official daemon."""

    kind = "containerboot"

    def start(self, auth_key=None, environment=None):
        folder = peer("containerboot").parent
        variables = self.environment(auth_key, environment)
        variables["PATH"] = f"{folder}:{os.environ['PATH']}"
        variables.setdefault("TS_TAILSCALED_EXTRA_ARGS", "--no-logs-no-support")
        self.process = self.box.start(peer("containerboot"), environment=variables)

    def engine_pid(self):
        for pid in descendants(self.process.pid):
            if command_name(pid) == "tailscaled":
                return pid
        raise AssertionError(f"no tailscaled: {self.process.describe()}")


class OfficialDaemon(Tailscaled):
    """The official daemon, started again when it was killed: what a nanny can do for it.

    Its interface goes with it, so that this shows what a test of healing sees without a healer
    in place; connections survive if it is back soon enough.
    """

    kind = "official"
    heals = True

    def wait_started(self, timeout=60):
        self.wait_running(timeout)

    def kill_engine(self):
        self.process.kill()
        self.start()
