# SPDX-License-Identifier: BSD-3-Clause
"""Our coordination server on 127.0.0.1, without a lab, and nodes that have no tunnel."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

from lab.build import BUILD
from lab.process import cpu_used
from lab.relay_tool import free_port
from lab.waiting import wait_for

JOIN = BUILD / "tests/unit/control/control_join"
SANITIZERS = ("AddressSanitizer", "LeakSanitizer", "runtime error:")


class LoopbackControl:
    """`pillion-server control serve`; start() again after kill() or stop().

    By default plain HTTP and no relay; tls=True: HTTPS by a private authority, or by the flags
    --certificate and --key; relay=True: with its relay and STUN.
    """

    def __init__(self, folder, tls=False, relay=False):
        self.folder = folder
        self.port = free_port()
        self.state = folder / "state"
        self.socket = self.state / "control.sock"
        self.ca = self.state / "ca.pem" if tls else None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.log = folder / "control.log"
        self.process = None
        self.wrapper = []  # a command that runs the rest of its line
        self.flags = ["--relay=off"]
        if relay:
            self.relay_port = free_port()
            self.stun_port = free_port(socket.SOCK_DGRAM)
            self.flags = [
                f"--relay-listen=127.0.0.1:{self.relay_port}",
                f"--stun-listen=127.0.0.1:{self.stun_port}",
            ]

    def begin(self, *flags):
        """Start it, and don't wait until it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.wrapper,
                    *[BUILD / "pillion-server", "control", "serve", f"--url={self.url}"],
                    *[f"--state={self.state}", *self.flags, *flags],
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A large quarantine of freed memory would look like memory of the server.
                env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=8"},
            )

    def start(self, *flags):
        self.begin(*flags)
        wait_for(self.healthy, 20, lambda: self.log.read_text())

    def healthy(self):
        assert self.process.poll() is None, self.log.read_text()
        return self.get("/health").read() == b"ok\n"

    def context(self):
        return ssl.create_default_context(cafile=self.ca) if self.ca else None

    def get(self, path, timeout=5):
        return urllib.request.urlopen(self.url + path, timeout=timeout, context=self.context())

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        self.process.terminate()
        return self.process.wait(10)

    def end(self):
        """Stop it; fail if a sanitizer has reported something."""
        if self.process and self.process.poll() is None:
            assert self.stop() == 0, self.log.read_text()
        for word in SANITIZERS:
            assert word not in self.log.read_text()

    def run(self, *arguments, stdin=None):
        return subprocess.run(
            [BUILD / "pillion-server", "control", *arguments, f"--socket={self.socket}"],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    def cli(self, *arguments, stdin=None):
        """The JSON output of a command; None if the command fails."""
        done = self.run(*arguments, "--json", stdin=stdin)
        if done.returncode != 0:
            return None
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def memory(self):
        """Its resident memory, in bytes."""
        return int(status_fields(self.process.pid)["VmRSS"].split()[0]) * 1024

    def cpu_used(self, seconds):
        """The CPU time that it uses in the next `seconds`."""
        return cpu_used([self.process.pid], seconds)

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)


class JoinedNode:
    """control_join: joins, and prints a line an event."""

    def __init__(self, server, key, folder, wrapper=()):
        self.log = folder / f"node-{time.monotonic_ns()}.log"
        arguments = [*wrapper, JOIN, server.url, key, *([server.ca] if server.ca else [])]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def registered(self):
        """Its node key, once the server has acknowledged it."""
        for line in self.text().splitlines():
            if " registered " in line:
                return line.split()[2]
        return None

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()


def status_fields(pid, thread=None):
    """/proc/PID/status, or a thread's, as a dict."""
    path = Path(f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status")
    return dict(re.findall(r"^(\w+):\s+(.*)$", path.read_text(), re.MULTILINE))


def threads_of(pid):
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def joined(node, timeout=20):
    """The node, once it has its netmap."""
    wait_for(lambda: " netmap " in node.text(), timeout, node.text)
    return node
