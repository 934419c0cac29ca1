# SPDX-License-Identifier: BSD-3-Clause
"""Proxies of others in a box: tinyproxy, which CONNECT asks to lead out."""

import re

TINYPROXY = """\
Port {port}
Timeout 600
LogLevel Info
MaxClients 100
ConnectPort 443
ConnectPort 8444
"""


class Tinyproxy:
    """The way out of a network that has no other; with a user, who must show the password."""

    port = 8888

    def __init__(self, box, user=None, password=None):
        self.box = box
        text = TINYPROXY.format(port=self.port)
        if user:
            text += f"BasicAuth {user} {password}\n"
        configuration = box.folder / "tinyproxy.conf"
        configuration.write_text(text)
        self.process = box.start("tinyproxy", "-d", "-c", configuration)
        self.process.wait_text("Starting main loop", 15)

    @property
    def address(self):
        return f"{self.box.v4}:{self.port}"

    def targets(self):
        """host:port of each CONNECT that it was asked for."""
        return re.findall(r"Request \(file descriptor \d+\): CONNECT (\S+)", self.process.text())

    def only_way_out_of(self, box):
        """As a firewall makes it: nothing leaves but what goes to the proxy."""
        box.nft(
            f"""
            table inet only {{
                chain out {{
                    type filter hook output priority 0
                    oifname eth0 ip daddr != {self.box.v4} drop
                    oifname eth0 meta nfproto ipv6 drop
                }}
            }}
            """
        )
