# SPDX-License-Identifier: BSD-3-Clause
"""Names can't be resolved: control is dialled where it was, or where a relay says that it is.

    control ──┬── switch ──┬── sidecar    its resolv.conf names a server that doesn't answer
    relay ────┘            ├── laptop     relay: derper with control's name for /bootstrap-dns,
                           └── stranger   or a liar; stranger: at addresses that control had

Running alone proves nothing, since the node starts from its cache: control has to see it online.
"""

import itertools
import json

import pytest
from lab import Derper, Headscale, Pillion, Tailscaled, make_world, wait_for
from lab.network import PROGRAMS, PYTHON
from lab.pki import Authority
from lab.process import cpu_seconds

pytestmark = pytest.mark.usefixtures("pillion_only")

# An unused address; a host that drops all questions; a host that refuses them at once.
DEAD = {"unreachable": "10.77.0.250", "silent": None, "refusing": "10.77.0.3"}


def answering(box, authority, text, name=None):
    """An HTTPS server in a box with a certificate for `name`; it answers with a file."""
    certificate, key = authority.issue(name or f"{box.name}.lab", box.v4, box.v6)
    file = box.folder / "answer"
    file.write_text(text)
    process = box.start(PYTHON, PROGRAMS, "answer", certificate, key, file, log="answer")
    process.wait_text("^serving", 10)
    return process, file


class Liar(Derper):
    """A relay that is none, but answers /bootstrap-dns."""

    def restart(self):
        folder = self.box.folder / "certificates"
        name = f"{self.box.name}.lab"
        self.answer = self.box.folder / "answer"
        self.answer.write_text("{}")
        self.process = self.box.start(
            *[PYTHON, PROGRAMS, "answer", folder / f"{name}.crt", folder / f"{name}.key"],
            *[self.answer],
            log="answer",
        )
        self.process.wait_text("^serving", 10)

    def asked(self):
        return self.process.text().count("asked /bootstrap-dns?q=control.lab")


def kill_resolver(world, how):
    box = world.sidecar.box
    address = DEAD[how]
    if address is None:
        silent = world.lab.box("silent")
        silent.nft(
            """
            table inet silent {
                chain input {
                    type filter hook input priority filter;
                    meta l4proto { tcp, udp } th dport 53 drop
                }
            }
            """
        )
        address = silent.v4
    box.resolv_conf.write_text(f"nameserver {address}\n")


def online(world):
    return (world.headscale.node("sidecar") or {}).get("online", False)


def start_online(world, timeout=45):
    """The log from here on; the node is Running, and control sees it online."""
    wait_for(lambda: not online(world), 30, "the node offline")
    world.sidecar.start()
    world.sidecar.wait_running(10)
    wait_for(lambda: online(world), timeout, lambda: world.sidecar.process.describe())
    wait_for(
        lambda: "not-in-map-poll" not in json.dumps(world.sidecar.status().get("Health")),
        10,
        "no complaint about control",
    )


@pytest.fixture
def world_with_names(lab):
    """The relay knows where control is."""
    derper = Derper(lab.box("relay"), "--bootstrap-dns-names=control.lab")
    return make_world(lab, Headscale, Pillion, Tailscaled, derper)


@pytest.mark.parametrize("how", ["unreachable", "silent"])
def test_by_the_address_it_was_reached_at(world, how):
    world.sidecar.join()
    world.sidecar.stop()
    kill_resolver(world, how)
    start_online(world)
    world.fetch_both_ways()


def derper_learns(world):
    """derper resolves its names at its start."""
    world.derper.process.kill()
    world.derper.restart()
    relay = world.derper.box
    wait_for(
        lambda: world.headscale.box.v4
        in relay.run(
            *["curl", "-sk", "--max-time", 5, "--resolve", f"relay.lab:443:{relay.v4}"],
            "https://relay.lab/bootstrap-dns?q=control.lab",
        ).stdout,
        20,
        "derper to know where control is",
    )


def settle(world, addresses):
    """Somebody else serves TLS where control was; returns the server."""
    box = world.lab.box("stranger")
    process, _ = answering(box, world.headscale.authority, "a stranger")
    box.run("ip", "addr", "add", f"{addresses[0]}/24", "dev", "eth0")
    box.run("ip", "addr", "add", f"{addresses[1]}/64", "dev", "eth0", "nodad")
    world.lab.forget_neighbours()
    return process


@pytest.mark.parametrize("old_place", ["empty", "taken"])
def test_control_has_moved(world_with_names, old_place):
    """The address that is known leads nowhere, or to somebody else's TLS: a relay knows better."""
    world = world_with_names
    world.sidecar.join()
    world.sidecar.stop()
    kill_resolver(world, "silent")
    old = world.lab.move(world.headscale.box)
    if old_place == "taken":
        settle(world, old)
    derper_learns(world)
    start_online(world, 60)
    world.fetch_both_ways()


def test_control_moves_while_the_node_runs(world_with_names):
    world = world_with_names
    world.sidecar.join()
    world.fetch_both_ways()
    kill_resolver(world, "unreachable")
    world.lab.move(world.headscale.box)
    derper_learns(world)
    # Its connection is dead like the address; the old process takes the rest with it.
    world.headscale.stop()
    world.headscale.start()
    wait_for(lambda: online(world), 90, lambda: world.sidecar.process.describe())
    world.fetch_both_ways()


HOSTILE = {
    "this machine": {"control.lab": ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"]},
    "its link": {"control.lab": ["169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1"]},
    "no addresses": {"control.lab": ["control.lab", "", None, 5, {}, ["10.77.0.250"]]},
    "another name": {"other.lab": ["10.77.0.250"]},
    "no list": {"control.lab": {"control.lab": "10.77.0.1"}},
    "nothing": "",
    "no JSON": "<html>\x00\xff",
    "deep": "[" * 60_000,
    "long": {"control.lab": ["10.77.0.250"] * 3000},
    "too long": {"control.lab": ["10.77.0.250"] * 300_000},
}


def test_a_relay_that_lies(lab):
    """It is asked, believed in nothing, and the truth is taken when it comes."""
    relay = Liar(lab.box("relay"))
    world = make_world(lab, Headscale, Pillion, Tailscaled, relay)
    world.sidecar.join()
    world.sidecar.stop()
    kill_resolver(world, "refusing")
    # "own" is reached if the lie is "this machine"; "stranger" if it is another address.
    own, _ = answering(world.sidecar.box, Authority(world.sidecar.box.folder / "pki"), "own")
    stranger = settle(world, lab.move(world.headscale.box))
    hostile = {**HOSTILE, "a stranger": {"control.lab": [lab.boxes["stranger"].v4]}}
    world.sidecar.start()
    world.sidecar.wait_running(10)
    engine = world.sidecar.engine_pid()
    turns = itertools.cycle(("add", "del"))

    def hurry():
        """Change the addresses of the machine, which ends the back-off."""
        world.sidecar.box.run("ip", "addr", next(turns), "10.99.0.1/24", "dev", "eth0")

    for what, answer in hostile.items():
        relay.answer.write_text(answer if isinstance(answer, str) else json.dumps(answer))
        before = relay.asked()
        wait_for(
            lambda before=before: hurry() or relay.asked() > before,
            60,
            lambda what=what: f"being asked ({what}): {world.sidecar.process.describe()}",
            interval=1,
        )
    assert "connection" in stranger.text()
    assert "connection" not in own.text()
    assert "asked" not in stranger.text(), "its certificate has another name"
    assert not online(world)
    assert world.sidecar.engine_pid() == engine
    assert cpu_seconds([engine]) < 20
    relay.answer.write_text(json.dumps({"control.lab": [world.headscale.box.v4]}))
    wait_for(
        lambda: hurry() or online(world), 60, lambda: world.sidecar.process.describe(), interval=2
    )
