# SPDX-License-Identifier: BSD-3-Clause
"""The node under test behind one interface, so that a test proves itself on the official one."""

import json
import os
import re

from lab.build import build_folder
from lab.peers import peer
from lab.process import descendants
from lab.waiting import wait_for

STARTED = "Startup complete, waiting for shutdown signal"


class Sidecar:
    """A node beside an app. Subclasses say how it is started; its state outlives stop().

    Tests use the official command line for every kind of node, since all of them serve the same
    LocalAPI.
    """

    kind = "?"
    # Whether a dead engine (the process that holds the keys) is replaced with everything else
    # left in place.
    heals = False

    def __init__(self, box, headscale, hostname=None):
        self.box = box
        self.headscale = headscale
        self.hostname = hostname or box.name
        self.state = box.folder / "state"
        self.state.mkdir(exist_ok=True)
        self.socket = box.folder / "sock"
        self.process = None
        self.key = None  # that it joined with

    # What subclasses provide.

    def start(self, auth_key=None, environment=None):
        """Start it, with a key or from its state."""
        raise NotImplementedError

    def engine_pid(self):
        """The process that holds the keys."""
        raise NotImplementedError

    def kill_engine(self):
        """SIGKILL to the engine; what replaces it is the node's own business."""
        os.kill(self.engine_pid(), 9)

    # What they share.

    def environment(self, auth_key, more):
        """The variables of the container, with which the official and ours are started."""
        variables = {
            "TS_STATE_DIR": str(self.state),
            "TS_SOCKET": str(self.socket),
            "TS_USERSPACE": "false",
            "TS_AUTH_ONCE": "true",
            "TS_HOSTNAME": self.hostname,
            "TS_EXTRA_ARGS": f"--login-server={self.headscale.url}",
            "TS_DEBUG_FIREWALL_MODE": "nftables",
            "TS_NO_LOGS_NO_SUPPORT": "true",
            "SSL_CERT_FILE": str(self.headscale.authority.certificate),
        }
        if auth_key:
            variables["TS_AUTHKEY"] = auth_key
        variables.update(more or {})
        return variables

    def join(self, timeout=30):
        """Start with a fresh key and wait until it runs."""
        self.key = self.headscale.auth_key()
        self.start(self.key)
        self.wait_running(timeout)
        return self

    def stop(self, timeout=15):
        """SIGTERM, as a container engine does; (exit status, seconds)."""
        return self.process.stop(timeout)

    def kill(self):
        """All of it at once, as when the machine loses power."""
        self.process.kill()

    def cli_command(self, *arguments):
        program = build_folder() / "pillion" if self.box.lab.hermetic else peer("tailscale")
        return [program, f"--socket={self.socket}", *arguments]

    def cli(self, *arguments, check=True, timeout=60):
        """The official command line against this node's socket; ours in a hermetic lab."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.box.folder),
            "SSL_CERT_FILE": str(self.headscale.authority.certificate),
        }
        return self.box.run(
            *self.cli_command(*arguments),
            check=check,
            timeout=timeout,
            environment=environment,
        )

    def up(self, auth_key, *flags, check=True):
        """Log in with a key, and wait until it runs."""
        return self.cli(
            *["up", f"--auth-key={auth_key}", f"--login-server={self.headscale.url}"],
            *[f"--hostname={self.hostname}", "--accept-dns=false", "--timeout=30s", *flags],
            check=check,
        )

    def status(self):
        return json.loads(self.cli("status", "--json", check=False).stdout)

    def running(self):
        status = self.status()
        return status["BackendState"] == "Running" and bool(status["Self"]["TailscaleIPs"])

    def wait_running(self, timeout=30):
        wait_for(self.running, timeout, lambda: self.process.describe())
        return self

    def wait_state(self, state, timeout=30):
        wait_for(
            lambda: self.status()["BackendState"] == state,
            timeout,
            lambda: f"state {state}; {self.process.describe()}",
        )

    def wait_started(self, timeout=60):
        """Wait for the line that users look for."""
        return self.process.wait_text(re.escape(STARTED), timeout)

    def addresses(self):
        """(IPv4, IPv6) in the tailnet."""
        ips = self.status()["Self"]["TailscaleIPs"]
        return next(a for a in ips if ":" not in a), next(a for a in ips if ":" in a)

    def knows(self, other):
        """Whether this node has the other as an online peer."""
        peers = self.status().get("Peer") or {}
        return any(p["HostName"] == other.hostname and p["Online"] for p in peers.values())

    def wait_knows(self, other, timeout=30):
        wait_for(
            lambda: self.knows(other), timeout, f"{self.hostname} to see {other.hostname} online"
        )

    def path_to(self, other):
        """How a ping goes: "relay" or "direct"; None when there is no answer."""
        done = self.cli(
            *["ping", "--c", "1", "--until-direct=false", "--timeout", "2s", other.addresses()[0]],
            check=False,
        )
        if "pong from" not in done.stdout:
            return None
        return "relay" if re.search("via DERP|by relay", done.stdout) else "direct"

    def wait_path(self, other, path, timeout=30):
        seen = []

        def look():
            seen.append(self.path_to(other))
            return seen[-1] == path

        wait_for(look, timeout, lambda: f"path {path} to {other.hostname}; saw {seen}", 0.2)

    def processes(self):
        """Pids of all that the node consists of, its first process first."""
        return [self.process.pid, *descendants(self.process.pid)]
