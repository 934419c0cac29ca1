# SPDX-License-Identifier: BSD-3-Clause
"""What a node keeps, and how it starts with what is there."""

from lab import wait_for


def replaced_engine(sidecar):
    """Kill the engine, and wait for the next one to answer."""
    before = sidecar.engine_pid()
    sidecar.kill_engine()

    def answers():
        return sidecar.engine_pid() != before and sidecar.cli("status", "--json").returncode == 0

    def no_trouble():
        try:
            return answers()
        except AssertionError:
            return False

    wait_for(no_trouble, 20, "another engine")


def test_a_crash_undoes_nothing_that_a_person_did(world):
    """The environment holds at a container's start; what was changed since then outlives engines."""
    sidecar = world.sidecar.join()
    sidecar.cli("set", "--hostname=by-hand")
    replaced_engine(sidecar)
    sidecar.wait_running()
    assert sidecar.status()["Self"]["HostName"] == "by-hand"
    sidecar.cli("down")
    replaced_engine(sidecar)
    assert sidecar.status()["BackendState"] == "Stopped"
    replaced_engine(sidecar)
    assert sidecar.status()["BackendState"] == "Stopped"
    sidecar.cli("up")
    sidecar.wait_running()
    sidecar.cli("logout")
    replaced_engine(sidecar)
    assert sidecar.status()["BackendState"] == "NeedsLogin"

    # The container starts again: what it says holds.
    sidecar.stop()
    sidecar.start(world.headscale.auth_key())
    sidecar.wait_running()
    assert sidecar.status()["Self"]["HostName"] == "sidecar"
