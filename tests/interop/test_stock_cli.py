# SPDX-License-Identifier: BSD-3-Clause
"""The official command line, which users' scripts call, against a whole node of ours."""

import json
import shlex

import pytest
from lab.app import PORT as APP_PORT

pytestmark = pytest.mark.usefixtures("pillion_only")


def test_what_scripts_ask(world):
    world.sidecar.join()
    world.sidecar.wait_knows(world.laptop)
    cli = world.sidecar.cli
    own, peer = world.sidecar.addresses(), world.laptop.addresses()
    assert cli("ip").stdout.split() == list(own)
    assert cli("ip", "-4", "laptop").stdout.split() == [peer[0]]
    assert "laptop" in cli("status").stdout
    for kind in ([], ["--tsmp"], ["--icmp"]):
        said = cli("ping", "-c=1", "--until-direct=false", *kind, "laptop").stdout
        assert "pong from laptop" in said
    assert "laptop.tail.lab" in cli("whois", peer[0]).stdout
    assert json.loads(cli("whois", "--json", f"{peer[0]}:80").stdout)["CapMap"] == {}
    assert "tailscaled_inbound_packets_total" in cli("metrics", "print").stdout
    assert "Nearest DERP: Lab" in cli("netcheck").stdout
    assert cli("wait").returncode == 0
    assert json.loads(cli("debug", "control-knobs").stdout)["SilentDisco"] is False
    names = [
        peer["Name"].split(".")[0] for peer in json.loads(cli("debug", "netmap").stdout)["Peers"]
    ]
    assert "laptop" in names
    # The page arrives before the end of standard input ends the connection.
    sent = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 2"
    command = shlex.join(map(str, world.sidecar.cli_command("nc", "laptop", APP_PORT)))
    assert "this is laptop" in world.sidecar.box.run("sh", "-c", f"({sent}) | {command}").stdout


def test_what_scripts_change(world):
    world.sidecar.join()
    cli = world.sidecar.cli
    cli("set", "--hostname=renamed", "--shields-up")
    prefs = json.loads(cli("debug", "prefs").stdout)
    assert prefs["Hostname"] == "renamed" and prefs["ShieldsUp"]
    cli("set", "--shields-up=false")
    cli("down")
    stopped = cli("status", check=False)
    assert stopped.returncode == 1 and "stopped" in stopped.stdout
    cli("up")
    world.sidecar.wait_running()
    cli("logout")
    world.sidecar.wait_state("NeedsLogin")
    key = world.headscale.auth_key()
    cli("up", "--reset", f"--login-server={world.headscale.url}", f"--authkey={key}")
    world.sidecar.wait_running()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "--ssh"], "pillion does not support the SSH server yet"),
        (["set", "--webclient"], "pillion does not support the web interface yet"),
        (["set", "--advertise-exit-node"], "pillion does not support subnet routes"),
        (["ping", "-c=1", "--peerapi", "laptop"], "not supported yet"),
        (["ping", "-c=1", "--size=900", "laptop"], "not supported yet"),
        (["dns", "status"], "pillion has no /localapi/v0/"),
    ],
)
def test_what_is_not_there_is_said(world, arguments, says):
    world.sidecar.join()
    world.sidecar.wait_knows(world.laptop)
    done = world.sidecar.cli(*arguments, check=False)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
