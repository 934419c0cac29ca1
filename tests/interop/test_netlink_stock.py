# SPDX-License-Identifier: BSD-3-Clause
"""The netlink room and the official daemon: a living one is left alone, a dead one's rest goes."""

import errno
import subprocess

import pytest
from lab.netstate import PRIORITIES, Maker
from lab.peers import peer
from lab.waiting import wait_for


@pytest.fixture
def make():
    with Maker() as maker:
        yield maker


@pytest.fixture
def box(make):
    return make.namespace()


@pytest.fixture
def tailscaled(box, tmp_path):
    """The official daemon, running in the box, up to where its rules stand."""
    process = subprocess.Popen(
        box.enter(
            str(peer("tailscaled")),
            "--tun=tailscale0",
            f"--statedir={tmp_path}",
            f"--socket={tmp_path}/socket",
            "--no-logs-no-support",
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(box.rules(4)) >= 4 and len(box.rules(6)) >= 4, 30, "tailscaled's rules")
    yield process
    process.kill()
    process.wait()


def test_a_living_tailscaled_is_refused_or_given_way(make, box, tailscaled):
    tool = make.tool(box)
    for name in ("tailscale0", "pillion0"):
        code, text = tool.fails(f"claim {name} 52")
        assert code == -errno.EBUSY and "tailscale0" in text and "--table" in text, text
    before = box.run("ip -d rule") + box.run("ip -6 -d rule")
    tool(
        "claim pillion0 53",
        "open pillion0",
        "table 53",
        "address 100.64.0.1",
        "route 100.64.0.7",
    )
    tool("apply")
    assert (5270, "80", "53") in box.rules() and (5270, "unspec", "52") in box.rules()
    tool("teardown")
    assert box.run("ip -d rule") + box.run("ip -6 -d rule") == before
    assert tailscaled.poll() is None


def test_leftovers_of_a_killed_tailscaled_are_cleaned(make, box, tailscaled):
    box.run("ip link show tailscale0")
    # The changes of tailscaled after a login, with its own names.
    box.run("nft add table ip filter; nft add chain ip filter ts-input")
    box.run("nft add rule ip filter ts-input iifname != tailscale0 ip saddr 100.64.0.0/10 drop")
    box.run("ip route add throw 10.9.0.0/16 table 52")
    tailscaled.kill()
    tailscaled.wait()
    assert len(box.rules(4)) == 4 and len(box.rules(6)) == 4
    tool = make.tool(box)
    assert tool("claim tailscale0 52")["removed"] == 9
    assert box.rules(4) == [] and box.rules(6) == [] and box.routes() == {}
    assert "drop" not in box.run("nft list chain ip filter ts-input")
    tool("open tailscale0", "address 100.64.0.1", "apply")
    assert [rule[:2] for rule in box.rules()] == [(priority, "80") for priority in PRIORITIES]
