# SPDX-License-Identifier: BSD-3-Clause
"""A node joins, is used by every command, and leaves: no process of ours has a report to make.

For the build with sanitizers (PILLION_BUILD=debug); the lab looks for reports after every test,
in all logs and in what commands print (lab/sanitizers.py).
"""

from pathlib import Path

import pytest
from lab.build import build_folder
from lab.sanitizers import check_text

pytestmark = [
    pytest.mark.usefixtures("pillion_only"),
    pytest.mark.needs_sanitizers,
]


def has_sanitizer(pid):
    return "libasan" in Path(f"/proc/{pid}/maps").read_text()


def test_join_and_leave(world):
    """Supervisor, engine and command line, each to its end in order."""
    sidecar = world.sidecar
    sidecar.join()
    assert has_sanitizer(sidecar.supervisor_pid())
    assert has_sanitizer(sidecar.engine_pid())
    needed = sidecar.box.run("ldd", build_folder() / "pillion").stdout
    assert "libasan" in needed and "libubsan" in needed
    for path in ("relay", "direct"):
        world.use(path)
    peer = world.laptop.addresses()[0]
    for command in (
        ["status"],
        ["status", "--json"],
        ["ip"],
        ["ping", "-c", "2", peer],
        ["whois", peer],
        ["version", "--daemon"],
        ["set", "--shields-up"],
        ["set", "--shields-up=false"],
        ["down"],
        ["up"],
        ["logout"],
    ):
        sidecar.pillion(*command)
    status, _ = sidecar.stop()
    assert status == 0
    check_text(sidecar.process.text(), "the log of supervisor and engine")
    assert "the engine died" not in sidecar.process.text()
