# SPDX-License-Identifier: BSD-3-Clause
"""The world of the interop tests: a coordination server, a stock laptop, the node under test."""

import pytest
from lab import (
    Containerboot,
    Control,
    Derper,
    Headscale,
    OfficialDaemon,
    Pillion,
    Tailscaled,
    make_world,
)
from lab.build import build_folder
from lab.pillion import built

CONTROLS = {"headscale": Headscale, "pillion": Control}
KINDS = {"pillion": Pillion, "containerboot": Containerboot, "official": OfficialDaemon}


@pytest.fixture(scope="session", autouse=True)
def own_loopback(loopback):
    """All tests of this folder run in it."""


@pytest.fixture
def kind(request):
    """Which node is under test."""
    name = request.config.getoption("--sidecar")
    if name == "pillion" and not built():
        pytest.fail(f"no pillion and pillion-engine in {build_folder()}: build first")
    return name


@pytest.fixture
def control_kind(request):
    """Which coordination server."""
    return request.config.getoption("--control")


@pytest.fixture
def outage():
    """For how many seconds control is away."""
    return 60


@pytest.fixture
def world(lab, kind, control_kind):
    return make_world(lab, CONTROLS[control_kind], KINDS[kind], Tailscaled)


@pytest.fixture
def world_with_relay(lab, kind, control_kind):
    """As world, with the relay on a host of its own, so that it lives while control is down."""
    relay = Derper(lab.box("relay"))
    return make_world(lab, CONTROLS[control_kind], KINDS[kind], Tailscaled, relay)


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
