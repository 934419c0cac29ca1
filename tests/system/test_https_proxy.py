# SPDX-License-Identifier: BSD-3-Clause
"""HTTPS_PROXY and NO_PROXY: a real proxy is the only way out, or none, or refuses.

sidecar ── firewall ── tinyproxy ── control and its relay ── laptop
"""

import json
import os
from pathlib import Path

import pytest
from lab import wait_for
from lab.build import build_folder
from lab.proxies import Tinyproxy

PASSWORD = "s3cret-of-the-proxy"


@pytest.fixture
def proxy(world):
    """It wants a user; the node under test can reach nothing else."""
    made = Tinyproxy(world.lab.box("proxy"), "app", PASSWORD)
    made.only_way_out_of(world.sidecar.box)
    return made


def says_nothing_of(secret, node):
    """Neither log, nor status, nor what /proc shows of a process."""
    assert secret not in node.process.text()
    assert secret not in json.dumps(node.status())
    for pid in node.processes():
        for name in ("environ", "cmdline"):
            assert secret.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "http://app:{password}@{proxy}"},
        {"https_proxy": "app:{password}@{proxy}/", "no_proxy": "localhost,10.0.0.0/8,.other"},
        {
            "HTTPS_PROXY": "",
            "https_proxy": "http://app:{password}@{proxy}",
            "NO_PROXY": "control.lab:1",
        },
    ],
    ids=["url", "bare", "empty"],
)
def test_a_node_joins_by_the_proxy_alone(world, proxy, variables):
    """Control and the relay: the packets of the app go through it too."""
    world.sidecar.start(
        world.headscale.auth_key(),
        {n: v.format(password=PASSWORD, proxy=proxy.address) for n, v in variables.items()},
    )
    world.sidecar.wait_started()
    world.fetch_both_ways()
    assert set(proxy.targets()) == {"control.lab:443", "control.lab:8444"}
    says_nothing_of(PASSWORD, world.sidecar)
    assert not world.sidecar.status()["Health"]
    # What replaces a dead engine goes the same way.
    world.sidecar.kill_engine()
    world.sidecar.wait_running()
    world.fetch_both_ways()


@pytest.mark.parametrize("names", [{"NO_PROXY": "control.lab"}, {"no_proxy": ".other, .lab"}])
def test_what_no_proxy_names_is_reached_without(world, names):
    proxy = Tinyproxy(world.lab.box("proxy"))
    world.sidecar.start(
        world.headscale.auth_key(), {"HTTPS_PROXY": f"http://{proxy.address}", **names}
    )
    world.sidecar.wait_started()
    world.fetch_both_ways()
    assert proxy.targets() == []


def test_a_proxy_that_refuses_is_named(world, proxy):
    world.sidecar.start(
        world.headscale.auth_key(), {"HTTPS_PROXY": f"app:wr0ng-one@{proxy.address}"}
    )
    line = f"HTTPS_PROXY {proxy.address}: it refuses the user and password"
    world.sidecar.process.wait_text(line, 30)
    wait_for(
        lambda: any(line in health for health in world.sidecar.status()["Health"]), 10, "health"
    )
    says_nothing_of("wr0ng-one", world.sidecar)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("10.77.0.254:1", "HTTPS_PROXY 10.77.0.254:1: connect 10.77.0.254:1: Connection refused"),
        ("http://u:pa$$word@nowhere.lab:1", "HTTPS_PROXY nowhere.lab:1: "),
        ("socks5://u:pa$$word@10.77.0.254:1", "HTTPS_PROXY: the URL must begin with https:// or"),
    ],
    ids=["dead", "unresolved", "unusable"],
)
def test_a_proxy_that_is_none_is_named(world, value, line):
    world.sidecar.start(world.headscale.auth_key(), {"HTTPS_PROXY": value})
    world.sidecar.process.wait_text(line.replace(".", r"\."), 30)
    wait_for(
        lambda: any(line in health for health in world.sidecar.status()["Health"]), 10, "health"
    )
    says_nothing_of("pa$$word", world.sidecar)


def test_connect_hands_it_on(world, proxy):
    """The daemon in the background inherits the proxy of the command, and shows the password nowhere."""
    box = world.sidecar.box
    environment = {
        **{n: v for n, v in os.environ.items() if n in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS")},
        **world.sidecar.environment(world.headscale.auth_key(), None),
        "https_proxy": f"http://app:{PASSWORD}@{proxy.address}",
    }

    def run(*arguments):
        return box.run(build_folder() / "pillion", *arguments, environment=environment)

    run("connect", "--timeout=60s")
    try:
        status = json.loads(run("status", "--json").stdout)
        assert status["BackendState"] == "Running"
        assert set(proxy.targets()) == {"control.lab:443", "control.lab:8444"}
        own = box.run("readlink", "/proc/self/ns/net").stdout.strip()
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("environ", "cmdline"):
                try:
                    if os.readlink(process / "ns/net") != own:
                        continue  # of another test, with a proxy of its own
                    shown = (process / name).read_bytes()
                except OSError:
                    continue
                assert PASSWORD.encode() not in shown, process
        assert PASSWORD not in (world.sidecar.state / "pillion.log").read_text()
    finally:
        run("disconnect")


def test_provision_goes_the_same_way(world):
    """It asks control, which is no Headscale, through the proxy."""
    proxy = Tinyproxy(world.lab.box("proxy"))
    done = world.sidecar.box.run(
        *[build_folder() / "pillion-server", "headscale", "provision", "--account=a"],
        *["--device=d", f"--url={world.headscale.url}", "--api-key=none"],
        *[f"--ca-file={world.headscale.authority.certificate}"],
        check=False,
        environment={"PATH": os.environ["PATH"], "https_proxy": proxy.address},
    )
    assert done.returncode != 0
    assert set(proxy.targets()) == {"control.lab:443"}, done.stderr
