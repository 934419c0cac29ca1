# SPDX-License-Identifier: BSD-3-Clause
"""The official command line, which users' scripts call, against a whole node of ours."""

import json
import shlex
import signal

import pytest
from lab import wait_for
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
    own = list(world.sidecar.addresses())
    cli("down", "--accept-risk=all")
    stopped = cli("status", check=False)
    assert stopped.returncode == 1 and "stopped" in stopped.stdout
    assert cli("ip").stdout.split() == own
    # The next engine has the addresses from its cache.
    cache = world.sidecar.state / "pillion.cache"
    wait_for(lambda: own[0].encode() in cache.read_bytes(), 20, "the map to be stored")
    world.sidecar.kill_engine()
    wait_for(lambda: cli("ip", check=False).stdout.split() == own, 20, "an engine that knows them")
    cli("up")
    world.sidecar.wait_running()
    cli("logout")
    world.sidecar.wait_state("NeedsLogin")
    key = world.headscale.auth_key()
    cli("login", f"--login-server={world.headscale.url}", f"--authkey={key}")
    world.sidecar.wait_running()


def test_the_stock_command_serves(world):
    """serve --bg, status, off and reset of the official client; a second port beside the first."""
    world.sidecar.join()
    cli, status = world.sidecar.cli, world.sidecar.status()
    name = status["Self"]["DNSName"].rstrip(".")
    at = f"{name}::{world.sidecar.addresses()[0]}:"

    def page(url):
        command = ["curl", "-skS", "--max-time", "10", "--connect-to", at, url]
        return world.laptop.box.run(*command, check=False).stdout

    assert "No serve config" in cli("serve", "status").stdout
    assert f"https://{name}/" in cli("serve", "--bg", str(APP_PORT)).stdout
    cli("serve", "--bg", "--http=8000", "text:hello")
    wait_for(lambda: page(f"https://{name}/") == world.sidecar_app.page, 20, "the app's page")
    assert page(f"http://{name}:8000/") == "hello"
    shown = cli("serve", "status").stdout
    assert f"https://{name} (tailnet only)" in shown and f"http://{name}:8000" in shown
    cli("serve", "--https=443", "off")
    wait_for(lambda: page(f"https://{name}/") == "", 20, "the port to close")
    assert page(f"http://{name}:8000/") == "hello"
    cli("serve", "reset")
    assert "No serve config" in cli("serve", "status").stdout


def test_the_stock_command_serves_in_the_foreground(world):
    """Until Ctrl-C; a second one on the same port is refused; reset ends it."""
    node = world.sidecar.join()
    name = node.status()["Self"]["DNSName"].rstrip(".")
    at = f"{name}::{node.addresses()[0]}:"

    def page():
        command = ["curl", "-skS", "--max-time", "10", "--connect-to", at, f"http://{name}/"]
        done = world.laptop.box.run(*command, check=False)
        return done.stdout or done.stderr

    def begin(log):
        command = node.cli_command("serve", "--http=80", str(APP_PORT))
        process = node.box.start(*command, log=log)
        process.wait_text("Press Ctrl.C to exit", 10)
        wait_for(lambda: page() == world.sidecar_app.page, 20, page)
        return process

    first = begin("first")
    (session,) = json.loads(node.cli("serve", "status", "--json").stdout)["Foreground"].values()
    assert session["TCP"] == {"80": {"HTTP": True}}
    done = node.cli("serve", "--http=80", "1", check=False)
    assert done.returncode == 1 and "listener already exists for port 80" in done.stderr
    first.signal(signal.SIGINT)
    assert first.wait(10) == 0
    wait_for(lambda: "curl: (7)" in page(), 20, page)
    second = begin("second")
    node.cli("serve", "reset")
    assert second.wait(10) == 0
    wait_for(lambda: "curl: (7)" in page(), 20, page)


def test_a_peer_is_pinged_by_a_route_that_only_it_has(world):
    world.sidecar.join()
    world.sidecar.cli("set", "--accept-routes")
    world.laptop.cli("set", "--advertise-routes=10.55.0.0/24")
    number = world.headscale.node("laptop")["id"]
    route = ["--identifier", number, "--routes", "10.55.0.0/24"]
    wait_for(lambda: "10.55.0.0/24" in str(world.headscale.node("laptop")), 10, "the offer")
    world.headscale.cli("nodes", "approve-routes", *route)

    def pinged():
        done = world.sidecar.cli("ping", "-c=1", "--until-direct=false", "10.55.0.9", check=False)
        return "pong from laptop" in done.stdout

    wait_for(pinged, 20, "an answer")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "--ssh"], "pillion does not support the SSH server yet"),
        (["set", "--webclient"], "pillion does not support the web interface yet"),
        (["set", "--advertise-exit-node"], "pillion does not support subnet routes"),
        (["ping", "-c=1", "--size=900", "laptop"], "not supported yet"),
        (["login"], "pillion keeps one login"),
        (["dns", "status"], "pillion has no /localapi/v0/"),
    ],
)
def test_what_is_not_there_is_said(world, arguments, says):
    world.sidecar.join()
    world.sidecar.wait_knows(world.laptop)
    done = world.sidecar.cli(*arguments, check=False)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
