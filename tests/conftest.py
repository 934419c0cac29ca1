# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures and options of all tests in namespaces: loopback, lab, logs of failures."""

import ctypes
import os
import re
import subprocess
from pathlib import Path

import pytest
from lab import Lab
from lab.build import build_folder, is_sanitized
from lab.sanitizers import check_folder

LOG_TAIL = 6000
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def pytest_addoption(parser):
    parser.addoption(
        "--sidecar",
        default="pillion",
        choices=["pillion", "containerboot", "official"],
        help="the node under test; the official ones prove the test itself",
    )
    parser.addoption(
        "--control",
        default="headscale",
        choices=["headscale", "pillion"],
        help="the coordination server of the interop tests",
    )
    parser.addoption("--failures", type=Path, help="a folder for a file on each test that fails")
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped fails")


class Failures:
    """Writes FOLDER/NAME.log for each test that fails: its id in the first line, then its report.

    Where tests could not be collected, or not the same by all processes, the run is interrupted (2).
    """

    def __init__(self, folder):
        self.folder = folder
        self.collected = True

    def pytest_collectreport(self, report):
        self.collected = self.collected and not report.failed

    def pytest_sessionfinish(self, session):
        if not self.collected:
            session.exitstatus = pytest.ExitCode.INTERRUPTED

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        # --dist loadgroup adds a test's group, which --last-failed would not find.
        report.nodeid = re.sub(r"@\w+$", "", report.nodeid)
        if report.failed:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^\w.-]+", "_", report.nodeid)[-200:]
            with (self.folder / f"{name}.log").open("a") as file:
                file.write(f"{report.nodeid}\n\n{report.longreprtext}\n")
                for title, text in report.sections:
                    file.write(f"\n--- {title}\n{text}\n")


def pytest_configure(config):
    # With -n the process that distributes the tests sees all reports.
    if config.getoption("failures") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(config.getoption("failures")))


def pytest_collection_modifyitems(config, items):
    if items and os.geteuid() != 0:
        pytest.exit("these tests make network namespaces and need root", returncode=1)
    other = "needs_release" if is_sanitized(build_folder()) else "needs_sanitizers"
    dropped = [item for item in items if item.get_closest_marker(other)]
    if dropped:
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and lab is not None:
        for process in lab.processes:
            title = f"{process.box.name}: {process.log.name}"
            report.sections.append((title, process.text()[-LOG_TAIL:]))
    if report.skipped and item.config.getoption("no_skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though no test may be: {call.excinfo.value}"
    return report


@pytest.fixture(scope="session")
def loopback():
    """A network namespace for the tests of this process.

    Test processes that run beside each other (pytest -n) have all ports of 127.0.0.1 each. tailscaled
    waits for a network, so there is one without hosts.
    """
    network = ("link add eth0 type veth peer eth1", "link set lo up", "link set eth1 up")
    network += ("link set eth0 up", "addr add 10.76.0.1/24 dev eth0", "route add default dev eth0")
    with Path("/proc/thread-self/ns/net").open() as before:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        for command in network:
            subprocess.run(["ip", *command.split()], check=True)
        yield
        if libc.setns(before.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def hermetic():
    """Whether only our own programs are nodes."""
    return False


@pytest.fixture
def lab(tmp_path, hermetic):
    """An empty lab: the switch, and nothing on it yet."""
    with Lab(tmp_path / "lab", hermetic) as made:
        yield made
        if is_sanitized(build_folder()):
            made.stop_built()
    check_folder(tmp_path / "lab")
