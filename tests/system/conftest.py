# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests of the coordination server."""

import pytest
from lab.loopback_control import JoinedNode, LoopbackControl


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
