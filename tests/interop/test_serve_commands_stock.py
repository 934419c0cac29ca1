# SPDX-License-Identifier: BSD-3-Clause
"""The stock `serve` and `funnel` commands on our socket and on the official daemon's, side by side."""

import difflib
import json

import pytest
from lab import Control, Pillion, Tailscaled, wait_for

LOCALAPI = "http://local-tailscaled.sock/localapi/v0/serve-config"
POLICY = {
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
    "nodeAttrs": [{"target": ["*"], "attr": ["funnel"]}],
    "grants": [{"src": ["*"], "dst": ["*"], "app": {"https://tailscale.com/cap/ingress": [{}]}}],
}

# One after the other: each finds what those before it left.
COMMANDS = """
serve status
serve status --json
funnel status
serve --bg 3000
serve status
serve --bg --https=8443 localhost:3001
serve --bg --https=8444 http://localhost:3002/foo
serve --bg --https=8445 localhost
serve --bg --set-path=/api 3003
serve --bg --set-path=/api/ 3004
serve --bg --set-path=deep/er http://127.0.0.1:3005
serve --bg --set-path=/secure https+insecure://localhost:8443
serve --bg --http=80 text:hello
serve --bg --http=80 --set-path=/x text:other
serve --bg --tcp=5432 tcp://localhost:5432
serve --bg --tcp=5433 5433
serve --bg --tls-terminated-tcp=5434 tcp://localhost:5434
serve --bg --tcp=5435 --proxy-protocol=1 tcp://localhost:5435
serve --bg --tcp=5436 --proxy-protocol=2 tcp://localhost:5436
serve --bg --accept-app-caps=example.com/cap/a,example.com/cap/b --set-path=/caps 3006
serve status
serve status --json
funnel status
serve --set-path=/api/ off
serve --set-path=/nothing off
serve --http=80 --set-path=/x off
serve --http=81 off
serve --tcp=5433 off
serve --tcp=5433 off
serve --tls-terminated-tcp=5434 off
serve --tcp=5435 --bg off
serve --tcp=443 off
serve --https=443 off
serve --https=443 --yes off
serve --bg --tcp=8443 9
serve --bg --http=8443 9
serve --bg --https=5436 9
serve --bg --https=65536 9
serve --bg --https=x 9
serve --bg --http=80 --https=443 9
serve --bg --proxy-protocol=3 --tcp=99 9
serve --bg --proxy-protocol=1 --https=99 9
serve --bg ftp://localhost:1
serve --bg http://localhost:0
serve --bg localhost:99999
serve --bg 0
serve --bg 65536
serve --bg not/a/target
serve --bg http://example.com
serve --bg --tcp=100 http://localhost:1
serve --bg --set-path=/a/../b 1
serve --bg --tcp=100 --set-path=/x 1
serve --bg 1 2
serve https / 3000
serve https:443 / http://localhost:3000
serve tcp:2222 tcp://localhost:22
serve reset
serve reset
serve status
funnel --bg 3000
funnel status
serve status
funnel status --json
funnel --bg --https=8443 --set-path=/x 3001
funnel --bg --tls-terminated-tcp=10000 tcp://localhost:5432
funnel --bg --https=444 3000
funnel --bg --http=80 3000
funnel --bg --tcp=443 3000
funnel status
serve --bg 3000
serve status
funnel --https=8443 --set-path=/x off
funnel --https=8443 off
funnel --tls-terminated-tcp=10000 off
funnel 443 on
funnel 443 off
funnel --bg --tcp=22 22
funnel reset
funnel status
serve --bg frobnicate
serve --frobnicate 1
""".strip().splitlines()

# What ours refuses on purpose, in which words, and what then undoes it at the official one.
REFUSED = {
    "serve --bg 0": ("is not a valid target", "serve --bg 9"),
    "funnel --bg --https=444 3000": (
        "port 444 is not allowed for funnel",
        "funnel --https=444 off",
    ),
    "funnel --bg --tcp=22 22": ("port 22 is not allowed for funnel", ""),
}


def result(node, own, command, run=None):
    """The exit code, what it prints, and what is configured then, with names made alike."""

    def alike(text):
        for word, other in own.items():
            text = text.replace(word, other)
        # Ours adds what to do, and the official one an inner name.
        return text.replace("; turn it off first", "").replace("updating config: ", "")

    done = (run or node.cli)(*command.split(), check=False)
    # The official one prints maps in no order.
    said = [f"exit code {done.returncode}", *sorted(alike(done.stdout + done.stderr).splitlines())]
    config = json.loads(node.box.run("curl", "-sS", "--unix-socket", node.socket, LOCALAPI).stdout)
    # The official one may leave this behind when the port is off.
    funnels = (config or {}).get("AllowFunnel", {})
    for site in list(funnels):
        if site.rpartition(":")[2] not in config["TCP"]:
            del funnels[site]
    if not funnels:
        config = {name: part for name, part in (config or {}).items() if name != "AllowFunnel"}
    return said, alike(json.dumps(config, indent=1, sort_keys=True)).splitlines()


@pytest.fixture
def pair(lab, pillion_only):
    """The official daemon and ours, with the same rights."""
    control = Control(lab.box("control"))
    control.set_policy(POLICY)
    found = []
    for node in (
        Tailscaled(lab.box("official"), control).join(),
        Pillion(lab.box("ours"), control).join(),
    ):
        wait_for(
            lambda node=node: "funnel" in (node.status()["Self"]["CapMap"] or {}),
            20,
            lambda node=node: node.status()["Self"],
        )
        v4, v6 = node.addresses()
        own = {f"{node.hostname}.": "NODE.", f"/{node.hostname}": "/NODE", v4: "V4", v6: "V6"}
        found.append((node, own))
    return found


@pytest.mark.parametrize("program", ["tailscale", "pillion"])
def test_each_form_of_the_commands(pair, program):
    """By the stock command on both: words, exit codes, configuration. By ours: all but the words."""
    (official, _), (ours, _) = pair
    differences = []
    for command in COMMANDS:
        theirs, mine = (
            result(
                node, own, command, ours.pillion if program == "pillion" and node is ours else None
            )
            for node, own in pair
        )
        if command in REFUSED:
            words, undo = REFUSED[command]
            assert words in "\n".join(mine[0]) and mine[0][0] != "exit code 0", (command, mine)
            assert theirs[0][0] == "exit code 0", f"{command}: the official one refuses it too"
            for node in (
                (official, ours) if undo.startswith("serve") else (official,) if undo else ()
            ):
                node.cli(*undo.split())
            continue
        if program == "pillion":
            theirs, mine = (
                ([str(said[0] == "exit code 0")], found) for said, found in (theirs, mine)
            )
        lines = list(
            difflib.unified_diff(theirs[0] + theirs[1], mine[0] + mine[1], lineterm="", n=0)
        )
        if lines:
            differences += [command, *lines[2:]]
    assert not differences, "\n".join(differences)
