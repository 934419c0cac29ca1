#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/serve.py - the speed and memory of a served port, beside stock and nginx

    client ──tunnel── ours:  pillion (Serve, ports 80 and 443), nginx as a proxy, the app (nginx)
                  └── stock: tailscale serve (port 80), the same app

All in namespaces of this machine (tests/lab); the client is a node of ours. Each round asks every
contender once, in turn, and ratios are formed within a round: another load on the machine meets
both sides of a ratio. Medians of the rounds, and (in brackets) the lowest and highest.

    tunnel    requests a second of wrk (64 connections) from the client through the tunnel
    host      the same from a program beside the app, by the node's tailnet address; so no tunnel
              and no engine takes part: nftables leads the connection to the services process
    …tls      the same with TLS
    …1 GiB    one file, MB/s (curl)
    handshakes  TLS connections with one request each, on the host: new ones and resumed ones
    CPU       microseconds of the proxy's processes (user and system) for a request, for a MiB of
              a large file, for a handshake
    idle      private memory of the proxy's processes for a connection on which one request was
              answered, KiB (less the memory before)

Needs root, a release build, wrk, curl, nginx; for stock scripts/peers (--no-stock: without it).
scripts/bench --serve installs and builds all that first.
"""

import argparse
import json
import os
import re
import resource
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from lab import Control, Lab, Pillion, Tailscaled, wait_for  # noqa: E402
from lab.build import build_folder  # noqa: E402
from lab.process import command_name, cpu_seconds, descendants  # noqa: E402

LOAD = build_folder() / "tests/tools/serve_load"
APP = 8080
# nginx as a proxy: workers, ports without and with TLS.
PROXIES = {"nginx": ("auto", 8081, 8443), "nginx-one": (1, 8082, 8444)}
CONNECTIONS = 64
DESCRIPTORS = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
MANY = min(10000, DESCRIPTORS * 3 // 8 - 500)  # one peer may not have all connections
GIB = 2**30

NGINX = """\
daemon off;
user root;
worker_processes {workers};
worker_rlimit_nofile {descriptors};
error_log stderr;
pid {folder}/{kind}.pid;
events {{ worker_connections {descriptors}; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    {content}
}}
"""
NGINX_APP = """\
    server {{ listen {port} backlog=4096; listen [::]:{port} backlog=4096; root {root}; }}
"""
NGINX_PROXY = """\
    upstream app {{ server 127.0.0.1:{app}; keepalive 256; keepalive_requests 1000000000; }}
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Proto $scheme;
    server {{ listen {plain} backlog=4096; location / {{ proxy_pass http://app; }} }}
    server {{ listen {tls} ssl backlog=4096; location / {{ proxy_pass http://app; }} }}
"""
SERVE = {
    "TCP": {"80": {"HTTP": True}, "443": {"HTTPS": True}},
    "Web": {
        f"${{TS_CERT_DOMAIN}}:{port}": {"Handlers": {"/": {"Proxy": f"http://127.0.0.1:{APP}"}}}
        for port in (80, 443)
    },
}


def start_nginx(box, kind, content, workers="auto"):
    """An nginx in a box, and all its processes' first one."""
    file = box.folder / f"{kind}.conf"
    values = {"folder": box.folder, "kind": kind, "content": content, "workers": workers}
    file.write_text(NGINX.format(**values, descriptors=DESCRIPTORS))
    return box.start("nginx", "-c", file, log=kind)


class Contender:
    """Something that answers at a port of a node: its name, and whose CPU and memory it costs.

    restart: how its processes are replaced by fresh ones, or None.
    """

    def __init__(self, name, host, address, port, pids, restart=None):
        self.name = name
        self.host = host
        self.address = address
        self.port = port
        self.pids = pids
        self.restart = restart

    def url(self, path="/"):
        tls = self.port in (443, *(tls for _, _, tls in PROXIES.values()))
        scheme = "https" if tls else "http"
        return f"{scheme}://{self.host}:{self.port}{path}"


class World:
    """The nodes and everything that listens on them."""

    def __init__(self, folder, stock):
        self.lab = Lab(folder / "lab", hermetic=not stock)
        self.control = Control(self.lab.box("control"))
        self.root = folder / "root"
        self.root.mkdir()
        self.root.joinpath("index.html").write_text("x" * 1023 + "\n")
        with open(self.root / "large", "wb") as file:
            file.truncate(GIB)
        self.ours = Pillion(self.lab.box("ours"), self.control)
        config = self.ours.box.folder / "serve.json"
        config.write_text(json.dumps(SERVE))
        self.ours.start(self.control.auth_key(), {"TS_SERVE_CONFIG": str(config)})
        self.ours.wait_running()
        self.client = Pillion(self.lab.box("client"), self.control).join()
        self.stock = Tailscaled(self.lab.box("stock"), self.control).join() if stock else None
        self.numbers = 0
        self.plain, self.tls = self._contenders()
        for contender in [*self.plain, *self.tls]:
            for place in ("host", "tunnel"):
                self.wait(place, contender)

    def _contenders(self):
        app = NGINX_APP.format(port=APP, root=self.root)
        mine = self.ours.box
        name, address = self._name(self.ours)
        certificate, key = self.control.authority.issue(name, address)
        direct = start_nginx(mine, "app", app)
        running = {}

        def services():
            return [
                pid
                for pid in descendants(self.ours.process.pid)
                if command_name(pid) == "pillion-service"
            ]

        def restart_services():
            for pid in services():
                os.kill(pid, signal.SIGKILL)

        def restart_proxy(kind):
            if kind in running:
                running[kind].kill()
                self.lab.processes.remove(running[kind])
            workers, plain, tls = PROXIES[kind]
            content = NGINX_PROXY.format(
                app=APP, plain=plain, tls=tls, certificate=certificate, key=key
            )
            running[kind] = start_nginx(mine, kind, content, workers)

        own = (services, restart_services)
        plain = [Contender("pillion", name, address, 80, *own)]
        tls = [Contender("pillion", name, address, 443, *own)]
        for kind, (_, plain_port, tls_port) in PROXIES.items():
            restart_proxy(kind)
            theirs = (
                lambda kind=kind: descendants(running[kind].pid),
                lambda kind=kind: restart_proxy(kind),
            )
            plain.append(Contender(kind, name, address, plain_port, *theirs))
            tls.append(Contender(kind, name, address, tls_port, *theirs))
        plain.append(Contender("direct", name, address, APP, lambda: descendants(direct.pid)))
        if self.stock:
            start_nginx(self.stock.box, "app", app)
            self.stock.cli("serve", "--bg", "--yes", "--http=80", f"http://127.0.0.1:{APP}")
            name, address = self._name(self.stock)
            plain.append(Contender("stock", name, address, 80, lambda: [self.stock.process.pid]))
        return plain, tls

    def _name(self, node):
        name, address = node.status()["Self"]["DNSName"].rstrip("."), node.addresses()[0]
        with self.lab.hosts.open("a") as hosts:
            hosts.write(f"{address} {name}\n")
        return name, address

    def wait(self, place, contender):
        """Until it answers."""
        text = []

        def look():
            text[:] = [self.run(place, contender, "curl", "-skS", contender.url())]
            return text[0].startswith("xxx")

        wait_for(look, 40, lambda: f"{contender.name} at the {place}: {text}", 0.3)

    def box(self, place, contender):
        if place == "tunnel":
            return self.client.box
        return self.stock.box if contender.name == "stock" else self.ours.box

    def begin(self, place, contender, *command):
        """A program of the client's side."""
        self.numbers += 1
        return self.box(place, contender).start(*command, log=f"load-{self.numbers}")

    def run(self, place, contender, *command, timeout=120):
        process = self.begin(place, contender, *command)
        process.wait(timeout)
        text = process.text()
        process.kill()
        self.lab.processes.remove(process)
        return text


def private(pids):
    """Private memory of processes in bytes."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += 1024 * sum(int(n) for n in re.findall(r"^Private_\w+: +(\d+) kB", text, re.M))
    return total


class Bench:
    def __init__(self, world, options):
        self.world = world
        self.options = options
        self.results = {}  # row: {contender: [value of each round]}

    def note(self, row, contender, value):
        self.results.setdefault(row, {}).setdefault(contender.name, []).append(value)

    def requests(self, row, place, contender):
        pids, seconds = contender.pids(), self.options.seconds
        before = cpu_seconds(pids)
        text = self.world.run(
            *[place, contender, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"],
            contender.url(),
        )
        used = cpu_seconds(pids) - before
        count = int(re.search(r"(\d+) requests in", text)[1])
        if re.search("Non-2xx|Socket errors", text):
            print(f"{row}, {contender.name}: {text}", file=sys.stderr)
        self.note(f"{row}, requests/s", contender, float(re.search(r"/sec: +([\d.]+)", text)[1]))
        self.note(f"{row}, CPU µs a request", contender, 1e6 * used / count)

    def large(self, row, place, contender):
        pids = contender.pids()
        before = cpu_seconds(pids)
        text = self.world.run(
            *[place, contender, "curl", "-skS", "-o", "/dev/null"],
            *["-w", "%{http_code} %{size_download} %{speed_download}", contender.url("/large")],
        )
        used = cpu_seconds(pids) - before
        status, size, speed = text.split()
        assert (status, size) == ("200", str(GIB)), text
        self.note(f"{row} 1 GiB, MB/s", contender, float(speed) / 1e6)
        self.note(f"{row} 1 GiB, CPU µs a MiB", contender, 1e6 * used / (GIB / 2**20))

    def handshakes(self, row, contender, kind):
        pids = contender.pids()
        before = cpu_seconds(pids)
        text = self.world.run(
            *["host", contender, LOAD, contender.address, contender.port, contender.host],
            *["handshakes", self.options.seconds, kind],
        )
        used = cpu_seconds(pids) - before
        done, failed, resumed = (int(n) for n in re.findall(r"\d+", text))
        if failed or (kind == "resumed" and resumed < done - 4):
            print(f"{row}, {contender.name}: {text}", file=sys.stderr)
        self.note(f"{row}, each second", contender, done / self.options.seconds)
        self.note(f"{row}, CPU µs each", contender, 1e6 * used / done)

    def idle(self, row, contender, count, kind):
        if contender.restart:  # memory that was freed would be used again
            contender.restart()
            self.world.wait("host", contender)
        pids = contender.pids()
        before = private(pids)
        process = self.world.begin(
            *["host", contender, "prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", LOAD],
            *[contender.address, contender.port, contender.host, "idle", count, kind],
        )
        process.wait_text("^ready", 120)
        time.sleep(1)
        assert contender.pids() == pids
        self.note(f"{row}, KiB each", contender, (private(pids) - before) / count / 1024)
        process.end_input()
        process.wait(30)
        closed = int(re.search(r"closed (\d+)", process.text())[1])
        if closed:
            print(f"{row}, {contender.name}: {closed} were closed", file=sys.stderr)
        time.sleep(1)

    def parts(self):
        """(name, contenders, what measures one of them)."""
        plain, tls = self.world.plain, self.world.tls
        for place in ("tunnel", "host"):
            yield place, plain, lambda r, c, p=place: self.requests(r, p, c)
            yield f"{place} tls", tls, lambda r, c, p=place: self.requests(r, p, c)
        for place in ("tunnel", "host"):
            yield f"large {place}", plain, lambda r, c, p=place: self.large(p, p, c)
            yield f"large {place} tls", tls, lambda r, c, p=place: self.large(f"{p} tls", p, c)
        yield "handshakes", tls, lambda r, c: self.handshakes(r, c, "full")
        yield "handshakes resumed", tls, lambda r, c: self.handshakes(r, c, "resumed")
        for count in (1000, MANY):
            yield (
                f"idle {count}",
                plain[:2],
                lambda r, c, n=count: self.idle(r, c, n, "plain"),
            )
            yield f"idle {count} tls", tls, lambda r, c, n=count: self.idle(r, c, n, "tls")

    def run(self):
        chosen = [p for p in self.parts() if re.search(self.options.only, p[0])]
        for number in range(self.options.rounds):
            for name, contenders, measure in chosen:
                if name.startswith("idle") and number >= self.options.idle_rounds:
                    continue
                print(f"round {number + 1}: {name}", file=sys.stderr)
                for contender in contenders:
                    if contender.name in self.options.kinds.split(","):
                        measure(name, contender)


def figure(values):
    median, digits = statistics.median(values), 0 if max(values) >= 100 else 1
    return f"{median:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio(row, one, other):
    """The median of the rounds' ratios, or ""."""
    pairs = zip(row.get(one, []), row.get(other, []), strict=False)
    values = [a / b for a, b in pairs if b > 0]
    return f"{statistics.median(values):.2f}" if values else ""


def table(results, names):
    ratios = [f"to {name}" for name in names[1:]]
    lines = [
        f"| | {' | '.join([*names, *ratios])} |",
        "|---" * (len(names) + len(ratios) + 1) + "|",
    ]
    for name, row in results.items():
        cells = [figure(row[each]) if each in row else "" for each in names]
        cells += [ratio(row, names[0], each) for each in names[1:]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--idle-rounds", type=int, default=1, metavar="N")
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="of one measurement")
    parser.add_argument("--only", default="", metavar="REGEX", help="parts, as 'round' names them")
    parser.add_argument(
        "--kinds", default="pillion,nginx,direct,stock", metavar="LIST", help="also nginx-one"
    )
    parser.add_argument("--no-stock", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, there")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        world = World(Path(folder), not options.no_stock)
        with world.lab:
            bench = Bench(world, options)
            bench.run()
    print(table(bench.results, options.kinds.split(",")))
    print(f"\n{os.cpu_count()} processors; load average {os.getloadavg()[1]:.1f}")
    if options.json:
        options.json.write_text(json.dumps(bench.results, indent=1))


if __name__ == "__main__":
    main()
