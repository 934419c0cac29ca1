# SPDX-License-Identifier: BSD-3-Clause
"""The snippets of docs/proxy.md as they stand, each before the server and before a relay.

node ──TLS──▶ nginx, Caddy or HAProxy (vpn.example.com:443) ──HTTP──▶ control serve, or derp
"""

import json
import os
import re
import shlex
import signal

import pytest
from lab import wait_for
from lab.build import BUILD, ROOT
from lab.loopback_control import JoinedNode, LoopbackControl, joined
from lab.machine import Machine
from lab.pki import Authority
from lab.process import children
from lab.relay_tool import Tool

HOST = "vpn.example.com"
PAGE = (ROOT / "docs/proxy.md").read_text()
CERTIFICATES = "/etc/ssl/private"
FOLDERS = [CERTIFICATES, "/run", "/var/log/nginx", "/etc/nginx/conf.d", "/etc/nginx/sites-enabled"]


def snippet(heading):
    """The block of code below a heading."""
    return re.search(rf"^## {heading}\n.*?^```\w*\n(.*?)^```$", PAGE, re.M | re.S)[1]


def command(program):
    """The flags of a command that the page names."""
    return shlex.split(re.search(rf"^pillion {program} (.*)$", PAGE, re.M)[1])


class Nginx:
    name = "nginx"

    def __init__(self, machine):
        machine.put("/etc/nginx/conf.d/vpn.conf", snippet("nginx"))
        self.process = machine.start("nginx.log", "nginx", "-g", "daemon off;")


class Caddy:
    name = "caddy"

    def __init__(self, machine):
        machine.put("/run/Caddyfile", snippet("Caddy"))
        self.process = machine.start(
            "caddy.log",
            *["env", "HOME=/run", "caddy", "run", "--config=/run/Caddyfile", "--adapter=caddyfile"],
        )


class Haproxy:
    name = "haproxy"

    def __init__(self, machine):
        machine.run("mkdir", "/run/haproxy")
        machine.put("/run/vpn.cfg", snippet("HAProxy"))
        files = ["-f", "/etc/haproxy/haproxy.cfg", "-f", "/run/vpn.cfg"]
        self.process = machine.start("haproxy.log", "haproxy", "-db", *files)


@pytest.fixture(params=[Nginx, Caddy, Haproxy], ids=lambda kind: kind.name)
def machine(request, tmp_path):
    """With a proxy on it, and its certificate by an authority of ours."""
    made = Machine(tmp_path, [HOST], FOLDERS)
    made.authority = Authority(tmp_path / "pki")
    certificate, key = (f.read_text() for f in made.authority.issue(HOST, "127.0.0.1"))
    made.put(f"{CERTIFICATES}/{HOST}.crt", certificate)
    made.put(f"{CERTIFICATES}/{HOST}.key", key)
    made.put(f"{CERTIFICATES}/{HOST}.pem", certificate + key)
    try:
        made.proxy = request.param(made)
        yield made
        log = (tmp_path / f"{request.param.name}.log").read_text()
        assert made.proxy.process.poll() is None, log
    finally:
        made.close()


def terminate(entered):
    """nsenter forwards no signals to its child, but returns its exit status."""
    os.kill(children(entered.pid)[0], signal.SIGTERM)
    return entered.wait(10)


def curl(machine, path, *arguments):
    """The body of an answer; None where there is none yet."""
    done = machine.run(
        *["curl", "-sS", "--fail", "--max-time", "5", "--cacert", machine.authority.certificate],
        *[*arguments, f"https://{HOST}{path}"],
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


class ProxiedControl(LoopbackControl):
    def __init__(self, folder, machine):
        super().__init__(folder)
        self.machine = machine
        self.wrapper = machine.enter
        self.url = f"https://{HOST}"
        self.ca = machine.authority.certificate

    def start(self, *flags):
        self.begin(*flags)
        self.machine.wait_text(self.log.name, "serving url=")

    def stop(self):
        return terminate(self.process)


@pytest.fixture
def server(machine, tmp_path):
    flags = command("control serve")
    assert flags[0] == f"--url=https://{HOST}"
    made = ProxiedControl(tmp_path, machine)
    made.start(*flags[1:])
    wait_for(lambda: curl(machine, "/health") == "ok\n", 20, "the server behind the proxy")
    yield made
    made.end()


@pytest.fixture
def nodes(server, tmp_path):
    made = []

    def join(key=""):
        made.append(JoinedNode(server, key, tmp_path, server.machine.enter))
        return made[-1]

    yield join
    for node in made:
        node.close()


def test_nodes_join_and_are_told(machine, server, nodes):
    """By an upgraded POST, with a map stream that the proxy doesn't hold back."""
    key = server.cli("keys", "create", "--reusable")["key"]
    first, second = joined(nodes(key)), joined(nodes(key))
    server.cli("nodes", "rename", "1", "told")
    wait_for(lambda: " told " in second.text(), 10, second.text)
    server.cli("nodes", "rename", "2", "too")
    wait_for(lambda: " too " in first.text(), 10, first.text)


def test_a_login_is_shown_with_the_name_of_the_proxy(machine, server, nodes):
    """Its page takes the page key, since it goes by TLS."""
    key = server.cli("page-key", "create")["key"]
    node = nodes()
    pattern = re.compile(rf"auth-url https://{HOST}(/register/[0-9a-f]+)")
    path = wait_for(lambda: pattern.search(node.text()), 10, node.text)[1]
    assert "<form" in curl(machine, path)
    form = ["--data-urlencode", f"key={key}", "--data", "user=default&verdict=approve"]
    assert "Approved" in curl(machine, path, *form)
    joined(node)


def test_relay(machine, tmp_path):
    """A relay behind the same snippet: its map names the proxy, and packets pass."""
    relay = machine.start(
        *["relay.log", BUILD / "pillion-server", "derp", *command("derp")],
        *[f"--statedir={tmp_path}/relay", "--ipv4=127.0.0.1", "--region=1"],
    )
    machine.wait_text("relay.log", "relay serves")
    derp_map = json.loads((tmp_path / "relay/derpmap.json").read_text())
    node = derp_map["Regions"]["1"]["Nodes"][0]
    assert (node["HostName"], node.get("DERPPort", 443)) == (HOST, 443)
    assert not node.get("CertName")
    wait_for(lambda: curl(machine, "/derp/probe") is not None, 20, "the relay behind the proxy")
    tools = []
    try:
        for _ in range(2):
            arguments = ["--ca", machine.authority.certificate]
            tools.append(Tool(tmp_path, derp_map, *arguments, wrapper=machine.enter))
            tools[-1].home(1)
        data = bytes(range(256)) * 100
        assert tools[0].send(1, tools[1].key, data) == 0
        assert tools[1].wait("packet 1 (.*) (.*)").groups() == (tools[0].key, data.hex())
    finally:
        for tool in tools:
            tool.quit()
    assert terminate(relay) == 0
