#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/tunnel.py - packets between two nodes: throughput, CPU time, round trip, memory

Two nodes of each contender in namespaces of this machine, on one switch. The contenders take turns
in each round:

    raw               no tunnel: the wire itself
    pillion           the release build, every offload that the kernel has
    official          the newest official daemon that scripts/peers builds, and the one before it
    official-before
    wireguard-go      WireGuard alone, without a control server or a relay, at the same MTU
    boringtun
    --without NAMES   pillion with this value of PILLION_DISABLE (may be repeated)
    --build FOLDER    another build of pillion (may be repeated)

    TCP           iperf3, Gbit/s: one stream, eight streams, one stream in each direction
    UDP           datagrams received, thousands a second, sent as fast as it goes
    round trip    of ping: average and 99th percentile, alone (µs) and beside one TCP stream (ms)
    CPU           seconds of both ends' processes for a GB in one TCP stream
    relay         TCP and round trip of a second pair between which no UDP passes
    memory        of one node, each page once, before the first load and beside the TCP stream, MiB

Medians of the rounds, and (in brackets) the lowest and highest. --write puts the table, the ratios
and a plot into docs/. Needs root, iperf3, a release build; scripts/bench --tunnel installs and
builds all that first, and the contenders.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import memory  # noqa: E402
import report  # noqa: E402
from lab import Control, Lab, Pillion, Tailscaled, wait_for  # noqa: E402
from lab.process import cpu_seconds  # noqa: E402
from lab.userspace_wireguard import wireguard_pair  # noqa: E402

MIB = 2**20
# Name, unit, what the goal says of pillion beside `official`: a ratio, or (None) nothing.
ROWS = [
    ("TCP one stream", "Gbit/s", "≥ 2.5"),
    ("TCP 8 streams", "Gbit/s", "≥ 2.5"),
    ("TCP both ways", "Gbit/s", "≥ 2.5"),
    ("UDP 64 B", "thousands/s", "≥ 5"),
    ("UDP 512 B", "thousands/s", "≥ 5"),
    ("UDP 1200 B", "thousands/s", "≥ 5"),
    ("round trip idle, average", "µs", "≤ 0.25"),
    ("round trip idle, p99", "µs", "≤ 0.25"),
    ("round trip under TCP, average", "ms", "≤ 0.2"),
    ("round trip under TCP, p99", "ms", "≤ 0.2"),
    ("CPU of both ends", "s/GB", "≤ 0.33"),
    ("relay only, TCP", "Gbit/s", None),
    ("relay only, round trip", "µs", None),
    ("memory idle", "MiB", None),
    ("memory under load", "MiB", None),
]


class Newest(Tailscaled):
    """The newest official daemon, which scripts/peers --bench builds."""

    peers = "newest-"


class Ends:
    """Two boxes, the address of the second through the tunnel, and the processes of both ends."""

    def __init__(self, a, b, target, processes):
        self.a, self.b, self.target, self.processes = a, b, target, processes
        self.b.start("iperf3", "-s", log="iperf3")
        wait_for(self.answers, 30, f"iperf3 at {target}")

    def answers(self):
        return self.a.run("iperf3", "-c", self.target, "-n", 1, check=False).returncode == 0

    def round_trips(self, count, interval):
        """Milliseconds of `count` pings, sorted."""
        text = self.a.run("ping", f"-i{interval}", f"-c{count}", "-W2", self.target).stdout
        return sorted(float(t) for t in re.findall(r"time=([\d.]+)", text))

    def cpu(self):
        return cpu_seconds([pid for pids in self.processes() for pid in pids])

    def memory(self):
        """MiB of the second end."""
        pids = self.processes()[-1:]
        return memory.measure(pids[0])["total"] / MIB if pids else None

    def iperf(self, *arguments):
        return json.loads(self.a.run("iperf3", "-J", "-c", self.target, *arguments).stdout)["end"]

    def gigabits(self, *arguments):
        return self.iperf(*arguments)["sum_received"]["bits_per_second"] / 1e9

    def udp(self, seconds, size):
        end = self.iperf("-t", seconds, "-u", "-b0", "-l", size)
        got = end.get("sum_received") or end["sum"]
        return (got["packets"] - got["lost_packets"]) / got["seconds"] / 1e3

    def measure(self, seconds):
        before = self.cpu()
        tcp = self.iperf("-t", seconds)["sum_received"]
        cpu = self.cpu() - before
        both = self.iperf("-t", seconds, "--bidir")
        idle = self.round_trips(300, 0.01)
        load = self.a.start("iperf3", "-c", self.target, "-t", seconds + 2, log="load")
        time.sleep(0.5)  # the stream's own start is not measured
        loaded = self.round_trips(seconds * 50, 0.02)
        held = self.memory()
        load.wait(seconds + 30)
        return {
            "TCP one stream": tcp["bits_per_second"] / 1e9,
            "TCP 8 streams": self.gigabits("-t", seconds, "-P8"),
            "TCP both ways": sum(
                both[name]["bits_per_second"] / 1e9
                for name in ("sum_received", "sum_received_bidir_reverse")
            ),
            **{f"UDP {size} B": self.udp(seconds, size) for size in (64, 512, 1200)},
            "round trip idle, average": 1000 * sum(idle) / len(idle),
            "round trip idle, p99": 1000 * report.percentile(idle, 99),
            "round trip under TCP, average": sum(loaded) / len(loaded),
            "round trip under TCP, p99": report.percentile(loaded, 99),
            "CPU of both ends": cpu / (tcp["bytes"] / 1e9) if self.processes() else None,
            "memory under load": held,
        }

    def measure_relay(self, seconds):
        idle = self.round_trips(300, 0.01)
        return {
            "relay only, TCP": self.gigabits("-t", seconds),
            "relay only, round trip": 1000 * sum(idle) / len(idle),
        }


class Contender:
    """Its pair with a direct path, and one with a relay only, or None."""

    def __init__(self, direct, relayed=None):
        self.direct, self.relayed = direct, relayed
        self.idle = None

    def measure(self, seconds):
        if self.idle is None:  # the other contenders have started since, so this one has settled
            self.idle = self.direct.memory()
        result = {**self.direct.measure(seconds), "memory idle": self.idle}
        if self.relayed:
            result |= self.relayed.measure_relay(seconds)
        return result


class World:
    """The switch, the control server with its relay, and contenders on demand."""

    def __init__(self, folder):
        self.lab = Lab(folder)
        self.control = Control(self.lab.box("control"))
        self.count = 0

    def boxes(self):
        self.count += 1
        return [self.lab.box(f"{end}{self.count}") for end in "ab"]

    def tailnet_ends(self, kind, environment, path):
        boxes = self.boxes()
        if path == "relay":
            self.lab.close_udp(*boxes)
        a, b = nodes = [kind(box, self.control) for box in boxes]
        for node in nodes:
            node.start(self.control.auth_key(), environment)
            node.wait_running()
        a.wait_knows(b)
        a.wait_path(b, path)
        return Ends(*boxes, b.addresses()[0], lambda: [node.processes() for node in nodes])

    def tailnet(self, kind, environment=None):
        return Contender(
            *(self.tailnet_ends(kind, environment, path) for path in ("direct", "relay"))
        )

    def wireguard(self, program):
        boxes = self.boxes()
        target, processes = wireguard_pair(*boxes, program)
        return Contender(Ends(*boxes, target, lambda: [[p.pid] for p in processes]))

    def raw(self):
        a, b = self.boxes()
        return Contender(Ends(a, b, b.v4, list))

    def build(self, folder):
        """pillion of another build folder."""
        before = os.environ.get("PILLION_BUILD")
        os.environ["PILLION_BUILD"] = folder
        contender = self.tailnet(Pillion)
        os.environ.pop("PILLION_BUILD")
        if before:
            os.environ["PILLION_BUILD"] = before
        return contender


KINDS = {
    "raw": World.raw,
    "pillion": lambda world: world.tailnet(Pillion),
    "official": lambda world: world.tailnet(Newest),
    "official-before": lambda world: world.tailnet(Tailscaled),
    "wireguard-go": lambda world: world.wireguard("wireguard-go"),
    "boringtun": lambda world: world.wireguard("boringtun-cli"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="of the contenders, by comma")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--without", action="append", default=[], metavar="NAMES")
    parser.add_argument("--build", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--noisy", action="store_true", help="measure beside other work too")
    parser.add_argument("--write", action="store_true", help="put the result into docs/")
    options = parser.parse_args()
    kinds = [name for name in options.kinds.split(",") if name]
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown contender {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if not options.noisy:
        report.require_quiet()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "lab")
        with world.lab:
            contenders = {}
            for name in kinds:
                if name == "boringtun" and not shutil.which("cargo"):
                    print("without boringtun: there is no cargo to build it with", file=sys.stderr)
                    continue
                contenders[name] = KINDS[name](world)
            for names in options.without:
                contenders[f"without {names}"] = world.tailnet(Pillion, {"PILLION_DISABLE": names})
            for build in options.build:
                contenders[build] = world.build(build)
            results = report.rounds(contenders, options.rounds, options.seconds)
    text = report.table(ROWS, results, "pillion", "official")
    print(text)
    if options.write:
        report.write("tunnel", text, ROWS, results, options)


if __name__ == "__main__":
    main()
