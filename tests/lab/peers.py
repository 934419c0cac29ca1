# SPDX-License-Identifier: BSD-3-Clause
"""The real peers that scripts/peers built."""

import os
from functools import cache
from pathlib import Path


@cache
def peer(name, folder=""):
    """The path of a peer's executable: "tailscaled", "headscale" …; folder: how its folder begins"""
    cache_folder = Path(os.environ.get("PILLION_PEERS", "/var/cache/pillion-peers"))
    # The folder "oldest-…" is first in order, so it is used only if a test asks for it.
    found = sorted(cache_folder.glob(f"{folder}*/{name}"))
    assert found, f"no {folder}*/{name} in {cache_folder}: run scripts/peers first"
    return found[-1]
