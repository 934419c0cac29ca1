# SPDX-License-Identifier: BSD-3-Clause
"""The engine's relay pool on a terminal (tests/tools/relay_tool.c): it prints an event a line.

A test waits for lines, never for time.
"""

import json
import queue
import re
import socket
import subprocess
import threading
import time

from lab.build import TOOLS

TOOL = TOOLS / "relay_tool"
TIMEOUT = 20


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Tool:
    """A relay_tool with its events as a queue of lines."""

    def __init__(self, folder, derp_map, *arguments, wrapper=()):
        self.map = folder / f"map-{time.monotonic_ns()}.json"
        self.map.write_text(json.dumps(derp_map))
        self.process = subprocess.Popen(
            [*wrapper, str(TOOL), str(self.map), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()
        self.key = self.wait("key (.*)")[1]

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def wait(self, pattern, timeout=TIMEOUT):
        """The next line that matches; those before it are in self.seen."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                shown = "\n".join(self.seen[-20:])
                raise AssertionError(f"no line like {pattern!r}; there were:\n{shown}") from None
            self.seen.append(line)
            if match := re.fullmatch(pattern, line):
                return match

    def say(self, line):
        self.process.stdin.write(line + "\n")

    def home(self, region):
        self.say(f"home {region}")
        self.wait(f"ready {region} home")

    def send(self, region, key, data):
        self.say(f"send {region} {key} {data.hex()}")
        return int(self.wait(r"sent (-?\d+)")[1])

    def status(self, region):
        self.say("status")
        found = None
        while (line := self.wait(r"status .*")[0]) != "status end":
            if line.startswith(f"status {region} "):
                found = line
        return found

    def quit(self):
        if self.process.poll() is None:
            self.say("quit")
        # Sanitizers report leaks in the exit status.
        assert self.process.wait(TIMEOUT) == 0


def region(number, *nodes):
    return {"RegionID": number, "RegionCode": f"r{number}", "Nodes": list(nodes)}


def derp_map(*regions):
    return {"Regions": {str(r["RegionID"]): r for r in regions}}
