#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/control.py - a coordination server under thousands of nodes

    control_load (N nodes on one event loop) ──loopback, plain HTTP, TS2021──▶ the server

Shapes: "groups", a tag for each 100 nodes that is allowed to reach itself, so that a node sees 100
others; "mesh", everybody sees everybody. Servers: pillion, and headscale beside it with the same program and policy.

    all joined       seconds until all have registered, hold a map stream and have sent their endpoints
    memory           private memory of the server for each node (less the memory without nodes); and the peak
    idle             CPU of the server while nothing happens but keep-alives
    join             one more node, repeatedly: from its register request until each node that may see
                     it has received it; bytes that each of them received for it, TCP's payload
    burst            as many at once
    reconnect        all connections cut at once: seconds until all hold a map again

Load and server share the machine. Needs a release build (and scripts/peers for headscale); no root.

    bench/control.py --nodes 10000 --shape groups
    bench/control.py --nodes 2000 --shape mesh --server pillion --server headscale
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from lab.build import build_folder  # noqa: E402
from lab.headscale import configuration, relays  # noqa: E402
from lab.peers import peer  # noqa: E402
from lab.pki import Authority  # noqa: E402
from lab.relay_tool import free_port  # noqa: E402

BUILD = build_folder()
GROUP = 100  # nodes
VERSION = 138
REGION = {
    "RegionID": 999,
    "RegionCode": "none",
    "RegionName": "None",
    "Nodes": [{"Name": "999a", "RegionID": 999, "HostName": "relay.invalid", "IPv4": "192.0.2.1"}],
}


def tag(group):
    return f"tag:g{group}"


def policy(groups):
    if groups == 1:
        return {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}
    return {
        "tagOwners": {tag(g): [] for g in range(groups)},
        "acls": [
            {"action": "accept", "src": [tag(g)], "dst": [f"{tag(g)}:*"]} for g in range(groups)
        ],
    }


def run(*command):
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


class Server:
    """One that runs; `url`, `port` and `process`."""

    def start(self, command):
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen(
            [str(a) for a in command], stdout=self.log, stderr=self.log, cwd=self.folder
        )
        for _ in range(300):
            try:
                self.key()
                return
            except OSError:
                time.sleep(0.1)
            if self.process.poll() is not None:
                break
        raise SystemExit((self.folder / "log").read_text())

    def key(self):
        scheme = "https" if self.tls else "http"
        url = f"{scheme}://127.0.0.1:{self.port}/key?v={VERSION}"
        context = __import__("ssl")._create_unverified_context() if self.tls else None
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return json.load(answer)["publicKey"]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def private(self):
        """Private memory in KiB."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(n) for n in re.findall(r"^Private_\w+: +(\d+) kB", text, re.M))

    def peak(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text).group(1))

    def cpu(self):
        text = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")


class Pillion(Server):
    def __init__(self, folder, groups, tls):
        self.folder, self.port, self.tls = folder, free_port(), tls
        self.state = folder / "state"
        scheme = "https" if tls else "http"
        (folder / "derp.json").write_text(json.dumps({"Regions": {"999": REGION}}))
        self.start(
            [
                *[BUILD / "pillion-server", "control", "serve", f"--state={self.state}"],
                *[f"--url={scheme}://127.0.0.1:{self.port}", "--relay=off"],
                *[f"--derp-map={folder / 'derp.json'}", "--log-level=warn"],
            ]
        )
        (folder / "policy.json").write_text(json.dumps(policy(groups)))
        self.cli("policy", "set", folder / "policy.json")

    def cli(self, *words):
        program = [BUILD / "pillion-server", "control", *words]
        return run(*program, "--json", f"--socket={self.state / 'control.sock'}")

    def auth_key(self, tags):
        return self.cli("keys", "create", "--reusable", *([f"--tags={tags}"] if tags else []))[
            "key"
        ]


class Headscale(Server):
    def __init__(self, folder, groups, tls):
        self.folder, self.port, self.tls = folder, free_port(), tls
        certificate, key = Authority(folder / "pki").issue("localhost", "127.0.0.1", "::1")
        (folder / "policy.json").write_text(json.dumps(policy(groups)))
        (folder / "derp.yaml").write_text(
            "regions:\n  999:\n    regionid: 999\n    regioncode: none\n    regionname: None\n"
            "    nodes:\n      - {name: 999a, regionid: 999, hostname: relay.invalid,"
            ' ipv4: "192.0.2.1"}\n'
        )
        more = {
            "derp": relays(folder / "derp.yaml"),
            "policy": {"mode": "file", "path": str(folder / "policy.json")},
            "log": {"level": "error", "format": "text"},
        }
        if tls:
            more |= {"tls_cert_path": str(certificate), "tls_key_path": str(key)}
        url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        ports = free_port(), free_port()
        settings = configuration(url, f"127.0.0.1:{self.port}", folder, ports, **more)
        self.config = folder / "headscale.yaml"
        self.config.write_text(json.dumps(settings))
        self.start([peer("headscale"), "serve", "--config", self.config])
        self.user = self.cli("users", "create", "bench")["id"]

    def cli(self, *words):
        return run(peer("headscale"), "--config", self.config, "--output", "json", *words)

    def auth_key(self, tags):
        flags = ["--user", self.user, "--reusable", "--expiration", "24h"]
        flags += ["--tags", tags] if tags else []
        return self.cli("preauthkeys", "create", *flags)["key"]


SERVERS = {"pillion": Pillion, "headscale": Headscale}


class Load:
    """control_load, a command at a time."""

    def __init__(self, server, folder, options, groups):
        keys = [server.auth_key(tag(g) if groups > 1 else None) for g in range(groups)]
        (folder / "keys").write_text("".join(f"{key}\n" for key in keys))
        self.process = subprocess.Popen(
            [
                *[BUILD / "tests/tools/control_load", f"127.0.0.1:{server.port}", server.key()],
                *[folder / "keys", str(options.nodes), str(options.at_once)],
                *(["tls"] if server.tls else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("control_load ended")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def stop(self):
        self.process.kill()
        self.process.wait()


def measure(kind, options):
    groups = max(options.nodes // GROUP, 1) if options.shape == "groups" else 1
    result = {"server": kind, "shape": options.shape, "nodes": options.nodes}

    def note(name, value):
        result[name] = value
        if not options.json:
            print(f"  {name}: {json.dumps(value)}", flush=True)

    if not options.json:
        print(f"{kind}, {options.shape}, {options.nodes} nodes", flush=True)
    with tempfile.TemporaryDirectory(prefix="control.", dir=options.folder) as name:
        server = SERVERS[kind](Path(name), groups, options.tls)
        load = None
        try:
            before, cpu = server.private(), server.cpu()
            note("empty_kib", before)
            load = Load(server, Path(name), options, groups)
            note("joined", load.answer())
            note("joined_cpu_s", round(server.cpu() - cpu, 2))
            time.sleep(options.settle)
            note("kib_a_node", round((server.private() - before) / options.nodes, 1))
            cpu = server.cpu()
            time.sleep(options.idle)
            note("idle_cpu_percent", round(100 * (server.cpu() - cpu) / options.idle, 2))
            note("join", load.ask(f"join {options.joins}"))
            note("burst", load.ask(f"burst {options.joins}"))
            cpu = server.cpu()
            note("reconnect", load.ask("reconnect"))
            note("reconnect_cpu_s", round(server.cpu() - cpu, 2))
            time.sleep(options.settle)
            note("kib_a_node_after", round((server.private() - before) / options.nodes, 1))
            note("peak_mib", round(server.peak() / 1024))
        finally:
            if load:
                load.stop()
            server.stop()
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--shape", choices=["groups", "mesh"], default="groups")
    parser.add_argument("--server", choices=SERVERS, action="append")
    parser.add_argument("--joins", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=64, help="joins under way at the start")
    parser.add_argument("--idle", type=int, default=10, help="seconds")
    parser.add_argument("--settle", type=int, default=3, help="seconds")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--folder", help="where the servers' state goes (a real disk)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [measure(kind, options) for kind in options.server or ["pillion"]]
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
