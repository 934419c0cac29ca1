# SPDX-License-Identifier: BSD-3-Clause
"""What a joined node costs. A release build is meant: sanitizers cost more."""

import os
import sys
import time

import pytest
from lab.build import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import memory

MEMORY_MB = 10
CPU_SECONDS = 0.2  # in ten seconds at rest


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.needs_release  # sanitizers change the figures
@pytest.mark.alone
@pytest.mark.usefixtures("pillion_only")
def test_memory_and_rest(world):
    """All processes of the node together, and how little they do when nothing happens."""
    world.sidecar.join()
    world.use("direct")
    time.sleep(2)  # what is measured is a node at rest
    pids = world.sidecar.processes()
    before = cpu_seconds(pids)
    time.sleep(10)
    used = cpu_seconds(pids) - before
    result = memory.measure(pids)
    megabytes = result["total"] / 1e6
    print(f"memory {megabytes:.1f} MB in {len(pids)} processes, CPU {used:.2f} s in 10 s")
    assert megabytes <= MEMORY_MB, result["by_process"]
    assert used <= CPU_SECONDS
