# SPDX-License-Identifier: BSD-3-Clause
"""Boxes (network namespaces), the switch and NAT routers between them; drawn in lab/__init__."""

import itertools
import os
import shlex
import subprocess
from pathlib import Path

from lab.build import ROOT
from lab.process import Process
from lab.sanitizers import check_text

NETNS = Path("/run/netns")
PROGRAMS = Path(__file__).with_name("programs.py")
PYTHON = "/usr/bin/python3"
PREFIX = "plab"
SWITCH_MAC = "02:00:00:00:77:fe"
numbers = itertools.count(1)
NAMES_V4, NAMES_V6 = "10.77.0.254", "fd77::fe"  # the switch's own addresses: a name server


def _run(*arguments, stdin=None, check=True):
    done = subprocess.run(
        [str(argument) for argument in arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"{shlex.join(str(a) for a in arguments)} ended with {done.returncode}: {done.stderr}"
        )
    return done


def _alive(pid):
    return Path(f"/proc/{pid}").exists()


def _namespaces():
    """The names of all network namespaces."""
    return [path.name for path in NETNS.iterdir()] if NETNS.exists() else []


def sweep():
    """Remove the namespaces of test processes that were killed."""
    for name in _namespaces():
        parts = name.split("-")
        if parts[0] == PREFIX and len(parts) > 2 and parts[1].isdigit() and not _alive(parts[1]):
            _run("ip", "netns", "delete", name, check=False)


class Box:
    """One host: a network namespace, and files that programs in it see as /etc/hosts and so on."""

    def __init__(self, lab, name, namespace):
        self.lab = lab
        self.name = name
        self.namespace = namespace
        self.v4 = None
        self.v6 = None
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.port = None  # its end on the switch
        self.resolv_conf = self.folder / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {NAMES_V4}\n")

    def enter(self, *arguments):
        """The command line that runs `arguments` in this network namespace, and nothing more."""
        return ["nsenter", f"--net={NETNS / self.namespace}", "--", *map(str, arguments)]

    def container_command(self, arguments, capabilities=None):
        """The same as in a container: mounts and process ids of its own, /proc/sys read-only.

        All of it ends when its first process does. `capabilities`, "net_admin,chown": all others
        are taken away.
        """
        hosts, resolv_conf = (shlex.quote(str(f)) for f in (self.lab.hosts, self.resolv_conf))
        script = (
            f"mount --bind {hosts} /etc/hosts && mount --bind {resolv_conf} /etc/resolv.conf && "
            "mount -t tmpfs tmpfs /run && "
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && "
            'exec "$@"'
        )
        if capabilities:
            bounds = ",".join(["-all", *(f"+{name}" for name in capabilities.split(","))])
            arguments = ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", *arguments]
        return self.enter(
            *["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"],
            *["sh", "-c", script, "sh", *arguments],
        )

    def run(self, *arguments, stdin=None, check=True, timeout=60, environment=None):
        """Run to the end in the network namespace; returns the CompletedProcess, text in stdout."""
        done = subprocess.run(
            self.enter(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment,
        )
        check_text(done.stdout + done.stderr, f"{self.name}: {shlex.join(map(str, arguments))}")
        if check and done.returncode != 0:
            raise AssertionError(
                f"in {self.name}: {shlex.join(map(str, arguments))} ended with "
                f"{done.returncode}: {done.stdout}{done.stderr}"
            )
        return done

    def start(self, *arguments, environment=None, log=None, capabilities=None):
        """Start a program as in a container; it ends with the lab at the latest."""
        name = log or Path(str(arguments[0])).name
        full = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        full.update(environment or {})
        command = self.container_command([str(a) for a in arguments], capabilities)
        process = Process(self, arguments, command, self.folder / f"{name}.log", full)
        self.lab.processes.append(process)
        return process

    def curl(self, url, timeout=5, check=True):
        """Fetch a page from here; its text, or with check=False None when it can't be had."""
        done = self.run(
            *["curl", "--silent", "--show-error", "--fail", "--noproxy", "*"],
            *["--max-time", timeout, url],
            check=check,
            timeout=timeout + 5,
        )
        return done.stdout if done.returncode == 0 else None

    def sysctl(self, key, value):
        self.run("sysctl", "-qw", f"{key}={value}")

    def nft(self, text):
        self.run("nft", "-f", "-", stdin=text)


class Lab:
    """The switch and the boxes on it. In a hermetic one only our own programs are nodes.

    with Lab(folder) as lab:
        control = lab.box("control")
        …
    """

    def __init__(self, folder, hermetic=False):
        self.folder = Path(folder)
        self.hermetic = hermetic
        self.folder.mkdir(parents=True, exist_ok=True)
        self.names = self.folder / "names"  # the records of the name server
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
        self.boxes = {}
        self.processes = []
        self._prefix = f"{PREFIX}-{os.getpid()}-{next(numbers)}-"
        self._routers = 0
        self._moves = 0
        self._cuts = {}
        sweep()
        self._switch = self._namespace("switch")
        # A fixed address: a bridge without one takes the lowest address of its ports, so a new box
        # could change it, and the others would ask the name server at the old address.
        self._ip(self._switch, "link", "add", "br0", "address", SWITCH_MAC, "type", "bridge")
        self._ip(self._switch, "link", "set", "br0", "up")
        self._ip(self._switch, "addr", "add", f"{NAMES_V4}/24", "dev", "br0")
        self._ip(self._switch, "addr", "add", f"{NAMES_V6}/64", "dev", "br0", "nodad")
        self._write_names()
        self._apply_cuts()
        Box(self, "switch", self._switch).start(
            *[PYTHON, PROGRAMS, "names", self.names], log="names"
        ).wait_text("^serving", 10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close_all()

    def stop_built(self):
        """End our own programs in order: only so do they look for leaks."""
        for process in reversed(self.processes):
            if process.running() and Path(process.arguments[0]).is_relative_to(ROOT / "build"):
                process.stop(10)

    def close_all(self):
        """End every program and remove every namespace."""
        try:
            for process in reversed(self.processes):
                process.kill()
            self.processes.clear()
        finally:
            for name in _namespaces():
                if name.startswith(self._prefix):
                    _run("ip", "netns", "delete", name, check=False)

    def _namespace(self, name):
        namespace = self._prefix + name
        _run("ip", "netns", "add", namespace)
        self._ip(namespace, "link", "set", "lo", "up")
        return namespace

    @staticmethod
    def _ip(namespace, *arguments):
        _run("ip", "-n", namespace, *arguments)

    def _write_names(self):
        """Write NAME.lab for every box; the name server reads the file for every question."""
        lines = [
            f"{address} {box.name}.lab\n"
            for box in self.boxes.values()
            for address in (box.v4, box.v6)
            if address
        ]
        new = self.names.with_suffix(".new")
        new.write_text("".join(lines))
        new.rename(self.names)

    def _wire(self, box, peer, cable):
        """A cable from the box's eth0 to `cable` in the namespace `peer`."""
        self._ip(box.namespace, "link", "add", "eth0", "type", "veth", "peer", cable)
        self._ip(box.namespace, "link", "set", cable, "netns", peer)
        for namespace, device in ((box.namespace, "eth0"), (peer, cable)):
            self._ip(namespace, "link", "set", device, "up")

    def box(self, name, behind=None, v6=True):
        """Add a host on the switch, or behind a router made by router()."""
        box = Box(self, name, self._namespace(name))
        if behind is None:
            number = sum(1 for other in self.boxes.values() if other.port) + 1
            box.port = f"p{number}"
            box.v4, box.v6 = f"10.77.0.{number}", f"fd77::{number}" if v6 else None
            self._wire(box, self._switch, box.port)
            self._ip(self._switch, "link", "set", box.port, "master", "br0")
            self._ip(box.namespace, "addr", "add", f"{box.v4}/24", "dev", "eth0")
            if v6:
                self._ip(box.namespace, "addr", "add", f"{box.v6}/64", "dev", "eth0", "nodad")
        else:
            self._wire(box, behind.namespace, "lan")
            inside = f"10.78.{behind.number}"
            box.v4 = f"{inside}.2"
            self._ip(behind.namespace, "addr", "add", f"{inside}.1/24", "dev", "lan")
            self._ip(box.namespace, "addr", "add", f"{box.v4}/24", "dev", "eth0")
            self._ip(box.namespace, "route", "add", "default", "via", f"{inside}.1")
        self.boxes[name] = box
        self._write_names()
        return box

    def set_port_address(self, box, address):
        """Another Ethernet address for the box's port of the switch."""
        self._ip(self._switch, "link", "set", box.port, "address", address)

    def move(self, box):
        """Give a host on the switch other addresses, as when its machine was replaced.

        Returns the old ones, (IPv4, IPv6); the name server knows the new ones at once.
        """
        old = box.v4, box.v6
        self._moves += 1
        box.v4, box.v6 = f"10.77.0.{100 + self._moves}", f"fd77::{100 + self._moves}"
        for address, length, was in ((box.v4, 24, old[0]), (box.v6, 64, old[1])):
            nodad = ["nodad"] if length == 64 else []
            self._ip(box.namespace, "addr", "del", f"{was}/{length}", "dev", "eth0")
            self._ip(box.namespace, "addr", "add", f"{address}/{length}", "dev", "eth0", *nodad)
        self._write_names()
        self.forget_neighbours()
        return old

    def forget_neighbours(self):
        """Drop cached link addresses, as a gratuitous ARP of a moved host would do."""
        for box in self.boxes.values():
            self._ip(box.namespace, "neigh", "flush", "all")

    def router(self, name, kind="easy"):
        """A NAT router on the switch; box(behind=…) puts a host behind it.

        easy: ports are kept (endpoint-independent as far as Linux goes); hard: a random port for
        every destination; blocked: TCP only, so that UDP never leaves.
        """
        router = self.box(name, v6=False)
        self._routers += 1
        router.number = self._routers
        router.sysctl("net.ipv4.ip_forward", 1)
        masquerade = {
            "easy": "masquerade persistent",
            "hard": "masquerade fully-random",
            "blocked": "masquerade",
        }[kind]
        drop = "meta l4proto udp drop" if kind == "blocked" else ""
        router.nft(
            f"""
            table ip lab {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat;
                    oifname eth0 {masquerade}
                }}
                chain forward {{
                    type filter hook forward priority filter;
                    {drop}
                    iifname eth0 ct state new drop
                }}
            }}
            """
        )
        return router

    def close_udp(self, one, other):
        """Let no UDP pass between two boxes (both families), so that their nodes need a relay."""
        self._cuts[frozenset((one.name, other.name))] = "udp"
        self._apply_cuts()

    def close(self, one, other):
        """Let nothing pass between two boxes."""
        self._cuts[frozenset((one.name, other.name))] = "all"
        self._apply_cuts()

    def open(self, one, other):
        """Undo close() and close_udp()."""
        self._cuts.pop(frozenset((one.name, other.name)), None)
        self._apply_cuts()

    def _apply_cuts(self):
        rules = []
        for pair, what in self._cuts.items():
            ports = [self.boxes[name].port for name in pair]
            for a, b in (ports, reversed(ports)):
                protocol = "meta l4proto udp " if what == "udp" else ""
                rules.append(f"iifname {a} oifname {b} {protocol}counter drop")
        _run(
            *["ip", "netns", "exec", self._switch, "nft", "-f", "-"],
            stdin=(
                "table bridge lab\ndelete table bridge lab\ntable bridge lab {\n"
                " chain cuts {\n  type filter hook forward priority filter; policy accept;\n"
                + "".join(f"  {rule}\n" for rule in rules)
                + " }\n}\n"
            ),
        )
