# SPDX-License-Identifier: BSD-3-Clause
"""A tailnet in network namespaces, for the system and interop tests.

                       ┌──────────── switch (bridge br0, nft) ─────────────┐
                       │                                                   │
        10.77.0.1      │ 10.77.0.2          10.77.0.3         10.77.0.9     │
        fd77::1        │ fd77::2            fd77::3           fd77::9       │
      ┌───────────┐    │ ┌──────────────┐  ┌────────────┐   ┌───────────┐   │
      │ control   ├────┤ │ sidecar      ├──┤ laptop     ├───┤ router    ├───┘
      │ Headscale │      │ node under   │  │ stock      │   │ NAT (nft) │
      │ relay     │      │ test, its app│  │ tailscaled │   └─────┬─────┘
      │ STUN      │      └──────────────┘  └────────────┘    10.78.N.1
      └───────────┘                                         ┌─────┴─────┐
                                                            │ a node    │
                                                            │ 10.78.N.2 │
                                                            └───────────┘

Each box is a network namespace. A test names its boxes, so a lab is as large as the test needs. A program runs in the namespace of a box with mounts and process ids
of its own, as in a container: /etc/hosts and /etc/resolv.conf are the box's, and whatever it
starts ends with it. The switch can cut UDP between two boxes (close_udp), which leaves a pair
of nodes their relay, or cut all of it (close).

    lab.Lab          boxes and what runs in them; a context manager that leaves nothing behind
    lab.World        a server, a laptop, a node under test and their apps, for scenarios
    lab.Process      one program: its log, its pid, waiting for its output
    lab.Control      our own coordination server, behind the interface of lab.Headscale
    lab.Faults       a server that misbehaves on demand, in front of either
    lab.Headscale    the real control server with its embedded relay; lab.Derper one on its own
    lab.Acme         a certificate authority (Pebble) with the DNS that it looks at
    lab.OwnRelay     our own relay in the place of lab.Derper
    lab.Tailscaled   a stock peer
    lab.Containerboot, lab.OfficialDaemon, lab.Pillion   the node under test, behind one interface
    lab.App          the app beside it
"""

from lab.acme import Acme
from lab.app import App, Held
from lab.control import Control
from lab.derper import Derper
from lab.faults import Faults
from lab.headscale import Headscale
from lab.network import Box, Lab
from lab.own_relay import OwnRelay
from lab.pillion import Pillion
from lab.process import Process
from lab.sidecar import Sidecar
from lab.tailscaled import Containerboot, OfficialDaemon, Tailscaled
from lab.waiting import Timeout, wait_for
from lab.world import World, make_world

__all__ = [
    "Acme",
    "App",
    "Box",
    "Containerboot",
    "Control",
    "Derper",
    "Faults",
    "Headscale",
    "Held",
    "Lab",
    "OfficialDaemon",
    "OwnRelay",
    "Pillion",
    "Process",
    "Sidecar",
    "Tailscaled",
    "Timeout",
    "World",
    "make_world",
    "wait_for",
]
