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

    def map(self):
        """A DERP map with this relay alone, in YAML (of which JSON is a part)."""
        node = {
            "name": "901a",
            "regionid": REGION,
            "hostname": f"{self.box.name}.lab",
            "ipv4": self.box.v4,
            "ipv6": self.box.v6,
        }
        region = {
            "regionid": REGION,
            "regioncode": "own",
            "regionname": "Own relay",
            "nodes": [node],
        }
        return f"regions:\n  {REGION}: {json.dumps(region)}\n"
