# SPDX-License-Identifier: BSD-3-Clause
"""Where programs are: our own build, and the real peers that scripts/peers built."""

import os
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_folder():
    """build/$PILLION_BUILD, release unless told otherwise."""
    return ROOT / "build" / os.environ.get("PILLION_BUILD", "release")


@cache
def peer(name, folder=""):
    """The path of a peer's executable: "tailscaled", "headscale" …; folder: how its folder begins"""
    cache_folder = Path(os.environ.get("PILLION_PEERS", "/var/cache/pillion-peers"))
    # "oldest-…" stands before what is used unless it is asked for.
    found = sorted(cache_folder.glob(f"{folder}*/{name}"))
    assert found, f"no {folder}*/{name} in {cache_folder}: run scripts/peers first"
    return found[-1]
