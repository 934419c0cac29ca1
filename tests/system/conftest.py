# SPDX-License-Identifier: BSD-3-Clause
"""The coordination server by itself, and the world of the hermetic tests: pillion on all sides."""

import pytest
from lab import Control, OwnRelay, Pillion, make_world
from lab.loopback_control import JoinedNode, LoopbackControl
from supervisor_world import namespace, start  # noqa: F401 (fixtures)


@pytest.fixture(scope="session", autouse=True)
def own_loopback(loopback):
    """All tests of this folder run in it."""


@pytest.fixture
def server(tmp_path):
    made = LoopbackControl(tmp_path)
    made.start()
    yield made
    made.end()


@pytest.fixture
def nodes(server, tmp_path):
    made = []

    def join(key):
        made.append(JoinedNode(server, key, tmp_path))
        return made[-1]

    yield join
    for node in made:
        node.close()


@pytest.fixture
def hermetic():
    return True


@pytest.fixture
def world(lab):
    return make_world(lab, Control, Pillion, Pillion)


@pytest.fixture
def world_with_relay(lab):
    return make_world(lab, Control, Pillion, Pillion, OwnRelay(lab.box("relay")))


@pytest.fixture
def outage():
    """For how many seconds control is away."""
    return 6


@pytest.fixture
def pillion_only():
    """All nodes are ours."""


@pytest.fixture
def healing_only():
    """All nodes heal."""
