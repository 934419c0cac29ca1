#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Memory and time of the coordination server for N nodes in a full mesh.

    bench/control.py [--nodes 200] [--build release]

    N x control_join (our client, no tunnel) ──loopback, plain HTTP──▶ pillion-server control

Prints the private memory of the server for each connected node, and how long all took to join,
processes included. Needs no root. The load program for thousands of nodes is another one: a
process a node is too much for that.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PORT = 18099
SETTLE = 5  # seconds for the last deltas


def private_kib(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Private_Dirty:")[1].split()[0])


def measure(build, count, folder):
    state, url = folder / "state", f"http://127.0.0.1:{PORT}"
    program = [build / "pillion-server", "control"]

    def cli(*words):
        done = subprocess.run(
            [*program, *words, "--json", f"--socket={state / 'control.sock'}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    nodes = []
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*program, "serve", f"--url={url}", f"--state={state}", "--relay=off"], stderr=log
        )
    try:
        while "serving url=" not in (folder / "log").read_text():
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        key = cli("keys", "create", "--reusable")["key"]
        before = private_kib(server.pid)
        began = time.monotonic()
        for _ in range(count):
            nodes.append(
                subprocess.Popen(
                    [build / "tests/unit/control/control_join", url, key],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        while sum(node["connected"] for node in cli("nodes", "list")["nodes"]) < count:
            time.sleep(0.1)
        seconds = time.monotonic() - began
        time.sleep(SETTLE)
        return private_kib(server.pid) - before, seconds
    finally:
        for node in nodes:
            node.kill()
            node.wait()
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--build", default="release")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        grown, seconds = measure(ROOT / "build" / options.build, options.nodes, Path(folder))
    print(f"{options.nodes} nodes, full mesh: {grown / options.nodes:.1f} KiB a node")
    print(f"all joined in {seconds:.2f} s")


if __name__ == "__main__":
    main()
