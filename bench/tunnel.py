#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/tunnel.py - packets between two nodes: throughput, CPU time, round trip

Two nodes in namespaces of this machine, one direct path. The variants take turns in each round:

    all          every offload that the kernel has
    NAME,NAME…   without these (--without, may be repeated): the value of PILLION_DISABLE
    FOLDER       another build (--build, may be repeated)

    TCP          one stream of iperf3, Gbit/s;  CPU: seconds of both nodes' processes for a GB
    TCP 8        eight streams
    UDP          datagrams of 1200 and 64 bytes received, thousands a second, sent as fast as it goes
    idle, load   round trip of ping, average, µs and ms: alone, and beside a TCP stream

Medians of the rounds, and (in brackets) the lowest and highest. Needs root, iperf3, a release build.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from lab import Control, Lab, Pillion, wait_for  # noqa: E402
from lab.process import cpu_seconds  # noqa: E402

COLUMNS = ["TCP", "CPU", "TCP 8", "UDP 1200", "UDP 64", "idle", "load"]


class Pair:
    """Two nodes of one variant."""

    def __init__(self, lab, control, number, environment):
        self.nodes = []
        for end in "ab":
            node = Pillion(lab.box(f"{end}{number}"), control)
            node.start(control.auth_key(), environment)
            node.wait_running()
            self.nodes.append(node)
        self.a, self.b = self.nodes
        self.target = self.b.addresses()[0]
        wait_for(lambda: self.ping("-c1", check=False).returncode == 0, 30, "a ping")
        self.a.wait_path(self.b, "direct")
        self.b.box.start("iperf3", "-s", log="iperf3")

    def ping(self, *arguments, check=True):
        return self.a.box.run("ping", "-q", "-W2", *arguments, self.target, check=check)

    def average(self, *arguments):
        return float(re.search(r"= [\d.]+/([\d.]+)/", self.ping(*arguments).stdout)[1])

    def cpu(self):
        return cpu_seconds([pid for node in self.nodes for pid in node.processes()])

    def iperf(self, *arguments):
        command = ["iperf3", "-J", "-c", self.target, *arguments]
        return json.loads(self.a.box.run(*command).stdout)["end"]

    def measure(self, seconds):
        before = self.cpu()
        tcp = self.iperf("-t", seconds)["sum_received"]
        result = {
            "TCP": tcp["bits_per_second"] / 1e9,
            "CPU": (self.cpu() - before) / (tcp["bytes"] / 1e9),
            "TCP 8": self.iperf("-t", seconds, "-P8")["sum_received"]["bits_per_second"] / 1e9,
        }
        for size in (1200, 64):
            end = self.iperf("-t", seconds, "-u", "-b0", "-l", size)
            got = end["sum_received"] if "sum_received" in end else end["sum"]
            count = got["packets"] - got["lost_packets"]
            result[f"UDP {size}"] = count / got["seconds"] / 1e3
        result["idle"] = self.average("-i0.01", "-c200") * 1000
        load = self.a.box.start("iperf3", "-c", self.target, "-t", seconds + 1, log="load")
        result["load"] = self.average("-i0.02", f"-c{seconds * 40}")
        load.wait(seconds + 30)
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--build", action="append", default=[])
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "lab") as lab:
        control = Control(lab.box("control"))
        pairs = {"all": Pair(lab, control, 0, {})}
        for number, names in enumerate(options.without, 1):
            pairs[names] = Pair(lab, control, number, {"PILLION_DISABLE": names})
        for number, build in enumerate(options.build, 100):
            os.environ["PILLION_BUILD"] = build
            pairs[build] = Pair(lab, control, number, {})
        for _ in range(options.rounds):
            for name, pair in pairs.items():
                for column, value in pair.measure(options.seconds).items():
                    results.setdefault((name, column), []).append(value)
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|")
    for name in pairs:
        cells = []
        for column in COLUMNS:
            v = results[name, column]
            cells.append(f"{statistics.median(v):.3g} ({min(v):.3g}-{max(v):.3g})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
