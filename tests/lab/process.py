# SPDX-License-Identifier: BSD-3-Clause
"""One program in a box, as in a container: own mounts, own process ids, own log."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from lab.waiting import Timeout, wait_for

PR_SET_PDEATHSIG = 1
ON_THE_WAY = ("nsenter", "unshare", "setpriv", "sh", "dash", "bash")  # to the program itself
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    """In the child, before exec: a test run that is killed takes its programs along."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def children(pid):
    """Pids of the children of a process, oldest first."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def descendants(pid):
    """Pids of a process's children, their children and so on."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def command_name(pid):
    """The name that a process has in /proc, or "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cpu_seconds(pids):
    """The CPU time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_used(pids, seconds):
    """The CPU time that processes use in the next `seconds`."""
    before = cpu_seconds(pids)
    time.sleep(seconds)  # the interval that is measured
    return cpu_seconds(pids) - before


class Process:
    """A running program; made by Box.start().

    pid is the program itself (pid 1 of its own pid namespace), log the file with its output.
    """

    def __init__(self, box, arguments, command, log, environment):
        self.box = box
        self.arguments = [str(argument) for argument in arguments]
        self.log = log
        self.started = time.monotonic()
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )
        self.pid = wait_for(self._find, 10, f"{self.arguments[0]} to start")

    def _find(self):
        # unshare forks the program as the first process of the new pid namespace. Until it has
        # become the program it is still the shell that mounts.
        if self._popen.poll() is not None:
            return self._popen.pid
        pids = children(self._popen.pid)
        if not pids:
            return None
        executable = Path(f"/proc/{pids[0]}/exe").readlink().name
        return pids[0] if executable not in ON_THE_WAY else None

    def text(self):
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def running(self):
        return self._popen.poll() is None

    def write(self, text):
        """To its standard input."""
        self._popen.stdin.write(text.encode())
        self._popen.stdin.flush()

    def end_input(self):
        """It reads the end of its standard input."""
        self._popen.stdin.close()
        self._popen.stdin = None

    def wait_text(self, pattern, timeout, since=0):
        """Wait until its output has a match of the pattern behind offset `since`; return it."""

        compiled = re.compile(pattern, re.MULTILINE)

        def look():
            running = self.running()
            match = compiled.search(self.text(), since)
            if match is None and not running:
                self.ensure_running()
            return match

        return wait_for(look, timeout, lambda: f"'{pattern}' in the output of {self.describe()}")

    def ensure_running(self):
        """Give up waiting for something that can't come any more."""
        if not self.running():
            raise Timeout(f"ended with {self._popen.returncode}: {self.describe()}")
        return True

    def describe(self):
        tail = "\n".join(self.text().splitlines()[-25:])
        return f"{' '.join(self.arguments)} (log {self.log}):\n{tail}"

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout):
        """Wait for its end; the exit status as a shell would see it."""
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s: {self.describe()}") from None
        return status if status >= 0 else 128 - status

    def stop(self, timeout=5):
        """SIGTERM, then SIGKILL to it and all that it started. Returns (status, seconds)."""
        began = time.monotonic()
        if self.running():
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        self.kill()
        status = self._popen.returncode
        return (status if status >= 0 else 128 - status), time.monotonic() - began

    def kill(self):
        """SIGKILL to it and all that it started, at once."""
        if self.running():
            # The first process of a pid namespace takes the others along.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._popen.wait(10)
        if self._popen.stdin:
            with contextlib.suppress(BrokenPipeError):  # input that it did not read
                self._popen.stdin.close()
