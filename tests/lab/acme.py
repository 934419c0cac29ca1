# SPDX-License-Identifier: BSD-3-Clause
"""A certificate authority that speaks ACME (Pebble), and the public DNS that it looks at."""

import json
import sys
from pathlib import Path

from lab.peers import peer
from lab.waiting import wait_for

NAMES = Path(__file__).with_name("acme_names.py")

# Pebble leaves out where the order is when it is asked to finish one, which Boulder says and stock
# nodes want to know.
NGINX = """
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 443 ssl;
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


class Acme:
    """Pebble in a box; set_record is a program that takes "present NAME VALUE"."""

    def __init__(self, box, authority):
        certificate, key = authority.issue(f"{box.name}.lab", box.v4, box.v6)
        self.directory = f"https://{box.name}.lab/dir"
        self.records = box.folder / "records"
        self.records.touch()
        self.records.chmod(0o666)
        self.set_record = box.folder / "set-record"
        self.set_record.write_text(f'#!/bin/sh\necho "$2 $3" >>{self.records}\n')
        self.set_record.chmod(0o755)
        config = box.folder / "pebble.json"
        settings = {
            "listenAddress": "127.0.0.1:14000",
            "managementListenAddress": "127.0.0.1:15000",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": 5002,
            "tlsPort": 5001,
            "keyAlgorithm": "ecdsa",
            "profiles": {"default": {"description": "one", "validityPeriod": 7776000}},
        }
        config.write_text(json.dumps({"pebble": settings}))
        box.start(sys.executable, NAMES, self.records, log="txt").wait_text("serving", 10)
        box.start(
            *[peer("pebble"), "-config", config, "-dnsserver", "127.0.0.1:53"],
            environment={"PEBBLE_VA_NOSLEEP": "1"},
        ).wait_text("(?i)listening on", 20)
        nginx = box.folder / "nginx.conf"
        nginx.write_text(NGINX.format(folder=box.folder, certificate=certificate, key=key))
        front = box.start("nginx", "-c", nginx)
        ask = ["curl", "-sfk", "--max-time", 2, "https://127.0.0.1/dir"]
        wait_for(
            lambda: front.ensure_running() and box.run(*ask, check=False).returncode == 0,
            20,
            front.describe,
        )
        self._box = box

    def root(self):
        """The file with its root certificate, made anew at each start."""
        file = self._box.folder / "acme-root.pem"
        asked = self._box.run("curl", "-sfk", "https://127.0.0.1:15000/roots/0")
        file.write_text(asked.stdout)
        return file
