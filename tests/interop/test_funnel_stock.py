# SPDX-License-Identifier: BSD-3-Clause
"""Funnel beside the real thing: the stock command line on our socket, and a stock node as ingress."""

import pytest
from lab import wait_for
from lab.app import PORT
from lab.build import ROOT
from lab.network import PYTHON

BRING_IN = ROOT / "tests/lab/bring_in.py"


@pytest.fixture
def node(world, pillion_only):
    world.sidecar.start(world.headscale.auth_key(), {"TS_INGRESS_FROM": "laptop"})
    world.sidecar.wait_running()
    world.fetch_both_ways()
    wait_for(lambda: world.sidecar.status()["Self"]["PeerAPIURL"], 20, "the PeerAPI")
    return world.sidecar


def test_the_stock_command_funnels(world, node):
    """Its words are ours, and the port is open to the stock node that is trusted."""
    name = node.status()["Self"]["DNSName"].rstrip(".")
    address, _, port = node.status()["Self"]["PeerAPIURL"][0][len("http://") :].rpartition(":")

    def bring():
        command = [PYTHON, BRING_IN, address, port, "203.0.113.7:1", f"{name}:443"]
        return world.laptop.box.run(*command, stdin="x", check=False).stdout

    stock = node.cli("funnel", "--bg", str(PORT)).stdout
    wait_for(lambda: " 101 " in bring(), 20, bring)
    shown = node.cli("funnel", "status").stdout
    assert node.pillion("funnel", "status").stdout == shown
    node.cli("funnel", "reset")
    ours = node.pillion("funnel", "--bg", str(PORT)).stdout
    assert ours.replace("pillion", "tailscale").split() == stock.split()
    assert node.cli("funnel", "status").stdout == shown
    node.cli("funnel", "--https=443", "off")
    assert "AllowFunnel" not in node.pillion("serve", "status", "--json").stdout
    done = node.cli("funnel", "--bg", "--https=444", str(PORT), check=False)
    assert done.returncode == 1


def test_the_stock_command_without_ingress_nodes(world, pillion_only):
    """It says why not, and changes nothing."""
    world.sidecar.join()
    done = world.sidecar.cli("funnel", "--bg", str(PORT), check=False)
    assert done.returncode == 1
    assert "Funnel not available" in done.stdout + done.stderr
    assert "AllowFunnel" not in world.sidecar.pillion("serve", "status", "--json").stdout
