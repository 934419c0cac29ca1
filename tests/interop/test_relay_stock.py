# SPDX-License-Identifier: BSD-3-Clause
"""Stock nodes and ours through our relay, which they know by the hash of its certificate.

    laptop (tailscaled) ──TLS, pinned──▶ relay (pillion-server derp) ◀──TLS, pinned── sidecar
                              Headscale names it in its DERP map

Between the two nodes UDP is closed throughout, except where a test says so.
"""

import json

import pytest
from lab import App, Headscale, OwnRelay, Pillion, Tailscaled, wait_for


class RelayWorld:
    def __init__(self, lab, *flags):
        self.lab = lab
        control, laptop, sidecar, relay = (
            lab.box(n) for n in ("control", "laptop", "sidecar", "relay")
        )
        self.relay = OwnRelay(relay, *flags)
        self.headscale = Headscale(control, self.relay)
        lab.close_udp(laptop, sidecar)
        self.laptop = Tailscaled(laptop, self.headscale).join()
        self.sidecar = Pillion(sidecar, self.headscale).join()
        self.apps = {self.laptop: App(laptop), self.sidecar: App(sidecar)}

    def pairs(self):
        return ((self.laptop, self.sidecar), (self.sidecar, self.laptop))

    def fetch_both_ways(self, timeout=20):
        for client, server in self.pairs():
            address = server.addresses()[0]
            page = wait_for(
                lambda client=client, address=address: client.box.curl(
                    f"http://{address}:8080/", check=False
                ),
                timeout,
                f"{client.hostname} to fetch from {server.hostname}",
            )
            assert page == self.apps[server].page


@pytest.fixture
def relayed(lab):
    return RelayWorld(lab)


def test_both_ways_by_relay_alone(relayed):
    """Pages both ways, megabytes both ways, and the relay saw them."""
    relayed.fetch_both_ways()
    for client, server in relayed.pairs():
        client.wait_path(server, "relay")
        address = server.addresses()[0]
        body = client.box.curl(f"http://{address}:8080/bytes/4000000", timeout=40)
        assert len(body) == 4_000_000
    metrics = relayed.relay.metrics()
    assert metrics["clients"] == 2
    assert metrics["peers"] == 2
    assert metrics["home_clients"] == 2
    assert metrics['bytes_total{direction="out"}'] > 8_000_000
    assert metrics['stun_total{result="answered"}'] > 0
    # And with UDP open they leave it.
    relayed.lab.open(relayed.laptop.box, relayed.sidecar.box)
    for client, server in relayed.pairs():
        client.wait_path(server, "direct")


def test_stock_netcheck(relayed):
    """The stock client's own view: UDP works, and our region has a latency in both families."""
    report = relayed.laptop.cli("netcheck", "--format=json").stdout
    report = json.loads(report)
    assert report["UDP"] is True
    assert report["PreferredDERP"] == 901
    assert set(report["RegionV4Latency"]) == {"901"}
    assert set(report["RegionV6Latency"]) == {"901"}


def test_the_relay_restarts(relayed):
    """kill -9: both come back by themselves, to the same key and certificate."""
    relayed.fetch_both_ways()
    relayed.relay.process.kill()
    relayed.relay.restart()
    relayed.fetch_both_ways(timeout=40)
    for client, server in relayed.pairs():
        client.wait_path(server, "relay")


def test_verified_by_headscale(lab):
    """Only nodes that Headscale knows are let in; one that is deleted is refused its next time."""
    control = "control.lab"
    world = RelayWorld(
        lab,
        f"--verify-url=https://{control}/verify",
        f"--verify-ca-file={lab.folder / 'control/pki/ca.pem'}",
    )
    world.fetch_both_ways()
    assert world.relay.metrics()["clients"] == 2
    world.headscale.delete("laptop")
    world.relay.process.kill()
    world.relay.restart()
    wait_for(
        lambda: world.relay.metrics()['cut_total{reason="refused"}'] > 0, 30, "a node to be refused"
    )
    wait_for(lambda: world.relay.metrics()["clients"] == 1, 30, "the other to be in")
