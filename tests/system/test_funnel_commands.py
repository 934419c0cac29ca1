# SPDX-License-Identifier: BSD-3-Clause
"""`pillion funnel`: an app on the internet, by command."""

import json
import signal

import pytest
from lab import wait_for
from lab.app import PORT
from lab.build import ROOT, build_folder
from lab.network import PYTHON

PAGE = (ROOT / "docs/serve.md").read_text().partition("## The internet")[2]
COMMANDS = [
    line.split("#")[0].split()[1:]
    for line in PAGE.splitlines()
    if line.startswith(("pillion funnel", "pillion serve")) and "Ctrl-C" not in line
]
BRING_IN = ROOT / "tests/lab/bring_in.py"


def bring(world, node, target, client=None):
    """What an ingress node gets for a connection to @target, until the TLS begins."""
    at = (node.status()["Self"]["PeerAPIURL"] or ["http://:"])[0].removeprefix("http://")
    address, _, port = at.rpartition(":")
    command = [PYTHON, BRING_IN, address, port, "203.0.113.7:1", target]
    return (client or world.laptop).box.run(*command, stdin="x", check=False).stdout


@pytest.fixture
def node(world):
    world.sidecar.start(world.headscale.auth_key(), {"TS_INGRESS_FROM": "laptop"})
    world.sidecar.wait_running()
    wait_for(lambda: world.sidecar.status()["Self"]["PeerAPIURL"], 20, "the PeerAPI")
    return world.sidecar


def config(node):
    return json.loads(node.pillion("funnel", "status", "--json").stdout)


def test_bg_status_and_off(world, node):
    name = node.status()["Self"]["DNSName"].rstrip(".")
    said = node.pillion("funnel", "--bg", str(PORT)).stdout
    assert said == (
        f"Available on the internet:\n\nhttps://{name}/\n|-- proxy http://127.0.0.1:{PORT}\n\n"
        "Funnel started and running in the background.\n"
        "To disable the proxy, run: pillion funnel --https=443 off\n"
    )
    assert config(node)["AllowFunnel"] == {f"{name}:443": True}
    wait_for(lambda: " 101 " in bring(world, node, f"{name}:443"), 20, "the Funnel")
    shown = node.pillion("funnel", "status").stdout
    assert f"\n# Funnel on:\n#     - https://{name}\n\n" in shown
    assert f"https://{name} (Funnel on)\n|-- / proxy http://127.0.0.1:{PORT}\n" in shown
    node.pillion("funnel", "--bg", "--set-path=/api", "9000")
    node.pillion("funnel", "--bg", "--https=8443", "--set-path=/x", "text:hello")
    node.pillion("funnel", "--bg", "--tls-terminated-tcp=10000", "5432")
    assert set(config(node)["AllowFunnel"]) == {f"{name}:{port}" for port in (443, 8443, 10000)}
    assert f"#     - tcp://{name}:10000\n" in node.pillion("funnel", "status").stdout
    node.pillion("funnel", "--set-path=/api", "off")
    assert f"{name}:443" in config(node)["AllowFunnel"]
    node.pillion("funnel", "--https=443", "off")
    node.pillion("funnel", "--tls-terminated-tcp=10000", "off")
    assert set(config(node)["AllowFunnel"]) == {f"{name}:8443"}
    wait_for(lambda: " 403 " in bring(world, node, f"{name}:443"), 20, "the Funnel to end")
    assert " 101 " in bring(world, node, f"{name}:8443")
    node.pillion("funnel", "reset")
    assert node.pillion("funnel", "status").stdout == "No serve config\n"


def test_the_commands_of_the_page(node):
    """One after the other, as docs/serve.md shows them."""
    assert len(COMMANDS) == 7
    seen = []
    for command in COMMANDS:
        node.pillion(*command)
        seen.append(sorted(n.partition(":")[2] for n in config(node).get("AllowFunnel", {})))
    assert seen == [
        ["443"],
        ["443", "8443"],
        ["10000", "443", "8443"],
        ["10000", "443", "8443"],
        ["10000", "8443"],
        ["10000"],
        [],
    ]


def test_serve_takes_it_back(world, node):
    name = node.status()["Self"]["DNSName"].rstrip(".")
    node.pillion("funnel", "--bg", str(PORT))
    wait_for(lambda: " 101 " in bring(world, node, f"{name}:443"), 20, "the Funnel")
    done = node.pillion("serve", "--bg", str(PORT))
    assert f"Removing Funnel for {name}:443" in done.stderr
    assert "AllowFunnel" not in config(node)
    wait_for(lambda: " 403 " in bring(world, node, f"{name}:443"), 20, "the Funnel to end")


def test_in_the_foreground(world, node):
    name = node.status()["Self"]["DNSName"].rstrip(".")
    process = node.box.start(
        *[build_folder() / "pillion", "funnel", f"--socket={node.socket}", str(PORT)], log="funnel"
    )
    process.wait_text("Press Ctrl\\+C to exit", 20)
    assert "Available on the internet:" in process.text()
    wait_for(lambda: " 101 " in bring(world, node, f"{name}:443"), 20, "the Funnel")
    process.signal(signal.SIGINT)
    wait_for(lambda: " 101 " not in bring(world, node, f"{name}:443"), 20, "the Funnel to end")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--https=444", "8080"], 2, "port 444 is not allowed for funnel; allowed ports are: 443,"),
        (["--tcp=22", "22"], 2, "port 22 is not allowed for funnel"),
        (["--http=80", "8080"], 2, "the internet comes by HTTPS alone"),
        (["--https=443", "--tcp=443", "8080"], 2, "name only one of"),
        ([], 2, "name one target: pillion funnel 8080"),
        (["--https=443", "off"], 1, "handler does not exist"),
    ],
)
def test_what_is_refused(node, arguments, code, text):
    done = node.pillion("funnel", *arguments, check=False)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_without_ingress_nodes(world):
    """The command says what to allow; with the grants of a policy it works by them alone."""
    world.sidecar.join()
    node = world.sidecar
    wait_for(lambda: node.status()["Self"]["PeerAPIURL"], 20, "the PeerAPI")
    name = node.status()["Self"]["DNSName"].rstrip(".")
    done = node.pillion("funnel", "--bg", str(PORT), check=False)
    assert done.returncode == 1
    assert "HTTPS must be enabled" in done.stderr and "TS_INGRESS_FROM" in done.stderr
    grant = {
        "src": ["*"],
        "dst": ["*"],
        "app": {"https://tailscale.com/cap/ingress": [{}]},
    }
    policy = {
        "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        "nodeAttrs": [{"target": ["*"], "attr": ["funnel"]}],
        "grants": [grant],
    }
    world.headscale.set_policy(policy)
    wait_for(
        lambda: node.pillion("funnel", "--bg", str(PORT), check=False).returncode == 0,
        20,
        "the policy",
    )
    wait_for(lambda: " 101 " in bring(world, node, f"{name}:443"), 20, "the Funnel")
    world.headscale.set_policy({**policy, "grants": []})
    wait_for(lambda: "no ingress cap" in bring(world, node, f"{name}:443"), 20, "the end of it")


def test_shields_up(node):
    node.pillion("set", "--shields-up")
    done = node.pillion("funnel", "--bg", str(PORT), check=False)
    assert done.returncode == 1 and "shields-up" in done.stderr
