# SPDX-License-Identifier: BSD-3-Clause
"""Certificates of a node whose name, configuration or authority changes."""

import json

import pytest
from lab.cert_site import NAME, ZONE, Site
from lab.certs import Pebble
from lab.waiting import wait_for

CALM = {"PEBBLE_WFE_NONCEREJECT": "0"}
GRANT = {
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
    "nodeAttrs": [{"target": ["*"], "attr": ["pillion/cap/certificate"]}],
}


@pytest.fixture
def site(lab):
    return Site(lab)


def seen(site, name):
    """Issuer and names of the certificate that a client sees when it asks for a name."""
    address = site.served.addresses[0]
    script = (
        f"openssl s_client -connect {address}:443 -servername {name} </dev/null 2>/dev/null"
        " | openssl x509 -noout -issuer -ext subjectAltName"
    )
    return site.world.laptop.box.run("sh", "-c", script, check=False).stdout


def wait_seen(site, name, issuer, timeout=60):
    def look():
        text = seen(site, name)
        return issuer in text and f"DNS:{name}" in text

    wait_for(look, timeout, lambda: f"{seen(site, name)}; {site.node.process.describe()}")


@pytest.mark.parametrize("by", ["control", "acme"])
def test_a_renamed_node(site, by):
    """The new name has its certificate at once; the old one's is not shown any more."""
    if by == "control":
        site.control.set_policy(GRANT)
        site.serve({})
        issuer = "nodes of"
    else:
        pebble = site.pebble(environment=CALM)
        site.serve({**pebble.environment(), **site.names.environment()})
        issuer = "Pebble"
    wait_seen(site, NAME, issuer)
    site.control.cli("nodes", "rename", "sidecar", "other")
    wait_seen(site, f"other.{ZONE}", issuer)
    assert f"DNS:{NAME}" not in seen(site, NAME)
    status = json.loads(site.node.pillion("status", "--json").stdout)
    assert status["Certificate"]["Domain"] == f"other.{ZONE}"
    # The first one is still there, and costs nothing.
    site.control.cli("nodes", "rename", "other", "sidecar")
    wait_seen(site, NAME, issuer, 15)
    if by == "acme":
        assert pebble.issued() == 2


def test_more_names_than_the_table_has(site):
    """Each name gives its place back."""
    pebble = site.pebble(environment=CALM)
    site.serve({**pebble.environment(), **site.names.environment()})
    wait_seen(site, NAME, "Pebble")
    last = "sidecar"
    for index in range(18):
        site.control.cli("nodes", "rename", last, f"name{index}")
        last = f"name{index}"
        wait_for(
            lambda name=f"{last}.{ZONE}": f"DNS:{name}" in seen(site, name),
            20,
            site.node.process.describe,
        )
    wait_seen(site, f"{last}.{ZONE}", "Pebble")


def test_a_short_life(site):
    """No warning while it is renewed in time; one that says why when it can't be."""
    pebble = site.pebble(
        {"profiles": {"default": {"description": "short", "validityPeriod": 60}}}, CALM
    )
    site.serve({**pebble.environment(), **site.names.environment()})
    wait_seen(site, NAME, "Pebble")

    def renewed():
        assert "certificate" not in site.health()
        return pebble.issued() >= 2

    wait_for(renewed, 90, site.node.process.describe)
    pebble.process.kill()
    wait_for(
        lambda: "ends in 0 minutes, and can't be renewed" in site.health(),
        90,
        lambda: site.health() + site.node.process.describe(),
    )
    assert "can't be renewed" in site.node.pillion("status").stdout
    wait_seen(site, NAME, "pillion authority", 90)
    wait_for(lambda: "no certificate by ACME" in site.health(), 20, site.health)
    pebble.start()
    wait_seen(site, NAME, "Pebble", 120)
    wait_for(lambda: "certificate" not in site.health(), 10, site.health)


def test_another_directory_in_the_middle_of_an_order(site):
    """The order at the first one is abandoned; the account's key is the same, the pause is the first one's."""
    first = site.pebble(environment=CALM)
    site.serve({**first.environment(), **site.names.environment()})
    wait_for(lambda: first.asked("order-plz"), 40, site.node.process.describe, interval=0.001)
    site.node.process.kill()
    account = site.node.state / "certs" / "acme-account.key.pem"
    key = account.read_bytes()
    second = Pebble(site.names.box, site.control.authority, site.names, {}, CALM)
    site.environment |= second.environment()
    site.node.start(None, site.environment)
    site.node.wait_running()
    site.acme = second
    site.wait_certificate()
    assert account.read_bytes() == key
    assert (first.issued(), second.issued(), second.asked("order-plz")) == (0, 1, 1)
    assert first.asked("order-plz") == 1
