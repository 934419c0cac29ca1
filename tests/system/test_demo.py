# SPDX-License-Identifier: BSD-3-Clause
"""scripts/demo: its output, and that it leaves nothing behind, however it ends.

It runs with a /run of its own, so that no other demo is in the way. Its topology is drawn in
its own head.
"""

import os
import signal
import subprocess

import pytest
from lab.build import ROOT, build_folder
from lab.waiting import wait_for

TIMEOUT = 120
END = "Everything is taken down again."


def heed_signals():
    """As on a terminal, though we may run in the background, or under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Machine:
    """A mount namespace with an empty /run, and demos in it."""

    def __init__(self, folder):
        self.folder = folder
        self.holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                "mount -t tmpfs tmpfs /run && echo && exec sleep inf",
            ],
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout.readline() == b"\n"
        self.demos = []

    def enter(self, *command):
        place = [f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--wdns={ROOT}"]
        return ["nsenter", *place, "--", *command]

    def demo(self, *arguments):
        """A demo in a process group of its own, as on a terminal."""
        log = (self.folder / f"demo-{len(self.demos)}.log").open("w+")
        demo = subprocess.Popen(
            self.enter("scripts/demo", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=heed_signals,
            env={**os.environ, "PILLION_BUILD": build_folder().name},
        )
        demo.log = log
        self.demos.append(demo)
        return demo

    def left(self):
        """Namespaces, folders and processes of a demo."""
        command = "ls /run/netns; ls -d /run/pillion-demo"
        shown = subprocess.run(
            self.enter("sh", "-c", command), capture_output=True, text=True, check=False
        )
        here = os.readlink(f"/proc/{self.holder.pid}/ns/mnt")
        return shown.stdout.split() + [
            name for pid, name in processes_of(here) if pid != self.holder.pid
        ]

    def close(self):
        for demo in self.demos:
            if demo.poll() is None:
                demo.terminate()
                demo.wait(TIMEOUT)
            demo.log.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


def processes_of(namespace):
    """Process id and name of all in a mount namespace."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == namespace:
                with open(f"/proc/{pid}/comm") as file:
                    yield pid, file.read().strip()
        except OSError:
            continue


def said(demo):
    demo.log.flush()
    with open(demo.log.name) as file:
        return file.read()


def wait_said(demo, text):
    wait_for(lambda: text in said(demo) or demo.poll() is not None, TIMEOUT, lambda: said(demo))
    assert text in said(demo), said(demo)


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_by_relay_and_then_direct(machine):
    demo = machine.demo()
    assert demo.wait(TIMEOUT) == 0, said(demo)
    text = said(demo)
    assert text.count("hello from the app") == 2
    assert 0 < text.index("by relay own in") < text.index("directly, 10.66.0.2:41641, in")
    assert text.endswith(END + "\n")
    assert machine.left() == []


def test_a_second_one_is_refused_and_a_killed_one_is_cleaned_up_after(machine):
    first = machine.demo("--keep")
    wait_said(first, "It is kept up.")
    second = machine.demo()
    assert second.wait(TIMEOUT) == 1
    assert f"another demo is up; end that one first (Ctrl-C there, or: kill {first.pid})" in said(
        second
    )
    first.kill()
    first.wait(TIMEOUT)
    assert "pillion-demo" in " ".join(machine.left())
    third = machine.demo()
    assert third.wait(TIMEOUT) == 0, said(third)
    wait_for(lambda: machine.left() == [], TIMEOUT, lambda: str(machine.left()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "moment", ["A switch", "A coordination", "An app", "A laptop", "Packets may", "It is kept up"]
)
def test_whenever_it_is_ended_all_is_taken_down(machine, moment, number):
    demo = machine.demo("--keep")
    wait_said(demo, moment)
    if number == signal.SIGTERM:
        demo.send_signal(number)
    else:  # the terminal tells everybody
        os.killpg(demo.pid, number)
    assert demo.wait(TIMEOUT) == 128 + number, said(demo)
    assert said(demo).endswith(END + "\n")
    assert machine.left() == []
