# SPDX-License-Identifier: BSD-3-Clause
"""The netlink room in namespaces of its own: netstate_tool stands where the supervisor will."""

import ctypes
import itertools
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from lab.build import TOOLS

TOOL = TOOLS / "netstate_tool"
PRIORITIES = [5210, 5230, 5250, 5270]
CLONE_NEWNET = 0x40000000
numbers = itertools.count(1)


class Namespace:
    """A network namespace; commands and sockets in it."""

    def __init__(self):
        self.name = f"pl{os.getpid()}n{next(numbers)}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip link set lo up")

    def enter(self, *command):
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def run(self, command, check=True):
        done = subprocess.run(self.enter("sh", "-c", command), capture_output=True, text=True)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.stderr}")
        return done.stdout

    def json(self, command):
        return json.loads(self.run(command) or "[]")

    def socket(self, *kind):
        """A socket made inside: a thread may live in another namespace than its process."""
        made = []

        def make():
            with Path(f"/run/netns/{self.name}").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.socket(*kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def rules(self, family=4):
        """Our and the official client's, as (priority, protocol, table)."""
        shown = self.json(f"ip -{family} -d -j rule")
        return [
            (rule["priority"], rule.get("protocol"), rule.get("table"))
            for rule in shown
            if 5200 <= rule["priority"] < 5300
        ]

    def routes(self, family=4, table=52):
        shown = self.run(f"ip -{family} -d -j route show table {table} 2>/dev/null", check=False)
        return {route["dst"]: route["protocol"] for route in json.loads(shown or "[]")}

    def addresses(self, link="tailscale0"):
        shown = self.json(f"ip -j addr show dev {link}")
        return {
            f"{address['local']}/{address['prefixlen']}"
            for one in shown
            for address in one.get("addr_info", [])
        }

    def delete(self):
        subprocess.run(["ip", "netns", "del", self.name], check=True)


class Tool:
    """A running netstate_tool, one JSON answer a command."""

    def __init__(self, namespace, *arguments, within=()):
        self.process = subprocess.Popen(
            namespace.enter(*within, str(TOOL), *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Freed memory is used again at once, so the peak is that of the product.
            env=os.environ | {"ASAN_OPTIONS": "quarantine_size_mb=1"},
        )

    def raw(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __call__(self, *commands):
        """Each must succeed; the last answer."""
        for command in commands:
            answer = self.raw(command)
            assert answer["ok"], f"{command}: {answer}"
        return answer

    def fails(self, command):
        answer = self.raw(command)
        assert not answer["ok"], f"{command} should have failed"
        return answer["code"], answer["error"]

    def events(self):
        """The kinds of events after the first notification."""
        answer = self("events 5000")
        return {name for name in ("interfaces", "ours", "gone") if answer[name]}

    def settle(self):
        """Read the events of our own changes."""
        while any(self("events 100")[name] for name in ("interfaces", "ours", "gone")):
            pass

    def wait_for(self, event):
        seen = set()
        deadline = time.monotonic() + 10
        while event not in seen and time.monotonic() < deadline:
            seen |= self.events()
        assert event in seen
        return seen

    def stop(self, number=None):
        if number is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        return code


class Maker:
    """Namespaces and tools, gone when the test is."""

    def __init__(self):
        self.namespaces = []
        self.tools = []

    def namespace(self):
        self.namespaces.append(Namespace())
        return self.namespaces[-1]

    def tool(self, namespace, *arguments, within=()):
        self.tools.append(Tool(namespace, *arguments, within=within))
        return self.tools[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        failed = []
        for tool in self.tools:
            if tool.process.poll() is None and tool.stop() != 0:
                failed.append(tool.process.args)
        for namespace in self.namespaces:
            namespace.delete()
        assert not failed, "a tool ended with an error (a sanitizer's?)"
