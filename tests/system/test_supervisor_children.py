# SPDX-License-Identifier: BSD-3-Clause
"""Two kinds of children: stub_engine as the engine, and stub_child beside it."""

import os
import re
import signal

from supervisor_world import TOOLS, status_of, wait_for


def stub_of(sidecar):
    """The newest process of the second kind."""
    return int(re.findall(r"stub child: process (\d+)", sidecar.log())[-1])


def begin(start):
    sidecar = start("--stub-child", beside=TOOLS / "stub_child")
    engine = int(sidecar.up()["pid"])
    wait_for(lambda: "stub child: process" in sidecar.log(), what="the stub's first line")
    return sidecar, engine, stub_of(sidecar)


def replaced(sidecar, stub):
    wait_for(lambda: stub_of(sidecar) != stub, 15, "the next stub")
    return stub_of(sidecar)


def test_a_crash_of_one_kind_does_not_touch_the_other(start):
    sidecar, engine, stub = begin(start)
    for pause in ("0.0", "0.2", "1.0"):
        os.kill(stub, signal.SIGKILL)
        stub = replaced(sidecar, stub)
        assert f"the stub died (killed by SIGKILL); the next starts in {pause} s" in sidecar.log()
    config = sidecar.config()
    assert (int(config["pid"]), config["crash_count"], config["last_crash"]) == (engine, "0", "-")
    # The engine's crashes are counted from the start: its first one costs no pause.
    os.kill(engine, signal.SIGKILL)
    wait_for(
        lambda: "the engine died (killed by SIGKILL); the next starts in 0.0 s" in sidecar.log()
    )
    assert sidecar.config()["crash_count"] == "1"
    assert status_of(stub)["Name"].strip() == "stub_child"
    code, seconds = sidecar.end()
    assert (code, seconds < 2) == (0, True)
    assert "left behind" not in sidecar.log()


def test_a_message_of_the_engine_is_refused_from_another_kind(start):
    sidecar, engine, stub = begin(start)
    assert "mark=" in sidecar.ask("socket 0 4")
    os.kill(stub, signal.SIGUSR1)
    replaced(sidecar, stub)
    assert "the stub is killed: it sent an invalid message" in sidecar.log()
    assert sidecar.engine() == engine


def test_each_kind_has_its_own_limit_of_log_lines(start):
    sidecar, _engine, stub = begin(start)
    os.kill(stub, signal.SIGUSR2)
    wait_for(
        lambda: re.search(r"\d+ log lines of the stub were dropped", sidecar.log()),
        10,
        "the count of dropped lines",
    )
    sidecar.ask("log 20")
    wait_for(lambda: "line 19 of 20" in sidecar.log(), what="the engine's last line")
    assert sidecar.log().count("stub: line") == 20
    assert "log lines of the engine were dropped" not in sidecar.log()


def test_each_kind_has_its_own_watchdog(start):
    sidecar, engine, stub = begin(start)
    os.kill(stub, signal.SIGSTOP)
    wait_for(lambda: "the stub is killed: it hangs" in sidecar.log(), 20, "the watchdog")
    replaced(sidecar, stub)
    assert "the stub died (hung, and was killed)" in sidecar.log()
    assert sidecar.engine() == engine
