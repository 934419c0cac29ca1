# SPDX-License-Identifier: BSD-3-Clause
"""What all tests in namespaces share: a lab for each test, and its logs when it fails."""

import os

import pytest
from lab import Lab
from lab.pillion import sanitized
from lab.sanitizers import check_folder

LOG_TAIL = 6000


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


def pytest_collection_modifyitems(items):
    if items and os.geteuid() != 0:
        pytest.exit("these tests make network namespaces and need root", returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and lab is not None:
        for process in lab.processes:
            title = f"{process.box.name}: {process.log.name}"
            report.sections.append((title, process.text()[-LOG_TAIL:]))
    return report


@pytest.fixture
def hermetic():
    """Whether only our own programs are nodes."""
    return False


@pytest.fixture
def lab(tmp_path, hermetic):
    """An empty lab: the switch, and nothing on it yet."""
    with Lab(tmp_path / "lab", hermetic) as made:
        yield made
        if sanitized():
            made.stop_built()
    check_folder(tmp_path / "lab")
