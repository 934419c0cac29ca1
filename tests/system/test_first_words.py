# SPDX-License-Identifier: BSD-3-Clause
"""What a newcomer reads first: the log of a start, and why a node is not up."""

import re

from lab.build import BUILD
from lab.machine import Machine
from lab.waiting import wait_for

HEALTH = "127.0.0.1:9002"


def test_the_log_says_as_whom_it_runs_and_health_that_it_is_down(world):
    sidecar = world.sidecar
    health = {"TS_ENABLE_HEALTH_CHECK": "true", "TS_LOCAL_ADDR_PORT": HEALTH}
    sidecar.start(world.headscale.auth_key(), health)
    sidecar.wait_started()
    log = sidecar.process.text()
    assert "Program starting: v" in log.splitlines()[0]
    assert re.search(rf"Running as sidecar, {', '.join(sidecar.addresses())}$", log, re.M), log

    def probe():
        curl = ["curl", "-s", "-w", " %{http_code}", f"http://{HEALTH}/healthz"]
        return sidecar.box.run(*curl, check=False).stdout

    assert probe() == "ok 200"
    sidecar.cli("down")
    sidecar.wait_state("Stopped")
    assert "the node is down" in probe()
    assert probe().endswith(" 503")
    sidecar.cli("up")
    sidecar.wait_running()
    wait_for(lambda: probe() == "ok 200", 20, probe)


def test_plain_http_to_a_port_that_speaks_tls(tmp_path):
    """Where the scheme of the URL is the mistake, it is asked for."""
    machine = Machine(tmp_path, ["vpn.example.com"], ["/run"])
    try:
        machine.start(
            *["control.log", BUILD / "pillion-server", "control", "serve"],
            *["--state=/run/control", "--url=https://vpn.example.com:8443"],
        )
        machine.wait_text("control.log", "serving url=")
        variables = ["TS_LOGIN_SERVER=http://vpn.example.com:8443", "TS_AUTHKEY=key"]
        machine.start("node.log", "env", *variables, BUILD / "pillion", "run")
        machine.wait_text("node.log", "does it speak https?")
    finally:
        machine.close()


def test_status_shows_the_key_that_the_page_asks_to_compare(tmp_path):
    machine = Machine(tmp_path, ["vpn.example.com"], ["/run", "/var/lib"])
    try:
        machine.start(
            *["control.log", BUILD / "pillion-server", "control", "serve"],
            *["--state=/run/control", "--url=https://vpn.example.com:8443"],
        )
        machine.wait_text("control.log", "serving url=")
        variables = ["TS_LOGIN_SERVER=https://vpn.example.com:8443", "TS_CA_FILE=/run/ca.pem"]
        machine.run("cp", "/run/control/ca.pem", "/run/ca.pem")
        machine.start("node.log", "env", *variables, BUILD / "pillion", "run")

        def status():
            return machine.run(BUILD / "pillion", "status", check=False).stdout

        text = wait_for(lambda: "/register/" in status() and status(), 20, status)
        url = re.search(r"https://\S+/register/\w+", text)[0]
        key = re.search(r"^Its key, to compare: (nodekey:\w{64})$", text, re.M)[1]
        page = machine.run("curl", "-s", "--cacert", "/run/ca.pem", url).stdout
        assert f"<code>{key}</code>" in page
        machine.run(
            BUILD / "pillion",
            "control",
            "nodes",
            "reject",
            url,
            "--socket=/run/control/control.sock",
        )
        machine.wait_text("node.log", "the operator refused this login")
    finally:
        machine.close()
