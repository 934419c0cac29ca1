# SPDX-License-Identifier: BSD-3-Clause
"""scripts/test itself: a run of tests that fails in any way does not pass."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "def test_passes(): pass\n"
ALONE_FAILS = "\nimport pytest\n@pytest.mark.alone\ndef test_alone(): assert False\n"
GROUP_FAILS = """
import pytest
@pytest.mark.xdist_group("some")
def test_grouped(): assert False
"""
FLAKY = """
from pathlib import Path
def test_flaky():
    ran = Path("ran").exists()
    Path("ran").touch()
    assert ran
"""
DIFFERS = """
import os, pytest
@pytest.mark.parametrize("worker", [os.environ.get("PYTEST_XDIST_WORKER")])
def test_differs(worker): pass
"""
LEAVES = "import pytest\npytest.exit('no', returncode=1)\n"


@pytest.mark.parametrize(
    ("tests", "code", "flaky"),
    [
        ([PASSES + ALONE_FAILS], 1, 0),
        ([PASSES, FLAKY], 0, 1),
        ([GROUP_FAILS, FLAKY], 1, 1),
        ([PASSES, DIFFERS], 2, 0),
        ([PASSES + ALONE_FAILS, DIFFERS], 2, 0),
        ([PASSES, FLAKY, "import nothing_of_that_name"], 2, 0),
        ([PASSES, LEAVES], 2, 0),
        ([""], 5, 0),
    ],
)
def test_a_run_that_fails_does_not_pass(tmp_path, tests, code, flaky):
    (tmp_path / "build").mkdir()
    (tmp_path / "build/venv").symlink_to(ROOT / "build/venv")
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "lab").symlink_to(ROOT / "tests/lab")
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    for number, text in enumerate(tests):
        (folder / f"test_{number}.py").write_text(text)
    script = (ROOT / "scripts/test").read_text()
    functions = re.findall(r"^(?:say|pytest_once|run_tests)\(\).*?\}$", script, re.M | re.S)
    prelude = "set -euo pipefail; beside=2 runs=0 scratch=$PWD strict=()"
    done = subprocess.run(
        ["bash", "-c", "\n".join([prelude, *functions, "run_tests tests"])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert len(list(tmp_path.glob("build/flaky/*.log"))) == flaky
