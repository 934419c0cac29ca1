# SPDX-License-Identifier: BSD-3-Clause
"""The build that tests run: build/$PILLION_BUILD.

Without this variable, programs in a lab come from the release build, as users have them, and
programs that a test starts on loopback come from the debug build, which has the sanitizers.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_folder(default="release"):
    return ROOT / "build" / os.environ.get("PILLION_BUILD", default)


BUILD = build_folder("debug")  # on loopback
TOOLS = BUILD / "tests/tools"


def is_sanitized(folder):
    """Whether the programs of a build report what sanitizers find."""
    return folder.name in ("debug", "tsan")
