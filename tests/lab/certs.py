# SPDX-License-Identifier: BSD-3-Clause
"""What certificates by ACME need: an authority (Pebble), and a name server for its zone (BIND)."""

import base64
import json
import re

from lab.peers import peer
from lab.waiting import wait_for

KEY_NAME, SECRET = "pillion", base64.b64encode(b"a secret of 32 bytes, for tests.").decode()
EAB_ID, EAB_KEY = (
    "kid-1",
    base64.urlsafe_b64encode(b"another secret of 32 bytes here.").decode().rstrip("="),
)

NAMED = """
options {{
    directory "{folder}";
    pid-file none;
    session-keyfile "{folder}/session.key";
    listen-on {{ any; }};
    listen-on-v6 {{ any; }};
    recursion no;
    dnssec-validation no;
}};
controls {{ }};
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{zone}" {{
    type primary;
    file "{folder}/zone";
    update-policy {{ grant {key} zonesub TXT; }};
}};
"""

ZONE = """$TTL 60
@ SOA ns.{zone}. admin.{zone}. 1 60 60 60 60
@ NS ns.{zone}.
ns A {address}
{records}
"""


class NameServer:
    """BIND for a zone, in which a key may change TXT records."""

    def __init__(self, box, zone, addresses=None):
        self.box = box
        self.zone = zone
        records = "\n".join(f"{name} A {address}" for name, address in (addresses or {}).items())
        (box.folder / "zone").write_text(ZONE.format(zone=zone, address=box.v4, records=records))
        self.config = box.folder / "named.conf"
        self.config.write_text(
            NAMED.format(folder=box.folder, key=KEY_NAME, secret=SECRET, zone=zone)
        )
        self.start()

    def start(self):
        self.process = self.box.start("named", "-g", "-c", self.config)
        wait_for(lambda: self.lookup(self.zone, "SOA"), 20, self.process.describe)

    def lookup(self, name, kind="TXT"):
        """The values that there are now."""
        done = self.box.run("dig", "+short", "@127.0.0.1", name, kind, check=False)
        return done.stdout.replace('"', "").split() if done.returncode == 0 else []

    def environment(self, secret=SECRET):
        """Of a node that may change the zone."""
        return {
            "TS_ACME_DNS_SERVER": f"{self.box.name}.lab",
            "TS_ACME_DNS_KEY": f"{KEY_NAME}:{secret}",
        }


class Pebble:
    """The authority; it looks at `names`, or for the node's address at what is in its folder."""

    def __init__(self, box, trusted, names, settings=None, environment=None):
        self.box = box
        self.names = names
        certificate, key = trusted.issue(f"{box.name}.lab", box.v4, box.v6)
        self.directory = f"https://{box.name}.lab:14000/dir"
        self.settings = {
            "listenAddress": "0.0.0.0:14000",
            "managementListenAddress": "127.0.0.1:15000",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": 80,
            "tlsPort": 443,
            "keyAlgorithm": "ecdsa",
            "profiles": {"default": {"description": "one", "validityPeriod": 7776000}},
            **(settings or {}),
        }
        self.variables = {"PEBBLE_VA_NOSLEEP": "1", **(environment or {})}
        self.root = box.folder / "pebble-root.pem"
        self.start()

    def start(self):
        config = self.box.folder / "pebble.json"
        config.write_text(json.dumps({"pebble": self.settings}))
        self.process = self.box.start(
            *[peer("pebble"), "-config", config, "-dnsserver", f"{self.names.box.v4}:53"],
            environment=self.variables,
        )
        self.process.wait_text("(?i)listening on", 20)
        wait_for(self.fetch_root, 20, self.process.describe)

    def fetch_root(self):
        """Its root, made anew at each start, which clients have to trust."""
        done = self.box.run(
            *["curl", "-sf", "--cacert", self.box_authority(), "--resolve"],
            *[f"{self.box.name}.lab:15000:127.0.0.1"],
            f"https://{self.box.name}.lab:15000/roots/0",
            check=False,
        )
        self.root.write_text(done.stdout)
        return "BEGIN CERTIFICATE" in done.stdout

    def box_authority(self):
        """What its own certificate is signed by."""
        return self.settings["certificate"].rsplit("/", 1)[0] + "/ca.pem"

    def issued(self):
        """How many certificates it has made."""
        return len(re.findall(r"Issued certificate serial", self.process.text()))

    def accounts(self):
        """How many there are."""
        return len(re.findall(r"There are now \d+ accounts in memory", self.process.text()))

    def asked(self, path):
        """How many requests for a path of its own it got: "order-plz", "sign-me-up", "chalZ/"…"""
        return len(re.findall(rf"POST /{path}\S* -> calling handler", self.process.text()))

    def environment(self):
        """Of a node that uses it."""
        return {"TS_ACME_DIRECTORY_URL": self.directory}


FRONT = """
daemon off;
error_log stderr;
pid {folder}/front.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 14443 ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        proxy_set_header Host $http_host;
        location / {{ proxy_pass https://127.0.0.1:14000; }}
        location ~ ^/finalize-order/(.*)$ {{
            proxy_pass https://127.0.0.1:14000;
            add_header Location https://$http_host/my-order/$1;
        }}
    }}
}}
"""


class Front:
    """Says where an order is when it is finished, as Boulder does and stock nodes need; Pebble doesn't."""

    def __init__(self, pebble):
        box = pebble.box
        settings = pebble.settings
        config = box.folder / "front.conf"
        config.write_text(
            FRONT.format(
                folder=box.folder, certificate=settings["certificate"], key=settings["privateKey"]
            )
        )
        front = box.start("nginx", "-c", config, log="front")
        self.directory = f"https://{box.name}.lab:14443/dir"
        ask = ["curl", "-sf", "--cacert", pebble.box_authority(), self.directory]
        ask += ["--resolve", f"{box.name}.lab:14443:127.0.0.1"]
        wait_for(lambda: box.run(*ask, check=False).returncode == 0, 20, front.describe)
