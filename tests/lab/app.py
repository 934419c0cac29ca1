# SPDX-License-Identifier: BSD-3-Clause
"""The app beside a node, and connections that are held open to it."""

import re
import time

from lab.network import PROGRAMS, PYTHON
from lab.waiting import wait_for

PORT = 8080
TICK = 0.05  # seconds between the lines of a connection of ticks, as in programs.py


def url(address, path="/", port=PORT):
    """http://address:8080/…, with brackets around IPv6."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


def reflect_udp(box):
    """A UDP server on port 9 that answers with the address that it saw."""
    box.start(PYTHON, PROGRAMS, "reflect", 9, log="reflect").wait_text("^serving", 10)


def ask_udp(box, *addresses, local_port=0):
    """What such servers saw of one socket in the box, "ADDRESS PORT"; None for no answer."""
    done = box.run(PYTHON, PROGRAMS, "ask", local_port, *addresses)
    return [line or None for line in done.stdout.split("\n")[:-1]]


class App:
    """Serves in a box, like the app's own container in the node's network namespace."""

    def __init__(self, box, port=PORT):
        self.box = box
        self.page = f"this is {box.name}\n"
        self.process = box.start(PYTHON, PROGRAMS, "serve", box.name, port, log=f"app-{port}")
        self.process.wait_text("^serving", 10)


class Held:
    """A TCP connection from a box to an App that stays open while things happen around it."""

    def __init__(self, box, address, kind):
        self.kind = kind
        self.process = box.start(
            PYTHON, PROGRAMS, "hold", address, PORT, log=f"held-{kind}-{time.monotonic_ns()}"
        )
        self.process.wait_text("^connected", 25)
        self.process.write(f"{kind}\n")
        self._sent = 0

    def lines(self):
        """What came so far: (text, seconds since the line before)."""
        found = re.findall(r"^got (\S+) (\S+) (\S+)$", self.process.text(), re.MULTILINE)
        return [(text, float(gap)) for text, _, gap in found]

    def intact(self):
        """The connection was neither closed nor broken."""
        return self.process.running() and not re.search(
            r"^(broken|end of connection)", self.process.text(), re.MULTILINE
        )

    def echo(self, timeout):
        """Send a line (kind "echo") and wait for it; returns the seconds it took."""
        self._sent += 1
        text = f"line-{self._sent}"
        began = time.monotonic()
        self.process.write(text + "\n")
        self.process.wait_text(f"^got {text} ", timeout)
        return time.monotonic() - began

    def wait_ticks(self, more, timeout, since=None):
        """Wait for so many ticks (kind "ticks") from line `since` on, or from now on.

        None is missing, and none came twice.
        """
        want = (len(self.lines()) if since is None else since) + more
        wait_for(lambda: len(self.lines()) >= want, timeout, lambda: self.process.describe())
        numbers = [int(text) for text, _ in self.lines()]
        assert numbers == list(range(len(numbers))), "the stream of ticks has a hole"

    def longest_gap(self, since=0):
        """The longest time between two lines, from line `since` on."""
        return max((gap for _, gap in self.lines()[since:]), default=0.0)
