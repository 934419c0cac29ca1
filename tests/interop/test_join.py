# SPDX-License-Identifier: BSD-3-Clause
"""A container joins a real tailnet: the scenarios, more bytes, and a family less."""

import pytest
from lab import Containerboot, Pillion
from lab.network import PROGRAMS, PYTHON
from scenarios.join import *  # noqa: F403


def test_join_direct(world):
    """With UDP open from the first packet."""
    world.sidecar.join()
    world.fetch_both_ways()
    world.laptop.wait_path(world.sidecar, "direct")
    world.sidecar.wait_path(world.laptop, "direct")


def test_large_transfers(world):
    """A few megabytes each way by each path, so that segments and queues are in play."""
    world.sidecar.join()
    for path in ("relay", "direct"):
        world.use(path)
        for client, server in (
            (world.laptop, world.sidecar),
            (world.sidecar, world.laptop),
        ):
            for address in server.addresses():
                host = f"[{address}]" if ":" in address else address
                body = client.box.curl(f"http://{host}:8080/bytes/4000000", timeout=40)
                assert len(body) == 4_000_000


def test_without_ipv6(world):
    """As in Docker: IPv6 off by sysctl. IPv4 works, and nothing else is harmed."""
    for key in ("all", "default"):
        world.sidecar.box.sysctl(f"net.ipv6.conf.{key}.disable_ipv6", 1)
    world.sidecar.join()
    world.fetch_both_ways(families=(0,))


def test_without_ipv4(world):
    """A machine that has no IPv4 address at all: control, relay and peers by IPv6."""
    control = world.headscale.box
    lines = [f"{address} {control.name}.lab\n" for address in (control.v4, control.v6)]
    world.lab.hosts.write_text(world.lab.hosts.read_text() + "".join(lines))
    world.sidecar.box.run("ip", "-4", "address", "flush", "scope", "global")
    world.sidecar.join()
    world.fetch_both_ways()
    world.laptop.wait_path(world.sidecar, "direct")


def test_the_official_image_takes_over_and_gives_back(world, pillion_only):
    """One volume from hand to hand: ours, theirs, ours; the same node, and no key after the first."""
    world.sidecar.join()
    addresses = world.sidecar.addresses()
    key = world.headscale.node("sidecar")["node_key"]
    for kind in (Containerboot, Pillion):
        world.sidecar.stop()
        world.sidecar = kind(world.sidecar.box, world.headscale)
        world.sidecar.start()
        world.sidecar.wait_running(60)
        assert world.sidecar.addresses() == addresses
        assert world.headscale.node("sidecar")["node_key"] == key
        world.fetch_both_ways()
    assert sorted(world.headscale.nodes()) == ["laptop", "sidecar"]


def udp_ports(box):
    """Ports on which somebody in the box listens."""
    lines = box.run("ss", "-Hlun").stdout.splitlines()
    return {int(line.split()[3].rsplit(":", 1)[1]) for line in lines}


@pytest.mark.usefixtures("pillion_only")
def test_the_port_stays(world):
    """The default port is taken: the node keeps the port that it chose, since routers and peers know it."""
    box = world.sidecar.box
    taker = box.start(PYTHON, PROGRAMS, "reflect", 41641, log="taker")
    taker.wait_text("^serving", 10)
    before = udp_ports(box)
    world.sidecar.join()
    ours = udp_ports(box) - before
    assert len(ours) == 1
    world.sidecar.stop()
    assert not udp_ports(box) - before
    world.sidecar.start()
    world.sidecar.wait_running()
    assert udp_ports(box) - before == ours
    world.sidecar.stop()
    # The usual one is free again, and yet.
    taker.kill()
    world.sidecar.start()
    world.sidecar.wait_running()
    assert udp_ports(box) == ours
    world.sidecar.stop()
    # What a person says goes first.
    world.sidecar.start(environment={"TS_TAILSCALED_EXTRA_ARGS": "--port=5555"})
    world.sidecar.wait_running()
    assert udp_ports(box) == {5555}
    world.fetch_both_ways()
