# SPDX-License-Identifier: BSD-3-Clause
"""The world of the interop tests: a coordination server, a stock laptop, the node under test."""

from dataclasses import dataclass

import pytest
from lab import (
    App,
    Box,
    Containerboot,
    Control,
    Derper,
    Headscale,
    Lab,
    OfficialDaemon,
    Pillion,
    Sidecar,
    Tailscaled,
    wait_for,
)
from lab.app import url
from lab.pillion import build_folder, built

CONTROLS = {"headscale": Headscale, "pillion": Control}
KINDS = {"pillion": Pillion, "containerboot": Containerboot, "official": OfficialDaemon}


@dataclass
class World:
    """control, sidecar (with its app) and laptop (with an app of its own), on one switch."""

    lab: Lab
    headscale: Headscale | Control
    sidecar: Sidecar
    laptop: Tailscaled
    sidecar_app: App
    laptop_app: App
    derper: Derper | None = None

    @property
    def boxes(self) -> tuple[Box, Box]:
        return self.sidecar.box, self.laptop.box

    def close_udp(self):
        """Between the two nodes: what is left to them is the relay."""
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


@pytest.fixture
def kind(request):
    """Which node is under test."""
    name = request.config.getoption("--sidecar")
    if name == "pillion" and not built():
        pytest.fail(f"no pillion and pillion-engine in {build_folder()}: build first")
    return name


@pytest.fixture
def control_kind(request):
    """Whose coordination server."""
    return request.config.getoption("--control")


def make_world(lab, kind, derper=None, control_kind="headscale"):
    control, sidecar_box, laptop_box = (lab.box(n) for n in ("control", "sidecar", "laptop"))
    headscale = CONTROLS[control_kind](control, derper)
    laptop = Tailscaled(laptop_box, headscale).join()
    return World(
        lab=lab,
        headscale=headscale,
        sidecar=KINDS[kind](sidecar_box, headscale),
        laptop=laptop,
        sidecar_app=App(sidecar_box),
        laptop_app=App(laptop_box),
        derper=derper,
    )


@pytest.fixture
def world(lab, kind, control_kind):
    """The node under test is not started yet."""
    return make_world(lab, kind, control_kind=control_kind)


@pytest.fixture
def world_with_derper(lab, kind, control_kind):
    """As world, with the relay on a host of its own, so that it lives while Headscale is down."""
    return make_world(lab, kind, Derper(lab.box("relay")), control_kind)


@pytest.fixture
def pillion_only(kind):
    """For what only our node promises."""
    if kind != "pillion":
        pytest.skip(f"{kind} does not promise this")


@pytest.fixture
def healing_only(kind):
    """For nodes that replace a dead engine."""
    if not KINDS[kind].heals:
        pytest.skip(f"{kind} ends with its daemon")
