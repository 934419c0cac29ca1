# SPDX-License-Identifier: BSD-3-Clause
"""Our own relay on a host of its own, in the place of a stock one."""

import json

from lab.derper import REGION, Derper
from lab.pillion import build_folder


class OwnRelay(Derper):
    """`pillion-server derp` with a certificate of its own making, which clients know by its hash.

    The control server's authority did not sign it: who connects has checked the pin.
    """

    def __init__(self, box, *flags):
        super().__init__(box)
        self.flags = flags
        self.state = box.folder / "relay"

    def start(self, authority=None):
        said = len(self.process.text()) if self.process else 0
        self.process = self.box.start(
            *[build_folder() / "pillion-server", "derp", f"--hostname={self.box.name}.lab"],
            *[f"--ipv4={self.box.v4}", f"--ipv6={self.box.v6}", f"--statedir={self.state}"],
            *[f"--region={REGION}", "--http=[::]:80", "--metrics", "--log-level=debug"],
            *self.flags,
        )
        self.process.wait_text("relay serves", 15, said)

    def restart(self):
        self.start()

    def derp_map(self):
        """As `pillion derp` writes it for people."""
        return json.loads((self.state / "derpmap.json").read_text())

    def map(self):
        """The same as Headscale wants it: the members' names in lower case."""
        region = lower(self.derp_map()["Regions"][str(REGION)])
        return f"regions:\n  {REGION}: {json.dumps(region)}\n"

    def metrics(self):
        """Name with labels: value."""
        text = self.box.run(
            *["curl", "-sk", "--max-time", 5, f"https://{self.box.v4}/metrics"],
        ).stdout
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("pillion_relay_"): int(value) for name, value in rows}


def lower(value):
    """The names of all members in lower case."""
    if isinstance(value, dict):
        return {name.lower(): lower(member) for name, member in value.items()}
    if isinstance(value, list):
        return [lower(member) for member in value]
    return value
