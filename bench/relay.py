#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/relay.py - what a relay costs: memory of an idle client, and bytes through it a second

Our relay (pillion-server derp) and the stock derper, each alone on loopback over TLS, taking turns:

    idle     private memory for each of N idle clients (less the memory without clients)
    flood    one client sends 1400-byte packets to another as fast as it can: bytes a second that
             arrive, and the CPU seconds of the relay for a gigabyte

Medians of the rounds. Sender and receiver share the machine with the relay. Needs a release build
and scripts/peers; no root.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from lab.build import build_folder  # noqa: E402
from lab.peers import peer  # noqa: E402
from lab.relay_tool import free_port  # noqa: E402

BUILD = build_folder()
LOAD = BUILD / "tests/tools/relay_load"


def start_own(folder, port):
    return [
        *[BUILD / "pillion-server", "derp", "--ipv4=127.0.0.1", "--stun=off"],
        *[f"--listen=127.0.0.1:{port}", f"--statedir={folder}/relay", "--log-level=error"],
    ]


def start_stock(folder, port):
    return [
        *[peer("derper"), "-c", f"{folder}/derper.key", "-a", f"127.0.0.1:{port}"],
        *["-http-port", "-1", "-stun=false", "-hostname", "127.0.0.1"],
        *["-certmode", "manual", "-certdir", folder],
    ]


KINDS = {"pillion": start_own, "derper": start_stock}


def private(pid):
    """Private memory of a process in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(n) for n in re.findall(r"^Private_\w+: +(\d+) kB", text, re.M))


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(kind, clients, seconds):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(a) for a in KINDS[kind](folder, port)]
        relay = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            load = [str(LOAD), str(port)]
            # The first client's costs are the program's.
            subprocess.run([*load, "flood", "1"], check=True, stdout=subprocess.DEVNULL)
            before = private(relay.pid)
            idle = subprocess.Popen(
                [*load, "idle", str(clients)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert idle.stdout.readline() == "ready\n"
            time.sleep(1)
            each = (private(relay.pid) - before) / clients
            idle.stdin.close()
            idle.wait()
            cpu = cpu_seconds(relay.pid)
            done = subprocess.run(
                [*load, "flood", str(seconds)], check=True, capture_output=True, text=True
            )
            sent, received = (float(n) for n in re.findall(r"\d+", done.stdout))
            cpu = cpu_seconds(relay.pid) - cpu
        finally:
            relay.kill()
            relay.wait()
    return {
        "base MiB": before / 2**20,
        "idle client KiB": each / 1024,
        "received MB/s": received / 1e6,
        "CPU s a GB": cpu / (received * seconds / 1e9),
        "arrived %": 100 * received / sent,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            results[kind].append(measure(kind, options.clients, options.seconds))
    medians = {
        kind: {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
        for kind, rounds in results.items()
    }
    if options.json:
        print(json.dumps(medians, indent=2))
        return
    for name in next(iter(medians.values())):
        print(f"{name:>16}", *(f"{kind} {medians[kind][name]:8.2f}" for kind in medians), sep="  ")


if __name__ == "__main__":
    main()
