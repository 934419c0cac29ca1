# SPDX-License-Identifier: BSD-3-Clause
"""A whole tailnet with apps: a coordination server, a laptop, the node under test.

    control ──┬── switch ──┬── sidecar (the node under test), its app
    relay ────┘            └── laptop (a peer), an app of its own

The relay is part of control, or stands on a host of its own. The test chooses the kinds
of server and nodes.
"""

from dataclasses import dataclass

from lab.app import App, url
from lab.control import Control
from lab.derper import Derper
from lab.headscale import Headscale
from lab.network import Box, Lab
from lab.sidecar import Sidecar
from lab.waiting import wait_for


@dataclass
class World:
    """The node under test is not started yet."""

    lab: Lab
    headscale: Headscale | Control
    sidecar: Sidecar
    laptop: Sidecar
    sidecar_app: App
    laptop_app: App
    derper: Derper | None = None

    @property
    def boxes(self) -> tuple[Box, Box]:
        return self.sidecar.box, self.laptop.box

    def close_udp(self):
        """Drop UDP between the two nodes, so that they need the relay."""
        self.lab.close_udp(*self.boxes)

    def open_udp(self):
        self.lab.open(*self.boxes)

    def use(self, path):
        """Have the two nodes talk by "relay" or "direct", and see that they do."""
        if path == "relay":
            self.close_udp()
        else:
            self.open_udp()
        self.fetch_both_ways()
        self.laptop.wait_path(self.sidecar, path)
        self.sidecar.wait_path(self.laptop, path)

    def join(self, path):
        """The node joins, and talks with the laptop by "relay" or "direct" from the beginning."""
        if path == "relay":
            self.close_udp()
        self.sidecar.join()
        self.use(path)

    def fetch_both_ways(self, timeout=20, families=(0, 1)):
        """The laptop fetches the app's page and the app the laptop's, over IPv4 and IPv6."""
        for family in families:
            pairs = [
                (self.laptop, self.sidecar, self.sidecar_app),
                (self.sidecar, self.laptop, self.laptop_app),
            ]
            for client, server, app in pairs:
                address = url(server.addresses()[family])
                page = wait_for(
                    lambda client=client, address=address: client.box.curl(address, timeout=10),
                    timeout,
                    f"{client.hostname} to fetch {address}",
                )
                assert page == app.page


def make_world(lab, control, sidecar, laptop, derper=None):
    """Classes of lab: a server, two kinds of nodes; and a relay if it has a host of its own."""
    control_box, sidecar_box, laptop_box = (lab.box(n) for n in ("control", "sidecar", "laptop"))
    server = control(control_box, derper)
    return World(
        lab=lab,
        headscale=server,
        sidecar=sidecar(sidecar_box, server),
        laptop=laptop(laptop_box, server).join(),
        sidecar_app=App(sidecar_box),
        laptop_app=App(laptop_box),
        derper=derper,
    )
