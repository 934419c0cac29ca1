# SPDX-License-Identifier: BSD-3-Clause
"""A process is stopped (SIGSTOP): the engine, the whole container, control.

laptop ── connection "in" ──► app beside the node ── connection "out" ──► laptop
"""

import json
import os
import signal
import time

import pytest
from lab import Held, wait_for

pytestmark = pytest.mark.usefixtures("pillion_only")

# supervisor/child_rules.h: asked each 1.5 s, killed after five turns of silence, and some patience.
HUNG = 9
REPLACED = 60


def held_connections(world):
    held = [
        Held(world.laptop.box, world.sidecar.addresses()[0], "ticks"),
        Held(world.sidecar.box, world.laptop.addresses()[1], "ticks"),
    ]
    for one in held:
        one.wait_ticks(20, 10)
    return held


def ask(world, *command):
    """What our command line says, and the seconds it took."""
    began = time.monotonic()
    done = world.sidecar.pillion(*command, check=False)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_a_hanging_engine_is_replaced(world):
    """A stopped engine is replaced; the app's connections survive, and health reports it."""
    world.sidecar.join()
    world.use("direct")
    held = held_connections(world)
    old = world.sidecar.engine_pid()
    os.kill(old, signal.SIGSTOP)
    code, said, seconds = ask(world, "status")
    assert code == 1
    assert "does not answer within 5 s" in said
    assert "replaced within 10 seconds" in said
    assert seconds < 15
    wait_for(lambda: world.sidecar.engine_pid() != old, REPLACED, "another engine")
    for one in held:
        one.wait_ticks(40, 30)
        assert one.intact()
    world.sidecar.wait_running()
    assert "(last: hung, and was killed)" in json.dumps(world.sidecar.status()["Health"])
    assert "it hangs: no sign of life for 7.5 s" in world.sidecar.process.text()


def test_a_stopped_container_is_no_hanging_engine(world):
    """As `docker pause` and a sleeping laptop do it: when it goes on, nothing is replaced."""
    world.sidecar.join()
    world.use("direct")
    held = held_connections(world)
    supervisor, engine = world.sidecar.supervisor_pid(), world.sidecar.engine_pid()
    # The supervisor runs first again, sees how late it is, and the engine has not answered yet.
    for pid in (engine, supervisor):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(HUNG + 10)  # the pause itself: it must not count as a hanging engine
    for pid in (supervisor, engine):
        os.kill(pid, signal.SIGCONT)
    for one in held:
        one.wait_ticks(40, 30)
        assert one.intact()
    assert world.sidecar.engine_pid() == engine
    assert world.sidecar.running()


def test_logout_while_control_is_frozen(world):
    """Control accepts connections and never answers: the logout ends in time, with a reason."""
    world.sidecar.join()
    os.kill(world.headscale.process.pid, signal.SIGSTOP)
    code, said, seconds = ask(world, "logout")
    os.kill(world.headscale.process.pid, signal.SIGCONT)
    assert code == 1
    assert "control did not confirm the logout" in said
    assert "forgotten its keys" in said
    assert seconds < 40
    world.sidecar.wait_state("NeedsLogin")
