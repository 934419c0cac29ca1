# SPDX-License-Identifier: BSD-3-Clause
"""The packet filter, by policies that the coordination server compiles while nodes are connected."""

import pytest
from lab import App, Held, wait_for
from lab.app import ask_udp, reflect_udp, url

OTHER_PORT = 8081


def rule(source, *destinations, protocol=None):
    made = {"action": "accept", "src": [source], "dst": list(destinations)}
    return made | ({"proto": protocol} if protocol else {})


def policy(world, *rules):
    nodes = (world.laptop, world.sidecar)
    hosts = {node.hostname: f"{node.addresses()[0]}/32" for node in nodes}
    return {"hosts": hosts, "acls": list(rules)}


@pytest.fixture
def joined(world):
    """A node with a second app on another port, and UDP servers on both sides."""
    world.sidecar.join()
    world.fetch_both_ways()
    App(world.sidecar.box, OTHER_PORT)
    for box in world.boxes:
        reflect_udp(box)
    return world


def can_fetch(client, server, port=8080):
    page = client.box.curl(url(server.addresses()[0], port=port), timeout=2, check=False)
    return page is not None


def can_ping(client, server):
    address = server.addresses()[0]
    return client.box.run("ping", "-c1", "-W1", address, check=False).returncode == 0


def can_ask(client, server):
    return ask_udp(client.box, server.addresses()[0]) != [None]


def settle(world, client, server, wanted, port=8080):
    """Wait until a change of policy has arrived."""
    wait_for(lambda: can_fetch(client, server, port) is wanted, 30, f"port {port}: {wanted}", 0.2)


def test_one_port_is_open(joined):
    """From the laptop to one port of the app, and nothing else in either direction."""
    world = joined
    world.headscale.set_policy(policy(world, rule("laptop", "sidecar:8080", protocol="tcp")))
    settle(world, world.laptop, world.sidecar, False, OTHER_PORT)
    assert can_fetch(world.laptop, world.sidecar)
    assert can_ping(world.laptop, world.sidecar)  # whoever may reach a port may ping
    assert not can_ask(world.laptop, world.sidecar)
    assert not can_fetch(world.sidecar, world.laptop)
    assert not can_ask(world.sidecar, world.laptop)


def test_a_rule_that_comes_and_goes(joined):
    """An open connection outlives its rule; a new one does not get in."""
    world = joined
    held = Held(world.laptop.box, world.sidecar.addresses()[0], "echo")
    held.echo(5)
    world.headscale.set_policy(policy(world, rule("sidecar", "laptop:*")))
    settle(world, world.laptop, world.sidecar, False)
    held.echo(5)
    assert held.intact()
    assert can_fetch(world.sidecar, world.laptop)
    world.headscale.set_policy(policy(world, rule("laptop", "sidecar:*")))
    settle(world, world.laptop, world.sidecar, True)
    held.echo(5)


def test_udp_answers_come_back(joined):
    """UDP from the app is answered; UDP to the app needs a rule of its own."""
    world = joined
    world.headscale.set_policy(policy(world, rule("sidecar", "laptop:9", protocol="udp")))
    settle(world, world.laptop, world.sidecar, False)
    assert can_ask(world.sidecar, world.laptop)
    assert not can_ask(world.laptop, world.sidecar)
    world.headscale.set_policy(policy(world, rule("laptop", "sidecar:9", protocol="udp")))
    wait_for(lambda: can_ask(world.laptop, world.sidecar), 30, "UDP to be let in")
    assert not can_fetch(world.laptop, world.sidecar)


def test_shields_up(joined):
    """No peer gets in, whatever the policy allows; outgoing connections get answers."""
    world = joined
    world.sidecar.cli("set", "--shields-up")
    settle(world, world.laptop, world.sidecar, False)
    assert not can_ping(world.laptop, world.sidecar)
    assert not can_ask(world.laptop, world.sidecar)
    assert can_fetch(world.sidecar, world.laptop)
    assert can_ask(world.sidecar, world.laptop)
    world.sidecar.cli("set", "--shields-up=false")
    settle(world, world.laptop, world.sidecar, True)
