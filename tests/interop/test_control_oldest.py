# SPDX-License-Identifier: BSD-3-Clause
"""The oldest stock client that our coordination server admits, and its relay for it.

control (pillion control, its relay and STUN) ─ switch ─┬─ old (tailscaled 1.82)
                   UDP between the nodes is closed      └─ sidecar (pillion, app)
"""

import re

from lab import App, Control, Pillion
from lab.app import url
from lab.build import ROOT
from lab.peers import peer
from lab.tailscaled import OldestTailscaled
from lab.waiting import wait_for


def test_the_oldest_uses_the_relay(lab):
    """A relay with a self-signed certificate, which clients check by its hash."""
    control = Control(lab.box("control"))
    boxes = lab.box("old"), lab.box("sidecar")
    lab.close_udp(*boxes)
    old = OldestTailscaled(boxes[0], control).join()
    sidecar = Pillion(boxes[1], control).join()
    for box in boxes:
        App(box)
    for client, server in [(old, sidecar), (sidecar, old)]:
        client.wait_knows(server)
        page = wait_for(
            lambda c=client, s=server: c.box.curl(url(s.addresses()[0]), timeout=5, check=False),
            60,
            f"{client.hostname} to fetch from {server.hostname}",
        )
        assert page == f"this is {server.box.name}\n"
        client.wait_path(server, "relay")


def test_it_is_the_oldest(lab):
    """Its capability version is the one that the server asks for at least."""
    control = Control(lab.box("control"))
    OldestTailscaled(lab.box("old"), control).join()
    header = (ROOT / "src/server/coordinator/tailnet.h").read_text()
    least = int(re.search(r"TAILNET_VERSION_MIN\s+(\d+)", header)[1])
    release = re.search(r'TAILNET_VERSION_MIN_IPN "(.*)"', header)[1]
    assert control.node("old")["capability_version"] == least
    assert peer("tailscaled", "oldest-").parent.name.startswith(f"oldest-tailscale-{release}.")
