# SPDX-License-Identifier: BSD-3-Clause
"""Our node."""

import os
from pathlib import Path

from lab.build import build_folder
from lab.process import command_name, descendants
from lab.sidecar import Sidecar


def built():
    """Whether there is a node to test at all."""
    folder = build_folder()
    return (folder / "pillion").exists() and (folder / "pillion-engine").exists()


class Pillion(Sidecar):
    """`pillion run`, as the container's entrypoint."""

    kind = "pillion"
    heals = True

    def __init__(self, box, headscale, hostname=None, capabilities=None):
        super().__init__(box, headscale, hostname)
        self.capabilities = capabilities

    def start(self, auth_key=None, environment=None):
        self.process = self.box.start(
            *[build_folder() / "pillion", "run"],
            environment=self.environment(auth_key, environment),
            capabilities=self.capabilities,
        )

    def pillion(self, *arguments, check=True):
        """Our own command line against this node."""
        return self.box.run(
            *[build_folder() / "pillion", *arguments],
            check=check,
            environment={"PATH": os.environ["PATH"], "TS_SOCKET": str(self.socket)},
        )

    def supervisor_pid(self):
        return self.process.pid

    def engine_pid(self):
        for pid in descendants(self.process.pid):
            if command_name(pid) == "pillion-engine":
                return pid
        raise AssertionError(f"no engine: {self.process.describe()}")

    def threads_of_engine(self):
        """/proc/PID/task/* of the engine."""
        return sorted(Path(f"/proc/{self.engine_pid()}/task").iterdir())
