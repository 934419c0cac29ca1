# SPDX-License-Identifier: BSD-3-Clause
"""Command lines, daemons and state files exchanged with the official ones, on loopback.

    tailscale  ──▶ our LocalAPI (localapi_tool)
    pillion    ──▶ tailscaled ──▶ Headscale
    state_tool ◀── tailscaled.state ──▶ tailscaled

No namespace is needed: tailscaled runs in userspace mode.
"""

import json
import os
import signal
import subprocess

import pytest
from lab.build import BUILD, ROOT
from lab.headscale import LoopbackHeadscale, own_relay, relays
from lab.peers import peer
from lab.relay_tool import free_port
from lab.waiting import wait_for

DATA = ROOT / "tests/system/data"
TIMEOUT = 30
# One Headscale for all of them, so one test process.
pytestmark = pytest.mark.xdist_group("exchange")


def run(*arguments, check=True, variables=None):
    done = subprocess.run(
        [str(a) for a in arguments],
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("TS_")} | (variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(TIMEOUT)


class Tailscaled:
    def __init__(self, folder):
        self.folder = folder
        self.socket = folder / "tailscaled.sock"
        with (folder / "tailscaled.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    peer("tailscaled"),
                    "--tun=userspace-networking",
                    f"--statedir={folder}",
                    f"--socket={self.socket}",
                    "--port=0",
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"TS_NO_LOGS_NO_SUPPORT": "true"},
            )
        wait_for(self.socket.exists, TIMEOUT, "tailscaled to listen")

    def status(self):
        done = run(peer("tailscale"), f"--socket={self.socket}", "status", "--json", check=False)
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def state(self):
        return self.status().get("BackendState")

    def wait_for_running(self):
        wait_for(lambda: self.state() == "Running", TIMEOUT, "tailscaled to run")
        return self.status()

    def stop(self):
        stop(self.process)


@pytest.fixture(scope="module")
def headscale(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headscale")
    relay = own_relay(folder, f"127.0.0.1:{free_port()}")
    server = LoopbackHeadscale(folder, ("alice",), derp=relays(**relay))
    server.key = server.auth_key("--reusable")
    yield server
    server.end()


@pytest.fixture
def our_localapi(tmp_path):
    path = tmp_path / "node.sock"
    tool = subprocess.Popen(
        [
            BUILD / "tests/tools/localapi_tool",
            path,
            DATA / "status.json",
            DATA / "whois.json",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tool.stdout.readline() == "ready\n"
    yield path
    stop(tool)


def test_the_official_command_line_works_against_our_localapi(our_localapi):
    def tailscale(*arguments, code=0):
        done = run(peer("tailscale"), f"--socket={our_localapi}", *arguments, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Warning" not in done.stderr
        return done.stdout

    assert "laptop" in tailscale("status") and "direct 192.0.2.7:41641" in tailscale("status")
    assert json.loads(tailscale("status", "--json"))["BackendState"] == "Running"
    assert tailscale("ip") == "100.64.0.1\nfd7a:115c:a1e0::1\n"
    assert tailscale("ip", "-4", "laptop") == "100.64.0.2\n"
    assert "via 192.0.2.7:41641 in 12ms" in tailscale("ping", "-c", "1", "laptop")
    assert "alice" in tailscale("whois", "100.64.0.2")
    assert "Daemon: 1.102.5" in tailscale("version", "--daemon")
    tailscale("set", "--hostname=web", "--shields-up")
    tailscale("down")
    assert "stopped" in tailscale("status", code=1)
    tailscale("up")
    tailscale("status")
    tailscale("up", "--hostname=web", "--shields-up")
    tailscale("status")
    tailscale("logout")
    assert "Logged out" in tailscale("status", code=1)
    tailscale("up", "--reset", "--authkey=k")
    tailscale("status")


def test_our_command_line_works_against_the_official_daemon(headscale, tmp_path):
    daemon = Tailscaled(tmp_path)
    try:

        def pillion(*arguments, code=0, variables=None):
            done = run(
                BUILD / "pillion",
                f"--socket={daemon.socket}",
                *arguments,
                check=False,
                variables=variables,
            )
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr

        assert "Not logged in" in pillion("status", code=1)
        asked = pillion("up", f"--login-server={headscale.url}", "--timeout=5s", code=1)
        assert f"\n\t{headscale.url}/register/" in asked
        up = pillion("connect", "--hostname=ours", variables={"TS_AUTHKEY": headscale.key})
        assert "connected as ours.tail.lab, 100.64.0." in up
        assert "ours" in pillion("status")
        address = pillion("ip", "-4").strip()
        assert "ours.tail.lab" in pillion("whois", address)
        assert "this node" in pillion("ping", "-c", "1", "ours")
        pillion("set", "--shields-up")
        pillion("down")
        assert "down" in pillion("status", code=1)
        assert "connected as" in pillion("up")
        prefs = json.loads(
            run(peer("tailscale"), f"--socket={daemon.socket}", "debug", "prefs").stdout
        )
        assert prefs["ShieldsUp"] and prefs["Hostname"] == "ours"
        pillion("logout")
        assert "Not logged in" in pillion("status", code=1)
    finally:
        daemon.stop()


def state(command, folder, *arguments):
    done = run(
        BUILD / "tests/tools/state_tool",
        command,
        folder / "tailscaled.state",
        *arguments,
    )
    return json.loads(done.stdout) if done.stdout else None


def test_a_volume_goes_over_to_us_and_back(headscale, tmp_path):
    daemon = Tailscaled(tmp_path)
    try:
        run(
            peer("tailscale"),
            f"--socket={daemon.socket}",
            "up",
            f"--login-server={headscale.url}",
            f"--authkey={headscale.key}",
            "--hostname=volume",
        )
        before = daemon.wait_for_running()
    finally:
        daemon.stop()

    ours = state("show", tmp_path)
    node = next(n for n in headscale.cli("nodes", "list") if n["given_name"] == "volume")
    assert ours["node_key"] == before["Self"]["PublicKey"] == node["node_key"]
    assert ours["machine_key"] == node["machine_key"]
    assert ours["node_id"] == before["Self"]["ID"]
    assert ours["control_url"] == headscale.url and ours["want_running"]

    # Written by us it still is the same node, without a key.
    count = len(headscale.cli("nodes", "list"))
    state("rewrite", tmp_path)
    assert state("show", tmp_path) == ours
    daemon = Tailscaled(tmp_path)
    try:
        after = daemon.wait_for_running()
    finally:
        daemon.stop()
    assert after["Self"]["PublicKey"] == before["Self"]["PublicKey"]
    assert after["TailscaleIPs"] == before["TailscaleIPs"]
    assert len(headscale.cli("nodes", "list")) == count
    assert state("show", tmp_path) == ours


def test_a_node_that_we_made_goes_over_to_the_official_daemon(headscale, tmp_path):
    state("new", tmp_path, headscale.url)
    ours = state("show", tmp_path)
    assert ours["node_id"] == ""
    daemon = Tailscaled(tmp_path)
    try:
        run(
            peer("tailscale"),
            f"--socket={daemon.socket}",
            "up",
            f"--login-server={headscale.url}",
            f"--authkey={headscale.key}",
            "--hostname=made-by-us",
        )
        daemon.wait_for_running()
    finally:
        daemon.stop()
    node = next(n for n in headscale.cli("nodes", "list") if n["given_name"] == "made-by-us")
    after = state("show", tmp_path)
    assert after["machine_key"] == ours["machine_key"] == node["machine_key"]
    assert after["profile"] == ours["profile"]
    assert after["node_key"] == node["node_key"]
    assert after["node_id"] == str(node["id"])
