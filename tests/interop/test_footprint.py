# SPDX-License-Identifier: BSD-3-Clause
"""What a joined node costs. A release build is meant: sanitizers cost more."""

import sys

import pytest
from lab.build import ROOT
from lab.process import cpu_used
from lab.waiting import wait_for

sys.path.insert(0, str(ROOT / "bench"))

import memory

MEMORY_MB = 10
CPU_SECONDS = 0.2  # in ten seconds at rest


@pytest.mark.needs_release  # sanitizers change the figures
@pytest.mark.alone
@pytest.mark.usefixtures("pillion_only")
def test_memory_and_rest(world):
    """All processes of the node together, and how little they do when nothing happens."""
    world.sidecar.join()
    world.use("direct")
    pids = world.sidecar.processes()
    wait_for(lambda: cpu_used(pids, 1) < CPU_SECONDS / 10, 20, "the node to be at rest")
    used = cpu_used(pids, 10)
    result = memory.measure(pids)
    megabytes = result["total"] / 1e6
    print(f"memory {megabytes:.1f} MB in {len(pids)} processes, CPU {used:.2f} s in 10 s")
    assert megabytes <= MEMORY_MB, result["by_process"]
    assert used <= CPU_SECONDS
