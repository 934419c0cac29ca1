# SPDX-License-Identifier: BSD-3-Clause
"""The relay inside of the coordination server, for a stock node and ours.

control (pillion control, its relay and STUN) ─ switch ─┬─ one (tailscaled, app)
                   UDP between the nodes is closed      └─ sidecar (pillion, app)
"""

import json

import pytest
from lab import App, Control, Pillion, Tailscaled, wait_for
from lab.app import url

REGION = "900"


class World:
    def __init__(self, lab):
        self.control = Control(lab.box("control"))
        boxes = lab.box("one"), lab.box("sidecar")
        lab.close_udp(*boxes)
        self.one = Tailscaled(boxes[0], self.control).join()
        self.sidecar = Pillion(boxes[1], self.control).join()
        self.pairs = [(self.one, self.sidecar), (self.sidecar, self.one)]
        for node, other in self.pairs:
            App(node.box)
            node.wait_knows(other)

    def fetch_both_ways(self, timeout=30):
        for client, server in self.pairs:
            page = wait_for(
                lambda c=client, s=server: c.box.curl(url(s.addresses()[0]), timeout=5),
                timeout,
                f"{client.hostname} to fetch from {server.hostname}",
            )
            assert page == f"this is {server.box.name}\n"


@pytest.fixture
def world(lab):
    return World(lab)


def test_it_restarts_gracefully(world):
    """SIGTERM: both nodes are notified, and reconnect to control and relay by themselves."""
    world.fetch_both_ways()
    for client, server in world.pairs:
        client.wait_path(server, "relay")
    assert world.control.metrics()["pillion_relay_clients"] == 2
    status, seconds = world.control.terminate()
    assert status == 0
    assert seconds < 5
    world.control.start()
    world.fetch_both_ways(60)
    for client, server in world.pairs:
        client.wait_path(server, "relay")
    wait_for(
        lambda: world.control.metrics()["pillion_control_nodes_connected"] == 2,
        60,
        lambda: str(world.control.metrics()),
    )


def test_who_must_not_use_it_is_cut(world):
    """Deleted or expired: its connection ends with the order, and there is no way back in."""
    world.fetch_both_ways()
    before = world.control.metrics()
    assert before["pillion_relay_clients"] == 2
    world.control.expire(world.one.hostname)
    wait_for(
        lambda: world.control.metrics()["pillion_relay_clients"] == 1, 10, "the expired to be cut"
    )
    world.control.delete(world.sidecar.hostname)
    wait_for(
        lambda: world.control.metrics()["pillion_relay_clients"] == 0, 10, "the deleted to be cut"
    )
    # They try again, and are refused.
    wait_for(
        lambda: world.control.metrics()['pillion_relay_cut_total{reason="refused"}'] > 0,
        60,
        lambda: str(world.control.metrics()),
    )
    assert world.control.metrics()["pillion_relay_clients"] == 0


def test_what_it_says_of_itself(world):
    """Port 80 in the map, and names for clients without DNS, on both ports."""
    box, control = world.one.box, world.control
    node = control.cli("debug", "netmap", world.one.hostname)["DERPMap"]["Regions"][REGION]
    assert node["Nodes"][0]["CanPort80"] is True
    assert node["Nodes"][0]["HostName"] == "control.lab"
    host = control.box
    for base in (f"https://{host.v4}:8444", f"http://{host.v4}"):
        text = box.run(
            "curl", "-skf", "--max-time", 5, f"{base}/bootstrap-dns?q=control.lab"
        ).stdout
        assert set(json.loads(text)["control.lab"]) == {host.v4, host.v6}
        head = box.run(
            *["curl", "-ski", "--max-time", 5, "-H", "X-Tailscale-Challenge: ts_control.lab"],
            f"{base}/generate_204",
        ).stdout
        assert "x-tailscale-response: response ts_control.lab" in head.lower()
    # Both measured it, and made it their home.
    for node in control.nodes().values():
        assert node["home_relay"] == int(REGION)
