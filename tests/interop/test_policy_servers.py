# SPDX-License-Identifier: BSD-3-Clause
"""Headscale and our coordination server tell the same nodes the same, under 112 policies."""

import time

import pytest
from policy_corpus import DIFFERENCES, POLICIES, REFUSED, UNSUPPORTED
from policy_servers import NODES, tailnets

SETTLE = 5
# One pair of servers for all of them, so one test process.
pytestmark = pytest.mark.xdist_group("policy_servers")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with tailnets(tmp_path_factory.mktemp("policies")) as made:
        yield made


def differences(one, other):
    return [
        f"{node}'s {part}: {one[node][part]} and {other[node][part]}"
        for node in NODES
        for part in one[node]
        if one[node][part] != other[node][part]
    ]


def settled_differences(servers):
    """Headscale's messages to a node may overtake each other: the last one counts."""
    until = time.monotonic() + SETTLE
    while found := differences(*(server.netmaps() for server in servers)):
        if time.monotonic() > until:
            break
    return found


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_is_said(servers, name):
    refusals = [server.put(POLICIES[name]) for server in servers]
    if None in refusals:
        found = list(filter(None, refusals)) or settled_differences(servers)
    else:
        found = [] if name in REFUSED else refusals
    if name in DIFFERENCES:
        assert found, f"no difference any more, though one is named: {DIFFERENCES[name]}"
    else:
        assert not found, "\n".join(found)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_we_refuse(servers, name):
    text, words = UNSUPPORTED[name]
    refusals = [server.put(text) for server in servers]
    assert refusals[0] is None, "Headscale refuses it too: nothing to name"
    assert words in refusals[1]


def test_the_corpus():
    """As many as were agreed on, and differences of none but those."""
    assert len(POLICIES) == 112
    assert set(DIFFERENCES) | REFUSED <= set(POLICIES)
