# SPDX-License-Identifier: BSD-3-Clause
"""A stock relay on a host of its own."""

import json

from lab.peers import peer
from lab.pki import Authority

REGION = 901


class Derper:
    """derper with STUN; its certificate comes from the authority that Headscale brings along."""

    def __init__(self, box, *flags):
        self.box = box
        self.flags = flags
        self.process = None

    def start(self, authority: Authority):
        certificates = self.box.folder / "certificates"
        certificates.mkdir()
        name = f"{self.box.name}.lab"
        certificate, key = authority.issue(name, self.box.v4, self.box.v6)
        (certificates / f"{name}.crt").write_bytes(certificate.read_bytes())
        (certificates / f"{name}.key").write_bytes(key.read_bytes())
        self.restart()

    def restart(self):
        """Start it with the certificate that it has."""
        self.process = self.box.start(
            *[peer("derper"), f"--hostname={self.box.name}.lab", "--certmode=manual"],
            *[f"--certdir={self.box.folder / 'certificates'}", "--a=:443", "--http-port=-1"],
            *["--stun", f"--c={self.box.folder / 'derper.json'}", *self.flags],
        )
        self.process.wait_text("derper: serving", 15)

    def derp_map(self):
        """A DERPMap with this relay alone."""
        node = {
            "Name": f"{REGION}a",
            "RegionID": REGION,
            "HostName": f"{self.box.name}.lab",
            "IPv4": self.box.v4,
            "IPv6": self.box.v6,
        }
        region = {
            "RegionID": REGION,
            "RegionCode": "own",
            "RegionName": "Own relay",
            "Nodes": [node],
        }
        return {"Regions": {str(REGION): region}}

    def map(self):
        """The same as Headscale wants it: YAML (of which JSON is a part), names in lower case."""
        region = lower(self.derp_map()["Regions"][str(REGION)])
        return f"regions:\n  {REGION}: {json.dumps(region)}\n"


def lower(value):
    """The names of all members in lower case."""
    if isinstance(value, dict):
        return {name.lower(): lower(member) for name, member in value.items()}
    if isinstance(value, list):
        return [lower(member) for member in value]
    return value
