# SPDX-License-Identifier: BSD-3-Clause
"""The lab works as drawn: cuts, routers, names, and nothing is left behind.

a ─┬─ switch ─┬─ b
   └─ router ─┴─ c (behind it)
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from lab import App, Lab, Timeout, wait_for
from lab.app import ask_udp, reflect_udp, url
from lab.network import NETNS, PYTHON
from lab.sanitizers import check_folder


def namespaces_of(pid):
    return [path.name for path in NETNS.iterdir() if path.name.startswith(f"plab-{pid}-")]


def test_boxes_reach_each_other(lab):
    a, b = lab.box("a"), lab.box("b")
    app = App(b)
    assert a.curl(url(b.v4)) == app.page
    assert a.curl(url(b.v6)) == app.page


def test_names_are_resolved(lab):
    a, b = lab.box("a"), lab.box("b")
    program = "import socket; print(sorted({i[4][0] for i in socket.getaddrinfo('b.lab', 1)}))"
    process = a.start(PYTHON, "-c", program, log="resolve")
    assert process.wait(10) == 0
    assert process.text().strip() == str(sorted([b.v4, b.v6]))
    missing = a.start(PYTHON, "-c", program.replace("b.lab", "c.lab"), log="missing")
    assert missing.wait(10) != 0


def test_the_name_server_stays_where_it_is(lab):
    """A bridge takes the lowest address of its ports, unless it has one of its own."""
    a = lab.box("a")
    program = "import socket; socket.getaddrinfo('a.lab', 1)"
    # Less than the kernel takes to find that an address has moved.
    patience = {"RES_OPTIONS": "timeout:1 attempts:3"}
    for moment in ("before", "after"):
        process = a.start(PYTHON, "-c", program, log=moment, environment=patience)
        assert process.wait(10) == 0, moment
        lab.set_port_address(a, "02:00:00:00:00:01")


def test_udp_can_be_closed_for_a_pair(lab):
    a, b, c = (lab.box(name) for name in "abc")
    app = App(b)
    for box in (b, c):
        reflect_udp(box)
    pair = [b.v4, b.v6, c.v4]
    assert None not in ask_udp(a, *pair)
    lab.close_udp(a, b)
    assert [answer is None for answer in ask_udp(a, *pair)] == [True, True, False]
    assert a.curl(url(b.v4)) == app.page
    lab.close(a, b)
    assert a.curl(url(b.v4), timeout=1, check=False) is None
    lab.open(a, b)
    assert None not in ask_udp(a, *pair)
    assert a.curl(url(b.v4)) == app.page


@pytest.mark.parametrize("kind", ["easy", "hard", "blocked"])
def test_routers_translate(lab, kind):
    a, b = lab.box("a"), lab.box("b")
    router = lab.router("router", kind)
    c = lab.box("c", behind=router)
    for box in (a, b):
        reflect_udp(box)
    app = App(a)
    assert c.curl(url(a.v4)) == app.page
    seen = ask_udp(c, a.v4, b.v4, local_port=5000)
    if kind == "blocked":
        assert seen == [None, None]
        return
    addresses = {answer.split()[0] for answer in seen}
    ports = {answer.split()[1] for answer in seen}
    assert addresses == {router.v4}
    if kind == "easy":
        assert ports == {"5000"}
    else:
        assert len(ports) == 2
    # Connections from outside are dropped.
    inner = App(c)
    a.run("ip", "route", "add", f"{c.v4}/32", "via", router.v4)
    assert a.curl(url(c.v4), timeout=1, check=False) is None
    assert router.curl(url(c.v4)) == inner.page


def test_programs_live_as_in_a_container(lab):
    a = lab.box("a")
    script = "echo $$; cat /etc/resolv.conf; touch /proc/sys/net/ipv4/ip_forward; sleep 300 & wait"
    process = a.start(
        *[PYTHON, "-c", "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1]])"], script
    )
    process.wait_text("(?i)read-only", 10)
    assert "nameserver 10.77.0.254" in process.text()
    inside = wait_for(
        lambda: subprocess.run(
            ["pgrep", "--ns", str(process.pid), "--nslist", "pid", "sleep"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split(),
        5,
        "the sleep",
    )
    process.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside), 5, "its end")


def test_a_program_that_ends_is_not_waited_for(lab):
    process = lab.box("a").start(PYTHON, "-c", "print('bye')")
    with pytest.raises(Timeout, match="ended with 0"):
        process.wait_text("never said", 30)


def test_nothing_is_left_behind(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        process = lab.box("a").start("/bin/sleep", "300")
        assert namespaces_of(os.getpid())
    assert not Path(f"/proc/{process.pid}").exists()
    assert not namespaces_of(os.getpid())


def test_a_report_of_a_sanitizer_fails_the_test(lab):
    """Of a process that ends by itself, of a daemon with a log file, of a command."""
    box = lab.box("a")
    report = "=1=ERROR: LeakSanitizer: detected memory leaks"
    with pytest.raises(AssertionError, match="LeakSanitizer"):
        box.run("echo", report)
    check_folder(lab.folder)
    box.start("/bin/echo", report, log="program").wait(5)
    with pytest.raises(AssertionError, match="LeakSanitizer"):
        check_folder(lab.folder)
    (box.folder / "program.log").unlink()
    state = box.folder / "state"
    state.mkdir()
    (state / "pillion.log").write_text("fine\nx.c:1:2: runtime error: shift exponent\n")
    with pytest.raises(AssertionError, match="runtime error"):
        check_folder(lab.folder)
    (state / "pillion.log").unlink()


@pytest.mark.alone  # the lab of another test would sweep it first
def test_a_killed_run_is_swept(tmp_path):
    """SIGKILL to the test run: its programs end with it, its namespaces go with the next lab."""
    program = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from lab import Lab
        lab = Lab({str(tmp_path / "killed")!r})
        print(lab.box("a").start("/bin/sleep", "300").pid, flush=True)
        time.sleep(300)
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    pid = int(run.stdout.readline())
    assert namespaces_of(run.pid)  # when it is dead, a lab of another test may sweep them
    run.kill()
    run.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 5, "its program to end")
    with Lab(tmp_path / "next"):
        assert not namespaces_of(run.pid)
