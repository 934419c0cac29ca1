#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/join.py - how fast a container joins a tailnet, and its memory

Real Headscale and a stock laptop in namespaces (tests/lab). Each round makes a fresh tailnet for
each kind of node, the kinds taking turns, and measures:

    started     from the start of the entrypoint with a new key to "Startup complete"
    first byte  to the first byte of the app's page at the laptop, which asks every 100 ms from
                "Startup complete" on
    running     from the start with state to Running and having addresses
    memory      all processes of the node together after joining (bench/memory.py), MiB

Most of a join is the time that Headscale collects writes before it answers (500 ms for each step):
--batch 5ms has it answer at once, so the rest is the node's own time. --timeline shows
where the time of pillion's join goes, by both logs:

    ready       from the start of the entrypoint to the engine's first line
    register    what Headscale says that it took to answer /machine/register ("elapsed")
    ask         the rest of the time until the node says "registered": key, TS2021, store of the key
    map         from there to Running: the map request, its answer, addresses and routes
    say         from there to "Startup complete"

Medians, with the fastest and slowest round. Needs root, scripts/peers and a release build.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import memory  # noqa: E402
from lab import App, Containerboot, Headscale, Lab, Pillion, Tailscaled, wait_for  # noqa: E402
from lab.app import PORT  # noqa: E402
from lab.network import PROGRAMS, PYTHON  # noqa: E402
from lab.sidecar import STARTED  # noqa: E402

KINDS = {"containerboot": Containerboot, "pillion": Pillion}
COLUMNS = {"started": "s", "first byte": "s", "running": "s", "memory": "MiB"}


def first_byte(laptop, address):
    """The moment (time.monotonic()) at which the laptop had the first byte of the app."""
    client = laptop.box.start(PYTHON, PROGRAMS, "first", address, PORT, log="first")
    return float(client.wait_text(r"^first byte (\S+)", 60)[1])


def one_round(kind, batch):
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "lab") as lab:
        control, sidecar, laptop = (lab.box(name) for name in ("control", "sidecar", "laptop"))
        headscale = Headscale(control, batch=batch)
        peer = Tailscaled(laptop, headscale).join()
        App(sidecar)
        node = KINDS[kind](sidecar, headscale)
        key = headscale.auth_key()

        began = time.monotonic()
        node.start(key)
        node.wait_started()
        result = {"started": time.monotonic() - began}
        result["first byte"] = first_byte(peer, "100.64.0.2") - began
        peer.wait_path(node, "direct")
        time.sleep(3)  # let it settle: the figure is for a node at rest
        result["memory"] = memory.measure(node.processes())["total"] / 2**20

        node.stop()
        wait_for(lambda: not headscale.node("sidecar").get("online"), 30, "the node offline")
        began = time.monotonic()
        node.start()
        node.wait_running()
        result["running"] = time.monotonic() - began
        return result


def stamp(text, pattern):
    """When the first line with the pattern was logged, in seconds of the day."""
    found = re.search(rf"^\d+-\d+-\d+T(\d+):(\d+):([\d.]+)Z .*{pattern}", text, re.MULTILINE)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


def timeline(batch):
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "lab") as lab:
        headscale = Headscale(lab.box("control"), batch=batch)
        node = Pillion(lab.box("sidecar"), headscale)
        key = headscale.auth_key()
        began = time.time() % 86400
        node.start(key)
        node.wait_started()
        text = node.process.text()
        ready, registered, running, said = (
            stamp(text, line)
            for line in ("state NeedsLogin", "registered with", "state Running", STARTED)
        )
        answered = re.search(
            r"elapsed=([\d.]+) method=POST path=/machine/register", headscale.process.text()
        )
        register = float(answered[1]) / 1000
        return {
            "ready": ready - began,
            "register": register,
            "ask": registered - ready - register,
            "map": running - registered,
            "say": said - running,
            "all": said - began,
        }


def table(results, columns):
    head = "".join(f"{name + ', ' + unit:>24}" for name, unit in columns.items())
    lines = [f"{'':14}{head}"]
    for kind, rounds in results.items():
        cells = ""
        for name in columns:
            values = [each[name] for each in rounds]
            median = statistics.median(values)
            cells += f"{f'{median:.2f} ({min(values):.2f}-{max(values):.2f})':>24}"
        lines.append(f"{kind:14}{cells}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--kinds", default="containerboot,pillion", metavar="LIST")
    parser.add_argument("--batch", metavar="TIME", help="Headscale's node_store_batch_timeout")
    parser.add_argument("--timeline", action="store_true", help="where the time of a join goes")
    arguments = parser.parse_args()
    if arguments.timeline:
        rounds = [timeline(arguments.batch) for _ in range(arguments.rounds)]
        print(table({"pillion": rounds}, dict.fromkeys(rounds[0], "s")))
        return
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown kinds: {', '.join(unknown)} (there are {', '.join(KINDS)})")
    results = {kind: [] for kind in kinds}
    for number in range(arguments.rounds):
        for kind in kinds:
            print(f"round {number + 1}: {kind}", file=sys.stderr)
            results[kind].append(one_round(kind, arguments.batch))
    print(table(results, COLUMNS))


if __name__ == "__main__":
    main()
